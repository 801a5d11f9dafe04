"""Whatever changes several photos or people locks them in the order of their pks."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from persons.actions.trash import empty_trash
from persons.models import Gallery, JobState, Photo, PhotoState, SpaceJob, Team, User
from persons.pipeline.recognition import retrying
from persons.pipeline.spaces import restoring
from persons.vision.errors import VisionTemporary
from persons.work import Lease
from tests.support.factories import GalleryFactory, PhotoFactory
from tests.support.fakes import by

pytestmark = [pytest.mark.django_db, pytest.mark.thorough]


@pytest.fixture
def gallery(team: Team) -> Gallery:
    found: Gallery = GalleryFactory.create(team=team)
    for _ in range(3):
        PhotoFactory.create(gallery=found, state=PhotoState.DONE, unknown_count=1)
    return found


def updates(work: Callable[[], object], table: str) -> list[str]:
    with CaptureQueriesContext(connection) as queries:
        work()
    return [one["sql"] for one in queries if one["sql"].startswith(f'UPDATE "{table}"')]


def check(statements: list[str], table: str) -> None:
    assert statements
    for sql in statements:
        assert re.search(r'ORDER BY (1|[^)]*"id") ASC', sql), sql
        if connection.vendor == "postgresql":
            assert "FOR NO KEY UPDATE" in sql


def test_a_restore_asks_for_photos_again_in_their_order(gallery: Gallery, alice: User) -> None:
    job = SpaceJob(space=gallery.space, team=gallery.team, requested_by=alice)
    job.state = JobState.RUNNING
    found = updates(lambda: restoring._rescan(gallery.space, job), "persons_photo")
    check(found, "persons_photo")
    assert Photo.objects.filter(state=PhotoState.QUEUED).count() == 3


def test_a_batch_that_failed_is_put_back_in_its_order(gallery: Gallery) -> None:
    held = Photo.objects.filter(gallery=gallery)
    lease = Lease(retrying.RECOGNISING, "mine")
    error = VisionTemporary("down")
    for work in (
        lambda: retrying.put_back(lease, 0, error, held),
        lambda: retrying.put_back(lease, 10_000, error, held),
        lambda: lease.cut_off(ValueError()),
    ):
        held.update(state=PhotoState.QUEUED)
        check(updates(work, "persons_photo"), "persons_photo")


def test_the_trash_is_emptied_in_its_order(gallery: Gallery, alice: User) -> None:
    Photo.objects.update(trashed_at=timezone.now())
    work = updates(lambda: empty_trash(actor=by(alice), team=gallery.team), "persons_photo")
    check(work, "persons_photo")
