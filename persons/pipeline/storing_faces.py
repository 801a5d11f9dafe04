"""Matches the engine's findings with the faces of a photo, so that no decision is lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from persons import images
from persons.db.locking import locked
from persons.db.tables import Table, save
from persons.faces.boxes import pair
from persons.faces.identity import resolve_identities
from persons.models import Decision, Enrolment, Face, Person, Photo, Recognition, Rejection, Space
from persons.people.enrolments import people_of
from persons.privacy import holds
from persons.vision.envelope import UNDEFINED, clip
from persons.vision.types import Box, FoundPerson

FACES = Table(Face)
FOUND = [
    *("left", "top", "right", "bottom", "tag", "similarity", "confidence", "quality"),
    *("attributes", "found_person_id", "recognition_id", "missing"),
]
"""What an answer changes of a face that was there before."""

ATTRIBUTES = ("frontality", "visibility", "sex", "age", "emotion", "valence", "arousal")


def store_faces(
    *, space: Space, photo: Photo, found: Sequence[FoundPerson], recognition: Recognition
) -> None:
    """Store an answer as a photo's faces, in the caller's transaction, which has locked the photo.

    A face keeps its id while its box stays roughly in place. A face that is not found again is
    deleted; with a human decision it stays, marked as missing.
    """
    faces = list(locked(Face.everything.filter(photo=photo)))
    had = {face.pk: face.person_id for face in faces}
    people = people_of(
        space,
        {person.person_id for person in found if person.person_id is not None},
        call=recognition.call,
    )
    found = [_without_erased(person, people) for person in found]

    boxed = [(person, _original_box(person.box, photo)) for person in found]
    placed = [(person, box) for person, box in boxed if box is not None]
    pairs = pair(
        [Box(face.left, face.top, face.right, face.bottom) for face in faces],
        [box for _, box in placed],
    )
    kept = set(pairs.values())
    new: list[Face] = []
    moved: list[Face] = []
    for position, (person, box) in enumerate(placed):
        known = faces[pairs[position]] if position in pairs else None
        if known is not None and known.decision == Decision.ERASED:
            continue
        face = known or Face(photo=photo, space=space, gallery_id=photo.gallery_id)
        _take_answer(face, person, box, recognition)
        face.found_person = _who(person, people, space)
        (moved if known else new).append(face)
    Face.objects.bulk_create(new)
    save(FACES, moved, FOUND)
    _not_found_again([face for position, face in enumerate(faces) if position not in kept])
    resolve_identities([photo.pk])
    found_now = [pk for pk, person in _people_on(photo).items() if person != had.get(pk)]
    if found_now:
        Face.objects.filter(pk__in=found_now).update(found_by_run=photo.run_id)


def _take_answer(face: Face, person: FoundPerson, box: Box, recognition: Recognition) -> None:
    face.left, face.top, face.right, face.bottom = box.left, box.top, box.right, box.bottom
    face.tag = person.tag[:40]
    face.similarity = person.similarity
    face.confidence = person.confidence
    face.quality = person.awesomeness or 0.0
    face.attributes = {
        key: value for key in ATTRIBUTES if (value := getattr(person, key)) is not None
    }
    face.recognition = recognition
    face.missing = False


def _who(person: FoundPerson, people: Mapping[int, Person], space: Space) -> Person | None:
    """Whom the recogniser named, if it was sure enough for this space."""
    if person.person_id is None or person.similarity < space.threshold:
        return None
    return people.get(person.person_id)


def _without_erased(person: FoundPerson, people: Mapping[int, Person]) -> FoundPerson:
    """A person who was erased while Vision was asked becomes unknown."""
    if person.person_id is None or person.person_id in people:
        return person
    return replace(person, tag=UNDEFINED, person_id=None, similarity=0.0)


def _people_on(photo: Photo) -> dict[int, int | None]:
    return dict(Face.objects.filter(photo=photo, missing=False).values_list("pk", "person"))


def _not_found_again(faces: Sequence[Face]) -> None:
    """Delete these faces, or mark them as missing if a human decided on them or the photo is held.

    Drawn boxes stay as they are.
    """
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
    """From the sent copy's pixels to the oriented original's; None if it lies outside."""
    inside = clip(box, photo.sent_width, photo.sent_height)
    if inside is None:
        return None
    return images.map_box(
        inside, (photo.sent_width, photo.sent_height), (photo.width, photo.height)
    )
