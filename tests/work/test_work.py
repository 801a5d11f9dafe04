"""The database as the queue: kinds of work, order, messages and the retry policy."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from celery import current_app
from django.core.management import call_command
from django.db import connection
from django.db.models import Model
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings

from dashboard.messages import waiting_messages
from persons import pipeline, tasks
from persons.actions.merging import merge_people
from persons.models import (
    Erasure,
    Face,
    Gallery,
    Grouping,
    Person,
    Photo,
    PhotoState,
    RetentionRun,
    SpaceJob,
    SyncState,
    User,
)
from persons.pipeline.recognition.retrying import MAX_INTERRUPTIONS
from persons.work import KINDS, Kind, Work, alternating, take_turn
from tests.support.factories import (
    FaceFactory,
    GalleryFactory,
    PersonFactory,
    PhotoFactory,
    TeamFactory,
    jpeg,
)
from tests.support.fakes import FakeVision, by, use, waiting_photo
from tests.support.processes import CeleryProcess, wait_until
from tests.support.waiting import waiting


@pytest.fixture
def gallery(bob: User) -> Gallery:
    return GalleryFactory.create(team=bob.memberships.get().team, slug="lake")


@pytest.fixture
def vision(monkeypatch: pytest.MonkeyPatch) -> FakeVision:
    return use(monkeypatch, FakeVision())


def album(gallery: Gallery, count: int, state: PhotoState = PhotoState.NEW) -> list[Photo]:
    """Rows that wait, without files."""
    photo = PhotoFactory.create(gallery=gallery, state=state, sent_size=1000)
    columns = {
        field.attname: getattr(photo, field.attname)
        for field in Photo._meta.concrete_fields
        if not field.primary_key
    }
    return [
        photo,
        *Photo.objects.bulk_create(
            Photo(**{**columns, "sha256": f"{photo.pk}-{n}"}) for n in range(1, count)
        ),
    ]


def messages() -> int:
    """That wait in the broker."""
    return waiting_messages(current_app)


# --- Messages ---


@pytest.mark.django_db
class TestMessages:
    def test_there_is_one_of_a_kind_however_often_it_is_enqueued(
        self, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
    ) -> None:
        for _ in range(100):
            with django_capture_on_commit_callbacks(execute=True):
                for work in Work:
                    tasks.enqueue(work)
                tasks.enqueue_sweep()
        assert messages() == len(Work) + 1

    def test_a_drop_of_photos_is_one_message(
        self,
        gallery: Gallery,
        monkeypatch: pytest.MonkeyPatch,
        django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
    ) -> None:
        album(gallery, 500)
        album(GalleryFactory.create(team=gallery.team, slug="sea"), 500, PhotoState.QUEUED)
        for _ in range(20):
            tasks.sweep()
        assert len(waiting(Work.PREPARE)) == 500
        assert messages() == 2

    def test_an_import_is_one_message(
        self,
        gallery: Gallery,
        tmp_path: Path,
        django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
    ) -> None:
        for number in range(12):
            (tmp_path / f"{number}.jpg").write_bytes(jpeg(comment=str(number)))
        with django_capture_on_commit_callbacks(execute=True):
            call_command(
                "import_photos",
                str(tmp_path),
                team=gallery.team.slug,
                gallery=gallery.slug,
                stdout=io.StringIO(),
                stderr=io.StringIO(),
            )
        assert len(waiting(Work.PREPARE)) == 12
        assert messages() == 1

    def test_what_is_enqueued_while_a_worker_looks_is_not_lost(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The worker found nothing; then a row came, and its message before the worker was done."""
        tasks.send(Work.SYNC)
        take_all()
        looked: list[int] = []

        def next_key(self: Kind) -> list[int]:
            if not looked:
                tasks.send(Work.SYNC)
            looked.append(1)
            return []

        monkeypatch.setattr(type(KINDS[Work.SYNC]), "next", next_key)
        begin(Work.SYNC)
        assert messages() == 1

    def test_a_broker_that_refuses_leaves_nothing_behind(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*args: object, **options: object) -> None:
            raise OSError("no broker")

        with monkeypatch.context() as patch:
            patch.setattr("celery.app.task.Task.apply_async", refuse)
            with pytest.raises(OSError, match="no broker"):
                tasks.send(Work.SYNC)
        tasks.send(Work.SYNC)
        assert messages() == 1

    @pytest.mark.parametrize(
        "name",
        [
            *("prepare_photo", "recognise_space", "sync_person", "space_job", "erase_person"),
            *("group_faces", "settle_person", "purge_trash", "keep_rules", "verify_chain"),
        ],
    )
    def test_those_of_an_earlier_version_do_nothing(
        self, name: str, gallery: Gallery, eager: None
    ) -> None:
        photo = PhotoFactory.create(gallery=gallery, state=PhotoState.NEW)
        task = current_app.tasks[f"persons.tasks.{name}"]
        with CaptureQueriesContext(connection) as queries:
            assert task.apply(args=(photo.pk,)).successful()
        assert len(queries) == 0
        assert waiting(Work.PREPARE) == [photo.pk]

    def test_a_kind_of_a_newer_version_is_left_to_its_workers(self) -> None:
        tasks.do_work("dream")


# On files, names see to it.
@pytest.mark.services("redis")
@pytest.mark.django_db
class TestTokens:
    def test_a_lost_message_is_replaced_when_its_token_expires(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("dashboard.messages.TOKEN_SECONDS", 1)
        tasks.send(Work.SYNC)
        take_all()
        tasks.send(Work.SYNC)
        assert messages() == 0, "its token says that one waits"

        def again() -> bool:
            tasks.send(Work.SYNC)
            return messages() == 1

        wait_until(again, what="the token to expire")

    def test_messages_are_bounded_where_no_worker_takes_any(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("dashboard.messages.MOST_WAITING", 5)
        for _ in range(20):
            tasks.send(Work.SYNC)
            forget_tokens()
        assert messages() == 5


def forget_tokens() -> None:
    from django.core.cache import cache

    cache.delete_many([f"waiting:persons.tasks.work:{work.value}" for work in Work])


def take_all() -> None:
    """As if a worker had taken them and died."""
    with current_app.connection_for_read() as broker:
        channel: Any = broker.default_channel
        for queue in ("celery", "photos"):
            channel._purge(queue)


def begin(work: Work) -> None:
    """As a worker does with a message."""
    tasks.do_work.before_start("id", (work.value,), {})
    tasks.do_work(work.value)


# --- Turns ---


class Rows(Kind):
    """Keys that take a moment each, in memory."""

    name = Work.SYNC

    def __init__(self, *keys: int, broken: tuple[int, ...] = (), again: int = 0) -> None:
        self.left, self.broken, self.again = list(keys), broken, again
        self.done: list[int] = []

    def waiting(self) -> Any:
        raise NotImplementedError

    def next(self) -> list[int]:
        return self.left[:3]

    def do(self, key: int) -> bool:
        self.done.append(key)
        if key in self.broken:
            raise ValueError(key)
        if self.again:
            self.again -= 1
            return True
        self.left.remove(key)
        return False


def turn(kind: Kind) -> Any:
    return take_turn(kind, begins=lambda: None, began=lambda: None)


def test_a_turn_works_until_nothing_waits() -> None:
    rows = Rows(*range(10))
    assert turn(rows).steps == 10
    assert rows.done == list(range(10)) and rows.left == []


def test_a_turn_ends_when_its_time_is_over_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("persons.work.turns.TURN_SECONDS", -1.0)
    rows = Rows(1, 2, 3)
    told = turn(rows)
    assert (told.steps, told.has_more, rows.left) == (1, True, [2, 3])


def test_a_step_that_raises_stops_no_other_and_is_not_tried_again_at_once() -> None:
    rows = Rows(1, 2, 3, 4, broken=(1, 3))
    rows_done = turn(rows)
    assert rows.done == [1, 2, 3, 4]
    assert not rows_done.has_more
    assert isinstance(rows_done.error, ValueError) and rows_done.error.args == (1,)


def test_nobody_waits_until_another_one_is_through() -> None:
    assert alternating([[1, 2, 3], [10], [100, 200]]) == [1, 10, 100, 2, 200, 3]
    assert alternating([]) == []


@pytest.mark.django_db
class TestFairness:
    def test_a_single_photo_does_not_stand_behind_another_team_s_album(
        self, gallery: Gallery
    ) -> None:
        album(gallery, 100)
        (single,) = album(GalleryFactory.create(team=TeamFactory.create()), 1)
        assert single.pk in KINDS[Work.PREPARE].next()[:2]

    def test_nor_behind_the_many_galleries_of_another_team(self, gallery: Gallery) -> None:
        for number in range(40):
            album(GalleryFactory.create(team=gallery.team, slug=f"g{number}"), 2)
        (single,) = album(GalleryFactory.create(team=TeamFactory.create()), 1)
        assert single.pk in KINDS[Work.PREPARE].next()[:2]

    def test_nor_behind_another_album_of_its_space(
        self, gallery: Gallery, vision: FakeVision
    ) -> None:
        for _ in range(12):
            waiting_photo(gallery)
        single = waiting_photo(GalleryFactory.create(team=gallery.team, slug="sea"))
        vision.max_batch = 4
        pipeline.recognise_batch(gallery.space_id)
        single.refresh_from_db()
        assert single.state == PhotoState.DONE
        assert gallery.photos.filter(state=PhotoState.DONE).count() == 3

    def test_nor_a_name_behind_another_space_s_people(self, gallery: Gallery) -> None:
        PersonFactory.create_batch(30, space=gallery.space, sync_state=SyncState.QUEUED)
        other = gallery.team.spaces.get(number=1)
        single = PersonFactory.create(space=other, sync_state=SyncState.QUEUED)
        assert single.pk in KINDS[Work.SYNC].next()[:2]

    def test_the_job_whose_turn_was_longest_ago_is_next(self, gallery: Gallery) -> None:
        now = timezone.now()
        old, new, fresh = (
            SpaceJob.objects.create(
                team=gallery.team,
                space=gallery.space,
                kind=SpaceJob.Kind.REBUILD,
                claimed_at=claimed_at,
            )
            for claimed_at in (now - timedelta(seconds=9), now, None)
        )
        assert KINDS[Work.JOBS].next() == [fresh.pk, old.pk, new.pk]

    @pytest.mark.parametrize("work", [Work.PREPARE, Work.RECOGNISE])
    def test_the_next_photos_cost_the_same_whatever_waits(
        self, gallery: Gallery, work: Work, vision: FakeVision
    ) -> None:
        state = PhotoState.NEW if work == Work.PREPARE else PhotoState.QUEUED
        album(gallery, 20, state)
        with CaptureQueriesContext(connection) as for_few:
            few = KINDS[work].next()
        album(gallery, 1000, state)
        with CaptureQueriesContext(connection) as for_many:
            many = KINDS[work].next()
        assert len(few) == len(many) <= 16
        assert len(for_many) == len(for_few)


# --- Rows that were messages ---


@pytest.mark.django_db
def test_what_a_merge_left_behind_is_a_row(
    gallery: Gallery,
    bob: User,
    monkeypatch: pytest.MonkeyPatch,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    ada, bea = PersonFactory.create_batch(2, space=gallery.space)
    face = FaceFactory.create(photo__gallery=gallery, person=ada, found_person=ada)
    sent: list[Work] = []
    monkeypatch.setattr("persons.tasks.send", sent.append)
    with django_capture_on_commit_callbacks(execute=True):
        merge_people(actor=by(bob), person=ada, into=bea)
    assert Work.IDENTITY in sent and waiting(Work.IDENTITY) == [bea.pk]
    # Of a decision that was under way meanwhile.
    Face.objects.filter(pk=face.pk).update(person=ada)
    assert turn(KINDS[Work.IDENTITY]).steps == 1
    face.refresh_from_db()
    assert face.person_id == bea.pk and waiting(Work.IDENTITY) == []


@pytest.mark.django_db
def test_what_is_asked_for_while_it_is_done_stays_due(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = PersonFactory.create(space=gallery.space, identity_due_at=timezone.now())

    def asked_meanwhile(pk: int) -> None:
        Person.objects.filter(pk=pk).update(identity_due_at=timezone.now())

    monkeypatch.setattr("persons.faces.identity.resolve_person", asked_meanwhile)
    KINDS[Work.IDENTITY].do(ada.pk)
    assert waiting(Work.IDENTITY) == [ada.pk]
    monkeypatch.setattr("persons.faces.identity.resolve_person", lambda pk: None)
    KINDS[Work.IDENTITY].do(ada.pk)
    assert waiting(Work.IDENTITY) == []


# --- The retry policy ---


def a_photo(gallery: Gallery) -> Model:
    return PhotoFactory.create(gallery=gallery, state=PhotoState.QUEUED)


def a_new_photo(gallery: Gallery) -> Model:
    return PhotoFactory.create(gallery=gallery, state=PhotoState.NEW)


def a_person(gallery: Gallery) -> Model:
    return PersonFactory.create(space=gallery.space, sync_state=SyncState.QUEUED)


def a_job(gallery: Gallery) -> Model:
    return SpaceJob.objects.create(
        team=gallery.team, space=gallery.space, kind=SpaceJob.Kind.REBUILD
    )


def an_erasure(gallery: Gallery) -> Model:
    return Erasure.objects.create(team=gallery.team, space=gallery.space, number=0, person_id=1)


def a_grouping(gallery: Gallery) -> Model:
    return Grouping.objects.create(space=gallery.space)


def a_retention_run(gallery: Gallery) -> Model:
    return RetentionRun.objects.create(team=gallery.team, rules={}, step="probes")


EVERY_KIND = [
    *(a_photo, a_new_photo, a_person, a_job, an_erasure, a_grouping, a_retention_run),
]
RUNNING = {PhotoState.QUEUED: PhotoState.RUNNING, PhotoState.NEW: PhotoState.PREPARING}


def dies(row: Model) -> bool:
    """A worker claims it and dies. Whether it waits again."""
    column = "sync_state" if isinstance(row, Person) else "state"
    row.refresh_from_db()
    before = getattr(row, column)
    rows = type(row)._default_manager.filter(pk=row.pk)
    rows.update(
        **{column: RUNNING.get(before, "running")},
        claim="dead",
        claimed_at=timezone.now() - timedelta(hours=1),
    )
    assert pipeline.release_claims() == 1
    row.refresh_from_db()
    return bool(getattr(row, column) == before)


@pytest.mark.django_db
@pytest.mark.parametrize("make", EVERY_KIND)
def test_every_kind_is_given_up_after_as_many_deaths(
    make: Callable[[Gallery], Model], gallery: Gallery, settings: Settings
) -> None:
    settings.MAX_ATTEMPTS = MAX_INTERRUPTIONS
    row = make(gallery)
    assert [dies(row) for _ in range(MAX_INTERRUPTIONS)] == [
        *[True] * (MAX_INTERRUPTIONS - 1),
        False,
    ]
    if isinstance(row, Person):
        assert row.sync_state == SyncState.IDLE and "cut off 4 times" in row.sync_error
    else:
        assert getattr(row, "state") == "failed"  # noqa: B009
        assert "cut off 4 times" in getattr(row, "error")  # noqa: B009


@pytest.mark.django_db
@pytest.mark.parametrize("make", EVERY_KIND)
def test_a_supervisor_s_restart_counts_against_no_kind(
    make: Callable[[Gallery], Model], gallery: Gallery, settings: Settings
) -> None:
    settings.MAX_ATTEMPTS = 1
    row = make(gallery)
    rows = type(row)._default_manager.filter(pk=row.pk)
    column = "sync_state" if isinstance(row, Person) else "state"
    before = getattr(row, column)
    rows.update(**{column: RUNNING.get(before, "running")}, claim="held", claimed_at=timezone.now())
    assert pipeline.release_claims(everything=True) == 1
    row.refresh_from_db()
    assert getattr(row, column) == before


# --- Real workers ---


@pytest.mark.processes
class TestRealWorkers:
    def test_two_share_an_album(
        self, gallery: Gallery, real_worker: Callable[..., CeleryProcess]
    ) -> None:
        photos = [
            PhotoFactory.create(
                gallery=gallery, with_file=True, width=320, height=240, state=PhotoState.NEW
            )
            for _ in range(40)
        ]
        real_worker(concurrency=2, ROLLCALL_LOG_LEVEL="INFO")
        held: set[int] = set()

        def done() -> bool:
            # Two claims at one moment are two threads at work.
            now = Photo.objects.filter(state__in=[PhotoState.PREPARING, PhotoState.RUNNING])
            held.add(now.values("claim").distinct().count())
            return not Photo.objects.unfinished().exists()

        tasks.send(Work.PREPARE)
        wait_until(done, what="the album")
        assert max(held) >= 2
        states = Counter(Photo.objects.values_list("state", flat=True))
        assert states == {PhotoState.DONE: len(photos)}

    def test_nothing_is_lost_when_messages_are_lost_or_doubled(
        self, gallery: Gallery, real_worker: Callable[..., CeleryProcess]
    ) -> None:
        photos = [
            PhotoFactory.create(
                gallery=gallery, with_file=True, width=320, height=240, state=PhotoState.NEW
            )
            for _ in range(12)
        ]
        real_worker(beat=True, concurrency=2, ROLLCALL_SWEEP_SECONDS="1")
        rounds = 0

        def done() -> bool:
            nonlocal rounds
            rounds += 1
            if rounds % 3 == 0:
                take_all()
            else:
                forget_tokens()
                for work in Work:
                    tasks.send(work)
            return not Photo.objects.unfinished().exists()

        wait_until(done, what="all photos")
        assert Photo.objects.filter(state=PhotoState.DONE).count() == len(photos)
        assert Photo.objects.exclude(interruptions=0).count() == 0
