"""Uploading photos, and requesting another recognition."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from django.core.files.storage import default_storage
from django.db import connection
from django.utils import timezone
from kombu.exceptions import OperationalError
from PIL import Image
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings

from persons import pipeline
from persons.actions.photos import add_photo, recognise_gallery_again, recognise_photo_again
from persons.errors import Refused
from persons.images import ImageRefused
from persons.models import AuditEntry, Gallery, Photo, PhotoState, User
from persons.work import Work
from tests.support.factories import GalleryFactory, PhotoFactory, jpeg
from tests.support.fakes import FakeVision, by, due_now, entries, once, use, waiting_photo
from tests.support.processes import PATIENCE, ROOT, database_url, free_port
from tests.support.waiting import swept, waiting

PICTURE = jpeg((10, 200, 30), (300, 200))


@pytest.fixture
def gallery(bob: User) -> Gallery:
    return GalleryFactory.create(team=bob.memberships.get().team, slug="lake")


@pytest.fixture
def upload(bob: User, gallery: Gallery) -> Callable[..., Photo]:
    def upload(content: bytes = PICTURE, name: str = "a.jpg", to: Gallery = gallery) -> Photo:
        file = io.BytesIO(content)
        return add_photo(actor=by(bob), gallery=to, file=file, file_name=name).photo

    return upload


def stored(folder: Path) -> list[str]:
    media = folder / "media"
    return sorted(str(p.relative_to(media)) for p in media.rglob("*") if p.is_file())


class TestUpload:
    def test_the_bytes_are_kept_as_they_came(
        self, upload: Callable[..., Photo], bob: User, gallery: Gallery
    ) -> None:
        photo = upload()
        assert (photo.gallery, photo.uploaded_by, photo.state) == (gallery, bob, PhotoState.NEW)
        assert (photo.width, photo.height, photo.format) == (300, 200, "JPEG")
        assert photo.size == len(PICTURE)
        assert photo.sha256 == hashlib.sha256(PICTURE).hexdigest()
        with default_storage.open(photo.original) as file:
            assert file.read() == PICTURE

    def test_the_file_is_named_by_its_content(
        self, upload: Callable[..., Photo], data_folder: Path
    ) -> None:
        photo = upload(name="../../etc/passwd\u202egpj.exe")
        assert photo.file_name == "passwdgpj.exe"
        (name,) = stored(data_folder)
        assert name.endswith(f"{photo.sha256}.jpg")

    def test_the_same_bytes_twice_are_one_photo(
        self, upload: Callable[..., Photo], bob: User, gallery: Gallery, data_folder: Path
    ) -> None:
        first = upload(name="a.jpg")
        again = add_photo(
            actor=by(bob), gallery=gallery, file=io.BytesIO(PICTURE), file_name="b.jpg"
        )
        assert (again.photo, again.is_new) == (first, False)
        assert Photo.objects.get().file_name == "a.jpg"
        assert len(stored(data_folder)) == 1
        assert len(entries(gallery.team, "photo.upload")) == 1

    def test_another_gallery_of_the_team_shares_the_file_and_not_the_photo(
        self, upload: Callable[..., Photo], gallery: Gallery, data_folder: Path
    ) -> None:
        other = GalleryFactory.create(team=gallery.team)
        one, two = upload(), upload(to=other)
        assert one != two
        assert one.original == two.original
        assert len(stored(data_folder)) == 1

    def test_another_team_shares_nothing(
        self, upload: Callable[..., Photo], data_folder: Path
    ) -> None:
        one, two = upload(), upload(to=GalleryFactory.create())
        assert one.original != two.original
        assert len(stored(data_folder)) == 2

    def test_the_time_of_a_camera_that_knew_no_zone_is_kept(
        self, upload: Callable[..., Photo]
    ) -> None:
        exif = Image.Exif()
        exif.get_ifd(0x8769)[0x9003] = "2019:07:14 10:20:30"
        out = io.BytesIO()
        Image.new("RGB", (64, 48)).save(out, "JPEG", exif=exif)
        photo = upload(out.getvalue())
        photo.refresh_from_db()
        assert photo.taken_at is not None
        assert timezone.make_naive(photo.taken_at).isoformat() == "2019-07-14T10:20:30"

    def test_what_is_refused_leaves_nothing_behind(
        self, upload: Callable[..., Photo], data_folder: Path
    ) -> None:
        with pytest.raises(ImageRefused):
            upload(PICTURE[: len(PICTURE) // 2])
        assert not Photo.objects.exists()
        assert not AuditEntry.objects.exists()
        assert stored(data_folder) == []

    def test_an_upload_beyond_the_limit_is_refused(
        self, upload: Callable[..., Photo], settings: Settings
    ) -> None:
        settings.UPLOAD_MAX_BYTES = 1000
        with pytest.raises(ImageRefused, match="the limit is"):
            upload(jpeg((1, 2, 3), (2000, 2000)))

    def test_a_row_that_fails_leaves_no_photo(
        self, upload: Callable[..., Photo], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*args: object, **options: object) -> None:
            raise RuntimeError

        monkeypatch.setattr("persons.audit.AuditEntry.save", fail)
        with pytest.raises(RuntimeError):
            upload()
        assert not Photo.objects.exists()
        monkeypatch.undo()
        assert upload().state == PhotoState.NEW, "and the bytes that stayed are no obstacle"

    def test_a_worker_is_called_once_the_row_is_there(
        self,
        upload: Callable[..., Photo],
        monkeypatch: pytest.MonkeyPatch,
        django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
    ) -> None:
        sent: list[Work] = []
        monkeypatch.setattr("persons.tasks.send", sent.append)
        with django_capture_on_commit_callbacks(execute=True):
            photo = upload()
            assert sent == []
            upload()
        assert sent == [Work.PREPARE] and waiting(Work.PREPARE) == [photo.pk]


@pytest.mark.django_db(transaction=True)
class TestABrokerThatIsDown:
    """The database remembers; the broker only wakes workers."""

    def test_loses_nothing(
        self,
        upload: Callable[..., Photo],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        def refuse(*args: object, **options: object) -> None:
            raise OperationalError("[Errno 111] Connection refused")

        monkeypatch.setattr("celery.app.task.Task.apply_async", refuse)
        photo = upload()
        photo.refresh_from_db()
        assert photo.state == PhotoState.NEW
        vision = use(monkeypatch, FakeVision())

        assert swept(Work.PREPARE) == [photo.pk]
        assert pipeline.prepare(photo.pk) == photo.gallery.space_id
        assert swept(Work.RECOGNISE) == [photo.gallery.space_id]
        assert waiting(Work.PREPARE) == []
        assert pipeline.recognise_batch(photo.gallery.space_id)
        photo.refresh_from_db()
        assert photo.state == PhotoState.DONE
        assert len(vision.asked) == 1

    @pytest.mark.processes
    def test_fails_no_upload_although_nobody_answers_at_its_address(
        self, gallery: Gallery, data_folder: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "a.jpg").write_bytes(PICTURE)
        words = ["import_photos", "--team", gallery.team.slug, "--gallery", "lake"]
        done = subprocess.run(
            [sys.executable, str(ROOT / "manage.py"), *words, str(tmp_path)],
            env={
                **os.environ,
                "DATABASE_URL": database_url(connection),
                "REDIS_URL": f"redis://127.0.0.1:{free_port()}/0",
            },
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout == "1 new, 0 already there, 0 refused\n"
        assert Photo.objects.get().state == PhotoState.NEW


class TestOnceMore:
    @pytest.fixture(autouse=True)
    def vision(self, monkeypatch: pytest.MonkeyPatch) -> FakeVision:
        return use(monkeypatch, FakeVision())

    def test_a_failed_photo_goes_back_to_the_queue(self, bob: User, gallery: Gallery) -> None:
        photo = waiting_photo(
            gallery, state=PhotoState.FAILED, error="bad image", attempts=8, interruptions=3
        )
        before = photo.requested
        again = recognise_photo_again(actor=by(bob), photo=photo)
        assert (again.state, again.error, again.attempts, again.interruptions) == (
            PhotoState.QUEUED,
            "",
            0,
            0,
        )
        assert again.requested == before + 1
        pipeline.recognise_batch(gallery.space_id)
        again.refresh_from_db()
        assert again.state == PhotoState.DONE

    def test_one_that_could_not_be_prepared_is_prepared_again(
        self, upload: Callable[..., Photo], bob: User
    ) -> None:
        photo = upload()
        Photo.objects.update(state=PhotoState.FAILED, error="no")
        again = recognise_photo_again(actor=by(bob), photo=photo)
        assert again.state == PhotoState.NEW
        assert pipeline.prepare(photo.pk)

    @pytest.mark.parametrize(("prepared", "work"), [(True, Work.RECOGNISE), (False, Work.PREPARE)])
    def test_a_worker_is_told_what_is_to_be_done(
        self,
        bob: User,
        gallery: Gallery,
        prepared: bool,
        work: Work,
        monkeypatch: pytest.MonkeyPatch,
        django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
    ) -> None:
        photo = PhotoFactory.create(gallery=gallery, sent_sha256="0" * 64 if prepared else "")
        sent: list[Work] = []
        monkeypatch.setattr("persons.tasks.send", sent.append)
        with django_capture_on_commit_callbacks(execute=True):
            recognise_photo_again(actor=by(bob), photo=photo)
        assert sent == [work]
        assert waiting(work) == [gallery.space_id if prepared else photo.pk]

    @pytest.mark.parametrize("state", [PhotoState.NEW, PhotoState.PREPARING, PhotoState.QUEUED])
    def test_one_that_waits_already_is_left_alone(
        self, bob: User, gallery: Gallery, state: PhotoState
    ) -> None:
        photo = waiting_photo(gallery, state=state)
        again = recognise_photo_again(actor=by(bob), photo=photo)
        assert (again.state, again.requested) == (state, photo.requested)
        assert not entries(gallery.team)

    def test_a_gallery_is_a_run_of_its_finished_and_failed_photos(
        self, bob: User, gallery: Gallery, vision: FakeVision
    ) -> None:
        done = waiting_photo(gallery, state=PhotoState.DONE)
        failed = waiting_photo(gallery, state=PhotoState.FAILED, error="bad")
        waiting = waiting_photo(gallery)
        elsewhere = waiting_photo(GalleryFactory.create(team=gallery.team), state=PhotoState.DONE)
        run = recognise_gallery_again(actor=by(bob), gallery=gallery)
        assert (run.photo_count, run.requested_by, run.finished_at) == (2, bob, None)
        assert set(run.photos.all()) == {done, failed}
        assert run.waiting_count == 2
        elsewhere.refresh_from_db()
        assert elsewhere.state == PhotoState.DONE
        pipeline.recognise_batch(gallery.space_id)
        run.refresh_from_db()
        assert run.finished_at is not None
        assert run.waiting_count == 0
        waiting.refresh_from_db()
        assert waiting.run is None

    def test_a_photo_that_is_being_recognised_is_asked_again_with_the_rest(
        self, bob: User, gallery: Gallery, vision: FakeVision
    ) -> None:
        """Its answer was asked for before: say, before the policy was changed."""
        done, running = waiting_photo(gallery, state=PhotoState.DONE), waiting_photo(gallery)
        once(vision, lambda: recognise_gallery_again(actor=by(bob), gallery=gallery))
        pipeline.recognise_batch(gallery.space_id)
        running.refresh_from_db()
        assert running.state == PhotoState.QUEUED
        due_now()
        pipeline.recognise_batch(gallery.space_id)
        for photo in (done, running):
            photo.refresh_from_db()
            assert photo.state == PhotoState.DONE
        assert len(vision.asked) == 2
        run = gallery.space.runs.get()
        assert (run.photo_count, run.finished_at is None) == (2, False)

    def test_a_photo_asked_again_while_it_runs_goes_back_to_the_queue(
        self, bob: User, gallery: Gallery, vision: FakeVision
    ) -> None:
        photo = waiting_photo(gallery)
        once(vision, lambda: recognise_photo_again(actor=by(bob), photo=photo))
        pipeline.recognise_batch(gallery.space_id)
        photo.refresh_from_db()
        assert photo.state == PhotoState.QUEUED
        pipeline.recognise_batch(gallery.space_id)
        photo.refresh_from_db()
        assert photo.state == PhotoState.DONE
        assert len(vision.asked) == 2

    def test_a_gallery_with_nothing_finished_is_refused(self, bob: User, gallery: Gallery) -> None:
        waiting_photo(gallery)
        with pytest.raises(Refused, match="no finished photo"):
            recognise_gallery_again(actor=by(bob), gallery=gallery)
        assert not gallery.space.runs.exists()

    def test_who_asked_is_who_the_history_names(
        self, bob: User, alice: User, gallery: Gallery, vision: FakeVision
    ) -> None:
        photo = waiting_photo(gallery, state=PhotoState.DONE)
        recognise_gallery_again(actor=by(alice), gallery=gallery)
        pipeline.recognise_batch(gallery.space_id)
        recognise_photo_again(actor=by(bob), photo=photo)
        pipeline.recognise_batch(gallery.space_id)
        calls = gallery.team.calls.order_by("pk")
        assert [call.actor for call in calls] == [alice, bob]
