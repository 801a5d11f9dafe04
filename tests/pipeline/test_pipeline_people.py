"""The sync brings Vision in line with the ledger's state of a person."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.core.files.storage import default_storage
from django.utils import timezone
from PIL import Image, ImageDraw
from pytest_django import Settings

from persons import pipeline
from persons.actions.faces import clear_decision, name_face
from persons.models import (
    Call,
    Enrolment,
    Face,
    Gallery,
    Person,
    Photo,
    PhotoState,
    Recognition,
    Run,
    Source,
    Space,
    SyncState,
    User,
)
from persons.models.calls import Outcome
from persons.vision import envelope
from persons.vision.errors import VisionTemporary, VisionUnauthorized, VisionUnavailable
from persons.vision.types import ImageStatus
from persons.work import Work
from tests.support.factories import FaceFactory, GalleryFactory
from tests.support.fakes import (
    Asked,
    FakeVision,
    Reply,
    answer,
    by,
    lease_is_over,
    once,
    use,
    waiting_photo,
)
from tests.support.waiting import nothing_waits_for, swept


@pytest.fixture
def vision(monkeypatch: pytest.MonkeyPatch) -> FakeVision:
    return use(monkeypatch, FakeVision())


@pytest.fixture
def gallery(bob: User) -> Gallery:
    return GalleryFactory.create(team=bob.memberships.get().team, slug="lake")


@pytest.fixture
def photo(gallery: Gallery) -> Photo:
    return waiting_photo(gallery, state=PhotoState.DONE)


@pytest.fixture
def faces(photo: Photo) -> list[Face]:
    return [
        FaceFactory.create(photo=photo, left=left, right=left + 80, top=50, bottom=150)
        for left in (10, 110, 210, 310)
    ]


@pytest.fixture
def name(bob: User, faces: list[Face]) -> Callable[[int, str], Person]:
    """`name(0, "Ada")` names the first face."""

    def name(number: int, label: str) -> Person:
        return name_face(actor=by(bob), face=faces[number], label=label).person

    return name


def states(person: Person) -> list[str]:
    return [row.state for row in person.enrolments.order_by("pk")]


def again(person: Person) -> int | None:
    """A sync whose time has come."""
    Person.objects.filter(pk=person.pk).update(after=timezone.now())
    return pipeline.sync(person.pk)


def fresh(person: Person) -> Person:
    return Person.objects.get(pk=person.pk)


Name = Callable[[int, str], Person]


class TestEnrolling:
    def test_a_set_has_a_call_with_the_picture_and_whose_it_is(
        self, name: Name, vision: FakeVision, bob: User
    ) -> None:
        ada = name(0, "Ada")
        during: list[str] = []
        once(vision, lambda: during.append(Call.objects.get().outcome))
        pipeline.sync(ada.pk)
        assert during == [Outcome.RUNNING]
        call = Call.objects.get()
        assert (call.method, call.source, call.actor) == ("set", Source.WORKER, bob)
        assert (call.outcome, call.image_count) == (Outcome.DONE, 1)
        row = Recognition.objects.get()
        enrolment = ada.enrolments.get()
        assert (row.person_id, row.status, row.sha256) == (1, 0, enrolment.sha256)
        assert enrolment.call == call

    def test_the_spaces_version_moves_when_vision_has_confirmed(
        self, name: Name, vision: FakeVision
    ) -> None:
        ada = name(0, "Ada")
        versions: list[int] = []
        once(vision, lambda: versions.append(Space.objects.get(pk=ada.space_id).version))
        before = ada.space.version
        pipeline.sync(ada.pk)
        assert versions == [before]
        assert Space.objects.get(pk=ada.space_id).version > before

    def test_several_pictures_go_in_batches(
        self, name: Name, gallery: Gallery, vision: FakeVision
    ) -> None:
        FaceFactory.create(photo=waiting_photo(gallery, state=PhotoState.DONE))
        vision.max_batch = 3
        for number in range(4):
            ada = name(number, "Ada")
        pipeline.sync(ada.pk)
        assert [len(asked.images) for asked in vision.asked] == [3, 1]
        assert states(ada) == ["done"] * 4
        assert Run.objects.get().photo_count == 1, "one look for all of them"

    def test_other_faces_in_the_crop_are_painted_over(
        self, gallery: Gallery, vision: FakeVision, bob: User
    ) -> None:
        photo = waiting_photo(gallery, state=PhotoState.DONE)
        picture = Image.new("RGB", (400, 300), "white")
        ImageDraw.Draw(picture).rectangle((220, 100, 300, 200), fill="red")
        picture.save(out := io.BytesIO(), "JPEG", quality=95)
        default_storage.delete(photo.original)
        with default_storage.open(photo.original, "wb") as file:
            file.write(out.getvalue())
        face = FaceFactory.create(photo=photo, left=130, top=100, right=210, bottom=200)
        FaceFactory.create(photo=photo, left=220, top=100, right=300, bottom=200)
        ada = name_face(actor=by(bob), face=face, label="Ada").person
        pipeline.sync(ada.pk)
        with Image.open(io.BytesIO(vision.asked[0].images[0].data)) as crop:
            red = [
                colour
                for count, colour in crop.convert("RGB").getcolors(crop.width * crop.height) or []
                if isinstance(colour, tuple) and colour[0] > 200 and colour[1] < 60
            ]
        assert not red

    def test_a_face_whose_photo_is_lost_fails_with_the_reason_and_the_others_go(
        self, name: Name, gallery: Gallery, vision: FakeVision, bob: User
    ) -> None:
        ada = name(0, "Ada")
        lost = waiting_photo(gallery, state=PhotoState.DONE)
        face = FaceFactory.create(photo=lost)
        name_face(actor=by(bob), face=face, label="Ada")
        default_storage.delete(lost.original)
        pipeline.sync(ada.pk)
        assert states(ada) == ["done", "failed"]
        assert "could not be made" in ada.enrolments.get(face=face).error

    def test_only_one_worker_is_at_a_person(self, name: Name, vision: FakeVision) -> None:
        ada = name(0, "Ada")
        second: list[int | None] = []
        once(vision, lambda: second.append(pipeline.sync(ada.pk)))
        pipeline.sync(ada.pk)
        assert second == [None]
        assert vision.methods() == ["set"]

    def test_a_person_who_is_gone_is_no_error(self, db: None, vision: FakeVision) -> None:
        assert pipeline.sync(10**9) is None

    def test_nothing_to_do_asks_nothing(self, name: Name, vision: FakeVision) -> None:
        ada = name(0, "Ada")
        pipeline.sync(ada.pk)
        assert pipeline.sync(ada.pk) is None
        assert again(ada) is None
        assert vision.methods() == ["set"]


class TestWhatComesInMeanwhile:
    def test_a_picture_that_is_named_meanwhile_is_sent_next(
        self, name: Name, vision: FakeVision
    ) -> None:
        ada = name(0, "Ada")
        once(vision, lambda: name(1, "Ada"))
        pipeline.sync(ada.pk)
        while fresh(ada).sync_state == SyncState.QUEUED:
            pipeline.sync(ada.pk)
        assert states(ada) == ["done", "done"]

    def test_a_name_that_is_undone_meanwhile_is_deleted_next(
        self, name: Name, faces: list[Face], vision: FakeVision, bob: User
    ) -> None:
        ada = name(0, "Ada")
        once(vision, lambda: clear_decision(actor=by(bob), face=faces[0]))
        pipeline.sync(ada.pk)
        assert states(ada) == ["removing"]
        assert fresh(ada).sync_state == SyncState.QUEUED
        pipeline.sync(ada.pk)
        assert states(ada) == ["removed"]
        assert vision.methods() == ["set", "delete"]
        assert fresh(ada).sync_state == SyncState.IDLE

    def test_a_worker_that_lost_the_claim_sends_no_more(
        self, name: Name, vision: FakeVision
    ) -> None:
        for number in range(3):
            ada = name(number, "Ada")
        vision.max_batch = 1

        def taken_over() -> None:
            lease_is_over()
            pipeline.sweep()
            pipeline.sync(ada.pk)

        once(vision, taken_over)
        pipeline.sync(ada.pk)
        assert states(ada) == ["done"] * 3
        # The first sent one and was overtaken; the second sent all three.
        assert vision.methods() == ["set"] * 4
        assert fresh(ada).sync_state == SyncState.IDLE


class TestErrors:
    def test_a_temporary_one_is_tried_again_later(self, name: Name, vision: FakeVision) -> None:
        ada = name(0, "Ada")
        vision.script.append(VisionTemporary("no answer"))
        assert pipeline.sync(ada.pk) is None
        person = fresh(ada)
        assert (person.sync_state, person.sync_error) == (SyncState.QUEUED, "no answer")
        assert person.after > timezone.now()
        assert states(ada) == ["queued"]
        assert pipeline.sync(ada.pk) is None, "not before its time"
        assert again(ada) == ada.space_id
        person = fresh(ada)
        assert (person.sync_state, person.sync_error, person.attempts) == ("idle", "", 0)

    def test_only_the_temporary_pictures_are_sent_again(
        self, name: Name, vision: FakeVision
    ) -> None:
        for number in range(3):
            ada = name(number, "Ada")
        vision.script.append(
            lambda asked: answer(
                envelope.done(asked.names[0]),
                envelope.failed(asked.names[1], "busy", ImageStatus.TEMPORARY),
                envelope.done(asked.names[2]),
            )
        )
        pipeline.sync(ada.pk)
        assert states(ada) == ["done", "queued", "done"]
        again(ada)
        assert states(ada) == ["done"] * 3
        assert len(vision.asked[1].images) == 1

    def test_each_wait_is_longer(self, name: Name, vision: FakeVision) -> None:
        ada = name(0, "Ada")
        waits = []
        for _ in range(6):
            vision.script.append(VisionTemporary("no answer"))
            again(ada)
            waits.append((fresh(ada).after - timezone.now()).total_seconds())
        for shorter, longer in zip(waits, waits[2:], strict=False):
            assert longer > shorter

    def test_in_the_end_the_pictures_say_why(
        self, name: Name, vision: FakeVision, settings: Settings
    ) -> None:
        settings.MAX_ATTEMPTS = 2
        ada = name(0, "Ada")
        vision.script.extend([VisionTemporary("no answer")] * 2)
        again(ada)
        again(ada)
        assert states(ada) == ["failed"]
        assert "no answer" in ada.enrolments.get().error
        assert fresh(ada).sync_state == SyncState.IDLE

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
        self, name: Name, vision: FakeVision, reply: Reply
    ) -> None:
        ada = name(0, "Ada")
        for _ in range(12):
            vision.script.append(reply)
            again(ada)
        assert states(ada) == ["queued"]
        again(ada)
        assert states(ada) == ["done"]

    def test_one_bad_picture_does_not_fail_the_others_of_its_request(
        self, name: Name, vision: FakeVision
    ) -> None:
        for number in range(4):
            ada = name(number, "Ada")
        bad = f"enrolment{ada.enrolments.order_by('pk')[2].pk}"

        def strict(asked: Asked) -> bytes:
            if bad in asked.names:
                return envelope.failure(400, "empty image")
            return answer(*(envelope.done(name) for name in asked.names))

        vision.script.extend([strict] * 10)
        pipeline.sync(ada.pk)
        assert states(ada) == ["done", "done", "failed", "done"]
        assert ada.enrolments.order_by("pk")[2].error == "empty image"

    def test_a_picture_named_while_others_are_refused_is_not_refused_with_them(
        self, name: Name, vision: FakeVision
    ) -> None:
        ada = name(0, "Ada")
        vision.script.append(envelope.failure(400, "empty image"))
        once(vision, lambda: name(1, "Ada"))
        pipeline.sync(ada.pk)
        assert states(ada) == ["failed", "done"]

    def test_a_bug_gives_the_claim_back(self, name: Name, vision: FakeVision) -> None:
        ada = name(0, "Ada")
        vision.script.append(ZeroDivisionError())
        with pytest.raises(ZeroDivisionError):
            pipeline.sync(ada.pk)
        person = fresh(ada)
        assert (person.sync_state, person.claim) == (SyncState.QUEUED, "")
        assert "ZeroDivisionError" in person.sync_error
        again(ada)
        assert states(ada) == ["done"]


class TestCutOff:
    """A worker may die at any point; whoever comes next ends what it began."""

    def die_in(self, place: str, person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
        """The next call of `place` is the worker's last; its claim is left behind."""

        class Killed(BaseException):
            pass

        def kill(*args: object, **options: object) -> None:
            raise Killed

        claim: dict[str, object] = {}
        update = Person.objects.filter(pk=person.pk)
        with monkeypatch.context() as patch:
            patch.setattr(place, kill)
            with pytest.raises(Killed):
                pipeline.sync(person.pk)
        claim.update(sync_state=SyncState.RUNNING, claim="dead", attempts=0)
        claim.update(claimed_at=timezone.now() - timedelta(days=1))
        update.update(**claim)

    @pytest.mark.parametrize(
        "place",
        [
            "persons.pipeline.vision_calls.send",
            "persons.pipeline.vision_calls.call_log.end",
            "persons.pipeline.enrolment.people._accept",
            "persons.pipeline.enrolment.people.rescan_for",
            "persons.pipeline.enrolment.people._sync_done",
        ],
    )
    def test_an_enrolment_is_ended_and_its_faces_are_looked_for(
        self,
        name: Name,
        gallery: Gallery,
        vision: FakeVision,
        place: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        other = waiting_photo(gallery, state=PhotoState.DONE)
        FaceFactory.create(photo=other)
        ada = name(0, "Ada")
        self.die_in(place, ada, monkeypatch)
        if ada.pk in swept(Work.SYNC):
            pipeline.sync(ada.pk)
        assert states(ada) == ["done"]
        other.refresh_from_db()
        assert other.state == PhotoState.QUEUED, "its unknown face may be Ada's"
        assert gallery.space_id in swept(Work.RECOGNISE)
        assert Enrolment.objects.count() == 1

    @pytest.mark.parametrize(
        "place",
        [
            "persons.pipeline.enrolment.people.ask",
            "persons.pipeline.enrolment.people.rescan_for",
            "persons.pipeline.enrolment.people._sync_enrolments",
            "persons.pipeline.enrolment.people._sync_done",
        ],
    )
    def test_a_removal_is_ended_and_what_it_had_found_is_looked_at_again(
        self,
        name: Name,
        faces: list[Face],
        gallery: Gallery,
        vision: FakeVision,
        bob: User,
        place: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        ada = name(0, "Ada")
        name(1, "Ada")
        pipeline.sync(ada.pk)
        other = waiting_photo(gallery, state=PhotoState.DONE)
        FaceFactory.create(photo=other, person=ada)
        clear_decision(actor=by(bob), face=faces[0])
        self.die_in(place, ada, monkeypatch)
        if ada.pk in swept(Work.SYNC):
            pipeline.sync(ada.pk)
        assert states(ada) == ["removed", "done"]
        other.refresh_from_db()
        assert other.state == PhotoState.QUEUED, "that it is Ada may have come from the wrong crop"
        assert [asked.method.value for asked in vision.asked][-1] == "set"

    def test_a_person_over_whom_workers_die_is_given_up(
        self, name: Name, vision: FakeVision, settings: Settings
    ) -> None:
        settings.MAX_ATTEMPTS = 3
        ada = name(0, "Ada")
        for _ in range(10):
            Person.objects.filter(pk=ada.pk, sync_state=SyncState.QUEUED).update(
                sync_state=SyncState.RUNNING, claim="dead"
            )
            lease_is_over()
            pipeline.sweep()
        assert nothing_waits_for(Work.SYNC)
        assert states(ada) == ["failed"]
        assert "cut off" in ada.enrolments.get().error
