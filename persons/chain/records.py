"""The record that a call's audit entry vouches for: the call, its images and their findings.

The record omits what Rollcall may change later without an entry: references that are nulled when
their target is deleted (key, space), a client's picture's storage key, and the cost.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator, Sequence
from datetime import timedelta
from itertools import groupby
from typing import Any

from django.db.models import QuerySet

from persons.chain import verify
from persons.chain.entries import SALT_BYTES, moment
from persons.inputs.params import whole
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
PHOTO = "photo"
PARTLY = ("call.redact", "call.expire")
"""Actions of entries that vouch for a record after a part of it was deleted on purpose."""
ABOUT = timedelta(minutes=10)
"""Tolerance between a deletion and its entry, which are written in one transaction."""


def seal_record(
    call: Call, images: Sequence[Recognition], findings: Sequence[Finding]
) -> dict[str, Any]:
    """Set a new salt and digest on the call, and return the payload for its audit entry."""
    call.salt = secrets.token_hex(SALT_BYTES)
    call.digest = digest_of(call, images, findings)
    statement = {"outcome": str(call.outcome), "record": call.digest}
    return statement | ({"key": call.key_id} if call.key_id else {})


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
        # Answers can be long, and their digest proves as much.
        "answer": hashlib.sha256(call.answer.encode("utf-8", "surrogatepass")).hexdigest(),
        "images": [
            {
                **_facts(image, IMAGE),
                **_own_size(image),
                "faces": sorted(faces.get(image.pk, ()), key=_position),
            }
            for image in images
        ],
    }


def stored(pks: Sequence[int]) -> Iterator[tuple[Call, list[Recognition], list[Finding]]]:
    """These calls by pk, each with its images and findings in order. Three queries."""
    images = _by_call(Recognition.objects.filter(call__in=pks).order_by("call", "position", "pk"))
    rows = Finding.objects.filter(call__in=pks).select_related("person")
    findings = _by_call(rows.order_by("call", "pk"))
    for call in (
        Call.objects.filter(pk__in=pks).select_related("team", "actor", "space").order_by("pk")
    ):
        yield call, images.get(call.pk, []), findings.get(call.pk, [])


def current(pks: Sequence[int]) -> Iterator[tuple[Call, dict[str, Any]]]:
    """These calls by pk, each with its record. Calls that changed between queries are reread."""
    for call, images, findings in stored(pks):
        record = record_of(call, images, findings)
        for _ in range(TRIES):
            if verify.salted(call.salt, record) == call.digest:
                break
            for again in stored([call.pk]):
                call, record = again[0], record_of(*again)
        yield call, record


def batches(rows: QuerySet[Any]) -> Iterator[list[int]]:
    """Primary keys of all rows in order, in batches of a size that suits `stored`."""
    numbers = rows.order_by("pk").values_list("pk", flat=True)
    left = numbers
    while pks := list(left[:BATCH]):
        yield pks
        left = numbers.filter(pk__gt=pks[-1])


def points_elsewhere(
    call: Call, images: Sequence[Recognition], findings: Sequence[Finding], entry: AuditEntry
) -> bool:
    """Whether a reference outside the record contradicts the record or its entry.

    Checks the actor, the key, the space, each image's photo, and each finding's person and space.
    A reference may be null, since its target may have been deleted. Also checks that `erased_at`
    agrees with the entry.
    """
    is_first = entry.action == f"call.{call.method}"
    if is_first and call.actor_id is not None and call.actor_id != entry.actor_id:
        return True
    if call.key_id is not None and call.key_id != entry.after.get("key"):
        return True
    if not _is_erased_as_recorded(call, entry, is_first=is_first):
        return True
    if _is_of_another_space(call) or any(_is_of_another_photo(image) for image in images):
        return True
    return any(
        one.person is not None
        and (one.person.person_id, one.person.space_id) != (one.told_id, call.space_id)
        for one in findings
    )


def _is_of_another_space(call: Call) -> bool:
    if call.space is None:
        return False
    asked = whole(str(call.meta.get("space", "")))
    is_other = asked is not None and asked != call.space.number
    return is_other or call.space.team_id != call.team_id


def _is_of_another_photo(image: Recognition) -> bool:
    """Photos are sent under a name that contains their primary key."""
    number = whole(image.name.removeprefix(PHOTO))
    return bool(image.photo_id) and number is not None and number != image.photo_id


def _is_erased_as_recorded(call: Call, entry: AuditEntry, *, is_first: bool) -> bool:
    if call.erased_at is None:
        return entry.action not in PARTLY
    if is_first or entry.action not in PARTLY:
        # The call ended again after a partial deletion, or predates these entries.
        entries = AuditEntry.objects.filter(
            team=call.team_id, target_type="call", target_id=str(call.pk), action__in=PARTLY
        )
        return entries.exists() or not is_first
    return abs(call.erased_at - entry.at) < ABOUT


def _by_call(rows: Any) -> dict[int, list[Any]]:
    return {pk: list(some) for pk, some in groupby(rows, key=lambda row: row.call_id)}


def _facts(row: Call | Recognition | Finding, names: Sequence[str]) -> dict[str, Any]:
    return {name: getattr(row, name) for name in names}


def _own_size(image: Recognition) -> dict[str, list[int]]:
    """The original size if stored. Records from before it was stored keep their digest."""
    own = [image.own_width, image.own_height]
    return {"own_size": own} if any(own) else {}


def _position(face: dict[str, Any]) -> int:
    return int(face["position"])
