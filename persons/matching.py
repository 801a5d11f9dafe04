"""Joining what the engine found to the faces that are there, so that no decision is lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from persons import holds, images
from persons.ledger import people_of
from persons.locking import locked
from persons.models import Decision, Enrolment, Face, Person, Photo, Recognition, Rejection, Space
from persons.settling import settle_photos
from persons.vision.envelope import UNDEFINED, clip
from persons.vision.types import Box, FoundPerson

SAME_FACE = 0.4
"""Boxes of one photo that overlap this much (intersection over union) are the same face."""

ATTRIBUTES = ("frontality", "visibility", "sex", "age", "emotion", "valence", "arousal")


def overlap(one: Box, other: Box) -> float:
    """Intersection over union, 0 to 1."""
    width = min(one.right, other.right) - max(one.left, other.left)
    height = min(one.bottom, other.bottom) - max(one.top, other.top)
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / (_area(one) + _area(other) - shared)


def pair(old: Sequence[Box], new: Sequence[Box]) -> dict[int, int]:
    """Which new box is which old one, by position: the best overlaps first, each box once."""
    candidates = sorted(
        (
            (-overlap(before, after), i, j)
            for i, before in enumerate(old)
            for j, after in enumerate(new)
            if overlap(before, after) >= SAME_FACE
        ),
    )
    taken: dict[int, int] = {}
    used: set[int] = set()
    for _, i, j in candidates:
        if j not in taken and i not in used:
            taken[j] = i
            used.add(i)
    return taken


def store_faces(
    *, space: Space, photo: Photo, found: Sequence[FoundPerson], recognition: Recognition
) -> None:
    """Put an answer on a photo's faces. In the caller's transaction, which has locked the photo.

    A face keeps its id as long as its box stays roughly where it was. One that was not found again
    is deleted, unless a human decided on it: then it stays, marked as missing.
    """
    faces = list(locked(Face.everything.filter(photo=photo)))
    had = {face.pk: face.person_id for face in faces}
    people = people_of(
        space, {person.person_id for person in found if person.person_id is not None}
    )
    found = [_without_erased(person, people) for person in found]

    boxed = [(person, _original_box(person.box, photo)) for person in found]
    placed = [(person, box) for person, box in boxed if box is not None]
    pairs = pair(
        [Box(face.left, face.top, face.right, face.bottom) for face in faces],
        [box for _, box in placed],
    )
    for position, (person, box) in enumerate(placed):
        old = faces[pairs[position]] if position in pairs else None
        if old is not None and old.decision == Decision.ERASED:
            continue
        face = old or Face(photo=photo, space=space)
        face.left, face.top, face.right, face.bottom = box.left, box.top, box.right, box.bottom
        face.tag = person.tag[:40]
        face.similarity = person.similarity
        face.confidence = person.confidence
        face.quality = person.awesomeness or 0.0
        face.attributes = {
            key: value for key in ATTRIBUTES if (value := getattr(person, key)) is not None
        }
        sure = person.person_id is not None and person.similarity >= space.threshold
        face.found_person = (
            people.get(person.person_id) if sure and person.person_id is not None else None
        )
        face.recognition = recognition
        face.missing = False
        face.save()

    kept = set(pairs.values())
    _not_found_again([face for position, face in enumerate(faces) if position not in kept])
    settle_photos([photo.pk])
    found_now = [pk for pk, person in _people_on(photo).items() if person != had.get(pk)]
    if found_now:
        Face.objects.filter(pk__in=found_now).update(found_by_run=photo.run_id)


def _without_erased(person: FoundPerson, people: Mapping[int, Person]) -> FoundPerson:
    """Somebody who was erased while Vision was asked is nobody."""
    if person.person_id is None or person.person_id in people:
        return person
    return replace(person, tag=UNDEFINED, person_id=None, similarity=0.0)


def _people_on(photo: Photo) -> dict[int, int | None]:
    return dict(Face.objects.filter(photo=photo, missing=False).values_list("pk", "person"))


def _not_found_again(faces: Sequence[Face]) -> None:
    """Deleted where no human had a word on it and no legal hold is on the photo; a box that
    somebody drew stays as it is."""
    drawn = [face.pk for face in faces if face.is_drawn]
    Face.objects.filter(pk__in=drawn).update(found_person=None, tag="undefined", similarity=0.0)
    undrawn = [face for face in faces if not face.is_drawn]
    pks = [face.pk for face in undrawn]
    wanted = set(Rejection.objects.filter(face__in=pks).values_list("face", flat=True))
    wanted |= set(Enrolment.objects.filter(face__in=pks).values_list("face", flat=True))
    wanted |= {face.pk for face in undrawn if face.decision != Decision.NONE}
    if set(pks) - wanted and _is_held(undrawn[0]):
        wanted = set(pks)
    Face.objects.filter(pk__in=set(pks) - wanted).delete()
    Face.objects.filter(pk__in=wanted).update(
        missing=True, found_person=None, tag="undefined", similarity=0.0
    )


def _is_held(face: Face) -> bool:
    return holds.held_photos(Photo.everything.filter(pk=face.photo_id)).exists()


def _original_box(box: Box, photo: Photo) -> Box | None:
    """From the sent copy's pixels to the oriented original's; None where it lies outside."""
    inside = clip(box, photo.sent_width, photo.sent_height)
    if inside is None:
        return None
    return images.map_box(
        inside, (photo.sent_width, photo.sent_height), (photo.width, photo.height)
    )


def _area(box: Box) -> int:
    return (box.right - box.left) * (box.bottom - box.top)
