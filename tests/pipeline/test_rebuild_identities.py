"""After a change of threshold, the identities of all faces are resolved again, in slices."""

from __future__ import annotations

import pytest
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from persons import pipeline
from persons.actions.snapshots import cancel_job
from persons.actions.spaces import Policy, change_policy
from persons.errors import Refused
from persons.faces.identity import resolve_identities
from persons.models import Decision, Face, Person, Photo, Review, Space, SpaceJob, Team, User
from persons.models.work import JobState
from persons.pipeline.identity import rebuild_identities
from persons.pipeline.spaces.job_claims import JOBS, HeldJob
from persons.work import Lease, LeaseLost, Work
from tests.support.factories import FaceFactory, GalleryFactory, PersonFactory, PhotoFactory
from tests.support.fakes import by, die, in_a_worker_that_may_die, lease_is_over
from tests.support.spaces import run
from tests.support.waiting import swept

pytestmark = pytest.mark.django_db


@pytest.fixture
def space(team: Team) -> Space:
    return team.spaces.get(number=3)


@pytest.fixture
def anna(space: Space) -> Person:
    person: Person = PersonFactory.create(space=space, label="Anna")
    return person


def photos(space: Space, person: Person, count: int, similarity: float = 0.6) -> list[Photo]:
    """In two galleries, so that their keys have gaps."""
    galleries = [GalleryFactory.create(team=space.team, space=space) for _ in range(2)]
    made = [PhotoFactory.create(gallery=galleries[n % 2]) for n in range(count)]
    for photo in made:
        FaceFactory.create(photo=photo, person=person, similarity=similarity)
    return made


def change(space: Space, user: User, *, suggest: float = 0.4, confirm: float) -> SpaceJob | None:
    policy = Policy("", suggest, confirm, False, False, False, 0)
    change_policy(actor=by(user), space=space, policy=policy)
    jobs = SpaceJob.objects.filter(space=space, kind=SpaceJob.Kind.REBUILD)
    return jobs.order_by("-pk").first()


def reviews(space: Space) -> set[str]:
    return set(Face.everything.filter(space=space).values_list("review", flat=True))


def rebuilt(job: SpaceJob | None) -> SpaceJob:
    assert job is not None
    return run(job)


def test_a_match_below_the_new_bar_waits_for_a_word_and_above_it_counts(
    space: Space, anna: Person, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rebuild_identities, "PHOTOS_AT_ONCE", 2)
    made = photos(space, anna, 5)
    elsewhere = FaceFactory.create(person=PersonFactory.create(), similarity=0.6)
    decided = FaceFactory.create(
        photo=PhotoFactory.create(gallery=made[0].gallery),
        person=anna,
        decision=Decision.NAMED,
        similarity=0.6,
    )
    job = rebuilt(change(space, alice, confirm=0.7))
    assert (job.state, job.done, job.total) == (JobState.DONE, 6, 6)
    faces = Face.objects.filter(space=space).exclude(pk=decided.pk)
    assert set(faces.values_list("review", "person")) == {(Review.WEAK, anna.pk)}
    for face in (elsewhere, decided):
        face.refresh_from_db()
        assert face.review == Review.NONE
    rebuilt(change(space, alice, confirm=0.5))
    assert reviews(space) == {Review.NONE}


def test_photos_in_the_trash_are_gone_through_too(space: Space, anna: Person, alice: User) -> None:
    (photo,) = photos(space, anna, 1)
    Photo.objects.filter(pk=photo.pk).update(trashed_at=timezone.now())
    assert rebuilt(change(space, alice, confirm=0.7)).done == 1


def test_what_is_no_threshold_changes_no_face(space: Space, anna: Person, alice: User) -> None:
    change_policy(
        actor=by(alice), space=space, policy=Policy("Door", 0.4, 0.5, True, True, True, 1)
    )
    assert not SpaceJob.objects.exists()


def test_a_bar_that_is_changed_meanwhile_starts_it_over(
    space: Space, anna: Person, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rebuild_identities, "PHOTOS_AT_ONCE", 2)
    monkeypatch.setattr("persons.pipeline.spaces.job_claims.SLICE_SECONDS", 0.0)
    photos(space, anna, 6)
    first = change(space, alice, confirm=0.7)
    assert first is not None
    pipeline.work(first.pk)
    SpaceJob.objects.update(state=JobState.RUNNING, claim="c" * 32, claimed_at=timezone.now())
    held = HeldJob(SpaceJob.objects.get(), Lease(JOBS, "c" * 32))
    second = change(space, alice, confirm=0.55)
    first.refresh_from_db()
    assert (first.state, first.is_under_way) == (JobState.CANCELLED, False)
    with pytest.raises(LeaseLost):
        held.renew()
    assert (rebuilt(second).state, rebuilt(second).done) == (JobState.DONE, 6)
    assert reviews(space) == {Review.NONE}


def test_it_takes_turns_with_other_work(
    space: Space, anna: Person, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rebuild_identities, "PHOTOS_AT_ONCE", 1)
    monkeypatch.setattr("persons.pipeline.spaces.job_claims.SLICE_SECONDS", 0.0)
    photos(space, anna, 3)
    job = change(space, alice, confirm=0.7)
    assert job is not None
    assert pipeline.work(job.pk).jobs == [job.pk]
    job.refresh_from_db()
    assert job.state == JobState.QUEUED


@pytest.mark.django_db(transaction=True)
def test_killed_in_the_middle_it_goes_on_from_there(
    space: Space, anna: Person, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rebuild_identities, "PHOTOS_AT_ONCE", 2)
    photos(space, anna, 6)
    job = change(space, alice, confirm=0.7)
    assert job is not None
    resolve, turns = resolve_identities, 0

    def die_in_the_middle(pks: list[int]) -> None:
        nonlocal turns
        turns += 1
        if turns == 3:
            die()
        resolve(pks)

    def deadly() -> None:
        monkeypatch.setattr(rebuild_identities, "resolve_identities", die_in_the_middle)
        pipeline.work(job.pk)

    assert in_a_worker_that_may_die(deadly) == -9
    job.refresh_from_db()
    assert (job.state, job.done) == (JobState.RUNNING, 4)
    lease_is_over()
    assert job.pk in swept(Work.JOBS)
    gone_through: list[int] = []

    def counted(pks: list[int]) -> None:
        gone_through.extend(pks)
        resolve(pks)

    monkeypatch.setattr(rebuild_identities, "resolve_identities", counted)
    assert rebuilt(job).done == 6
    assert len(gone_through) == 2, "what was done was not done again"
    assert reviews(space) == {Review.WEAK}


def test_it_can_t_be_cancelled_half_way(space: Space, anna: Person, alice: User) -> None:
    photos(space, anna, 1)
    job = change(space, alice, confirm=0.7)
    assert job is not None
    with pytest.raises(Refused, match="to the end"):
        cancel_job(actor=by(alice), job=job)


@pytest.mark.parametrize("count", [2, 20])
def test_a_slice_asks_the_same_number_of_queries_for_any_number_of_photos(
    space: Space,
    anna: Person,
    alice: User,
    count: int,
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    photos(space, anna, count)
    job = change(space, alice, confirm=0.7)
    assert job is not None
    with django_assert_num_queries(20):
        pipeline.work(job.pk)
