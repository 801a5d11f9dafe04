"""Who everybody is, worked out anew in a whole space after its thresholds were changed."""

from __future__ import annotations

from datetime import timedelta

from django.db import transaction
from django.utils import timezone

from persons.models import Change, Gallery, Photo, Space, SpaceJob, User
from persons.models.changes import ChangeKind
from persons.models.work import JobState
from persons.pipeline.claims import Held
from persons.pipeline.following import LEFT
from persons.settling import roots_of, settle_person, settle_photos

PHOTOS_AT_ONCE = 200


def queue_settling(space: Space, user: User | None, request_id: str = "") -> SpaceJob:
    """To be called in the transaction that changed the thresholds. One at a time is enough.

    One that is under way starts over: its worker finds its claim gone.
    """
    SpaceJob.objects.filter(space=space, kind=SpaceJob.Kind.SETTLE, state__in=LEFT).update(
        state=JobState.CANCELLED, claim="", finished_at=timezone.now()
    )
    return SpaceJob.objects.create(
        team_id=space.team_id,
        space=space,
        kind=SpaceJob.Kind.SETTLE,
        requested_by=user,
        request_id=request_id,
    )


def settle(held: Held) -> timedelta | None:
    """The step of a SETTLE: photo by photo in the order of their keys; `position` is the last."""
    job = held.job
    galleries = list(Gallery.objects.filter(space=job.space_id).values_list("pk", flat=True))
    photos = Photo.everything.filter(gallery__in=galleries).order_by("pk")
    if not job.position:
        held.renew(total=photos.count())
    while True:
        with transaction.atomic():
            some = photos.filter(pk__gt=job.position).values_list("pk", flat=True)
            pks = list(some[:PHOTOS_AT_ONCE])
            if not pks:
                break
            settle_photos(pks)
            done = job.done + len(pks)
            held.renew(position=pks[-1], done=done, report=held.marked(done))
        if held.is_over:
            return timedelta(0)
    for pk in sorted(_parted_meanwhile(job)):
        settle_person(pk)
    held.finish(total=job.done, done=job.done)
    return None


def _parted_meanwhile(job: SpaceJob) -> set[int]:
    """Roots to whom a step may have given faces by a pointer that was gone when it ended."""
    parted = Change.objects.filter(
        space=job.space_id, kind=ChangeKind.MERGE, undone_at__gte=job.created_at
    )
    others = set(parted.exclude(other=None).values_list("other", flat=True))
    return others | set(roots_of(others).values())
