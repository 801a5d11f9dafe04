"""Stops open work for an erased person, so that none of it brings them back."""

from __future__ import annotations

from datetime import timedelta

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from persons.db.locking import locked
from persons.models import (
    Enrolment,
    EnrolmentState,
    Grouping,
    JobState,
    Person,
    ReviewHold,
    Run,
    Space,
    SpaceJob,
    SyncState,
)
from persons.pipeline.privacy.erasing.claims import HeldErasure
from persons.pipeline.privacy.erasing.faces import theirs
from persons.pipeline.spaces.jobs import tidy
from persons.privacy import erasure_journal
from persons.work import withdraw


def stop(held: HeldErasure) -> timedelta | None:
    """Write the journal's line, then take the leases of all work that concerns them.

    The journal comes first: without its line, a restored backup would bring them back.
    """
    erasure_journal.write([erasure_journal.Line.of(held.erasure)])
    _stop(held)
    return None


@transaction.atomic
def _stop(held: HeldErasure) -> None:
    locked(Space.objects.filter(pk=held.space.pk)).get()
    now = timezone.now()
    pks = held.pks()
    withdraw(Person.objects.filter(pk__in=pks), sync_state=SyncState.IDLE, sync_error="")
    queued = Enrolment.objects.filter(person__in=pks, state=EnrolmentState.QUEUED)
    counts = {
        "enrolments": queued.update(state=EnrolmentState.REMOVED),
        "looks": Run.objects.filter(person__in=pks, finished_at=None).update(finished_at=now),
        "groupings": _stop_groupings(held),
    }
    faces = set(theirs(held).values_list("pk", flat=True))
    counts["reviews"] = ReviewHold.objects.filter(face__in=faces).delete()[0]
    under_way = SpaceJob.objects.filter(space=held.space).under_way()
    restores = list(under_way.filter(kind=SpaceJob.Kind.RESTORE).values_list("pk", flat=True))
    counts["restores"] = SpaceJob.objects.filter(
        pk__in=restores, state__in=[JobState.QUEUED, JobState.RUNNING]
    ).update(state=JobState.CANCELLED, finished_at=None)
    # A snapshot that is being written would contain them: it starts again.
    written = under_way.filter(kind=SpaceJob.Kind.SNAPSHOT, state=JobState.RUNNING)
    counts["snapshots"] = withdraw(written, state=JobState.QUEUED, after=now)
    held.note("open work", counts)
    for pk in restores:
        tidy(pk)


def _stop_groupings(held: HeldErasure) -> int:
    """Cancel groupings whose plans contain their faces."""
    faces = set(theirs(held).values_list("pk", flat=True))
    open_ones = Grouping.objects.filter(
        Q(state__in=[JobState.QUEUED, JobState.RUNNING, JobState.READY]), space=held.space
    )
    stopped = [
        grouping.pk
        for grouping in open_ones
        if any(pk in faces for group in grouping.plan for pk in group)
    ]
    return withdraw(
        Grouping.objects.filter(pk__in=stopped),
        state=JobState.CANCELLED,
        plan=[],
        finished_at=timezone.now(),
    )
