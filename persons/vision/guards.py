"""Protects an upstream from overload: a circuit breaker and a rate limit.

Both are shared by all processes: the arithmetic is here, the state behind a small protocol. Times
are seconds since the epoch, since a monotonic clock is not comparable between processes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Protocol

from .errors import VisionUnavailable


class CircuitOpen(VisionUnavailable):
    """Nothing was sent; `until` is when the upstream will be tried next."""

    def __init__(self, text: str, until: float) -> None:
        super().__init__(text, until)
        self.text = text
        self.until = until

        self.pause = max(1.0, until - time.time())

    def __str__(self) -> str:
        return self.text


class RateLimited(VisionUnavailable):
    """Nothing was sent; there will be room in `seconds`."""

    def __init__(self, text: str, seconds: float) -> None:
        super().__init__(text, seconds)
        self.text = text
        self.seconds = seconds
        self.pause = max(1.0, seconds)

    def __str__(self) -> str:
        return self.text


class Phase(StrEnum):
    """CLOSED -> OPEN -> HALF_OPEN -> CLOSED, or back to OPEN."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


@dataclass(frozen=True, slots=True)
class Circuit:
    """The complete state of a breaker."""

    phase: Phase = Phase.CLOSED
    failures: int = 0
    """Consecutive failures since the last success."""
    opened: int = 0
    """Consecutive openings; the cool-down grows with them."""
    until: float = 0.0
    """OPEN: when a probe may be sent. HALF_OPEN: when the probe counts as dead."""
    generation: int = 0
    """Counts phase changes: outcomes of calls from another generation are ignored."""
    revision: int = 0
    """Counts every change; `swap` compares it."""


class BreakerState(Protocol):
    def read(self) -> Circuit:
        """The current state; initially `Circuit()`."""
        ...

    def swap(self, old: Circuit, new: Circuit) -> bool:
        """Store `new` if the stored revision is still `old.revision`; returns whether it was
        stored.

        Atomic over all processes: of several swaps from one revision exactly one succeeds.
        """
        ...


class MemoryBreakerState:
    """A BreakerState for the threads of one process."""

    def __init__(self) -> None:
        self._circuit = Circuit()
        self._lock = threading.Lock()

    def read(self) -> Circuit:
        return self._circuit

    def swap(self, old: Circuit, new: Circuit) -> bool:
        with self._lock:
            if self._circuit.revision != old.revision:
                return False
            self._circuit = new
            return True


@dataclass(frozen=True, slots=True)
class Admission:
    """Permission to send once; its outcome must be reported to the breaker that gave it."""

    generation: int
    clean: bool = False
    """There were no failures, so a success changes nothing and needn't read the state again."""


class CircuitBreaker:
    """Opens after `threshold` consecutive failures; then single probes find out when to close.

    It stays open for `cool_down` seconds, doubled after each failed probe, up to `ceiling`. A
    probe that reports no outcome within `lease` seconds counts as dead, and another may be sent.
    `lease` must exceed the longest possible call. Every admission must end with `succeeded`,
    `failed` or, if nothing was learnt about the upstream, `abandoned`.
    """

    def __init__(
        self,
        name: str,
        state: BreakerState,
        *,
        threshold: int = 5,
        cool_down: float = 5.0,
        ceiling: float = 300.0,
        lease: float = 300.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.name = name
        self._state = state
        self._threshold = threshold
        self._cool_down = cool_down
        self._ceiling = ceiling
        self._lease = lease
        self._clock = clock

    def state(self) -> Circuit:
        """For pages and `/readyz`. OPEN with `until` in the past: the next call is the probe."""
        return self._state.read()

    def admit(self, known: Circuit | None = None) -> Admission:
        """Admit one call. Raises CircuitOpen. `known` is the state, if it was read just now."""
        while True:
            old, known = known or self._state.read(), None
            if old.phase is Phase.CLOSED:
                return Admission(old.generation, clean=not old.failures)
            now = self._clock()
            if now < old.until:
                raise self._refusal(old)
            new = self._changed(old, Phase.HALF_OPEN, until=now + self._lease)
            if self._state.swap(old, new):
                return Admission(new.generation)

    def succeeded(self, admission: Admission) -> None:
        if admission.clean:
            return

        def after(old: Circuit) -> Circuit:
            if old.phase is Phase.HALF_OPEN:
                return self._changed(old, Phase.CLOSED, failures=0, opened=0)
            return replace(old, failures=0, revision=old.revision + bool(old.failures))

        self._change(admission, after)

    def failed(self, admission: Admission) -> None:
        def after(old: Circuit) -> Circuit:
            failures = old.failures + 1
            if old.phase is Phase.CLOSED and failures < self._threshold:
                return replace(old, failures=failures, revision=old.revision + 1)
            # The exponent is bounded: a float power overflows after a thousand failed probes.
            pause = min(self._ceiling, self._cool_down * 2.0 ** min(old.opened, 60))
            return self._changed(
                old,
                Phase.OPEN,
                failures=failures,
                opened=old.opened + 1,
                until=self._clock() + pause,
            )

        self._change(admission, after)

    def abandoned(self, admission: Admission) -> None:
        def after(old: Circuit) -> Circuit:
            if old.phase is Phase.HALF_OPEN:
                return self._changed(old, Phase.OPEN, until=self._clock())
            return old

        self._change(admission, after)

    def _change(self, admission: Admission, after: Callable[[Circuit], Circuit]) -> None:
        while True:
            old = self._state.read()
            if old.generation != admission.generation:
                return
            new = after(old)
            if new == old or self._state.swap(old, new):
                return

    @staticmethod
    def _changed(
        old: Circuit,
        phase: Phase,
        *,
        until: float = 0.0,
        failures: int | None = None,
        opened: int | None = None,
    ) -> Circuit:
        return Circuit(
            phase=phase,
            failures=old.failures if failures is None else failures,
            opened=old.opened if opened is None else opened,
            until=until,
            generation=old.generation + 1,
            revision=old.revision + 1,
        )

    def _refusal(self, circuit: Circuit) -> CircuitOpen:
        if circuit.phase is Phase.HALF_OPEN:
            text = f"{self.name} failed {circuit.failures} times in a row and is being tried again."
        else:
            text = (
                f"{self.name} failed {circuit.failures} times in a row; it will be tried again "
                f"at {datetime.fromtimestamp(circuit.until, UTC):%H:%M:%S} UTC."
            )
        return CircuitOpen(text, circuit.until)


class BucketState(Protocol):
    """One number, `empty_at`, initially 0: the time at which the bucket was empty."""

    def take(self, now: float, seconds: float, window: float, patience: float) -> float:
        """In one atomic step over all processes:

            new = max(empty_at, now - window) + seconds
            wait = max(0, new - now)
            if wait <= patience: empty_at = new
            return wait

        A wait above `patience` means that nothing was taken; any other that the room is reserved.
        """
        ...

    def give_back(self, seconds: float) -> None:
        """`empty_at -= seconds`, atomically: returns a reservation that won't be used."""
        ...


class MemoryBucketState:
    """A BucketState for the threads of one process."""

    def __init__(self) -> None:
        self._empty_at = 0.0
        self._lock = threading.Lock()

    def take(self, now: float, seconds: float, window: float, patience: float) -> float:
        with self._lock:
            new = max(self._empty_at, now - window) + seconds
            wait = max(0.0, new - now)
            if wait <= patience:
                self._empty_at = new
            return wait

    def give_back(self, seconds: float) -> None:
        with self._lock:
            self._empty_at -= seconds


class Bucket:
    """A token bucket of `rate` per second that holds at most `burst`.

    Early callers reserve and wait in order of arrival, so that small calls don't starve a call of
    100 images. A cost above `burst` raises the bucket's size to that cost for this call, which
    could otherwise never go. Choose `burst` or a patience with a full batch in mind.
    """

    def __init__(self, state: BucketState, *, rate: float, burst: float) -> None:
        if rate <= 0 or burst <= 0:
            raise ValueError("rate and burst must be above 0")
        self._state = state
        self._rate = rate
        self._burst = burst

    def take(self, now: float, cost: float, patience: float) -> float:
        """Reserve `cost`; returns the seconds to wait before sending. If that exceeds `patience`,
        nothing was reserved."""
        if not cost:
            return 0.0
        window = max(self._burst, cost) / self._rate
        return self._state.take(now, cost / self._rate, window, patience)

    def give_back(self, cost: float) -> None:
        if cost:
            self._state.give_back(cost / self._rate)


class RateLimit:
    """Limits requests and images per second to the account's ceiling; either may be None."""

    def __init__(
        self,
        *,
        requests: Bucket | None = None,
        images: Bucket | None = None,
        patience: float = 10.0,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._requests = requests
        self._images = images
        self._patience = patience
        self._clock = clock
        self._sleep = sleep

    def wait(self, images: int) -> float:
        """Sleep until a request with `images` images may be sent; returns the seconds slept.

        Raises RateLimited, at once and with nothing reserved, if that would exceed `patience`.
        """
        now = self._clock()
        wait = 0.0
        taken: list[tuple[Bucket, int]] = []
        for bucket, cost in ((self._images, images), (self._requests, 1)):
            if bucket is None:
                continue
            seconds = bucket.take(now, cost, self._patience)
            if seconds > self._patience:
                for earlier, paid in taken:
                    earlier.give_back(paid)
                raise RateLimited(
                    f"The rate limit leaves no room for {seconds:.1f} seconds.", seconds
                )
            taken.append((bucket, cost))
            wait = max(wait, seconds)
        if wait:
            self._sleep(wait)
        return wait
