"""Actions on people: renaming, covers, removing an empty person, and their enrolled pictures."""

from __future__ import annotations

import pytest

from persons import pipeline
from persons.actions.faces import name_face, reject_person
from persons.actions.people import (
    choose_cover,
    clean_label,
    remove_empty_person,
    remove_enrolment,
    rename_person,
    retry_enrolment,
    retry_sync,
)
from persons.errors import Refused
from persons.models import (
    Enrolment,
    EnrolmentState,
    Face,
    Gallery,
    Person,
    Photo,
    PhotoState,
    SyncState,
    User,
)
from persons.vision import envelope
from persons.vision.types import ImageStatus
from tests.support.factories import FaceFactory, GalleryFactory, PersonFactory
from tests.support.fakes import Asked, FakeVision, answer, by, entries, use, waiting_photo


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
        for left in (10, 110, 210)
    ]


@pytest.fixture
def ada(gallery: Gallery) -> Person:
    return PersonFactory.create(space=gallery.space, label="Ada")


def states(person: Person) -> list[str]:
    return [row.state for row in person.enrolments.order_by("pk")]


def cover(person: Person) -> int | None:
    """The pk of the face that pages show."""
    shown: int | None = vars(Person.objects.for_list().get(pk=person.pk))["cover_id_or_best"]
    return shown


def refuse(asked: Asked) -> bytes:
    """Every picture of a `set` is permanently wrong."""
    return answer(*(envelope.failed(name, "no face here") for name in asked.names))


class TestLabels:
    def test_spaces_are_tidied_and_letters_composed(self) -> None:
        assert clean_label("  Jose\u0301 \t García\n") == "José García"

    @pytest.mark.parametrize("label", ["", "   ", "\n\t", "\u00a0"])
    def test_nothing_is_no_name(self, label: str) -> None:
        with pytest.raises(Refused, match="Type a name"):
            clean_label(label)

    @pytest.mark.parametrize("mark", ["\0", "\x1b", "\u202e", "\u200b", "\ud800", "\ufeff"])
    def test_invisible_characters_are_removed(self, mark: str) -> None:
        assert clean_label(f"A{mark}da") == "Ada"

    def test_two_hundred_characters_fit(self) -> None:
        assert len(clean_label("x" * 200)) == 200
        with pytest.raises(Refused, match="at most 200"):
            clean_label("x" * 201)


class TestRenaming:
    def test_the_label_changes_and_the_id_stays(self, bob: User, ada: Person) -> None:
        rename_person(actor=by(bob), person=ada, label="  Ada   King ")
        ada.refresh_from_db()
        assert (ada.label, ada.person_id) == ("Ada King", 1)
        (entry,) = entries(ada.space.team)
        assert (entry.before, entry.after) == ({"label": "Ada"}, {"label": "Ada King"})

    @pytest.mark.parametrize(("taken", "wanted"), [("Bea", "bea"), ("Юлия", "юлия")])
    def test_a_name_of_somebody_else_in_the_space_is_refused(
        self, bob: User, ada: Person, taken: str, wanted: str
    ) -> None:
        PersonFactory.create(space=ada.space, label=taken)
        with pytest.raises(Refused, match="already"):
            rename_person(actor=by(bob), person=ada, label=wanted)
        assert ada.label == "Ada"
        ada.refresh_from_db()
        assert ada.label == "Ada"

    def test_the_same_name_in_another_space_is_free(self, bob: User, ada: Person) -> None:
        PersonFactory.create(space=ada.space.team.spaces.get(number=1), label="Bea")
        assert rename_person(actor=by(bob), person=ada, label="Bea").label == "Bea"

    @pytest.mark.parametrize(("before", "after"), [("Ada", "ADA"), ("Юлия", "ЮЛИЯ")])
    def test_only_the_case_may_change(
        self, bob: User, ada: Person, before: str, after: str
    ) -> None:
        rename_person(actor=by(bob), person=ada, label=before)
        assert rename_person(actor=by(bob), person=ada, label=after).label == after

    def test_somebody_whom_vision_made_gets_a_name(self, bob: User, gallery: Gallery) -> None:
        made = PersonFactory.create(space=gallery.space, label="")
        assert made.name == "Unnamed person 1"
        assert rename_person(actor=by(bob), person=made, label="Cyd").name == "Cyd"

    def test_many_people_may_have_no_name(self, gallery: Gallery) -> None:
        PersonFactory.create(space=gallery.space, label="")
        PersonFactory.create(space=gallery.space, label="")


class TestCover:
    def test_one_of_the_persons_faces_may_be_it(self, bob: User, ada: Person, photo: Photo) -> None:
        face = FaceFactory.create(photo=photo, person=ada)
        choose_cover(actor=by(bob), person=ada, face=face)
        assert cover(ada) == face.pk

    def test_a_cover_that_turned_out_to_be_somebody_else_is_not_shown(
        self, bob: User, ada: Person, photo: Photo
    ) -> None:
        wrong = FaceFactory.create(photo=photo, person=ada)
        right = FaceFactory.create(photo=photo, person=ada, left=40, right=60)
        choose_cover(actor=by(bob), person=ada, face=wrong)
        reject_person(actor=by(bob), face=wrong, person=wrong.person)
        assert cover(ada) == right.pk


class TestRemovingAnEmptyPerson:
    def test_a_name_typed_by_mistake_goes(
        self, bob: User, faces: list[Face], vision: FakeVision
    ) -> None:
        typo = name_face(actor=by(bob), face=faces[0], label="Aad").person
        pipeline.sync(typo.pk)
        name_face(actor=by(bob), face=faces[0], label="Ada")
        with pytest.raises(Refused, match="Aad has faces"):
            remove_empty_person(actor=by(bob), person=typo)
        pipeline.sync(typo.pk)
        remove_empty_person(actor=by(bob), person=typo)
        assert [person.label for person in Person.objects.all()] == ["Ada"]
        assert entries(typo.space.team, "person.remove")[0].before["label"] == "Aad"


class TestEnrolments:
    @pytest.fixture
    def enrolled(
        self, bob: User, faces: list[Face], ada: Person, vision: FakeVision
    ) -> list[Enrolment]:
        """Three pictures of Ada, all known to Vision."""
        for face in faces:
            name_face(actor=by(bob), face=face, label="Ada")
        pipeline.sync(ada.pk)
        vision.asked.clear()
        return list(ada.enrolments.order_by("pk"))

    def test_removing_one_deletes_the_person_and_sets_the_rest_again(
        self, bob: User, ada: Person, enrolled: list[Enrolment], vision: FakeVision
    ) -> None:
        assert states(ada) == ["done", "done", "done"]
        removed = remove_enrolment(actor=by(bob), enrolment=enrolled[1])
        assert removed.state == EnrolmentState.REMOVING
        pipeline.sync(ada.pk)
        assert states(ada) == ["done", "removed", "done"]
        delete, put = vision.asked
        assert (delete.method, delete.person_ids, delete.images) == ("delete", [1], ())
        assert (put.method, put.person_ids) == ("set", [1, 1])
        assert put.names == [f"enrolment{enrolled[0].pk}", f"enrolment{enrolled[2].pk}"]

    def test_the_very_bytes_of_the_first_time_are_sent_again(
        self, bob: User, ada: Person, faces: list[Face], vision: FakeVision
    ) -> None:
        for face in faces:
            name_face(actor=by(bob), face=face, label="Ada")
        pipeline.sync(ada.pk)
        first = {image.name: image.data for image in vision.asked[0].images}
        # The crop would come out differently now.
        Face.objects.filter(pk=faces[0].pk).update(left=0, right=300)
        remove_enrolment(actor=by(bob), enrolment=ada.enrolments.get(face=faces[2]))
        pipeline.sync(ada.pk)
        for image in vision.asked[-1].images:
            assert image.data == first[image.name]

    def test_removing_twice_is_the_same_as_once(
        self, bob: User, ada: Person, enrolled: list[Enrolment], vision: FakeVision
    ) -> None:
        for _ in range(2):
            remove_enrolment(actor=by(bob), enrolment=enrolled[0])
        pipeline.sync(ada.pk)
        assert remove_enrolment(actor=by(bob), enrolment=enrolled[0]).state == "removed"
        assert pipeline.sync(ada.pk) is None
        assert vision.methods() == ["delete", "set"]
        assert len(entries(ada.space.team, "enrolment.remove")) == 1

    def test_removing_the_last_one_leaves_the_name(
        self, bob: User, ada: Person, enrolled: list[Enrolment], vision: FakeVision
    ) -> None:
        """A picture that serves recognition badly may go; whose face it is, a human has said."""
        for enrolment in enrolled:
            remove_enrolment(actor=by(bob), enrolment=enrolment)
        pipeline.sync(ada.pk)
        assert vision.methods() == ["delete"]
        assert set(Face.objects.values_list("person", flat=True)) == {ada.pk}

    def test_a_refused_picture_says_why_and_can_be_tried_again(
        self, bob: User, ada: Person, faces: list[Face], vision: FakeVision
    ) -> None:
        vision.script.extend([refuse, refuse])
        name_face(actor=by(bob), face=faces[0], label="Ada")
        pipeline.sync(ada.pk)
        enrolment = ada.enrolments.get()
        assert (enrolment.state, enrolment.error) == (EnrolmentState.FAILED, "no face here")
        retried = retry_enrolment(actor=by(bob), enrolment=enrolment)
        assert (retried.state, retried.error) == (EnrolmentState.QUEUED, "")
        pipeline.sync(ada.pk)
        assert states(ada) == ["done"]

    def test_a_picture_is_cut_more_tightly_before_it_is_given_up(
        self, bob: User, ada: Person, faces: list[Face], vision: FakeVision
    ) -> None:
        vision.script.append(refuse)
        name_face(actor=by(bob), face=faces[0], label="Ada")
        pipeline.sync(ada.pk)
        wide, tight = (asked.images[0].data for asked in vision.asked)
        assert wide != tight
        assert states(ada) == ["done"]

    def test_only_a_failed_one_is_tried_again(
        self, bob: User, ada: Person, enrolled: list[Enrolment], vision: FakeVision
    ) -> None:
        retry_enrolment(actor=by(bob), enrolment=enrolled[0])
        assert states(ada) == ["done", "done", "done"]
        assert pipeline.sync(ada.pk) is None
        assert vision.asked == []

    def test_a_retry_of_the_person_sends_everything_that_failed(
        self, bob: User, ada: Person, faces: list[Face], vision: FakeVision
    ) -> None:
        vision.script.extend([envelope.failure(400, "bad space")] * 5)
        for face in faces:
            name_face(actor=by(bob), face=face, label="Ada")
        pipeline.sync(ada.pk)
        ada.refresh_from_db()
        assert states(ada) == ["failed"] * 3
        assert {enrolment.error for enrolment in ada.enrolments.all()} == {"bad space"}
        assert ada.sync_state == SyncState.IDLE
        retry_sync(actor=by(bob), person=ada)
        pipeline.sync(ada.pk)
        ada.refresh_from_db()
        assert states(ada) == ["done"] * 3
        assert ada.sync_error == ""

    def test_a_removal_that_vision_refuses_is_not_forgotten(
        self, bob: User, ada: Person, enrolled: list[Enrolment], vision: FakeVision
    ) -> None:
        vision.script.append(envelope.failure(400, "bad space"))
        remove_enrolment(actor=by(bob), enrolment=enrolled[0])
        pipeline.sync(ada.pk)
        ada.refresh_from_db()
        assert states(ada) == ["removing", "done", "done"]
        assert ada.sync_error == "bad space"
        retry_sync(actor=by(bob), person=ada)
        pipeline.sync(ada.pk)
        assert states(ada) == ["removed", "done", "done"]

    def test_a_delete_that_is_temporarily_impossible_comes_again(
        self, bob: User, ada: Person, enrolled: list[Enrolment], vision: FakeVision
    ) -> None:
        vision.script.append(
            lambda asked: answer(
                envelope.failed(asked.names[0], "busy", ImageStatus.TEMPORARY),
            )
        )
        remove_enrolment(actor=by(bob), enrolment=enrolled[0])
        pipeline.sync(ada.pk)
        ada.refresh_from_db()
        assert (ada.sync_state, ada.sync_error) == (SyncState.QUEUED, "busy")
        assert states(ada) == ["removing", "done", "done"]
