"""A job on a space as held by the worker that runs it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from persons.audit import Actor
from persons.models import Source, SpaceJob
from persons.models.work import JobState
from persons.work import Lease, Leases

SLICE_SECONDS = 3.0
"""How long a worker stays with a job before it gives others a turn."""
RENEW_SECONDS = 5.0
MARK_SECONDS = 2
MARKS = 12


JOBS = Leases(
    SpaceJob,
    waiting=JobState.QUEUED,
    running=JobState.RUNNING,
    failed=JobState.FAILED,
    what="The work",
    ends=True,
)


class JobFailed(Exception):
    """The job can't be done; the text tells a user why."""


@dataclass(slots=True)
class HeldJob:
    """A claimed job. Steps store their results together with `renew` or `finish`, in one
    transaction."""

    job: SpaceJob
    lease: Lease[SpaceJob]
    started: float = field(default_factory=time.monotonic)
    renewed: float = field(default_factory=time.monotonic)

    @property
    def actor(self) -> Actor:
        """The job's requester, as the actor of the worker's audit entries."""
        return Actor(self.job.requested_by, Source.WORKER, request_id=self.job.request_id)

    @property
    def is_over(self) -> bool:
        """Whether the slice is over."""
        return time.monotonic() - self.started > SLICE_SECONDS

    def renew(self, **columns: Any) -> None:
        """Renew the lease and update the row. Raises LeaseLost."""
        self.lease.renew(**columns)
        self.renewed = time.monotonic()
        for name, value in columns.items():
            setattr(self.job, name, value)

    def report_progress(self, done: int) -> None:
        """Report progress. It is saved every few seconds, not at each picture."""
        self.job.done = done
        if time.monotonic() - self.renewed > RENEW_SECONDS:
            self.renew(done=done, report=self.marked(done))

    def marked(self, done: int) -> dict[str, Any]:
        """The report with a mark (time, done) added, from which `pace_of` works out the pace."""
        report: dict[str, Any] = self.job.report
        marks, now = report.get("marks", []), timezone.now()
        if marks and now - datetime.fromisoformat(marks[-1][0]) < timedelta(seconds=MARK_SECONDS):
            return report
        return report | {"marks": [*marks, [now.isoformat(), done]][-MARKS:]}

    def finish(self, **columns: Any) -> None:
        """End the job as DONE. Raises LeaseLost."""
        columns |= {"finished_at": timezone.now(), "error": ""}
        self.lease.end(JobState.DONE, **columns)


def pace_of(job: SpaceJob) -> float:
    """Items per second by the latest marks; 0 if there are too few."""
    marks = job.report.get("marks", [])
    if len(marks) < 2:
        return 0.0
    (first, before), (last, after) = marks[0], marks[-1]
    seconds = (datetime.fromisoformat(last) - datetime.fromisoformat(first)).total_seconds()
    return max(0.0, (after - before) / seconds) if seconds > 0 else 0.0
