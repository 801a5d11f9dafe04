"""Exports the filtered history as CSV or JSON Lines, one page of calls at a time.

Each face is a row. An image without a matching face is one row, and so is a call without an image.
Galleries closed to the reader are left out: a call about those alone is one row of call facts.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Collection, Iterator
from itertools import groupby
from operator import attrgetter
from typing import Any

from django.db.models import QuerySet

from persons.calls.search import Search
from persons.models import Call, Finding, Recognition

CALLS_AT_ONCE = 500

CALL = (
    "call",
    "started_at",
    "method",
    "outcome",
    "status",
    "error",
    "source",
    "actor",
    "key",
    "address",
    "request_id",
    "reason",
    "backend",
    "model",
    "space",
    "space_version",
    "enrolled_people",
    "enrolled_pictures",
    "threshold",
    "confirm_threshold",
    "duration_ms",
    "record",
)
IMAGE = (
    "recognition",
    "image",
    "image_name",
    "image_sha256",
    "image_status",
    "image_error",
    "asked_person_id",
    "photo",
    "gallery",
)
FACE = (
    "face",
    "erased",
    "person_id",
    "name",
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
COLUMNS = (*CALL, *IMAGE, *FACE)

FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""How a cell begins that a spreadsheet takes for a formula; the wide letters too."""

Row = dict[str, Any]


def rows_of(search: Search, *, may_see: bool) -> Iterator[list[Row]]:
    """Rows by page of calls, newest first. Names and photos are null unless the reader `may_see`
    them."""
    for pks in search.all_ids(CALLS_AT_ONCE):
        yield list(_rows(search, pks, may_see=may_see))


def _rows(search: Search, pks: Collection[int], *, may_see: bool) -> Iterator[Row]:
    calls = Call.objects.filter(pk__in=pks).select_related("space", "key").order_by("-pk")
    images = _by(search.images(pks).select_related("gallery").order_by("call", "position"), "call")
    faces = _by(
        search.findings(pks).select_related("person").order_by("recognition", "position"),
        "recognition",
    )
    for call in calls.defer("answer", "meta"):
        facts, has_rows = _call(call), False
        for image in images.get(call.pk, ()):
            found = faces.get(image.pk, [])
            if search.filters.of_faces and not found and call.method == "recognize":
                continue
            about = facts | _image(image, may_see=may_see)
            for face in found:
                face.call = call
                yield about | _face(face, may_see=may_see)
            if not found:
                yield about
            has_rows = True
        if not has_rows:
            yield facts


def _by(rows: QuerySet[Any], name: str) -> dict[int, list[Any]]:
    return {pk: list(some) for pk, some in groupby(rows, key=attrgetter(f"{name}_id"))}


def _call(call: Call) -> Row:
    return {
        "call": call.pk,
        "started_at": call.started_at.isoformat(),
        "method": call.method,
        "outcome": call.outcome,
        "status": call.status,
        "error": call.error,
        "source": call.source,
        "actor": call.actor_text,
        "key": call.key.name if call.key else None,
        "address": call.address,
        "request_id": call.request_id,
        "reason": call.reason,
        "backend": call.backend,
        "model": call.model,
        "space": call.space.number if call.space else None,
        "space_version": call.space_version,
        "enrolled_people": call.enrolled_people,
        "enrolled_pictures": call.enrolled_pictures,
        "threshold": call.threshold,
        "confirm_threshold": call.confirm_threshold,
        "duration_ms": call.duration_ms,
        "record": call.digest,
    }


def _image(image: Recognition, *, may_see: bool) -> Row:
    return {
        "recognition": image.pk,
        "image": image.position,
        "image_name": image.name,
        "image_sha256": image.sha256,
        "image_status": image.status,
        "image_error": image.error,
        "asked_person_id": image.person_id,
        "photo": image.photo_id if may_see else None,
        "gallery": image.gallery.slug if image.gallery and may_see else None,
    } | ({"request_id": image.request_id} if image.request_id else {})


def _face(face: Finding, *, may_see: bool) -> Row:
    if face.is_redacted:
        return {"face": face.position, "erased": True}
    return {
        "face": face.position,
        "erased": False,
        "person_id": face.told_id,
        "name": face.person.name if face.person and may_see else None,
        "similarity": face.similarity,
        "confidence": face.confidence,
        "left": face.left,
        "top": face.top,
        "right": face.right,
        "bottom": face.bottom,
        "runner_up": face.runner_up,
        "runner_up_similarity": face.runner_up_similarity,
        "matched_sha256": face.matched_sha256,
    }


def as_csv(pages: Iterator[list[Row]]) -> Iterator[bytes]:
    """CSV for spreadsheets: starts with a UTF-8 byte order mark, and escapes formulas."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    yield b"\xef\xbb\xbf" + _taken(text)
    for page in pages:
        writer.writerows([plain(row.get(name)) for name in COLUMNS] for row in page)
        yield _taken(text)


def as_json_lines(pages: Iterator[list[Row]]) -> Iterator[bytes]:
    for page in pages:
        lines = (json.dumps(row, ensure_ascii=False, separators=(",", ":")) for row in page)
        yield "".join(f"{line}\n" for line in lines).encode()


def plain(value: Any) -> Any:
    """The value, escaped so that a spreadsheet never takes it for a formula."""
    if isinstance(value, str) and value.startswith(FORMULAS):
        return f"'{value}"
    return value


def _taken(text: io.StringIO) -> bytes:
    data = text.getvalue().encode()
    text.seek(0)
    text.truncate()
    return data
