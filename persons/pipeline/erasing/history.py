"""Calls that were about somebody who is erased: their part of what was asked and answered goes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from persons import calls
from persons.erasures import ERASED
from persons.models import Call, Finding, Recognition
from persons.pipeline.erasing.claims import Held
from persons.pipeline.erasing.texts import Names, Redaction, as_text
from persons.vision.types import Method

CALLS_AT_ONCE = 100
LOOKED_UP_AT_ONCE = 5000
"""To find them the whole history is gone through."""
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


def forget_calls(held: Held) -> timedelta | None:
    """By key from the newest that was looked at: each call is gone through once a pass."""
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


def _concerned(held: Held) -> QuerySet[Call]:
    """The space's calls that may say something of them."""
    rows = Recognition.objects.annotate(said=as_text("result"))
    said = Q(person_id__in=held.erasure.ids, call__method__in=[Method.SET, Method.DELETE])
    for tag in held.tags:
        said |= Q(said__contains=f'"{tag}"')
    if held.digests:
        said |= Q(sha256__in=held.digests)
    answered = Q(pk__in=[])
    for tag in held.tags:
        answered |= Q(answer__contains=f'"{tag}"')
    ids = Q(told_id__in=held.erasure.ids) | Q(runner_up__in=held.erasure.ids)
    findings = Finding.objects.filter(ids | Q(matched_sha256__in=held.digests))
    return Call.objects.filter(
        Q(pk__in=rows.filter(said, call__space=held.space).values("call"))
        | Q(answered, space=held.space)
        | Q(pk__in=findings.filter(call__space=held.space).values("call"))
        | Q(Names(held.labels).may_be_in("reason"), team=held.erasure.team)
    )


@transaction.atomic
def _forget(held: Held, pks: Sequence[int]) -> None:
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
        calls.changed(
            changed, actor=held.actor, action="call.redact", reason=held.erasure.reference
        )
    held.note("history", counts, call=pks[-1], **held.doom(files))


def _forget_in(held: Held, call: Call) -> tuple[Counter[str], list[str]]:
    """What went out of one call, and the files that it kept."""
    now = timezone.now()
    counts: Counter[str] = Counter()
    images = list(Recognition.objects.filter(call=call).order_by("position"))
    mine = [row for row in images if row.person_id in held.erasure.ids and row.person_id]
    redaction = Redaction(held.tags, frozenset(row.name for row in mine if row.name != ERASED))
    files: list[str] = []
    for row in images:
        told: dict[str, Any] = redaction.of(row.result)
        is_seen = told != row.result
        is_picture = (row in mine and call.method == Method.SET) or row.sha256 in held.digests
        columns: dict[str, Any] = {}
        if is_seen:
            columns["result"] = told
            counts["answers"] += 1
        if row in mine and row.name != ERASED:
            columns |= {"name": ERASED, "error": row.error and ERASED}
        if (is_picture or is_seen) and row.image:
            files.append(row.image)
            counts["kept pictures"] += 1
        if (is_picture and row.sha256) or ((is_picture or is_seen) and row.image):
            columns |= {"sha256": "", "image": "", "width": 0, "height": 0}
        if columns:
            Recognition.objects.filter(pk=row.pk).update(erased_at=now, **columns)
            counts["images"] += 1
    counts += _forget_findings(held, call)
    changed = _columns_of(held, call, redaction)
    if changed and not counts:
        counts["texts"] += 1
    if counts:
        Call.objects.filter(pk=call.pk).update(erased_at=now, question="", **changed)
    return counts, files


def _columns_of(held: Held, call: Call, redaction: Redaction) -> dict[str, Any]:
    cleaned: dict[str, Any] = {
        "answer": redaction.of_text(call.answer),
        "meta": redaction.of(call.meta),
        "error": redaction.of_text(call.error) if redaction.names else call.error,
        "reason": "" if Names(held.labels).are_in(call.reason) else call.reason,
    }
    return {name: value for name, value in cleaned.items() if value != getattr(call, name)}


def _forget_findings(held: Held, call: Call) -> Counter[str]:
    ids = held.erasure.ids
    found = Finding.objects.filter(call=call)
    told = found.filter(told_id__in=ids).update(**NO_BOX)
    second = found.filter(runner_up__in=ids).update(runner_up=None, runner_up_similarity=None)
    matched = found.filter(matched_sha256__in=held.digests).update(matched_sha256="")
    return Counter({"findings": told + second + matched})


def forget_kept_pictures(held: Held) -> timedelta | None:
    """The same bytes may have been asked about several times, and been answered otherwise once."""
    doomed = [key for key in held.erasure.report.get("doomed", []) if key.startswith("probes/")]
    if not doomed:
        return None
    with transaction.atomic():
        rows = Recognition.objects.filter(image__in=doomed, call__team=held.erasure.team)
        pks = sorted(set(rows.values_list("call", flat=True)))
        count = rows.update(image="", sha256="", width=0, height=0, erased_at=timezone.now())
        if pks:
            Call.objects.filter(pk__in=pks).update(erased_at=timezone.now(), question="")
            calls.changed(
                pks, actor=held.actor, action="call.redact", reason=held.erasure.reference
            )
        held.note("history", {"images": count, "calls": len(pks)})
    return None
