"""Empties a space at Vision, after its snapshot was written and read back."""

from __future__ import annotations

from datetime import timedelta

from django.db import transaction
from django.utils import timezone

from persons import audit
from persons.backends.select import vision_for
from persons.calls import log as call_log
from persons.db.locking import in_turn
from persons.files.storage import stored
from persons.models import Enrolment, EnrolmentState, Person, Source, Space, SpaceJob, SyncState
from persons.models.work import JobState
from persons.people import enrolments
from persons.pipeline.spaces.job_claims import HeldJob, JobFailed
from persons.pipeline.spaces.manifests import SnapshotError
from persons.pipeline.spaces.snapshots import opened
from persons.pipeline.vision_calls import send
from persons.privacy import holds
from persons.vision.errors import VisionTemporary
from persons.vision.meta import TruncateRequest
from persons.vision.types import Method
from persons.work import withdraw

Saved = set[tuple[int, str]]
"""(person_id, SHA-256) of each enrolment in a snapshot."""


def truncate(held: HeldJob) -> timedelta | None:
    """The step of a TRUNCATE job. Without a snapshot nothing is truncated.

    Safe to repeat: enrolments made since the snapshot are set again. Raises JobFailed and
    VisionError.
    """
    snapshot = held.job.snapshot
    if snapshot is not None and snapshot.is_under_way:
        return timedelta(seconds=2)
    saved = _saved(held, snapshot)
    space = Space.objects.select_related("team").get(pk=held.job.space_id)
    if holds.held_people(space.team, space=space):
        raise JobFailed("Somebody in this space is under legal hold now. Nothing was truncated.")
    vision = vision_for(space)
    request = TruncateRequest(space.number)
    held.renew()
    call = call_log.begin(
        space=space,
        vision=vision,
        method=Method.TRUNCATE,
        meta=request.as_meta(),
        images=[],
        origin=call_log.Origin(
            source=Source.WORKER, asked_by=[held.job.requested_by], request_id=held.job.request_id
        ),
    )
    outcome = send(vision, call, Method.TRUNCATE, request.as_meta(), [])
    if outcome.envelope is None:
        call_log.end(call, outcome.answer, outcome.error)
        raise outcome.error or VisionTemporary("Vision gave no answer")
    with transaction.atomic():
        # The space is locked first, as everywhere.
        Space.objects.select_for_update(no_key=True).get(pk=space.pk)
        call_log.end(call, outcome.answer, None)
        since = _enrolled_since(space, saved)
        removed = enrolments.truncated(space, but=since)
        _set_again(space, since, held.job)
        held.finish(total=removed, done=removed)
        audit.record(
            actor=held.actor,
            team=space.team,
            action="space.truncate",
            target=space,
            before={"enrolments": removed},
            after={"snapshot": held.job.snapshot_id},
        )
    return None


def _saved(held: HeldJob, snapshot: SpaceJob | None) -> Saved:
    """Read the whole snapshot back, to find out now what would prevent a restore."""
    if snapshot is None or snapshot.state != JobState.DONE or not snapshot.file:
        why = snapshot.error if snapshot is not None and snapshot.error else "It is not there."
        raise JobFailed(f"There is no snapshot, so nothing was truncated. {why}")
    if missing := snapshot.report.get("missing"):
        raise JobFailed(
            f"The files of {missing} enrolled pictures are lost, and Vision alone still knows "
            "those faces. Nothing was truncated: remove these pictures from their people first."
        )
    try:
        with stored(snapshot.file) as file, opened(file) as found:
            found.check(lambda count: held.report_progress(0))
            return {(picture.person, picture.sha256) for picture in found.manifest.pictures}
    except FileNotFoundError:
        raise JobFailed("The snapshot's file is gone, so nothing was truncated.") from None
    except SnapshotError as error:
        raise JobFailed(f"The snapshot can't be read, so nothing was truncated. {error}") from None


def _enrolled_since(space: Space, saved: Saved) -> list[int]:
    rows = Enrolment.objects.filter(person__space=space, state=EnrolmentState.DONE)
    found = rows.values_list("pk", "person__person_id", "sha256")
    return [pk for pk, person, digest in found if (person, digest) not in saved]


def _set_again(space: Space, since: list[int], job: SpaceJob) -> None:
    """Queue enrolments made since the snapshot: Vision may have got them before it forgot
    everybody.

    The same holds for what workers are sending: they lose their claims, and those people are
    queued.
    """
    Enrolment.objects.filter(pk__in=since).update(state=EnrolmentState.QUEUED)
    people = Person.objects.filter(space=space)
    again = people.filter(sync_state=SyncState.RUNNING).values_list("pk", flat=True)
    wanted = set(again) | set(people.filter(enrolments__in=since).values_list("pk", flat=True))
    withdraw(
        in_turn(people.filter(pk__in=wanted)),
        sync_state=SyncState.QUEUED,
        attempts=0,
        after=timezone.now(),
        sync_by=job.requested_by,
        sync_request_id=job.request_id,
    )
