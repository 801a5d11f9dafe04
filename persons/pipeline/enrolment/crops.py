"""The pictures that are enrolled: crops of photos, made once and kept."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage

from persons import images, pictures
from persons.decoding import DecodingBusy
from persons.files.storage import stored
from persons.models import Enrolment, EnrolmentState, Face
from persons.pipeline.vision_calls import Loaded, NotNow
from persons.privacy.erased import REFUSED, pictures_erased_in
from persons.vision.types import Box, Image

TIGHT_MARGIN = 0.25


def with_pictures(queued: Iterable[Enrolment]) -> list[Loaded[Enrolment]]:
    """The pictures to send. Those that can't be made are refused."""
    sent = []
    for enrolment in queued:
        try:
            data = _enrolment_image(enrolment)
            digest = hashlib.sha256(data).hexdigest()
            if pictures_erased_in(enrolment.person.space, [digest]):
                refuse(enrolment, f"Not sent: {REFUSED}.")
                continue
        except (FileNotFoundError, images.ImageRefused) as error:
            refuse(enrolment, f"The picture of this face could not be made: {error}")
            continue
        except DecodingBusy as error:
            raise NotNow(str(error)) from error
        sent.append((enrolment, Image(f"enrolment{enrolment.pk}", data)))
    return sent


def refuse(enrolment: Enrolment, text: str) -> None:
    Enrolment.objects.filter(pk=enrolment.pk, state=EnrolmentState.QUEUED).update(
        state=EnrolmentState.FAILED, error=text
    )


def tighten_or_refuse(enrolment: Enrolment, text: str) -> None:
    """Queue a tighter crop, which may exclude a neighbour's face; refuse one that is tight
    already."""
    tightened = Enrolment.objects.filter(
        pk=enrolment.pk,
        state=EnrolmentState.QUEUED,
        margin__gt=TIGHT_MARGIN,
        face__isnull=False,
    ).update(margin=TIGHT_MARGIN, image="", sha256="")
    if not tightened:
        refuse(enrolment, text)


def _enrolment_image(enrolment: Enrolment) -> bytes:
    """The bytes to send: those kept from the first time, or else cut from the photo and kept."""
    if enrolment.image:
        with stored(enrolment.image) as file:
            return file.read()
    face = enrolment.face
    if face is None:
        raise FileNotFoundError("its face is gone")
    others = [box_of(other) for other in face.photo.faces.exclude(pk=face.pk).filter(missing=False)]
    with stored(face.photo.original) as file:
        data = pictures.enrolment_crop(file, box_of(face), others, margin=enrolment.margin)
    digest = hashlib.sha256(data).hexdigest()
    key = f"enrolments/{face.photo.gallery.team_id}/{digest[:2]}/{digest}.jpg"
    default_storage.save(key, ContentFile(data))
    Enrolment.objects.filter(pk=enrolment.pk).update(image=key, sha256=digest)
    return data


def box_of(face: Face) -> Box:
    return Box(face.left, face.top, face.right, face.bottom)
