"""Preparing a new upload makes its renditions and the copy that is sent."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from PIL import Image
from pytest_django import Settings

from persons import pictures, pipeline
from persons.images import ImageRefused, Refusal
from persons.models import Gallery, Photo, PhotoState, Run, User
from persons.vision import limits
from tests.support.factories import GalleryFactory, PhotoFactory
from tests.support.fakes import due_now, lease_is_over


@pytest.fixture
def gallery(bob: User) -> Gallery:
    return GalleryFactory.create(team=bob.memberships.get().team, slug="lake")


def uploaded(gallery: Gallery, size: tuple[int, int] = (640, 480), **save: object) -> Photo:
    """A photo as `add_photo` leaves it."""
    out = io.BytesIO()
    Image.linear_gradient("L").resize(size).convert("RGB").save(out, "JPEG", **save)
    photo: Photo = PhotoFactory.create(
        gallery=gallery,
        state=PhotoState.NEW,
        width=size[0],
        height=size[1],
        with_file=out.getvalue(),
    )
    return photo


def read(key: str) -> bytes:
    with default_storage.open(key) as file:
        return bytes(file.read())


def test_a_prepared_photo_waits_with_its_copies_stored(gallery: Gallery) -> None:
    photo = uploaded(gallery)
    assert pipeline.prepare(photo.pk) == gallery.space_id
    photo.refresh_from_db()
    assert (photo.state, photo.claim, photo.attempts) == (PhotoState.QUEUED, "", 0)
    assert photo.prepared_at is not None
    sent = read(photo.key("sent"))
    assert photo.sent_sha256 == hashlib.sha256(sent).hexdigest()
    assert photo.sent_size == len(sent)
    with Image.open(io.BytesIO(sent)) as copy:
        assert (copy.format, copy.size) == ("JPEG", (photo.sent_width, photo.sent_height))
    for name in ("thumb", "medium", "large"):
        with Image.open(io.BytesIO(read(photo.key(name)))) as rendition:
            assert rendition.format == "WEBP"


def test_the_copy_that_is_sent_says_nothing_of_place_or_camera(gallery: Gallery) -> None:
    exif = Image.Exif()
    exif[0x010F] = "CameraMaker"
    exif.get_ifd(0x8825)[1] = "N"
    photo = uploaded(gallery, exif=exif, comment=b"at home")
    assert b"CameraMaker" in read(photo.original)
    pipeline.prepare(photo.pk)
    for name in ("sent", "thumb", "medium", "large"):
        data = read(photo.key(name))
        assert b"CameraMaker" not in data
        assert b"at home" not in data
        with Image.open(io.BytesIO(data)) as copy:
            assert not copy.getexif()


def test_a_photo_larger_than_vision_takes_is_sent_smaller(gallery: Gallery) -> None:
    photo = uploaded(gallery, (5000, 4000))
    pipeline.prepare(photo.pk)
    photo.refresh_from_db()
    assert limits.fits(photo.sent_width, photo.sent_height)
    assert (photo.width, photo.height) == (5000, 4000)


@pytest.mark.parametrize("state", [state for state in PhotoState if state != PhotoState.NEW])
def test_only_a_new_photo_is_prepared(gallery: Gallery, state: PhotoState) -> None:
    photo = uploaded(gallery)
    Photo.objects.update(state=state)
    assert pipeline.prepare(photo.pk) is None
    photo.refresh_from_db()
    assert photo.state == state


def test_a_photo_that_is_gone_is_no_error(db: None) -> None:
    assert pipeline.prepare(10**9) is None


def test_one_that_can_not_go_in_fails_with_the_reason(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(file: object) -> None:
        raise ImageRefused(Refusal.TRUNCATED, "This picture ends half-way.")

    photo = uploaded(gallery)
    monkeypatch.setattr(pictures, "copies", refuse)
    assert pipeline.prepare(photo.pk) is None
    photo.refresh_from_db()
    assert (photo.state, photo.error, photo.claim) == (
        PhotoState.FAILED,
        "This picture ends half-way.",
        "",
    )


def test_a_full_disk_is_waited_for_and_in_the_end_given_up(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    def full(name: str, content: object) -> None:
        raise OSError(28, "No space left on device")

    settings.MAX_ATTEMPTS = 2
    photo = uploaded(gallery)
    monkeypatch.setattr(default_storage, "save", full)
    assert pipeline.prepare(photo.pk) is None
    photo.refresh_from_db()
    assert (photo.state, photo.attempts, photo.claim) == (PhotoState.NEW, 1, "")
    assert pipeline.prepare(photo.pk) is None, "not before its time"
    due_now()
    pipeline.prepare(photo.pk)
    photo.refresh_from_db()
    assert photo.state == PhotoState.FAILED
    assert "Gave up after 2 attempts" in photo.error


def test_a_disk_with_space_again_is_used(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(name: str, content: object) -> None:
        raise OSError(28, "No space left on device")

    photo = uploaded(gallery)
    monkeypatch.setattr(default_storage, "save", full)
    pipeline.prepare(photo.pk)
    monkeypatch.undo()
    due_now()
    assert pipeline.prepare(photo.pk) == gallery.space_id
    photo.refresh_from_db()
    assert (photo.attempts, photo.error) == (0, "")


def test_a_bug_over_one_photo_is_not_repeated_for_ever(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stumble(file: object) -> None:
        raise ZeroDivisionError

    photo = uploaded(gallery)
    monkeypatch.setattr(pictures, "copies", stumble)
    tries = 0
    while Photo.objects.filter(state=PhotoState.NEW).exists():
        tries += 1
        assert tries < 10
        with pytest.raises(ZeroDivisionError):
            pipeline.prepare(photo.pk)
        due_now()
    photo.refresh_from_db()
    assert photo.state == PhotoState.FAILED
    assert "ZeroDivisionError" in photo.error


def test_a_worker_that_lost_its_claim_changes_nothing(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = uploaded(gallery)
    original = pictures.copies

    def slowly(file: BinaryIO) -> pictures.Copies:
        monkeypatch.setattr(pictures, "copies", original)
        lease_is_over()
        pipeline.sweep()
        assert pipeline.prepare(photo.pk) == gallery.space_id
        Photo.objects.update(state=PhotoState.DONE)
        return original(file)

    monkeypatch.setattr(pictures, "copies", slowly)
    pipeline.prepare(photo.pk)
    photo.refresh_from_db()
    assert photo.state == PhotoState.DONE


def test_a_copy_appears_whole_or_not_at_all(gallery: Gallery, data_folder: Path) -> None:
    """A worker that dies while it writes leaves a draft under another name."""

    class Dying(ContentFile):
        def chunks(self, chunk_size: int | None = None) -> Iterator[bytes]:
            yield b"half"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        default_storage.save("renditions/1/aa/x/sent.jpg", Dying(b"halfhalf"))
    assert not default_storage.exists("renditions/1/aa/x/sent.jpg")
    assert not [path for path in (data_folder / "media").rglob("*") if path.is_file()]


def test_a_new_photo_of_a_run_goes_on_in_it(gallery: Gallery) -> None:
    photo = uploaded(gallery)
    run = Run.objects.create(space=gallery.space, reason="again", photo_count=1)
    Photo.objects.update(run=run)
    pipeline.prepare(photo.pk)
    run.refresh_from_db()
    assert run.finished_at is None
