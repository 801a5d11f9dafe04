"""While faces still move after a merge or a split, nothing else may go wrong with them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.utils import timezone

from dashboard.pages.spaces import space_jobs
from persons import pipeline
from persons.actions.changes import undo
from persons.actions.erasing import erase_person
from persons.actions.faces import confirm_faces, name_face, reject_faces
from persons.actions.holds import hold_person
from persons.actions.people import merge_people, remove_empty_person, split_person
from persons.actions.review import Verdict, decide_face, sort_suggestions
from persons.errors import Refused
from persons.faces.identity import resolve_identities, resolve_person
from persons.models import (
    Decision,
    Enrolment,
    Face,
    Gallery,
    JobState,
    Person,
    Photo,
    Rejection,
    SpaceJob,
    User,
)
from persons.pipeline.identity import merge_propagation, rebuild_identities
from persons.pipeline.privacy import retention
from persons.privacy import holds
from tests.support.factories import FaceFactory, GalleryFactory, PersonFactory, PhotoFactory
from tests.support.fakes import by

Make = Callable[..., Person]


@pytest.fixture(autouse=True)
def few_at_once(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("persons.actions.merging.MOST_MOVED", 2)


@pytest.fixture
def gallery(bob: User) -> Gallery:
    return GalleryFactory.create(team=bob.memberships.get().team, slug="lake")


@pytest.fixture
def person(gallery: Gallery) -> Make:
    def make(label: str = "", faces: int = 0, **more: object) -> Person:
        made: Person = PersonFactory.create(space=gallery.space, label=label)
        for photo in PhotoFactory.create_batch(faces, gallery=gallery):
            FaceFactory.create(photo=photo, person=made, **more)
        return made

    return make


def whose(person: Person) -> int:
    return Face.objects.filter(person=person).count()


def work_through() -> None:
    for job in SpaceJob.objects.filter(state=JobState.QUEUED).order_by("pk"):
        pipeline.work(job.pk)


def all_is_resolved() -> None:
    columns = ("pk", "person", "review", "review_rank")
    before = set(Face.everything.values_list(*columns))
    resolve_identities(Photo.everything.values_list("pk", flat=True))
    assert set(Face.everything.values_list(*columns)) == before


@pytest.fixture
def on_the_way_home(bob: User, person: Make) -> tuple[Person, Person]:
    """Ada was merged into Bea and parted again; her three named faces are not hers again yet."""
    ada, bea = person("Ada", 3, decision=Decision.NAMED), person("Bea", 1)
    change = merge_people(actor=by(bob), person=ada, into=bea)
    work_through()
    undo(actor=by(bob), change=change)
    assert (whose(ada), whose(bea)) == (0, 4)
    ada.refresh_from_db()
    return ada, bea


class TestOnTheWayHome:
    def test_whoever_they_go_to_is_not_empty(
        self, bob: User, on_the_way_home: tuple[Person, Person]
    ) -> None:
        ada, _ = on_the_way_home
        with pytest.raises(Refused, match="has faces"):
            remove_empty_person(actor=by(bob), person=ada)
        work_through()
        assert whose(ada) == 3

    def test_neither_is_erased_before_they_are_there(
        self, alice: User, on_the_way_home: tuple[Person, Person]
    ) -> None:
        for one in on_the_way_home:
            with pytest.raises(Refused, match="on their way"):
                erase_person(actor=by(alice), person=one)
        work_through()
        erasure = erase_person(actor=by(alice), person=on_the_way_home[0])
        assert erasure.state == JobState.QUEUED

    @pytest.mark.django_db(transaction=True)
    def test_whoever_is_erased_takes_their_own_along(
        self, alice: User, on_the_way_home: tuple[Person, Person]
    ) -> None:
        """Not those of somebody else, which are still found under their name."""
        ada, bea = on_the_way_home
        SpaceJob.objects.update(state=JobState.FAILED)
        erasure = erase_person(actor=by(alice), person=bea, photos="all")
        while pipeline.erase(erasure.pk):
            pass
        work_through()
        assert Face.everything.filter(decision=Decision.NAMED, person=ada).count() == 3

    @pytest.mark.django_db(transaction=True)
    def test_whoever_is_erased_leaves_none_behind(
        self, alice: User, on_the_way_home: tuple[Person, Person]
    ) -> None:
        ada, bea = on_the_way_home
        SpaceJob.objects.update(state=JobState.FAILED)
        erasure = erase_person(actor=by(alice), person=ada)
        while pipeline.erase(erasure.pk):
            pass
        assert Face.everything.filter(decision=Decision.ERASED).count() == 3
        assert whose(bea) == 1

    def test_a_hold_is_on_their_photos(
        self, alice: User, on_the_way_home: tuple[Person, Person]
    ) -> None:
        ada, _ = on_the_way_home
        hold_person(actor=by(alice), person=ada, reason="a court asks")
        assert holds.held_photos(Photo.objects.all()).count() == 3
        work_through()
        assert holds.held_photos(Photo.objects.all()).count() == 3


def test_looks_of_named_faces_are_kept_while_they_are_on_their_way(
    bob: User, person: Make, gallery: Gallery
) -> None:
    ada, unnamed = person("Ada", 3, decision=Decision.NAMED), person()
    change = merge_people(actor=by(bob), person=ada, into=unnamed)
    work_through()
    undo(actor=by(bob), change=change)
    Face.objects.update(created_at=timezone.now() - timedelta(days=9))
    assert not retention.over(gallery.team, "unknown", timezone.now()).exists()


class TestNotYetThere:
    """Merged, and the faces still stand under the old name."""

    def test_they_are_rejected_many_at_once(self, bob: User, person: Make) -> None:
        ada, bea = person("Ada", 3), person("Bea")
        merge_people(actor=by(bob), person=ada, into=bea)
        reject_faces(actor=by(bob), faces=Face.objects.filter(person=ada), person=ada)
        work_through()
        assert (whose(ada), whose(bea)) == (0, 0)

    def test_they_are_sorted_as_suggestions_of_the_survivor(self, bob: User, person: Make) -> None:
        ada, bea = person("Ada", 3), person("Bea")
        merge_people(actor=by(bob), person=ada, into=bea)
        *yes, no = Face.objects.filter(person=ada)
        done = sort_suggestions(actor=by(bob), person=bea, yes=yes, no=[no])
        assert (done.confirmed, done.rejected, done.left_out) == (2, 1, 0)
        work_through()
        assert whose(bea) == 2
        no.refresh_from_db()
        assert no.person is None

    def test_a_reviewer_rejects_one(self, bob: User, person: Make) -> None:
        ada, bea = person("Ada", 3), person("Bea")
        merge_people(actor=by(bob), person=ada, into=bea)
        face = Face.objects.select_related("person").earliest("pk")
        decide_face(actor=by(bob), face=face, verdict=Verdict.REJECT, shown=face.person_id)
        work_through()
        assert whose(bea) == 2

    def test_a_rejection_outlives_the_parting_of_those_merged_before(
        self, bob: User, person: Make
    ) -> None:
        eve, ada, bea = person("Eve", 1), person("Ada", 3), person("Bea")
        first = merge_people(actor=by(bob), person=eve, into=ada)
        merge_people(actor=by(bob), person=ada, into=bea)
        face = Face.objects.get(found_person=eve)
        reject_faces(actor=by(bob), faces=[face], person=ada)
        undo(actor=by(bob), change=first)
        work_through()
        face.refresh_from_db()
        assert face.person is None

    def test_whoever_has_enough_pictures_gets_no_more_by_their_names(
        self, bob: User, person: Make
    ) -> None:
        ada, bea = person("Ada", 3), person("Bea")
        for face in FaceFactory.create_batch(5, photo__gallery__space=bea.space):
            name_face(actor=by(bob), face=face, label="Bea")
        merge_people(actor=by(bob), person=ada, into=bea)
        confirm_faces(actor=by(bob), faces=Face.objects.filter(person=ada))
        assert Enrolment.objects.count() == 5

    def test_they_are_split(self, bob: User, person: Make) -> None:
        ada, bea = person("Ada", 3), person("Bea")
        merge_people(actor=by(bob), person=ada, into=bea)
        split_person(actor=by(bob), person=ada, faces=list(Face.objects.all()[:1]), label="Cyd")
        work_through()
        assert whose(bea) == 2

    def test_a_new_name_is_that_of_whoever_they_go_to(self, bob: User, person: Make) -> None:
        unnamed, other = person("", 3), person("")
        merge_people(actor=by(bob), person=unnamed, into=other)
        face = Face.objects.select_related("person").earliest("pk")
        name_face(actor=by(bob), face=face, label="Zoe")
        work_through()
        face.refresh_from_db()
        other.refresh_from_db()
        assert (face.person, other.label) == (other, "Zoe")

    def test_a_new_name_is_not_another_ones(self, bob: User, person: Make) -> None:
        unnamed, bea = person("", 3), person("Bea")
        merge_people(actor=by(bob), person=unnamed, into=bea)
        face = Face.objects.select_related("person").earliest("pk")
        name_face(actor=by(bob), face=face, label="Zoe")
        work_through()
        face.refresh_from_db()
        assert face.person is not None
        assert face.person.label == "Zoe"


def test_a_worker_in_the_midst_of_it_hears_of_a_parting(
    bob: User, person: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it read before is not what it stores after: neither under a root's root."""
    ada, bea, cyd = person("Ada", 5), person("Bea", 1), person("Cyd", 1)
    inner = merge_people(actor=by(bob), person=ada, into=bea)
    merge_people(actor=by(bob), person=bea, into=cyd)

    def late(pks: list[int]) -> None:
        undo(actor=by(bob), change=inner)
        resolve_person(cyd.pk)
        resolve_identities(pks)
        # What the worker had worked out from pointers as they were.
        Face.everything.filter(photo__in=pks, found_person=ada).update(person=cyd)

    monkeypatch.setattr(merge_propagation, "resolve_identities", late)
    work_through()
    monkeypatch.undo()
    work_through()
    assert (whose(ada), whose(bea), whose(cyd)) == (5, 0, 2)
    all_is_resolved()


def test_so_does_one_who_works_out_the_whole_space(
    bob: User, person: Make, gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada, bea = person("Ada", 2), person("Bea", 1)
    change = merge_people(actor=by(bob), person=ada, into=bea)
    rebuild_identities.enqueue_rebuild(gallery.space, bob)

    def late(pks: list[int]) -> None:
        undo(actor=by(bob), change=change)
        resolve_person(bea.pk)
        resolve_identities(pks)
        Face.everything.filter(photo__in=pks, found_person=ada).update(person=bea)

    monkeypatch.setattr(rebuild_identities, "resolve_identities", late)
    work_through()
    assert (whose(ada), whose(bea)) == (2, 1)


class TestManyAtOnce:
    def test_they_hide_no_other_work(self, bob: User, person: Make, gallery: Gallery) -> None:
        restore = SpaceJob.objects.create(
            team=gallery.team, space=gallery.space, kind="restore", state="queued"
        )
        anna = person("Anna")
        for _ in range(15):
            merge_people(actor=by(bob), person=person("", 3), into=anna)
        for job in SpaceJob.objects.filter(kind="follow")[5:]:
            pipeline.work(job.pk)
        shown = [row.job for row in space_jobs.rows_of(space_jobs._recent(gallery.space))]
        assert restore in shown
        assert len(shown) < 5

    def test_one_that_was_given_up_is_told(self, bob: User, person: Make, gallery: Gallery) -> None:
        merge_people(actor=by(bob), person=person("Ada", 3), into=person("Bea"))
        SpaceJob.objects.update(state="failed", error="cut off")
        (row,) = space_jobs.rows_of(space_jobs._recent(gallery.space))
        assert row.can_retry


def test_a_group_takes_home_whom_vision_took_for_somebody_else(
    bob: User, person: Make, gallery: Gallery
) -> None:
    """At once: the message about what a parting leaves behind may be lost."""
    group, bea, eve = person(), person("Bea", 1), person("Eve")
    face = FaceFactory.create(photo__gallery=gallery, person=eve)
    Rejection.objects.create(face=face, person=eve)
    Face.objects.filter(pk=face.pk).update(grouped_person=group)
    resolve_identities([face.photo_id])
    change = merge_people(actor=by(bob), person=group, into=bea)
    undo(actor=by(bob), change=change)
    face.refresh_from_db()
    assert face.person == group


def test_those_that_are_over_go(bob: User, person: Make) -> None:
    merge_people(actor=by(bob), person=person("Ada", 3), into=person("Bea"))
    merge_people(actor=by(bob), person=person("Cyd", 3), into=person("Eve"))
    done, waiting = SpaceJob.objects.order_by("pk")
    pipeline.work(done.pk)
    pipeline.sweep()
    assert SpaceJob.objects.count() == 2
    SpaceJob.objects.filter(pk=done.pk).update(finished_at=timezone.now() - timedelta(hours=2))
    pipeline.sweep()
    assert SpaceJob.objects.get() == waiting
