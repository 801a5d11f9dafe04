"""Faces follow people who were merged or parted, where they are too many to be waited for.

The pointer between the two is set already, so that whatever is said or recognised meanwhile comes
out right by itself, and the photos may be gone through in any state.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from persons.models import Face, Person, Rejection, Space, SpaceJob, User
from persons.models.work import JobState
from persons.pipeline.claims import Held
from persons.settling import count_faces, roots_of, settle_person, settle_photos, words_on

PHOTOS_AT_ONCE = 200

LEFT = [JobState.QUEUED, JobState.RUNNING, JobState.FAILED]
"""Of a job whose photos have not all been gone through."""

KEPT = timedelta(hours=1)
"""How long one that is over is kept: nobody asked for it as such, and nothing refers to it."""
FORGOTTEN_AT_ONCE = 1000


def queue_following(
    space: Space, user: User | None, *, people: Collection[int], root: int
) -> SpaceJob:
    """`people` are whoever was merged into `root`, or parted from it, and those merged into them.

    To be called in the transaction that set the pointer. What was under way or given up for the
    same people ends: the new one goes through the same photos.
    """
    jobs = SpaceJob.objects.filter(space=space, kind=SpaceJob.Kind.FOLLOW, state__in=LEFT)
    reports = jobs.values_list("pk", "report")
    same = [pk for pk, report in reports if report["people"] == sorted(people)]
    if same:
        jobs.filter(pk__in=same).update(
            state=JobState.CANCELLED, claim="", finished_at=timezone.now()
        )
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
            roots = _roots(job)
            settle_photos(pks)
            done = job.done + len(pks)
            held.renew(
                position=pks[-1], done=done, report=held.marked(done) | {"roots": sorted(roots)}
            )
        if held.is_over:
            return timedelta(0)
    # What was under way while the pointer was set; and while this was, if it was set again: faces
    # may have been given to whoever was the root when it was looked up.
    for pk in sorted(_roots(job)):
        settle_person(pk)
    count_faces(Person.objects.filter(pk__in=job.report["people"]))
    held.finish(total=job.done, done=job.done)
    return None


def forget_followed() -> None:
    """One for each merge and parting: those that are over long since go."""
    over = [JobState.DONE, JobState.CANCELLED]
    jobs = SpaceJob.objects.filter(kind=SpaceJob.Kind.FOLLOW, state__in=over)
    jobs = jobs.filter(finished_at__lt=timezone.now() - KEPT)
    pks = list(jobs.values_list("pk", flat=True)[:FORGOTTEN_AT_ONCE])
    if pks:
        SpaceJob.objects.filter(pk__in=pks).delete()


def _roots(job: SpaceJob) -> set[int]:
    """For whom its people stand, or stood since it began."""
    told: dict[str, Any] = job.report
    now = roots_of([*told["people"], told["root"]]).values()
    return {told["root"], *told.get("roots", ()), *now}


def _photos(people: Collection[int], root: int, *, after: int) -> list[int]:
    """Where a face is theirs or a word on it speaks of them, or where it was said to be neither."""
    theirs = Face.everything.filter(words_on(people) | Q(person__in=people), photo__gt=after)
    rejections = Rejection.objects.filter(person__in=[*people, root], face__photo__gt=after)
    found = set(theirs.values_list("photo", flat=True).order_by())
    found |= set(rejections.values_list("face__photo", flat=True).order_by())
    return sorted(found)
