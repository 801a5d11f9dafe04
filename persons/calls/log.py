"""Writes the history: a call's row before it is sent, its outcome afterwards."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction
from django.utils import timezone

from persons import audit
from persons.audit import Actor
from persons.billing import metering
from persons.calls import statements
from persons.calls.findings import MAX_FACE_COUNT, findings_of, found_again
from persons.chain import records
from persons.db.locking import locked
from persons.db.tables import run
from persons.inputs import texts
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
from persons.people import enrolments
from persons.vision import envelope
from persons.vision.errors import (
    VisionError,
    VisionRejected,
    VisionTemporary,
    VisionUnauthorized,
    VisionUnavailable,
)
from persons.vision.types import Answer, Image, ImageResult, ImageStatus, Method, Vision

RESULT = ("status", "error", "result", "face_count")
SIZE = ("enrolled_people", "enrolled_pictures")
END = ("duration_ms", "answer", "outcome", "error", "status", "cost", "salt", "digest", *SIZE)
"""The columns that are empty until an answer is there."""
INTERRUPTED_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class Sent:
    """One image of a request. `width` and `height` are in pixels, if known."""

    image: Image
    width: int = 0
    height: int = 0
    own_width: int = 0
    own_height: int = 0
    """Of the picture that this is a copy of, where a client sent it."""
    photo: Photo | None = None
    digest: str = ""
    person_id: int | None = None
    request_id: str = ""
    """Of the request that caused it, where a worker sends it."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Who a call is made for.

    Either `actor` asks, with `key` where a client does; or `asked_by` are the users whose doing a
    worker's call is. One of them is the call's actor, several share its text. `request_id` is of
    the request that caused a worker's call, where its images don't carry their own.
    """

    source: Source
    asked_by: Sequence[User | None] = ()
    actor: Actor | None = None
    key: ApiKey | None = None
    request_id: str = ""


def begin(
    *,
    space: Space,
    vision: Vision,
    method: Method,
    meta: dict[str, Any],
    images: Sequence[Sent],
    origin: Origin,
    question: str = "",
) -> Call:
    """Insert the rows of a call that is about to be sent. Committed unless a transaction is open.

    `space` is as it was when its answer was asked for: its version is the call's. `question` is
    `answer_cache.question`'s.
    """
    actor = origin.actor
    call = Call(
        team=space.team,
        space=space,
        method=method,
        source=origin.source,
        key=origin.key,
        address=actor.address if actor else None,
        request_id=actor.request_id if actor else origin.request_id or _shared(images),
        backend=vision.name,
        model=vision.model[:200],
        meta=meta,
        question=question,
        image_count=sum(1 for sent in images if sent.image.data),
        space_version=space.version,
        **_asking(actor, origin.asked_by),
    )
    if method == Method.RECOGNIZE:
        call.threshold, call.confirm_threshold = space.threshold, space.confirm_threshold
        if vision.name != metering.FREE:
            # The embedded recogniser reports its size in the answer.
            call.enrolled_people, call.enrolled_pictures = enrolments.size_of(
                space.pk, space.version
            )
    call.rows = [_row(position, sent) for position, sent in enumerate(images)]
    statements.insert_call(call, call.rows)
    return call


def end(
    call: Call,
    answer: Answer | None,
    error: VisionError | None,
    results: Sequence[ImageResult] = (),
) -> None:
    """Record a call's outcome, with the results in the order of the request if Vision succeeded.

    `answer` is stored unchanged, even if it reports an error. The call is metered unless nothing
    was sent. Runs in the caller's transaction, preferably as its last step: the account's month
    stays locked until the commit.
    """
    call.duration_ms = max(0, round((timezone.now() - call.started_at).total_seconds() * 1000))
    # PostgreSQL refuses NUL in texts. JSON contains none, so only garbage is changed.
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
    findings = findings_of(call, results, details) if rows else []
    more = {"results": statements.RECOGNITIONS.update(rows, RESULT)} if rows else {}
    more |= statements.insert_findings(call.space_id, findings)
    more["entry"] = statements.ENTRIES.insert([_entry(call, call.rows, findings)])
    if was_sent(error):
        month, tariff = metering.this_month(), metering.tariff_for(call.backend)
        statements.end_call(call, END, more, month=month, tariff=tariff)
    else:
        statements.end_call(call, END, more, month=None, tariff=None)


def answered_from_store(
    *,
    space: Space,
    vision: Vision,
    meta: dict[str, Any],
    sent: Sequence[Sent],
    stored: Sequence[Recognition],
    origin: Origin,
) -> tuple[bytes, list[Recognition]]:
    """Record a recognition that was answered from stored results, without a call to Vision.

    `stored` are the results, in the order of the images in `sent`.
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
            origin=origin,
        )
        for row, old in zip(call.rows, stored, strict=True):
            row.status, row.result, row.face_count = old.status, old.result, old.face_count
        if stored:
            call.enrolled_people, call.enrolled_pictures = stored[-1].enrolled
        findings = found_again(call, stored)
        call.outcome, call.status, call.duration_ms = Outcome.DONE, 200, 0
        call.saved_count, call.image_count = len(call.rows), 0
        call.answer = raw.decode()
        run(
            statements.CALLS.update([call], [*END, "saved_count", "image_count"]),
            metered=metering.saved(call),
            results=statements.RECOGNITIONS.update(call.rows, RESULT),
            **statements.insert_findings(space.pk, findings),
            entry=statements.ENTRIES.insert([_entry(call, call.rows, findings)]),
        )
    return raw, call.rows


def interrupt(until: datetime) -> int:
    """End calls that began before then and are still running: their workers are dead."""
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
    """Record that parts of these calls' records were deleted on purpose, in the same transaction.

    Writes an audit entry ("call.redact" or "call.expire") that vouches for what is left, and sets
    `erased_at`. The old salt is dropped, so that the deleted values can't be guessed.
    """
    pks, now = sorted(set(call_pks)), timezone.now()
    for first in range(0, len(pks), records.BATCH):
        made = []
        for call, images, findings in records.stored(pks[first : first + records.BATCH]):
            call.erased_at = now
            vouched = records.seal_record(call, images, findings)
            call.save(update_fields=["erased_at", "salt", "digest"])
            made.append(
                audit.new_entry(
                    actor=actor,
                    team=call.team,
                    action=action,
                    target=call,
                    after=vouched,
                    reason=reason,
                )
            )
        AuditEntry.objects.bulk_create(made)


def _open(until: datetime) -> CallQuerySet:
    return Call.objects.filter(outcome=Outcome.RUNNING, started_at__lte=until).order_by("pk")


def _entry(call: Call, images: Sequence[Recognition], findings: Sequence[Finding]) -> AuditEntry:
    """The audit entry of a finished call. Also sets the call's digest."""
    return audit.new_entry(
        actor=Actor.of_call(call),
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
    """The id of the request that caused all of them, if it was a single one."""
    requests = {sent.request_id for sent in images}
    return requests.pop() if len(requests) == 1 else ""


def _row(position: int, sent: Sent) -> Recognition:
    return Recognition(
        position=position,
        name=texts.line(sent.image.name)[:300],
        photo=sent.photo,
        gallery_id=sent.photo.gallery_id if sent.photo else None,
        request_id=sent.request_id,
        person_id=sent.person_id,
        sha256=sent.digest or digest_of(sent.image),
        width=sent.width,
        height=sent.height,
        own_width=sent.own_width,
        own_height=sent.own_height,
    )


def _judge(call: Call, results: Sequence[ImageResult]) -> None:
    """Whether all images of the call succeeded."""
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
    """The status from the answer's envelope, if there is one: exceptions don't carry it."""
    try:
        status = json.loads(answer.raw)["status"] if answer else None
    except (ValueError, TypeError, LookupError, RecursionError):
        return None
    return status if type(status) is int and 0 <= status < 1000 else None


def was_sent(error: VisionError | None) -> bool:
    """Whether the images may have arrived. Calls that certainly didn't arrive are not charged."""
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
