"""Gathers the evidence card of one recognised face, from stored records alone.

Neither Vision nor the recogniser is called again. The card says what was erased or never stored.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q

from persons import images
from persons.access import Visible
from persons.billing.metering import FREE
from persons.chain import facts, records
from persons.chain.entries import is_vouched
from persons.chain.facts import State
from persons.engine.store import LEARNED
from persons.faces.boxes import SAME_FACE, overlap
from persons.files.storage import stored
from persons.models import (
    AuditEntry,
    Call,
    Change,
    ChangedFace,
    Enrolment,
    EnrolmentState,
    Face,
    Finding,
    Membership,
    Person,
)
from persons.vision.types import Box

MOST_PICTURES = 12
MAX_DECISIONS = 100
MOST_EARLIER = 5
CHUNK = 1 << 20
SHOWN = ("change__team", "change__actor", "change__person__space__team")
ADOPTED = "call.adopt"


@dataclass(frozen=True, slots=True)
class Kept:
    """A picture that was sent, as it is stored now. `key` is empty if there is none to show.

    `state` is one of:
    "same": the stored bytes are those that were sent;
    "other": they differ, and `found` is their digest;
    "erased": the picture was erased at `at`;
    "never": only its digest was stored;
    "gone": its file is lost, or the photo was deleted;
    "redacted": the face's identity and position were erased at `at`, so nothing is shown even if
    the picture is still stored.
    """

    state: str
    digest: str
    key: str = ""
    found: str = ""
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class EnrolledPicture:
    """An enrolled picture of the person. `is_match` marks the nearest one."""

    enrolment: Enrolment
    kept: Kept
    is_match: bool


@dataclass(frozen=True, slots=True)
class RecordedDecision:
    """A decision on the face. `state` tells whether it matches its audit entry, and `name` whether
    the person's displayed name does."""

    change: Change
    state: State
    name: State


@dataclass(frozen=True, slots=True)
class Card:
    """Everything on an evidence card.

    `pictures` is the matched one if the recogniser reported it, else some of the `picture_count`
    pictures enrolled at that time. `matched` tells what is known of the match: "picture",
    "learned", "created", "lost" (its record is gone), "closed" (to this reader), "untold", "nobody"
    or "redacted". `role` is the caller's role in the team at that time; `is_role_told` is False if
    no audit entry states it and the present role is shown.
    """

    finding: Finding
    person: Person | None
    canonical: Person | None
    runner_up: Person | None
    margin: float | None
    sent: Kept
    matched: str
    pictures: list[EnrolledPicture]
    picture_count: int
    role: str
    is_role_told: bool
    face: Face | None
    names: dict[int, State]
    """Of people by key: whether their names are those that the audit's entries gave them."""
    changes: list[RecordedDecision]
    earlier: list[RecordedDecision]
    """Decisions on the face from before the call, the last ones: it may have been asked again
    because of them."""
    entries: list[AuditEntry]
    doubted: list[AuditEntry]
    """Those of them that are not what a server wrote."""
    sealed: AuditEntry | None
    record: str
    """"whole": the record is what its entry in the audit vouches for; "altered": it is not;
    "adopted": it is as it was found at an upgrade, its own entry having been blanked before;
    "unknown": there is no such entry, as of calls from before there was a chain."""

    @property
    def is_altered(self) -> bool:
        """Whether anything on the card contradicts the audit."""
        states = [
            self.record,
            *self.names.values(),
            *(one.state for one in (*self.changes, *self.earlier)),
            *(one.name for one in (*self.changes, *self.earlier)),
        ]
        return "altered" in states or bool(self.doubted)

    @property
    def verdict(self) -> str:
        """The result by the thresholds of that time: "match", "suggestion", "below" or "nobody".
        "told" if the thresholds are unknown, "redacted" if the answer was erased."""
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


def card_of(finding: Finding, visible: Visible) -> Card:
    """`visible` is what the records tell the reader: see `access.visible_records`."""
    call, person = finding.call, finding.person
    face = face_of(finding)
    matched, pictures, count = _pictures(finding, visible)
    second_id = finding.runner_up
    sealed = entry_of(call)
    canonical = _canonical(person)
    runner_up = (
        Person.objects.filter(space=call.space_id, person_id=second_id).first()
        if second_id is not None and call.space_id is not None
        else None
    )
    entries = _entries(person, call, visible)
    role, is_role_told = _role_then(call)
    return Card(
        finding=finding,
        person=person,
        canonical=canonical,
        runner_up=runner_up,
        margin=_margin(finding),
        sent=sent_of(finding),
        matched=matched,
        pictures=pictures,
        picture_count=count,
        role=role,
        is_role_told=is_role_told,
        face=face,
        names={one.pk: _name_of(one) for one in (person, canonical, runner_up) if one is not None},
        changes=_changes(face, call),
        earlier=_earlier(face, call),
        entries=entries,
        doubted=[one for one in entries if not is_vouched(one, call.team.slug)],
        sealed=sealed,
        record=_record(call, sealed),
    )


# --- Pictures ---


def sent_of(finding: Finding) -> Kept:
    """The picture that was sent: a photo's copy, or a client's picture if the team stores those.

    A picture may still be stored although another person's part of its record was erased.
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
    """The file stored under `key`, compared with what was sent."""
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


def _pictures(finding: Finding, visible: Visible) -> tuple[str, list[EnrolledPicture], int]:
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
        row = visible.pictures_among(rows).first()
        return ("picture", [_picture(row, True)], 1) if row else ("closed", [], 0)
    if finding.call.backend == FREE:
        # The call created the person from this face, or predates the record of matched pictures.
        return "created" if finding.call.meta.get("create_new") else "untold", [], 0
    then = theirs.filter(done_at__lte=finding.call.started_at).exclude(
        state__in=[EnrolmentState.QUEUED, EnrolmentState.FAILED]
    )
    seen = visible.pictures_among(then).order_by("pk")
    return "untold", [_picture(row, False) for row in seen[:MOST_PICTURES]], seen.count()


def _picture(row: Enrolment, is_match: bool) -> EnrolledPicture:
    return EnrolledPicture(row, kept(row.image, row.sha256), is_match)


def face_of(finding: Finding) -> Face | None:
    """The photo's present face that corresponds to this finding, if there is one."""
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
    """The finding of the last recognition that found this face."""
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


def _canonical(person: Person | None) -> Person | None:
    if person is None or person.merged_into_id is None:
        return person
    return person.canonical


def _margin(finding: Finding) -> float | None:
    if finding.told_id is None or finding.runner_up_similarity is None:
        return None
    return round(finding.similarity - finding.runner_up_similarity, 4)


def _role_then(call: Call) -> tuple[str, bool]:
    """From the first audit entry on the member's role after the call, else the present role."""
    if call.actor_id is None:
        return "", False
    since = AuditEntry.objects.filter(
        team=call.team_id,
        action__in=["member.role", "member.remove"],
        target_type="user",
        target_id=str(call.actor_id),
        at__gt=call.started_at,
    )
    for entry in since.order_by("pk")[:1]:
        return str(entry.before.get("role", "")), is_vouched(entry, call.team.slug)
    membership = Membership.objects.filter(team=call.team_id, user=call.actor_id).first()
    return (membership.role if membership else ""), False


def _name_of(person: Person | None) -> State:
    """The name, or the recorded number of a person without a name. Empty during an erasure."""
    return facts.check_name(person) if person is not None and not person.erasing else "whole"


def _event(row: ChangedFace) -> RecordedDecision:
    return RecordedDecision(row.change, facts.check_change(row.change), _name_of(row.change.person))


def _changes(face: Face | None, call: Call) -> list[RecordedDecision]:
    if face is None:
        return []
    rows = ChangedFace.objects.filter(face=face, change__created_at__gte=call.started_at)
    named = rows.select_related(*SHOWN, "change__undone_by").order_by("pk")
    return [_event(row) for row in named[:MAX_DECISIONS]]


def _earlier(face: Face | None, call: Call) -> list[RecordedDecision]:
    rows = ChangedFace.objects.filter(face=face, change__created_at__lt=call.started_at)
    named = rows.select_related(*SHOWN).order_by("-pk")
    return [_event(row) for row in named[:MOST_EARLIER]][::-1] if face is not None else []


def _entries(person: Person | None, call: Call, visible: Visible) -> list[AuditEntry]:
    """Audit entries about the person since the call: names, merges, removals. Entries about a
    gallery that is closed to the reader are left out."""
    if person is None:
        return []
    entries = AuditEntry.objects.filter(
        Q(action__startswith="person.") | Q(action__startswith="enrolment."),
        team=call.team_id,
        target_type="person",
        target_id=str(person.pk),
        at__gte=call.started_at,
    )
    visible_entries = entries.annotate(is_closed=visible.closes_entry()).filter(is_closed=False)
    return list(visible_entries.select_related("actor").order_by("pk")[:MAX_DECISIONS])


def _record(call: Call, entry: AuditEntry | None) -> str:
    """Compare the stored call with the digest that was written when it ended."""
    vouched = entry.after.get("record") if entry is not None else None
    if entry is None or not vouched or not call.digest:
        return "unknown"
    if not is_vouched(entry, call.team.slug):
        return "altered"
    for stored_call, rows, findings in records.stored([call.pk]):
        if records.points_elsewhere(stored_call, rows, findings, entry):
            return "altered"
        if records.digest_of(stored_call, rows, findings) == call.digest == vouched:
            return "adopted" if entry.action == ADOPTED else "whole"
    return "altered"


def entry_of(call: Call) -> AuditEntry | None:
    """The audit entry of the call's end; the last one if it ended twice."""
    entries = AuditEntry.objects.filter(
        team=call.team_id, target_type="call", target_id=str(call.pk), action__startswith="call."
    )
    return entries.order_by("-pk").first()
