"""Grouping unknown faces into people: the plan, its confirmation, the people, and interruptions."""

from __future__ import annotations

from secrets import token_hex
from typing import Any

import numpy as np
import pytest
from pytest_django import Settings

from persons import pipeline
from persons.actions.changes import undo
from persons.actions.faces import name_faces, reject_faces
from persons.actions.groups import (
    cancel_grouping,
    change_threshold,
    make_groups,
    start_grouping,
)
from persons.actions.people import different_people
from persons.backends.embedded import WIRE, weights
from persons.errors import Refused
from persons.faces.identity import resolve_identities
from persons.models import (
    AuditEntry,
    Decision,
    Enrolment,
    Face,
    FaceVector,
    Gallery,
    GalleryMember,
    Grouping,
    JobState,
    Person,
    Photo,
    Review,
    Role,
    Space,
    User,
)
from persons.pipeline.identity import grouping as turns
from persons.pipeline.sweeper import release_claims
from persons.work import Work
from tests.support.factories import FaceFactory, GalleryFactory, PersonFactory, PhotoFactory
from tests.support.fakes import by, die, in_a_worker_that_may_die
from tests.support.portraits import PEOPLE, upload_group, upload_portraits
from tests.support.waiting import swept


@pytest.fixture
def gallery(bob: User) -> Gallery:
    return GalleryFactory.create(team=bob.memberships.get().team, slug="harbour")


def embedding(person: int, number: int) -> np.ndarray[Any, Any]:
    """A vector of one of some people, and another one each time."""
    middle = np.random.default_rng(person).standard_normal(128)
    noise = np.random.default_rng(1000 + number).standard_normal(128)
    vector = middle / np.linalg.norm(middle) + 0.35 * noise / np.linalg.norm(noise)
    return np.asarray(vector / np.linalg.norm(vector), WIRE)


def make_face(gallery: Gallery, person: int, number: int, photo: Photo | None = None) -> Face:
    """An unknown face, whose embedding is known already."""
    photo = photo or PhotoFactory.create(gallery=gallery, sha256=token_hex(32))
    face: Face = FaceFactory.create(photo=photo, left=10 * number % 50)
    FaceVector.objects.create(
        face=face, model=weights().recogniser.sha256, vector=embedding(person, number).tobytes()
    )
    return face


@pytest.fixture
def crowd(gallery: Gallery) -> dict[int, list[Face]]:
    """Five faces of one person, three of a second, one of a third."""
    numbers = iter(range(100))
    return {
        person: [make_face(gallery, person, next(numbers)) for _ in range(count)]
        for person, count in ((1, 5), (2, 3), (3, 1))
    }


def run(grouping: Grouping) -> Grouping:
    """Turn after turn, as the tasks do."""
    while pipeline.group_faces(grouping.pk):
        pass
    grouping.refresh_from_db()
    return grouping


def planned(within: Gallery, user: User, **values: Any) -> Grouping:
    return run(start_grouping(actor=by(user), space=within.space, **values))


def made(within: Gallery, user: User, **values: Any) -> Grouping:
    return run(make_groups(actor=by(user), grouping=planned(within, user, **values)))


def pks(faces: list[Face]) -> set[int]:
    return {face.pk for face in faces}


class TestThePlan:
    def test_says_who_would_be_one_person_and_changes_nothing(
        self, gallery: Gallery, crowd: dict[int, list[Face]], bob: User
    ) -> None:
        grouping = planned(gallery, bob)
        assert grouping.state == JobState.READY
        assert [set(group) for group in grouping.plan] == [pks(crowd[1]), pks(crowd[2])]
        assert (grouping.total, grouping.done) == (9, 9)
        assert not Person.objects.exists()
        assert Face.objects.unknown().count() == 9
        assert [entry.action for entry in AuditEntry.objects.all()] == ["grouping.start"]

    def test_is_of_one_gallery_or_the_whole_space(
        self, gallery: Gallery, crowd: dict[int, list[Face]], bob: User
    ) -> None:
        other = GalleryFactory.create(team=gallery.team, space=gallery.space, slug="alps")
        alpine = [make_face(other, 2, 50), make_face(other, 2, 51)]
        narrow = planned(gallery, bob, gallery=other)
        assert [set(group) for group in narrow.plan] == [pks(alpine)]
        whole = planned(gallery, bob)
        assert set(whole.plan[1]) == pks(crowd[2]) | pks(alpine)

    def test_never_puts_two_faces_of_one_photo_together(self, gallery: Gallery, bob: User) -> None:
        photo = PhotoFactory.create(gallery=gallery)
        one, other = make_face(gallery, 1, 1, photo), make_face(gallery, 1, 2, photo)
        third = make_face(gallery, 1, 3)
        (group,) = planned(gallery, bob).plan
        assert len(group) == 2
        assert third.pk in group
        assert {one.pk, other.pk} - set(group)

    def test_another_threshold_makes_another_plan_of_what_was_seen(
        self, gallery: Gallery, crowd: dict[int, list[Face]], bob: User
    ) -> None:
        grouping = planned(gallery, bob)
        loose = change_threshold(actor=by(bob), grouping=grouping, threshold=0.3)
        assert (loose.state, loose.plan) == (JobState.QUEUED, [])
        assert run(loose).state == JobState.READY
        before = FaceVector.objects.count()
        strict = run(change_threshold(actor=by(bob), grouping=loose, threshold=0.7))
        assert FaceVector.objects.count() == before
        assert strict.threshold == 0.7

    def test_a_new_one_for_the_same_faces_drops_the_old(
        self, gallery: Gallery, crowd: dict[int, list[Face]], bob: User
    ) -> None:
        old = planned(gallery, bob)
        new = start_grouping(actor=by(bob), space=gallery.space)
        old.refresh_from_db()
        assert old.state == JobState.CANCELLED
        with pytest.raises(Refused, match="being sorted already"):
            start_grouping(actor=by(bob), space=gallery.space)
        assert new.state == JobState.QUEUED

    def test_leaves_out_what_is_closed_to_whoever_asked(
        self, gallery: Gallery, crowd: dict[int, list[Face]], bob: User, alice: User
    ) -> None:
        secret = GalleryFactory.create(
            team=gallery.team, space=gallery.space, slug="secret", is_open=False
        )
        make_face(secret, 3, 60)
        assert planned(gallery, bob).total == 9
        assert planned(gallery, alice).total == 10
        GalleryMember.objects.create(gallery=secret, user=bob, role=Role.VIEWER)
        assert planned(gallery, bob).total == 9

    @pytest.mark.parametrize("threshold", [0.1, 0.9, float("nan")])
    def test_refuses_a_threshold_that_makes_no_sense(
        self, gallery: Gallery, crowd: dict[int, list[Face]], bob: User, threshold: float
    ) -> None:
        with pytest.raises(Refused, match="a number from"):
            start_grouping(actor=by(bob), space=gallery.space, threshold=threshold)

    def test_refuses_where_there_is_nothing_to_sort(self, gallery: Gallery, bob: User) -> None:
        with pytest.raises(Refused, match="no unknown faces"):
            start_grouping(actor=by(bob), space=gallery.space)
        other: Space = gallery.team.spaces.get(number=5)
        with pytest.raises(Refused, match="another space"):
            start_grouping(actor=by(bob), space=other, gallery=gallery)


class TestWhatHumansSaid:
    def test_faces_taken_out_of_a_group_do_not_come_back_to_it(
        self, gallery: Gallery, crowd: dict[int, list[Face]], bob: User
    ) -> None:
        made(gallery, bob)
        group = Person.objects.order_by("-face_count")[0]
        wrong = crowd[1][0]
        reject_faces(actor=by(bob), faces=[wrong], person=group)
        wrong.refresh_from_db()
        assert wrong.review == Review.UNKNOWN
        assert planned(gallery, bob).plan == []
        assert Face.objects.grouped().filter(person=group).count() == 4

    def test_never_these_two_holds_for_faces_of_groups_that_were_thrown_away(
        self, gallery: Gallery, bob: User
    ) -> None:
        # One person by similarity; two groups by a human's word.
        faces = [make_face(gallery, 1, number) for number in range(6)]
        one, other = (PersonFactory.create(space=gallery.space, label="") for _ in range(2))
        for group, some in ((one, faces[:3]), (other, faces[3:])):
            Face.objects.filter(pk__in=pks(some)).update(grouped_person=group)
            resolve_identities([face.photo_id for face in some])
        different_people(actor=by(bob), one=one, other=other)
        for group, some in ((one, faces[:3]), (other, faces[3:])):
            reject_faces(actor=by(bob), faces=some, person=group)
        plan = planned(gallery, bob).plan
        assert {frozenset(group) for group in plan} == {
            frozenset(pks(faces[:3])),
            frozenset(pks(faces[3:])),
        }

    def test_a_face_that_is_not_a_person_is_kept_from_those_who_were(
        self, gallery: Gallery, bob: User
    ) -> None:
        faces = [make_face(gallery, 1, number) for number in range(4)]
        group = PersonFactory.create(space=gallery.space, label="")
        was = faces[:2]
        Face.objects.filter(pk__in=pks(was)).update(grouped_person=group)
        resolve_identities([face.photo_id for face in faces])
        reject_faces(actor=by(bob), faces=was, person=group)
        # Of the third somebody said, of whatever reason, that it is not whoever those were.
        faces[2].rejections.create(person=group)
        for planned_group in planned(gallery, bob).plan:
            both = set(planned_group) & {faces[2].pk}, set(planned_group) & pks(was)
            assert not (both[0] and both[1])


class TestThePeople:
    def test_are_made_without_names_and_get_the_faces(
        self, gallery: Gallery, crowd: dict[int, list[Face]], bob: User
    ) -> None:
        first = PersonFactory.create(space=gallery.space, label="Zoe").person_id
        grouping = made(gallery, bob)
        assert (grouping.state, grouping.plan) == (JobState.DONE, [])
        one, other = Person.objects.filter(grouping=grouping).order_by("pk")
        assert [(p.label, p.face_count) for p in (one, other)] == [("", 5), ("", 3)]
        assert (one.person_id, other.person_id) == (first + 1, first + 2)
        assert set(Face.objects.grouped().filter(person=one)) == set(crowd[1])
        assert one.cover_id in pks(crowd[1])
        assert list(Face.objects.unknown()) == crowd[3]
        assert Photo.objects.filter(unknown_count__gt=0).count() == 1
        assert not Enrolment.objects.exists()

    @pytest.mark.unsettled
    def test_leave_out_what_was_named_or_went_meanwhile(
        self, gallery: Gallery, crowd: dict[int, list[Face]], bob: User
    ) -> None:
        grouping = planned(gallery, bob)
        name_faces(actor=by(bob), faces=crowd[1][:1], label="Anna")
        Face.objects.filter(pk=crowd[1][1].pk).delete()
        Face.objects.filter(pk__in=[face.pk for face in crowd[2][:2]]).delete()
        run(make_groups(actor=by(bob), grouping=grouping))
        person = Person.objects.get(label="")
        assert set(Face.objects.filter(person=person)) == set(crowd[1][2:])
        crowd[2][2].refresh_from_db()
        assert crowd[2][2].review == Review.UNKNOWN

    def test_a_name_is_a_human_s_word_on_all_of_them_and_its_undo_is_exact(
        self, gallery: Gallery, crowd: dict[int, list[Face]], bob: User
    ) -> None:
        made(gallery, bob)
        group = Person.objects.order_by("-face_count")[0]
        faces = list(Face.objects.filter(person=group).select_related("photo__gallery__space"))
        named = name_faces(actor=by(bob), faces=faces, label="Anna")
        assert (named.person, named.count) == (group, 5)
        assert set(Face.objects.filter(decision=Decision.NAMED, person=group)) == set(crowd[1])
        assert Enrolment.objects.filter(person=group).count() == 5
        undo(actor=by(bob), change=named.change)
        group.refresh_from_db()
        assert group.label == ""
        assert set(Face.objects.grouped().filter(person=group)) == set(crowd[1])

    def test_need_a_plan(self, gallery: Gallery, crowd: dict[int, list[Face]], bob: User) -> None:
        grouping = start_grouping(actor=by(bob), space=gallery.space)
        with pytest.raises(Refused, match="no plan"):
            make_groups(actor=by(bob), grouping=grouping)
        with pytest.raises(Refused, match="no plan"):
            change_threshold(actor=by(bob), grouping=grouping, threshold=0.5)


class TestCutOff:
    def test_cancelling_stops_it_at_once(
        self,
        gallery: Gallery,
        crowd: dict[int, list[Face]],
        bob: User,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        grouping = start_grouping(actor=by(bob), space=gallery.space)
        real: Any = turns.cluster  # type: ignore[attr-defined]

        def cancelled_meanwhile(*args: Any, **values: Any) -> Any:
            cancel_grouping(actor=by(bob), grouping=grouping)
            return real(*args, **values)

        monkeypatch.setattr(turns, "cluster", cancelled_meanwhile)
        assert run(grouping).state == JobState.CANCELLED
        assert grouping.plan == []
        with pytest.raises(Refused, match="over already"):
            cancel_grouping(actor=by(bob), grouping=grouping)

    def test_an_error_is_tried_again_and_fails_in_the_end(
        self,
        gallery: Gallery,
        crowd: dict[int, list[Face]],
        bob: User,
        monkeypatch: pytest.MonkeyPatch,
        settings: Settings,
    ) -> None:
        settings.MAX_ATTEMPTS = 2
        grouping = start_grouping(actor=by(bob), space=gallery.space)

        def broken(*args: Any, **values: Any) -> Any:
            raise MemoryError

        monkeypatch.setattr(turns, "cluster", broken)
        for state in (JobState.QUEUED, JobState.FAILED):
            with pytest.raises(MemoryError):
                pipeline.group_faces(grouping.pk)
            grouping.refresh_from_db()
            assert grouping.state == state
        assert "MemoryError" in grouping.error

    def test_a_dead_worker_s_claim_is_freed_and_waits(
        self, gallery: Gallery, crowd: dict[int, list[Face]], bob: User, settings: Settings
    ) -> None:
        grouping = start_grouping(actor=by(bob), space=gallery.space)
        Grouping.objects.filter(pk=grouping.pk).update(
            state=JobState.RUNNING, claim="dead", claimed_at=grouping.created_at
        )
        assert release_claims() == 0
        settings.LEASE_SECONDS = 0
        assert release_claims() == 1
        grouping.refresh_from_db()
        assert (grouping.state, grouping.attempts) == (JobState.QUEUED, 1)
        assert swept(Work.GROUP) == [grouping.pk]

    def test_people_are_made_some_a_turn_and_each_once(
        self, gallery: Gallery, bob: User, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for person in range(6):
            for number in range(2):
                make_face(gallery, person, person * 2 + number)
        monkeypatch.setattr(turns, "PEOPLE_AT_ONCE", 2)
        monkeypatch.setattr(turns, "TURN_SECONDS", 0)
        grouping = planned(gallery, bob)
        make_groups(actor=by(bob), grouping=grouping)
        assert pipeline.group_faces(grouping.pk)
        grouping.refresh_from_db()
        assert (grouping.state, len(grouping.plan), grouping.done) == (JobState.QUEUED, 4, 4)
        assert run(grouping).state == JobState.DONE
        assert Person.objects.count() == 6
        assert not Face.objects.unknown().exists()

    @pytest.mark.django_db(transaction=True)
    def test_a_worker_killed_at_any_step_loses_nothing(
        self, gallery: Gallery, bob: User, monkeypatch: pytest.MonkeyPatch, settings: Settings
    ) -> None:
        for person in range(4):
            for number in range(3):
                make_face(gallery, person, person * 3 + number)
        monkeypatch.setattr(turns, "PEOPLE_AT_ONCE", 1)
        grouping = planned(gallery, bob)
        make_groups(actor=by(bob), grouping=grouping)
        real: Any = turns.resolve_identities  # type: ignore[attr-defined]
        count = 0

        def dies(photo_pks: Any) -> None:
            nonlocal count
            count += 1
            real(photo_pks)
            if count == 3:
                die()

        monkeypatch.setattr(turns, "resolve_identities", dies)
        in_a_worker_that_may_die(lambda: pipeline.group_faces(grouping.pk))
        grouping.refresh_from_db()
        assert grouping.state == JobState.RUNNING
        assert (Person.objects.count(), len(grouping.plan)) == (2, 2)
        monkeypatch.setattr(turns, "resolve_identities", real)
        settings.LEASE_SECONDS = 0
        release_claims()
        assert run(grouping).state == JobState.DONE
        assert Person.objects.count() == 4
        assert Face.objects.grouped().count() == 12


@pytest.mark.thorough
class TestRealFaces:
    @pytest.fixture
    def summit(self, gallery: Gallery, bob: User) -> Gallery:
        upload_group(bob, gallery)
        upload_portraits(bob, gallery, PEOPLE, versions=2)
        return gallery

    @pytest.mark.django_db(transaction=True)
    def test_the_demo_s_people_are_told_apart(self, summit: Gallery, bob: User) -> None:
        grouping = made(summit, bob, gallery=summit)
        assert grouping.state == JobState.DONE
        assert FaceVector.objects.exclude(vector=b"").count() == 18
        for person in Person.objects.filter(grouping=grouping):
            names = {
                face.photo.file_name.split("_")[0]
                for face in Face.objects.filter(person=person).select_related("photo")
            }
            assert len(names - {"group"}) == 1
        assert Person.objects.filter(grouping=grouping).count() == 5
        assert Face.objects.unknown().count() == 0
        on_group_photo = Face.objects.filter(photo__file_name="group_1.jpg")
        assert on_group_photo.values("person").distinct().count() == 4

    @pytest.mark.django_db(transaction=True)
    def test_a_photo_whose_file_is_gone_leaves_its_faces_alone(
        self, gallery: Gallery, bob: User
    ) -> None:
        upload_portraits(bob, gallery, ["obama_1"], versions=3)
        lost = PhotoFactory.create(gallery=gallery, sha256=token_hex(32))
        FaceFactory.create(photo=lost)
        grouping = planned(gallery, bob)
        assert [len(group) for group in grouping.plan] == [3]
        assert bytes(FaceVector.objects.get(face__photo=lost).vector) == b""
