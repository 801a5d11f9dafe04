"""The sweep finds work left behind by a lost message, a dead worker or an old error."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from persons import pipeline, tasks
from persons.actions.faces import name_face
from persons.models import (
    Call,
    Enrolment,
    Erasure,
    Face,
    Gallery,
    Grouping,
    Person,
    Photo,
    PhotoState,
    RetentionRun,
    Run,
    SpaceJob,
    SyncState,
    User,
)
from persons.models.calls import Outcome
from persons.work import Work
from tests.support.factories import FaceFactory, GalleryFactory, PersonFactory, PhotoFactory
from tests.support.fakes import (
    Asked,
    FakeVision,
    by,
    die,
    due_now,
    found,
    in_a_worker_that_may_die,
    lease_is_over,
    use,
    waiting_photo,
    wire_name,
)
from tests.support.waiting import nothing_waits_for, swept


@pytest.fixture
def vision(monkeypatch: pytest.MonkeyPatch) -> FakeVision:
    return use(monkeypatch, FakeVision())


@pytest.fixture
def gallery(bob: User) -> Gallery:
    return GalleryFactory.create(team=bob.memberships.get().team, slug="lake")


def ago(**much: int) -> timedelta:
    return timedelta(**much)


def claimed(gallery: Gallery, state: PhotoState, *, seconds: int) -> Photo:
    return waiting_photo(
        gallery,
        state=state,
        claim="c" * 32,
        claimed_at=timezone.now() - timedelta(seconds=seconds),
    )


def unfinished() -> bool:
    return Photo.objects.unfinished().exists()


class TestClaims:
    @pytest.mark.parametrize(
        ("state", "back"),
        [(PhotoState.PREPARING, PhotoState.NEW), (PhotoState.RUNNING, PhotoState.QUEUED)],
    )
    def test_one_whose_lease_is_over_is_freed(
        self, gallery: Gallery, settings: Settings, state: PhotoState, back: PhotoState
    ) -> None:
        settings.LEASE_SECONDS = 60
        dead = claimed(gallery, state, seconds=61)
        alive = claimed(gallery, state, seconds=50)
        pipeline.sweep()
        dead.refresh_from_db()
        alive.refresh_from_db()
        assert (dead.state, dead.claim, dead.interruptions) == (back, "", 1)
        assert (alive.state, alive.claim, alive.interruptions) == (state, "c" * 32, 0)

    def test_a_person_whose_worker_died_is_sent_again(
        self, gallery: Gallery, settings: Settings
    ) -> None:
        settings.LEASE_SECONDS = 60
        now = timezone.now()
        dead, alive = (
            PersonFactory.create(
                space=gallery.space,
                sync_state=SyncState.RUNNING,
                claim="c",
                claimed_at=now - timedelta(seconds=seconds),
            )
            for seconds in (61, 50)
        )
        assert swept(Work.SYNC) == [dead.pk]
        alive.refresh_from_db()
        assert alive.sync_state == SyncState.RUNNING

    def test_a_call_that_was_cut_off_says_so(self, gallery: Gallery, settings: Settings) -> None:
        settings.CALL_SECONDS = 60
        now = timezone.now()
        old, young = (
            Call.objects.create(
                team=gallery.team,
                space=gallery.space,
                method="recognize",
                source="worker",
                backend="fake",
                started_at=now - timedelta(seconds=seconds),
            )
            for seconds in (61, 50)
        )
        pipeline.sweep()
        old.refresh_from_db()
        young.refresh_from_db()
        assert old.outcome == Outcome.INTERRUPTED
        assert "worker stopped" in old.error
        assert young.outcome == Outcome.RUNNING

    def test_a_supervisor_that_knows_that_no_worker_runs_frees_all_and_blames_none(
        self, gallery: Gallery
    ) -> None:
        photo = claimed(gallery, PhotoState.RUNNING, seconds=0)
        person = PersonFactory.create(
            space=gallery.space, sync_state=SyncState.RUNNING, claimed_at=timezone.now()
        )
        assert pipeline.release_claims(everything=True) == 2
        photo.refresh_from_db()
        person.refresh_from_db()
        assert (photo.state, photo.interruptions) == (PhotoState.QUEUED, 0)
        assert (person.sync_state, person.attempts) == (SyncState.QUEUED, 0)

    def test_finished_photos_are_left_alone(self, gallery: Gallery) -> None:
        for state in (PhotoState.DONE, PhotoState.FAILED, PhotoState.QUEUED, PhotoState.NEW):
            claimed(gallery, state, seconds=10**6)
        assert pipeline.release_claims(everything=True) == 0


class TestWhatWaits:
    def test_an_upload_whose_message_was_lost_is_found(self, gallery: Gallery) -> None:
        lost = PhotoFactory.create(gallery=gallery, state=PhotoState.NEW)
        assert swept(Work.PREPARE) == [lost.pk]

    def test_what_has_to_wait_is_not_enqueued(self, gallery: Gallery) -> None:
        later = timezone.now() + timedelta(minutes=1)
        waiting_photo(gallery, after=later)
        waiting_photo(gallery, state=PhotoState.NEW, after=later)
        PersonFactory.create(space=gallery.space, sync_state=SyncState.QUEUED, after=later)
        assert nothing_waits_for(Work.PREPARE, Work.RECOGNISE, Work.SYNC)

    def test_each_space_is_a_key_once(self, gallery: Gallery) -> None:
        beside = GalleryFactory.create(team=gallery.team, space=gallery.team.spaces.get(number=1))
        for one in (gallery, gallery, beside, GalleryFactory.create(team=gallery.team)):
            waiting_photo(one)
        assert swept(Work.RECOGNISE) == sorted([gallery.space_id, beside.space_id])

    def test_a_sweep_asks_as_much_whatever_waits(
        self, gallery: Gallery, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sent: list[Work] = []
        monkeypatch.setattr("persons.tasks.send", sent.append)
        everything_waits(gallery)
        tasks.sweep()  # The journal of erasures is written once.
        with CaptureQueriesContext(connection) as for_few:
            tasks.sweep()
        for _ in range(20):
            everything_waits(gallery)
        tasks.sweep()
        with CaptureQueriesContext(connection) as for_many:
            tasks.sweep()
        assert len(for_many) == len(for_few)
        every = [work for work in Work if work not in (Work.TRASH, Work.VERIFY)]
        assert sent == every * 4, "one message of each kind, whatever the number of rows"

    def test_a_run_of_which_nothing_waits_any_more_is_closed(self, gallery: Gallery) -> None:
        over, on = (
            Run.objects.create(space=gallery.space, reason=str(n), photo_count=1) for n in range(2)
        )
        waiting_photo(gallery, state=PhotoState.DONE, run=over)
        waiting_photo(gallery, run=on)
        pipeline.sweep()
        over.refresh_from_db()
        on.refresh_from_db()
        assert over.finished_at is not None
        assert on.finished_at is None

    def test_a_sweep_with_nothing_to_do_does_nothing(self, gallery: Gallery) -> None:
        waiting_photo(gallery, state=PhotoState.DONE)
        assert nothing_waits_for(Work.PREPARE, Work.RECOGNISE, Work.SYNC)


def everything_waits(gallery: Gallery) -> None:
    """One row more of each kind of work that has many."""
    space, team = gallery.space, gallery.team
    waiting_photo(gallery, state=PhotoState.NEW)
    waiting_photo(gallery)
    PersonFactory.create(space=space, sync_state=SyncState.QUEUED)
    PersonFactory.create(space=space, identity_due_at=timezone.now())
    SpaceJob.objects.create(team=team, space=space, kind=SpaceJob.Kind.REBUILD)
    erasures = Erasure.objects.count()
    Erasure.objects.create(
        team=team, space=space, number=0, person_id=erasures, reference=str(erasures)
    )
    Grouping.objects.create(space=space)
    over = RetentionRun.objects.filter(team=team)
    over.update(finished_at=timezone.now())
    RetentionRun.objects.create(team=team, rules={}, step="probes")


@pytest.mark.django_db(transaction=True)
class TestWorkersThatDie:
    """Forked processes that are killed while Vision has their request."""

    def work(self, gallery: Gallery) -> int:
        return in_a_worker_that_may_die(lambda: pipeline.recognise_batch(gallery.space_id))

    def test_nothing_is_lost_or_doubled(self, gallery: Gallery, vision: FakeVision) -> None:
        photos = [waiting_photo(gallery) for _ in range(3)]
        for photo in photos:
            vision.show(photo, found(None))
        vision.before = die
        assert self.work(gallery) == -9
        assert set(gallery.photos.values_list("state", flat=True)) == {PhotoState.RUNNING}
        assert Call.objects.get().outcome == Outcome.RUNNING
        assert swept(Work.RECOGNISE) == [], "the lease is not over"
        lease_is_over()
        assert swept(Work.RECOGNISE) == [gallery.space_id]
        assert Call.objects.get().outcome == Outcome.INTERRUPTED
        vision.before = None
        while self.work(gallery) == 0 and unfinished():
            pass
        assert set(gallery.photos.values_list("state", flat=True)) == {PhotoState.DONE}
        assert Face.objects.count() == 3

    def test_photos_over_which_a_worker_died_go_alone(
        self, gallery: Gallery, vision: FakeVision
    ) -> None:
        suspects = [waiting_photo(gallery) for _ in range(2)]
        vision.before = die
        self.work(gallery)
        lease_is_over()
        pipeline.sweep()
        fresh = [waiting_photo(gallery) for _ in range(2)]
        vision.before = None
        for _ in range(3):
            pipeline.recognise_batch(gallery.space_id)
        assert vision.recognised() == [
            [wire_name(photo) for photo in fresh],
            [wire_name(suspects[0])],
            [wire_name(suspects[1])],
        ]
        assert set(gallery.photos.values_list("interruptions", flat=True)) == {0}

    def test_a_photo_that_kills_workers_is_failed_in_the_end_and_takes_no_other_with_it(
        self, gallery: Gallery, vision: FakeVision, bob: User
    ) -> None:
        photos = [waiting_photo(gallery) for _ in range(5)]
        poison = photos[2]

        def kill(asked: Asked) -> None:
            if wire_name(poison) in asked.names:
                die()

        vision.before = kill
        deaths = 0
        for _ in range(20):
            deaths += self.work(gallery) == -9
            lease_is_over()
            pipeline.sweep()
            due_now()
            if not unfinished():
                break
        states = {photo.pk: photo.state for photo in gallery.photos.all()}
        assert states.pop(poison.pk) == PhotoState.FAILED
        assert set(states.values()) == {PhotoState.DONE}
        poison.refresh_from_db()
        assert poison.error == f"Recognising this photo was cut off {deaths} times."
        assert deaths == 4

    def test_a_name_given_before_the_worker_died_is_enrolled_by_the_next(
        self, gallery: Gallery, vision: FakeVision, bob: User
    ) -> None:
        photo = waiting_photo(gallery, state=PhotoState.DONE)
        ada = name_face(actor=by(bob), face=FaceFactory.create(photo=photo), label="Ada").person
        vision.before = die
        assert in_a_worker_that_may_die(lambda: pipeline.sync(ada.pk)) == -9
        lease_is_over()
        assert swept(Work.SYNC) == [ada.pk]
        vision.before = None
        pipeline.sync(ada.pk)
        assert Enrolment.objects.get().state == "done"
        assert Person.objects.get().sync_state == SyncState.IDLE
        assert list(Call.objects.order_by("pk").values_list("outcome", flat=True)) == [
            Outcome.INTERRUPTED,
            Outcome.DONE,
        ]
