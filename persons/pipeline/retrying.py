"""Photos whose turn did not end well, and runs that are over."""

from __future__ import annotations

from collections.abc import Iterable

from django.conf import settings
from django.db import transaction
from django.db.models import F, QuerySet
from django.utils import timezone

from persons.audit import Actor
from persons.locking import locked
from persons.models import Person, Photo, PhotoState, Run, Source
from persons.pipeline.asking import backoff, is_attempt, pause_after
from persons.traces import remove_if_unmade
from persons.vision.errors import VisionError

MAX_INTERRUPTIONS = 3


def put_back(held: QuerySet[Photo], state: PhotoState, attempts: int, error: VisionError) -> None:
    attempts += 1 if is_attempt(error) else 0
    text = str(error)
    if attempts >= settings.MAX_ATTEMPTS:
        held.update(
            state=PhotoState.FAILED,
            claim="",
            attempts=attempts,
            error=f"Gave up after {attempts} attempts. Last: {text}",
        )
        return
    held.update(
        state=state,
        claim="",
        attempts=attempts,
        error=text,
        after=timezone.now() + pause_after(error, attempts),
    )


def cut_off(held: QuerySet[Photo], state: PhotoState, error: BaseException) -> None:
    """The claim is given back at once, so that others need not wait for its lease.

    That is no retry of what was asked: a photo over which workers stumble is failed in the end, as
    is one over which they die (see `release_claims`).
    """
    held.filter(interruptions__gte=MAX_INTERRUPTIONS).update(
        state=PhotoState.FAILED,
        claim="",
        error=f"Work on this photo was cut off {MAX_INTERRUPTIONS + 1} times. "
        f"Last: {type(error).__name__}",
    )
    held.update(
        state=state,
        claim="",
        interruptions=F("interruptions") + 1,
        after=timezone.now() + backoff(1),
    )


def finish_runs(pks: Iterable[int | None]) -> None:
    """Close the runs of which no photo is waiting any more. What is in the trash does not count."""
    for pk in sorted({pk for pk in pks if pk is not None}):
        waiting = Photo.objects.unfinished().filter(run=pk)
        begun = Run.objects.filter(pk=pk, finished_at=None, photo_count__gt=0)
        ended = begun.exclude(pk__in=waiting.values("run"))
        if ended.update(finished_at=timezone.now()):
            _forget_who_was_made_by_mistake(pk)


@transaction.atomic
def _forget_who_was_made_by_mistake(run_pk: int) -> None:
    """After their last picture was taken back, this run may have found that nobody else has to do
    with somebody whose making was undone."""
    run = Run.objects.select_related("requested_by").get(pk=run_pk)
    found = Person.objects.filter(runs=run).select_related("space__team")
    person = locked(found).first()
    if person is not None:
        actor = Actor(run.requested_by, Source.WORKER, request_id=run.request_id)
        remove_if_unmade(person, actor=actor)
