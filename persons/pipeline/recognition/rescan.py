"""Rescans: photos are queued again as part of a Run.

Unknown faces are rescanned after clients changed who is enrolled. A client enrols thousands of
people one by one, and each could be on any photo. So there is one rescan when the client has
finished: a Run without photos, which the sweep begins.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from persons.db.locking import in_turn
from persons.models import Call, Decision, Face, Person, Photo, PhotoState, Run, Source, Space
from persons.vision.types import Method

REASON = "Looking for people whom clients enrolled or removed"

QUIET = timedelta(seconds=15)
"""If no client has changed the space for this long, the client has probably finished."""

LONGEST = timedelta(minutes=10)
"""A rescan begins after this long even if a client is still changing the space."""


def requeue(
    photos: QuerySet[Photo], run: Run, *, state: PhotoState = PhotoState.QUEUED, **columns: Any
) -> int:
    """Queue these photos again, as part of the run. Returns how many."""
    return in_turn(photos).update(
        state=state,
        requested=F("requested") + 1,
        after=timezone.now(),
        attempts=0,
        request_id=run.request_id,
        run=run,
        **columns,
    )


def set_photo_count(run: Run) -> int:
    """Store how many photos the run has, once they are queued. A run without photos ends.

    Returns the number.
    """
    run.photo_count = run.photos.count()
    if not run.photo_count:
        run.finished_at = timezone.now()
    run.save(update_fields=["photo_count", "finished_at"])
    return run.photo_count


def schedule_rescan(space: Space, forgotten: QuerySet[Person] | None = None) -> None:
    """Schedule a rescan of unknown faces and of faces that the engine gave to `forgotten`.

    Call it in the transaction that raised the space's version and so holds its row: however many
    changes come at once, one rescan waits.
    """
    if not Photo.objects.filter(gallery__space=space).exists():
        return
    run = Run.objects.waiting().filter(space=space).first()
    if run is None:
        run = Run.objects.create(space=space, reason=REASON)
    if forgotten is not None:
        # Photos that wait, or are at Vision, will be answered for the changed space anyway.
        faces = _undecided().filter(found_person__in=forgotten)
        photos = Photo.objects.filter(state=PhotoState.DONE, pk__in=faces.values("photo"))
        in_turn(photos).update(run=run)


def begin_rescans(now: datetime) -> None:
    """Begin the rescans that have waited long enough, each in one transaction."""
    for run in Run.objects.waiting().select_related("space").order_by("pk"):
        if run.created_at <= now - LONGEST or not _is_changing(run.space, now):
            _begin(run.pk, run.space_id)


def _is_changing(space: Space, now: datetime) -> bool:
    """Whether a client is changing the space, or the last rescan is unfinished."""
    if Run.objects.filter(space=space, reason=REASON, finished_at=None, photo_count__gt=0).exists():
        return True
    changes = Call.objects.filter(
        team=space.team_id,
        space=space,
        source=Source.CLIENT,
        method__in=[Method.SET, Method.DELETE, Method.TRUNCATE],
    )
    last = changes.order_by("-pk").values_list("started_at", flat=True).first()
    return last is not None and last > now - QUIET


@transaction.atomic
def _begin(run_pk: int, space_pk: int) -> None:
    # The space is locked first: a concurrent change is either part of this rescan, or waits for its
    # end and schedules another.
    Space.objects.select_for_update(no_key=True).get(pk=space_pk)
    run = Run.objects.waiting().filter(pk=run_pk).first()
    if run is None:
        return
    unknown = _undecided().filter(person=None, photo__gallery__space=space_pk)
    photos = Photo.objects.filter(
        Q(pk__in=unknown.values("photo")) | Q(run=run),
        state__in=[PhotoState.DONE, PhotoState.QUEUED],
    )
    requeue(photos, run)
    set_photo_count(run)


def _undecided() -> QuerySet[Face]:
    return Face.objects.filter(missing=False, decision=Decision.NONE)
