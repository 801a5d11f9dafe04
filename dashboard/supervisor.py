"""Starts, watches and stops the processes of `manage.py up`.

The rules, in order: a stop takes less than five seconds and leaves no processes behind; a process
that dies is restarted; output is passed on, each line prefixed with the process's name.
"""

from __future__ import annotations

import ctypes
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import BinaryIO, cast

STOP_SECONDS = 2.7
"""Seconds from TERM to KILL. A whole stop stays under five seconds."""

BACKOFF_SECONDS = (1, 2, 4, 8, 15, 30)
STEADY_SECONDS = 60
"""Uptime in seconds after which a restart begins at the first step of the backoff."""

_TICK_SECONDS = 0.5
_LINE_BYTES = 64 * 1024
_PR_SET_PDEATHSIG = 1
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when `parent`, which started it, dies.

    On Linux only; elsewhere a supervisor killed with SIGKILL leaves its children running.
    """
    if _libc is None:
        return
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # It died before we asked.
        os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True, slots=True)
class Program:
    """A program to start. `name` prefixes each line of its output; it inherits `fds`.

    `on_fall` is called after each unexpected end, with the number of consecutive ends.
    """

    name: str
    command: Sequence[str]
    env: dict[str, str]
    cwd: str
    fds: tuple[int, ...] = ()
    on_fall: Callable[[int], None] | None = None


@dataclass(slots=True)
class _Child:
    """STOPPED -> RUNNING -> STOPPED (until `start_at`) -> RUNNING …"""

    program: Program
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    start_at: float = 0.0
    falls: int = 0
    rest: bytearray = field(default_factory=bytearray)


class Supervisor:
    """Supervises programs. `run` returns after a stop signal, when all processes have ended."""

    def __init__(self, programs: Sequence[Program], *, say: Callable[[str, str], None]) -> None:
        """`say(name, line)` prints one line; `name` is empty for the supervisor's own."""
        self._children = [_Child(program) for program in programs]
        self._say = say
        self._selector = selectors.DefaultSelector()
        self._stopping = False

    def run(self) -> None:
        """Call from the main thread only: signals arrive there, and the kernel ties the children
        to the thread that starts them."""
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        os.set_blocking(reader, False)
        self._selector.register(reader, selectors.EVENT_READ, None)
        before = {number: signal.signal(number, self._on_stop) for number in _STOP_SIGNALS}
        before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)
        wakeup = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        try:
            while not self._stopping:
                self._start_due()
                self._pass_on(_TICK_SECONDS)
                self._note_fallen()
        finally:
            self._stop()
            signal.set_wakeup_fd(wakeup)
            for number, handler in before.items():
                signal.signal(number, handler)
            self._selector.close()
            os.close(reader)
            os.close(writer)

    def _on_stop(self, *_: object) -> None:
        self._stopping = True

    def _start_due(self) -> None:
        for child in self._children:
            if child.process is None and child.start_at <= time.monotonic():
                self._start(child)

    def _start(self, child: _Child) -> None:
        parent = os.getpid()
        child.process = subprocess.Popen(
            child.program.command,
            cwd=child.program.cwd,
            env=child.program.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=child.program.fds,
            # Its own session: Ctrl-C at the terminal reaches the supervisor alone, and the process
            # group identifies what is left of a dead child.
            start_new_session=True,
            # One system call between fork and exec, which takes no lock that a thread could hold.
            preexec_fn=lambda: die_with_parent(parent),  # noqa: PLW1509
        )
        child.started_at = time.monotonic()
        stdout = cast(BinaryIO, child.process.stdout)
        os.set_blocking(stdout.fileno(), False)
        self._selector.register(stdout, selectors.EVENT_READ, child)

    def _pass_on(self, seconds: float) -> None:
        for key, _ in self._selector.select(seconds):
            try:
                data = os.read(key.fd, _LINE_BYTES)
            except BlockingIOError:
                continue
            child: _Child | None = key.data
            if child is None:
                continue
            if not data:
                self._selector.unregister(key.fileobj)
            self._print_lines(child, data)

    def _print_lines(self, child: _Child, data: bytes) -> None:
        child.rest += data
        *lines, child.rest = child.rest.split(b"\n")
        if not data or len(child.rest) > _LINE_BYTES:
            lines.append(child.rest)
            child.rest = bytearray()
        for line in lines:
            if text := line.decode(errors="replace").rstrip():
                self._say(child.program.name, text)

    def _note_fallen(self) -> None:
        for child in self._children:
            if child.process is None or child.process.poll() is None:
                continue
            code = child.process.returncode
            # Its own children would otherwise keep the port or the queue.
            self._end_group(child)
            now = time.monotonic()
            if now - child.started_at > STEADY_SECONDS:
                child.falls = 0
            wait = BACKOFF_SECONDS[min(child.falls, len(BACKOFF_SECONDS) - 1)]
            child.falls += 1
            child.start_at = now + wait
            self._say("", f"{child.program.name} {_how(code)}; it starts again in {wait} s.")
            if child.program.on_fall is not None:
                child.program.on_fall(child.falls)

    def _stop(self) -> None:
        running = [child for child in self._children if child.process is not None]
        for child in running:
            with suppress(ProcessLookupError):
                cast("subprocess.Popen[bytes]", child.process).terminate()
        deadline = time.monotonic() + STOP_SECONDS
        while time.monotonic() < deadline and any(
            child.process is not None and child.process.poll() is None for child in running
        ):
            self._pass_on(0.05)
        for child in running:
            self._end_group(child)

    def _end_group(self, child: _Child) -> None:
        """Kill the rest of a child's process group, and print its remaining output."""
        process = cast("subprocess.Popen[bytes]", child.process)
        # The group's id can't belong to another group: it stays in use while one of its processes
        # lives, and the kernel reuses ids only after all others.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        stdout = cast(BinaryIO, process.stdout)
        with suppress(KeyError):
            self._selector.unregister(stdout)
        with suppress(BlockingIOError):
            while data := os.read(stdout.fileno(), _LINE_BYTES):
                self._print_lines(child, data)
        self._print_lines(child, b"")
        stdout.close()
        child.process = None


def _how(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"
