"""The record of each recognition: the call, its images, and the run that it belongs to."""

from __future__ import annotations

import hashlib
import json

import pytest

from persons import pipeline
from persons.actions.faces import ignore_face, name_face
from persons.models import (
    Call,
    Gallery,
    Photo,
    PhotoState,
    Recognition,
    Run,
    Source,
    User,
)
from persons.models.calls import Outcome
from persons.vision import envelope
from persons.vision.errors import VisionTemporary, VisionUnavailable
from persons.vision.types import ImageStatus
from tests.support.factories import GalleryFactory, UserFactory
from tests.support.fakes import (
    FakeVision,
    Reply,
    answer,
    by,
    due_now,
    found,
    once,
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


class TestRuns:
    def test_a_run_counts_what_it_asks_and_what_it_finds(
        self, gallery: Gallery, vision: FakeVision, bob: User
    ) -> None:
        photos = [waiting_photo(gallery) for _ in range(4)]
        empty = waiting_photo(gallery)
        for photo in photos:
            vision.show(photo, found(None))
        recognise(gallery)
        named = photos[0].faces.get()
        ada = name_face(actor=by(bob), face=named, label="Ada").person
        assert pipeline.sync(ada.pk) == gallery.space_id

        run = Run.objects.get()
        assert (run.person, run.requested_by, run.space) == (ada, bob, gallery.space)
        assert "Ada" in run.reason
        assert (run.photo_count, run.waiting_count, run.finished_at) == (3, 3, None)
        assert state(empty) == state(photos[0]) == PhotoState.DONE

        vision.show(photos[1], found(ada.person_id))
        vision.show(photos[2], found(ada.person_id))
        recognise(gallery)
        run.refresh_from_db()
        assert (run.waiting_count, run.found_count) == (0, 2)
        assert run.finished_at is not None
        assert set(ada.faces.values_list("photo", flat=True)) == {p.pk for p in photos[:3]}

    def test_a_run_with_nothing_to_ask_is_finished_at_once(
        self, gallery: Gallery, photo: Photo, vision: FakeVision, bob: User
    ) -> None:
        vision.show(photo, found(None))
        recognise(gallery)
        ada = name_face(actor=by(bob), face=photo.faces.get(), label="Ada").person
        pipeline.sync(ada.pk)
        run = Run.objects.get()
        assert (run.photo_count, run.found_count) == (0, 0)
        assert run.finished_at is not None

    def test_a_run_is_finished_although_photos_of_it_fail(
        self, gallery: Gallery, vision: FakeVision
    ) -> None:
        run = Run.objects.create(space=gallery.space, reason="again", photo_count=2)
        photos = [waiting_photo(gallery, run=run) for _ in range(2)]
        vision.script.append(
            lambda asked: answer(seen(asked.names[0]), envelope.failed(asked.names[1], "bad"))
        )
        recognise(gallery)
        assert [state(photo) for photo in photos] == ["done", "failed"]
        run.refresh_from_db()
        assert run.finished_at is not None

    def test_a_run_goes_on_while_one_of_its_photos_waits(
        self, gallery: Gallery, vision: FakeVision
    ) -> None:
        run = Run.objects.create(space=gallery.space, reason="again", photo_count=2)
        for _ in range(2):
            waiting_photo(gallery, run=run)
        vision.script.append(
            lambda asked: answer(
                seen(asked.names[0]),
                envelope.failed(asked.names[1], "busy", ImageStatus.TEMPORARY),
            )
        )
        recognise(gallery)
        run.refresh_from_db()
        assert run.finished_at is None
        due_now()
        recognise(gallery)
        run.refresh_from_db()
        assert run.finished_at is not None

    def test_only_faces_without_a_human_word_are_looked_at(
        self, gallery: Gallery, vision: FakeVision, bob: User
    ) -> None:
        photos = [waiting_photo(gallery) for _ in range(3)]
        for photo in photos:
            vision.show(photo, found(None))
        recognise(gallery)
        ignore_face(actor=by(bob), face=photos[1].faces.get())
        ada = name_face(actor=by(bob), face=photos[0].faces.get(), label="Ada").person
        pipeline.sync(ada.pk)
        assert list(Run.objects.get().photos.all()) == [photos[2]]


class TestHistory:
    def test_the_call_is_written_before_it_is_sent(
        self, gallery: Gallery, photo: Photo, vision: FakeVision
    ) -> None:
        during: list[Call] = []
        once(vision, lambda: during.append(Call.objects.get()))
        recognise(gallery)
        (call,) = during
        assert (call.outcome, call.duration_ms, call.answer) == (Outcome.RUNNING, None, "")
        assert (call.method, call.source, call.backend, call.model) == (
            "recognize",
            Source.WORKER,
            "fake",
            "fake 1",
        )
        assert (call.team, call.space, call.image_count) == (gallery.team, gallery.space, 1)
        assert call.meta == vision.asked[0].meta

    def test_its_outcome_is_written_after(
        self, gallery: Gallery, photo: Photo, vision: FakeVision
    ) -> None:
        recognise(gallery)
        call = Call.objects.get()
        assert (call.outcome, call.status, call.error) == (Outcome.DONE, 200, "")
        assert call.duration_ms is not None
        assert call.duration_ms >= 0

    @pytest.mark.parametrize("space", ["", " ", "\n\t"])
    def test_the_answer_is_kept_to_the_byte(
        self, gallery: Gallery, photo: Photo, vision: FakeVision, space: str
    ) -> None:
        raw = (
            f'{{"status":{space}200,"body":{{"objects":[{{"status":0,"name":"{wire_name(photo)}",'
            f'"persons":[{{"tag":"undefined","coord":[1,2,30,40],"confidence":0.10000000,'
            f'"note":"Ünï\\u0063ode 湖 😀"}}]}}]}},"htmlencoded":false}}{space}'
        ).encode()
        vision.script.append(raw)
        recognise(gallery)
        assert state(photo) == PhotoState.DONE
        assert Call.objects.get().answer.encode() == raw

    @pytest.mark.parametrize(
        ("reply", "outcome", "status", "text"),
        [
            (envelope.failure(400, "wrong space"), Outcome.REJECTED, 400, "wrong space"),
            (envelope.failure(403, "no token"), Outcome.REJECTED, 403, "no token"),
            (envelope.failure(500, "internal"), Outcome.TEMPORARY, 500, "internal"),
            (VisionTemporary("timed out"), Outcome.TEMPORARY, None, "timed out"),
            (VisionUnavailable("circuit open"), Outcome.UNAVAILABLE, None, "circuit open"),
        ],
        ids=["400", "403", "500", "temporary", "unavailable"],
    )
    def test_a_failure_is_kept_with_its_status_and_text(
        self,
        gallery: Gallery,
        photo: Photo,
        vision: FakeVision,
        reply: Reply,
        outcome: Outcome,
        status: int | None,
        text: str,
    ) -> None:
        vision.script.append(reply)
        recognise(gallery)
        call = Call.objects.get()
        assert (call.outcome, call.status, call.error) == (outcome, status, text)
        assert call.answer == (reply.decode() if isinstance(reply, bytes) else "")

    @pytest.mark.parametrize(
        ("statuses", "outcome"),
        [
            ((0, 0), Outcome.DONE),
            ((0, 1), Outcome.PARTIAL),
            ((2, 0), Outcome.PARTIAL),
            ((1, 1), Outcome.REJECTED),
            ((1, 2), Outcome.REJECTED),
            ((2, 2), Outcome.TEMPORARY),
        ],
    )
    def test_a_calls_outcome_is_made_of_its_images(
        self,
        gallery: Gallery,
        vision: FakeVision,
        statuses: tuple[int, int],
        outcome: Outcome,
    ) -> None:
        for _ in statuses:
            waiting_photo(gallery)
        vision.script.append(
            lambda asked: answer(
                *(
                    envelope.failed(name, "no", ImageStatus(status)) if status else seen(name)
                    for name, status in zip(asked.names, statuses, strict=True)
                )
            )
        )
        recognise(gallery)
        call = Call.objects.get()
        assert (call.outcome, call.error) == (outcome, "no" if any(statuses) else "")

    def test_each_image_has_a_row_with_what_was_sent_and_what_came_back(
        self, gallery: Gallery, vision: FakeVision
    ) -> None:
        photos = [waiting_photo(gallery, sent=b"one"), waiting_photo(gallery, sent=b"two")]
        vision.show(photos[1], found(None), found(None, (250, 80, 350, 210)))
        recognise(gallery)
        one, two = Recognition.objects.for_call(Call.objects.get())
        assert [one.photo, two.photo] == photos
        assert [one.position, two.position] == [0, 1]
        assert one.sha256 == hashlib.sha256(b"one").hexdigest()
        assert (one.status, one.face_count, two.face_count) == (0, 0, 2)
        assert (two.width, two.height) == (400, 300)
        assert two.result == json.loads(Call.objects.get().answer)["body"]["objects"][1]

    def test_a_call_is_its_uploaders(
        self, gallery: Gallery, photo: Photo, vision: FakeVision, bob: User
    ) -> None:
        recognise(gallery)
        call = Call.objects.get()
        assert (call.actor, call.actor_text) == (bob, "Bob")

    def test_a_call_for_several_names_them_all(
        self, gallery: Gallery, photo: Photo, vision: FakeVision, alice: User
    ) -> None:
        waiting_photo(gallery, uploaded_by=alice)
        recognise(gallery)
        call = Call.objects.get()
        assert (call.actor, call.actor_text) == (None, "Alice, Bob")

    def test_a_call_for_very_many_people_still_fits(
        self, gallery: Gallery, vision: FakeVision
    ) -> None:
        for number in range(30):
            user = UserFactory.create(username=f"somebody-with-a-long-name-{number}")
            waiting_photo(gallery, uploaded_by=user)
        recognise(gallery)
        assert 0 < len(Call.objects.get().actor_text) <= 200

    def test_a_worker_that_stumbles_leaves_no_call_running(
        self, gallery: Gallery, photo: Photo, vision: FakeVision
    ) -> None:
        vision.script.append(ZeroDivisionError())
        with pytest.raises(ZeroDivisionError):
            recognise(gallery)
        call = Call.objects.get()
        assert call.outcome == Outcome.TEMPORARY
        assert "ZeroDivisionError" in call.error
