"""The frame of a space's pages: counts, galleries, and the jobs that are under way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone

from persons.access import Right, galleries_seen_by, rights_of
from persons.models import Gallery, Photo, Run, Space, SpaceJob
from persons.models.work import JobState
from persons.pipeline.identity.merge_propagation import LEFT
from persons.pipeline.spaces.job_claims import pace_of

RECENT = 12
MOST_LEFT = 3
GALLERIES = 12
OFFERED = timedelta(days=7)
"""How long the page offers to undo an emptied space. The snapshot stays for longer."""

Kind = SpaceJob.Kind
PHOTO_BY_PHOTO = (Kind.REBUILD, Kind.PROPAGATE)
"""Jobs that follow from other changes, not from a request: hidden once they are done."""


@dataclass(frozen=True, slots=True)
class JobRow:
    """A job in words.

    `ends_at` is None while it can't be estimated. `trouble` is the error for which it waits or
    failed, "" if there is none.
    """

    job: SpaceJob
    words: str
    unit: str
    pace: str
    ends_at: datetime | None
    trouble: str
    can_cancel: bool
    can_retry: bool

    @property
    def has_failed(self) -> bool:
        return self.job.state == JobState.FAILED


def frame_of(request: HttpRequest, found: Space) -> dict[str, Any]:
    """The context that all views of a space's page share."""
    assert request.user.is_authenticated
    rights = rights_of(request.user, found.team)
    may_see = Right.GALLERIES in rights
    recent = _recent(found)
    return {
        "team": found.team,
        "space": Space.objects.with_counts().get(pk=found.pk),
        "may_see": may_see,
        "can_edit": Right.EDIT in rights,
        "can_manage": Right.MANAGE in rights,
        "runs": list(Run.objects.running().filter(space=found)) if may_see else [],
        "jobs": (jobs := rows_of(recent)),
        "busy_jobs": ".".join(str(row.job.pk) for row in jobs if not row.has_failed),
        "undo": undo_of(recent) if Right.MANAGE in rights else None,
        **(_galleries(galleries_seen_by(request.user, found.team), found) if may_see else {}),
    }


def _galleries(galleries: QuerySet[Gallery], found: Space) -> dict[str, Any]:
    """The newest galleries with their `photo_count`: a space may have hundreds."""
    theirs = galleries.filter(space=found)
    shown = list(theirs.order_by("-pk")[: GALLERIES + 1])
    more = len(shown) > GALLERIES
    counted = Photo.objects.filter(gallery__in=shown[:GALLERIES]).order_by().values("gallery")
    counts = dict(counted.annotate(n=Count("pk")).values_list("gallery", "n"))
    for gallery in shown:
        gallery.photo_count = counts.get(gallery.pk, 0)  # type: ignore[attr-defined]
    return {"galleries": shown[:GALLERIES], "has_more_galleries": more}


def _recent(found: Space) -> list[SpaceJob]:
    """The newest jobs. Only jobs that are under way have their report loaded.

    Each merge and each undo of one makes a job in PHOTO_BY_PHOTO. Of these, only the MOST_LEFT
    oldest ones that are left are included.
    """
    theirs = SpaceJob.objects.filter(space=found)
    asked = theirs.exclude(kind__in=PHOTO_BY_PHOTO).order_by("-pk")
    left = theirs.filter(kind__in=PHOTO_BY_PHOTO, state__in=LEFT).order_by("pk")
    jobs = list(
        theirs.filter(
            Q(pk__in=asked.values("pk")[:RECENT]) | Q(pk__in=left.values("pk")[:MOST_LEFT])
        )
        .select_related("requested_by", "snapshot")
        .defer("report", "snapshot__report")
        .order_by("-pk")
    )
    busy = [job.pk for job in jobs if job.is_under_way]
    reports: dict[int, Any] = {}
    if busy:
        reports = dict(SpaceJob.objects.filter(pk__in=busy).values_list("pk", "report"))
    for job in jobs:
        if job.pk in reports:
            job.report = reports[job.pk]
    return jobs


def rows_of(recent: Sequence[SpaceJob]) -> list[JobRow]:
    """The rows for jobs that are under way, else for the newest requested job if it failed.

    Failed jobs in PHOTO_BY_PHOTO are always included.
    """
    asked = [job for job in recent if job.kind not in PHOTO_BY_PHOTO]
    shown = [job for job in recent if job.is_under_way]
    if not shown and asked and asked[0].state == JobState.FAILED:
        shown = asked[:1]
    # Nothing else shows that faces still belong to the wrong person.
    shown += [job for job in recent if job.kind in PHOTO_BY_PHOTO and not job.is_under_way]
    # A truncation and the snapshot before it are shown as one row.
    before = {job.snapshot_id for job in shown if job.kind == Kind.TRUNCATE}
    waiting = {job.pk for job in shown if job.kind == Kind.SNAPSHOT and job.pk in before}
    return [
        _row(job, is_first_half=job.pk in waiting)
        for job in shown
        if not (job.kind == Kind.TRUNCATE and job.snapshot_id in waiting)
    ]


def undo_of(recent: Sequence[SpaceJob]) -> SpaceJob | None:
    """The truncation that a restore can undo.

    It is the last one, finished within OFFERED, has a snapshot, and nothing was restored since.
    """
    for job in recent:
        gone = job.state in (JobState.FAILED, JobState.CANCELLED)
        if job.kind not in (Kind.TRUNCATE, Kind.RESTORE) or gone:
            continue
        is_new = job.finished_at is not None and timezone.now() - job.finished_at < OFFERED
        if job.kind == Kind.TRUNCATE and is_new and job.snapshot and job.snapshot.file:
            return job
        return None
    return None


def _row(job: SpaceJob, *, is_first_half: bool) -> JobRow:
    failed = job.state == JobState.FAILED
    pace = 0.0 if failed else pace_of(job)
    ends_at = None
    if pace and job.total > job.done and job.state != JobState.CANCELLED:
        ends_at = timezone.now() + timedelta(seconds=(job.total - job.done) / pace)
    waits = job.state == JobState.QUEUED and job.after > timezone.now()
    can_cancel = {
        Kind.REBUILD: False,
        Kind.PROPAGATE: False,
        Kind.TRUNCATE: job.state == JobState.QUEUED,
        Kind.RESTORE: job.state != JobState.CANCELLED,
    }.get(Kind(job.kind), job.is_under_way and job.state != JobState.CANCELLED)
    can_retry = failed and job.kind not in (Kind.TRUNCATE, Kind.UPLOAD)
    return JobRow(
        job=job,
        words=_words(job, is_first_half=is_first_half),
        unit="photo" if job.kind in PHOTO_BY_PHOTO else "picture",
        pace=_pace(pace),
        ends_at=ends_at,
        trouble=job.error,
        can_cancel=can_cancel,
        can_retry=can_retry or (waits and bool(job.error)),
    )


def _words(job: SpaceJob, *, is_first_half: bool) -> str:
    if job.state == JobState.CANCELLED:
        return "Being cancelled"
    if job.state == JobState.FAILED:
        return {
            Kind.SNAPSHOT: "The snapshot could not be written",
            Kind.UPLOAD: "The uploaded file can't be used",
            Kind.TRUNCATE: "The space was not emptied",
            Kind.RESTORE: "The restore stopped",
            Kind.REBUILD: "Working out the faces stopped",
            Kind.PROPAGATE: "Moving the faces of somebody who was merged stopped",
        }[Kind(job.kind)]
    if job.kind == Kind.RESTORE and not job.report.get("people"):
        return "Reading the snapshot"
    return {
        Kind.SNAPSHOT: "Writing a snapshot, then emptying the space"
        if is_first_half
        else "Writing a snapshot",
        Kind.UPLOAD: "Looking through an uploaded snapshot",
        Kind.TRUNCATE: "Emptying the space",
        Kind.RESTORE: "Restoring",
        Kind.REBUILD: "Working out who everybody is with the new thresholds",
        Kind.PROPAGATE: "Moving the faces of somebody who was merged, or parted again",
    }[Kind(job.kind)]


def _pace(pace: float) -> str:
    if pace >= 2:
        return f"{pace:,.0f} a second"
    return f"{pace * 60:,.0f} a minute" if pace > 0 else ""
