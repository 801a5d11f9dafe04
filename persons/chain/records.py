"""What a call's entry in the audit vouches for: the call, its images and their findings.

Left out is what Rollcall itself may change later without a word: references that go when their
target is deleted (the key and the space's row; both are in the entry as numbers), where a client's
picture is kept, and what the call cost.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from django.db.models import QuerySet

from persons.chain import verify
from persons.chain.entries import SALT_BYTES, moment
from persons.models import AuditEntry, Call, Finding, Recognition

CALL = (
    "method",
    "source",
    "actor_text",
    "request_id",
    "backend",
    "model",
    "meta",
    "image_count",
    "saved_count",
    "space_version",
    "duration_ms",
    "outcome",
    "status",
    "error",
    "threshold",
    "confirm_threshold",
    "enrolled_people",
    "enrolled_pictures",
    "reason",
)
IMAGE = (
    "position",
    "name",
    "person_id",
    "sha256",
    "width",
    "height",
    "status",
    "error",
    "result",
    "face_count",
    "request_id",
)
FACE = (
    "position",
    "told_id",
    "similarity",
    "confidence",
    "left",
    "top",
    "right",
    "bottom",
    "runner_up",
    "runner_up_similarity",
    "matched_sha256",
)
BATCH = 200
TRIES = 3


def seal_record(
    call: Call, images: Sequence[Recognition], findings: Sequence[Finding]
) -> dict[str, Any]:
    """Sets a new salt and the digest of the call as it now is; what its entry says of it."""
    call.salt = secrets.token_hex(SALT_BYTES)
    call.digest = digest_of(call, images, findings)
    said = {"outcome": str(call.outcome), "record": call.digest}
    return said | ({"key": call.key_id} if call.key_id else {})


def digest_of(call: Call, images: Sequence[Recognition], findings: Sequence[Finding]) -> str:
    return verify.salted(call.salt, record_of(call, images, findings))


def record_of(
    call: Call, images: Sequence[Recognition], findings: Sequence[Finding]
) -> dict[str, Any]:
    faces: dict[int, list[dict[str, Any]]] = {}
    for one in findings:
        faces.setdefault(one.recognition_id, []).append(_facts(one, FACE))
    return {
        **_facts(call, CALL),
        "call": call.pk,
        "address": verify.address_of(call.address),
        "started_at": moment(call.started_at),
        # Answers can be long, and their digest says as much.
        "answer": hashlib.sha256(call.answer.encode("utf-8", "surrogatepass")).hexdigest(),
        "images": [
            {**_facts(image, IMAGE), "faces": sorted(faces.get(image.pk, ()), key=_position)}
            for image in images
        ],
    }


def stored(pks: Sequence[int]) -> Iterator[tuple[Call, list[Recognition], list[Finding]]]:
    """These calls as the database has them, by pk, with their images in order: three queries."""
    images = _by_call(Recognition.objects.filter(call__in=pks).order_by("call", "position", "pk"))
    rows = Finding.objects.filter(call__in=pks).select_related("person")
    findings = _by_call(rows.order_by("call", "pk"))
    for call in Call.objects.filter(pk__in=pks).select_related("team", "actor").order_by("pk"):
        yield call, images.get(call.pk, []), findings.get(call.pk, [])


def settled(pks: Sequence[int]) -> Iterator[tuple[Call, dict[str, Any]]]:
    """These calls by pk, each with its record. What changed between the queries is read again."""
    for call, images, findings in stored(pks):
        record = record_of(call, images, findings)
        for _ in range(TRIES):
            if verify.salted(call.salt, record) == call.digest:
                break
            for again in stored([call.pk]):
                call, record = again[0], record_of(*again)
        yield call, record


def batches(rows: QuerySet[Any]) -> Iterator[list[int]]:
    """The keys of all of them in order, so many at a time as `stored` may be asked for."""
    numbers = rows.order_by("pk").values_list("pk", flat=True)
    left = numbers
    while pks := list(left[:BATCH]):
        yield pks
        left = numbers.filter(pk__gt=pks[-1])


def points_elsewhere(call: Call, findings: Sequence[Finding], entry: AuditEntry) -> bool:
    """Whether a reference that may go when its target is deleted leads to another one instead: the
    account that asked, or the person (and with them the space) of a number that was told."""
    is_first = entry.action == f"call.{call.method}"
    if is_first and call.actor_id is not None and call.actor_id != entry.actor_id:
        return True
    return any(
        one.person is not None
        and (one.person.person_id, one.person.space_id) != (one.told_id, call.space_id)
        for one in findings
    )


def _by_call(rows: Any) -> dict[int, list[Any]]:
    return {pk: list(some) for pk, some in groupby(rows, key=lambda row: row.call_id)}


def _facts(row: Call | Recognition | Finding, names: Sequence[str]) -> dict[str, Any]:
    return {name: getattr(row, name) for name in names}


def _position(face: dict[str, Any]) -> int:
    return int(face["position"])
