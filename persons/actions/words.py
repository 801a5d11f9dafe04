"""What humans have said of a face, and what comes out when one of their words is taken back."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from persons.actions.teaching import enrolled_as
from persons.models import ChangedFace, Decision, Face, Rejection
from persons.models.changes import ChangeKind

NOBODY: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Said:
    """The whole of what humans have said of one face; people and users by pk.

    `taught` says that the face's crop is an enrolled picture of the person, or shall become one.
    """

    decision: str = Decision.NONE
    person: int | None = None
    by: int | None = None
    at: str | None = None
    rejected: frozenset[int] = NOBODY
    taught: bool = False

    @property
    def word(self) -> tuple[str, int | None, int | None, str | None]:
        """Without the rejections, which stand apart from it."""
        return (self.decision, self.person, self.by, self.at)

    def as_json(self) -> dict[str, Any]:
        return {
            "decision": self.decision,
            "person": self.person,
            "by": self.by,
            "at": self.at,
            "rejected": sorted(self.rejected),
            "taught": self.taught,
        }

    @classmethod
    def of_json(cls, value: dict[str, Any]) -> Said:
        return cls(
            decision=value.get("decision", ""),
            person=value.get("person"),
            by=value.get("by"),
            at=value.get("at"),
            rejected=frozenset(value.get("rejected", ())),
            taught=bool(value.get("taught")),
        )

    @classmethod
    def of_face(cls, face: Face, rejected: Collection[int], *, taught: bool) -> Said:
        return cls(
            decision=face.decision,
            person=face.decided_person_id,
            by=face.decided_by_id,
            at=face.decided_at.isoformat() if face.decided_at else None,
            rejected=frozenset(rejected),
            taught=taught,
        )

    @property
    def decided_at(self) -> datetime | None:
        return datetime.fromisoformat(self.at) if self.at else None


@dataclass(frozen=True, slots=True)
class Deed:
    """One human's deed on one face: what makes an `after` of any `before`.

    `word` is what they said. `not_them` are whom they rejected.
    """

    kind: str
    word: Said
    not_them: frozenset[int] = NOBODY

    def done_to(self, before: Said) -> Said:
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
        # Whoever it was not, it is now.
        return replace(self.word, rejected=before.rejected - {self.word.person})


def deed_of(row: ChangedFace) -> Deed:
    """What was done, whatever it was done to."""
    change = row.change
    word = Said.of_json(row.after)
    if change.kind == ChangeKind.REJECT:
        # It may have left standing what another said, and then that stands in `after`.
        word = Said(by=change.actor_id, at=change.created_at.isoformat())
    return Deed(change.kind, word, frozenset(row.after.get("not_them", ())))


def row_of(deed: Deed, face: Face, before: Said) -> ChangedFace:
    """A new row of the face's line; its change is not set yet."""
    row = ChangedFace(face=face)
    write(row, deed, before)
    return row


def write(row: ChangedFace, deed: Deed, before: Said) -> Said:
    """Put a deed on top of `before`, in its row; what comes out."""
    after = deed.done_to(before)
    row.before = before.as_json()
    row.after = after.as_json()
    if deed.not_them:
        row.after["not_them"] = sorted(deed.not_them)
    return after


def said_of(
    faces: Sequence[Face], enrolled: Mapping[int, Collection[int]] | None = None
) -> dict[int, Said]:
    """What humans have said of these faces so far. `enrolled` is `enrolled_as` of them."""
    rejected: dict[int, set[int]] = defaultdict(set)
    rows = Rejection.objects.filter(face__in=[face.pk for face in faces])
    for face_pk, person_pk in rows.values_list("face", "person"):
        rejected[face_pk].add(person_pk)
    if enrolled is None:
        enrolled = enrolled_as(face.pk for face in faces)
    return {
        face.pk: Said.of_face(face, rejected[face.pk], taught=face.pk in enrolled) for face in faces
    }


@dataclass(frozen=True, slots=True)
class Retold:
    """A face's line without one of its words: what came out of it before, and what does now."""

    was: Said
    now: Said
    rewritten: list[ChangedFace]


def without(row: ChangedFace, later: Sequence[ChangedFace]) -> Retold:
    """The line worked out again from what was before `row`.

    `later` are the rows after it, in order; they are changed, not saved.
    """
    was, now = Said.of_json(row.after), Said.of_json(row.before)
    for other in later:
        if was.taught and not Said.of_json(other.before).taught and now.word == was.word:
            # Somebody took the picture back by hand then, and it stays so.
            now = replace(now, taught=False)
        was = Said.of_json(other.after)
        now = write(other, deed_of(other), now)
    return Retold(was, now, list(later))
