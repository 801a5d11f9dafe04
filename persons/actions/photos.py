"""Uploads, renewed recognition, and audit entries for downloads of photos."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO

from django.conf import settings
from django.core.files import File
from django.core.files.storage import default_storage
from django.db import transaction
from django.db.models import F, QuerySet
from django.utils import timezone

from persons import audit, pictures, tasks
from persons.actions.trash import restore_photos
from persons.audit import Actor
from persons.db.locking import in_turn
from persons.errors import Refused
from persons.images import FORMATS, clean_name
from persons.models import Arrival, Gallery, Photo, PhotoState, Run, Team
from persons.models.galleries import moment_shown
from persons.pipeline.recognition import rescan
from persons.work import Work


@dataclass(frozen=True, slots=True)
class Added:
    """The photo of an upload.

    `is_new` is False if the gallery had these bytes already; `is_restored` says that the photo was
    in the trash and came back.
    """

    photo: Photo
    is_new: bool
    is_restored: bool = False


def add_photo(
    *, actor: Actor, gallery: Gallery, file: BinaryIO, file_name: str, arrival_key: str = ""
) -> Added:
    """Validate one upload, keep its bytes and enqueue it. `file` is seekable.

    `arrival_key` is how the sender recognises the file: see `persons.actions.upload_dedup`.

    Before anything is kept, raises ImageRefused for a file that is no usable picture, and
    DecodingBusy if no decoder is free to tell.
    """
    found = pictures.inspect(file, max_bytes=settings.UPLOAD_MAX_BYTES)
    name = clean_name(file_name)
    present = Photo.everything.filter(gallery=gallery, sha256=found.sha256).first()
    if present is not None:
        return _present(actor, present, arrival_key)
    suffix = FORMATS[found.format].suffixes[0]
    key = f"originals/{gallery.team_id}/{found.sha256[:2]}/{found.sha256}.{suffix}"
    # The bytes are stored before the row that refers to them. They stay if the row fails: another
    # upload of the same bytes may rely on them meanwhile.
    _keep(key, file)
    with transaction.atomic():
        # Under this lock nobody deletes files of the team. Before it, a file that existed may have
        # gone with the last photo of another gallery that had it.
        Team.objects.select_for_update(no_key=True).get(pk=gallery.team_id)
        _keep(key, file)
        photo, created = Photo.everything.get_or_create(
            gallery=gallery,
            sha256=found.sha256,
            defaults={
                "original": key,
                "file_name": name,
                "size": found.size,
                "format": found.format,
                "width": found.width,
                "height": found.height,
                "taken_at": _aware(found.taken_at),
                "taken_offset": offset_of(found.taken_at),
                "notes": list(found.notes),
                "uploaded_by": actor.user,
                "request_id": actor.request_id,
            },
        )
        if created:
            _note_arrival(photo, arrival_key)
            audit.record(
                actor=actor,
                team=gallery.team,
                action="photo.upload",
                target=photo,
                after={"gallery": gallery.slug, "sha256": found.sha256, "size": found.size},
            )
            tasks.enqueue(Work.PREPARE)
    return Added(photo, is_new=True) if created else _present(actor, photo, arrival_key)


def _keep(key: str, file: BinaryIO) -> None:
    if not default_storage.exists(key):
        file.seek(0)
        default_storage.save(key, File(file))


def _present(actor: Actor, photo: Photo, arrival_key: str) -> Added:
    """The gallery has these bytes, perhaps in its trash."""
    _note_arrival(photo, arrival_key)
    if photo.trashed_at is None:
        return Added(photo, is_new=False)
    restored = restore_photos(actor=actor, photos=Photo.everything.filter(pk=photo.pk))
    photo.refresh_from_db()
    return Added(photo, is_new=False, is_restored=bool(restored))


def _note_arrival(photo: Photo, key: str) -> None:
    if key:
        Arrival.objects.bulk_create([Arrival(photo=photo, key=key)], ignore_conflicts=True)


def _aware(moment: datetime | None) -> datetime | None:
    """A time without a time zone is taken to be in the server's."""
    naive = moment is not None and timezone.is_naive(moment)
    return timezone.make_aware(moment) if moment is not None and naive else moment


def offset_of(moment: datetime | None) -> int | None:
    """Minutes ahead of UTC; None if the camera wrote no time zone."""
    offset = moment.utcoffset() if moment is not None else None
    return None if offset is None else round(offset.total_seconds() / 60)


def redate_photo(photo: Photo, taken_at: datetime | None) -> bool:
    """Set when a photo was taken, as read again from its file. Returns whether `shown_at`
    changed."""
    photo.taken_at, before = _aware(taken_at), photo.shown_at
    photo.taken_offset = offset_of(taken_at)
    photo.shown_at = moment_shown(photo.taken_at, photo.taken_offset) or photo.uploaded_at
    photo.save(update_fields=["taken_at", "taken_offset", "shown_at"])
    return photo.shown_at != before


@transaction.atomic
def recognise_photo_again(*, actor: Actor, photo: Photo) -> Photo:
    """Retry a failed photo, or recognise a finished one again.

    A photo that is at Vision now is asked again after its answer.
    """
    prepared = bool(photo.sent_sha256)
    run = _run_again(actor, photo.gallery, photo.file_name, Photo.objects.filter(pk=photo.pk))
    photo.refresh_from_db()
    if not run.photo_count:
        run.delete()
        return photo
    audit.record(actor=actor, team=photo.gallery.team, action="photo.recognise", target=photo)
    tasks.enqueue(Work.RECOGNISE if prepared else Work.PREPARE)
    return photo


def _run_again(actor: Actor, gallery: Gallery, name: str, photos: QuerySet[Photo]) -> Run:
    """Begin a run over those of these photos of a gallery that don't wait already.

    `name` goes into the run's reason, which the whole team sees, unless the gallery is closed.
    """
    run = Run.objects.create(
        space_id=gallery.space_id,
        requested_by=actor.user,
        request_id=actor.request_id,
        reason=f"{name} again"[:300] if gallery.is_open else "A closed gallery again",
    )
    _ask_again(photos.exclude(sent_sha256=""), run, PhotoState.QUEUED)
    _ask_again(photos.filter(sent_sha256=""), run, PhotoState.NEW)
    rescan.set_photo_count(run)
    return run


@transaction.atomic
def recognise_photos_again(*, actor: Actor, gallery: Gallery, pks: Collection[int]) -> Run:
    """Recognise these photos again, except those that wait already. Raises Refused if none is
    left."""
    photos = Photo.objects.filter(gallery=gallery, pk__in=set(pks))
    run = _run_again(actor, gallery, f"Some of {gallery.name}", photos)
    if not run.photo_count:
        raise Refused("Those photos are waiting for recognition already, or are not here any more.")
    audit.record(
        actor=actor,
        team=gallery.team,
        action="photos.recognise",
        target=gallery,
        after={"photos": run.photo_count, "ids": sorted(run.photos.values_list("pk", flat=True))},
    )
    tasks.enqueue(Work.RECOGNISE)
    tasks.enqueue(Work.PREPARE)
    return run


@transaction.atomic
def record_download(*, actor: Actor, gallery: Gallery, pks: Collection[int]) -> None:
    """Record that somebody downloaded the originals of these photos."""
    audit.record(
        actor=actor,
        team=gallery.team,
        action="photos.download",
        target=gallery,
        after={"photos": len(pks), "ids": sorted(pks)},
    )


@transaction.atomic
def record_original(*, actor: Actor, photo: Photo) -> None:
    """Record that somebody downloaded a photo's original, or zoomed in until the page fetched
    it."""
    audit.record(actor=actor, team=photo.gallery.team, action="photo.download", target=photo)


def photos_to_ask_again(gallery: Gallery) -> QuerySet[Photo]:
    """The photos that `recognise_gallery_again` would send, for a page that says so beforehand."""
    asked = [PhotoState.DONE, PhotoState.FAILED, PhotoState.RUNNING]
    return Photo.objects.filter(gallery=gallery, state__in=asked).exclude(sent_sha256="")


@transaction.atomic
def recognise_gallery_again(*, actor: Actor, gallery: Gallery) -> Run:
    """Recognise every prepared photo of a gallery again."""
    run = _run_again(actor, gallery, f"All of {gallery.name}", photos_to_ask_again(gallery))
    if not run.photo_count:
        raise Refused("There is no finished photo in this gallery yet.")
    audit.record(
        actor=actor,
        team=gallery.team,
        action="gallery.recognise",
        target=gallery,
        after={"photos": run.photo_count},
    )
    tasks.enqueue(Work.RECOGNISE)
    return run


def _ask_again(photos: QuerySet[Photo], run: Run, state: PhotoState) -> None:
    """Finished photos go to `state`; photos at Vision are asked again after their answer."""
    # In this order: the second update catches photos that finish meanwhile.
    in_turn(photos.filter(state=PhotoState.RUNNING)).update(
        requested=F("requested") + 1, request_id=run.request_id, run=run
    )
    at_rest = photos.filter(state__in=[PhotoState.DONE, PhotoState.FAILED])
    rescan.requeue(at_rest, run, state=state, error="", interruptions=0)
