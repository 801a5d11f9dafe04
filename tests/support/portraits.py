"""Real faces for tests: the demo's portraits in several versions, sent through the pipeline."""

from __future__ import annotations

import io
import random
from pathlib import Path

from django.conf import settings
from PIL import Image, ImageEnhance

from persons import pipeline
from persons.actions.photos import add_photo
from persons.models import Gallery, Person, Photo, PhotoState, SyncState, User
from tests.support.fakes import by

PHOTOS: Path = settings.BASE_DIR / "demo" / "photos"
PEOPLE = ["ardern_1", "macron_1", "obama_1", "sunak_1", "collins_1", "ardern_2", "macron_2"]


def version_of(name: str, number: int) -> bytes:
    """A smaller JPEG of a demo photo. Each number is another version: tilted, mirrored, darker."""
    chance = random.Random(f"{name}{number}")
    picture = Image.open(PHOTOS / f"{name}.jpg").convert("RGB")
    picture.thumbnail((560, 560))
    if number:
        picture = picture.rotate(chance.uniform(-8, 8), Image.Resampling.BICUBIC)
        picture = ImageEnhance.Brightness(picture).enhance(chance.uniform(0.75, 1.2))
        if number % 2:
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=88)
    return out.getvalue()


def upload_portraits(user: User, gallery: Gallery, names: list[str], versions: int = 1) -> None:
    """Upload and recognise photos called `<name>-<number>.jpg`."""
    for number in range(versions):
        for name in names:
            file = io.BytesIO(version_of(name, number))
            file_name = f"{name}-{number}.jpg"
            add_photo(actor=by(user), gallery=gallery, file=file, file_name=file_name)
    work(gallery)


def upload_group(user: User, gallery: Gallery) -> Photo:
    """Upload and recognise the demo's group photo, which has four faces."""
    file = io.BytesIO((PHOTOS / "group_1.jpg").read_bytes())
    photo = add_photo(actor=by(user), gallery=gallery, file=file, file_name="group_1.jpg").photo
    work(gallery)
    return photo


def work(gallery: Gallery) -> None:
    """Run all the gallery's waiting work in this process."""
    for photo in Photo.objects.filter(gallery=gallery, state=PhotoState.NEW):
        pipeline.prepare(photo.pk)
    while pipeline.recognise_batch(gallery.space_id):
        pass
    for person in Person.objects.filter(space=gallery.space_id, sync_state=SyncState.QUEUED):
        pipeline.sync(person.pk)
    while pipeline.recognise_batch(gallery.space_id):
        pass
