"""A job on a space, held by the one worker that goes on with it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from persons.audit import Actor
from persons.models import Source, SpaceJob
from persons.models.work import JobState

SLICE_SECONDS = 10.0
"""How long a worker stays with a job before it lets others have a turn."""
RENEW_SECONDS = 5.0
MARK_SECONDS = 2
MARKS = 12


class ClaimLost(Exception):
    """Somebody else holds the job now, or it was cancelled: stop, and store nothing."""


class JobFailed(Exception):
    """The job can't be done; the text tells a user why."""


@dataclass(slots=True)
class Held:
    """A claim. Whatever a step stores, it stores with `renew` or `finish` in one transaction."""

    job: SpaceJob
    token: str
    started: float = field(default_factory=time.monotonic)
    renewed: float = field(default_factory=time.monotonic)

    @property
    def actor(self) -> Actor:
        """Who asked for the job, as what the worker does for them is written down."""
        return Actor(self.job.requested_by, Source.WORKER, request_id=self.job.request_id)

    @property
    def is_over(self) -> bool:
        """Whether it is others' turn."""
        return time.monotonic() - self.started > SLICE_SECONDS

    def renew(self, **columns: Any) -> None:
        """The lease starts anew, and the row gets these values. Raises ClaimLost."""
        mine = SpaceJob.objects.filter(pk=self.job.pk, claim=self.token, state=JobState.RUNNING)
        if not mine.update(claimed_at=timezone.now(), **columns):
            raise ClaimLost
        self.renewed = time.monotonic()
        for name, value in columns.items():
            setattr(self.job, name, value)

    def tell(self, done: int) -> None:
        """How far it is, for those who look on: not at each picture, but every few seconds."""
        self.job.done = done
        if time.monotonic() - self.renewed > RENEW_SECONDS:
            self.renew(done=done, report=self.marked(done))

    def marked(self, done: int) -> dict[str, Any]:
        """The report with a mark of when how much was done, which the pace is worked out from."""
        report: dict[str, Any] = self.job.report
        marks, now = report.get("marks", []), timezone.now()
        if marks and now - datetime.fromisoformat(marks[-1][0]) < timedelta(seconds=MARK_SECONDS):
            return report
        return report | {"marks": [*marks, [now.isoformat(), done]][-MARKS:]}

    def finish(self, **columns: Any) -> None:
        """The job is done. Raises ClaimLost."""
        self.renew(state=JobState.DONE, claim="", finished_at=timezone.now(), error="", **columns)


def pace_of(job: SpaceJob) -> float:
    """How many a second were done lately; 0 where nobody can say yet."""
    marks = job.report.get("marks", [])
    if len(marks) < 2:
        return 0.0
    (first, before), (last, after) = marks[0], marks[-1]
    seconds = (datetime.fromisoformat(last) - datetime.fromisoformat(first)).total_seconds()
    return max(0.0, (after - before) / seconds) if seconds > 0 else 0.0
