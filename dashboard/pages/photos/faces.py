"""Decisions on one face of a photo: name, confirm, reject, ignore, clear; and drawn boxes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from django.http import HttpResponse
from django.urls import path, reverse
from django.views.decorators.http import require_POST

from dashboard.middleware import PageRequest
from dashboard.pages.photos.photos import FaceRow, parts_of
from dashboard.pages.shared import (
    actor_of,
    fragment,
    go_back,
    is_fragment,
    next_of,
    refuse,
    signed_in,
)
from persons.access import face_for, photo_for
from persons.actions.faces import (
    clear_decision,
    confirm_faces,
    draw_face,
    erase_face,
    ignore_face,
    name_face,
    reject_person,
)
from persons.audit import Actor
from persons.errors import Refused
from persons.inputs.params import Parameters
from persons.models import Face, Person, Photo
from persons.vision.types import Box

MOST_PIXELS = 999_999
SIDES = ("left", "top", "right", "bottom")


@signed_in
@require_POST
def name(request: PageRequest, team: str, pk: int) -> HttpResponse:
    label = request.POST.get("label", "")
    return _decide(
        request, team, pk, lambda actor, face: name_face(actor=actor, face=face, label=label)
    )


@signed_in
@require_POST
def confirm(request: PageRequest, team: str, pk: int) -> HttpResponse:
    """Confirm the face as the person whom the page showed; refused if that has changed."""
    shown = _shown(request)

    def it_is(actor: Actor, face: Face) -> None:
        if shown is not None and face.person_id != shown:
            raise Refused("Somebody else is found in this face by now. Look at it again.")
        if confirm_faces(actor=actor, faces=[face]) is None:
            raise Refused("There is nothing to confirm on this face any more.")

    return _decide(request, team, pk, it_is)


@signed_in
@require_POST
def reject(request: PageRequest, team: str, pk: int) -> HttpResponse:
    """Reject the person whom the page showed, where the form names one: it may be outdated."""
    shown = _shown(request)

    def not_them(actor: Actor, face: Face) -> Face:
        person = face.person
        if shown is not None and (person is None or person.pk != shown):
            person = Person.objects.filter(space=face.space_id, pk=shown).first()
        return reject_person(actor=actor, face=face, person=person)

    return _decide(request, team, pk, not_them, stay=True)


@signed_in
@require_POST
def ignore(request: PageRequest, team: str, pk: int) -> HttpResponse:
    return _decide(request, team, pk, lambda actor, face: ignore_face(actor=actor, face=face))


@signed_in
@require_POST
def clear(request: PageRequest, team: str, pk: int) -> HttpResponse:
    return _decide(request, team, pk, lambda actor, face: clear_decision(actor=actor, face=face))


@signed_in
@require_POST
def erase(request: PageRequest, team: str, pk: int) -> HttpResponse:
    """Remove a box that was drawn by mistake."""
    return _decide(request, team, pk, lambda actor, face: erase_face(actor=actor, face=face))


@signed_in
@require_POST
def draw(request: PageRequest, team: str, pk: int) -> HttpResponse:
    """Draw a face that the detector missed: a box in the original's pixels, and maybe a name."""
    found = photo_for(request.user, team, pk, write=True)
    page = reverse("photo", args=[team, pk])
    try:
        face = draw_face(
            actor=actor_of(request),
            photo=found,
            box=_box(request),
            label=request.POST.get("label", ""),
        )
    except Refused as error:
        return refuse(request, error, page)
    if not is_fragment(request):
        return go_back(request, f"{page}#face-{face.pk}")
    return _decided(request, photo_for(request.user, team, pk), after=face.pk)


def _box(request: PageRequest) -> Box:
    """The form's box, rounded to whole pixels: pointers may give fractions. Raises Refused."""
    given = Parameters(request.POST)
    sides = [given.decimal(side, least=-MOST_PIXELS, most=MOST_PIXELS) for side in SIDES]
    if given.errors or None in sides:
        raise Refused("Draw a box around the face first.")
    return Box(*(round(side) for side in sides if side is not None))


def _shown(request: PageRequest) -> int | None:
    """The pk of the person whom the page showed on the face, if the form has it."""
    given = Parameters(request.POST)
    shown = given.number("person")
    given.demand()
    return shown


def _decide(
    request: PageRequest,
    team: str,
    pk: int,
    action: Callable[[Actor, Face], object],
    *,
    stay: bool = False,
) -> HttpResponse:
    """Run the action, then show the photo's faces again.

    The focus goes to the next unknown face, or with `stay` into this face's name field. A form
    with a `next` of its own is redirected there instead, also under htmx.
    """
    face = face_for(request.user, team, pk, write=True)
    photo_pk = face.photo_id
    page = reverse("photo", args=[team, photo_pk])
    try:
        action(actor_of(request), face)
    except Refused as error:
        return refuse(request, error, f"{page}#face-{pk}")
    if not is_fragment(request) or next_of(request):
        return go_back(request, f"{page}#face-{pk}")
    return _decided(request, photo_for(request.user, team, photo_pk), after=pk, stay=stay)


def _decided(request: PageRequest, photo: Photo, *, after: int, stay: bool = False) -> HttpResponse:
    context = parts_of(request, photo)
    # Focus the face's row, not its name field, where a shortcut such as `n` would be typed text.
    context["focus"] = None if stay else next_unknown(context["shown"], after=after)
    context["focus_field"] = after if stay else None
    return fragment(request, "photos/_decided.html", context)


def next_unknown(rows: Sequence[FaceRow], *, after: int) -> int | None:
    """The pk of the next unknown face to the right of face `after`, else the leftmost one."""
    at = next((i for i, row in enumerate(rows) if row.face.pk == after), -1)
    in_turn = [*rows[at + 1 :], *rows[: at + 1]]
    unknown = (row.face.pk for row in in_turn if row.kind == "unknown")
    return next(unknown, None)


urlpatterns = [
    path("photos/<int:pk>/draw", draw, name="draw_face"),
    path("faces/<int:pk>/name", name, name="face_name"),
    path("faces/<int:pk>/confirm", confirm, name="face_confirm"),
    path("faces/<int:pk>/reject", reject, name="face_reject"),
    path("faces/<int:pk>/ignore", ignore, name="face_ignore"),
    path("faces/<int:pk>/clear", clear, name="face_clear"),
    path("faces/<int:pk>/erase", erase, name="face_erase"),
]
