"""What is said of a face on its photo: who it is, who not, or nobody; and drawing one."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from django.http import HttpResponse
from django.urls import path, reverse
from django.views.decorators.http import require_POST

from dashboard.middleware import PageRequest
from dashboard.pages.photos import FaceRow, parts_of
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
from persons.models import Face, Person, Photo
from persons.vision.types import Box

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
    """It is whom the page showed, if it still is."""
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
    """Of whom the page showed, if it says so: that may be out of date."""
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
    """A box that was drawn by mistake goes away again."""
    return _decide(request, team, pk, lambda actor, face: erase_face(actor=actor, face=face))


@signed_in
@require_POST
def draw(request: PageRequest, team: str, pk: int) -> HttpResponse:
    """A face where the detector found none: its box in the original's pixels, and maybe a name."""
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
    """A fraction of a pixel, as a pointer may give, counts as the nearest whole one."""
    texts = [request.POST.get(side, "") for side in SIDES]
    if not all(re.fullmatch(r"-?[0-9]{1,6}(\.[0-9]{1,20})?", text) for text in texts):
        raise Refused("Draw a box around the face first.")
    return Box(*(round(float(text)) for text in texts))


def _shown(request: PageRequest) -> int | None:
    """Whom the page showed on the face, by pk."""
    text = request.POST.get("person", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def _decide(
    request: PageRequest,
    team: str,
    pk: int,
    action: Callable[[Actor, Face], object],
    *,
    stay: bool = False,
) -> HttpResponse:
    """Do it, then show the faces again with the focus on the next unknown one, or in this one's
    field.

    A form with a `next` of its own goes there instead, also under htmx: that page's parts follow.
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
    # The next one itself, not its field: a key such as `n` is then no letter of a name.
    context["focus"] = None if stay else next_unknown(context["shown"], after=after)
    context["focus_field"] = after if stay else None
    return fragment(request, "photos/_decided.html", context)


def next_unknown(rows: Sequence[FaceRow], *, after: int) -> int | None:
    """The pk of the unknown face to the right of that one, or else the first from the left."""
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
