"""Open work for somebody who is erased ends first, so that none of it brings them back."""

from __future__ import annotations

from datetime import timedelta

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from persons import journal
from persons.locking import locked
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
from persons.pipeline.erasing.claims import Held
from persons.pipeline.erasing.faces import theirs
from persons.pipeline.jobs import tidy


def stop(held: Held) -> timedelta | None:
    """Workers that are at any of it lose their claim, and then store nothing.

    Before anything is erased the journal has it: without it, a restored backup would not be told.
    """
    journal.write([journal.Line.of(held.erasure)])
    _stop(held)
    return None


@transaction.atomic
def _stop(held: Held) -> None:
    locked(Space.objects.filter(pk=held.space.pk)).get()
    now = timezone.now()
    pks = held.pks()
    Person.objects.filter(pk__in=pks).update(sync_state=SyncState.IDLE, claim="", sync_error="")
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
    # One that is being written is begun anew: it would have them in it.
    counts["snapshots"] = under_way.filter(
        kind=SpaceJob.Kind.SNAPSHOT, state=JobState.RUNNING
    ).update(state=JobState.QUEUED, claim="", after=now)
    held.note("open work", counts)
    for pk in restores:
        tidy(pk)


def _stop_groupings(held: Held) -> int:
    """Those that are about to make people of faces which are theirs."""
    faces = set(theirs(held).values_list("pk", flat=True))
    open_ones = Grouping.objects.filter(
        Q(state__in=[JobState.QUEUED, JobState.RUNNING, JobState.READY]), space=held.space
    )
    stopped = [
        grouping.pk
        for grouping in open_ones
        if any(pk in faces for group in grouping.plan for pk in group)
    ]
    return Grouping.objects.filter(pk__in=stopped).update(
        state=JobState.CANCELLED, claim="", plan=[], finished_at=timezone.now()
    )
