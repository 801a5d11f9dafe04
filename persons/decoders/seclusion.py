"""Sandboxes a helper: it irrevocably gives up access to files, connections and other processes.

Uses Landlock if the kernel has it (Linux 5.13 and later). The helper keeps the files passed to it,
and read access to its own code, parts of which load late.
"""

from __future__ import annotations

import ctypes
import os
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_CREATE, _ADD, _RESTRICT = 444, 445, 446
"""Landlock's system call numbers, the same on every architecture."""

_VERSION = 1
_BENEATH = 1
_NO_NEW_PRIVILEGES = 38
_READ = 1 << 2 | 1 << 3
"""Rights to read files and folders."""

_FILES = {1: 13, 2: 14, 3: 15, 5: 16}
"""Number of file access rights by ABI version; each is a bit, counted from the lowest."""

_NET_FROM, _NET = 4, 0b11
_SCOPE_FROM, _SCOPE = 6, 0b11
"""Scopes that cut off abstract sockets and signals of outside processes."""


class _Rules(ctypes.Structure):
    _fields_ = (
        ("files", ctypes.c_uint64),
        ("net", ctypes.c_uint64),
        ("scope", ctypes.c_uint64),
    )


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("folder", ctypes.c_int32))


def enter_sandbox() -> bool:
    """Restrict this process; returns whether the kernel supports it. Only for single-threaded
    use."""
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(_CREATE, None, ctypes.c_size_t(0), _VERSION)
    if version < 1:
        return False
    bits = max(count for since, count in _FILES.items() if since <= version)
    rules = _Rules((1 << bits) - 1, _NET, _SCOPE)
    size = 24 if version >= _SCOPE_FROM else 16 if version >= _NET_FROM else 8
    ruleset = libc.syscall(_CREATE, ctypes.byref(rules), ctypes.c_size_t(size), 0)
    if ruleset < 0:
        return False
    try:
        for folder in _code():
            _allow(libc, ruleset, folder)
        libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
        return bool(libc.syscall(_RESTRICT, ruleset, 0) == 0)
    finally:
        os.close(ruleset)


def _code() -> Iterator[Path]:
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    yield from {Path(sysconfig.get_path(name)) for name in names}
    yield Path(__file__).resolve().parent.parent
    yield from map(Path, ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib"))


def _allow(libc: ctypes.CDLL, ruleset: int, folder: Path) -> None:
    with suppress(OSError):
        number = os.open(folder, os.O_PATH | os.O_CLOEXEC)
        try:
            rule = _Beneath(_READ, number)
            libc.syscall(_ADD, ruleset, _BENEATH, ctypes.byref(rule), 0)
        finally:
            os.close(number)
