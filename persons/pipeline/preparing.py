"""A fresh upload gets its renditions and the copy that is sent."""

from __future__ import annotations

import logging
import uuid

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.utils import timezone

from persons import images
from persons.models import Photo, PhotoState
from persons.pipeline.purging import forget_files
from persons.pipeline.retrying import cut_off, put_back
from persons.storage import stored
from persons.vision.errors import VisionTemporary

log = logging.getLogger(__name__)


def prepare(photo_pk: int) -> int | None:
    """Renditions and the copy to send. The space that then has work, or None if there is none."""
    token = uuid.uuid4().hex
    now = timezone.now()
    if not Photo.objects.filter(pk=photo_pk, state=PhotoState.NEW, after__lte=now).update(
        state=PhotoState.PREPARING, claim=token, claimed_at=now
    ):
        return None
    photo = Photo.objects.select_related("gallery").filter(pk=photo_pk, claim=token).first()
    if photo is None:
        # Thrown away this very moment.
        return None
    mine = Photo.objects.filter(pk=photo_pk, claim=token, state=PhotoState.PREPARING)
    try:
        sent = _make_copies(photo)
    except images.ImageRefused as error:
        mine.update(state=PhotoState.FAILED, error=str(error), claim="")
        return None
    except OSError as error:
        # A full disk or a storage out of reach: the original is safe, so it can wait.
        log.warning("photo %s could not be prepared: %s", photo_pk, error)
        unusable = VisionTemporary("The storage could not be used.")
        put_back(mine, PhotoState.NEW, photo.attempts, unusable)
        return None
    except BaseException as error:
        cut_off(mine, PhotoState.NEW, error)
        raise
    kept = mine.update(
        state=PhotoState.QUEUED,
        claim="",
        error="",
        attempts=0,
        after=timezone.now(),
        sent_width=sent.width,
        sent_height=sent.height,
        sent_size=len(sent.data),
        sent_sha256=sent.digest,
        prepared_at=timezone.now(),
    )
    if not kept and not Photo.everything.filter(pk=photo_pk).exists():
        # Deleted for good meanwhile: what was just made belongs to nobody.
        forget_files(photo)
        return None
    return photo.gallery.space_id


def _make_copies(photo: Photo) -> images.SentCopy:
    with stored(photo.original) as file:
        picture = images.open_oriented(file)
    for name, data in images.renditions(picture).items():
        default_storage.save(photo.key(name), ContentFile(data))
    sent = images.sent_copy(picture)
    default_storage.save(photo.key("sent"), ContentFile(sent.data))
    return sent
