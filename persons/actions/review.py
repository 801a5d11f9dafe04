"""What a reviewer decides of what they were shown. What changed since is not overwritten."""

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
from persons.models import Change, ChangedFace, Decision, Face, Person
from persons.settling import of_one


class Quicker(Refused):
    """Somebody else, or recognition, was quicker. The face is left as it is."""


class Verdict(StrEnum):
    CONFIRM = "confirm"
    NAME = "name"
    REJECT = "reject"
    IGNORE = "ignore"


@transaction.atomic
def decide_face(
    *, actor: Actor, face: Face, verdict: Verdict, shown: int | None, label: str = ""
) -> Change:
    """`shown` is whom the reviewer was shown as the face's person, by pk.

    What another human said meanwhile is not overwritten unseen. What recognition found meanwhile
    is, by a name; but neither confirmed nor ignored, for that was not what was meant.
    """
    if face.decision != Decision.NONE:
        raise Quicker(_somebody_said(face.decision, face.person))
    if verdict != Verdict.NAME and face.person_id != shown:
        raise Quicker(_recognised(face))
    match verdict:
        case Verdict.NAME:
            change = name_face(actor=actor, face=face, label=label).change
        case Verdict.CONFIRM:
            found = confirm_faces(actor=actor, faces=[face])
            if found is None:
                raise Quicker("That face changed this very moment. Look at it again.")
            change = found
        case Verdict.REJECT:
            if face.person is None:
                raise Refused("This face has no name to take away.")
            change = reject_faces(actor=actor, faces=[face], person=face.person)
        case Verdict.IGNORE:
            change = ignore_faces(actor=actor, faces=[face])
    _nobody_was_quicker([change])
    return change


@dataclass(frozen=True, slots=True)
class Sorted:
    """What became of a page of suggestions. `left_out` changed since the page was shown."""

    changes: tuple[Change, ...]
    confirmed: int
    rejected: int
    left_out: int


@transaction.atomic
def sort_suggestions(
    *, actor: Actor, person: Person, yes: Collection[Face], no: Collection[Face]
) -> Sorted:
    """Of the faces suggested as `person`, `yes` are theirs and `no` are not.

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
    """A group without a name is somebody: `faces` are theirs, and `others` are taken out of it."""
    still = _still_theirs(faces, person)
    theirs = [face for face in faces if face.pk in still]
    if not theirs:
        raise Refused("None of these faces is in this group any more. Reload the page.")
    # First the others: once the group has a name, "not this person" would say that name.
    changes = take_out(actor=actor, person=person, faces=others)
    named = name_faces(actor=actor, faces=theirs, label=label)
    return GroupNamed(named.person, named.is_new, (*changes, named.change), named.count)


@transaction.atomic
def take_out(*, actor: Actor, person: Person, faces: Collection[Face]) -> tuple[Change, ...]:
    """These faces are not whoever that group is: they are unknown again."""
    still = _still_theirs(faces, person)
    theirs = [face for face in faces if face.pk in still]
    return (reject_faces(actor=actor, faces=theirs, person=person),) if theirs else ()


def _still_theirs(faces: Collection[Face], person: Person) -> set[int]:
    """Those that nobody decided on, of the person or of whoever was merged into them, by pk."""
    undecided = [face for face in faces if face.decision == Decision.NONE]
    return {face.pk for face in of_one(undecided, person.pk)}


def _nobody_was_quicker(changes: Collection[Change]) -> None:
    """The faces were locked only by the change itself: what stood there is in its rows."""
    for row in ChangedFace.objects.filter(change__in=changes):
        if row.before.get("decision"):
            person = Person.objects.filter(pk=row.before.get("person")).first()
            raise Quicker(_somebody_said(row.before["decision"], person))


def _somebody_said(decision: str, person: Person | None) -> str:
    if decision == Decision.NAMED and person is not None:
        return f"Somebody was quicker: that is {person.name}."
    return "Somebody was quicker: that face was set aside already."


def _recognised(face: Face) -> str:
    if face.person is None:
        return "Nobody is suggested there any more. Look at it again."
    return f"That face was recognised as {face.person.name} meanwhile, and left so."
