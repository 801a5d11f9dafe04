"""Decisions on faces: name, reject, ignore, clear, and undo."""

from __future__ import annotations

import pytest
from django.core.files.storage import default_storage
from pytest_django import DjangoCaptureOnCommitCallbacks

from persons import pipeline
from persons.actions.faces import clear_decision, ignore_face, name_face, reject_person
from persons.errors import Refused
from persons.models import (
    Decision,
    Enrolment,
    EnrolmentState,
    Face,
    Gallery,
    Person,
    Photo,
    PhotoState,
    Rejection,
    SyncState,
    User,
)
from persons.work import Work
from tests.support.factories import FaceFactory, GalleryFactory, PersonFactory
from tests.support.fakes import FakeVision, by, due_now, entries, found, use, waiting_photo
from tests.support.waiting import waiting


@pytest.fixture
def vision(monkeypatch: pytest.MonkeyPatch) -> FakeVision:
    return use(monkeypatch, FakeVision())


@pytest.fixture
def gallery(alice: User, bob: User) -> Gallery:
    """Of the team in which Alice is an owner and Bob an editor."""
    team = alice.memberships.get().team
    return GalleryFactory.create(team=team, slug="lake")


@pytest.fixture
def photo(gallery: Gallery) -> Photo:
    return waiting_photo(gallery, state=PhotoState.DONE)


@pytest.fixture
def face(photo: Photo) -> Face:
    return FaceFactory.create(photo=photo, left=100, top=80, right=200, bottom=210)


@pytest.fixture
def other_face(photo: Photo) -> Face:
    return FaceFactory.create(photo=photo, left=250, top=80, right=350, bottom=210)


def in_step(person: Person) -> int | None:
    """What a worker does with the message."""
    return pipeline.sync(person.pk)


def live(face: Face) -> list[tuple[str, str]]:
    """Who has this face's crop, or will: the person's label and the enrolment's state."""
    rows = Enrolment.objects.filter(face=face).exclude(state=EnrolmentState.REMOVED)
    return [(row.person.label, row.state) for row in rows.order_by("pk")]


class TestNaming:
    def test_a_new_name_makes_the_person_in_the_gallerys_space(
        self, bob: User, gallery: Gallery, face: Face
    ) -> None:
        named = name_face(actor=by(bob), face=face, label="Ada Lovelace")
        assert named.is_new
        person = Person.objects.get()
        assert named.person == person
        assert (person.space, person.label, person.created_by) == (
            gallery.space,
            "Ada Lovelace",
            bob,
        )
        assert person.person_id == 1
        assert person.tag == "person1"
        face.refresh_from_db()
        assert (face.person, face.decision, face.decided_person) == (person, "named", person)
        assert (face.decided_by, face.decided_at is None) == (bob, False)

    def test_a_new_name_goes_to_the_person_that_vision_made(
        self, bob: User, gallery: Gallery, face: Face, other_face: Face
    ) -> None:
        made = PersonFactory.create(space=gallery.space, person_id=7, label="")
        for one in (face, other_face):
            one.found_person = one.person = made
            one.save()
        named = name_face(actor=by(bob), face=face, label="Anna")
        assert (named.person, named.is_new) == (made, False)
        other_face.refresh_from_db()
        assert other_face.person is not None
        assert other_face.person.label == "Anna"
        assert Person.objects.count() == 1

    def test_a_name_that_somebody_has_is_not_given_to_the_person_that_vision_made(
        self, bob: User, gallery: Gallery, face: Face
    ) -> None:
        anna = PersonFactory.create(space=gallery.space, label="Anna")
        made = PersonFactory.create(space=gallery.space, label="")
        face.found_person = face.person = made
        face.save()
        assert name_face(actor=by(bob), face=face, label="anna").person == anna
        made.refresh_from_db()
        assert made.label == ""

    def test_a_new_person_is_in_the_audit_too(
        self, bob: User, gallery: Gallery, face: Face
    ) -> None:
        name_face(actor=by(bob), face=face, label="Ada")
        created, named = entries(gallery.team)
        assert (created.action, created.after["label"]) == ("person.create", "Ada")
        assert named.action == "face.name"
        assert named.before == {"decision": "", "person": None, "label": ""}
        said = named.after.pop("said")
        assert named.after == {"decision": "named", "person": "person1", "label": "Ada"}
        assert (said["kind"], said["faces"], said["label"]) == ("name", [face.pk], "Ada")
        assert created.request_id == named.request_id

    def test_a_worker_enrols_the_faces_crop(
        self, bob: User, face: Face, vision: FakeVision
    ) -> None:
        person = name_face(actor=by(bob), face=face, label="Ada").person
        enrolment = Enrolment.objects.get()
        assert (enrolment.person, enrolment.face, enrolment.state) == (person, face, "queued")
        assert enrolment.created_by == bob
        in_step(person)
        (asked,) = vision.asked
        assert (asked.method, asked.meta["space"]) == ("set", "0")
        assert asked.person_ids == [person.person_id]
        enrolment.refresh_from_db()
        assert enrolment.state == EnrolmentState.DONE
        assert enrolment.done_at is not None
        with default_storage.open(enrolment.image) as file:
            assert file.read() == asked.images[0].data, "the ledger keeps what was sent"

    @pytest.mark.parametrize(
        "again",
        [
            "Ada Lovelace",
            "ada lovelace",
            "ADA LOVELACE",
            "  Ada   Lovelace ",
            "Ada\tLovelace\n",
            "Ada\u00a0Lovelace",
        ],
    )
    def test_a_name_in_other_case_or_spacing_is_the_same_person(
        self, bob: User, face: Face, other_face: Face, again: str
    ) -> None:
        first = name_face(actor=by(bob), face=face, label="Ada Lovelace")
        second = name_face(actor=by(bob), face=other_face, label=again)
        assert second.person == first.person
        assert (first.is_new, second.is_new) == (True, False)
        assert Person.objects.get().label == "Ada Lovelace"

    @pytest.mark.parametrize(
        ("label", "again"),
        [
            ("Élodie", "élodie"),
            ("ÉLODIE", "Élodie"),
            ("Юлия", "ЮЛИЯ"),
            ("Jose\u0301", "José"),
            ("Jose\u0301", "JOSÉ"),
        ],
    )
    def test_that_holds_in_every_alphabet(
        self, bob: User, face: Face, other_face: Face, label: str, again: str
    ) -> None:
        first = name_face(actor=by(bob), face=face, label=label)
        second = name_face(actor=by(bob), face=other_face, label=again)
        assert second.person == first.person

    @pytest.mark.parametrize(("label", "other"), [("A_a", "Aba"), ("A%", "Abc"), ("A.a", "Aba")])
    def test_signs_in_a_name_stand_for_themselves(
        self, bob: User, face: Face, other_face: Face, label: str, other: str
    ) -> None:
        name_face(actor=by(bob), face=face, label=other)
        assert name_face(actor=by(bob), face=other_face, label=label).is_new

    def test_the_same_name_in_another_space_is_another_person(
        self, bob: User, gallery: Gallery, face: Face
    ) -> None:
        elsewhere = GalleryFactory.create(
            team=gallery.team, space=gallery.team.spaces.get(number=3)
        )
        theirs = FaceFactory.create(photo=waiting_photo(elsewhere))
        one = name_face(actor=by(bob), face=face, label="Ada").person
        other = name_face(actor=by(bob), face=theirs, label="Ada").person
        assert one != other
        assert (one.person_id, other.person_id) == (1, 1)

    def test_an_id_is_given_once_even_after_its_person_is_gone(
        self, bob: User, face: Face, gallery: Gallery
    ) -> None:
        first = name_face(actor=by(bob), face=face, label="Ada").person
        first.delete()
        second = name_face(actor=by(bob), face=face, label="Bea").person
        assert second.person_id == first.person_id + 1

    def test_naming_twice_is_the_same_as_once(
        self, bob: User, face: Face, vision: FakeVision
    ) -> None:
        person = name_face(actor=by(bob), face=face, label="Ada").person
        name_face(actor=by(bob), face=face, label="Ada")
        in_step(person)
        name_face(actor=by(bob), face=face, label="Ada")
        in_step(person)
        assert live(face) == [("Ada", "done")]
        assert vision.methods() == ["set"]

    def test_a_worker_is_told_that_somebody_is_to_be_enrolled(
        self,
        bob: User,
        face: Face,
        monkeypatch: pytest.MonkeyPatch,
        django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
    ) -> None:
        sent: list[Work] = []
        monkeypatch.setattr("persons.tasks.send", sent.append)
        with django_capture_on_commit_callbacks(execute=True):
            person = name_face(actor=by(bob), face=face, label="Ada").person
        assert sent == [Work.SYNC] and waiting(Work.SYNC) == [person.pk]
        person.refresh_from_db()
        assert person.sync_state == SyncState.QUEUED

    def test_a_face_that_recognition_no_longer_found_says_so(self, bob: User, face: Face) -> None:
        Photo.objects.filter(pk=face.photo_id).delete()
        with pytest.raises(Refused, match="This face is gone"):
            name_face(actor=by(bob), face=face, label="Ada")

    def test_a_name_takes_back_the_rejection_of_that_person_only(
        self, bob: User, photo: Photo
    ) -> None:
        space = photo.gallery.space
        ada, bea = (PersonFactory.create(space=space, label=label) for label in ("Ada", "Bea"))
        face = FaceFactory.create(photo=photo, person=ada)
        Rejection.objects.create(face=face, person=ada)
        Rejection.objects.create(face=face, person=bea)
        name_face(actor=by(bob), face=face, label="Ada")
        assert [rejection.person for rejection in face.rejections.all()] == [bea]

    def test_what_a_human_named_is_not_credited_to_a_run(
        self, bob: User, photo: Photo, vision: FakeVision
    ) -> None:
        face = FaceFactory.create(photo=photo, left=100, top=80, right=200, bottom=210)
        other = FaceFactory.create(photo=photo, left=250, top=80, right=350, bottom=210)
        ada = name_face(actor=by(bob), face=other, label="Ada").person
        in_step(ada)
        vision.show(photo, found(ada.person_id), found(None, (250, 80, 350, 210)))
        pipeline.recognise_batch(photo.gallery.space_id)
        run = ada.runs.get()
        assert run.found_count == 1
        name_face(actor=by(bob), face=face, label="Bea")
        assert run.found_count == 0


class TestRenaming:
    """A face that was named A is B after all."""

    def test_it_withdraws_the_crop_from_a_and_enrols_it_for_b(
        self, bob: User, face: Face, other_face: Face, vision: FakeVision
    ) -> None:
        ada = name_face(actor=by(bob), face=face, label="Ada").person
        name_face(actor=by(bob), face=other_face, label="Ada")
        in_step(ada)
        vision.asked.clear()

        bea = name_face(actor=by(bob), face=face, label="Bea").person
        assert live(face) == [("Ada", "removing"), ("Bea", "queued")]
        in_step(ada)
        in_step(bea)

        assert live(face) == [("Bea", "done")]
        assert live(other_face) == [("Ada", "done")], "the rest of A is set again"
        assert [(asked.method.value, asked.person_ids) for asked in vision.asked] == [
            ("delete", [ada.person_id]),
            ("set", [ada.person_id]),
            ("set", [bea.person_id]),
        ]
        kept = Enrolment.objects.get(face=other_face)
        assert vision.asked[1].names == [f"enrolment{kept.pk}"]

    def test_both_people_are_to_be_synced(
        self,
        bob: User,
        face: Face,
        monkeypatch: pytest.MonkeyPatch,
        django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
    ) -> None:
        ada = name_face(actor=by(bob), face=face, label="Ada").person
        sent: list[Work] = []
        monkeypatch.setattr("persons.tasks.send", sent.append)
        with django_capture_on_commit_callbacks(execute=True):
            bea = name_face(actor=by(bob), face=face, label="Bea").person
        assert sent == [Work.SYNC] and waiting(Work.SYNC) == sorted([ada.pk, bea.pk])

    def test_a_crop_that_was_never_sent_is_withdrawn_without_asking_vision(
        self, bob: User, face: Face, vision: FakeVision
    ) -> None:
        ada = name_face(actor=by(bob), face=face, label="Ada").person
        name_face(actor=by(bob), face=face, label="Bea")
        in_step(ada)
        assert vision.asked == []
        assert live(face) == [("Bea", "queued")]

    def test_withdrawing_an_unsent_crop_does_not_send_the_rest_a_second_time(
        self, bob: User, face: Face, other_face: Face, vision: FakeVision
    ) -> None:
        ada = name_face(actor=by(bob), face=other_face, label="Ada").person
        in_step(ada)
        vision.asked.clear()
        name_face(actor=by(bob), face=face, label="Ada")
        name_face(actor=by(bob), face=face, label="Bea")
        in_step(ada)
        assert vision.asked == [], "whether a second set replaces or doubles is not known"
        assert live(other_face) == [("Ada", "done")]

    def test_back_to_a_enrols_it_for_a_again(
        self, bob: User, face: Face, vision: FakeVision
    ) -> None:
        ada = name_face(actor=by(bob), face=face, label="Ada").person
        in_step(ada)
        bea = name_face(actor=by(bob), face=face, label="Bea").person
        in_step(bea)
        name_face(actor=by(bob), face=face, label="Ada")
        in_step(ada)
        in_step(bea)
        assert live(face) == [("Ada", "done")]
        assert vision.methods() == ["set", "set", "delete", "set", "delete"]

    def test_faces_that_the_wrong_crop_found_are_asked_again(
        self, bob: User, gallery: Gallery, face: Face, vision: FakeVision
    ) -> None:
        photo = waiting_photo(gallery)
        ada = name_face(actor=by(bob), face=face, label="Ada").person
        in_step(ada)
        vision.show(photo, found(ada.person_id))
        pipeline.recognise_batch(gallery.space_id)
        assert photo.faces.get().person == ada

        bea = name_face(actor=by(bob), face=face, label="Bea").person
        in_step(ada)
        in_step(bea)
        vision.show(photo, found(bea.person_id))
        pipeline.recognise_batch(gallery.space_id)
        assert photo.faces.get().person == bea


class TestRejecting:
    @pytest.fixture
    def ada(self, gallery: Gallery) -> Person:
        return PersonFactory.create(space=gallery.space, label="Ada")

    @pytest.fixture
    def said(self, photo: Photo, ada: Person) -> Face:
        """A face that the engine took for Ada's."""
        return FaceFactory.create(photo=photo, person=ada, left=100, top=80, right=200, bottom=210)

    def test_the_face_is_unknown_again(self, bob: User, said: Face, ada: Person) -> None:
        reject_person(actor=by(bob), face=said, person=said.person)
        said.refresh_from_db()
        assert (said.person, said.decision) == (None, Decision.NONE)
        assert said.found_person == ada, "what the engine said is kept apart"
        rejection = Rejection.objects.get()
        assert (rejection.face, rejection.person, rejection.created_by) == (said, ada, bob)
        assert said in Face.objects.unknown()

    def test_the_engine_cannot_bring_that_person_back(
        self, bob: User, said: Face, ada: Person, gallery: Gallery, vision: FakeVision
    ) -> None:
        reject_person(actor=by(bob), face=said, person=said.person)
        photo = said.photo
        vision.show(photo, found(ada.person_id, similarity=1.0))
        for _ in range(2):
            Photo.objects.update(state=PhotoState.QUEUED)
            pipeline.recognise_batch(gallery.space_id)
            again = photo.faces.get()
            assert (again.pk, again.person) == (said.pk, None)

    def test_but_it_can_still_say_that_it_is_somebody_else(
        self, bob: User, said: Face, gallery: Gallery, vision: FakeVision
    ) -> None:
        bea = PersonFactory.create(space=gallery.space, label="Bea")
        reject_person(actor=by(bob), face=said, person=said.person)
        vision.show(said.photo, found(bea.person_id))
        Photo.objects.update(state=PhotoState.QUEUED)
        pipeline.recognise_batch(gallery.space_id)
        assert said.photo.faces.get().person == bea

    def test_two_people_can_be_rejected_one_after_the_other(
        self, bob: User, said: Face, ada: Person, gallery: Gallery, vision: FakeVision
    ) -> None:
        bea = PersonFactory.create(space=gallery.space, label="Bea")
        reject_person(actor=by(bob), face=said, person=said.person)
        for person in (bea, ada, bea):
            vision.show(said.photo, found(person.person_id))
            Photo.objects.update(state=PhotoState.QUEUED)
            pipeline.recognise_batch(gallery.space_id)
            if (face := said.photo.faces.get()).person is not None:
                reject_person(actor=by(bob), face=face, person=face.person)
        assert said.photo.faces.get().person is None
        assert set(said.rejected.all()) == {ada, bea}

    def test_rejecting_a_given_name_withdraws_its_enrolment(
        self, bob: User, face: Face, vision: FakeVision
    ) -> None:
        ada = name_face(actor=by(bob), face=face, label="Ada").person
        in_step(ada)
        reject_person(actor=by(bob), face=face, person=ada)
        assert live(face) == [("Ada", "removing")]
        in_step(ada)
        assert live(face) == []
        assert vision.methods() == ["set", "delete"]
        face.refresh_from_db()
        assert (face.person, face.decision) == (None, "")

    def test_a_second_click_is_refused(self, bob: User, said: Face) -> None:
        reject_person(actor=by(bob), face=said, person=said.person)
        with pytest.raises(Refused, match="no name to take away"):
            reject_person(actor=by(bob), face=said, person=said.person)
        assert Rejection.objects.count() == 1


class TestIgnoring:
    def test_an_ignored_face_waits_for_no_name(
        self, bob: User, face: Face, other_face: Face
    ) -> None:
        ignore_face(actor=by(bob), face=face)
        face.refresh_from_db()
        assert (face.person, face.decision, face.decided_by) == (None, "ignored", bob)
        assert list(Face.objects.unknown()) == [other_face]

    def test_the_engine_does_not_name_an_ignored_face(
        self, bob: User, gallery: Gallery, face: Face, vision: FakeVision
    ) -> None:
        ada = PersonFactory.create(space=gallery.space)
        ignore_face(actor=by(bob), face=face)
        vision.show(face.photo, found(ada.person_id))
        Photo.objects.update(state=PhotoState.QUEUED)
        pipeline.recognise_batch(gallery.space_id)
        again = face.photo.faces.get()
        assert (again.pk, again.person, again.decision) == (face.pk, None, "ignored")

    def test_ignoring_a_named_face_withdraws_its_enrolment(
        self, bob: User, face: Face, vision: FakeVision
    ) -> None:
        ada = name_face(actor=by(bob), face=face, label="Ada").person
        in_step(ada)
        ignore_face(actor=by(bob), face=face)
        in_step(ada)
        assert live(face) == []

    def test_ignoring_twice_is_the_same_as_once(self, bob: User, face: Face) -> None:
        for _ in range(2):
            ignore_face(actor=by(bob), face=face)
        face.refresh_from_db()
        assert face.decision == Decision.IGNORED


class TestUndoing:
    def test_a_name_is_taken_back_with_its_enrolment(
        self, bob: User, face: Face, vision: FakeVision
    ) -> None:
        ada = name_face(actor=by(bob), face=face, label="Ada").person
        in_step(ada)
        clear_decision(actor=by(bob), face=face)
        face.refresh_from_db()
        assert (face.person, face.decision, face.decided_person) == (None, "", None)
        in_step(ada)
        assert live(face) == []
        assert vision.methods() == ["set", "delete"]

    def test_an_ignored_face_is_what_the_engine_says_again(
        self, bob: User, gallery: Gallery, photo: Photo
    ) -> None:
        ada = PersonFactory.create(space=gallery.space)
        face = FaceFactory.create(photo=photo, person=ada)
        ignore_face(actor=by(bob), face=face)
        clear_decision(actor=by(bob), face=face)
        face.refresh_from_db()
        assert face.person == ada

    def test_a_rejection_is_taken_back(self, bob: User, gallery: Gallery, photo: Photo) -> None:
        ada = PersonFactory.create(space=gallery.space)
        face = FaceFactory.create(photo=photo, person=ada)
        reject_person(actor=by(bob), face=face, person=face.person)
        clear_decision(actor=by(bob), face=face)
        face.refresh_from_db()
        assert face.person == ada
        assert not Rejection.objects.exists()

    def test_a_face_does_not_keep_the_name_that_its_own_crop_taught(
        self, bob: User, face: Face, other_face: Face, gallery: Gallery, vision: FakeVision
    ) -> None:
        """A group photo is asked again after one of its faces was named: the engine then finds the
        person in the very face that was enrolled. Undone, that word of the engine is worthless."""
        photo = face.photo
        ada = name_face(actor=by(bob), face=face, label="Ada").person
        in_step(ada)
        unknown = found(None, (250, 80, 350, 210))
        vision.show(photo, found(ada.person_id, similarity=1.0), unknown)
        pipeline.recognise_batch(gallery.space_id)
        clear_decision(actor=by(bob), face=face)
        in_step(ada)
        vision.show(photo, found(None), unknown)
        due_now()
        pipeline.recognise_batch(gallery.space_id)
        face.refresh_from_db()
        assert (face.person, face.decision) == (None, "")

    def test_a_face_nobody_decided_on_stays_as_it_is(self, bob: User, face: Face) -> None:
        clear_decision(actor=by(bob), face=face)
        face.refresh_from_db()
        assert (face.person, face.decision) == (None, "")
        assert not Enrolment.objects.exists()
