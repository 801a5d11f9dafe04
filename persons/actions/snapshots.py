"""Taking, uploading and deleting snapshots of spaces; truncating and restoring spaces."""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

from django.core.files.base import File
from django.core.files.storage import default_storage
from django.db import transaction
from django.utils import timezone

from persons import audit, tasks
from persons.audit import Actor
from persons.errors import Refused
from persons.files.storage import stored
from persons.inputs import texts
from persons.models import Enrolment, EnrolmentState, Space, SpaceJob
from persons.models.work import JobState
from persons.pipeline.spaces.jobs import tidy
from persons.pipeline.spaces.manifests import Manifest, SnapshotError
from persons.pipeline.spaces.previewing import preview_restore
from persons.pipeline.spaces.snapshot_writer import new_key, write_to
from persons.pipeline.spaces.snapshots import SnapshotFile, opened
from persons.privacy import holds
from persons.work import Work

Kind = SpaceJob.Kind
EXCLUSIVE = [Kind.TRUNCATE, Kind.RESTORE]
"""A space has at most one job of these kinds at a time."""

WORDS = {Kind.TRUNCATE: "emptied", Kind.RESTORE: "restored"}


@transaction.atomic
def take_snapshot(*, actor: Actor, space: Space) -> SpaceJob:
    """Enqueue a snapshot of the space. Raises Refused if one is being written."""
    space = _locked(space)
    if SpaceJob.objects.filter(space=space, kind=Kind.SNAPSHOT).under_way().exists():
        raise Refused("A snapshot of this space is being written already.")
    job = _queue(actor, space, Kind.SNAPSHOT)
    _record(actor, "space.snapshot", space, after={"snapshot": job.pk})
    return job


def add_snapshot(*, actor: Actor, space: Space, file: BinaryIO, file_name: str = "") -> SpaceJob:
    """Keep an uploaded snapshot. Its pictures are checked in the background, and before use.

    Raises Refused if the file is no snapshot or its manifest is damaged.
    """
    manifest = _read(file)
    key = new_key(space)
    file.seek(0)
    default_storage.save(key, File(file))
    try:
        with transaction.atomic():
            job = _queue(
                actor,
                space,
                Kind.UPLOAD,
                file=key,
                size=default_storage.size(key),
                total=len(manifest.digests),
                people_count=len(manifest.people),
                report={"from": _origin(manifest), "name": file_name[:200]},
            )
            _record(actor, "snapshot.upload", job, after={"name": file_name[:200]})
    except BaseException:
        default_storage.delete(key)
        raise
    return job


def write_snapshot(*, actor: Actor, space: Space, path: Path) -> SnapshotFile:
    """Write a snapshot to a file of the operator's. Rollcall keeps no copy."""
    try:
        written = write_to(path, space, actor.name)
    except SnapshotError as error:
        raise Refused(str(error)) from None
    with transaction.atomic():
        _record(actor, "space.snapshot", space, after={"size": written.size})
    return written


@transaction.atomic
def note_download(*, actor: Actor, snapshot: SpaceJob, reason: str = "") -> None:
    """Record who downloaded a snapshot, which holds faces and names."""
    _record(actor, "snapshot.download", snapshot, after={"size": snapshot.size}, reason=reason)


@transaction.atomic
def delete_snapshot(*, actor: Actor, snapshot: SpaceJob) -> None:
    """Delete the file for good. The row stays, since it says what was restored from it.

    Raises Refused if somebody in the space is under legal hold, because their pictures are in it.
    """
    holds.lock(snapshot.team_id)
    holds.demand_free(space=snapshot.space)
    snapshot = _locked_job(snapshot)
    if snapshot.is_under_way:
        raise Refused("It is being worked on. Cancel that first.")
    if SpaceJob.objects.filter(snapshot=snapshot).under_way().exists():
        raise Refused("A restore is reading this snapshot just now. Wait for it, or cancel it.")
    if not snapshot.file:
        return
    key = snapshot.file
    snapshot.file = ""
    snapshot.save(update_fields=["file"])
    _record(actor, "snapshot.delete", snapshot, before={"size": snapshot.size})
    transaction.on_commit(lambda: default_storage.delete(key))


@transaction.atomic
def truncate_space(*, actor: Actor, space: Space, typed: str) -> SpaceJob:
    """Have Vision forget everybody in the space, once a snapshot is written.

    `typed` is the space's name as typed to confirm. Raises Refused if it is another, or if pictures
    are on the way to or from Vision.
    """
    holds.lock(space.team_id)
    space = _locked(space)
    holds.demand_free(space=space)
    if texts.folded(typed) != texts.folded(str(space)):
        raise Refused(f"Type “{space}” to say that this is the space you mean.")
    _demand_rest(space)
    waiting = Enrolment.objects.filter(
        person__space=space, state__in=[EnrolmentState.QUEUED, EnrolmentState.REMOVING]
    ).count()
    if waiting:
        raise Refused(
            f"{_pictures(waiting)} on the way between Rollcall and Vision. Wait until this has "
            "come to rest, so that the snapshot is whole."
        )
    snapshot = _queue(actor, space, Kind.SNAPSHOT)
    job = _queue(actor, space, Kind.TRUNCATE, snapshot=snapshot)
    _record(actor, "space.empty", space, after={"snapshot": snapshot.pk})
    return job


@transaction.atomic
def restore_space(
    *, actor: Actor, snapshot: SpaceJob, space: Space, with_policy: bool = False
) -> SpaceJob:
    """Enqueue a restore of a snapshot into a space. People who are there stay as they are."""
    space, snapshot = _locked(space), _locked_job(snapshot)
    if snapshot.team_id != space.team_id:
        raise Refused("That snapshot belongs to another team.")
    _demand_rest(space)
    manifest = manifest_of(snapshot)
    preview = preview_restore(manifest, space)
    if preview.too_many > 0:
        raise Refused(
            f"A space holds {Space.CAPACITY:,} faces: with these pictures it would have "
            f"{preview.too_many:,} more. Choose another space."
        )
    job = _queue(
        actor,
        space,
        Kind.RESTORE,
        snapshot=snapshot,
        total=len(manifest.pictures),
        people_count=len(manifest.people),
        report={"with_policy": with_policy},
    )
    after: dict[str, Any] = {"snapshot": snapshot.pk, "enrolments": len(manifest.pictures)}
    _record(actor, "space.restore", space, after=after | {"with_policy": with_policy})
    return job


@transaction.atomic
def cancel_job(*, actor: Actor, job: SpaceJob) -> SpaceJob:
    """Cancel a job. What is done stays done; the worker stops at its next step. Raises Refused."""
    job = _locked_job(job)
    if job.kind in (Kind.REBUILD, Kind.PROPAGATE):
        raise Refused("These faces have to be gone through to the end.")
    if job.kind == Kind.TRUNCATE and job.state == JobState.RUNNING:
        raise Refused("Vision is emptying the space just now: it is too late to cancel.")
    left = job.kind == Kind.RESTORE and job.state == JobState.FAILED
    if job.state not in (JobState.QUEUED, JobState.RUNNING) and not left:
        return job
    truncations = SpaceJob.objects.filter(snapshot=job, kind=Kind.TRUNCATE)
    for truncation in truncations.filter(state=JobState.QUEUED):
        cancel_job(actor=actor, job=truncation)
    job.state, job.finished_at = JobState.CANCELLED, None
    job.save(update_fields=["state", "finished_at"])
    _record(actor, "job.cancel", job)
    tidy(job.pk)
    job.refresh_from_db()
    return job


@transaction.atomic
def retry_job(*, actor: Actor, job: SpaceJob) -> SpaceJob:
    """Retry a failed job from where it stopped, or run one now that waits for its next attempt."""
    job = _locked_job(job)
    if job.state not in (JobState.FAILED, JobState.QUEUED):
        return job
    if job.state == JobState.FAILED and job.kind in (Kind.TRUNCATE, Kind.UPLOAD):
        raise Refused("Start it anew instead.")
    if job.state == JobState.FAILED and job.kind in EXCLUSIVE:
        _demand_rest(_locked(job.space))
    job.state, job.attempts, job.finished_at = JobState.QUEUED, 0, None
    job.after = timezone.now()
    job.save(update_fields=["state", "attempts", "finished_at", "after"])
    _record(actor, "job.retry", job)
    tasks.enqueue(Work.JOBS)
    return job


def manifest_of(snapshot: SpaceJob) -> Manifest:
    """A snapshot's manifest. Raises Refused if there is no usable file."""
    if snapshot.state != JobState.DONE or not snapshot.file:
        raise Refused("This snapshot can't be used: it is not there, or not whole.")
    try:
        with stored(snapshot.file) as file:
            return _read(file)
    except FileNotFoundError:
        raise Refused("This snapshot's file is gone.") from None


def _read(file: BinaryIO) -> Manifest:
    try:
        with opened(file) as snapshot:
            return snapshot.manifest
    except SnapshotError as error:
        raise Refused(str(error)) from None


def _origin(manifest: Manifest) -> dict[str, Any]:
    return {
        "team": manifest.team,
        "number": manifest.number,
        "name": manifest.name,
        "made_at": manifest.made_at.isoformat(),
        "made_by": manifest.made_by,
    }


def _queue(actor: Actor, space: Space, kind: SpaceJob.Kind, **columns: Any) -> SpaceJob:
    job = SpaceJob.objects.create(
        team_id=space.team_id,
        space=space,
        kind=kind,
        requested_by=actor.user,
        request_id=actor.request_id,
        **columns,
    )
    tasks.enqueue(Work.JOBS)
    return job


def _locked(space: Space) -> Space:
    return (
        Space.objects.select_for_update(of=("self",), no_key=True)
        .select_related("team")
        .get(pk=space.pk)
    )


def _locked_job(job: SpaceJob) -> SpaceJob:
    rows = SpaceJob.objects.select_for_update(of=("self",)).select_related("space__team")
    return rows.get(pk=job.pk)


def _demand_rest(space: Space) -> None:
    busy = SpaceJob.objects.filter(space=space, kind__in=EXCLUSIVE).under_way().first()
    if busy is not None:
        raise Refused(f"This space is being {WORDS[Kind(busy.kind)]} just now. Wait until it is.")


def _record(actor: Actor, action: str, target: Space | SpaceJob, **values: Any) -> None:
    team = target.team
    audit.record(actor=actor, team=team, action=action, target=target, **values)


def _pictures(count: int) -> str:
    return "1 picture is" if count == 1 else f"{count:,} pictures are"
