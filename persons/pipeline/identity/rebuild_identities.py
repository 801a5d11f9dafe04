"""Resolves all identities of a space again after its thresholds changed."""

from __future__ import annotations

from datetime import timedelta

from django.db import transaction
from django.utils import timezone

from persons.faces.identity import resolve_identities, resolve_person
from persons.models import Change, Gallery, Person, Photo, Space, SpaceJob, User
from persons.models.changes import ChangeKind
from persons.models.work import JobState
from persons.pipeline.identity.merge_propagation import LEFT
from persons.pipeline.spaces.job_claims import HeldJob
from persons.work import withdraw

PHOTOS_AT_ONCE = 200


def enqueue_rebuild(space: Space, user: User | None, request_id: str = "") -> SpaceJob:
    """Enqueue a rebuild, in the transaction that changed the thresholds.

    An unfinished rebuild is cancelled: its worker finds its lease gone.
    """
    under_way = SpaceJob.objects.filter(space=space, kind=SpaceJob.Kind.REBUILD, state__in=LEFT)
    withdraw(under_way, state=JobState.CANCELLED, finished_at=timezone.now())
    return SpaceJob.objects.create(
        team_id=space.team_id,
        space=space,
        kind=SpaceJob.Kind.REBUILD,
        requested_by=user,
        request_id=request_id,
    )


def rebuild(held: HeldJob) -> timedelta | None:
    """The step of a REBUILD job: photos in pk order; `position` is the last one done."""
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
            resolve_identities(pks)
            done = job.done + len(pks)
            held.renew(position=pks[-1], done=done, report=held.marked(done))
        if held.is_over:
            return timedelta(0)
    for pk in sorted(_parted_meanwhile(job)):
        resolve_person(pk)
    held.finish(total=job.done, done=job.done)
    return None


def _parted_meanwhile(job: SpaceJob) -> set[int]:
    """Canonical persons to whom a step may have given faces by a merge that was undone
    meanwhile."""
    parted = Change.objects.filter(
        space=job.space_id, kind=ChangeKind.MERGE, undone_at__gte=job.created_at
    )
    others = set(parted.exclude(other=None).values_list("other", flat=True))
    now = Person.objects.filter(pk__in=others).values_list("canonical", flat=True)
    return others | set(now)
