"""A team's people: the list with search and sort orders, and merging or hiding several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
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
from dashboard.pages.paging import key_of, page_of, rows_beyond
from dashboard.pages.people.cards import KEPT_SECONDS, MANY, cards_of
from dashboard.pages.people.merging import MOST_MERGED
from dashboard.pages.privacy.reasons import asking, look_through
from dashboard.pages.shared import actor_of, fragment, go_back, is_fragment, refuse, signed_in
from persons import access
from persons.access import Right, Visible, rights_of, team_for
from persons.actions.people import hide_person
from persons.errors import Refused
from persons.inputs.params import Parameters
from persons.models import Person, Space, Team
from persons.models.names import LAST, fold
from persons.models.people import PersonQuerySet, found_by_name

PEOPLE_PAGE = 48
MOST_FOUND = 2000
"""Search results up to this number are sorted as one list."""
MOST_PICKED = 500

SORTS = {
    "name": ("name_key", "pk"),
    "faces": ("-face_count", "-pk"),
    "new": ("-pk",),
}
SHOWN = ("", "unnamed", "hidden")


@dataclass(frozen=True, slots=True)
class PeoplePage:
    """One page. `older` leads to the next page and `newer` to the previous, in any sort order."""

    people: Sequence[Person]
    older: str | None
    newer: str | None


@dataclass(frozen=True, slots=True)
class Listing:
    """The list's search text, sort order and filter, from the address."""

    q: str = ""
    sort: str = "name"
    show: str = ""

    @classmethod
    def of(cls, asked: QueryDict) -> Listing:
        """Raises NotUnderstood."""
        given = Parameters(asked)
        listing = cls(
            given.raw("q"), given.choice("sort", SORTS, "name"), given.choice("show", SHOWN)
        )
        given.demand()
        return listing

    @property
    def query(self) -> str:
        values = {"q": self.q, "sort": self.sort, "show": self.show}
        defaults = {"q": "", "sort": "name", "show": ""}
        return urlencode({key: value for key, value in values.items() if value != defaults[key]})

    def narrowed(self, people: PersonQuerySet) -> PersonQuerySet:
        people = people.listed().filter(hidden=self.show == "hidden")
        return people.filter(name_key__gte=LAST) if self.show == "unnamed" else people


def page_of_people(spaces: Sequence[int], request: HttpRequest, visible: Visible) -> PeoplePage:
    """One page of the people of these spaces (pks), as the address asks for them.

    Each space gives its next rows from an index, and the page merges these lists.
    """
    wanted = Listing.of(request.GET)
    order = SORTS[wanted.sort]
    lists = [people.only("pk", "name_key", "face_count") for people in _found(spaces, wanted)]

    def ask(key: str | None, back: bool, count: int) -> list[Person]:
        some = [rows_beyond(people, key or "", order, back=back)[:count] for people in lists]
        rows = sorted(chain(*some), key=lambda row: _place(row, order), reverse=back)
        return rows[:count]

    page = page_of(
        ask,
        partial(key_of, order=order),
        before=request.GET.get("before", ""),
        after=request.GET.get("after", ""),
        size=PEOPLE_PAGE,
    )
    return PeoplePage(cards_of([row.pk for row in page.rows], visible), page.older, page.newer)


def _found(spaces: Sequence[int], wanted: Listing) -> list[PersonQuerySet]:
    """Querysets that together hold the people asked for, each sortable by an index."""
    everybody: PersonQuerySet = wanted.narrowed(Person.objects.all())
    by_space = [everybody.filter(space=space) for space in spaces]
    if not wanted.q:
        return by_space
    pks = found_by_name(spaces, wanted.q, MOST_FOUND + 1)
    if len(pks) > MOST_FOUND:
        return [people.search(wanted.q) for people in by_space]
    # The name of a merged person leads to their canonical person.
    found = everybody.filter(pk__in=Person.objects.filter(pk__in=pks).values("canonical"))
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
class PeopleCounts:
    """Numbers of people: `unnamed` are among the `listed`, `hidden` are not."""

    listed: int
    unnamed: int
    hidden: int

    @property
    def total(self) -> int:
        return self.listed + self.hidden


def counts_of(team: Team) -> dict[int, PeopleCounts]:
    """Counts by the space's pk. Large numbers are cached for KEPT_SECONDS."""
    key = f"people:{team.pk}"
    kept: dict[str, list[int]] | None = cache.get(key)
    if kept is not None:
        return {int(space): PeopleCounts(*numbers) for space, numbers in kept.items()}
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
    found = {space: PeopleCounts(*numbers) for space, *numbers in rows}
    if sum(counts.total for counts in found.values()) > MANY:
        numbers = {space: [it.listed, it.unnamed, it.hidden] for space, it in found.items()}
        cache.set(key, numbers, KEPT_SECONDS)
    return found


@signed_in
@require_GET
@asking
def people(request: PageRequest, team: str) -> HttpResponse:
    found = team_for(request.user, team, right=Right.GALLERIES)
    look_through(request, found)
    counts = counts_of(found)
    everywhere = list(Space.objects.filter(team=found))
    given = Parameters(request.GET)
    number = given.number("space", most=9)
    given.demand()
    space = next((one for one in everywhere if one.number == number), None)
    spaces = [one for one in everywhere if one.pk in counts or one == space]
    shown = [space] if space else spaces
    wanted = Listing.of(request.GET)
    page = page_of_people([one.pk for one in shown], request, access.visible(request.user, found))
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


def _sum(counts: dict[int, PeopleCounts], spaces: Sequence[Space]) -> PeopleCounts:
    some = [counts[space.pk] for space in spaces if space.pk in counts]
    return PeopleCounts(
        sum(one.listed for one in some),
        sum(one.unnamed for one in some),
        sum(one.hidden for one in some),
    )


# --- Several at once ---


def picked(request: PageRequest, team: Team) -> list[Person]:
    """The ticked people that the user may change, in order of creation."""
    given = Parameters(request.POST)
    numbers = given.numbers("person", most=MOST_PICKED)
    given.demand()
    people = access.people(request.user, team, numbers, write=True).unmerged()
    return list(people.select_related("space__team").order_by("pk"))


@signed_in
@require_POST
def hide(request: PageRequest, team: str) -> HttpResponse:
    """Hide the ticked people from lists and suggestions, or list them again."""
    found = team_for(request.user, team, right=Right.EDIT)
    given = Parameters(request.POST)
    hidden = given.flag("hidden", default=True)
    given.demand()
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
    """Redirect to the preview of merging the ticked people into a named one with the most faces."""
    found = team_for(request.user, team, right=Right.EDIT)
    some = picked(request, found)
    back = reverse("people", args=[team])
    try:
        if len(some) < 2:
            raise Refused("Choose at least two people to merge.")
        if len(some) > MOST_MERGED:
            raise Refused(f"Choose at most {MOST_MERGED} people to merge.")
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
