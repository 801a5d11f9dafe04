"""A person's changes and their undo; likenesses: who may be the same person, and who never is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.db.models import Q
from django.http import Http404, HttpResponse
from django.urls import path, reverse
from django.views.decorators.http import require_POST

from dashboard.middleware import PageRequest
from dashboard.pages.people.cards import cards_of
from dashboard.pages.privacy.reasons import asking, demand
from dashboard.pages.shared import actor_of, go_back, page_by_key, refuse, signed_in
from persons import access
from persons.access import Visible, change_for, likeness_for, person_for
from persons.actions.changes import undo
from persons.actions.people import different_people, forget_difference
from persons.errors import Refused
from persons.inputs.params import Parameters
from persons.models import Likeness, Person

CHANGES_PAGE = 30
MOST_LIKE = 4
MOST_PAIRS = 100


@dataclass(frozen=True, slots=True)
class Pair:
    """A likeness as shown on the page of one of its two people. `other` is the other one's card."""

    likeness: Likeness
    other: Any


# --- Changes ---


def page_of_changes(request: PageRequest, person: Person) -> dict[str, Any]:
    """The changes of this person and of people merged into them, newest first.

    Only changes whose faces the reader may see.
    """
    theirs = [person.pk, *person.merged.values_list("pk", flat=True)]
    changes = (
        access.changes(request.user, person.space.team)
        .filter(Q(person__in=theirs) | Q(other__in=theirs))
        .select_related("person__space", "other__space", "actor", "undone_by")
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


# --- Likenesses ---


def likenesses_of(person: Person, visible: Visible) -> dict[str, Any]:
    """`alike`: pairs that may be the same person, most similar first. `different`: those kept
    apart."""
    both = Likeness.objects.filter(Q(one=person) | Q(other=person))
    # The open ones come first: their decision is empty.
    ordered = both.order_by("decision", "-similarity", "-pk")
    rows = list(ordered.select_related("one", "other")[:MOST_PAIRS])
    asked = [row for row in rows if not row.decision][:MOST_LIKE]
    never = [row for row in rows if row.decision == Likeness.Decision.DIFFERENT]
    others = {row.pk: _other(row, person) for row in (*asked, *never)}
    people = {one.pk: one for one in cards_of(sorted(set(others.values())), visible)}

    def pairs(rows: list[Likeness]) -> list[Pair]:
        found: dict[int, Pair] = {}
        for row in rows:
            other = others[row.pk]
            if other != person.pk and other in people:
                found.setdefault(other, Pair(row, people[other]))
        return list(found.values())

    return {"alike": pairs(asked), "different": pairs(never)}


def _other(likeness: Likeness, person: Person) -> int:
    """The pk of the canonical person of the likeness's other side."""
    other = likeness.other if likeness.one_id == person.pk else likeness.one
    return other.canonical_id


@signed_in
@require_POST
@asking
def different(request: PageRequest, team: str, number: int, person_id: int) -> HttpResponse:
    """Record that this person and the one whose person id is `with` are never the same."""
    found = person_for(request.user, team, number, person_id, write=True)
    given = Parameters(request.POST)
    chosen = given.number("with")
    given.demand()
    if chosen is None:
        raise Http404("There is no such person.")
    other = person_for(request.user, team, number, chosen, write=True)
    back = reverse("person", args=[team, number, person_id])
    demand(request, found.space.team, "person", found.pk, back=back)
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
    """Take back that two people are never the same."""
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
