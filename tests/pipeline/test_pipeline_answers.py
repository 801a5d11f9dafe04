"""Whatever Vision answers, each photo ends with its faces, a reason, or another try queued."""

from __future__ import annotations

import pytest
from django.core.files.storage import default_storage
from django.utils import timezone
from pytest_django import Settings

from persons import pipeline
from persons.actions.photos import recognise_photo_again
from persons.models import (
    Call,
    Face,
    Gallery,
    Photo,
    PhotoState,
    User,
)
from persons.models.calls import Outcome
from persons.vision import envelope
from persons.vision.errors import VisionTemporary, VisionUnauthorized, VisionUnavailable
from persons.vision.types import ImageStatus
from tests.support.factories import GalleryFactory
from tests.support.fakes import (
    Asked,
    FakeVision,
    Reply,
    answer,
    by,
    due_now,
    found,
    seen,
    use,
    waiting_photo,
    wire_name,
)


@pytest.fixture
def vision(monkeypatch: pytest.MonkeyPatch) -> FakeVision:
    return use(monkeypatch, FakeVision())


@pytest.fixture
def gallery(bob: User) -> Gallery:
    return GalleryFactory.create(team=bob.memberships.get().team, slug="lake")


@pytest.fixture
def photo(gallery: Gallery, bob: User) -> Photo:
    return waiting_photo(gallery, uploaded_by=bob)


def recognise(gallery: Gallery, *, times: int = 1) -> None:
    for _ in range(times):
        pipeline.recognise_batch(gallery.space_id)


def state(photo: Photo) -> str:
    return Photo.objects.get(pk=photo.pk).state


def states(gallery: Gallery) -> list[str]:
    return [photo.state for photo in gallery.photos.order_by("pk")]


def wait_of(photo: Photo) -> float:
    """Seconds until a photo is tried again."""
    return (Photo.objects.get(pk=photo.pk).after - timezone.now()).total_seconds()


class TestWhatVisionMayAnswer:
    @pytest.fixture
    def photos(self, gallery: Gallery) -> list[Photo]:
        return [waiting_photo(gallery) for _ in range(4)]

    def test_objects_out_of_order_reach_their_photos(
        self, gallery: Gallery, photos: list[Photo], vision: FakeVision
    ) -> None:
        def backwards(asked: Asked) -> bytes:
            return answer(
                *(
                    seen(name, *[found(None, (i * 50, 0, i * 50 + 40, 50)) for i in range(n)])
                    for n, name in reversed(list(enumerate(asked.names)))
                )
            )

        vision.script.append(backwards)
        recognise(gallery)
        assert [photo.faces.count() for photo in photos] == [0, 1, 2, 3]

    def test_a_photo_without_an_answer_is_asked_again_and_only_that_one(
        self, gallery: Gallery, photos: list[Photo], vision: FakeVision
    ) -> None:
        vision.script.append(lambda asked: answer(*(seen(name) for name in asked.names[1:])))
        recognise(gallery)
        assert states(gallery) == ["queued", "done", "done", "done"]
        due_now()
        recognise(gallery)
        assert states(gallery) == ["done"] * 4
        assert vision.recognised()[1] == [wire_name(photos[0])]

    def test_the_same_answer_twice_counts_once(
        self, gallery: Gallery, photos: list[Photo], vision: FakeVision
    ) -> None:
        vision.script.append(
            lambda asked: answer(*(seen(name, found(None)) for name in asked.names * 2))
        )
        recognise(gallery)
        assert states(gallery) == ["done"] * 4
        assert Face.objects.count() == 4

    def test_two_different_answers_for_one_photo_are_asked_again(
        self, gallery: Gallery, photos: list[Photo], vision: FakeVision
    ) -> None:
        vision.script.append(
            lambda asked: answer(
                *(seen(name) for name in asked.names), seen(asked.names[2], found(None))
            )
        )
        recognise(gallery)
        assert states(gallery) == ["done", "done", "queued", "done"]

    def test_answers_nobody_asked_for_are_ignored(
        self, gallery: Gallery, photos: list[Photo], vision: FakeVision
    ) -> None:
        vision.script.append(
            lambda asked: answer(
                seen("photo999999", found(1)), *(seen(name) for name in asked.names)
            )
        )
        recognise(gallery)
        assert states(gallery) == ["done"] * 4
        assert not Face.objects.exists()

    def test_a_permanent_error_fails_that_photo_with_the_vendors_text(
        self, gallery: Gallery, photos: list[Photo], vision: FakeVision
    ) -> None:
        text = "The memory contains data of an unknown image type"
        vision.script.append(
            lambda asked: answer(
                envelope.failed(asked.names[0], text), *(seen(name) for name in asked.names[1:])
            )
        )
        recognise(gallery)
        assert states(gallery) == ["failed", "done", "done", "done"]
        assert Photo.objects.get(pk=photos[0].pk).error == text
        call = Call.objects.get()
        assert (call.outcome, call.error) == (Outcome.PARTIAL, text)

    def test_only_the_temporary_ones_are_sent_again(
        self, gallery: Gallery, photos: list[Photo], vision: FakeVision
    ) -> None:
        def half(asked: Asked) -> bytes:
            return answer(
                *(
                    envelope.failed(name, "overloaded", ImageStatus.TEMPORARY)
                    if n % 2
                    else seen(name, found(None))
                    for n, name in enumerate(asked.names)
                )
            )

        vision.script.append(half)
        recognise(gallery)
        assert states(gallery) == ["done", "queued", "done", "queued"]
        waiting = Photo.objects.get(pk=photos[1].pk)
        assert (waiting.attempts, waiting.error) == (1, "overloaded")
        assert wait_of(photos[1]) > 0
        recognise(gallery)
        assert len(vision.asked) == 1, "not before its time"
        due_now()
        recognise(gallery)
        assert vision.recognised()[1] == [wire_name(photos[1]), wire_name(photos[3])]
        assert states(gallery) == ["done"] * 4
        done = Photo.objects.get(pk=photos[1].pk)
        assert (done.attempts, done.error) == (0, "")

    @pytest.mark.parametrize(
        "reply",
        [
            envelope.failure(500, "internal error"),
            envelope.failure(429, "too many requests"),
            VisionTemporary("no answer in 30 s"),
            b"<html><h1>502 Bad Gateway</h1></html>",
            b'{"status": 200, "body": {"objects": [{"name": "pho',
            b"",
            b"null",
            b'{"status": 200, "body": "text"}',
            b'{"status": 200, "body": {"objects": {}}}',
            b'{"status": 200, "body": {"objects": [7]}}',
            b'{"status": "200", "body": {"objects": []}}',
            b"\xff\xfe\x00garbage\x00",
        ],
        ids=str,
    )
    def test_an_answer_that_is_none_is_a_temporary_error_of_all(
        self, gallery: Gallery, photos: list[Photo], vision: FakeVision, reply: Reply
    ) -> None:
        vision.script.append(reply)
        recognise(gallery)
        assert states(gallery) == ["queued"] * 4
        assert set(gallery.photos.values_list("attempts", flat=True)) == {1}
        assert all(photo.error for photo in gallery.photos.all())
        assert Call.objects.get().outcome == Outcome.TEMPORARY
        due_now()
        recognise(gallery)
        assert states(gallery) == ["done"] * 4

    def test_one_bad_picture_that_refuses_the_request_stands_alone_in_the_end(
        self, gallery: Gallery, vision: FakeVision
    ) -> None:
        photos = [waiting_photo(gallery) for _ in range(9)]
        bad = wire_name(photos[5])

        def strict(asked: Asked) -> bytes:
            if bad in asked.names:
                return envelope.failure(400, "could not get image")
            return answer(*(seen(name, found(None)) for name in asked.names))

        vision.script.extend([strict] * 20)
        recognise(gallery)
        assert states(gallery) == ["done"] * 5 + ["failed"] + ["done"] * 3
        assert Photo.objects.get(pk=photos[5].pk).error == "could not get image"
        assert Face.objects.count() == 8
        assert len(vision.asked) <= 9

    def test_a_request_that_is_refused_for_all_fails_all_with_its_text(
        self, gallery: Gallery, photos: list[Photo], vision: FakeVision
    ) -> None:
        vision.script.extend([envelope.failure(400, "wrong space param")] * 20)
        recognise(gallery)
        assert states(gallery) == ["failed"] * 4
        assert {photo.error for photo in gallery.photos.all()} == {"wrong space param"}

    @pytest.mark.parametrize(
        "reply",
        [
            VisionUnavailable("circuit open"),
            VisionUnauthorized("token expired"),
            envelope.failure(403, "token expired"),
        ],
        ids=["unavailable", "unauthorized", "403"],
    )
    def test_waiting_for_a_service_that_is_closed_to_us_is_no_attempt(
        self, gallery: Gallery, photos: list[Photo], vision: FakeVision, reply: Reply
    ) -> None:
        for _ in range(12):
            vision.script.append(reply)
            due_now()
            recognise(gallery)
        assert states(gallery) == ["queued"] * 4
        assert set(gallery.photos.values_list("attempts", flat=True)) == {0}
        assert wait_of(photos[0]) > 0
        due_now()
        recognise(gallery)
        assert states(gallery) == ["done"] * 4


class TestTryingAgain:
    def test_each_failure_waits_longer(
        self, gallery: Gallery, photo: Photo, vision: FakeVision
    ) -> None:
        waits = []
        for _ in range(6):
            vision.script.append(VisionTemporary("no answer"))
            due_now()
            recognise(gallery)
            waits.append(wait_of(photo))
        for shorter, longer in zip(waits, waits[2:], strict=False):
            assert longer > shorter

    def test_what_failed_together_does_not_come_back_together(
        self, gallery: Gallery, vision: FakeVision
    ) -> None:
        for _ in range(8):
            waiting_photo(gallery)
        vision.script.append(VisionTemporary("no answer"))
        recognise(gallery)
        assert len(set(gallery.photos.values_list("after", flat=True))) > 6

    def test_it_is_given_up_in_the_end_and_says_so(
        self, gallery: Gallery, photo: Photo, vision: FakeVision, settings: Settings, bob: User
    ) -> None:
        settings.MAX_ATTEMPTS = 3
        vision.script.extend([VisionTemporary("no answer in 30 s")] * 3)
        for expected in ("queued", "queued", "failed"):
            due_now()
            recognise(gallery)
            assert state(photo) == expected
        photo.refresh_from_db()
        assert photo.error == "Gave up after 3 attempts. Last: no answer in 30 s"
        assert not pipeline.recognise_batch(gallery.space_id)
        recognise_photo_again(actor=by(bob), photo=photo)
        recognise(gallery)
        assert state(photo) == PhotoState.DONE

    def test_a_lost_copy_is_made_again(
        self, gallery: Gallery, photo: Photo, vision: FakeVision
    ) -> None:
        fine = waiting_photo(gallery)
        default_storage.delete(photo.key("sent"))
        recognise(gallery)
        assert (state(photo), state(fine)) == (PhotoState.NEW, PhotoState.DONE)
        assert pipeline.prepare(photo.pk) == gallery.space_id
        assert default_storage.exists(photo.key("sent"))
        recognise(gallery)
        assert state(photo) == PhotoState.DONE

    def test_a_bug_on_one_photo_holds_up_no_other_and_ends(
        self, gallery: Gallery, photo: Photo, vision: FakeVision
    ) -> None:
        """Not an answer of Vision's but an exception that nobody foresaw."""
        others = [waiting_photo(gallery) for _ in range(3)]

        def stumble(asked: Asked) -> None:
            if wire_name(photo) in asked.names:
                raise ZeroDivisionError

        vision.before = stumble
        for _ in range(30):
            due_now()
            try:
                if not pipeline.recognise_batch(gallery.space_id):
                    break
            except ZeroDivisionError:
                continue
        assert {state(other) for other in others} == {PhotoState.DONE}
        photo.refresh_from_db()
        assert photo.state == PhotoState.FAILED
        assert "ZeroDivisionError" in photo.error or "cut off" in photo.error
        assert not Call.objects.filter(outcome=Outcome.RUNNING).exists()
