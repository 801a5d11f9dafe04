"""Leases are short and renewed while work goes on, and a dead worker's work is taken over."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from time import monotonic
from types import SimpleNamespace

import pytest
from django.conf import settings as configured
from django.db import DatabaseError
from django.utils import timezone
from pytest_django import Settings

from persons import pipeline
from persons.models import Gallery, Photo, PhotoState, User
from persons.work import leases
from persons.work.leases import renewed
from tests.support.factories import GalleryFactory, PhotoFactory
from tests.support.fakes import Asked, FakeVision, in_a_worker_that_may_die, use, waiting_photo
from tests.support.processes import CeleryProcess, wait_until


@pytest.fixture
def gallery(bob: User) -> Gallery:
    return GalleryFactory.create(team=bob.memberships.get().team, slug="lake")


@pytest.fixture
def claimed(gallery: Gallery, settings: Settings) -> Photo:
    """For longer than a lease of 30 seconds."""
    settings.LEASE_SECONDS = 30
    return PhotoFactory.create(
        gallery=gallery,
        state=PhotoState.RUNNING,
        claim="mine",
        claimed_at=timezone.now() - timedelta(minutes=5),
    )


def long_since(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """As if so much time had passed since the block began."""
    now = monotonic()
    monkeypatch.setattr(leases, "monotonic", lambda: now + seconds)


@pytest.mark.django_db
class TestRenewing:
    def test_what_is_worked_on_is_not_freed(
        self, claimed: Photo, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with renewed(Photo.objects.filter(claim="mine")):
            assert leases.renew_due() == 0, "it is young"
            long_since(monkeypatch, 11)
            assert leases.renew_due() == 1
            assert leases.renew_due() == 0
        assert pipeline.release_claims() == 0

    def test_what_was_taken_over_is_not_touched(
        self, claimed: Photo, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with renewed(Photo.objects.filter(claim="mine")):
            Photo.objects.update(claim="another's")
            long_since(monkeypatch, 11)
            assert leases.renew_due() == 0
        assert pipeline.release_claims() == 1

    def test_what_has_ended_is_not_renewed(
        self, claimed: Photo, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with pytest.raises(ValueError, match="cut off"), renewed(Photo.objects.all()):
            raise ValueError("cut off")
        long_since(monkeypatch, 11)
        assert leases.renew_due() == 0

    def test_what_hangs_is_freed_in_the_end(
        self, claimed: Photo, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with renewed(Photo.objects.filter(claim="mine")):
            long_since(monkeypatch, leases.LONGEST + 1)
            assert leases.renew_due() == 0
            assert pipeline.release_claims() == 1


@pytest.mark.thorough
@pytest.mark.django_db(transaction=True)
def test_the_thread_renews_what_takes_longer_than_a_lease(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    settings.LEASE_SECONDS = 3
    photo = waiting_photo(gallery)
    vision = use(monkeypatch, FakeVision())

    def slow(asked: Asked) -> None:
        claimed = Photo.objects.filter(pk=photo.pk).values_list("claimed_at", flat=True)
        first = claimed.get()
        wait_until(lambda: claimed.get() != first, what="the lease to be renewed")

    vision.before = slow
    assert pipeline.recognise_batch(gallery.space_id)
    photo.refresh_from_db()
    assert photo.state == PhotoState.DONE


class Ended(Exception):
    """Ends the thread's loop."""


def test_the_thread_goes_on_after_an_error_of_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes: list[Exception] = [DatabaseError("locked"), DatabaseError("locked"), Ended()]
    pauses: list[float] = []

    def renew_due() -> int:
        raise outcomes.pop(0)

    event = SimpleNamespace(wait=pauses.append)
    monkeypatch.setattr(leases, "renew_due", renew_due)
    monkeypatch.setattr(leases, "threading", SimpleNamespace(Event=lambda: event))
    with pytest.raises(Ended):
        leases._keep()
    # An error leaves time for another try before the lease expires.
    assert len(pauses) == 3
    assert max(pauses) <= configured.LEASE_SECONDS / 6


@pytest.mark.django_db(transaction=True)
def test_a_process_that_was_forked_renews_for_itself(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    with renewed(Photo.objects.none()):
        assert any(thread.name == "leases" for thread in threading.enumerate())
        ended = in_a_worker_that_may_die(_enter)
    assert ended == 0


def _enter() -> None:
    with renewed(Photo.objects.none()):
        assert any(thread.name == "leases" for thread in threading.enumerate())


@pytest.mark.processes
def test_the_work_of_a_worker_that_was_killed_is_taken_over(
    gallery: Gallery, real_worker: Callable[..., CeleryProcess]
) -> None:
    """Its claim stands until its lease is over; the sweep does the rest."""
    photo = PhotoFactory.create(
        gallery=gallery,
        with_file=True,
        width=320,
        height=240,
        state=PhotoState.PREPARING,
        claim="of a worker that died",
        claimed_at=timezone.now(),
    )
    real_worker(beat=True, ROLLCALL_SWEEP_SECONDS="1", ROLLCALL_LEASE_SECONDS="2")

    def is_done() -> bool:
        photo.refresh_from_db()
        return bool(photo.state == PhotoState.DONE)

    wait_until(is_done, what="the photo to be recognised")
    assert photo.interruptions == 0, "an answer clears what was counted"
