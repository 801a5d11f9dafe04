"""Erases what else names the person: changes, jobs, saved review pages, sessions."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from persons.models import (
    Change,
    ReviewPlace,
    SpaceJob,
)
from persons.pipeline.privacy.erasing.claims import HeldErasure
from persons.pipeline.privacy.erasing.texts import PersonNames

ENTRIES_AT_ONCE = 500


def forget_words(held: HeldErasure) -> timedelta | None:
    """All in one transaction, since there is never much of it."""
    with transaction.atomic():
        pks, names = held.pks(), PersonNames(held.labels)
        changes = Change.objects.filter(Q(person__in=pks) | Q(other__in=pks)).exclude(label="")
        counts = {
            "changes": changes.update(label=""),
            "reports": _forget_in_jobs(held, names),
            "places": ReviewPlace.objects.filter(
                Q(query__contains="person=") | Q(names.may_be_in("query")), team=held.erasure.team
            ).update(query=""),
            "sessions": _forget_in_sessions(names),
        }
        held.note("records", counts)
    return None


def _forget_in_jobs(held: HeldErasure, names: PersonNames) -> int:
    """Restores report conflicting names; errors may quote a picture's digest."""
    count = 0
    heads = [digest[:12] for digest in held.digests]
    for job in SpaceJob.objects.filter(team=held.erasure.team).exclude(report={}, error=""):
        report = dict(job.report)
        conflicts = report.get("conflicts", [])
        ids = set(held.erasure.ids) if job.space_id == held.space.pk else set()
        report["conflicts"] = [
            one for one in conflicts if not (ids & {one[1], one[3]} or names.speak_in(one))
        ]
        error = "" if any(head in job.error for head in heads) else job.error
        error = "" if names.are_in(error) else error
        if len(report["conflicts"]) == len(conflicts):
            report = job.report
        if (report, error) != (job.report, job.error):
            SpaceJob.objects.filter(pk=job.pk).update(report=report, error=error)
            count += 1
    return count


def _forget_in_sessions(names: PersonNames) -> int:
    """Remove pending messages and given reasons that name them from sessions."""
    count = 0
    for session in Session.objects.filter(expire_date__gt=timezone.now()).iterator():
        data = session.get_decoded()
        left = {key: part for key, part in data.items() if not _names(names, key, part)}
        if left != data:
            session.session_data = SessionStore().encode(left)
            session.save(update_fields=["session_data"])
            count += 1
    Session.objects.filter(expire_date__lte=timezone.now()).delete()
    return count


def _names(names: PersonNames, key: str, part: Any) -> bool:
    if key.startswith("_auth"):
        return False
    # Messages are JSON in a string, with or without escapes.
    text = part.encode().decode("unicode_escape", "replace") if isinstance(part, str) else ""
    return names.are_in(text) or names.speak_in(part) or names.are_in(str(part))
