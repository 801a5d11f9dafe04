"""What else speaks of somebody who is erased: the audit's words, changes, jobs, sessions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.db import transaction
from django.db.models import BooleanField, Case, CharField, Q, QuerySet, When
from django.db.models.functions import Cast
from django.utils import timezone

from persons import audit
from persons.models import (
    AuditEntry,
    Change,
    Consent,
    Decision,
    Enrolment,
    Face,
    LegalHold,
    Likeness,
    Person,
    ReviewPlace,
    Run,
    SpaceJob,
)
from persons.pipeline.erasing.claims import Held
from persons.pipeline.erasing.texts import Names, as_text

ENTRIES_AT_ONCE = 500


def forget_words(held: Held) -> timedelta | None:
    """In one transaction: none of this is ever much."""
    with transaction.atomic():
        pks, names = held.pks(), Names(held.labels)
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


def _forget_in_jobs(held: Held, names: Names) -> int:
    """Restores tell who was somebody else; errors may quote a picture's digest."""
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


def _forget_in_sessions(names: Names) -> int:
    """What a page is about to say to somebody, and reasons that somebody has given."""
    count = 0
    for session in Session.objects.filter(expire_date__gt=timezone.now()).iterator():
        told = session.get_decoded()
        left = {key: part for key, part in told.items() if not _names(names, key, part)}
        if left != told:
            session.session_data = SessionStore().encode(left)
            session.save(update_fields=["session_data"])
            count += 1
    Session.objects.filter(expire_date__lte=timezone.now()).delete()
    return count


def _names(names: Names, key: str, part: Any) -> bool:
    if key.startswith("_auth"):
        return False
    # Messages are JSON in a string, with or without escapes.
    text = part.encode().decode("unicode_escape", "replace") if isinstance(part, str) else ""
    return names.are_in(text) or names.speak_in(part) or names.are_in(str(part))


def forget_entries(held: Held) -> timedelta | None:
    """The words of the audit's entries; that there was one, whose and when, stays, and so does its
    place in the chain."""
    while True:
        since: int = held.erasure.report.get("entry", 0)
        entries = _concerned(held).filter(pk__gt=since, erased_at=None).order_by("pk")
        rows = list(entries[:ENTRIES_AT_ONCE])
        with transaction.atomic():
            if not rows:
                held.keep(entry=0)
                return None
            wanted = _are_about(held, rows)
            count = audit.erase(wanted, at=timezone.now()) if wanted else 0
            held.note("audit", {"entries": count}, entry=rows[-1].pk)
        if held.is_over:
            return timedelta(0)


def _concerned(held: Held) -> QuerySet[AuditEntry]:
    """By what they are about, or by what they may say."""
    targets = Q()
    for kind, rows in _rows_of(held).items():
        keys = rows.order_by().annotate(key=Cast("pk", CharField())).values("key")
        targets |= Q(target_type=kind, target_id__in=keys)
    said = Names(held.labels).may_be_in("target_text", "said_before", "said_after", "reason")
    entries = AuditEntry.objects.annotate(
        said_before=as_text("before"),
        said_after=as_text("after"),
        is_theirs=Case(When(targets, then=True), default=False, output_field=BooleanField()),
    )
    # What is about the erasure itself names nobody.
    own = ["person.erase", "person.erased"]
    return entries.filter(Q(is_theirs=True) | said, team=held.erasure.team).exclude(action__in=own)


def _rows_of(held: Held) -> dict[str, QuerySet[Any]]:
    """Rows that are about nobody but them, by the name of their kind."""
    people = held.pks()
    return {
        "person": Person.objects.filter(pk__in=people),
        "face": Face.everything.filter(space=held.space, decision=Decision.ERASED),
        "enrolment": Enrolment.objects.filter(person__in=people),
        "likeness": Likeness.objects.filter(Q(one__in=people) | Q(other__in=people)),
        "run": Run.objects.filter(person__in=people),
        "consent": Consent.objects.filter(person__in=people),
        "legalhold": LegalHold.objects.filter(person__in=people),
    }


def _are_about(held: Held, rows: Sequence[Any]) -> list[int]:
    """Those that speak of them and not of somebody who has, or had, the same name."""
    people = [int(row.target_id) for row in rows if row.target_type == "person"]
    faces = [int(row.target_id) for row in rows if row.target_type == "face"]
    spaces = {
        "person": dict(Person.objects.filter(pk__in=people).values_list("pk", "space")),
        "face": dict(Face.everything.filter(pk__in=faces).values_list("pk", "space")),
    }
    names = Names(held.labels)
    found = []
    for row in rows:
        known = spaces.get(row.target_type, {}).get(int(row.target_id)) if row.target_id else None
        if row.is_theirs or (
            known in (None, held.space.pk)
            and _names_them(names, row, is_of_another=row.target_type == "person" and bool(known))
        ):
            found.append(row.pk)
    return found


def _names_them(names: Names, entry: AuditEntry, *, is_of_another: bool) -> bool:
    if names.are_in(entry.reason):
        return True
    told = [entry.before, entry.after]
    if is_of_another:
        told = [{key: part for key, part in one.items() if key != "label"} for one in told]
    elif names.is_one(entry.target_text):
        return True
    return any(map(names.speak_in, told))
