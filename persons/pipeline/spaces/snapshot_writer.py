"""Writes a space into a snapshot, and checks the pictures of an uploaded one."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path

from django.core.files.base import File
from django.core.files.storage import default_storage
from django.db import transaction
from django.utils import timezone

from persons.files.storage import stored
from persons.models import Enrolment, EnrolmentState, Person, Space
from persons.pipeline.spaces.job_claims import HeldJob, JobFailed
from persons.pipeline.spaces.manifests import (
    Manifest,
    SavedPerson,
    SavedPicture,
    SnapshotError,
    line,
)
from persons.pipeline.spaces.snapshots import SnapshotFile, key_of, opened


@transaction.atomic
def contents_of(space: Space, made_by: str) -> SnapshotFile:
    """The contents of a snapshot at one moment: people and their live pictures, queued ones
    included."""
    # Everything that enrols or removes locks the space first.
    space = (
        Space.objects.select_for_update(of=("self",), no_key=True)
        .select_related("team")
        .get(pk=space.pk)
    )
    rows = list(
        Enrolment.objects.filter(person__space=space, state__in=EnrolmentState.live())
        .exclude(image="")
        .order_by("pk")
        .values_list(
            "person__person_id",
            "sha256",
            "image",
            "created_at",
            "created_by__username",
            "origin__person__person_id",
        )
    )
    pictures = {
        (person, digest): SavedPicture(digest, person, at, line(by or ""), origin)
        for person, digest, _, at, by, origin in rows
    }
    manifest = Manifest(
        key=key_of(space),
        team=space.team.slug,
        number=space.number,
        name=line(space.name),
        made_at=timezone.now(),
        made_by=line(made_by),
        policy=_policy(space),
        people=tuple(_people(space, {person for person, _ in pictures})),
        pictures=tuple(pictures.values()),
    )
    keys = {digest: image for _, digest, image, *_ in rows}
    return SnapshotFile(manifest, lambda digest: _stored(keys[digest]))


def _stored(key: str) -> bytes | None:
    try:
        with stored(key) as file:
            return file.read()
    except FileNotFoundError:
        return None


def _policy(space: Space) -> dict[str, float | bool | int]:
    return {
        "threshold": space.threshold,
        "confirm_threshold": max(space.threshold, space.confirm_threshold),
        "update_embedding": space.update_embedding,
        "create_new": space.create_new,
        "show_attributes": space.show_attributes,
        "searcher": space.searcher,
    }


def _people(space: Space, enrolled: set[int]) -> Iterator[SavedPerson]:
    """People with anything to keep: a name, a note, a picture, or a merge."""
    rows: list[tuple[int, str, bool, str, int | None]] = list(
        Person.objects.filter(space=space)
        .order_by("person_id")
        .values_list("person_id", "label", "hidden", "notes", "merged_into__person_id")
    )
    stand_for = {into for *_, into in rows if into is not None}
    for person_id, label, hidden, notes, into in rows:
        if label or notes or into or person_id in enrolled or person_id in stand_for:
            yield SavedPerson(person_id, line(label), hidden, notes.replace("\0", ""), into)


class Pieces(File):  # type: ignore[type-arg]
    """A file for the storage whose contents are generated while it is written."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        super().__init__(None, name="snapshot")
        self._pieces = pieces

    def chunks(self, chunk_size: int | None = None) -> Iterator[bytes]:
        yield from self._pieces


def new_key(space: Space) -> str:
    return f"snapshots/{space.team_id}/{uuid.uuid4().hex}.zip"


def save(held: HeldJob) -> timedelta | None:
    """The step of a SNAPSHOT job. It is written in one go, since half a file is useless."""
    job = held.job
    before, key = job.file, new_key(job.space)
    # The row names the file before it exists, so that no orphan is left behind.
    held.renew(file=key, done=0)
    if before:
        default_storage.delete(before)
    file = contents_of(job.space, str(job.requested_by or "Rollcall"))
    held.renew(total=len(file.manifest.digests))
    default_storage.save(key, Pieces(_with_progress(file, held)))
    pictures = len(file.manifest.pictures)
    held.finish(
        size=file.size,
        total=pictures,
        done=pictures,
        people_count=len(file.manifest.people),
        report=job.report | {"missing": len(file.missing), "waiting": _waiting(job.space)},
    )
    return None


def _with_progress(file: SnapshotFile, held: HeldJob) -> Iterator[bytes]:
    for piece in file.pieces():
        held.report_progress(file.done)
        yield piece


def _waiting(space: Space) -> int:
    """Pictures that are not cut yet, which no snapshot can contain."""
    waiting = [EnrolmentState.QUEUED, EnrolmentState.WAITING]
    uncut = Enrolment.objects.filter(person__space=space, state__in=waiting, image="")
    return uncut.count()


def write_to(path: Path, space: Space, made_by: str) -> SnapshotFile:
    """Write a snapshot to a file of the operator's, atomically; only its owner may read it."""
    file = contents_of(space, made_by)
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        draft.touch(mode=0o600, exist_ok=False)
        with draft.open("wb") as out:
            for piece in file.pieces():
                out.write(piece)
            out.flush()
            os.fsync(out.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    return file


def check(held: HeldJob) -> timedelta | None:
    """The step of an UPLOAD job: compares every picture with its digest."""
    job = held.job
    try:
        with stored(job.file) as file, opened(file) as snapshot:
            held.renew(total=len(snapshot.manifest.digests), done=0)
            snapshot.check(held.report_progress)
            pictures = len(snapshot.manifest.pictures)
            held.finish(total=pictures, done=pictures, people_count=len(snapshot.manifest.people))
    except FileNotFoundError:
        raise JobFailed("The file is gone.") from None
    except SnapshotError as error:
        default_storage.delete(job.file)
        raise JobFailed(str(error)) from None
    return None
