"""Bulk actions on a person's ticked faces: confirm, reject, ignore, cover, enrol."""

from __future__ import annotations

import json
from collections.abc import Sequence

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.utils.text import Truncator
from django.views.decorators.http import require_POST

from dashboard.middleware import PageRequest
from dashboard.pages.people import person_faces
from dashboard.pages.people.person import url_of
from dashboard.pages.shared import (
    actor_of,
    fragment,
    go_back,
    is_fragment,
    offer_undo,
    refuse,
    signed_in,
)
from persons import access
from persons.access import person_for
from persons.actions.faces import confirm_faces, ignore_faces, name_face, reject_faces
from persons.actions.people import choose_cover
from persons.audit import Actor
from persons.errors import Refused
from persons.models import Change, Face, Person

MOST_PICTURES = 20
"""Faces that may be enrolled at once: a few good pictures teach more than many."""


@signed_in
@require_POST
def decide(request: PageRequest, team: str, number: int, person_id: int) -> HttpResponse:
    """Apply the form's `do` to the ticked faces: confirm, reject, ignore, cover or enrol."""
    found = person_for(request.user, team, number, person_id, write=True)
    faces = person_faces.chosen(request, found)
    do = request.POST.get("do", "")
    try:
        if not faces:
            raise Refused("Choose a face first.")
        change, words = _done(actor_of(request), found, faces, do)
    except Refused as error:
        return refuse(request, error, url_of(found))
    if change is not None:
        offer_undo(request, words, change)
    else:
        messages.success(request, words)
    if not is_fragment(request) or do == "cover":
        return go_back(request, url_of(found))
    return _answer(request, found, [face.pk for face in faces])


def _done(
    actor: Actor, person: Person, faces: Sequence[Face], do: str
) -> tuple[Change | None, str]:
    many = _many(len(faces))
    name = Truncator(person.name).chars(40)
    match do:
        case "confirm":
            confirmed = confirm_faces(actor=actor, faces=faces)
            if confirmed is None:
                raise Refused("Nothing to confirm: a human has decided on these already.")
            return confirmed, f"{_many(confirmed.face_count)} {name}: confirmed."
        case "reject":
            change = reject_faces(actor=actor, faces=faces, person=person)
            return change, f"{many} not {name}, and won't be taken for them again."
        case "ignore":
            return ignore_faces(actor=actor, faces=faces), f"{many} ignored."
        case "cover":
            if len(faces) > 1:
                raise Refused("Choose one face for the cover.")
            choose_cover(actor=actor, person=person, face=faces[0])
            return None, f"That is the cover of {name} now."
        case "enrol":
            return _enrolled(actor, person, faces)
    raise Refused("There is nothing to do.")


def _enrolled(actor: Actor, person: Person, faces: Sequence[Face]) -> tuple[Change | None, str]:
    if not person.label:
        raise Refused("Give a name first: pictures are enrolled of people with a name.")
    if len(faces) > MOST_PICTURES:
        raise Refused(f"Choose at most {MOST_PICTURES} faces: a few good pictures teach the most.")
    named = [name_face(actor=actor, face=face, label=person.label) for face in faces]
    many = "a picture" if len(faces) == 1 else f"{len(faces)} pictures"
    words = f"Vision gets {many} of {person.name}; then their other photos are looked at again."
    return named[0].change if len(named) == 1 else None, words


def _many(count: int) -> str:
    return "1 face is" if count == 1 else f"{count} faces are"


def _answer(request: HttpRequest, found: Person, pks: Sequence[int]) -> HttpResponse:
    """The faces as they are now, for the page to swap in; it removes those in `gone`."""
    visible = access.visible(request.user, found.space.team)
    context = person_faces.renewed(found, pks, visible)
    response = fragment(request, "people/_renewed.html", context | {"can_edit": True})
    response["HX-Reswap"] = "none"
    response["HX-Trigger-After-Swap"] = json.dumps({"faces-decided": {"gone": context["gone"]}})
    return response


urlpatterns = [
    path("spaces/<int:number>/people/<int:person_id>/faces", decide, name="person_faces"),
]
