"""Bulk review of one person's suggestions: a grid of crops in which the wrong ones are unticked."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from django.contrib import messages
from django.db import transaction
from django.http import HttpResponse, HttpResponseRedirect, QueryDict
from django.shortcuts import render
from django.urls import path, reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from dashboard.middleware import PageRequest
from dashboard.pages.paging import page_by_keys
from dashboard.pages.privacy.reasons import asking, look_through, look_up
from dashboard.pages.review.review_session import words_of
from dashboard.pages.shared import actor_of, go_back, refuse, signed_in
from persons import access
from persons.access import Right, Visible, person_for, rights_of, team_for
from persons.actions.changes import undo
from persons.actions.review import Sorted, sort_suggestions
from persons.errors import Refused
from persons.faces.review_queue import MOST_COUNTED, best_faces, count_all, people_with_suggestions
from persons.inputs.params import Parameters
from persons.models import Change, Face, Person, Space, Team, User
from persons.models.faces import FaceQuerySet

PEOPLE = 60
FACES = 60
KNOWN = 8
SUREST_FIRST = ("-similarity", "-pk")
MOST_UNDONE = 24
"""Changes that one undo takes back: as many as one merge of groups may make."""


# --- People with suggestions ---


@dataclass(frozen=True, slots=True)
class PersonRow:
    person: Person
    count: int
    crop: Face | None
    suggested: Sequence[Face]


@signed_in
@require_safe
@asking
def people(request: PageRequest, team: str) -> HttpResponse:
    found = team_for(request.user, team, right=Right.GALLERIES)
    look_through(request, found)
    can_edit = Right.EDIT in rights_of(request.user, found)
    visible = access.visible_to_decide(request.user, found)
    spaces = list(Space.objects.filter(team=found))
    counted = people_with_suggestions([space.pk for space in spaces], visible, most=PEOPLE + 1)
    shown = Person.objects.select_related("canonical").in_bulk([pk for pk, _ in counted[:PEOPLE]])
    by_person: dict[Person, int] = defaultdict(int)
    for pk, count in counted[:PEOPLE]:
        if pk in shown:
            by_person[shown[pk].canonical] += count
    crops = best_faces([person.pk for person in by_person], most=1, visible=visible)
    rows = [
        PersonRow(person, count, next(iter(crops[person.pk]), None), ())
        for person, count in by_person.items()
    ]
    number = {space.pk: space.number for space in spaces}
    for row in rows:
        row.person.space = next(space for space in spaces if space.pk == row.person.space_id)
    context = {
        "team": found,
        "rows": rows,
        "more": len(counted) > PEOPLE,
        "by_space": len({number[row.person.space_id] for row in rows}) > 1,
        "can_edit": can_edit,
        "undoable": undoable(request, found),
    }
    return render(request, "review/people.html", context)


# --- One person's suggestions ---


@signed_in
@require_http_methods(["GET", "HEAD", "POST"])
@asking
def person(request: PageRequest, team: str, number: int, person_id: int) -> HttpResponse:
    write = request.method == "POST"
    found = person_for(request.user, team, number, person_id, write=write)
    if found.merged_into_id is not None and not write:
        address = reverse("review_person", args=[team, number, found.canonical.person_id])
        query = request.GET.urlencode()
        return HttpResponseRedirect(f"{address}?{query}" if query else address)
    if write:
        return _sort(request, found)
    look_up(request, found, or_all=True)
    can_edit = Right.EDIT in rights_of(request.user, found.space.team)
    visible = access.visible_to_decide(request.user, found.space.team)
    waiting = suggestions_of(found, visible)
    page = page_by_keys(waiting, request, FACES, SUREST_FIRST)
    faces = page.rows
    (count,) = count_all([waiting])
    if not faces and not request.GET.get("before"):
        # Nothing is left of this person: back to the list of people.
        done = request.GET.get("done", "")
        address = reverse("review_many", args=[team])
        return HttpResponseRedirect(f"{address}?done={done}" if done else address)
    known = best_faces([found.pk], most=KNOWN + len(faces), visible=visible)[found.pk]
    shown = {face.pk for face in faces}
    context = {
        "team": found.space.team,
        "person": found,
        "faces": faces,
        "next": page.older,
        "before": request.GET.get("before", ""),
        "count": count,
        "count_text": f"{MOST_COUNTED:,}+" if count >= MOST_COUNTED else f"{count:,}",
        "known": [face for face in known if face.pk not in shown and not face.is_suggested][:KNOWN],
        "can_edit": can_edit,
        "undoable": undoable(request, found.space.team),
    }
    return render(request, "review/person.html", context)


def suggestions_of(found: Person, visible: Visible) -> FaceQuerySet:
    """The person's visible suggestions, most similar first, so that wrong ones gather at the end.

    Includes those of people merged into them, also while that merge is still under way.
    """
    family = Person.objects.filter(canonical=found).values_list("pk", flat=True)
    faces = visible.faces_of(list(family)).suggested()
    return faces.select_related("photo").order_by(*SUREST_FIRST)


def _sort(request: PageRequest, found: Person) -> HttpResponse:
    address = reverse("review_person", args=[found.space.team.slug, *_names(found)])
    yes, no = ticked(request, found)
    given = Parameters(request.POST)
    do = given.choice("do", ("confirm", "reject", "both"), "confirm")
    given.demand()
    if do == "reject":
        yes, no = [], [*yes]
    try:
        done = sort_suggestions(
            actor=actor_of(request), person=found, yes=yes, no=[] if do == "confirm" else no
        )
    except Refused as error:
        return refuse(request, error, address)
    messages.success(request, _in_words(done, found))
    if done.left_out:
        messages.info(request, _left_out(done.left_out))
    return go_back(request, f"{address}?done={token_of(done.changes)}")


def ticked(request: PageRequest, found: Person) -> tuple[list[Face], list[Face]]:
    """The ticked and the unticked ones of the faces that the page showed.

    Only faces that the user may change.
    """
    given = Parameters(request.POST)
    shown, chosen = given.numbers("face"), set(given.numbers("yes"))
    given.demand()
    faces = (
        access.faces(request.user, found.space.team, shown, write=True)
        .filter(space=found.space_id)
        .select_related("person", "photo__gallery__space__team")
        .order_by("pk")
    )
    everything = list(faces)
    return (
        [face for face in everything if face.pk in chosen],
        [face for face in everything if face.pk not in chosen],
    )


def _names(found: Person) -> tuple[int, int]:
    return found.space.number, found.person_id


def _in_words(done: Sorted, found: Person) -> str:
    parts = []
    if done.confirmed:
        parts.append(f"{_faces(done.confirmed)} of {found.name} confirmed")
    if done.rejected:
        verb = "is" if done.rejected == 1 else "are"
        parts.append(f"{_faces(done.rejected)} {verb} somebody else")
    return f"{', '.join(parts)}." if parts else "Nothing was changed."


def _left_out(count: int) -> str:
    return (
        f"{_faces(count)} changed meanwhile, by somebody else or by recognition, and "
        f"{'was' if count == 1 else 'were'} left so."
    )


def _faces(count: int) -> str:
    return f"{count:,} face{'' if count == 1 else 's'}"


# --- Undo ---


@dataclass(frozen=True, slots=True)
class Undoable:
    """The changes that were just made: their pks as `?done=` has them, and their words."""

    token: str
    text: str


def token_of(changes: Collection[Change]) -> str:
    return ".".join(str(change.pk) for change in changes)


def undoable(request: PageRequest, team: Team) -> Undoable | None:
    """The changes in `?done=` that are this user's and not undone; None if there are none."""
    changes = _own_changes(request.user, team, request.GET, write=False)
    if not changes:
        return None
    return Undoable(token_of(changes), "; ".join(words_of(change) for change in changes))


def _own_changes(user: User, team: Team, asked: QueryDict, *, write: bool) -> list[Change]:
    """The user's own changes from the token in `done` (see `token_of`), the latest first."""
    given = Parameters(asked)
    pks = given.keys("done", MOST_UNDONE)
    given.demand()
    if not pks:
        return []
    changes = access.changes(user, team, pks, write=write).filter(actor=user, undone_at=None)
    return list(changes.select_related("person", "other").order_by("-pk"))


@signed_in
@require_POST
def take_back(request: PageRequest, team: str) -> HttpResponse:
    """Undo the changes of one form, the latest first: all of them or none."""
    found = team_for(request.user, team, right=Right.EDIT)
    address = reverse("review_many", args=[team])
    changes = _own_changes(request.user, found, request.POST, write=True)
    try:
        if not changes:
            raise Refused("That is taken back already.")
        with transaction.atomic():
            for change in changes:
                undo(actor=actor_of(request), change=change)
    except Refused as error:
        return refuse(request, error, address)
    messages.success(request, f"Taken back: {'; '.join(map(words_of, changes))}.")
    return go_back(request, address)


urlpatterns = [
    path("review/many/", people, name="review_many"),
    path("review/many/<int:number>/<int:person_id>/", person, name="review_person"),
    path("review/undo", take_back, name="review_undo"),
]
