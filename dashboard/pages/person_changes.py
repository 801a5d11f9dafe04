"""What humans did to a person and took back, who may be the same, and who never is."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import path, reverse
from django.views.decorators.http import require_POST

from dashboard.middleware import PageRequest
from dashboard.pages.cards import cards_of
from dashboard.pages.shared import actor_of, go_back, page_by_key, refuse, signed_in
from persons.access import change_for, likeness_for, person_for
from persons.actions.changes import undo
from persons.actions.people import different_people, forget_difference
from persons.errors import Refused
from persons.models import Change, Likeness, Person
from persons.settling import roots_of

CHANGES_PAGE = 30
MOST_LIKE = 4
MOST_PAIRS = 100


@dataclass(frozen=True, slots=True)
class Pair:
    """A likeness as one of the two people's page shows it."""

    likeness: Likeness
    other: Any


# --- Changes ---


def page_of_changes(request: HttpRequest, person: Person) -> dict[str, Any]:
    """Newest first, those of the people who were merged into them too."""
    theirs = [person.pk, *person.merged.values_list("pk", flat=True)]
    changes = Change.objects.filter(Q(person__in=theirs) | Q(other__in=theirs)).select_related(
        "person__space", "other__space", "actor", "undone_by"
    )
    return {"page": page_by_key(changes, request, CHANGES_PAGE)}


@signed_in
@require_POST
def undo_change(request: PageRequest, team: str, pk: int) -> HttpResponse:
    change = change_for(request.user, team, pk, write=True)
    someone = change.other or change.person
    back = reverse("overview", args=[team])
    if someone is not None:
        back = reverse("person", args=[team, change.space.number, someone.person_id])
    try:
        undone = undo(actor=actor_of(request), change=change)
    except Refused as error:
        return refuse(request, error, back)
    messages.success(request, "Undone: it is as it was before.")
    if undone.notice:
        messages.warning(request, undone.notice)
    return go_back(request, back)


# --- The same, or never ---


def likenesses_of(person: Person, hidden: Collection[int]) -> dict[str, Any]:
    """`alike`: who may be the same, the likeliest first. `different`: who never is."""
    both = Likeness.objects.filter(Q(one=person) | Q(other=person))
    # The open ones come first: their decision is empty.
    rows = list(both.order_by("decision", "-similarity", "-pk")[:MOST_PAIRS])
    asked = [row for row in rows if not row.decision][:MOST_LIKE]
    never = [row for row in rows if row.decision == Likeness.Decision.DIFFERENT]
    others = {row.pk: _other(row, person) for row in (*asked, *never)}
    roots = roots_of(others.values())
    people = {one.pk: one for one in cards_of(sorted(set(roots.values())), hidden)}

    def pairs(rows: list[Likeness]) -> list[Pair]:
        found: dict[int, Pair] = {}
        for row in rows:
            root = roots[others[row.pk]]
            if root != person.pk and root in people:
                found.setdefault(root, Pair(row, people[root]))
        return list(found.values())

    return {"alike": pairs(asked), "different": pairs(never)}


def _other(likeness: Likeness, person: Person) -> int:
    return likeness.other_id if likeness.one_id == person.pk else likeness.one_id


@signed_in
@require_POST
def different(request: PageRequest, team: str, number: int, person_id: int) -> HttpResponse:
    """ "Never these two": with the person whose number is `with`."""
    found = person_for(request.user, team, number, person_id, write=True)
    text = request.POST.get("with", "")
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise Http404("There is no such person.")
    other = person_for(request.user, team, number, int(text), write=True)
    back = reverse("person", args=[team, number, person_id])
    try:
        different_people(actor=actor_of(request), one=found, other=other)
    except Refused as error:
        return refuse(request, error, back)
    messages.success(
        request, f"{found.name} and {other.name} are kept apart: nobody is asked about them again."
    )
    return go_back(request, back)


@signed_in
@require_POST
def forget(request: PageRequest, team: str, pk: int) -> HttpResponse:
    """Take "never these two" back."""
    likeness = likeness_for(request.user, team, pk, write=True)
    back = reverse("person", args=[team, likeness.space.number, likeness.one.person_id])
    try:
        forget_difference(actor=actor_of(request), likeness=likeness)
    except Refused as error:
        return refuse(request, error, back)
    messages.success(
        request,
        f"{likeness.one.name} and {likeness.other.name} may be suggested and merged again.",
    )
    return go_back(request, back)


urlpatterns = [
    path("changes/<int:pk>/undo", undo_change, name="change_undo"),
    path(
        "spaces/<int:number>/people/<int:person_id>/different", different, name="person_different"
    ),
    path("likenesses/<int:pk>/forget", forget, name="likeness_forget"),
]
