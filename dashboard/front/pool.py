"""The threads that answer requests. Threads waiting for a client don't count against the limit."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

PATIENT_SECONDS = 1.0
"""A client waited for less than this is never cut off to make room for another."""

LATER_EVERY = 4

log = logging.getLogger(__name__)


class NoRoom(ConnectionAbortedError):
    """Too many threads already wait for clients, and none has waited long enough to be cut off."""


@dataclass(frozen=True, slots=True)
class _Waiter:
    since: float
    cut: Callable[[], None]


class ThreadPool:
    """At most `size` jobs at a time, and at most `aside` more threads that wait for clients."""

    def __init__(self, size: int, *, aside: int, end: Callable[[], None]) -> None:
        """`end` is called in each thread before it ends."""
        self._size = size
        self._most_aside = aside
        self._end = end
        lock = threading.Lock()
        self._lock = lock
        self._work = threading.Condition(lock)
        self._back = threading.Condition(lock)
        self._jobs: deque[Callable[[], None]] = deque()
        self._later: deque[Callable[[], None]] = deque()
        self._picks = 0
        self._busy = self._idle = self._returning = self._count = 0
        self._aside: dict[int, _Waiter] = {}

    def submit(self, job: Callable[[], None], *, later: bool = False) -> None:
        """Queue a job. With `later`, other jobs go first, except once in `LATER_EVERY` times."""
        with self._lock:
            (self._later if later else self._jobs).append(job)
            self._wake()

    @contextmanager
    def aside(self, cut: Callable[[], None]) -> Iterator[None]:
        """A block that only waits for a client; another job may run meanwhile.

        If too many threads wait, the one waiting longest is ended by its `cut`, which must take
        effect at once. Raises NoRoom if none has waited long.
        """
        me = threading.get_ident()
        with self._lock:
            if len(self._aside) >= self._most_aside:
                self._let_one_go()
            self._aside[me] = _Waiter(time.monotonic(), cut)
            self._busy -= 1
            self._pass_on()
        try:
            yield
        finally:
            with self._lock:
                self._aside.pop(me, None)
                self._returning += 1
                while self._busy >= self._size:
                    self._back.wait()
                self._returning -= 1
                self._busy += 1

    @property
    def threads(self) -> int:
        return self._count

    def _let_one_go(self) -> None:
        who = min(self._aside, key=lambda one: self._aside[one].since)
        waiter = self._aside[who]
        if time.monotonic() - waiter.since < PATIENT_SECONDS:
            raise NoRoom("too many clients are waited for")
        # It still counts as a thread until it has noticed.
        del self._aside[who]
        waiter.cut()

    def _pass_on(self) -> None:
        """Pass on a free slot: threads returning from a client go first."""
        if self._returning:
            self._back.notify()
        else:
            self._wake()

    def _wake(self) -> None:
        if not self._can_begin():
            return
        if self._idle:
            self._idle -= 1
            self._work.notify()
        else:
            self._count += 1
            name = f"answers-{self._count}"
            threading.Thread(target=self._run, name=name, daemon=True).start()

    def _run(self) -> None:
        try:
            while (job := self._next()) is not None:
                try:
                    job()
                except Exception:
                    log.exception("A request could not be answered.")
                finally:
                    with self._lock:
                        self._busy -= 1
                        self._pass_on()
        finally:
            self._end()

    def _next(self) -> Callable[[], None] | None:
        with self._lock:
            while not self._can_begin():
                if self._idle >= self._size:
                    self._count -= 1
                    return None
                self._idle += 1
                # The notifier removes this thread from `_idle`.
                self._work.wait()
            self._busy += 1
            self._picks += 1
            is_later = self._later and (not self._jobs or self._picks % LATER_EVERY == 0)
            return (self._later if is_later else self._jobs).popleft()

    def _can_begin(self) -> bool:
        has_work = bool(self._jobs or self._later)
        return has_work and self._busy + self._returning < self._size
