"""Redacts calls about an erased person: their part of requests and answers goes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from persons.calls import log as call_log
from persons.models import Call, Finding, Recognition
from persons.pipeline.privacy.erasing.claims import HeldErasure
from persons.pipeline.privacy.erasing.texts import PersonNames, Redaction, as_text
from persons.privacy.erased import ERASED
from persons.vision.types import Method

CALLS_AT_ONCE = 100
LOOKED_UP_AT_ONCE = 5000
"""Calls per query: finding them scans the whole history."""
NO_BOX = {
    "told_id": None,
    "person": None,
    "similarity": 0.0,
    "confidence": 0.0,
    "left": 0,
    "top": 0,
    "right": 0,
    "bottom": 0,
    "runner_up": None,
    "runner_up_similarity": None,
    "matched_sha256": "",
}
NO_PICTURE = {
    "sha256": "",
    "image": "",
    "width": 0,
    "height": 0,
    "own_width": 0,
    "own_height": 0,
}


def forget_calls(held: HeldErasure) -> timedelta | None:
    """Redact calls in pk order, each once per pass; `report["call"]` is the last one done."""
    while True:
        since: int = held.erasure.report.get("call", 0)
        wanted = _concerned(held).filter(pk__gt=since).order_by("pk").distinct()
        pks = list(wanted.values_list("pk", flat=True)[:LOOKED_UP_AT_ONCE])
        if not pks:
            with transaction.atomic():
                held.keep(call=0)
            return None
        for start in range(0, len(pks), CALLS_AT_ONCE):
            _forget(held, pks[start : start + CALLS_AT_ONCE])
            if held.is_over:
                return timedelta(0)


def _concerned(held: HeldErasure) -> QuerySet[Call]:
    """The space's calls that may name or show them."""
    rows = Recognition.objects.annotate(result_text=as_text("result"))
    named = Q(person_id__in=held.erasure.ids, call__method__in=[Method.SET, Method.DELETE])
    for tag in held.tags:
        named |= Q(result_text__contains=f'"{tag}"')
    if held.digests:
        named |= Q(sha256__in=held.digests)
    answered = Q(pk__in=[])
    for tag in held.tags:
        answered |= Q(answer__contains=f'"{tag}"')
    ids = Q(told_id__in=held.erasure.ids) | Q(runner_up__in=held.erasure.ids)
    findings = Finding.objects.filter(ids | Q(matched_sha256__in=held.digests))
    return Call.objects.filter(
        Q(pk__in=rows.filter(named, call__space=held.space).values("call"))
        | Q(answered, space=held.space)
        | Q(pk__in=findings.filter(call__space=held.space).values("call"))
    )


@transaction.atomic
def _forget(held: HeldErasure, pks: Sequence[int]) -> None:
    counts: Counter[str] = Counter()
    changed: list[int] = []
    files: list[str] = []
    rows = Call.objects.select_for_update(of=("self",)).filter(pk__in=pks).order_by("pk")
    for call in rows:
        done, keys = _forget_in(held, call)
        if done:
            counts += done
            counts["calls"] += 1
            changed.append(call.pk)
        files += keys
    if changed:
        call_log.changed(
            changed, actor=held.actor, action="call.redact", reason=held.erasure.reference
        )
    held.note("history", counts, call=pks[-1], **held.mark_for_deletion(files))


def _forget_in(held: HeldErasure, call: Call) -> tuple[Counter[str], list[str]]:
    """Redact one call. Returns counts of what was removed, and the keys of its kept pictures."""
    counts: Counter[str] = Counter()
    images = list(Recognition.objects.filter(call=call).order_by("position"))
    labels = PersonNames(held.labels)
    named = {row.pk for row in images if _names_them(held, row, labels)}
    names = frozenset(row.name for row in images if row.pk in named and row.name != ERASED)
    redaction = Redaction(held.tags, names, labels)
    files: list[str] = []
    for row in images:
        loses_picture = _shows_them(held, call, row)
        columns = _without_them(row, redaction, is_named=row.pk in named)
        if "result" in columns:
            counts["answers"] += 1
        if loses_picture and row.image:
            files.append(row.image)
            counts["kept pictures"] += 1
        if loses_picture and (row.image or (row.sha256 and _is_picture(held, call, row))):
            columns |= NO_PICTURE
        if columns:
            Recognition.objects.filter(pk=row.pk).update(erased_at=timezone.now(), **columns)
            counts["images"] += 1
    counts += _forget_findings(held, call)
    changed = _columns_of(held, call, redaction)
    if changed and not counts:
        # The answer names them in a way that no image's result does.
        counts["texts"] += 1
    if counts:
        Call.objects.filter(pk=call.pk).update(erased_at=timezone.now(), question="", **changed)
    return counts, files


def _is_theirs(held: HeldErasure, row: Recognition) -> bool:
    return bool(row.person_id) and row.person_id in held.erasure.ids


def _is_picture(held: HeldErasure, call: Call, row: Recognition) -> bool:
    """Whether the image is one of their enrolled pictures."""
    is_set = _is_theirs(held, row) and call.method == Method.SET
    return is_set or row.sha256 in held.digests


def _shows_them(held: HeldErasure, call: Call, row: Recognition) -> bool:
    return _is_picture(held, call, row) or Redaction(held.tags).concerns(row.result)


def _names_them(held: HeldErasure, row: Recognition, labels: PersonNames) -> bool:
    return _is_theirs(held, row) or _is_named_for_them(held, row, labels)


def _without_them(row: Recognition, redaction: Redaction, *, is_named: bool) -> dict[str, Any]:
    """The columns of an image that change."""
    columns: dict[str, Any] = {}
    result: dict[str, Any] = redaction.of(row.result)
    if result != row.result:
        columns["result"] = result
    if is_named and row.name != ERASED:
        columns |= {"name": ERASED, "error": row.error and ERASED}
    return columns


def _is_named_for_them(held: HeldErasure, row: Recognition, labels: PersonNames) -> bool:
    """Whether to remove the file name that a client gave this image.

    Yes if the image shows them or is one of their enrolled pictures, and either shows nobody else
    or has their name in its file name.
    """
    if row.photo_id is not None or row.gallery_id is not None:
        return False
    persons = row.result.get("persons", []) if isinstance(row.result, dict) else []
    tags = {one.get("tag") for one in persons if isinstance(one, dict)}
    if not (tags & held.tags or row.sha256 in held.digests or _is_matched(held, row)):
        return False
    return tags <= {*held.tags, ERASED} or labels.are_in_loosely(row.name)


def _is_matched(held: HeldErasure, row: Recognition) -> bool:
    return Finding.objects.filter(recognition=row, told_id__in=held.erasure.ids).exists()


def _columns_of(held: HeldErasure, call: Call, redaction: Redaction) -> dict[str, Any]:
    cleaned: dict[str, Any] = {
        "answer": redaction.of_text(call.answer),
        "meta": redaction.of(call.meta),
        "error": redaction.of_text(call.error) if redaction.names else call.error,
        "reason": "" if PersonNames(held.labels).are_in_loosely(call.reason) else call.reason,
    }
    return {name: value for name, value in cleaned.items() if value != getattr(call, name)}


def _forget_findings(held: HeldErasure, call: Call) -> Counter[str]:
    ids = held.erasure.ids
    found = Finding.objects.filter(call=call)
    count = found.filter(told_id__in=ids).update(**NO_BOX)
    second = found.filter(runner_up__in=ids).update(runner_up=None, runner_up_similarity=None)
    matched = found.filter(matched_sha256__in=held.digests).update(matched_sha256="")
    return Counter({"findings": count + second + matched})


def forget_kept_pictures(held: HeldErasure) -> timedelta | None:
    """Remove kept pictures from other calls about the same bytes, which may not have named them."""
    doomed = [key for key in held.erasure.report.get("doomed", []) if key.startswith("probes/")]
    if not doomed:
        return None
    with transaction.atomic():
        rows = Recognition.objects.filter(image__in=doomed, call__team=held.erasure.team)
        pks = sorted(set(rows.values_list("call", flat=True)))
        nothing = dict.fromkeys(("width", "height", "own_width", "own_height"), 0)
        count = rows.update(image="", sha256="", erased_at=timezone.now(), **nothing)
        if pks:
            Call.objects.filter(pk__in=pks).update(erased_at=timezone.now(), question="")
            call_log.changed(
                pks, actor=held.actor, action="call.redact", reason=held.erasure.reference
            )
        held.note("history", {"images": count, "calls": len(pks)})
    return None
