"""Celery as in production: real processes, a real broker, the test's own database."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.utils import timezone

from persons import tasks
from persons.actions.merging import merge_people
from persons.audit import Actor
from persons.models import (
    AuditChain,
    AuditSeal,
    Face,
    Person,
    Photo,
    PhotoState,
    Source,
    Team,
    User,
)
from persons.work import Work
from tests.support import factories, tampering
from tests.support.processes import CeleryProcess, wait_until

pytestmark = pytest.mark.processes


def left_behind() -> Photo:
    """An upload whose message was lost: no worker knows of it."""
    return factories.PhotoFactory.create(
        with_file=True,
        width=320,
        height=240,
        state=PhotoState.NEW,
        uploaded_at=timezone.now() - timedelta(minutes=1),
    )


def is_done(photo: Photo) -> bool:
    photo.refresh_from_db()
    assert photo.state != PhotoState.FAILED, photo.error
    return bool(photo.state == PhotoState.DONE)


def test_beat_and_a_worker_find_what_was_left_behind(
    real_worker: Callable[..., CeleryProcess],
) -> None:
    photo = left_behind()
    real_worker(beat=True, ROLLCALL_SWEEP_SECONDS="1")
    wait_until(lambda: is_done(photo), what="the photo to be recognised")
    assert photo.recognised_at is not None


def test_what_was_asked_for_while_no_worker_ran_is_done_by_the_next_one(
    real_worker: Callable[..., CeleryProcess],
) -> None:
    worker = real_worker()
    worker.kill()
    photo = left_behind()
    tasks.send(Work.PREPARE)
    worker.start()
    wait_until(lambda: is_done(photo), what="the photo to be recognised")


def test_a_merge_does_not_wait_until_an_album_is_through(
    monkeypatch: pytest.MonkeyPatch, alice: User, real_worker: Callable[..., CeleryProcess]
) -> None:
    monkeypatch.setattr("persons.actions.merging.MOST_MOVED", 0)
    album = [left_behind() for _ in range(40)]
    anna, anne = factories.PersonFactory.create_batch(2, space=album[0].gallery.space)
    face = factories.FaceFactory.create(photo__gallery=album[0].gallery, person=anna)
    worker = real_worker(concurrency=1)
    worker.kill()
    tasks.send(Work.PREPARE)
    merge_people(actor=Actor(alice, Source.PAGE), person=anna, into=anne)
    worker.start()
    wait_until(lambda: follows(face, anne), what="the face to follow")
    waiting = Photo.objects.filter(state=PhotoState.NEW).count()
    assert waiting > len(album) / 2


def follows(face: Face, person: Person) -> bool:
    face.refresh_from_db()
    return face.person_id == person.pk


def test_beat_and_a_worker_seal_the_audit_and_verify_it(
    team: Team, alice: User, real_worker: Callable[..., CeleryProcess]
) -> None:
    tampering.written(team, alice, 5)
    real_worker(beat=True, ROLLCALL_SEAL_SECONDS="1")
    chain = AuditChain.objects.filter(team=team)
    wait_until(lambda: chain.filter(sequence=5).exists(), what="the entries' places")
    wait_until(AuditSeal.objects.filter(team=team).exists, what="a seal")
    states = AuditChain.Verification
    assert chain.update(
        verification=states.RUNNING, claim="dead", claimed_at=timezone.now() - timedelta(hours=1)
    )
    wait_until(lambda: chain.filter(verified_sequence=5).exists(), what="the check")
    assert chain.get().problem == ""
