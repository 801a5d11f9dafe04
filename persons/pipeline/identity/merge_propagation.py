"""Moves faces to their canonical person after a merge or parting that is too large for a request.

The pointer is set already, so decisions and recognitions meanwhile come out right, and photos may
be processed in any state.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from persons.faces.identity import count_faces, names_any_of, resolve_identities, resolve_person
from persons.models import Face, Person, Rejection, Space, SpaceJob, User
from persons.models.work import JobState
from persons.pipeline.spaces.job_claims import HeldJob
from persons.work import withdraw

PHOTOS_AT_ONCE = 200

LEFT = [JobState.QUEUED, JobState.RUNNING, JobState.FAILED]
"""States of a job whose photos have not all been processed."""

KEPT = timedelta(hours=1)
"""How long a finished job is kept: nobody requested it as such, and nothing refers to it."""
FORGOTTEN_AT_ONCE = 1000


def enqueue_merge_propagation(
    space: Space, user: User | None, *, people: Collection[int], canonical: int
) -> SpaceJob:
    """Enqueue a job for `people`: everybody merged into `canonical` or parted from it, subtrees
    included.

    Call it in the transaction that set the pointer. An unfinished job for the same people is
    cancelled: the new one processes the same photos.
    """
    jobs = SpaceJob.objects.filter(space=space, kind=SpaceJob.Kind.PROPAGATE, state__in=LEFT)
    reports = jobs.values_list("pk", "report")
    same = [pk for pk, report in reports if report["people"] == sorted(people)]
    if same:
        same_jobs = jobs.filter(pk__in=same)
        withdraw(same_jobs, state=JobState.CANCELLED, finished_at=timezone.now())
    return SpaceJob.objects.create(
        team_id=space.team_id,
        space=space,
        kind=SpaceJob.Kind.PROPAGATE,
        requested_by=user,
        report={"people": sorted(people), "canonical": canonical},
    )


def propagate(held: HeldJob) -> timedelta | None:
    """The step of a PROPAGATE job: photos in pk order; `position` is the last one done."""
    job = held.job
    photos = _photos(job.report["people"], job.report["canonical"], after=job.position)
    if not job.position:
        held.renew(total=len(photos))
    for start in range(0, len(photos), PHOTOS_AT_ONCE):
        pks = photos[start : start + PHOTOS_AT_ONCE]
        with transaction.atomic():
            canonical = _canonical(job)
            resolve_identities(pks)
            done = job.done + len(pks)
            report = held.marked(done) | {"since": sorted(canonical)}
            held.renew(position=pks[-1], done=done, report=report)
        if held.is_over:
            return timedelta(0)
    # Faces may have gone to whoever was canonical when a concurrent decision, or this job, looked
    # it up.
    for pk in sorted(_canonical(job)):
        resolve_person(pk)
    count_faces(Person.objects.filter(pk__in=job.report["people"]))
    held.finish(total=job.done, done=job.done)
    return None


def forget_propagated() -> None:
    """Delete jobs that finished long ago: there is one for each merge and parting."""
    over = [JobState.DONE, JobState.CANCELLED]
    jobs = SpaceJob.objects.filter(kind=SpaceJob.Kind.PROPAGATE, state__in=over)
    jobs = jobs.filter(finished_at__lt=timezone.now() - KEPT)
    pks = list(jobs.values_list("pk", flat=True)[:FORGOTTEN_AT_ONCE])
    if pks:
        SpaceJob.objects.filter(pk__in=pks).delete()


def _canonical(job: SpaceJob) -> set[int]:
    """The canonical persons of the job's people, now and since it began."""
    report: dict[str, Any] = job.report
    people = Person.objects.filter(pk__in=[*report["people"], report["canonical"]])
    now = people.values_list("canonical", flat=True)
    return {report["canonical"], *report.get("since", ()), *now}


def _photos(people: Collection[int], canonical: int, *, after: int) -> list[int]:
    """Photos with a face of these people, a source naming them, or a rejection of them or
    `canonical`."""
    theirs = Face.everything.filter(names_any_of(people) | Q(person__in=people), photo__gt=after)
    rejections = Rejection.objects.filter(person__in=[*people, canonical], face__photo__gt=after)
    found = set(theirs.values_list("photo", flat=True).order_by())
    found |= set(rejections.values_list("face__photo", flat=True).order_by())
    return sorted(found)
