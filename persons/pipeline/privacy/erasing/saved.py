"""Rewrites the snapshots that Rollcall keeps without an erased person."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from django.core.files.storage import default_storage
from django.db import transaction

from persons.files.storage import stored
from persons.models import Space, SpaceJob
from persons.models.work import JobState
from persons.pipeline.privacy.erasing.claims import HeldErasure
from persons.pipeline.privacy.erasing.texts import PersonNames
from persons.pipeline.spaces.manifests import Manifest, SnapshotError
from persons.pipeline.spaces.snapshot_writer import Pieces, new_key
from persons.pipeline.spaces.snapshots import Snapshot, SnapshotFile, key_of, opened


def rewrite_snapshots(held: HeldErasure) -> timedelta | None:
    """Rewrite snapshots one by one. The new file is complete before the old one is deleted."""
    # A snapshot that is being written may contain them.
    busy = SpaceJob.objects.filter(
        space=held.space, kind=SpaceJob.Kind.SNAPSHOT, state=JobState.RUNNING
    )
    if busy.exists():
        return timedelta(seconds=2)
    while True:
        since: int = held.erasure.report.get("snapshot", 0)
        jobs = SpaceJob.objects.filter(team=held.erasure.team, pk__gt=since).exclude(file="")
        job = jobs.select_related("space").order_by("pk").first()
        if job is None:
            with transaction.atomic():
                held.keep(snapshot=0)
            return None
        _rewrite(held, job)
        if held.is_over:
            return timedelta(0)


def _rewrite(held: HeldErasure, job: SpaceJob) -> None:
    try:
        with stored(job.file) as file, opened(file) as snapshot:
            cleaned = without(held, job, snapshot.manifest)
            if cleaned is None:
                _store(held, job)
            else:
                _write(held, job, snapshot, cleaned)
    except FileNotFoundError:
        _store(held, job)
    except SnapshotError:
        # An unreadable snapshot may contain anybody, and can't be used.
        _store(held, job, file="", size=0)


def _write(held: HeldErasure, job: SpaceJob, snapshot: Snapshot, cleaned: Manifest) -> None:
    key = new_key(job.space)
    # The report names the file before it exists, so that a dead worker's file is deleted.
    with transaction.atomic():
        held.keep(**held.mark_for_deletion([key]))
    new = SnapshotFile(cleaned, snapshot.picture)
    default_storage.save(key, Pieces(new.pieces()))
    _store(held, job, file=key, size=new.size, pictures=len(new.manifest.pictures))


@transaction.atomic
def _store(
    held: HeldErasure, job: SpaceJob, *, file: str | None = None, size: int = 0, pictures: int = 0
) -> None:
    """Record the snapshot's new file ("" for none); None keeps its file."""
    if file is None:
        held.keep(snapshot=job.pk)
        return
    old = job.file
    rows = SpaceJob.objects.filter(pk=job.pk, file=old)
    changed = rows.update(file=file, size=size)
    if pictures and job.state == JobState.DONE:
        rows = SpaceJob.objects.filter(pk=job.pk)
        rows.update(total=pictures, done=pictures)
    doomed = [key for key in held.erasure.report.get("doomed", []) if key != file or not changed]
    held.note(
        "snapshots",
        {"rewritten" if file else "unreadable ones": changed},
        snapshot=job.pk,
        doomed=[*doomed, *([old] if changed else [])],
    )


def without(held: HeldErasure, job: SpaceJob, manifest: Manifest) -> Manifest | None:
    """The manifest without them; None if they are not in it.

    In a snapshot of their own space they are found by number. In one from elsewhere they are found
    by their pictures or, if it was uploaded or restored to this space, by name.
    """
    ids = set(held.erasure.ids)
    own = manifest.key == key_of(held.space)
    if not own and manifest.key in _other_keys(held):
        return None
    gone = set()
    if own:
        gone = {person.id for person in manifest.people if person.id in ids}
    else:
        gone = {one.person for one in manifest.pictures if one.sha256 in held.digests}
        came_here = job.space_id == held.space.pk or job.restores.filter(space=held.space).exists()
        if came_here:
            names = PersonNames(held.labels)
            gone |= {person.id for person in manifest.people if names.is_one(person.label)}
    changed = gone | {one.id for one in manifest.people if one.merged_into in gone}
    pictures = tuple(
        one
        for one in manifest.pictures
        if one.person not in gone and one.origin not in gone and one.sha256 not in held.digests
    )
    if not changed and len(pictures) == len(manifest.pictures):
        return None
    people = tuple(
        replace(one, merged_into=None) if one.merged_into in gone else one
        for one in manifest.people
        if one.id not in gone
    )
    return replace(manifest, people=people, pictures=pictures)


def _other_keys(held: HeldErasure) -> set[str]:
    """Keys of the team's other spaces, whose people are different people."""
    spaces = Space.objects.filter(team=held.erasure.team).exclude(pk=held.space.pk)
    return {key_of(space) for space in spaces}
