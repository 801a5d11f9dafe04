"""Undoing decisions on faces restores the exact state before, whatever was decided since."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from persons import pipeline
from persons.actions.changes import undo
from persons.actions.enrolment_selection import ENOUGH_PICTURES
from persons.actions.faces import (
    clear_decision,
    confirm_faces,
    ignore_face,
    ignore_faces,
    name_face,
    name_faces,
    reject_faces,
    reject_person,
)
from persons.actions.people import (
    choose_cover,
    hide_person,
    remove_enrolment,
    rename_person,
    set_notes,
)
from persons.errors import Refused
from persons.models import (
    AuditEntry,
    Change,
    ChangedFace,
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
from persons.models.changes import ChangeKind
from tests.support.factories import FaceFactory, GalleryFactory, PersonFactory, PhotoFactory
from tests.support.fakes import FakeVision, by, due_now, entries, found, use, waiting_photo


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
def face(photo: Photo) -> Face:
    return FaceFactory.create(photo=photo, left=100, top=80, right=200, bottom=210)


@pytest.fixture
def ada(gallery: Gallery) -> Person:
    return PersonFactory.create(space=gallery.space, label="Ada")


@pytest.fixture
def bea(gallery: Gallery) -> Person:
    return PersonFactory.create(space=gallery.space, label="Bea")


def last(face: Face) -> Change:
    return Change.objects.filter(faces__face=face).latest("pk")


def now(face: Face) -> tuple[str, str | None]:
    """Its decision and its person's name."""
    face = Face.everything.get(pk=face.pk)
    return face.decision, face.person.label if face.person else None


def standing(face: Face) -> list[tuple[str, str]]:
    rows = Enrolment.objects.filter(face=face).exclude(state__in=["removing", "removed"])
    return [(row.person.label, row.state) for row in rows.order_by("pk")]


def in_step(*people: Person) -> None:
    for person in people:
        Person.objects.filter(pk=person.pk).update(after=timezone.now())
        pipeline.sync(person.pk)


class TestEachDeedIsAChange:
    def test_it_says_what_was_before_and_after(self, bob: User, face: Face, ada: Person) -> None:
        named = name_face(actor=by(bob), face=face, label="Ada")
        change = named.change
        assert (change.kind, change.person, change.face_count) == (ChangeKind.NAME, ada, 1)
        assert (change.actor, change.space, change.label) == (bob, ada.space, "")
        row = change.faces.get()
        nothing = {"decision": "", "person": None, "by": None, "at": None}
        assert row.before == {**nothing, "rejected": [], "taught": False}
        face.refresh_from_db()
        assert face.decided_at is not None
        assert row.after == {
            "decision": "named",
            "person": ada.pk,
            "by": bob.pk,
            "at": face.decided_at.isoformat(),
            "rejected": [],
            "taught": True,
        }

    def test_a_name_that_was_made_for_it_is_kept_with_it(self, bob: User, face: Face) -> None:
        assert name_face(actor=by(bob), face=face, label="Cyd").change.label == "Cyd"


class TestUndo:
    def test_a_name_goes_with_its_crop(self, bob: User, face: Face, vision: FakeVision) -> None:
        named = name_face(actor=by(bob), face=face, label="Ada")
        in_step(named.person)
        undone = undo(actor=by(bob), change=named.change)
        assert now(face) == ("", None)
        assert standing(face) == []
        assert (undone.undone_by, undone.undone_at is not None) == (bob, True)
        in_step(named.person)
        assert vision.methods() == ["set", "delete"]

    def test_it_is_audited_and_refused_a_second_time(self, bob: User, face: Face) -> None:
        ignore_face(actor=by(bob), face=face)
        change = last(face)
        undo(actor=by(bob), change=change)
        with pytest.raises(Refused, match="undone already"):
            undo(actor=by(bob), change=change)
        (entry,) = entries(face.space.team, "change.undo")
        assert (entry.target_id, entry.before["kind"]) == (str(change.pk), "ignore")

    def test_the_name_from_before_comes_back_with_its_picture(
        self, bob: User, face: Face, ada: Person, vision: FakeVision
    ) -> None:
        name_face(actor=by(bob), face=face, label="Ada")
        in_step(ada)
        was = vision.asked[0].images[0].data
        renamed = name_face(actor=by(bob), face=face, label="Cyd")
        in_step(ada, renamed.person)
        undo(actor=by(bob), change=renamed.change)
        assert now(face) == ("named", "Ada")
        assert standing(face) == [("Ada", "queued")]
        in_step(ada)
        assert standing(face) == [("Ada", "done")]
        assert vision.asked[-1].images[0].data == was, "the very bytes of the first time"

    def test_who_decided_and_when_is_as_before(
        self, alice: User, bob: User, face: Face, ada: Person
    ) -> None:
        name_face(actor=by(alice), face=face, label="Ada")
        face.refresh_from_db()
        before = (face.decided_by, face.decided_at)
        ignore_face(actor=by(bob), face=face)
        undo(actor=by(bob), change=last(face))
        face.refresh_from_db()
        assert (face.decided_by, face.decided_at) == before

    def test_what_was_said_since_stays(self, bob: User, face: Face, ada: Person) -> None:
        wrong = name_face(actor=by(bob), face=face, label="Bea")
        name_face(actor=by(bob), face=face, label="Ada")
        undo(actor=by(bob), change=wrong.change)
        assert now(face) == ("named", "Ada")
        undo(actor=by(bob), change=last(face))
        assert now(face) == ("", None), "not Bea: that was taken back before"

    def test_a_rejection_goes_out_of_the_middle(
        self, bob: User, photo: Photo, ada: Person, bea: Person
    ) -> None:
        face = FaceFactory.create(photo=photo, person=ada)
        reject_person(actor=by(bob), face=face, person=ada)
        first = last(face)
        Face.objects.filter(pk=face.pk).update(person=bea, found_person=bea)
        reject_person(actor=by(bob), face=face, person=bea)
        undo(actor=by(bob), change=first)
        assert set(Rejection.objects.values_list("person", flat=True)) == {bea.pk}

    def test_a_rejection_of_a_given_name_gives_it_back(
        self, bob: User, face: Face, ada: Person
    ) -> None:
        name_face(actor=by(bob), face=face, label="Ada")
        reject_person(actor=by(bob), face=face, person=ada)
        assert now(face) == ("", None)
        undo(actor=by(bob), change=last(face))
        assert now(face) == ("named", "Ada")
        assert not Rejection.objects.exists()
        assert standing(face) == [("Ada", "queued")]

    def test_a_clearing_gives_back_all_that_it_cleared(
        self, bob: User, photo: Photo, ada: Person, bea: Person
    ) -> None:
        face = FaceFactory.create(photo=photo, person=ada)
        reject_person(actor=by(bob), face=face, person=ada)
        name_face(actor=by(bob), face=face, label="Bea")
        clear_decision(actor=by(bob), face=face)
        assert now(face) == ("", "Ada")
        undo(actor=by(bob), change=last(face))
        assert now(face) == ("named", "Bea")
        assert Rejection.objects.get().person == ada

    def test_naming_whom_it_was_not_and_back(self, bob: User, photo: Photo, ada: Person) -> None:
        face = FaceFactory.create(photo=photo, person=ada)
        reject_person(actor=by(bob), face=face, person=ada)
        named = name_face(actor=by(bob), face=face, label="Ada")
        assert not Rejection.objects.exists()
        undo(actor=by(bob), change=named.change)
        assert Rejection.objects.get().person == ada
        assert now(face) == ("", None)

    def test_a_picture_that_was_taken_back_by_hand_does_not_come_back(
        self, bob: User, face: Face, ada: Person
    ) -> None:
        name_face(actor=by(bob), face=face, label="Cyd")
        early = last(face)
        name_face(actor=by(bob), face=face, label="Ada")
        remove_enrolment(actor=by(bob), enrolment=Enrolment.objects.get(person=ada))
        ignore_face(actor=by(bob), face=face)
        undo(actor=by(bob), change=early)
        undo(actor=by(bob), change=last(face))
        assert now(face) == ("named", "Ada")
        assert standing(face) == []

    def test_a_face_in_the_trash_is_undone_too(self, bob: User, face: Face) -> None:
        ignore_face(actor=by(bob), face=face)
        Photo.objects.filter(pk=face.photo_id).update(trashed_at=timezone.now())
        Face.objects.filter(pk=face.pk).update(trashed=True)
        undo(actor=by(bob), change=last(face))
        assert now(face) == ("", None)

    def test_a_face_that_is_gone_is_left_out(self, bob: User, photo: Photo) -> None:
        faces = [FaceFactory.create(photo=photo, left=left, right=left + 9) for left in (0, 20)]
        change = ignore_faces(actor=by(bob), faces=faces)
        faces[0].delete()
        undo(actor=by(bob), change=change)
        assert now(faces[1]) == ("", None)

    def test_a_name_of_somebody_who_was_removed_since_is_no_name(
        self, bob: User, face: Face, ada: Person
    ) -> None:
        name_face(actor=by(bob), face=face, label="Ada")
        ignore_face(actor=by(bob), face=face)
        Enrolment.objects.all().delete()
        ada.delete()
        undo(actor=by(bob), change=last(face))
        assert now(face) == ("", None)


class TestWhoeverWasMadeByIt:
    def test_goes(self, bob: User, face: Face) -> None:
        named = name_face(actor=by(bob), face=face, label="Cyd")
        undo(actor=by(bob), change=named.change)
        assert Person.objects.exists(), "until a worker has withdrawn the picture"
        in_step(named.person)
        assert not Person.objects.exists()
        (entry,) = entries(face.space.team, "person.remove")
        assert entry.before["label"] == "Cyd"

    def test_goes_once_vision_has_forgotten_them_and_nobody_is_found_any_more(
        self, bob: User, gallery: Gallery, face: Face, vision: FakeVision
    ) -> None:
        other = waiting_photo(gallery)
        named = name_face(actor=by(bob), face=face, label="Cyd")
        in_step(named.person)
        vision.show(face.photo, found(None, (100, 80, 200, 210)))
        vision.show(other, found(named.person.person_id))
        pipeline.recognise_batch(gallery.space_id)
        undo(actor=by(bob), change=named.change)
        in_step(named.person)
        assert Person.objects.exists(), "Vision said so of another face"
        vision.show(other, found(None))
        due_now()
        pipeline.recognise_batch(gallery.space_id)
        assert not Person.objects.exists()

    def test_stays_where_somebody_else_was_named_so_since(
        self, bob: User, face: Face, photo: Photo
    ) -> None:
        named = name_face(actor=by(bob), face=face, label="Cyd")
        other = FaceFactory.create(photo=photo)
        name_face(actor=by(bob), face=other, label="Cyd")
        undo(actor=by(bob), change=named.change)
        in_step(named.person)
        assert now(other) == ("named", "Cyd")

    @pytest.mark.parametrize("edit", ["rename", "notes", "hide", "cover"])
    def test_stays_where_somebody_has_edited_them(self, bob: User, face: Face, edit: str) -> None:
        named = name_face(actor=by(bob), face=face, label="Cyd")
        person = named.person
        if edit == "rename":
            rename_person(actor=by(bob), person=person, label="Cyd Charisse")
        elif edit == "notes":
            set_notes(actor=by(bob), person=person, notes="Dances.")
        elif edit == "hide":
            hide_person(actor=by(bob), person=person, hidden=True)
        else:
            choose_cover(actor=by(bob), person=person, face=named.face)
        undo(actor=by(bob), change=named.change)
        in_step(person)
        assert Person.objects.filter(pk=person.pk).exists()

    def test_stays_without_the_name_where_vision_had_made_them(
        self, bob: User, photo: Photo, gallery: Gallery
    ) -> None:
        unnamed = PersonFactory.create(space=gallery.space, label="")
        face = FaceFactory.create(photo=photo, person=unnamed)
        named = name_face(actor=by(bob), face=face, label="Cyd")
        assert (named.person, named.is_new, named.person.label) == (unnamed, False, "Cyd")
        undo(actor=by(bob), change=named.change)
        unnamed.refresh_from_db()
        assert unnamed.label == ""
        assert now(face) == ("", "")


class TestManyFaces:
    @pytest.fixture
    def faces(self, gallery: Gallery, ada: Person) -> list[Face]:
        photos = PhotoFactory.create_batch(8, gallery=gallery)
        return [
            FaceFactory.create(photo=photo, person=ada, similarity=0.45, quality=place / 10)
            for place, photo in enumerate(photos)
        ]

    def test_confirming_makes_suggestions_a_humans_word(
        self, bob: User, faces: list[Face], ada: Person
    ) -> None:
        change = confirm_faces(actor=by(bob), faces=faces)
        assert change is not None
        assert (change.kind, change.person, change.face_count) == ("confirm", ada, 8)
        assert {now(face) for face in faces} == {("named", "Ada")}
        assert not Face.objects.exclude(review="").exists()

    def test_the_best_few_are_enrolled(self, bob: User, faces: list[Face], ada: Person) -> None:
        confirm_faces(actor=by(bob), faces=faces)
        enrolled = set(ada.enrolments.values_list("face", flat=True))
        assert enrolled == {face.pk for face in faces[-ENOUGH_PICTURES:]}
        ada.refresh_from_db()
        assert ada.sync_state == SyncState.QUEUED

    def test_whoever_has_enough_pictures_gets_no_more(
        self, bob: User, faces: list[Face], ada: Person
    ) -> None:
        for _ in range(ENOUGH_PICTURES):
            Enrolment.objects.create(person=ada, state=EnrolmentState.DONE)
        confirm_faces(actor=by(bob), faces=faces)
        assert ada.enrolments.filter(face__isnull=False).count() == 0
        name_face(actor=by(bob), face=faces[0], label="Ada")
        assert ada.enrolments.filter(face=faces[0]).exists(), "by hand it is meant"

    def test_a_face_that_changed_meanwhile_is_left_out(
        self, bob: User, faces: list[Face], bea: Person
    ) -> None:
        Face.objects.filter(pk=faces[0].pk).update(found_person=bea, person=bea)
        ignore_face(actor=by(bob), face=faces[1])
        change = confirm_faces(actor=by(bob), faces=faces)
        assert change is not None
        assert change.face_count == 6
        assert now(faces[0]) == ("", "Bea")

    def test_nothing_to_confirm_is_no_change(self, bob: User, face: Face) -> None:
        assert confirm_faces(actor=by(bob), faces=[face]) is None
        assert not AuditEntry.objects.exists()

    def test_suggestions_of_several_people_are_one_change(
        self, bob: User, faces: list[Face], photo: Photo, bea: Person
    ) -> None:
        other = FaceFactory.create(photo=photo, person=bea)
        change = confirm_faces(actor=by(bob), faces=[*faces, other])
        assert change is not None
        assert (change.person, change.face_count) == (None, 9)
        undo(actor=by(bob), change=change)
        assert now(other) == ("", "Bea")
        assert not Enrolment.objects.exclude(state="removing").exists()

    def test_naming_many(self, bob: User, faces: list[Face]) -> None:
        named = name_faces(actor=by(bob), faces=faces, label="Cyd")
        assert (named.count, named.is_new, named.person.label) == (8, True, "Cyd")
        assert {now(face) for face in faces} == {("named", "Cyd")}
        undo(actor=by(bob), change=named.change)
        assert {now(face) for face in faces} == {("", "Ada")}

    def test_rejecting_many_leaves_out_whose_they_are_not(
        self, bob: User, faces: list[Face], photo: Photo, ada: Person, bea: Person
    ) -> None:
        other = FaceFactory.create(photo=photo, person=bea)
        change = reject_faces(actor=by(bob), faces=[*faces, other], person=ada)
        assert change.face_count == 8
        assert {now(face) for face in faces} == {("", None)}
        assert now(other) == ("", "Bea")
        undo(actor=by(bob), change=change)
        assert {now(face) for face in faces} == {("", "Ada")}

    def test_ignoring_many(self, bob: User, faces: list[Face]) -> None:
        change = ignore_faces(actor=by(bob), faces=faces)
        assert {now(face) for face in faces} == {("ignored", None)}
        undo(actor=by(bob), change=change)
        assert {now(face) for face in faces} == {("", "Ada")}

    def test_faces_of_two_spaces_are_not_named_together(
        self, bob: User, faces: list[Face], gallery: Gallery
    ) -> None:
        elsewhere = GalleryFactory.create(
            team=gallery.team, space=gallery.team.spaces.get(number=1)
        )
        other = FaceFactory.create(photo__gallery=elsewhere)
        with pytest.raises(Refused, match="several spaces"):
            name_faces(actor=by(bob), faces=[*faces, other], label="Ada")

    def test_the_number_of_queries_does_not_grow(
        self,
        bob: User,
        faces: list[Face],
        gallery: Gallery,
        ada: Person,
    ) -> None:
        def counted(some: list[Face]) -> dict[str, int]:
            found = {}
            with CaptureQueriesContext(connection) as queries:
                change = confirm_faces(actor=by(bob), faces=some)
            found["confirm"] = len(queries)
            assert change is not None
            with CaptureQueriesContext(connection) as queries:
                undo(actor=by(bob), change=change)
            found["undo"] = len(queries)
            with CaptureQueriesContext(connection) as queries:
                name_faces(actor=by(bob), faces=some, label="Ada")
            found["name"] = len(queries)
            with CaptureQueriesContext(connection) as queries:
                reject_faces(actor=by(bob), faces=Face.objects.filter(person=ada), person=ada)
            found["reject"] = len(queries)
            return found

        few = counted(faces[:2])
        photos = PhotoFactory.create_batch(30, gallery=gallery)
        many = counted([FaceFactory.create(photo=photo, person=ada) for photo in photos])
        assert all(many[name] <= few[name] for name in few)
        assert max(few.values()) < 40


def test_lines_of_different_faces_do_not_touch(bob: User, photo: Photo, ada: Person) -> None:
    one, other = (FaceFactory.create(photo=photo, left=left, right=left + 9) for left in (0, 30))
    both = name_faces(actor=by(bob), faces=[one, other], label="Ada")
    ignore_face(actor=by(bob), face=one)
    undo(actor=by(bob), change=both.change)
    assert now(one) == (Decision.IGNORED, None)
    assert now(other) == ("", None)
    row = ChangedFace.objects.get(face=one, undone=False)
    assert row.before["decision"] == ""
    assert timezone.now() - Change.objects.latest("pk").created_at < timedelta(minutes=5)
