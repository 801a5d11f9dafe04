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

from persons import audit, images, tasks
from persons.actions.trash import restore_photos
from persons.audit import Actor
from persons.errors import Refused
from persons.locking import in_turn
from persons.models import Arrival, Gallery, Photo, PhotoState, Run, Space, Team

SUFFIXES = {"JPEG": "jpg", "PNG": "png", "TIFF": "tif", "WEBP": "webp", "HEIF": "heic"}


@dataclass(frozen=True, slots=True)
class Added:
    """`is_new` is False where the gallery had these bytes already; `photo` is then that photo, and
    `is_restored` says that it was in the trash and came back."""

    photo: Photo
    is_new: bool
    is_restored: bool = False


def add_photo(
    *, actor: Actor, gallery: Gallery, file: BinaryIO, file_name: str, arrival_key: str = ""
) -> Added:
    """Validate one upload, keep its bytes, and queue it. `file` is seekable.

    `arrival_key` is how its sender knows the file again: see `actions.arrivals`.

    Raises ImageRefused, before anything is kept, where the file is no picture that can go in.
    """
    found = images.inspect(file, max_bytes=settings.UPLOAD_MAX_BYTES)
    name = images.clean_name(file_name)
    present = Photo.everything.filter(gallery=gallery, sha256=found.sha256).first()
    if present is not None:
        return _present(actor, present, arrival_key)
    key = f"originals/{gallery.team_id}/{found.sha256[:2]}/{found.sha256}.{SUFFIXES[found.format]}"
    # The bytes are safe before the row that promises them. They are never removed here when the
    # row fails: another upload of the same bytes may have come to rely on them meanwhile.
    _keep(key, file)
    with transaction.atomic():
        # Nobody deletes files of the team while this lock is held: those that were there before
        # may have gone with the last photo of another gallery that had them.
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
            tasks.ring(tasks.prepare_photo, photo.pk)
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
    """A camera that knew no time zone was, for all we know, in ours."""
    naive = moment is not None and timezone.is_naive(moment)
    return timezone.make_aware(moment) if moment is not None and naive else moment


@transaction.atomic
def recognise_photo_again(*, actor: Actor, photo: Photo) -> Photo:
    """ "Try again" for a failed photo, or a fresh look at a finished one.

    One that is at Vision just now is asked again when its answer is in.
    """
    run = Run.objects.create(
        space_id=photo.gallery.space_id,
        requested_by=actor.user,
        request_id=actor.request_id,
        reason=_again(photo.gallery, photo.file_name),
        photo_count=1,
    )
    prepared = bool(photo.sent_sha256)
    changed = _ask_again(
        Photo.objects.filter(pk=photo.pk), run, PhotoState.QUEUED if prepared else PhotoState.NEW
    )
    photo.refresh_from_db()
    if not changed:
        run.delete()
        return photo
    audit.record(actor=actor, team=photo.gallery.team, action="photo.recognise", target=photo)
    if prepared:
        tasks.ring(tasks.recognise_space, photo.gallery.space_id)
    else:
        tasks.ring(tasks.prepare_photo, photo.pk)
    return photo


def _again(gallery: Gallery, what: str) -> str:
    """A run is told of to the whole team: what is in a closed gallery is not named."""
    return f"{what} again"[:300] if gallery.is_open else "A closed gallery again"


@transaction.atomic
def recognise_photos_again(*, actor: Actor, gallery: Gallery, pks: Collection[int]) -> Run:
    """A fresh look at those of these photos that are in the gallery and not waiting for one."""
    run = Run.objects.create(
        space_id=gallery.space_id,
        requested_by=actor.user,
        request_id=actor.request_id,
        reason=_again(gallery, f"Some of {gallery.name}"),
    )
    photos = Photo.objects.filter(gallery=gallery, pk__in=set(pks))
    unprepared = photos.filter(sent_sha256="")
    pks_to_prepare = list(unprepared.filter(state=PhotoState.FAILED).values_list("pk", flat=True))
    _ask_again(photos.exclude(sent_sha256=""), run, PhotoState.QUEUED)
    _ask_again(unprepared, run, PhotoState.NEW)
    run.photo_count = Photo.objects.filter(run=run).count()
    if not run.photo_count:
        raise Refused("Those photos are waiting for recognition already, or are not here any more.")
    run.save(update_fields=["photo_count"])
    audit.record(
        actor=actor,
        team=gallery.team,
        action="photos.recognise",
        target=gallery,
        after={"photos": run.photo_count, "ids": sorted(run.photos.values_list("pk", flat=True))},
    )
    tasks.ring(tasks.recognise_space, gallery.space_id)
    for pk in pks_to_prepare:
        tasks.ring(tasks.prepare_photo, pk)
    return run


@transaction.atomic
def record_download(*, actor: Actor, gallery: Gallery, pks: Collection[int]) -> None:
    """That somebody took the originals of these photos away."""
    audit.record(
        actor=actor,
        team=gallery.team,
        action="photos.download",
        target=gallery,
        after={"photos": len(pks), "ids": sorted(pks)},
    )


@transaction.atomic
def record_original(*, actor: Actor, photo: Photo) -> None:
    """That somebody took the original of a photo, or looked so closely that the page fetched it."""
    audit.record(actor=actor, team=photo.gallery.team, action="photo.download", target=photo)


def photos_to_ask_again(gallery: Gallery) -> QuerySet[Photo]:
    """What `recognise_gallery_again` would send, for the page that says so beforehand."""
    asked = [PhotoState.DONE, PhotoState.FAILED, PhotoState.RUNNING]
    return Photo.objects.filter(gallery=gallery, state__in=asked).exclude(sent_sha256="")


@transaction.atomic
def recognise_gallery_again(*, actor: Actor, gallery: Gallery) -> Run:
    """Every photo of a gallery that was prepared goes through recognition once more."""
    space = Space.objects.get(pk=gallery.space_id)
    run = Run.objects.create(
        space=space,
        requested_by=actor.user,
        request_id=actor.request_id,
        reason=_again(gallery, f"All of {gallery.name}"),
    )
    run.photo_count = _ask_again(photos_to_ask_again(gallery), run, PhotoState.QUEUED)
    if not run.photo_count:
        raise Refused("There is no finished photo in this gallery yet.")
    run.save(update_fields=["photo_count"])
    audit.record(
        actor=actor,
        team=gallery.team,
        action="gallery.recognise",
        target=gallery,
        after={"photos": run.photo_count},
    )
    tasks.ring(tasks.recognise_space, space.pk)
    return run


def _ask_again(photos: QuerySet[Photo], run: Run, back_to: PhotoState) -> int:
    """Those at rest go to `back_to`, those at Vision are asked again afterwards; how many."""
    # In this order: one that comes to rest meanwhile is met by the second update.
    running = in_turn(photos.filter(state=PhotoState.RUNNING)).update(
        requested=F("requested") + 1, request_id=run.request_id, run=run
    )
    at_rest = photos.filter(state__in=[PhotoState.DONE, PhotoState.FAILED])
    return running + in_turn(at_rest).update(
        state=back_to,
        error="",
        attempts=0,
        interruptions=0,
        after=timezone.now(),
        requested=F("requested") + 1,
        request_id=run.request_id,
        run=run,
    )
