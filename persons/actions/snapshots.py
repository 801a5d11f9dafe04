"""Snapshots of spaces, truncating them, and restoring them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

from django.core.files.base import File
from django.core.files.storage import default_storage
from django.db import transaction
from django.utils import timezone

from persons import audit, holds, tasks
from persons.audit import Actor
from persons.errors import Refused
from persons.models import Enrolment, EnrolmentState, Space, SpaceJob
from persons.models.work import JobState
from persons.pipeline.jobs import tidy
from persons.pipeline.manifests import Manifest, SnapshotError
from persons.pipeline.previewing import preview_restore
from persons.pipeline.saving import new_key, write_to
from persons.pipeline.snapshots import SnapshotFile, opened
from persons.storage import stored

Kind = SpaceJob.Kind
EXCLUSIVE = [Kind.TRUNCATE, Kind.RESTORE]
"""One of these at a time in a space."""

WORDS = {Kind.TRUNCATE: "emptied", Kind.RESTORE: "restored"}


@transaction.atomic
def take_snapshot(*, actor: Actor, space: Space) -> SpaceJob:
    space = _locked(space)
    if SpaceJob.objects.filter(space=space, kind=Kind.SNAPSHOT).under_way().exists():
        raise Refused("A snapshot of this space is being written already.")
    job = _queue(actor, space, Kind.SNAPSHOT)
    _record(actor, "space.snapshot", space, after={"snapshot": job.pk})
    return job


def add_snapshot(*, actor: Actor, space: Space, file: BinaryIO, file_name: str = "") -> SpaceJob:
    """Keep a file from elsewhere. Refused where it is none, or obviously damaged; its pictures are
    looked through in the background, and no restore uses any before that."""
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
    """A snapshot into a file of the operator's; nothing of it stays here."""
    try:
        written = write_to(path, space, actor.name)
    except SnapshotError as error:
        raise Refused(str(error)) from None
    with transaction.atomic():
        _record(actor, "space.snapshot", space, after={"size": written.size})
    return written


@transaction.atomic
def note_download(*, actor: Actor, snapshot: SpaceJob, reason: str = "") -> None:
    """Faces and names leave the house: who took them is in the audit."""
    _record(actor, "snapshot.download", snapshot, after={"size": snapshot.size}, reason=reason)


@transaction.atomic
def delete_snapshot(*, actor: Actor, snapshot: SpaceJob) -> None:
    """The file goes, for good. The row stays: it says what was restored from it.

    Raises Refused where somebody in the space is under legal hold: their pictures are in it.
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
    """Vision forgets everybody in the space, once a snapshot is written. `typed` is the space's
    name, typed by whoever asks: it has to be the right one."""
    holds.lock(space.team_id)
    space = _locked(space)
    holds.demand_free(space=space)
    if " ".join(typed.split()).lower() != str(space).lower():
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
    """Make a space hold what a snapshot does; who is there already stays as they are."""
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
    """What is done stays done; what was still to do is let go. A worker stops at its next step."""
    job = _locked_job(job)
    if job.kind == Kind.SETTLE:
        raise Refused("The faces of this space have to be gone through to the end.")
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
    """Go on with what was given up, from where it stopped; or try now what waits for its turn."""
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
    tasks.ring(tasks.space_job, job.pk)
    return job


def manifest_of(snapshot: SpaceJob) -> Manifest:
    """What a snapshot says that it holds. Refused where there is none that can be used."""
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
    tasks.ring(tasks.space_job, job.pk)
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
