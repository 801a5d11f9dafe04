"""Limits how many pictures are opened at once on the whole machine, by file locks.

The kernel releases a lock however its holders end. The helper and the asking process hold it
together, so a helper that outlives that process still counts.
"""

from __future__ import annotations

import fcntl
import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import DecodingBusy

_SHORTEST, _LONGEST = 0.002, 0.05


@contextmanager
def slot(folder: Path, count: int, patience: float) -> Iterator[int]:
    """Hold one of `count` slots; yields the descriptor that holds its lock. Raises DecodingBusy."""
    file = _waited_for(folder, count, patience)
    try:
        yield file
    finally:
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_UN)
        os.close(file)


def _waited_for(folder: Path, count: int, patience: float) -> int:
    deadline = time.monotonic() + patience
    pause = _SHORTEST
    while True:
        numbers = list(range(count))
        random.shuffle(numbers)
        for number in numbers:
            file = _taken(folder, number)
            if file is not None:
                return file
        left = deadline - time.monotonic()
        if left <= 0:
            raise DecodingBusy
        time.sleep(min(pause, left))
        pause = min(pause * 1.5, _LONGEST)


def _taken(folder: Path, number: int) -> int | None:
    path = folder / f"slot-{number}"
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return None
    except BaseException:
        os.close(file)
        raise
    return file
