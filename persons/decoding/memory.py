"""Shared memory between two processes: anonymous memory files that vanish with their users."""

from __future__ import annotations

import fcntl
import mmap
import os
import stat
import sys
import tempfile
from collections.abc import Iterable

Buffer = bytes | bytearray | memoryview

_ADD_SEALS, _GET_SEALS = 1033, 1034
_SHRINK, _GROW, _WRITE = 2, 4, 8
_ALL = _SHRINK | _GROW | _WRITE
"""Seals from Linux' fcntl.h. If a mapped file shrank, reading it would kill the process."""

IS_SEALED = sys.platform == "linux"


def written(pieces: Iterable[Buffer]) -> int:
    """Return the descriptor of a new sealed memory file with these pieces."""
    file = _new()
    try:
        for piece in pieces:
            left = memoryview(piece).cast("B")
            while left:
                left = left[os.write(file, left) :]
        if IS_SEALED:
            fcntl.fcntl(file, _ADD_SEALS, _ALL)
    except BaseException:
        os.close(file)
        raise
    return file


def _new() -> int:
    if sys.platform == "linux":
        return os.memfd_create("picture", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def read(file: int, size: int) -> Buffer:
    """Return a memory file made by a helper, mapped without a copy if it is sealed.

    Raises ValueError if it is not such a file or has another size.
    """
    found = os.fstat(file)
    if not stat.S_ISREG(found.st_mode) or found.st_size != size:
        raise ValueError("not the size that was announced")
    if size == 0:
        return b""
    if not IS_SEALED:
        return _copied(file, size)
    try:
        seals = fcntl.fcntl(file, _GET_SEALS)
    except OSError:
        raise ValueError("not a file in memory") from None
    if seals & _ALL != _ALL:
        raise ValueError("not sealed")
    # Pre-populated: a page fault for each page would cost more than the bytes do.
    flags = mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0)
    return memoryview(mmap.mmap(file, size, flags=flags, prot=mmap.PROT_READ))


def _copied(file: int, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        piece = os.pread(file, min(1 << 20, size - len(data)), len(data))
        if not piece:
            raise ValueError("it ends before its end")
        data += piece
    return bytes(data)
