"""Neural nets of one model, shared by threads."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

Net = TypeVar("Net")


class Nets(Generic[Net]):
    """Lends nets to threads: a net keeps state while it runs, so one thread has it at a time.

    There are at most as many as cores: more would not be faster, and each keeps buffers for the
    largest picture that it has seen (YuNet's about 100 MB).
    """

    def __init__(self, load: Callable[[], Net], most: int | None = None) -> None:
        self._load = load
        self._room = threading.BoundedSemaphore(most or os.cpu_count() or 1)
        self._idle: list[Net] = []

    @contextmanager
    def lent(self) -> Iterator[Net]:
        """A net for this thread alone, when one is free. After an error it isn't used again."""
        with self._room:
            try:
                # The one that was used last: its buffers are the likeliest to fit.
                net = self._idle.pop()
            except IndexError:
                net = self._load()
            yield net
            self._idle.append(net)
