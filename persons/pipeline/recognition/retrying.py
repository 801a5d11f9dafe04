"""Retries of photos whose processing failed, and the end of runs."""

from __future__ import annotations

from collections.abc import Iterable

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from persons.audit import Actor
from persons.db.locking import in_turn, locked
from persons.models import Person, Photo, PhotoState, Run, Source
from persons.people.orphans import remove_if_unmade
from persons.vision.errors import VisionError
from persons.work import Lease, Leases, attempts_after, is_given_up, pause_after, withdraw

MAX_INTERRUPTIONS = 4
"""How often workers may die over a photo before it fails."""


PREPARING = Leases(
    Photo,
    waiting=PhotoState.NEW,
    running=PhotoState.PREPARING,
    failed=PhotoState.FAILED,
    what="Preparing this photo",
    counter="interruptions",
    most=MAX_INTERRUPTIONS,
    explains=False,
)
RECOGNISING = Leases(
    Photo,
    waiting=PhotoState.QUEUED,
    running=PhotoState.RUNNING,
    failed=PhotoState.FAILED,
    what="Recognising this photo",
    counter="interruptions",
    most=MAX_INTERRUPTIONS,
    explains=False,
)


@transaction.atomic
def put_back(
    lease: Lease[Photo], attempts: int, error: VisionError, rows: QuerySet[Photo] | None = None
) -> None:
    """The lease's photos, or those of `rows`, wait again, or fail after too many attempts."""
    attempts = attempts_after(error, attempts)
    held = in_turn(lease.held if rows is None else rows)
    if is_given_up(attempts):
        text = f"Gave up after {attempts} attempts. Last: {error}"
        lease.give_back(PhotoState.FAILED, held, attempts=attempts, error=text)
    else:
        pause = pause_after(error, attempts)
        lease.put_back(str(error), pause, held, attempts=attempts)


def take_back(photos: QuerySet[Photo]) -> None:
    """Take the leases on these photos from their workers, whose results are then not stored."""
    for one in (PREPARING, RECOGNISING):
        withdraw(photos.filter(state=one.running), state=one.waiting)


def finish_runs(pks: Iterable[int | None]) -> None:
    """Close the runs that have no waiting photo left. Trashed photos don't count."""
    for pk in sorted({pk for pk in pks if pk is not None}):
        waiting = Photo.objects.unfinished().filter(run=pk)
        begun = Run.objects.filter(pk=pk, finished_at=None, photo_count__gt=0)
        ended = begun.exclude(pk__in=waiting.values("run"))
        if ended.update(finished_at=timezone.now()):
            _forget_who_was_made_by_mistake(pk)


@transaction.atomic
def _forget_who_was_made_by_mistake(run_pk: int) -> None:
    """Remove the run's person if their creation was undone and nothing refers to them now."""
    run = Run.objects.select_related("requested_by").get(pk=run_pk)
    found = Person.objects.filter(runs=run).select_related("space__team")
    person = locked(found).first()
    if person is not None:
        actor = Actor(run.requested_by, Source.WORKER, request_id=run.request_id)
        remove_if_unmade(person, actor=actor)
