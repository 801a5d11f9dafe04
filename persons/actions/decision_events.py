"""The human decisions on a face as a line of events, and its replay without one of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from persons.actions.enrolment_selection import enrolled_as
from persons.models import ChangedFace, Decision, Face, Rejection
from persons.models.changes import ChangeKind

NOBODY: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class FaceDecision:
    """All human decisions on one face together; people and users by pk.

    `enrolled` says that the face's crop is, or is about to become, an enrolled picture of the
    person. Its key in JSON is "taught".
    """

    decision: str = Decision.NONE
    person: int | None = None
    by: int | None = None
    at: str | None = None
    rejected: frozenset[int] = NOBODY
    enrolled: bool = False

    @property
    def word(self) -> tuple[str, int | None, int | None, str | None]:
        """The decision alone: rejections are independent of it."""
        return (self.decision, self.person, self.by, self.at)

    def as_json(self) -> dict[str, Any]:
        return {
            "decision": self.decision,
            "person": self.person,
            "by": self.by,
            "at": self.at,
            "rejected": sorted(self.rejected),
            "taught": self.enrolled,
        }

    @classmethod
    def of_json(cls, value: dict[str, Any]) -> FaceDecision:
        return cls(
            decision=value.get("decision", ""),
            person=value.get("person"),
            by=value.get("by"),
            at=value.get("at"),
            rejected=frozenset(value.get("rejected", ())),
            enrolled=bool(value.get("taught")),
        )

    @classmethod
    def of_face(cls, face: Face, rejected: Collection[int], *, enrolled: bool) -> FaceDecision:
        return cls(
            decision=face.decision,
            person=face.decided_person_id,
            by=face.decided_by_id,
            at=face.decided_at.isoformat() if face.decided_at else None,
            rejected=frozenset(rejected),
            enrolled=enrolled,
        )

    @property
    def decided_at(self) -> datetime | None:
        return datetime.fromisoformat(self.at) if self.at else None


@dataclass(frozen=True, slots=True)
class DecisionEvent:
    """One human decision on one face: it turns any `before` into an `after`.

    `word` is the decision it sets, `not_them` the people it rejects.
    """

    kind: str
    word: FaceDecision
    not_them: frozenset[int] = NOBODY

    def done_to(self, before: FaceDecision) -> FaceDecision:
        match self.kind:
            case ChangeKind.REJECT:
                rejected = before.rejected | self.not_them
                contradicts = before.person in self.not_them
                if before.decision != Decision.NONE and not contradicts:
                    return replace(before, rejected=rejected)
                return replace(self.word, rejected=rejected)
            case ChangeKind.CLEAR:
                return replace(self.word, rejected=NOBODY)
            case ChangeKind.IGNORE:
                return replace(self.word, rejected=before.rejected)
        # Naming a person takes back an earlier rejection of them.
        return replace(self.word, rejected=before.rejected - {self.word.person})


def event_of(row: ChangedFace) -> DecisionEvent:
    """The event of a row, independent of the state that it was applied to."""
    change = row.change
    word = FaceDecision.of_json(row.after)
    if change.kind == ChangeKind.REJECT:
        # A rejection may have kept another human's decision, and `after` then holds that one.
        word = FaceDecision(by=change.actor_id, at=change.created_at.isoformat())
    return DecisionEvent(change.kind, word, frozenset(row.after.get("not_them", ())))


def row_of(event: DecisionEvent, face: Face, before: FaceDecision) -> ChangedFace:
    """A new, unsaved row for an event on the face; its `change` is not set yet."""
    row = ChangedFace(face=face)
    write(row, event, before)
    return row


def write(row: ChangedFace, event: DecisionEvent, before: FaceDecision) -> FaceDecision:
    """Apply an event to `before` and fill its row with both; returns the state after it."""
    after = event.done_to(before)
    row.before = before.as_json()
    row.after = after.as_json()
    if event.not_them:
        row.after["not_them"] = sorted(event.not_them)
    return after


def decisions_of(
    faces: Sequence[Face], enrolled: Mapping[int, Collection[int]] | None = None
) -> dict[int, FaceDecision]:
    """The human decisions on these faces so far, by face pk. `enrolled` is their `enrolled_as`."""
    rejected: dict[int, set[int]] = defaultdict(set)
    rows = Rejection.objects.filter(face__in=[face.pk for face in faces])
    for face_pk, person_pk in rows.values_list("face", "person"):
        rejected[face_pk].add(person_pk)
    if enrolled is None:
        enrolled = enrolled_as(face.pk for face in faces)
    return {
        face.pk: FaceDecision.of_face(face, rejected[face.pk], enrolled=face.pk in enrolled)
        for face in faces
    }


@dataclass(frozen=True, slots=True)
class Replayed:
    """A face's line of events without one of them: its outcome before (`was`) and after (`now`)."""

    was: FaceDecision
    now: FaceDecision
    rewritten: list[ChangedFace]


def without(row: ChangedFace, later: Sequence[ChangedFace]) -> Replayed:
    """Replay the line from the state before `row`, without it.

    `later` are the rows after it, in order; they are changed, but not saved.
    """
    was, now = FaceDecision.of_json(row.after), FaceDecision.of_json(row.before)
    for other in later:
        if (
            was.enrolled
            and not FaceDecision.of_json(other.before).enrolled
            and now.word == was.word
        ):
            # Somebody removed the picture by hand at this point: it stays removed.
            now = replace(now, enrolled=False)
        was = FaceDecision.of_json(other.after)
        now = write(other, event_of(other), now)
    return Replayed(was, now, list(later))
