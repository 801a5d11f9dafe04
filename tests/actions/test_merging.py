"""Merging two people, splitting one, and pairs that are marked as different."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from persons import pipeline
from persons.access import Visible
from persons.actions.changes import undo
from persons.actions.faces import confirm_faces, draw_face, name_face, reject_person
from persons.actions.naming import with_label
from persons.actions.people import (
    different_people,
    forget_difference,
    merge_people,
    remove_empty_person,
    remove_enrolment,
    rename_person,
    split_person,
)
from persons.actions.previews import merge_preview, split_preview
from persons.chain.checking import check
from persons.errors import Refused
from persons.faces.identity import resolve_identities
from persons.models import (
    Enrolment,
    EnrolmentState,
    Face,
    Gallery,
    Likeness,
    Person,
    Photo,
    PhotoState,
    Rejection,
    Review,
    Run,
    SpaceJob,
    Team,
    User,
)
from persons.people.duplicates import note_aliases
from persons.pipeline.audit.sealing import seal_audit
from persons.pipeline.enrolment.rescan import rescan_for
from persons.vision import envelope
from persons.vision.types import Answer, Box, Method
from tests.support import tampering
from tests.support.factories import FaceFactory, GalleryFactory, PersonFactory, PhotoFactory
from tests.support.fakes import (
    FakeVision,
    answer,
    by,
    due_now,
    entries,
    found,
    seen,
    use,
    waiting_photo,
)


@pytest.fixture
def vision(monkeypatch: pytest.MonkeyPatch) -> FakeVision:
    return use(monkeypatch, FakeVision())


@pytest.fixture
def gallery(bob: User) -> Gallery:
    return GalleryFactory.create(team=bob.memberships.get().team, slug="lake")


@pytest.fixture
def person(gallery: Gallery) -> Callable[..., Person]:
    def make(label: str = "", faces: int = 0) -> Person:
        made: Person = PersonFactory.create(space=gallery.space, label=label)
        for photo in PhotoFactory.create_batch(faces, gallery=gallery):
            FaceFactory.create(photo=photo, person=made)
        return made

    return make


Make = Callable[..., Person]


@pytest.fixture(autouse=True)
def resolved(db: None) -> Iterator[None]:
    """After each test here, resolving all identities again changes nothing."""
    yield
    columns = ("pk", "person", "review", "review_rank")
    before = set(Face.everything.values_list(*columns))
    resolve_identities(Photo.everything.values_list("pk", flat=True))
    assert set(Face.everything.values_list(*columns)) == before


def in_step(*people: Person) -> None:
    """Whatever waits for a worker is done, in this order."""
    for one in people:
        Person.objects.filter(pk=one.pk).update(after=timezone.now())
        pipeline.sync(one.pk)


def whose(person: Person) -> int:
    return Face.objects.filter(person=person).count()


def states(person: Person) -> list[str]:
    return [row.state for row in person.enrolments.order_by("pk")]


class TestThousandsOfFaces:
    """They follow in the background: the pointer alone is set at once."""

    @pytest.fixture(autouse=True)
    def few_at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("persons.actions.merging.MOST_MOVED", 2)
        monkeypatch.setattr("persons.pipeline.identity.merge_propagation.PHOTOS_AT_ONCE", 2)

    def test_they_follow_photo_by_photo_and_back_again(self, bob: User, person: Make) -> None:
        ada, bea = person("Ada", 5), person("Bea", 2)
        change = merge_people(actor=by(bob), person=ada, into=bea)
        assert (change.face_count, whose(ada), whose(bea)) == (5, 5, 2)
        job = SpaceJob.objects.get()
        assert (job.kind, job.requested_by, job.state) == ("follow", bob, "queued")
        pipeline.work(job.pk)
        job.refresh_from_db()
        assert (job.state, job.done, job.total) == ("done", 5, 5)
        assert (whose(ada), whose(bea)) == (0, 7)
        undo(actor=by(bob), change=change)
        assert (whose(ada), whose(bea)) == (0, 7)
        pipeline.work(SpaceJob.objects.latest("pk").pk)
        assert (whose(ada), whose(bea)) == (5, 2)
        ada.refresh_from_db()
        bea.refresh_from_db()
        assert (ada.face_count, bea.face_count) == (5, 2)

    def test_a_worker_that_dies_leaves_off_where_the_next_goes_on(
        self, bob: User, person: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ada, bea = person("Ada", 5), person("Bea")
        merge_people(actor=by(bob), person=ada, into=bea)
        job = SpaceJob.objects.get()
        monkeypatch.setattr("persons.pipeline.spaces.job_claims.SLICE_SECONDS", -1.0)
        assert pipeline.work(job.pk).jobs == [job.pk]
        job.refresh_from_db()
        assert (job.state, job.done, whose(bea)) == ("queued", 2, 2)
        pipeline.work(job.pk)
        pipeline.work(job.pk)
        assert whose(bea) == 5

    def test_undone_before_they_have_followed(self, bob: User, person: Make) -> None:
        ada, bea = person("Ada", 5), person("Bea", 2)
        change = merge_people(actor=by(bob), person=ada, into=bea)
        undo(actor=by(bob), change=change)
        for job in SpaceJob.objects.all():
            pipeline.work(job.pk)
        assert (whose(ada), whose(bea)) == (5, 2)

    def test_a_face_that_is_rejected_meanwhile_is_neither(self, bob: User, person: Make) -> None:
        ada, bea = person("Ada", 5), person("Bea")
        merge_people(actor=by(bob), person=ada, into=bea)
        face = Face.objects.filter(person=ada).earliest("pk")
        reject_person(actor=by(bob), face=face, person=ada)
        pipeline.work(SpaceJob.objects.get().pk)
        face.refresh_from_db()
        assert (face.person, whose(bea)) == (None, 4)


class TestMerging:
    def test_all_faces_are_the_survivors(self, bob: User, person: Make) -> None:
        ada, bea = person("Ada", 3), person("Bea", 2)
        change = merge_people(actor=by(bob), person=ada, into=bea)
        ada.refresh_from_db()
        assert (ada.merged_into, ada.label, whose(bea), whose(ada)) == (bea, "Ada", 5, 0)
        assert (change.kind, change.person, change.other) == ("merge", ada, bea)
        assert change.face_count == 3
        (entry,) = entries(bea.space.team, "person.merge")
        assert (entry.target_text, entry.after["into"]) == ("Ada", "Bea")

    def test_undone_each_has_their_own_again(self, bob: User, person: Make) -> None:
        ada, bea = person("Ada", 3), person("Bea", 2)
        change = merge_people(actor=by(bob), person=ada, into=bea)
        assert undo(actor=by(bob), change=change).notice == ""
        assert (whose(ada), whose(bea)) == (3, 2)
        with pytest.raises(Refused, match="undone already"):
            undo(actor=by(bob), change=change)

    def test_what_was_said_since_stays(self, bob: User, person: Make, gallery: Gallery) -> None:
        ada, bea = person("Ada", 3), person("Bea", 2)
        change = merge_people(actor=by(bob), person=ada, into=bea)
        confirmed = Face.objects.filter(found_person=ada).first()
        assert confirmed is not None
        assert confirm_faces(actor=by(bob), faces=[confirmed])
        undo(actor=by(bob), change=change)
        confirmed.refresh_from_db()
        assert confirmed.person == bea, "somebody said so, looking at Bea"
        assert (whose(ada), whose(bea)) == (2, 3)

    def test_what_vision_says_later_counts_for_the_survivor(
        self, bob: User, person: Make, gallery: Gallery, vision: FakeVision
    ) -> None:
        ada, bea = person("Ada"), person("Bea")
        change = merge_people(actor=by(bob), person=ada, into=bea)
        photo = waiting_photo(gallery)
        vision.show(photo, found(ada.person_id))
        pipeline.recognise_batch(gallery.space_id)
        assert photo.faces.get().person == bea
        undo(actor=by(bob), change=change)
        assert photo.faces.get().person == ada

    @pytest.mark.parametrize("first", ["inner", "outer"])
    def test_a_chain_comes_apart_in_any_order(self, bob: User, person: Make, first: str) -> None:
        ada, bea, cyd = person("Ada", 1), person("Bea", 2), person("Cyd", 3)
        inner = merge_people(actor=by(bob), person=ada, into=bea)
        outer = merge_people(actor=by(bob), person=bea, into=cyd)
        assert whose(cyd) == 6
        if first == "inner":
            undo(actor=by(bob), change=inner)
            assert (whose(ada), whose(bea), whose(cyd)) == (1, 0, 5)
            undo(actor=by(bob), change=outer)
        else:
            undo(actor=by(bob), change=outer)
            assert (whose(ada), whose(bea), whose(cyd)) == (0, 3, 3)
            undo(actor=by(bob), change=inner)
        assert (whose(ada), whose(bea), whose(cyd)) == (1, 2, 3)

    def test_somebody_who_was_merged_stands_for_the_one_merged_into(
        self, bob: User, person: Make
    ) -> None:
        ada, bea, cyd = person("Ada", 1), person("Bea", 1), person("Cyd", 1)
        merge_people(actor=by(bob), person=bea, into=cyd)
        change = merge_people(actor=by(bob), person=ada, into=bea)
        assert (change.other, whose(cyd)) == (cyd, 3)
        with pytest.raises(Refused, match="Ada was merged into Cyd already"):
            merge_people(actor=by(bob), person=ada, into=bea)
        with pytest.raises(Refused, match="Bea was merged into Cyd already"):
            merge_people(actor=by(bob), person=cyd, into=bea)

    def test_people_of_different_spaces_are_not_merged(
        self, bob: User, person: Make, gallery: Gallery
    ) -> None:
        other = PersonFactory.create(space=gallery.team.spaces.get(number=1))
        with pytest.raises(Refused, match="different spaces"):
            merge_people(actor=by(bob), person=person("Ada"), into=other)

    def test_both_on_one_photo_want_a_look(self, bob: User, person: Make) -> None:
        ada, bea = person("Ada", 1), person("Bea")
        photo = Photo.objects.get()
        weaker = FaceFactory.create(photo=photo, person=bea, left=40, right=60, similarity=0.6)
        change = merge_people(actor=by(bob), person=ada, into=bea)
        weaker.refresh_from_db()
        assert weaker.review == Review.DOUBLE
        undo(actor=by(bob), change=change)
        weaker.refresh_from_db()
        assert weaker.review == Review.NONE

    def test_not_bea_holds_for_whoever_is_merged_into_bea(self, bob: User, person: Make) -> None:
        ada, bea = person("Ada", 1), person("Bea")
        face = Face.objects.get()
        Rejection.objects.create(face=face, person=bea)
        change = merge_people(actor=by(bob), person=ada, into=bea)
        assert (whose(ada), whose(bea)) == (0, 0)
        undo(actor=by(bob), change=change)
        assert whose(ada) == 1

    def test_a_rejection_of_the_survivor_outlives_the_parting(
        self, bob: User, person: Make
    ) -> None:
        ada, bea = person("Ada", 1), person("Bea")
        change = merge_people(actor=by(bob), person=ada, into=bea)
        face = Face.objects.get()
        reject_person(actor=by(bob), face=face, person=bea)
        assert set(face.rejected.all()) == {ada, bea}
        undo(actor=by(bob), change=change)
        assert (whose(ada), whose(bea)) == (0, 0)

    def test_a_face_in_the_trash_goes_along(self, bob: User, person: Make) -> None:
        ada, bea = person("Ada", 1), person("Bea")
        Photo.objects.update(trashed_at=timezone.now())
        Face.objects.update(trashed=True)
        change = merge_people(actor=by(bob), person=ada, into=bea)
        assert Face.everything.get().person == bea
        undo(actor=by(bob), change=change)
        assert Face.everything.get().person == ada


class TestNames:
    def test_the_survivor_keeps_theirs_and_is_found_by_both(self, bob: User, person: Make) -> None:
        ada, bea = person("Ada"), person("Bea")
        merge_people(actor=by(bob), person=ada, into=bea)
        assert with_label(ada.space, "ada") == bea
        named = name_face(
            actor=by(bob), face=FaceFactory.create(photo__gallery__space=ada.space), label="Ada"
        )
        assert (named.person, named.is_new) == (bea, False)

    def test_a_survivor_without_a_name_gets_it_and_gives_it_back(
        self, bob: User, person: Make
    ) -> None:
        ada, unnamed = person("Ada"), person()
        change = merge_people(actor=by(bob), person=ada, into=unnamed)
        unnamed.refresh_from_db()
        assert (unnamed.label, change.label) == ("Ada", "Ada")
        undo(actor=by(bob), change=change)
        unnamed.refresh_from_db()
        ada.refresh_from_db()
        assert (unnamed.label, ada.label) == ("", "Ada")

    def test_a_name_that_was_changed_since_stays(self, bob: User, person: Make) -> None:
        ada, unnamed = person("Ada"), person()
        change = merge_people(actor=by(bob), person=ada, into=unnamed)
        unnamed.refresh_from_db()
        rename_person(actor=by(bob), person=unnamed, label="Eve")
        assert undo(actor=by(bob), change=change).notice == ""
        assert sorted(Person.objects.values_list("label", flat=True)) == ["Ada", "Eve"]

    def test_a_name_that_somebody_was_given_by_since_stays(self, bob: User, person: Make) -> None:
        ada, unnamed = person("Ada"), person()
        change = merge_people(actor=by(bob), person=ada, into=unnamed)
        name_face(
            actor=by(bob), face=FaceFactory.create(photo__gallery__space=ada.space), label="Ada"
        )
        assert "“Ada (2)”" in undo(actor=by(bob), change=change).notice
        unnamed.refresh_from_db()
        ada.refresh_from_db()
        assert (unnamed.label, ada.label) == ("Ada", "Ada (2)")

    def test_a_name_that_is_somebody_elses_by_now_gets_a_number(
        self, bob: User, person: Make
    ) -> None:
        ada, bea = (tampering.named(person(name)) for name in ("Ada", "Bea"))
        change = merge_people(actor=by(bob), person=ada, into=bea)
        cyd = tampering.named(person("Cyd"))
        rename_person(actor=by(bob), person=cyd, label="ADA")
        notice = undo(actor=by(bob), change=change).notice
        assert notice == (
            "Somebody else is called “Ada” by now, so this one is “Ada (2)” until you rename them."
        )
        ada.refresh_from_db()
        assert ada.label == "Ada (2)"
        seal_audit()
        assert check(ada.space.team).problem == "", "the audit says so, too"

    def test_whoever_is_merged_is_neither_renamed_nor_removed(
        self, bob: User, person: Make
    ) -> None:
        ada, bea = person("Ada"), person("Bea")
        merge_people(actor=by(bob), person=ada, into=bea)
        with pytest.raises(Refused, match="Change Bea instead"):
            rename_person(actor=by(bob), person=ada, label="Adam")
        with pytest.raises(Refused, match="was merged into Bea"):
            remove_empty_person(actor=by(bob), person=ada)
        with pytest.raises(Refused, match="Undo that first"):
            remove_empty_person(actor=by(bob), person=bea)


class TestPicturesAtVision:
    @pytest.fixture
    def pair(self, bob: User, person: Make, gallery: Gallery, vision: FakeVision) -> list[Person]:
        """Ada with two pictures, Bea with one; Vision knows all three."""
        pair = [person("Ada"), person("Bea")]
        for who, count in zip(pair, (2, 1), strict=True):
            for _ in range(count):
                photo = waiting_photo(gallery, state=PhotoState.DONE)
                face = FaceFactory.create(photo=photo, left=100, top=80, right=200, bottom=210)
                name_face(actor=by(bob), face=face, label=who.label)
            in_step(who)
        vision.asked.clear()
        Run.objects.all().delete()
        return pair

    def asked(self, vision: FakeVision) -> list[tuple[str, list[int]]]:
        return [(one.method.value, one.person_ids) for one in vision.asked]

    def test_they_are_set_for_the_survivor_and_then_deleted(
        self, bob: User, pair: list[Person], vision: FakeVision
    ) -> None:
        ada, bea = pair
        was = {row.pk: row.image for row in ada.enrolments.all()}
        merge_people(actor=by(bob), person=ada, into=bea)
        assert states(ada) == ["removing", "removing"]
        assert states(bea) == ["done", "queued", "queued"]
        in_step(ada)
        assert vision.asked == [], "Ada is forgotten only once Bea is known by her pictures"
        in_step(bea, ada)
        assert self.asked(vision) == [
            ("set", [bea.person_id] * 2),
            ("delete", [ada.person_id]),
        ]
        assert states(ada) == ["removed", "removed"]
        copies = bea.enrolments.exclude(origin=None)
        assert {row.origin_id: row.image for row in copies} == was
        assert set(copies.values_list("state", flat=True)) == {"done"}

    def test_many_cost_no_more_queries_than_one(self, bob: User, person: Make) -> None:
        asked = []
        for many in (1, 9):
            ada, bea = person(faces=many), person(faces=many)
            for one in (ada, bea):
                for face in one.faces.all():
                    Enrolment.objects.create(person=one, face=face, state=EnrolmentState.DONE)
            with CaptureQueriesContext(connection) as queries:
                merge_people(actor=by(bob), person=ada, into=bea)
            assert bea.enrolments.count() == 2 * many
            asked.append(len(queries))
        assert asked[0] == asked[1]

    def test_no_photo_is_asked_again_for_it(
        self, bob: User, pair: list[Person], gallery: Gallery, vision: FakeVision
    ) -> None:
        """Vision knows no face that it did not know before."""
        FaceFactory.create(photo=waiting_photo(gallery, state=PhotoState.DONE))
        merge_people(actor=by(bob), person=pair[0], into=pair[1])
        in_step(pair[1], pair[0])
        assert not Run.objects.exists()
        assert not Photo.objects.filter(state=PhotoState.QUEUED).exists()

    def test_undone_they_go_back(self, bob: User, pair: list[Person], vision: FakeVision) -> None:
        ada, bea = pair
        change = merge_people(actor=by(bob), person=ada, into=bea)
        in_step(bea, ada)
        vision.asked.clear()
        undo(actor=by(bob), change=change)
        in_step(ada, bea)
        assert self.asked(vision) == [
            ("set", [ada.person_id] * 2),
            ("delete", [bea.person_id]),
            ("set", [bea.person_id]),
        ]
        live = [state for state in states(ada) if state != "removed"]
        assert (live, states(bea)) == (["done", "done"], ["done", "removed", "removed"])

    def test_one_that_was_removed_meanwhile_does_not_come_back(
        self, bob: User, pair: list[Person], vision: FakeVision
    ) -> None:
        ada, bea = pair
        change = merge_people(actor=by(bob), person=ada, into=bea)
        in_step(bea, ada)
        copy = bea.enrolments.exclude(origin=None).earliest("pk")
        remove_enrolment(actor=by(bob), enrolment=copy)
        undo(actor=by(bob), change=change)
        assert ada.enrolments.filter(state=EnrolmentState.QUEUED).count() == 1

    def test_one_that_a_client_had_set_goes_along_a_chain_and_home_again(
        self, bob: User, pair: list[Person], person: Make
    ) -> None:
        ada, bea = pair
        cyd = person("Cyd")
        Enrolment.objects.create(person=ada, sha256="a" * 64, image="x", state="done")
        inner = merge_people(actor=by(bob), person=ada, into=bea)
        merge_people(actor=by(bob), person=bea, into=cyd)
        live = Enrolment.objects.filter(state__in=EnrolmentState.live(), sha256="a" * 64)
        assert live.get().person == cyd
        undo(actor=by(bob), change=inner)
        assert live.get().person == ada

    def test_one_that_vision_had_refused_is_shown_with_the_survivor(
        self, bob: User, person: Make
    ) -> None:
        ada, bea = person("Ada"), person("Bea")
        Enrolment.objects.create(person=ada, state=EnrolmentState.FAILED, error="no face")
        merge_people(actor=by(bob), person=ada, into=bea)
        assert [(row.state, row.error) for row in bea.enrolments.all()] == [("failed", "no face")]

    def test_a_wrong_picture_that_came_along_is_looked_behind(
        self, bob: User, pair: list[Person], gallery: Gallery
    ) -> None:
        """What Vision said of Ada before may have come from the picture that is taken back now."""
        ada, bea = pair
        photo = waiting_photo(gallery, state=PhotoState.DONE)
        FaceFactory.create(photo=photo, person=ada)
        merge_people(actor=by(bob), person=ada, into=bea)
        in_step(bea, ada)
        remove_enrolment(actor=by(bob), enrolment=bea.enrolments.exclude(origin=None)[0])
        in_step(bea)
        photo.refresh_from_db()
        assert photo.state == PhotoState.QUEUED

    def test_a_look_for_somebody_merged_is_one_for_the_survivor(
        self, pair: list[Person], bob: User
    ) -> None:
        ada, bea = pair
        merge_people(actor=by(bob), person=ada, into=bea)
        run = rescan_for(ada, found_too=True)
        assert (run.person, run.reason) == (bea, "Looking for Bea")


class TestSplitting:
    def test_faces_are_a_humans_word_for_somebody_new(self, bob: User, person: Make) -> None:
        ada = person("Ada", 4)
        faces = list(Face.objects.order_by("pk")[:2])
        change = split_person(actor=by(bob), person=ada, faces=faces, label="Cyd")
        cyd = Person.objects.get(label="Cyd")
        assert (change.kind, change.person, change.other) == ("split", cyd, ada)
        assert (whose(ada), whose(cyd)) == (2, 2)
        assert cyd.enrolments.count() == 2, "so that Vision learns them"
        undo(actor=by(bob), change=change)
        assert whose(ada) == 4
        in_step(cyd)
        assert not Person.objects.filter(label="Cyd").exists()

    def test_pictures_move_with_their_faces(
        self, bob: User, person: Make, gallery: Gallery, vision: FakeVision
    ) -> None:
        ada, bea = person("Ada"), person("Bea")
        faces = [
            FaceFactory.create(photo=waiting_photo(gallery, state=PhotoState.DONE))
            for _ in range(7)
        ]
        for face in faces:
            name_face(actor=by(bob), face=face, label="Ada")
        in_step(ada)
        change = split_person(actor=by(bob), person=ada, faces=faces[:6], label="Bea")
        assert bea.enrolments.filter(state="queued").count() == 6
        in_step(bea, ada)
        assert states(ada) == ["removed"] * 6 + ["done"]
        undo(actor=by(bob), change=change)
        assert ada.enrolments.filter(state__in=["queued", "done"]).count() == 7
        assert bea.enrolments.filter(state__in=["queued", "done"]).count() == 0

    def test_faces_of_somebody_else_are_left_out(self, bob: User, person: Make) -> None:
        ada, bea = person("Ada", 1), person("Bea", 1)
        change = split_person(actor=by(bob), person=ada, faces=list(Face.objects.all()), label="X")
        assert (change.face_count, whose(bea)) == (1, 1)


class TestNeverTheseTwo:
    def test_they_are_not_merged_until_it_is_taken_back(self, bob: User, person: Make) -> None:
        ada, bea = person("Ada"), person("Bea")
        likeness = different_people(actor=by(bob), one=bea, other=ada)
        assert (likeness.one, likeness.other) == (ada, bea)
        for pair in ((ada, bea), (bea, ada)):
            with pytest.raises(Refused, match="never the same person by Bob"):
                merge_people(actor=by(bob), person=pair[0], into=pair[1])
        forget_difference(actor=by(bob), likeness=likeness)
        assert not Likeness.objects.exists(), "nobody but a human ever thought of the two"
        merge_people(actor=by(bob), person=ada, into=bea)

    def test_it_holds_for_whoever_they_are_merged_into(self, bob: User, person: Make) -> None:
        ada, bea, cyd = person("Ada"), person("Bea"), person("Cyd")
        different_people(actor=by(bob), one=ada, other=bea)
        merge_people(actor=by(bob), person=bea, into=cyd)
        with pytest.raises(Refused, match="Ada and Bea were marked as never the same"):
            merge_people(actor=by(bob), person=ada, into=cyd)

    def test_people_who_are_merged_are_the_same(self, bob: User, person: Make) -> None:
        ada, bea = person("Ada"), person("Bea")
        merge_people(actor=by(bob), person=ada, into=bea)
        with pytest.raises(Refused, match="Ada and Bea are merged"):
            different_people(actor=by(bob), one=ada, other=bea)

    def test_twice_is_once(self, bob: User, person: Make) -> None:
        ada, bea = person("Ada"), person("Bea")
        first = different_people(actor=by(bob), one=ada, other=bea)
        assert different_people(actor=by(bob), one=bea, other=ada) == first
        assert len(entries(ada.space.team, "people.differ")) == 1


class TestAliases:
    @pytest.fixture
    def alike(
        self, person: Make, gallery: Gallery, vision: FakeVision
    ) -> Callable[..., list[Likeness]]:
        def ask(one: Person, *others: Person) -> list[Likeness]:
            photo = waiting_photo(gallery)
            tags = [other.tag for other in others]
            vision.show(photo, found(one.person_id, aliases=tags))
            due_now()
            pipeline.recognise_batch(gallery.space_id)
            return list(Likeness.objects.filter(decision=""))

        return ask

    Alike = Callable[..., list[Likeness]]

    def test_a_pair_is_suggested_once(self, person: Make, alike: Alike) -> None:
        ada, bea, cyd = person("Ada"), person("Bea"), person("Cyd")
        (row,) = alike(bea, ada)
        assert (row.one, row.other, row.space) == (ada, bea, ada.space)
        assert alike(ada, bea) == [row]
        assert len(alike(cyd, ada, bea)) == 3

    def test_not_with_those_who_were_split_off_until_that_is_undone(
        self, bob: User, person: Make, alike: Alike
    ) -> None:
        ada = person("Ada", 3)
        face = Face.objects.filter(person=ada).earliest("pk")
        change = split_person(actor=by(bob), person=ada, faces=[face], label="Bea")
        assert change.person is not None
        name_face(actor=by(bob), face=Face.objects.filter(person=ada).earliest("pk"), label="Bea")
        assert alike(ada, change.person) == []
        undo(actor=by(bob), change=change)
        assert len(alike(ada, change.person)) == 1

    def test_not_with_somebody_whom_the_ledger_does_not_know(
        self, person: Make, alike: Alike
    ) -> None:
        assert alike(person("Ada"), Person(person_id=77)) == []

    def test_whoever_was_merged_stands_for_the_survivor(
        self, bob: User, person: Make, alike: Alike
    ) -> None:
        ada, bea, cyd = person("Ada"), person("Bea"), person("Cyd")
        merge_people(actor=by(bob), person=ada, into=bea)
        assert alike(ada, bea) == []
        (row,) = alike(ada, cyd)
        assert (row.one, row.other) == (bea, cyd)

    def test_never_a_pair_that_somebody_keeps_apart(
        self, bob: User, person: Make, alike: Alike
    ) -> None:
        ada, bea, cyd = person("Ada"), person("Bea"), person("Cyd")
        different_people(actor=by(bob), one=ada, other=bea)
        assert alike(ada, bea) == []
        merge_people(actor=by(bob), person=bea, into=cyd)
        assert alike(ada, bea) == []

    def test_one_that_is_taken_back_is_a_suggestion_again(
        self, bob: User, person: Make, alike: Alike
    ) -> None:
        ada, bea = person("Ada"), person("Bea")
        alike(ada, bea)
        likeness = different_people(actor=by(bob), one=ada, other=bea)
        forget_difference(actor=by(bob), likeness=likeness)
        likeness.refresh_from_db()
        assert (likeness.decision, likeness.decided_by) == ("", None)

    def test_of_a_clients_recognition_too(self, person: Make) -> None:
        ada, bea = person("Ada"), person("Bea")
        raw = answer(seen("a", found(ada.person_id, aliases=[bea.tag, "undefined", "x"])))
        parsed = envelope.parse(Method.RECOGNIZE, Answer(raw))
        assert note_aliases(ada.space, parsed.objects) == 1
        assert note_aliases(ada.space, parsed.objects) == 0


class TestPreviews:
    @pytest.fixture
    def everything(self, team: Team) -> Visible:
        return Visible(team.pk)

    def test_a_merge(self, person: Make, bob: User, everything: Visible) -> None:
        ada, bea = person("Ada", 6), person("", 1)
        for face in Face.objects.filter(person=ada)[:2]:
            Enrolment.objects.create(person=ada, face=face, state=EnrolmentState.DONE)
        FaceFactory.create(photo=Photo.objects.earliest("pk"), person=bea, left=40, right=60)
        preview = merge_preview(ada, bea, everything)
        assert (preview.faces, preview.photos, preview.pictures) == (6, 6, 2)
        assert (preview.name, preview.together, preview.refused) == ("Ada", 1, "")
        assert len(preview.covers) == 4
        assert (preview.left.faces, preview.right.faces) == (6, 2)
        assert (preview.images_to_send, preview.cost) == (2, Decimal(0))
        different_people(actor=by(bob), one=ada, other=bea)
        assert "never the same person" in merge_preview(ada, bea, everything).refused

    def test_the_clouds_price(
        self, person: Make, everything: Visible, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("persons.actions.previews.is_cloud", lambda: True)
        ada, bea = person("Ada"), person("Bea")
        Enrolment.objects.create(person=ada, state=EnrolmentState.DONE)
        assert merge_preview(ada, bea, everything).cost > Decimal(0)

    def test_a_split(self, person: Make, bob: User, everything: Visible) -> None:
        ada = person("Ada", 6)
        faces = list(Face.objects.order_by("pk"))
        for face in faces[:3]:
            name_face(actor=by(bob), face=face, label="Ada")
        preview = split_preview(ada, faces[1:4], " Cyd ", everything)
        assert (preview.faces, preview.photos, preview.pictures) == (3, 3, 2)
        assert (preview.is_new, preview.right.name, preview.refused) == (True, "Cyd", "")
        assert preview.images_to_send == 3, "two that move, and one more that is good enough"
        assert "somebody else's name" in split_preview(ada, faces, "ada", everything).refused
        assert split_preview(ada, faces, "", everything).refused == "Type whose faces these are."
        assert "Ada's any more" in split_preview(ada, [], "Cyd", everything).refused


def test_a_drawn_box_is_found_again_and_never_deleted(
    bob: User, gallery: Gallery, person: Make, vision: FakeVision
) -> None:
    ada = person("Ada")
    photo = waiting_photo(gallery)
    face = draw_face(actor=by(bob), photo=photo, box=Box(100, 80, 200, 210))
    assert (face.is_drawn, face.drawn_by, face.review) == (True, bob, Review.UNKNOWN)
    vision.show(photo, found(ada.person_id, (104, 84, 204, 214)))
    pipeline.recognise_batch(gallery.space_id)
    again = photo.faces.get()
    assert (again.pk, again.person) == (face.pk, ada)
    vision.show(photo)
    Photo.objects.update(state=PhotoState.QUEUED)
    pipeline.recognise_batch(gallery.space_id)
    again = photo.faces.get()
    assert (again.pk, again.person, again.missing) == (face.pk, None, False)


def test_a_drawn_box_with_a_name_is_enrolled(
    bob: User, gallery: Gallery, vision: FakeVision
) -> None:
    photo = waiting_photo(gallery, state=PhotoState.DONE)
    face = draw_face(actor=by(bob), photo=photo, box=Box(100, 80, 200, 210), label="Cyd")
    assert face.person is not None
    in_step(face.person)
    assert states(face.person) == ["done"]


def test_faces_are_counted_in_the_background(person: Make) -> None:
    ada, bea = person("Ada", 3), person("Bea")
    Person.objects.filter(pk=bea.pk).update(face_count=9)
    pipeline.sweep()
    counts = dict(Person.objects.values_list("pk", "face_count"))
    assert counts == {ada.pk: 3, bea.pk: 0}
