"""The circuit breaker and the rate limit, with fixed clocks."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persons.vision.errors import VisionUnavailable
from persons.vision.guards import (
    Admission,
    Bucket,
    Circuit,
    CircuitBreaker,
    CircuitOpen,
    MemoryBreakerState,
    MemoryBucketState,
    Phase,
    RateLimit,
    RateLimited,
)

NOW = 1_000_000.0


class Clock:
    """Stands still, but for who sleeps."""

    def __init__(self) -> None:
        self.now = NOW
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> CircuitBreaker:
    return CircuitBreaker(
        "vision.example",
        MemoryBreakerState(),
        threshold=3,
        cool_down=10,
        ceiling=60,
        lease=100,
        clock=clock,
    )


def fail(breaker: CircuitBreaker, times: int = 1) -> None:
    for _ in range(times):
        breaker.failed(breaker.admit())


def at_once(count: int, work: Callable[[], object]) -> list[object]:
    """What each of so many threads returned, or None where it was refused."""
    barrier = threading.Barrier(count)
    outcomes: list[object] = []

    def run() -> None:
        barrier.wait()
        try:
            outcomes.append(work())
        except VisionUnavailable:
            outcomes.append(None)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


# --- The breaker ---


def test_it_starts_closed(breaker: CircuitBreaker) -> None:
    assert breaker.state() == Circuit(Phase.CLOSED)
    breaker.admit()


def test_failures_in_a_row_open_it(breaker: CircuitBreaker) -> None:
    fail(breaker, 2)
    assert breaker.state().phase is Phase.CLOSED
    fail(breaker)
    assert breaker.state().phase is Phase.OPEN
    with pytest.raises(CircuitOpen) as caught:
        breaker.admit()
    assert caught.value.until == NOW + 10
    assert str(caught.value) == (
        "vision.example failed 3 times in a row; it will be tried again at 13:46:50 UTC."
    )


def test_a_success_between_failures_starts_the_count_anew(breaker: CircuitBreaker) -> None:
    fail(breaker, 2)
    breaker.succeeded(breaker.admit())
    assert breaker.state().failures == 0
    fail(breaker, 2)
    assert breaker.state().phase is Phase.CLOSED


def test_a_success_without_failures_before_it_writes_nothing(breaker: CircuitBreaker) -> None:
    breaker.succeeded(breaker.admit())
    assert breaker.state().revision == 0


def test_a_probe_that_succeeds_closes_it(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.now += 10
    probe = breaker.admit()
    assert breaker.state().phase is Phase.HALF_OPEN
    with pytest.raises(CircuitOpen, match="is being tried again"):
        breaker.admit()
    breaker.succeeded(probe)
    state = breaker.state()
    assert (state.phase, state.failures, state.opened) == (Phase.CLOSED, 0, 0)
    breaker.admit()


def test_each_failed_probe_doubles_the_pause_up_to_the_ceiling(
    breaker: CircuitBreaker, clock: Clock
) -> None:
    fail(breaker, 3)
    pauses = []
    for _ in range(6):
        pauses.append(breaker.state().until - clock.now)
        clock.now = breaker.state().until
        fail(breaker)
    assert pauses == [10, 20, 40, 60, 60, 60]
    clock.now = breaker.state().until
    breaker.succeeded(breaker.admit())
    fail(breaker, 3)
    assert breaker.state().until - clock.now == 10


def test_the_pause_does_not_overflow(clock: Clock) -> None:
    breaker = CircuitBreaker("x", MemoryBreakerState(), threshold=1, clock=clock)
    for _ in range(2000):
        fail(breaker)
        clock.now = breaker.state().until
    assert breaker.state().opened == 2000


def test_of_twenty_threads_one_is_the_probe(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.now += 11
    outcomes = at_once(20, breaker.admit)
    assert len([outcome for outcome in outcomes if outcome is not None]) == 1


def test_twenty_threads_count_every_failure(clock: Clock) -> None:
    breaker = CircuitBreaker("x", MemoryBreakerState(), threshold=21, clock=clock)
    at_once(20, lambda: fail(breaker))
    assert breaker.state().failures == 20
    assert breaker.state().phase is Phase.CLOSED


def test_a_probe_that_never_tells_is_replaced(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.now += 10
    dead = breaker.admit()
    clock.now += 99
    with pytest.raises(CircuitOpen):
        breaker.admit()
    clock.now += 1
    second = breaker.admit()
    # The first was not dead after all, but slow: it has no say any more.
    breaker.failed(dead)
    assert breaker.state().phase is Phase.HALF_OPEN
    breaker.succeeded(second)
    assert breaker.state().phase is Phase.CLOSED


def test_a_probe_that_was_not_sent_leaves_the_next_to_try(
    breaker: CircuitBreaker, clock: Clock
) -> None:
    fail(breaker, 3)
    clock.now += 10
    breaker.abandoned(breaker.admit())
    assert breaker.state().opened == 1
    breaker.succeeded(breaker.admit())
    assert breaker.state().phase is Phase.CLOSED


def test_what_was_not_sent_is_no_failure(breaker: CircuitBreaker) -> None:
    fail(breaker, 2)
    breaker.abandoned(breaker.admit())
    assert breaker.state().failures == 2


def test_a_late_outcome_of_before_it_opened_says_nothing(breaker: CircuitBreaker) -> None:
    late = [breaker.admit(), breaker.admit()]
    fail(breaker, 3)
    before = breaker.state()
    breaker.succeeded(late[0])
    breaker.failed(late[1])
    assert breaker.state() == before


def test_of_two_changes_of_one_state_the_second_is_refused() -> None:
    state = MemoryBreakerState()
    old = state.read()
    first, second = (replace(old, failures=failures, revision=1) for failures in (1, 2))
    assert state.swap(old, first)
    assert not state.swap(old, second)
    assert state.read() == first


def test_a_change_that_came_second_is_made_on_what_the_first_left(clock: Clock) -> None:
    class Raced(MemoryBreakerState):
        """Another process is a step ahead, once."""

        ahead = True

        def swap(self, old: Circuit, new: Circuit) -> bool:
            if self.ahead:
                self.ahead = False
                fail(CircuitBreaker("x", self, threshold=2, clock=clock))
            return super().swap(old, new)

    state = Raced()
    fail(CircuitBreaker("x", state, threshold=2, clock=clock))
    assert (state.read().phase, state.read().failures) == (Phase.OPEN, 2)


def test_two_processes_share_the_circuit(clock: Clock) -> None:
    state = MemoryBreakerState()
    one, other = (CircuitBreaker("x", state, threshold=2, clock=clock) for _ in range(2))
    fail(one)
    fail(other)
    with pytest.raises(CircuitOpen):
        one.admit()


@given(st.lists(st.sampled_from(["succeeded", "failed", "abandoned", "wait"]), max_size=60))
def test_in_whatever_order_things_happen_it_never_locks_up(steps: list[str]) -> None:
    clock = Clock()
    breaker = CircuitBreaker(
        "x", MemoryBreakerState(), threshold=2, cool_down=10, ceiling=40, lease=50, clock=clock
    )
    admissions: list[Admission] = []
    for step in steps:
        before = breaker.state()
        if step == "wait":
            clock.now += 7
            continue
        try:
            admissions.append(breaker.admit())
        except CircuitOpen:
            assert clock.now < breaker.state().until <= clock.now + 50
            continue
        if len(admissions) % 4:  # the fourth tells nothing
            getattr(breaker, step)(admissions[-1])
        after = breaker.state()
        assert after.revision >= before.revision
        assert (after.phase is Phase.CLOSED) <= (after.failures < 2)
    clock.now += 50
    breaker.succeeded(breaker.admit())
    assert breaker.state().phase is Phase.CLOSED


# --- The rate limit ---


def limit(clock: Clock, patience: float = 10, **rates: tuple[float, float]) -> RateLimit:
    buckets = {
        name: Bucket(MemoryBucketState(), rate=rate, burst=burst)
        for name, (rate, burst) in rates.items()
    }
    return RateLimit(
        requests=buckets.get("requests"),
        images=buckets.get("images"),
        patience=patience,
        clock=clock,
        sleep=clock.sleep,
    )


def test_a_burst_passes_at_once_and_the_rest_at_the_rate(clock: Clock) -> None:
    limited = limit(clock, requests=(2, 4))
    waits = [limited.wait(1) for _ in range(8)]
    assert waits[:4] == [0, 0, 0, 0]
    assert waits[4:] == pytest.approx([0.5] * 4)
    assert clock.slept == pytest.approx([0.5] * 4)


def test_an_idle_bucket_fills_up_to_its_burst_and_no_further(clock: Clock) -> None:
    limited = limit(clock, requests=(1, 2))
    clock.now += 1000
    assert [limited.wait(1) for _ in range(3)] == pytest.approx([0, 0, 1])


def test_images_are_counted_apart_from_requests(clock: Clock) -> None:
    limited = limit(clock, requests=(1000, 1000), images=(100, 200))
    assert limited.wait(100) == limited.wait(100) == 0
    assert limited.wait(0) == 0
    assert limited.wait(50) == pytest.approx(0.5)


def test_a_cost_above_the_burst_passes_once_there_was_time_for_it(clock: Clock) -> None:
    limited = limit(clock, images=(10, 50), patience=6)
    assert limited.wait(50) == 0
    with pytest.raises(RateLimited) as caught:
        limited.wait(100)
    clock.now += caught.value.seconds
    assert limited.wait(100) == 0
    assert limited.wait(50) == pytest.approx(5)


def test_a_wait_beyond_patience_is_refused_at_once_with_nothing_taken(clock: Clock) -> None:
    limited = limit(clock, patience=2, requests=(1, 1), images=(10, 10))
    limited.wait(10)
    with pytest.raises(RateLimited, match=r"no room for 10\.0 seconds") as caught:
        limited.wait(100)
    assert caught.value.seconds == pytest.approx(10)
    assert isinstance(caught.value, VisionUnavailable)
    assert clock.slept == []
    assert limited.wait(10) == pytest.approx(1)


def test_images_that_the_request_bucket_refuses_are_given_back(clock: Clock) -> None:
    limited = limit(clock, patience=0.5, requests=(1, 1), images=(1, 10))
    limited.wait(1)
    for _ in range(5):
        with pytest.raises(RateLimited):
            limited.wait(9)
    clock.now += 1
    assert limited.wait(10) == 0


def test_without_buckets_nothing_waits(clock: Clock) -> None:
    assert RateLimit(clock=clock, sleep=clock.sleep).wait(100) == 0


@pytest.mark.parametrize(("rate", "burst"), [(0, 1), (1, 0), (-1, 1)])
def test_a_bucket_without_a_rate_is_a_mistake(rate: float, burst: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        Bucket(MemoryBucketState(), rate=rate, burst=burst)


@given(
    rate=st.floats(0.1, 1000),
    burst=st.floats(1, 500),
    steps=st.lists(st.tuples(st.floats(0, 5), st.integers(0, 100)), max_size=40),
    patience=st.floats(0, 20),
)
def test_in_no_stretch_of_time_more_goes_out_than_burst_and_rate_allow(
    rate: float, burst: float, steps: list[tuple[float, int]], patience: float
) -> None:
    bucket = Bucket(MemoryBucketState(), rate=rate, burst=burst)
    now = NOW
    sent: list[tuple[float, int]] = []
    for pause, cost in steps:
        now += pause
        wait = bucket.take(now, cost, patience)
        assert wait >= 0
        if wait <= patience:
            sent.append((now + wait, cost))
    sent.sort()
    for first, (start, first_cost) in enumerate(sent):
        total = largest = first_cost
        for end, cost in sent[first + 1 :]:
            total += cost
            largest = max(largest, cost)
            assert total <= max(burst, largest) + rate * (end - start) + 1e-3 * (1 + rate)


@given(
    rate=st.floats(0.1, 1000),
    burst=st.floats(1, 500),
    cost=st.integers(1, 100),
    taken=st.lists(st.integers(1, 100), max_size=10),
)
def test_a_refusal_names_a_wait_after_which_there_is_room(
    rate: float, burst: float, cost: int, taken: list[int]
) -> None:
    bucket = Bucket(MemoryBucketState(), rate=rate, burst=burst)
    for earlier in taken:
        bucket.take(NOW, earlier, float("inf"))
    wait = bucket.take(NOW, cost, -1)
    assert bucket.take(NOW + wait + 1e-6, cost, 1e-6 + 1e-9 * NOW) <= 1e-6 + 1e-9 * NOW


def test_twenty_threads_take_no_more_than_there_is() -> None:
    bucket = Bucket(MemoryBucketState(), rate=1, burst=7)
    waits = at_once(20, lambda: bucket.take(NOW, 1, 0))
    assert waits.count(0.0) == 7


# --- The errors ---


def test_the_errors_say_wait_and_survive_a_queue() -> None:
    for error in (CircuitOpen("text", 5.0), RateLimited("text", 5.0)):
        assert isinstance(error, VisionUnavailable)
        again = pickle.loads(pickle.dumps(error))
        assert (str(again), vars(again)) == ("text", vars(error))
