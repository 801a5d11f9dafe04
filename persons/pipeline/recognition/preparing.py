"""Makes a new upload's renditions and the copy that is sent to Vision."""

from __future__ import annotations

import logging

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.utils import timezone

from persons import images, pictures
from persons.decoding import DecodingBusy
from persons.files.storage import stored
from persons.models import Photo, PhotoState
from persons.pipeline.privacy.purging import forget_files
from persons.pipeline.recognition.retrying import PREPARING, put_back
from persons.pipeline.vision_calls import NotNow
from persons.vision.errors import VisionTemporary
from persons.work import backoff

log = logging.getLogger(__name__)


def prepare(photo_pk: int) -> int | None:
    """Make one photo's renditions and sent copy. Returns the space that then has work, or None."""
    lease = PREPARING.claim(Photo.objects.filter(pk=photo_pk))
    if lease is None:
        return None
    photo = lease.held.select_related("gallery").first()
    if photo is None:
        # Trashed this moment.
        return None
    try:
        with lease.kept_alive():
            sent = _make_copies(photo)
    except images.ImageRefused as error:
        lease.fail(str(error))
        return None
    except DecodingBusy as error:
        put_back(lease, photo.attempts, NotNow(str(error)))
        return None
    except OSError as error:
        # A full disk or an unreachable storage: the original is safe, so the photo can wait.
        log.warning("photo %s could not be prepared: %s", photo_pk, error)
        unusable = VisionTemporary("The storage could not be used.")
        put_back(lease, photo.attempts, unusable)
        return None
    except BaseException as error:
        lease.cut_off(error, backoff(1))
        raise
    kept = lease.give_back(
        PhotoState.QUEUED,
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
        # Deleted for good meanwhile: nothing refers to the new files.
        forget_files(photo)
        return None
    return photo.gallery.space_id


def _make_copies(photo: Photo) -> images.SentCopy:
    with stored(photo.original) as file:
        made = pictures.copies(file)
    for name, data in made.renditions.items():
        default_storage.save(photo.key(name), ContentFile(data))
    default_storage.save(photo.key("sent"), ContentFile(made.sent.data))
    return made.sent
