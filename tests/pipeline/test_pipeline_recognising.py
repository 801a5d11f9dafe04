"""Queued photos are sent to Vision in batches, and their faces are stored."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from django.core.files.storage import default_storage
from django.db.models import F

from persons import pipeline
from persons.actions.faces import name_face, reject_person
from persons.models import (
    Gallery,
    Person,
    Photo,
    PhotoState,
    Recognition,
    Space,
    User,
)
from persons.vision import envelope, limits
from tests.support.factories import FaceFactory, GalleryFactory, PersonFactory
from tests.support.fakes import (
    FakeVision,
    answer,
    by,
    found,
    lease_is_over,
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


def states(gallery: Gallery) -> list[str]:
    return [photo.state for photo in gallery.photos.order_by("pk")]


class TestABatch:
    def test_waiting_photos_of_a_space_go_in_one_call(
        self, gallery: Gallery, vision: FakeVision
    ) -> None:
        other = GalleryFactory.create(team=gallery.team)
        photos = [waiting_photo(one) for one in (gallery, other, gallery)]
        assert pipeline.recognise_batch(gallery.space_id)
        assert vision.recognised() == [[wire_name(photo) for photo in photos]]
        assert {state(photo) for photo in photos} == {PhotoState.DONE}
        assert not pipeline.recognise_batch(gallery.space_id)
        assert len(vision.asked) == 1

    def test_the_sent_copies_go_and_not_the_originals(
        self, gallery: Gallery, vision: FakeVision
    ) -> None:
        photo = waiting_photo(gallery, sent=b"the copy that is sent")
        recognise(gallery)
        (image,) = vision.asked[0].images
        assert (image.name, image.data) == (wire_name(photo), b"the copy that is sent")

    def test_other_spaces_and_teams_stay_out(
        self, gallery: Gallery, photo: Photo, vision: FakeVision
    ) -> None:
        beside = GalleryFactory.create(team=gallery.team, space=gallery.team.spaces.get(number=3))
        others = [waiting_photo(beside), waiting_photo(GalleryFactory.create())]
        recognise(gallery)
        assert vision.recognised() == [[wire_name(photo)]]
        assert {state(other) for other in others} == {PhotoState.QUEUED}

    @pytest.mark.parametrize(
        "unready", [PhotoState.NEW, PhotoState.PREPARING, PhotoState.RUNNING, PhotoState.DONE]
    )
    def test_only_waiting_photos_go(
        self, gallery: Gallery, unready: PhotoState, vision: FakeVision
    ) -> None:
        waiting_photo(gallery, state=unready)
        assert not pipeline.recognise_batch(gallery.space_id)
        assert vision.asked == []

    def test_a_space_that_is_gone_is_no_error(self, db: None, vision: FakeVision) -> None:
        assert not pipeline.recognise_batch(10**9)

    def test_the_default_policy_makes_a_recognition_a_read(
        self, gallery: Gallery, photo: Photo, vision: FakeVision
    ) -> None:
        recognise(gallery)
        meta = vision.asked[0].meta
        assert meta["update_embedding"] is False, "the vendor's default is true: say it"
        assert meta["create_new"] is False
        assert (meta["space"], meta["searcher"]) == ("0", 0)

    def test_the_spaces_policy_is_what_vision_is_told(
        self, gallery: Gallery, photo: Photo, vision: FakeVision
    ) -> None:
        Space.objects.filter(pk=gallery.space_id).update(
            update_embedding=True, create_new=True, searcher=1
        )
        recognise(gallery)
        meta = vision.asked[0].meta
        assert (meta["update_embedding"], meta["create_new"], meta["searcher"]) == (True, True, 1)

    @pytest.mark.thorough
    @pytest.mark.parametrize("most", [100, 1000])
    def test_never_more_than_100_images_go_at_once(
        self, gallery: Gallery, vision: FakeVision, most: int
    ) -> None:
        first = waiting_photo(gallery)
        with default_storage.open(first.key("sent")) as file:
            data = file.read()
        columns = {
            field.attname: getattr(first, field.attname)
            for field in Photo._meta.concrete_fields
            if not field.primary_key
        }
        copies = Photo.objects.bulk_create(
            Photo(**{**columns, "sha256": hashlib.sha256(bytes([n])).hexdigest()})
            for n in range(204)
        )
        for copy in copies:
            path = Path(default_storage.path(copy.key("sent")))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        vision.max_batch = most
        recognise(gallery, times=3)
        assert [len(names) for names in vision.recognised()] == [100, 100, 5]
        assert set(states(gallery)) == {PhotoState.DONE}

    def test_a_backend_may_ask_for_smaller_batches(
        self, gallery: Gallery, vision: FakeVision
    ) -> None:
        vision.max_batch = 2
        for _ in range(5):
            waiting_photo(gallery)
        recognise(gallery, times=3)
        assert [len(names) for names in vision.recognised()] == [2, 2, 1]

    def test_never_more_than_30_mb_go_at_once(self, gallery: Gallery, vision: FakeVision) -> None:
        for number in range(5):
            waiting_photo(gallery, sent=bytes([number]) * 9_990_000)
        recognise(gallery, times=3)
        assert [len(names) for names in vision.recognised()] == [3, 2]

    def test_the_parts_of_a_request_count_with_their_headers(
        self, gallery: Gallery, vision: FakeVision
    ) -> None:
        for _ in range(2):
            waiting_photo(gallery, sent_size=limits.MAX_REQUEST_BYTES // 2)
        recognise(gallery, times=2)
        assert [len(names) for names in vision.recognised()] == [1, 1]

    def test_one_large_photo_does_not_hold_up_the_queue(
        self, gallery: Gallery, vision: FakeVision
    ) -> None:
        waiting_photo(gallery, sent_size=limits.MAX_REQUEST_BYTES * 2)
        waiting_photo(gallery)
        recognise(gallery, times=2)
        assert set(states(gallery)) == {PhotoState.DONE}


class TestFaces:
    def test_they_come_with_what_vision_said(
        self, gallery: Gallery, photo: Photo, vision: FakeVision
    ) -> None:
        ada = PersonFactory.create(space=gallery.space)
        vision.show(photo, found(ada.person_id, similarity=0.75, sex="female", age=31.5))
        recognise(gallery)
        face = photo.faces.get()
        assert (face.left, face.top, face.right, face.bottom) == (100, 80, 200, 210)
        assert (face.person, face.found_person, face.tag) == (ada, ada, "person1")
        assert (face.similarity, face.confidence, face.quality) == (0.75, 0.95, 0.7)
        assert face.attributes == {
            "frontality": 0.9,
            "visibility": 0.8,
            "sex": "female",
            "age": 31.5,
        }
        assert face.recognition == Recognition.objects.get()
        assert not face.missing

    def test_boxes_are_mapped_to_the_originals_pixels(
        self, gallery: Gallery, vision: FakeVision
    ) -> None:
        photo = waiting_photo(gallery, width=4000, height=3000)
        vision.show(photo, found(None, (100, 75, 200, 150)))
        recognise(gallery)
        face = photo.faces.get()
        assert (face.left, face.top, face.right, face.bottom) == (1000, 750, 2000, 1500)

    def test_a_photo_without_faces_is_done(
        self, gallery: Gallery, photo: Photo, vision: FakeVision
    ) -> None:
        recognise(gallery)
        photo.refresh_from_db()
        assert photo.state == PhotoState.DONE
        assert photo.recognised_at is not None
        assert not photo.faces.exists()

    def test_a_match_below_the_spaces_threshold_leaves_the_face_unknown(
        self, gallery: Gallery, photo: Photo, vision: FakeVision
    ) -> None:
        ada = PersonFactory.create(space=gallery.space)
        vision.show(photo, found(ada.person_id, similarity=0.39))
        recognise(gallery)
        face = photo.faces.get()
        assert face.person is None
        assert face.tag == ada.tag, "what was said is kept"

    def test_a_similarity_of_1_alone_names_nobody(
        self, gallery: Gallery, photo: Photo, vision: FakeVision
    ) -> None:
        vision.show(photo, {**found(None), "similarity": 1})
        recognise(gallery)
        assert photo.faces.get().person is None

    def test_somebody_whom_vision_made_becomes_a_person_without_a_name(
        self, gallery: Gallery, photo: Photo, vision: FakeVision
    ) -> None:
        vision.show(photo, found(41, similarity=1.0))
        recognise(gallery)
        person = Person.objects.get()
        assert (person.person_id, person.label, person.name) == (41, "", "Unnamed person 41")
        assert photo.faces.get().person == person
        assert (
            name_face(
                actor=by(None), face=FaceFactory.create(photo=photo), label="Ada"
            ).person.person_id
            == 42
        ), "an id of Vision's is never given again"

    def test_boxes_outside_the_picture_are_no_faces(
        self, gallery: Gallery, photo: Photo, vision: FakeVision
    ) -> None:
        vision.show(
            photo,
            found(None, (500, 10, 600, 90)),
            found(None, (-40, -40, -1, -1)),
            found(None, (350, 250, 460, 380)),
        )
        recognise(gallery)
        face = photo.faces.get()
        assert (face.left, face.top, face.right, face.bottom) == (350, 250, 400, 300)

    @pytest.mark.parametrize(
        "tag",
        [
            "person9223372036854775807",
            "person99999999999999999999",
            "person",
            "x\0y",
            "x\ud800y",
            "p" * 300,
        ],
    )
    def test_an_odd_tag_stops_nothing(
        self, gallery: Gallery, photo: Photo, vision: FakeVision, tag: str
    ) -> None:
        vision.show(photo, {**found(7), "tag": tag})
        recognise(gallery)
        assert state(photo) == PhotoState.DONE
        assert photo.faces.count() == 1


class TestWhatHappensMeanwhile:
    def test_a_late_answer_of_a_worker_that_lost_its_claim_is_dropped(
        self, gallery: Gallery, photo: Photo, vision: FakeVision
    ) -> None:
        late = answer(seen(wire_name(photo), found(None, (0, 0, 40, 50)), found(None)))
        vision.script.append(late)
        vision.show(photo, found(None, (300, 200, 380, 290)))

        def second_worker() -> None:
            lease_is_over()
            pipeline.sweep()
            recognise(gallery)

        once(vision, second_worker)
        recognise(gallery)
        assert len(vision.asked) == 2
        face = photo.faces.get()
        assert (face.left, state(photo)) == (300, PhotoState.DONE)

    def test_a_late_failure_of_a_worker_that_lost_its_claim_is_dropped(
        self, gallery: Gallery, photo: Photo, vision: FakeVision
    ) -> None:
        vision.script.append(envelope.failure(400, "bad"))

        def second_worker() -> None:
            lease_is_over()
            pipeline.sweep()
            recognise(gallery)

        once(vision, second_worker)
        recognise(gallery)
        photo.refresh_from_db()
        assert (photo.state, photo.error) == (PhotoState.DONE, "")

    def test_an_enrolment_that_lands_meanwhile_has_unknown_faces_asked_again(
        self, gallery: Gallery, photo: Photo, vision: FakeVision, bob: User
    ) -> None:
        known = waiting_photo(gallery, state=PhotoState.DONE)
        face = FaceFactory.create(photo=known, left=100, top=80, right=200, bottom=210)
        vision.show(photo, found(None))

        def somebody_names() -> None:
            ada = name_face(actor=by(bob), face=face, label="Ada").person
            pipeline.sync(ada.pk)

        # Asked before the enrolment, answered after it: the answer knows nothing of Ada.
        vision.script.append(answer(seen(wire_name(photo), found(None))))
        once(vision, somebody_names)
        recognise(gallery)
        assert state(photo) == PhotoState.QUEUED
        vision.show(photo, found(1))
        recognise(gallery)
        assert state(photo) == PhotoState.DONE
        assert photo.faces.get().person == Person.objects.get(label="Ada")

    def test_a_removal_that_lands_meanwhile_has_found_faces_asked_again(
        self, gallery: Gallery, photo: Photo, vision: FakeVision, bob: User
    ) -> None:
        known = waiting_photo(gallery, state=PhotoState.DONE)
        face = FaceFactory.create(photo=known, left=100, top=80, right=200, bottom=210)
        ada = name_face(actor=by(bob), face=face, label="Ada").person
        pipeline.sync(ada.pk)

        def somebody_undoes() -> None:
            reject_person(actor=by(bob), face=face, person=ada)
            pipeline.sync(ada.pk)

        vision.script.append(answer(seen(wire_name(photo), found(1))))
        once(vision, somebody_undoes)
        recognise(gallery)
        vision.show(photo, found(None))
        recognise(gallery, times=2)
        assert photo.faces.get().person is None

    def test_a_photo_without_unknown_faces_is_not_asked_again_for_it(
        self, gallery: Gallery, photo: Photo, vision: FakeVision
    ) -> None:
        once(vision, lambda: Space.objects.update(version=F("version") + 1))
        recognise(gallery)
        assert state(photo) == PhotoState.DONE

    def test_a_name_given_meanwhile_stays(
        self, gallery: Gallery, photo: Photo, vision: FakeVision, bob: User
    ) -> None:
        face = FaceFactory.create(photo=photo, left=100, top=80, right=200, bottom=210)
        bea = PersonFactory.create(space=gallery.space, label="Bea")
        vision.show(photo, found(bea.person_id, (104, 82, 203, 214)))
        once(vision, lambda: name_face(actor=by(bob), face=face, label="Ada"))
        recognise(gallery)
        again = photo.faces.get()
        assert again.pk == face.pk
        assert again.person is not None
        assert again.person.label == "Ada"
        assert again.left == 104, "the box follows what was found"

    def test_a_photo_that_is_deleted_meanwhile_is_no_error(
        self, gallery: Gallery, photo: Photo, vision: FakeVision
    ) -> None:
        other = waiting_photo(gallery)
        once(vision, lambda: Photo.objects.filter(pk=photo.pk).delete())
        recognise(gallery)
        assert state(other) == PhotoState.DONE
