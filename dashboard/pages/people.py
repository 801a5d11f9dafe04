"""The people of a team: searched, sorted, and picked to be merged or hidden."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.core.cache import cache
from django.db.models import Count, Q
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import render
from django.urls import path, reverse
from django.views.decorators.http import require_GET, require_POST

from dashboard.middleware import PageRequest
from dashboard.pages.cards import KEPT_SECONDS, MANY, cards_of
from dashboard.pages.paging import key_of, rows_beyond
from dashboard.pages.shared import actor_of, fragment, go_back, is_fragment, refuse, signed_in
from persons.access import Right, hidden_from, rights_of, team_for
from persons.actions.people import hide_person
from persons.errors import Refused
from persons.models import Person, Space, Team
from persons.models.names import LAST, fold, found_by_name
from persons.models.spaces import PersonQuerySet
from persons.settling import roots_of

PEOPLE_PAGE = 48
SEARCH_LENGTH = 100
MOST_FOUND = 2000
"""Found people, up to which a list of them is sorted as a whole."""
MOST_PICKED = 500

SORTS = {
    "name": ("name_key", "pk"),
    "faces": ("-face_count", "-pk"),
    "new": ("-pk",),
}
SHOWN = ("", "unnamed", "hidden")


@dataclass(frozen=True, slots=True)
class PeoplePage:
    """`older` goes on and `newer` goes back, in whatever order the list is."""

    people: Sequence[Person]
    older: str | None
    newer: str | None


@dataclass(frozen=True, slots=True)
class Listing:
    """What of a list somebody wants to see, as its address says it."""

    q: str = ""
    sort: str = "name"
    show: str = ""

    @classmethod
    def of(cls, asked: QueryDict) -> Listing:
        sort, show = asked.get("sort", ""), asked.get("show", "")
        return cls(
            search_of(asked), sort if sort in SORTS else "name", show if show in SHOWN else ""
        )

    @property
    def query(self) -> str:
        values = {"q": self.q, "sort": self.sort, "show": self.show}
        defaults = {"q": "", "sort": "name", "show": ""}
        return urlencode({key: value for key, value in values.items() if value != defaults[key]})

    def narrowed(self, people: PersonQuerySet) -> PersonQuerySet:
        people = people.listed().filter(hidden=self.show == "hidden")
        return people.filter(name_key__gte=LAST) if self.show == "unnamed" else people


def search_of(asked: QueryDict) -> str:
    return " ".join(asked.get("q", "").split())[:SEARCH_LENGTH].replace("\0", "")


def page_of_people(
    spaces: Sequence[int], request: HttpRequest, hidden: Collection[int] = ()
) -> PeoplePage:
    """One page of the people of these spaces, by pk, as the address wants them.

    Each space gives its next ones from an index of its own, and the first of all of them are shown.
    """
    wanted = Listing.of(request.GET)
    order = SORTS[wanted.sort]
    before, after = request.GET.get("before", ""), request.GET.get("after", "")
    back = bool(after) and not before
    rows: list[Any] = []
    for people in _found(spaces, wanted):
        keys = people.only("pk", "name_key", "face_count")
        rows += rows_beyond(keys, after if back else before, order, back=back)[: PEOPLE_PAGE + 1]
    rows.sort(key=lambda row: _place(row, order), reverse=back)
    more = len(rows) > PEOPLE_PAGE
    shown = rows[:PEOPLE_PAGE]
    if back:
        shown.reverse()
    older = key_of(shown[-1], order) if shown and (more or back) else None
    newer = key_of(shown[0], order) if shown and (more if back else before) else None
    return PeoplePage(cards_of([row.pk for row in shown], hidden), older, newer)


def _found(spaces: Sequence[int], wanted: Listing) -> list[PersonQuerySet]:
    """Lists that together hold whom the address wants, each of which an index can sort."""
    everybody: PersonQuerySet = wanted.narrowed(Person.objects.all())
    by_space = [everybody.filter(space=space) for space in spaces]
    if not wanted.q:
        return by_space
    pks = found_by_name(spaces, wanted.q, MOST_FOUND + 1)
    if len(pks) > MOST_FOUND:
        return [people.search(wanted.q) for people in by_space]
    # An old name leads to whom its owner was merged into.
    found = everybody.filter(pk__in=set(roots_of(pks).values()))
    if pks and found.exists():
        return [found]
    inside = fold(wanted.q)
    return [people.filter(name_key__contains=inside) for people in by_space] if inside else []


def _place(row: Person, order: Sequence[str]) -> tuple[Any, ...]:
    return tuple(
        -getattr(row, name[1:]) if name.startswith("-") else getattr(row, name) for name in order
    )


# --- The page ---


@dataclass(frozen=True, slots=True)
class Counts:
    """Of people: in lists, and of those without a name; and of those left out of lists."""

    listed: int
    unnamed: int
    hidden: int

    @property
    def total(self) -> int:
        return self.listed + self.hidden


def counts_of(team: Team) -> dict[int, Counts]:
    """By space, by pk. Large numbers may be two minutes old."""
    key = f"people:{team.pk}"
    kept: dict[int, Counts] | None = cache.get(key)
    if kept is not None:
        return kept
    rows = (
        Person.objects.listed()
        .filter(space__team=team)
        .order_by()
        .values_list("space")
        .annotate(
            listed=Count("pk", filter=Q(hidden=False)),
            unnamed=Count("pk", filter=Q(hidden=False, label="")),
            hidden=Count("pk", filter=Q(hidden=True)),
        )
    )
    found = {space: Counts(*numbers) for space, *numbers in rows}
    if sum(counts.total for counts in found.values()) > MANY:
        cache.set(key, found, KEPT_SECONDS)
    return found


@signed_in
@require_GET
def people(request: PageRequest, team: str) -> HttpResponse:
    found = team_for(request.user, team, right=Right.GALLERIES)
    counts = counts_of(found)
    everywhere = list(Space.objects.filter(team=found))
    space = next((one for one in everywhere if str(one.number) == request.GET.get("space")), None)
    spaces = [one for one in everywhere if one.pk in counts or one == space]
    shown = [space] if space else spaces
    wanted = Listing.of(request.GET)
    page = page_of_people([one.pk for one in shown], request, hidden_from(request.user, found))
    context = {
        "team": found,
        "page": page,
        "spaces": [(one, counts[one.pk].listed if one.pk in counts else 0) for one in spaces],
        "space": space,
        "wanted": wanted,
        "q": wanted.q,
        "shown": _sum(counts, shown),
        "total": sum(count.total for count in counts.values()),
        "name_spaces": len(shown) > 1,
        "can_edit": Right.EDIT in rights_of(request.user, found),
    }
    if is_fragment(request) and request.htmx.target == "people":
        return fragment(request, "people/_people.html", context)
    if is_fragment(request) and request.htmx.target == "chunk":
        return fragment(request, "people/_people_chunk.html", context)
    return render(request, "people/list.html", context)


def _sum(counts: dict[int, Counts], spaces: Sequence[Space]) -> Counts:
    some = [counts[space.pk] for space in spaces if space.pk in counts]
    return Counts(
        sum(one.listed for one in some),
        sum(one.unnamed for one in some),
        sum(one.hidden for one in some),
    )


# --- Several at once ---


def picked(request: HttpRequest, team: Team) -> list[Person]:
    """The people that were ticked, in the order in which they were made."""
    numbers = {
        int(text)
        for text in request.POST.getlist("person")[:MOST_PICKED]
        if text.isascii() and text.isdigit() and len(text) < 19
    }
    people = Person.objects.filter(space__team=team, merged_into=None, pk__in=numbers)
    return list(people.select_related("space__team").order_by("pk"))


@signed_in
@require_POST
def hide(request: PageRequest, team: str) -> HttpResponse:
    """Leave the ticked people out of lists and suggestions, or take them in again."""
    found = team_for(request.user, team, right=Right.EDIT)
    hidden = request.POST.get("hidden") != "0"
    some = picked(request, found)
    for one in some:
        hide_person(actor=actor_of(request), person=one, hidden=hidden)
    cache.delete(f"people:{found.pk}")
    if some:
        who = some[0].name if len(some) == 1 else f"{len(some)} people"
        be = "is" if len(some) == 1 else "are"
        messages.success(
            request,
            f"{who} {be} hidden: left out of lists and of suggestions."
            if hidden
            else f"{who} {be} listed again.",
        )
    return go_back(request, reverse("people", args=[team]))


@signed_in
@require_POST
def merge(request: PageRequest, team: str) -> HttpResponse:
    """To the preview of merging the ticked people into the one with the most faces."""
    found = team_for(request.user, team, right=Right.EDIT)
    some = picked(request, found)
    back = reverse("people", args=[team])
    try:
        if len(some) < 2:
            raise Refused("Choose at least two people to merge.")
        if len({one.space_id for one in some}) > 1:
            raise Refused("People of different spaces can't be merged: Vision keeps them apart.")
    except Refused as error:
        return refuse(request, error, back)
    stays = max(some, key=lambda one: (bool(one.label), one.face_count, -one.pk))
    others = [("with", one.person_id) for one in some if one != stays]
    address = reverse("person_merge", args=[team, stays.space.number, stays.person_id])
    return go_back(request, f"{address}?{urlencode(others)}")


urlpatterns = [
    path("people/", people, name="people"),
    path("people/hide", hide, name="people_hide"),
    path("people/merge", merge, name="people_merge"),
]
