"""The retry policy: which errors count as attempts, and how long work waits after them."""

from __future__ import annotations

from persons.vision.errors import VisionTemporary, VisionUnauthorized, VisionUnavailable
from persons.work.retries import (
    BACKOFF_CEILING_SECONDS,
    attempts_after,
    backoff,
    is_attempt,
    pause_after,
)


def test_the_wait_doubles_with_jitter_up_to_a_quarter_of_an_hour() -> None:
    for attempts in range(1, 40):
        waits = [backoff(attempts).total_seconds() for _ in range(50)]
        ceiling = min(BACKOFF_CEILING_SECONDS, 2.0 * 2**attempts)
        assert ceiling / 2 <= min(waits) < max(waits) <= ceiling
        assert len(set(waits)) > 25
    assert BACKOFF_CEILING_SECONDS == 15 * 60


def test_only_an_error_that_a_call_caused_counts_as_an_attempt() -> None:
    for error in (VisionUnavailable("circuit open"), VisionUnauthorized("no token")):
        assert not is_attempt(error)
        assert attempts_after(error, 3) == 3
    assert attempts_after(VisionTemporary("no answer"), 3) == 4


def test_work_that_waits_for_vision_comes_back_soon_after_it_and_not_all_at_once() -> None:
    error = VisionUnavailable("circuit open")
    waits = [pause_after(error, 9).total_seconds() for _ in range(50)]
    assert error.pause <= min(waits) < max(waits) <= error.pause + 2
    assert len(set(waits)) > 25
