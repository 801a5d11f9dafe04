"""The process that helpers are forked from, as the process that started it sees it.

It has loaded everything and opens no picture, so that a helper starts in milliseconds. It is
replaced after some helpers, and as soon as one of them broke: helpers of one template have the same
layout in memory, and nobody gets to try that out picture by picture.

RUNNING -> RETIRED (its helpers may end their work) -> ended
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

from . import wire
from .limits import Limits

ROOT = Path(__file__).resolve().parent.parent.parent
START_SECONDS = 30.0
_MOST_HELPERS = 200
_IDLE_SECONDS = 60.0
"""More than a helper's own: then it ends by itself, if it has no helpers."""

_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "LD_LIBRARY_PATH", "PYTHONPATH")
_RUN = (
    "import importlib, sys; sys.path.insert(0, sys.argv[1]); "
    "importlib.import_module(sys.argv[2]).main(sys.argv[3:])"
)


class HelperBroken(Exception):
    """No helper can be started at all: an installation's fault, and no picture's."""


class TemplateGone(Exception):
    """It ended before it had forked a helper: another one may."""


class Template:
    """May be shared by threads."""

    def __init__(self, limits: Limits) -> None:
        self._lock = threading.Lock()
        self._left = _MOST_HELPERS
        self.has_broken = False
        """One of its helpers did: no other of them gets a picture any more."""
        self._control, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-P", "-c", _RUN, str(ROOT), *map(str, limits.of_helper)),
                    str(limits.idle + _IDLE_SECONDS),
                ],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env=_environment(),
            )
        try:
            self._await_start()
        except BaseException:
            self.end()
            raise

    def _await_start(self) -> None:
        self._control.settimeout(START_SECONDS)
        try:
            message, _ = wire.receive(self._control, most_files=0)
        except (EOFError, OSError, wire.Hostile) as error:
            self.end()
            code = self._process.returncode
            raise HelperBroken(f"a picture's helper did not start ({code}): {error!r}") from error
        if not message.get("ready"):
            raise HelperBroken(f"a picture's helper did not start: {message.get('why')}")

    @property
    def pid(self) -> int:
        return self._process.pid

    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def may_fork(self) -> bool:
        return self._left > 0 and not self.has_ended()

    def fork(self, connection: socket.socket, life: socket.socket) -> None:
        """Fork a helper that serves the other end of `connection`.

        The helper is killed when the other end of `life` is closed; its exit code is sent there.
        Raises TemplateGone.
        """
        with self._lock:
            self._left -= 1
            try:
                wire.send(self._control, {}, [connection.fileno(), life.fileno()])
            except OSError as error:
                raise TemplateGone from error

    def retire(self) -> None:
        """It forks no more, and ends after its last helper."""
        with self._lock:
            self._left = 0
            self._control.close()

    def end(self) -> None:
        """It is gone when this returns, and so are its helpers where the kernel sees to that."""
        self._control.close()
        self._process.kill()
        self._process.wait()

    def forget(self) -> None:
        """In a process that was forked off: it is the parent's."""
        self._control.close()
        self._process.returncode = 0


def _environment() -> dict[str, str]:
    """A helper's environment: it holds no secrets, in case a picture takes the helper over."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    # Arenas and pools of threads reserve address space by the hundred megabytes.
    return kept | {
        "MALLOC_ARENA_MAX": "2",
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    }
