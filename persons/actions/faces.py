"""Human decisions on faces. Each survives later recognitions, and is a Change that
`persons.actions.changes.undo` takes back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from django.db import transaction

from persons import audit
from persons.actions.apply_decisions import DecidedFace, Subject, decide, lock_faces, space_of
from persons.actions.decision_events import decisions_of
from persons.actions.drawing import add_box, erase_face
from persons.actions.naming import Meant, clean_label, lock_space, who_is_meant
from persons.audit import Actor
from persons.errors import Refused
from persons.faces.identity import of_one, people_named_by
from persons.models import Change, Decision, Face, Person, Photo
from persons.models.changes import ChangeKind
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
    """`is_new` says that this naming created the person."""

    face: Face
    person: Person
    is_new: bool
    change: Change


@dataclass(frozen=True, slots=True)
class NamedMany:
    """`count` faces belong to `person` now; `is_new` as in Named."""

    person: Person
    is_new: bool
    change: Change
    count: int


@transaction.atomic
def name_face(*, actor: Actor, face: Face, label: str) -> Named:
    """Name a face. The person is created in the gallery's space if need be.

    A worker then enrols the crop and looks for the person among the space's unknown faces. Raises
    Refused.
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
        given=[DecidedFace(face, meant.person.pk)],
        subject=_subject(meant, label),
        enrols_all=True,
    )
    face = _record(actor, "face.name", face, before, change)
    return Named(face, face.person or meant.person, meant.is_new, change)


@transaction.atomic
def name_faces(*, actor: Actor, faces: Sequence[Face], label: str) -> NamedMany:
    """Name several faces of one space at once. The best few are enrolled.

    Faces that are gone meanwhile are left out. Raises Refused if none is left.
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
        given=[DecidedFace(face, meant.person.pk) for face in locked],
        subject=_subject(meant, label),
    )
    meant.person.refresh_from_db()
    _record_many(actor, "faces.name", change)
    return NamedMany(meant.person, meant.is_new, change, len(locked))


@transaction.atomic
def confirm_faces(*, actor: Actor, faces: Iterable[Face]) -> Change | None:
    """Confirm for each face that it shows the person found in it. The best few are enrolled.

    Left out are faces without a person or with a human decision, and those whose person is no
    longer the one in the caller's copy. Returns None if no face is left.
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
        given=[DecidedFace(face, face.person_id) for face in locked],
        subject=Subject(locked[0].person if len(people) == 1 else None),
    )
    _record_many(actor, "faces.confirm", change)
    return change


@transaction.atomic
def reject_person(*, actor: Actor, face: Face, person: Person | None) -> Face:
    """ "Not this person": the face is unknown again, and recognition never names them for it again.

    Raises Refused if the face no longer belongs to that person.
    """
    face = _locked(face)
    if face.person is None or person is None:
        raise Refused("This face has no name to take away.")
    if not of_one([face], person.pk):
        raise Refused(f"That is not {person.name} any more: it is {face.person.name}.")
    before = _state(face)
    change = decide(
        actor=actor, kind=ChangeKind.REJECT, given=_rejected([face]), subject=Subject(face.person)
    )
    return _record(actor, "face.reject", face, before, change)


@transaction.atomic
def reject_faces(*, actor: Actor, faces: Iterable[Face], person: Person) -> Change:
    """Reject the person for all these faces. Faces that are no longer theirs are left out."""
    locked = of_one(lock_faces(face.pk for face in faces), person.pk)
    if not locked:
        raise Refused(f"None of these faces is {person.name}'s any more. Reload the page.")
    change = decide(
        actor=actor,
        kind=ChangeKind.REJECT,
        given=_rejected(locked),
        subject=Subject(locked[0].person),
    )
    _record_many(actor, "faces.reject", change)
    return change


@transaction.atomic
def ignore_face(*, actor: Actor, face: Face) -> Face:
    """Set a face aside as nobody who matters: it no longer waits for a name."""
    face = _locked(face)
    before = _state(face)
    change = decide(actor=actor, kind=ChangeKind.IGNORE, given=[DecidedFace(face)])
    return _record(actor, "face.ignore", face, before, change)


@transaction.atomic
def ignore_faces(*, actor: Actor, faces: Iterable[Face]) -> Change:
    """`ignore_face` for several faces. Those that are gone meanwhile are left out."""
    locked = _all_locked(faces)
    change = decide(
        actor=actor, kind=ChangeKind.IGNORE, given=[DecidedFace(face) for face in locked]
    )
    _record_many(actor, "faces.ignore", change)
    return change


@transaction.atomic
def clear_decision(*, actor: Actor, face: Face) -> Face:
    """Remove all human decisions on this face, its rejections and its enrolment included."""
    face = _locked(face)
    decided = decisions_of([face])[face.pk]
    if decided.decision == Decision.NONE and not decided.rejected and not decided.enrolled:
        return face
    before = _state(face)
    change = decide(
        actor=actor,
        kind=ChangeKind.CLEAR,
        given=[DecidedFace(face)],
        subject=Subject(face.decided_person),
    )
    return _record(actor, "face.clear", face, before, change)


@transaction.atomic
def draw_face(*, actor: Actor, photo: Photo, box: Box, label: str = "") -> Face:
    """Create a face where recognition found none; with a `label` it is named and enrolled too.

    `box` is in the oriented original's pixels. Later recognitions match the face by its place and
    never delete it. Raises Refused if the box is too small, leaves the photo or is on a face that
    exists already.
    """
    if label.strip():
        # Naming may create a person, and the space has to be locked before the photo.
        lock_space(photo.gallery.space_id)
    face = add_box(actor=actor, photo=photo, box=box)
    if label.strip():
        return name_face(actor=actor, face=face, label=label).face
    face.refresh_from_db()
    return face


def _subject(meant: Meant, label: str) -> Subject:
    named = meant.is_new or meant.gets_label
    return Subject(meant.person, label=label if named else "", gets_label=meant.gets_label)


def _one_unnamed(faces: Sequence[Face]) -> Person | None:
    """The one person without a name on all these faces, as on a group of unknown faces; else
    None."""
    people = {face.person_id for face in faces}
    person = faces[0].person
    return person if len(people) == 1 and person is not None and not person.label else None


def _rejected(faces: Sequence[Face]) -> list[DecidedFace]:
    """Reject on each face the person it shows, and the people it names who were merged into
    them."""
    shown_on = {face.pk: people_named_by(face) | {face.person_id or 0} for face in faces}
    people = Person.objects.filter(pk__in={pk for some in shown_on.values() for pk in some})
    canonical = dict(people.values_list("pk", "canonical"))
    given = []
    for face in faces:
        shown = canonical[face.person_id or 0]
        same = {pk for pk in shown_on[face.pk] if canonical[pk] == shown}
        given.append(DecidedFace(face, not_them=frozenset(same | {shown})))
    return given


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


def _record(
    actor: Actor, action: str, face: Face, before: dict[str, object], change: Change
) -> Face:
    """Reload the face and record its audit entry."""
    team = face.photo.gallery.space.team
    resolved = Face.everything.select_related("person")
    face.refresh_from_db(fields=["person", "review", "review_rank"], from_queryset=resolved)
    audit.record(
        actor=actor,
        team=team,
        action=action,
        target=face,
        before=before,
        after=_state(face) | {"said": change.said},
    )
    return face


def _record_many(actor: Actor, action: str, change: Change) -> None:
    person = change.person
    entry = audit.record(
        actor=actor,
        team=change.team,
        action=action,
        target=person or change,
        after={
            "faces": change.face_count,
            "change": change.pk,
            **({"label": person.label} if person else {}),
            "said": change.said,
        },
    )
    audit.concern(entry, audit.galleries_of_change(change))


def _state(face: Face) -> dict[str, object]:
    return {
        "decision": face.decision,
        "person": face.person.tag if face.person else None,
        "label": face.person.label if face.person else "",
    }
