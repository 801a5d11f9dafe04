"""A helper's life: it is forked off, limits itself, and then opens one picture after another, until
nobody asks any more.

READY -> TAKEN -> (done | refused | …) -> TAKEN …
"""

from __future__ import annotations

import errno
import os
import resource
import signal
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from persons.decoding import memory, wire
from persons.decoding.errors import NotInside
from persons.decoding.helper import CLOCK

from .forking import Template
from .rows import Rows
from .seclusion import enter_sandbox

Answer = tuple[dict[str, Any], Sequence[memory.Buffer | Rows]]

_FILES = 64
_ORPHAN_SECONDS = 3
"""Extra seconds before the kernel ends a helper whose asking process is gone. Otherwise that
process ends a slow helper first."""


def main(arguments: Sequence[str]) -> None:
    """`arguments` are the limits: bytes of memory, seconds of computing, seconds without work, and
    seconds without a helper."""
    most = int(arguments[0])
    seconds, idle, alone = map(float, arguments[1:])
    # The asking process handles Ctrl-C at a terminal.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    control = socket.socket(fileno=os.dup(0))
    os.close(0)
    os.open(os.devnull, os.O_RDONLY)
    try:
        from .operations import OPERATIONS, prepare

        prepare(most)
    except Exception as error:  # noqa: BLE001 - every failure is reported to the asking process
        wire.send(control, {"ready": False, "why": repr(error)[:500]})
        return
    wire.send(control, {"ready": True})
    if asker := Template(control, alone).run():
        with asker:
            _limit(most)
            enter_sandbox()
            wire.send(asker, {"ready": os.getpid()})
            serve(asker, OPERATIONS, seconds, idle)


def _limit(most: int) -> None:
    """Limit memory beyond the current address space, most of which libraries map but never
    touch."""
    with suppress(OSError, ValueError):
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        room = pages * resource.getpagesize() + most
        resource.setrlimit(resource.RLIMIT_AS, (room, room))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (_FILES, _FILES))
    # Answers are memory files, which RLIMIT_AS doesn't count.
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)


def serve(asker: socket.socket, operations: Mapping[str, Any], seconds: float, idle: float) -> None:
    while True:
        asker.settimeout(idle)
        try:
            request, files = wire.receive(asker, most_files=2)
        except (EOFError, OSError, wire.Hostile):
            return
        asker.settimeout(None)
        wire.send(asker, {"taken": True})
        _limit_time(seconds)
        try:
            answer, pieces = _answer(operations, request, files[0])
        finally:
            for one in files:
                os.close(one)
        _send(asker, answer, pieces)
        signal.setitimer(signal.ITIMER_REAL, 0)
        if "exhausted" in answer or "broke" in answer:
            return


def _size_of(piece: memory.Buffer | Rows) -> int:
    return piece.nbytes if isinstance(piece, Rows) else memoryview(piece).nbytes


def _parts_of(piece: memory.Buffer | Rows) -> Iterable[memory.Buffer]:
    return piece if isinstance(piece, Rows) else (piece,)


def _limit_time(seconds: float) -> None:
    """Let the kernel enforce the time limit: native code never returns to Python to check one."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    until = int(used.ru_utime + used.ru_stime + seconds) + 1
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (until, hard))
    signal.setitimer(signal.ITIMER_REAL, seconds * CLOCK + _ORPHAN_SECONDS)


def _answer(operations: Mapping[str, Any], request: dict[str, Any], number: int) -> Answer:
    from persons.images.refusal import ImageRefused

    try:
        operation: Callable[..., Answer] = operations[request["operation"]]
        with os.fdopen(os.dup(number), "rb") as file:
            file.seek(0)
            return operation(file, **request["params"])
    except ImageRefused as error:
        return {"refused": str(error.code), "text": str(error)}, ()
    except NotInside as error:
        return {"outside": str(error)}, ()
    except MemoryError:
        return {"exhausted": True}, ()
    except OSError as error:
        if error.errno == errno.ENOMEM:
            return {"exhausted": True}, ()
        return ({"errno": error.errno} if error.errno else {"broke": repr(error)}), ()
    except Exception as error:  # noqa: BLE001 - an answer, as every end of a picture is one
        return {"broke": f"{type(error).__name__}: {error}"[:200]}, ()


def _send(
    asker: socket.socket, answer: dict[str, Any], pieces: Sequence[memory.Buffer | Rows]
) -> None:
    if not answer.keys() - {"done"}:
        answer["sizes"] = [_size_of(one) for one in pieces]
    if not pieces:
        wire.send(asker, answer)
        return
    file = memory.written(part for one in pieces for part in _parts_of(one))
    try:
        wire.send(asker, answer, [file])
    finally:
        os.close(file)
