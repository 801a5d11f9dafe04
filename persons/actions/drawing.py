"""Boxes that humans draw where the detector missed a face."""

from __future__ import annotations

from django.db import transaction

from persons import audit
from persons.audit import Actor
from persons.db.locking import locked
from persons.errors import Refused
from persons.faces.boxes import SAME_FACE, overlap
from persons.faces.identity import resolve_identities
from persons.models import Face, Photo
from persons.privacy import holds
from persons.vision.types import Box

SMALLEST_SIDE = 20
"""In the original's pixels; no recogniser finds a face in a smaller box."""


def add_box(*, actor: Actor, photo: Photo, box: Box) -> Face:
    """Create a face where recognition found none. Call it in a transaction.

    Raises Refused if the box is too small, leaves the photo or is on a face that exists already.
    """
    found = locked(Photo.objects.filter(pk=photo.pk).select_related("gallery__space__team")).first()
    if found is None:
        raise Refused("This photo is gone: somebody threw it away meanwhile.")
    others = list(locked(Face.everything.filter(photo=found).select_related("person")))
    _demand_inside(box, found)
    for other in others:
        if overlap(box, Box(other.left, other.top, other.right, other.bottom)) >= SAME_FACE:
            who = f": {other.person.name}" if other.person else ""
            raise Refused(f"There is a face in that place already{who}. Name that one.")
    face = Face.objects.create(
        photo=found,
        space=found.gallery.space,
        left=box.left,
        top=box.top,
        right=box.right,
        bottom=box.bottom,
        is_drawn=True,
        drawn_by=actor.user,
    )
    resolve_identities([found.pk])
    audit.record(
        actor=actor,
        team=found.gallery.team,
        action="face.draw",
        target=face,
        after={"photo": found.pk, "box": [box.left, box.top, box.right, box.bottom]},
    )
    return face


@transaction.atomic
def erase_face(*, actor: Actor, face: Face) -> None:
    """Delete a drawn box.

    Raises Refused if recognition has found a face in it since, or if somebody has decided on it.
    """
    found = locked(Face.objects.filter(pk=face.pk).select_related("photo__gallery__team")).first()
    if found is None:
        return
    if not found.is_drawn or found.recognition_id is not None:
        raise Refused("Recognition found this face: it can be ignored, not erased.")
    if found.decision or found.enrolments.exclude(state="removed").exists():
        raise Refused("Somebody said who this is. Take that back first.")
    photo = found.photo
    holds.demand_free(photos=Photo.everything.filter(pk=photo.pk))
    audit.record(
        actor=actor,
        team=photo.gallery.team,
        action="face.erase",
        target=found,
        before={"photo": photo.pk, "box": [found.left, found.top, found.right, found.bottom]},
    )
    found.delete()
    resolve_identities([photo.pk])


def _demand_inside(box: Box, photo: Photo) -> None:
    inside = box.left >= 0 and box.right <= photo.width and box.top >= 0
    if not (inside and box.bottom <= photo.height):
        raise Refused("The box reaches out of the photo. Draw it inside.")
    if min(box.right - box.left, box.bottom - box.top) < SMALLEST_SIDE:
        raise Refused(f"The box is too small: a face has at least {SMALLEST_SIDE} pixels a side.")
