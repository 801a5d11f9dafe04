"""Faces follow people who were merged or parted, where they are too many to be waited for.

The pointer between the two is set already, so that whatever is said or recognised meanwhile comes
out right by itself, and the photos may be gone through in any state.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from persons.models import Face, Rejection, Space, SpaceJob, User
from persons.models.work import JobState
from persons.pipeline.claims import Held
from persons.settling import settle_person, settle_photos

PHOTOS_AT_ONCE = 200


def queue_following(
    space: Space, user: User | None, *, people: Collection[int], root: int
) -> SpaceJob:
    """`people` are whoever was merged into `root`, or parted from it, and those merged into them.

    To be called in the transaction that set the pointer. What was under way for the same people
    ends: the new one goes through the same photos.
    """
    jobs = SpaceJob.objects.filter(space=space, kind=SpaceJob.Kind.FOLLOW).under_way()
    same = [job.pk for job in jobs if job.report["people"] == sorted(people)]
    jobs.filter(pk__in=same).update(state=JobState.CANCELLED, claim="", finished_at=timezone.now())
    return SpaceJob.objects.create(
        team_id=space.team_id,
        space=space,
        kind=SpaceJob.Kind.FOLLOW,
        requested_by=user,
        report={"people": sorted(people), "root": root},
    )


def follow(held: Held) -> timedelta | None:
    """The step of a FOLLOW: photo by photo in the order of their keys; `position` is the last."""
    job = held.job
    photos = _photos(job.report["people"], job.report["root"], after=job.position)
    if not job.position:
        held.renew(total=len(photos))
    for start in range(0, len(photos), PHOTOS_AT_ONCE):
        pks = photos[start : start + PHOTOS_AT_ONCE]
        with transaction.atomic():
            settle_photos(pks)
            done = job.done + len(pks)
            held.renew(position=pks[-1], done=done, report=held.marked(done))
        if held.is_over:
            return timedelta(0)
    # What was under way while the pointer was set.
    settle_person(job.report["root"])
    held.finish(total=job.done, done=job.done)
    return None


def _photos(people: Collection[int], root: int, *, after: int) -> list[int]:
    """Where a face is theirs or a word on it speaks of them, or where it was said to be neither."""
    words = Q(decided_person__in=people) | Q(found_person__in=people)
    words |= Q(grouped_person__in=people) | Q(person__in=people)
    theirs = Face.everything.filter(words, photo__gt=after)
    rejections = Rejection.objects.filter(person__in=[*people, root], face__photo__gt=after)
    found = set(theirs.values_list("photo", flat=True).order_by())
    found |= set(rejections.values_list("face__photo", flat=True).order_by())
    return sorted(found)
