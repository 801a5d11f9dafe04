"""Wraps a picture as a file descriptor that can be passed to a helper."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from . import memory

_CHUNK = 1 << 20


class PictureSource:
    """A picture's bytes or an open file, which is read from its beginning and stays open.

    Use it as a context for several operations on one picture: its bytes are then copied once.
    """

    def __init__(self, what: bytes | memoryview | BinaryIO) -> None:
        self._what = what
        self._file = -1
        self._users = 0

    def __enter__(self) -> PictureSource:
        if self._users == 0:
            self._file = _opened(self._what)
        self._users += 1
        return self

    def __exit__(self, *_: object) -> None:
        self._users -= 1
        if self._users == 0:
            os.close(self._file)
            self._file = -1

    def fileno(self) -> int:
        return self._file


@contextmanager
def as_source(what: PictureSource | bytes | memoryview | BinaryIO) -> Iterator[PictureSource]:
    with what if isinstance(what, PictureSource) else PictureSource(what) as source:
        yield source


def _opened(what: bytes | memoryview | BinaryIO) -> int:
    if isinstance(what, bytes | memoryview):
        return memory.written([what])
    try:
        # Flushes buffered writes to the file.
        what.seek(0)
        number = what.fileno()
    except (OSError, AttributeError, io.UnsupportedOperation):
        return _spooled(what)
    try:
        # Reopened for a separate file position and read-only access.
        return os.open(f"/proc/self/fd/{number}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return _spooled(what)


def _spooled(what: BinaryIO) -> int:
    what.seek(0)
    try:
        return memory.written(iter(lambda: what.read(_CHUNK), b""))
    finally:
        what.seek(0)
