"""Decisions of a reviewer on what a page showed them. Changes made since are not overwritten."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum

from django.db import transaction

from persons.actions.faces import (
    confirm_faces,
    ignore_faces,
    name_face,
    name_faces,
    reject_faces,
)
from persons.audit import Actor
from persons.errors import Refused
from persons.faces.identity import of_one
from persons.models import Change, ChangedFace, Decision, Face, Person


class FaceChanged(Refused):
    """Another human or recognition changed the face first. It is left as it is."""


class Verdict(StrEnum):
    CONFIRM = "confirm"
    NAME = "name"
    REJECT = "reject"
    IGNORE = "ignore"


@transaction.atomic
def decide_face(
    *, actor: Actor, face: Face, verdict: Verdict, shown: int | None, label: str = ""
) -> Change:
    """Decide on one face. `shown` is the pk of the person whom the reviewer saw on it.

    Raises FaceChanged if another human decided meanwhile. If recognition found somebody else
    meanwhile, a typed name is still taken; other verdicts raise FaceChanged, since they were about
    what was shown.
    """
    if face.decision != Decision.NONE:
        raise FaceChanged(_decided_meanwhile(face.decision, face.person))
    if verdict != Verdict.NAME and face.person_id != shown:
        raise FaceChanged(_recognised(face))
    match verdict:
        case Verdict.NAME:
            change = name_face(actor=actor, face=face, label=label).change
        case Verdict.CONFIRM:
            found = confirm_faces(actor=actor, faces=[face])
            if found is None:
                raise FaceChanged("That face changed this very moment. Look at it again.")
            change = found
        case Verdict.REJECT:
            if face.person is None:
                raise Refused("This face has no name to take away.")
            change = reject_faces(actor=actor, faces=[face], person=face.person)
        case Verdict.IGNORE:
            change = ignore_faces(actor=actor, faces=[face])
    _refuse_conflict([change])
    return change


@dataclass(frozen=True, slots=True)
class Sorted:
    """The outcome of a page of suggestions. `left_out` faces changed since the page was shown."""

    changes: tuple[Change, ...]
    confirmed: int
    rejected: int
    left_out: int


@transaction.atomic
def sort_suggestions(
    *, actor: Actor, person: Person, yes: Collection[Face], no: Collection[Face]
) -> Sorted:
    """Of the faces suggested as `person`, confirm `yes` and reject `no`.

    Faces that somebody decided on, or that were recognised as somebody else since, are left out.
    """
    still = _still_theirs([*yes, *no], person)
    theirs = [face for face in yes if face.pk in still]
    not_theirs = [face for face in no if face.pk in still]
    if not yes and not no:
        raise Refused("Tick a face.")
    confirmed = confirm_faces(actor=actor, faces=theirs) if theirs else None
    rejected = reject_faces(actor=actor, faces=not_theirs, person=person) if not_theirs else None
    changes = tuple(change for change in (confirmed, rejected) if change is not None)
    counts = [change.face_count if change else 0 for change in (confirmed, rejected)]
    return Sorted(changes, counts[0], counts[1], len(yes) + len(no) - sum(counts))


@dataclass(frozen=True, slots=True)
class GroupNamed:
    person: Person
    is_new: bool
    changes: tuple[Change, ...]
    count: int


@transaction.atomic
def name_group(
    *, actor: Actor, person: Person, faces: Sequence[Face], others: Collection[Face], label: str
) -> GroupNamed:
    """Name a group's `faces`, after taking `others` out of it."""
    still = _still_theirs(faces, person)
    theirs = [face for face in faces if face.pk in still]
    if not theirs:
        raise Refused("None of these faces is in this group any more. Reload the page.")
    # First the others: once the group has a name, the rejection would be of that name.
    changes = take_out(actor=actor, person=person, faces=others)
    named = name_faces(actor=actor, faces=theirs, label=label)
    return GroupNamed(named.person, named.is_new, (*changes, named.change), named.count)


@transaction.atomic
def take_out(*, actor: Actor, person: Person, faces: Collection[Face]) -> tuple[Change, ...]:
    """Reject the group's person for these faces: they are unknown again."""
    still = _still_theirs(faces, person)
    theirs = [face for face in faces if face.pk in still]
    return (reject_faces(actor=actor, faces=theirs, person=person),) if theirs else ()


def _still_theirs(faces: Collection[Face], person: Person) -> set[int]:
    """Pks of the undecided faces that belong to the person or to anybody merged into them."""
    undecided = [face for face in faces if face.decision == Decision.NONE]
    return {face.pk for face in of_one(undecided, person.pk)}


def _refuse_conflict(changes: Collection[Change]) -> None:
    """Raise Conflict if a face had a decision when the change locked it, as its row recorded."""
    for row in ChangedFace.objects.filter(change__in=changes):
        if row.before.get("decision"):
            person = Person.objects.filter(pk=row.before.get("person")).first()
            raise FaceChanged(_decided_meanwhile(row.before["decision"], person))


def _decided_meanwhile(decision: str, person: Person | None) -> str:
    if decision == Decision.NAMED and person is not None:
        return f"Somebody was quicker: that is {person.name}."
    return "Somebody was quicker: that face was set aside already."


def _recognised(face: Face) -> str:
    if face.person is None:
        return "Nobody is suggested there any more. Look at it again."
    return f"That face was recognised as {face.person.name} meanwhile, and left so."
