"""Long work on a space goes on: one worker at a time, a slice at a time, from where it stopped."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.core.files.storage import default_storage
from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone

from persons.models import SpaceJob
from persons.models.work import JobState
from persons.pipeline.asking import backoff, is_attempt, pause_after
from persons.pipeline.claims import ClaimLost, Held, JobFailed
from persons.pipeline.following import follow
from persons.pipeline.manifests import SnapshotError
from persons.pipeline.resettling import settle
from persons.pipeline.restoring import give_back, restore
from persons.pipeline.saving import check, save
from persons.pipeline.truncating import truncate
from persons.vision.errors import VisionError, VisionRejected

Step = Callable[[Held], timedelta | None]
"""Goes on with a job. None when it has finished it, else after how long it wants to go on."""

STEPS: dict[str, Step] = {
    SpaceJob.Kind.SNAPSHOT: save,
    SpaceJob.Kind.UPLOAD: check,
    SpaceJob.Kind.TRUNCATE: truncate,
    SpaceJob.Kind.RESTORE: restore,
    SpaceJob.Kind.SETTLE: settle,
    SpaceJob.Kind.FOLLOW: follow,
}


@dataclass(frozen=True, slots=True)
class Next:
    """Jobs that can be gone on with now, and a space that may have photos waiting."""

    jobs: list[int]
    space: int | None = None


NOTHING = Next([])


def work(job_pk: int) -> Next:
    """Go on with a job for a while."""
    token = uuid.uuid4().hex
    now = timezone.now()
    ready = SpaceJob.objects.filter(pk=job_pk, state=JobState.QUEUED, after__lte=now)
    if not ready.update(state=JobState.RUNNING, claim=token, claimed_at=now):
        tidy(job_pk)
        return NOTHING
    job = SpaceJob.objects.select_related("space__team", "requested_by", "snapshot").get(pk=job_pk)
    held = Held(job, token)
    try:
        pause = STEPS[job.kind](held)
    except ClaimLost:
        tidy(job_pk, token)
        return NOTHING
    except (JobFailed, SnapshotError) as error:
        _fail(held, str(error))
        return Next(_waiting_for(job))
    except VisionError as error:
        _put_off(held, error)
        return NOTHING
    except OSError as error:
        # A full disk, a storage that does not answer: told to whoever looks on, and tried again.
        _try_again(held, f"The storage: {error.strerror or error}", held.job.attempts + 1)
        return NOTHING
    except BaseException as error:
        _try_again(held, f"The worker was cut off: {type(error).__name__}", held.job.attempts + 1)
        raise
    if pause is None:
        return Next(_waiting_for(job), job.space_id)
    _release(held, pause)
    return NOTHING if pause else Next([job_pk])


def waiting_jobs(now: datetime) -> list[int]:
    """What the sweep rings for; those that were cancelled and nobody has tidied too."""
    dead = now - timedelta(seconds=settings.LEASE_SECONDS)
    untidy = Q(state=JobState.CANCELLED, finished_at=None) & (Q(claim="") | Q(claimed_at__lte=dead))
    waiting = Q(state=JobState.QUEUED, after__lte=now)
    jobs = SpaceJob.objects.filter(waiting | untidy).order_by("pk")
    return list(jobs.values_list("pk", flat=True))


def release_jobs(until: datetime, *, blame: bool) -> int:
    """Free the jobs of dead workers, that is, those claimed before `until`; how many.

    A job over which workers die again and again is failed.
    """
    claimed = SpaceJob.objects.filter(state=JobState.RUNNING, claimed_at__lte=until)
    count = claimed.filter(attempts__gte=settings.MAX_ATTEMPTS).update(
        state=JobState.FAILED,
        claim="",
        finished_at=timezone.now(),
        error=f"It was cut off {settings.MAX_ATTEMPTS} times.",
    )
    return count + claimed.update(
        state=JobState.QUEUED,
        claim="",
        after=timezone.now(),
        attempts=F("attempts") + (1 if blame else 0),
    )


@transaction.atomic
def tidy(job_pk: int, token: str = "") -> None:
    """Take back what a cancelled job had prepared, once nobody works on it any more.

    `token` is the claim of a worker that stops now.
    """
    job = (
        SpaceJob.objects.select_for_update(of=("self",))
        .filter(pk=job_pk, state=JobState.CANCELLED, finished_at=None)
        .first()
    )
    if job is None:
        return
    dead = timezone.now() - timedelta(seconds=settings.LEASE_SECONDS)
    if job.claim not in ("", token) and job.claimed_at and job.claimed_at > dead:
        return
    if job.kind == SpaceJob.Kind.RESTORE:
        give_back(job)
    elif job.file:
        transaction.on_commit(lambda: default_storage.delete(job.file))
    job.finished_at, job.claim = timezone.now(), ""
    job.save(update_fields=["finished_at", "claim"])


def _waiting_for(job: SpaceJob) -> list[int]:
    """A truncation can go on when its snapshot is there, or has to hear that there is none."""
    return list(
        SpaceJob.objects.filter(
            snapshot=job, kind=SpaceJob.Kind.TRUNCATE, state=JobState.QUEUED
        ).values_list("pk", flat=True)
    )


def _fail(held: Held, text: str) -> None:
    try:
        held.renew(state=JobState.FAILED, claim="", finished_at=timezone.now(), error=text)
    except ClaimLost:
        tidy(held.job.pk, held.token)


def _release(held: Held, pause: timedelta) -> None:
    try:
        held.renew(state=JobState.QUEUED, claim="", after=timezone.now() + pause)
    except ClaimLost:
        tidy(held.job.pk, held.token)


def _put_off(held: Held, error: VisionError) -> None:
    attempts = held.job.attempts + (1 if is_attempt(error) else 0)
    if isinstance(error, VisionRejected):
        _fail(held, str(error))
    else:
        _try_again(held, str(error), attempts, pause_after(error, attempts))


def _try_again(held: Held, text: str, attempts: int, pause: timedelta | None = None) -> None:
    if attempts >= settings.MAX_ATTEMPTS:
        _fail(held, f"Gave up after {attempts} tries. Last: {text}")
        return
    try:
        held.renew(
            state=JobState.QUEUED,
            claim="",
            attempts=attempts,
            error=text,
            after=timezone.now() + (pause or backoff(attempts)),
        )
    except ClaimLost:
        tidy(held.job.pk, held.token)
