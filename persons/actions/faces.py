"""What a human says of faces. Each of these outlives every re-run of recognition, and is a Change
that `persons.actions.changes.undo` takes back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from django.db import transaction

from persons import audit
from persons.actions.deciding import Given, decide, lock_faces, space_of
from persons.actions.drawing import add_box, erase_face
from persons.actions.naming import clean_label, lock_space, who_is_meant
from persons.actions.words import said_of
from persons.audit import Actor
from persons.errors import Refused
from persons.models import Change, Decision, Face, Person, Photo
from persons.models.changes import ChangeKind
from persons.settling import of_one, raw_words, roots_of
from persons.vision.types import Box

__all__ = [
    "Named",
    "NamedMany",
    "clear_decision",
    "confirm_faces",
    "draw_face",
    "erase_face",
    "ignore_face",
    "ignore_faces",
    "name_face",
    "name_faces",
    "reject_faces",
    "reject_person",
]

GONE = "This face is gone: recognition did not find it again. Reload the page."
ALL_GONE = "These faces are gone: recognition did not find them again. Reload the page."


@dataclass(frozen=True, slots=True)
class Named:
    """`is_new` says that the person was made by this naming."""

    face: Face
    person: Person
    is_new: bool
    change: Change


@dataclass(frozen=True, slots=True)
class NamedMany:
    """`count` faces are that person's now; `is_new` as in Named."""

    person: Person
    is_new: bool
    change: Change
    count: int


@transaction.atomic
def name_face(*, actor: Actor, face: Face, label: str) -> Named:
    """This face is that person: makes them in the gallery's space if need be, and enrols the crop.

    A worker then enrols it and looks for the person among the space's unknown faces.
    """
    label = clean_label(label)
    space = face.photo.gallery.space
    meant = who_is_meant(actor=actor, space=space, label=label, unnamed=face.person)
    shown = face.person_id
    face = _locked(face)
    if meant.gets_label and face.person_id != shown:
        raise Refused("Somebody else was found in this face meanwhile. Look at it again.")
    before = _state(face)
    change = decide(
        actor=actor,
        kind=ChangeKind.NAME,
        given=[Given(face, meant.person.pk)],
        person=meant.person,
        new_label=label if meant.is_new or meant.gets_label else "",
        gets_label=meant.gets_label,
        teach_all=True,
    )
    face = _record(actor, "face.name", face, before)
    return Named(face, face.person or meant.person, meant.is_new, change)


@transaction.atomic
def name_faces(*, actor: Actor, faces: Sequence[Face], label: str) -> NamedMany:
    """All these faces of one space are that person. The best few are enrolled.

    Faces that are gone meanwhile are left out.
    """
    label = clean_label(label)
    if not faces:
        raise Refused("Choose a face.")
    space = space_of(faces)
    meant = who_is_meant(actor=actor, space=space, label=label, unnamed=_one_unnamed(faces))
    shown = {face.person_id for face in faces}
    locked = _all_locked(faces)
    if meant.gets_label and {face.person_id for face in locked} != shown:
        raise Refused("Somebody else was found in these faces meanwhile. Look at them again.")
    change = decide(
        actor=actor,
        kind=ChangeKind.NAME,
        given=[Given(face, meant.person.pk) for face in locked],
        person=meant.person,
        new_label=label if meant.is_new or meant.gets_label else "",
        gets_label=meant.gets_label,
    )
    meant.person.refresh_from_db()
    _record_many(actor, "faces.name", change)
    return NamedMany(meant.person, meant.is_new, change, len(locked))


@transaction.atomic
def confirm_faces(*, actor: Actor, faces: Iterable[Face]) -> Change | None:
    """Who was found in each of these faces it is, by a human's word. The best few are enrolled.

    A face is left out that nobody was found in, that somebody has decided on, or whose person is
    not the one whom the caller's copy has. None where that leaves no face.
    """
    shown = {face.pk: face.person_id for face in faces}
    locked = [
        face
        for face in lock_faces(shown)
        if face.decision == Decision.NONE
        and face.person_id is not None
        and face.person_id == shown[face.pk]
    ]
    if not locked:
        return None
    people = {face.person_id for face in locked}
    change = decide(
        actor=actor,
        kind=ChangeKind.CONFIRM,
        given=[Given(face, face.person_id) for face in locked],
        person=locked[0].person if len(people) == 1 else None,
    )
    _record_many(actor, "faces.confirm", change)
    return change


@transaction.atomic
def reject_person(*, actor: Actor, face: Face, person: Person | None) -> Face:
    """ "Not this person": the face is unknown again, and never that person by the engine's word.

    Raises Refused where the face is not that person's any more.
    """
    face = _locked(face)
    if face.person is None or person is None:
        raise Refused("This face has no name to take away.")
    if not of_one([face], person.pk):
        raise Refused(f"That is not {person.name} any more: it is {face.person.name}.")
    before = _state(face)
    decide(actor=actor, kind=ChangeKind.REJECT, given=_rejected([face]), person=face.person)
    return _record(actor, "face.reject", face, before)


@transaction.atomic
def reject_faces(*, actor: Actor, faces: Iterable[Face], person: Person) -> Change:
    """None of these faces is that person. Those that aren't theirs any more are left out."""
    locked = of_one(lock_faces(face.pk for face in faces), person.pk)
    if not locked:
        raise Refused(f"None of these faces is {person.name}'s any more. Reload the page.")
    change = decide(
        actor=actor,
        kind=ChangeKind.REJECT,
        given=_rejected(locked),
        person=locked[0].person,
    )
    _record_many(actor, "faces.reject", change)
    return change


@transaction.atomic
def ignore_face(*, actor: Actor, face: Face) -> Face:
    """Nobody who matters: the face no longer waits for a name."""
    face = _locked(face)
    before = _state(face)
    decide(actor=actor, kind=ChangeKind.IGNORE, given=[Given(face)])
    return _record(actor, "face.ignore", face, before)


@transaction.atomic
def ignore_faces(*, actor: Actor, faces: Iterable[Face]) -> Change:
    """Nobody who matters is in any of these. Those that are gone meanwhile are left out."""
    locked = _all_locked(faces)
    change = decide(actor=actor, kind=ChangeKind.IGNORE, given=[Given(face) for face in locked])
    _record_many(actor, "faces.ignore", change)
    return change


@transaction.atomic
def clear_decision(*, actor: Actor, face: Face) -> Face:
    """As if no human had said anything of this face. Its enrolment is taken back."""
    face = _locked(face)
    said = said_of([face])[face.pk]
    if said.decision == Decision.NONE and not said.rejected and not said.taught:
        return face
    before = _state(face)
    decide(actor=actor, kind=ChangeKind.CLEAR, given=[Given(face)], person=face.decided_person)
    return _record(actor, "face.clear", face, before)


@transaction.atomic
def draw_face(*, actor: Actor, photo: Photo, box: Box, label: str = "") -> Face:
    """A face where recognition found none; with a `label` it is named too, and enrolled.

    `box` is in the oriented original's pixels. Later recognitions find the face again by its place,
    and never delete it. Raises Refused for a box that is no place for a face, or has one already.
    """
    if label.strip():
        # Somebody may have to be made for it, and the space comes before the photo.
        lock_space(photo.gallery.space_id)
    face = add_box(actor=actor, photo=photo, box=box)
    if label.strip():
        return name_face(actor=actor, face=face, label=label).face
    face.refresh_from_db()
    return face


def _one_unnamed(faces: Sequence[Face]) -> Person | None:
    """The one person without a name to whom all of these belong, as a group of unknown faces."""
    people = {face.person_id for face in faces}
    person = faces[0].person
    return person if len(people) == 1 and person is not None and not person.label else None


def _rejected(faces: Sequence[Face]) -> list[Given]:
    """Not whom each shows, and not whom the words on it named before that one took them in."""
    said = {face.pk: raw_words(face) | {face.person_id or 0} for face in faces}
    roots = roots_of(pk for some in said.values() for pk in some)
    return [
        Given(
            face,
            not_them=frozenset(
                {pk for pk in said[face.pk] if roots[pk] == roots[face.person_id or 0]}
                | {roots[face.person_id or 0]}
            ),
        )
        for face in faces
    ]


def _locked(face: Face) -> Face:
    found = lock_faces([face.pk])
    if not found:
        raise Refused(GONE)
    return found[0]


def _all_locked(faces: Iterable[Face]) -> list[Face]:
    found = lock_faces(face.pk for face in faces)
    if not found:
        raise Refused(ALL_GONE)
    return found


def _record(actor: Actor, action: str, face: Face, before: dict[str, object]) -> Face:
    """The face as it is now, with its audit entry."""
    team = face.photo.gallery.space.team
    settled = Face.everything.select_related("person")
    face.refresh_from_db(fields=["person", "review", "review_rank"], from_queryset=settled)
    audit.record(
        actor=actor, team=team, action=action, target=face, before=before, after=_state(face)
    )
    return face


def _record_many(actor: Actor, action: str, change: Change) -> None:
    person = change.person
    audit.record(
        actor=actor,
        team=change.team,
        action=action,
        target=person or change,
        after={
            "faces": change.face_count,
            "change": change.pk,
            **({"label": person.label} if person else {}),
        },
    )


def _state(face: Face) -> dict[str, object]:
    return {
        "decision": face.decision,
        "person": face.person.tag if face.person else None,
        "label": face.person.label if face.person else "",
    }
