"""What is known of one recognised face: gathered from stored records alone, for its evidence card.

Nothing is asked of Vision or the recogniser again. What was erased or never kept is said to be so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q

from persons import images
from persons.chain import records
from persons.engine.store import LEARNED
from persons.matching import SAME_FACE, overlap
from persons.metering import FREE
from persons.models import (
    AuditEntry,
    Call,
    ChangedFace,
    Enrolment,
    EnrolmentState,
    Face,
    Finding,
    Membership,
    Person,
)
from persons.settling import roots_of
from persons.storage import stored
from persons.vision.types import Box

MOST_PICTURES = 12
MOST_DEEDS = 100
MOST_EARLIER = 5
CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Kept:
    """A picture that was sent, as it is kept now. `key` is empty where there is none to show.

    `state` is "same" (its bytes are those that were sent), "other" (they are not: `found` is their
    digest), "erased" (at `at`), "never" (only its digest was kept), "gone" (its file is lost, or
    the photo was deleted) or "redacted" (what the face was and where it stood was erased at `at`:
    there is none of it to show, whether or not the picture is kept).
    """

    state: str
    digest: str
    key: str = ""
    found: str = ""
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Picture:
    """An enrolled picture of the person; `is_match` that it is the one that was nearest."""

    enrolment: Enrolment
    kept: Kept
    is_match: bool


@dataclass(frozen=True, slots=True)
class Card:
    """`pictures` are the one that matched, where the recogniser told which; else those that the
    ledger says were enrolled then, of which `picture_count` were. `matched` says what is known of
    the match: "picture", "learned", "created", "lost" (its record is gone), "closed" (to this
    reader), "untold", "nobody" or "redacted". `role` is the asker's in the team then."""

    finding: Finding
    person: Person | None
    root: Person | None
    runner_up: Person | None
    margin: float | None
    sent: Kept
    matched: str
    pictures: list[Picture]
    picture_count: int
    role: str
    face: Face | None
    changes: list[ChangedFace]
    earlier: list[ChangedFace]
    """Decisions on the face from before the call, the last ones: it may have been asked again
    because of them."""
    entries: list[AuditEntry]
    sealed: AuditEntry | None
    record: str
    """"whole": the record is what its entry in the audit vouches for; "altered": it is not;
    "unknown": there is no such entry, as of calls from before there was a chain."""

    @property
    def verdict(self) -> str:
        """By the thresholds then: "match", "suggestion", "below" or "nobody"; "told" where these
        are not known; "redacted" where the answer was erased."""
        call = self.finding.call
        if self.finding.is_redacted:
            return "redacted"
        if self.finding.told_id is None:
            return "nobody"
        if call.threshold is None or call.confirm_threshold is None:
            return "told"
        if self.finding.similarity < call.threshold:
            return "below"
        return "match" if self.finding.similarity >= call.confirm_threshold else "suggestion"


def card_of(finding: Finding, *, hidden: Collection[int] = ()) -> Card:
    """`hidden` are galleries that are closed to the reader: see `access.hidden_from`."""
    call, person = finding.call, finding.person
    face = face_of(finding)
    matched, pictures, count = _pictures(finding, hidden)
    told = finding.runner_up
    sealed = entry_of(call)
    return Card(
        finding=finding,
        person=person,
        root=_root(person),
        runner_up=Person.objects.filter(space=call.space_id, person_id=told).first()
        if told is not None and call.space_id is not None
        else None,
        margin=_margin(finding),
        sent=sent_of(finding),
        matched=matched,
        pictures=pictures,
        picture_count=count,
        role=_role_then(call),
        face=face,
        changes=_changes(face, call),
        earlier=_earlier(face, call),
        entries=_entries(person, call),
        sealed=sealed,
        record=_record(call, sealed),
    )


# --- Pictures ---


def sent_of(finding: Finding) -> Kept:
    """The picture that was sent: a photo's copy, or a client's where the team keeps them.

    A part of an image's record may have been erased, of somebody else on it, and the picture kept.
    """
    recognition = finding.recognition
    if finding.is_redacted:
        return Kept("redacted", recognition.sha256, at=finding.call.erased_at)
    if recognition.image:
        return kept(recognition.image, recognition.sha256)
    if recognition.photo is not None and recognition.sha256:
        return kept(recognition.photo.key("sent"), recognition.sha256)
    if recognition.erased_at is not None:
        return Kept("erased", recognition.sha256, at=recognition.erased_at)
    was_photo = recognition.gallery_id is not None or recognition.name.startswith("photo")
    return Kept("gone" if was_photo else "never", recognition.sha256)


def kept(key: str, digest: str) -> Kept:
    """What stands under `key` now, read and compared."""
    if not key:
        return Kept("gone", digest)
    found = hashlib.sha256()
    try:
        with stored(key) as file:
            while chunk := file.read(CHUNK):
                found.update(chunk)
    except FileNotFoundError:
        return Kept("gone", digest)
    is_same = found.hexdigest() == digest
    return Kept("same" if is_same else "other", digest, key, found.hexdigest())


def _pictures(finding: Finding, hidden: Collection[int]) -> tuple[str, list[Picture], int]:
    person = finding.person
    if finding.is_redacted:
        return "redacted", [], 0
    if finding.told_id is None:
        return "nobody", [], 0
    if finding.matched_sha256 == LEARNED:
        return "learned", [], 0
    if person is None:
        return "lost", [], 0
    theirs = Enrolment.objects.filter(person=person).select_related("face")
    if finding.matched_sha256:
        rows = theirs.filter(sha256=finding.matched_sha256).order_by("pk")
        if not rows.exists():
            return "lost", [], 0
        row = rows.outside(hidden).first()
        return ("picture", [_picture(row, True)], 1) if row else ("closed", [], 0)
    if finding.call.backend == FREE:
        # Made of this face by the same call, or recognised before it was written down which.
        return "created" if finding.call.meta.get("create_new") else "untold", [], 0
    then = theirs.filter(done_at__lte=finding.call.started_at).exclude(
        state__in=[EnrolmentState.QUEUED, EnrolmentState.FAILED]
    )
    seen = then.outside(hidden).order_by("pk")
    return "untold", [_picture(row, False) for row in seen[:MOST_PICTURES]], then.count()


def _picture(row: Enrolment, is_match: bool) -> Picture:
    return Picture(row, kept(row.image, row.sha256), is_match)


def face_of(finding: Finding) -> Face | None:
    """The face of the photo that this one is now, if there is one."""
    recognition = finding.recognition
    photo = recognition.photo
    if photo is None or not recognition.width or not photo.width:
        return None
    box = images.map_box(
        box_of(finding), (recognition.width, recognition.height), (photo.width, photo.height)
    )
    faces = list(Face.everything.filter(photo=photo))
    near = [(overlap(box, Box(f.left, f.top, f.right, f.bottom)), -f.pk, f) for f in faces]
    best = max(near, default=None, key=lambda one: one[:2])
    return best[2] if best and best[0] >= SAME_FACE else None


def finding_of(face: Face) -> Finding | None:
    """What the last recognition that found this face said of it."""
    if face.recognition_id is None:
        return None
    rows = Finding.objects.filter(recognition=face.recognition_id).select_related(
        "recognition__photo"
    )
    for finding in rows.order_by("position"):
        same = face_of(finding)
        if same is not None and same.pk == face.pk:
            return finding
    return None


def box_of(finding: Finding) -> Box:
    return Box(finding.left, finding.top, finding.right, finding.bottom)


# --- Who, and what since ---


def _root(person: Person | None) -> Person | None:
    if person is None or person.merged_into_id is None:
        return person
    return Person.objects.filter(pk=roots_of([person.pk])[person.pk]).first()


def _margin(finding: Finding) -> float | None:
    if finding.told_id is None or finding.runner_up_similarity is None:
        return None
    return round(finding.similarity - finding.runner_up_similarity, 4)


def _role_then(call: Call) -> str:
    """By the audit's first word on the member's role after the call; without one, as it is now."""
    if call.actor_id is None:
        return ""
    since = AuditEntry.objects.filter(
        team=call.team_id,
        action__in=["member.role", "member.remove"],
        target_type="user",
        target_id=str(call.actor_id),
        at__gt=call.started_at,
    )
    for entry in since.order_by("pk")[:1]:
        return str(entry.before.get("role", ""))
    membership = Membership.objects.filter(team=call.team_id, user=call.actor_id).first()
    return membership.role if membership else ""


def _changes(face: Face | None, call: Call) -> list[ChangedFace]:
    if face is None:
        return []
    rows = ChangedFace.objects.filter(face=face, change__created_at__gte=call.started_at)
    return list(
        rows.select_related("change__actor", "change__undone_by", "change__person").order_by("pk")[
            :MOST_DEEDS
        ]
    )


def _earlier(face: Face | None, call: Call) -> list[ChangedFace]:
    rows = ChangedFace.objects.filter(face=face, change__created_at__lt=call.started_at)
    named = rows.select_related("change__actor", "change__person")
    return list(named.order_by("-pk")[:MOST_EARLIER])[::-1] if face is not None else []


def _entries(person: Person | None, call: Call) -> list[AuditEntry]:
    """What the audit says of the person since: names, merges, removals."""
    if person is None:
        return []
    said = AuditEntry.objects.filter(
        Q(action__startswith="person.") | Q(action__startswith="enrolment."),
        team=call.team_id,
        target_type="person",
        target_id=str(person.pk),
        at__gte=call.started_at,
    )
    return list(said.select_related("actor").order_by("pk")[:MOST_DEEDS])


def _record(call: Call, entry: AuditEntry | None) -> str:
    """The call as the database has it now, against the digest that was written at its end."""
    vouched = entry.after.get("record") if entry is not None else None
    if not vouched or not call.digest:
        return "unknown"
    for stored_call, rows, findings in records.stored([call.pk]):
        if entry is None or records.points_elsewhere(stored_call, findings, entry):
            return "altered"
        if records.digest_of(stored_call, rows, findings) == call.digest == vouched:
            return "whole"
    return "altered"


def entry_of(call: Call) -> AuditEntry | None:
    """The audit's entry of the call's end, the last one if it ended twice."""
    said = AuditEntry.objects.filter(
        team=call.team_id, target_type="call", target_id=str(call.pk), action__startswith="call."
    )
    return said.order_by("-pk").first()
