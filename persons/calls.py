"""Writing the history: a call's row before it is sent, its outcome after."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction
from django.utils import timezone

from persons import audit, ledger, metering, statements
from persons.audit import Actor
from persons.chain import records
from persons.locking import locked
from persons.models import (
    ApiKey,
    AuditEntry,
    Call,
    Finding,
    Photo,
    Recognition,
    Source,
    Space,
    User,
)
from persons.models.calls import CallQuerySet, Outcome
from persons.tables import run
from persons.vision import envelope
from persons.vision.errors import (
    VisionError,
    VisionRejected,
    VisionTemporary,
    VisionUnauthorized,
    VisionUnavailable,
)
from persons.vision.types import (
    Answer,
    Details,
    FaceDetail,
    FoundPerson,
    Image,
    ImageResult,
    ImageStatus,
    Method,
    Vision,
)

MAX_FACE_COUNT = 32_767
"""What the column holds."""

NOTHING_MORE = FaceDetail()

RESULT = ("status", "error", "result", "face_count")
SIZE = ("enrolled_people", "enrolled_pictures")
END = ("duration_ms", "answer", "outcome", "error", "status", "cost", "salt", "digest", *SIZE)
"""The columns that are empty until an answer is there."""
INTERRUPTED_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class Sent:
    """One image of a request; `width` and `height` are its pixels where they are known."""

    image: Image
    width: int = 0
    height: int = 0
    photo: Photo | None = None
    digest: str = ""
    person_id: int | None = None
    request_id: str = ""
    """Of the request that caused it, where a worker sends it."""


def begin(
    *,
    space: Space,
    vision: Vision,
    method: Method,
    meta: dict[str, Any],
    images: Sequence[Sent],
    source: Source,
    asked_by: Sequence[User | None] = (),
    actor: Actor | None = None,
    key: ApiKey | None = None,
    space_version: int,
    question: str = "",
    request_id: str = "",
) -> Call:
    """The rows of a call that is about to be sent, committed unless a transaction is open.

    Either `actor` asks, or `asked_by` are the people whose doing a worker's call is; one of them is
    the call's actor, several share its text. `question` is `reuse.question`'s.
    """
    call = Call(
        team=space.team,
        space=space,
        method=method,
        source=source,
        key=key,
        address=actor.address if actor else None,
        request_id=actor.request_id if actor else request_id or _shared(images),
        backend=vision.name,
        model=vision.model[:200],
        meta=meta,
        question=question,
        image_count=sum(1 for sent in images if sent.image.data),
        space_version=space_version,
        **_asking(actor, asked_by),
    )
    if method == Method.RECOGNIZE:
        call.threshold, call.confirm_threshold = space.threshold, space.confirm_threshold
        if vision.name != metering.FREE:
            # Of the embedded recogniser's space its answer tells.
            call.enrolled_people, call.enrolled_pictures = ledger.size_of(space.pk, space_version)
    call.rows = [_row(position, sent) for position, sent in enumerate(images)]
    statements.insert_call(call, call.rows)
    return call


def end(
    call: Call,
    answer: Answer | None,
    error: VisionError | None,
    results: Sequence[ImageResult] = (),
) -> None:
    """What came of it: each image's result, in the order of the request, where Vision did it.

    `answer` is kept as it came, also where it says that something is wrong. The call is metered
    here, unless nothing was sent. In the caller's transaction, as its last step if it can be: the
    account's month stays locked from here to the commit.
    """
    call.duration_ms = max(0, round((timezone.now() - call.started_at).total_seconds() * 1000))
    # JSON has no NUL in it, and PostgreSQL's texts may have none: only garbage is changed here.
    raw = answer.raw.decode("utf-8", "replace") if answer else ""
    call.answer = raw.replace("\0", "\ufffd")
    call.outcome = _outcome(error)
    call.error = str(error) if error else ""
    call.status = 200 if error is None else _status(answer)
    details = answer.details if answer else None
    if details is not None:
        call.enrolled_people, call.enrolled_pictures = details.people, details.pictures
    rows = call.rows if results else []
    for row, result in zip(rows, results, strict=True):
        row.status, row.error, row.result = result.status, result.error, dict(result.raw)
        row.face_count = min(len(result.persons), MAX_FACE_COUNT)
    _judge(call, results)
    findings = _findings(call, results, details) if rows else []
    more = [statements.RECOGNITIONS.update(rows, RESULT)] if rows else []
    more += statements.insert_findings(call.space_id, findings)
    more.append(statements.ENTRIES.insert([_entry(call, call.rows, findings)]))
    if was_sent(error):
        metering.sent(call, END, more)
    else:
        statements.end_call(call, END, more, month=None, tariff=None)


def answered_from_store(
    *,
    space: Space,
    vision: Vision,
    meta: dict[str, Any],
    sent: Sequence[Sent],
    stored: Sequence[Recognition],
    source: Source = Source.CLIENT,
    asked_by: Sequence[User | None] = (),
    actor: Actor | None = None,
    key: ApiKey | None = None,
) -> tuple[bytes, list[Recognition]]:
    """A recognition that nothing is sent for is in the history as well: its answer and its rows.

    `stored` are the answers, in the order of what would have been `sent`.
    """
    objects = [
        {**old.result, "name": one.image.name} for one, old in zip(sent, stored, strict=True)
    ]
    raw = envelope.success({"objects": objects, "aliases_changed": False})
    with transaction.atomic():
        call = begin(
            space=space,
            vision=vision,
            method=Method.RECOGNIZE,
            meta=meta,
            images=sent,
            source=source,
            asked_by=asked_by,
            actor=actor,
            key=key,
            space_version=space.version,
        )
        for row, old in zip(call.rows, stored, strict=True):
            row.status, row.result, row.face_count = old.status, old.result, old.face_count
        if stored:
            call.enrolled_people, call.enrolled_pictures = stored[-1].enrolled
        findings = _found_again(call, stored)
        call.outcome, call.status, call.duration_ms = Outcome.DONE, 200, 0
        call.saved_count, call.image_count = len(call.rows), 0
        call.answer = raw.decode()
        run(
            metering.saved(call),
            statements.RECOGNITIONS.update(call.rows, RESULT),
            *statements.insert_findings(space.pk, findings),
            statements.ENTRIES.insert([_entry(call, call.rows, findings)]),
            statements.CALLS.update([call], [*END, "saved_count", "image_count"]),
        )
    return raw, call.rows


def interrupt(until: datetime) -> int:
    """Calls that were begun until then and have no end get one: their workers are dead."""
    count = 0
    while pks := list(_open(until).values_list("pk", flat=True)[:INTERRUPTED_AT_ONCE]):
        with transaction.atomic():
            free = set(locked(_open(until).filter(pk__in=pks)).values_list("pk", flat=True))
            for call, images, findings in records.stored(sorted(free)):
                call.outcome = Outcome.INTERRUPTED
                call.error = "The worker stopped before an answer was stored."
                entry = _entry(call, images, findings)
                call.save(update_fields=["outcome", "error", "salt", "digest"])
                entry.save(force_insert=True)
        count += len(free)
    return count


def changed(call_pks: Collection[int], *, actor: Actor, action: str, reason: str = "") -> None:
    """After a part of what these calls' records hold was deleted on purpose, in the same
    transaction: the audit says so ("call.redact", "call.expire") and vouches for what is left.

    Their `erased_at` is set here. The old salt goes, so that nobody can try out what was there.
    """
    pks, now = sorted(set(call_pks)), timezone.now()
    for first in range(0, len(pks), records.BATCH):
        made = []
        for call, images, findings in records.stored(pks[first : first + records.BATCH]):
            call.erased_at = now
            said = records.seal_record(call, images, findings)
            call.save(update_fields=["erased_at", "salt", "digest"])
            made.append(
                audit.new_entry(
                    actor=actor,
                    team=call.team,
                    action=action,
                    target=call,
                    after=said,
                    reason=reason,
                )
            )
        AuditEntry.objects.bulk_create(made)


def _open(until: datetime) -> CallQuerySet:
    return Call.objects.filter(outcome=Outcome.RUNNING, started_at__lte=until).order_by("pk")


def _entry(call: Call, images: Sequence[Recognition], findings: Sequence[Finding]) -> AuditEntry:
    """What the audit says of a call that is over, whose digest is set on the way."""
    actor = Actor(
        user=call.actor,
        source=Source(call.source),
        text=call.actor_text,
        address=call.address,
        request_id=call.request_id,
    )
    return audit.new_entry(
        actor=actor,
        team=call.team,
        action=f"call.{call.method}",
        target=call,
        after=records.seal_record(call, images, findings),
        reason=call.reason,
    )


def _asking(actor: Actor | None, asked_by: Sequence[User | None]) -> dict[str, Any]:
    if actor is not None:
        return {
            "actor": actor.user,
            "actor_text": actor.name[:200],
            "reason": actor.reason[:500],
        }
    people = {user.pk: user for user in asked_by if user is not None}
    names = ", ".join(sorted(str(user) for user in people.values()))
    only = next(iter(people.values())) if len(people) == 1 else None
    return {"actor": only, "actor_text": names[:200]}


def _shared(images: Sequence[Sent]) -> str:
    """The request that caused all of them, if it was one."""
    requests = {sent.request_id for sent in images}
    return requests.pop() if len(requests) == 1 else ""


def _row(position: int, sent: Sent) -> Recognition:
    return Recognition(
        position=position,
        name=sent.image.name[:300],
        photo=sent.photo,
        gallery_id=sent.photo.gallery_id if sent.photo else None,
        request_id=sent.request_id,
        person_id=sent.person_id,
        sha256=sent.digest or digest_of(sent.image),
        width=sent.width,
        height=sent.height,
    )


def _findings(call: Call, results: Sequence[ImageResult], details: Details | None) -> list[Finding]:
    """One for each face of each image."""
    found = []
    for row, result in zip(call.rows, results, strict=True):
        known = details.faces.get(result.name, ()) if details is not None else ()
        persons = result.persons[:MAX_FACE_COUNT]
        more = known if len(known) == len(persons) else [NOTHING_MORE] * len(persons)
        found += [
            _finding(call, row, position, person, detail)
            for position, (person, detail) in enumerate(zip(persons, more, strict=True))
        ]
    return found


def _finding(
    call: Call, row: Recognition, position: int, person: FoundPerson, detail: FaceDetail
) -> Finding:
    return Finding(
        team_id=call.team_id,
        call_id=call.pk,
        recognition_id=row.pk,
        gallery_id=row.gallery_id,
        position=position,
        told_id=person.person_id,
        similarity=person.similarity,
        confidence=person.confidence,
        left=person.box.left,
        top=person.box.top,
        right=person.box.right,
        bottom=person.box.bottom,
        runner_up=detail.runner_up,
        runner_up_similarity=detail.runner_up_similarity,
        matched_sha256=detail.matched,
    )


def _found_again(call: Call, stored: Sequence[Recognition]) -> list[Finding]:
    """The findings of stored answers, for the images of a call that is answered by them."""
    known: dict[int, list[Finding]] = {}
    for one in statements.findings_of(stored):
        known.setdefault(one.recognition_id, []).append(one)
    found = []
    for row, old in zip(call.rows, stored, strict=True):
        for one in known.get(old.pk, ()):
            facts = {name: getattr(one, name) for name in statements.FOUND}
            facts |= {"call_id": call.pk, "recognition_id": row.pk, "gallery_id": row.gallery_id}
            found.append(Finding(**facts))
    return found


def _judge(call: Call, results: Sequence[ImageResult]) -> None:
    """Whether all of its images were done."""
    failed = [result for result in results if result.status != ImageStatus.DONE]
    if not failed:
        return
    if len(failed) < len(results):
        call.outcome = Outcome.PARTIAL
    elif any(result.status == ImageStatus.PERMANENT for result in failed):
        call.outcome = Outcome.REJECTED
    else:
        call.outcome = Outcome.TEMPORARY
    call.error = failed[0].error


def digest_of(image: Image) -> str:
    return hashlib.sha256(image.data).hexdigest() if image.data else ""


def _status(answer: Answer | None) -> int | None:
    """The envelope's, where there is one: the errors do not carry it."""
    try:
        status = json.loads(answer.raw)["status"] if answer else None
    except (ValueError, TypeError, LookupError, RecursionError):
        return None
    return status if type(status) is int and 0 <= status < 1000 else None


def was_sent(error: VisionError | None) -> bool:
    """Whether the images may have arrived; what certainly did not is nobody's to pay."""
    if isinstance(error, VisionTemporary):
        return error.sent
    return not isinstance(error, VisionUnavailable)


def _outcome(error: VisionError | None) -> Outcome:
    match error:
        case None:
            return Outcome.DONE
        case VisionTemporary():
            return Outcome.TEMPORARY
        case VisionUnavailable():
            return Outcome.UNAVAILABLE
        case VisionRejected() | VisionUnauthorized():
            return Outcome.REJECTED
        case _:
            return Outcome.REJECTED
