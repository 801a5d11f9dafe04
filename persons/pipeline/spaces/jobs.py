"""Runs long work on spaces: one worker per job, a slice at a time, resuming where it stopped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from django.core.files.storage import default_storage
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from persons.models import SpaceJob
from persons.models.work import JobState
from persons.pipeline.identity.merge_propagation import propagate
from persons.pipeline.identity.rebuild_identities import rebuild
from persons.pipeline.spaces.job_claims import JOBS, HeldJob, JobFailed
from persons.pipeline.spaces.manifests import SnapshotError
from persons.pipeline.spaces.restoring import give_back, restore
from persons.pipeline.spaces.snapshot_writer import check, save
from persons.pipeline.spaces.truncating import truncate
from persons.vision.errors import VisionError, VisionRejected
from persons.work import (
    LeaseLost,
    attempts_after,
    backoff,
    is_given_up,
    pause_after,
    unheld,
    withdraw,
)

Step = Callable[[HeldJob], timedelta | None]
"""Returns None when the job is finished, otherwise after how long to continue it."""

STEPS: dict[str, Step] = {
    SpaceJob.Kind.SNAPSHOT: save,
    SpaceJob.Kind.UPLOAD: check,
    SpaceJob.Kind.TRUNCATE: truncate,
    SpaceJob.Kind.RESTORE: restore,
    SpaceJob.Kind.REBUILD: rebuild,
    SpaceJob.Kind.PROPAGATE: propagate,
}


@dataclass(frozen=True, slots=True)
class Next:
    """Jobs that can go on now, and a space that may have photos waiting."""

    jobs: list[int]
    space: int | None = None


NOTHING = Next([])


def work(job_pk: int) -> Next:
    """Run a job for a slice."""
    lease = JOBS.claim(SpaceJob.objects.filter(pk=job_pk))
    if lease is None:
        tidy(job_pk)
        return NOTHING
    job = SpaceJob.objects.select_related("space__team", "requested_by", "snapshot").get(pk=job_pk)
    held = HeldJob(job, lease)
    try:
        with lease.kept_alive():
            pause = STEPS[job.kind](held)
    except LeaseLost:
        tidy(job_pk, lease.token)
        return NOTHING
    except (JobFailed, SnapshotError) as error:
        _fail(held, str(error))
        return Next(_waiting_for(job))
    except VisionError as error:
        _put_off(held, error)
        return NOTHING
    except OSError as error:
        # A full disk or an unreachable storage: shown to users, and retried.
        _try_again(held, f"The storage: {error.strerror or error}", held.job.attempts + 1)
        return NOTHING
    except BaseException as error:
        if not lease.cut_off(error, backoff(job.attempts + 1)):
            tidy(job_pk, lease.token)
        raise
    if pause is None:
        return Next(_waiting_for(job), job.space_id)
    _release(held, pause)
    return NOTHING if pause else Next([job_pk])


def jobs_to_clean_up() -> Q:
    """Cancelled jobs that nobody works on and that are not tidied yet."""
    return Q(state=JobState.CANCELLED, finished_at=None) & unheld()


@transaction.atomic
def tidy(job_pk: int, token: str = "") -> None:
    """Undo what a cancelled job had prepared, unless a worker still holds it.

    `token` is the claim of a worker that is stopping now.
    """
    idle = Q(state=JobState.CANCELLED, finished_at=None) & unheld(token)
    job = SpaceJob.objects.select_for_update(of=("self",)).filter(idle, pk=job_pk).first()
    if job is None:
        return
    if job.kind == SpaceJob.Kind.RESTORE:
        give_back(job)
    elif job.file:
        transaction.on_commit(lambda: default_storage.delete(job.file))
    withdraw(SpaceJob.objects.filter(pk=job_pk), finished_at=timezone.now())


def _waiting_for(job: SpaceJob) -> list[int]:
    """Truncations that wait for this snapshot: they go on when it is done, and fail if it
    failed."""
    return list(
        SpaceJob.objects.filter(
            snapshot=job, kind=SpaceJob.Kind.TRUNCATE, state=JobState.QUEUED
        ).values_list("pk", flat=True)
    )


def _fail(held: HeldJob, text: str) -> None:
    if not held.lease.fail(text):
        tidy(held.job.pk, held.lease.token)


def _release(held: HeldJob, pause: timedelta) -> None:
    if not held.lease.give_back(JobState.QUEUED, after=timezone.now() + pause):
        tidy(held.job.pk, held.lease.token)


def _put_off(held: HeldJob, error: VisionError) -> None:
    attempts = attempts_after(error, held.job.attempts)
    if isinstance(error, VisionRejected):
        _fail(held, str(error))
    else:
        _try_again(held, str(error), attempts, pause_after(error, attempts))


def _try_again(held: HeldJob, text: str, attempts: int, pause: timedelta | None = None) -> None:
    if is_given_up(attempts):
        _fail(held, f"Gave up after {attempts} tries. Last: {text}")
        return
    if not held.lease.put_back(text, pause or backoff(attempts), attempts=attempts):
        tidy(held.job.pk, held.lease.token)
