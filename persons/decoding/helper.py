"""One helper process, as the process that asks it sees it."""

from __future__ import annotations

import select
import signal
import socket
import struct
import time
from contextlib import suppress
from typing import Any

from . import wire
from .errors import BadAnswer, DecoderDied, DecoderTooSlow
from .limits import Limits
from .template import START_SECONDS, Template, TemplateGone

CLOCK = 2.5
"""Wall-clock allowance as a multiple of the CPU limit, which the kernel enforces. It keeps a busy
machine's slowness from being blamed on the picture."""

EXIT_CODE = struct.Struct("i")
"""A helper's exit code as it is sent; a negative one is the number of the signal that killed it."""

_EXIT_CODE_SECONDS = 1.0
_GONE_SECONDS = 30.0


class HelperGone(Exception):
    """The helper was gone before it accepted the picture, which is not to blame."""


class Helper:
    """One helper process. Use from one thread at a time."""

    def __init__(self, template: Template, limits: Limits) -> None:
        """Raises TemplateGone where that forked none."""
        self.template = template
        self.limits = limits
        self.served = 0
        self.pid = 0
        self._code: int | None = None
        self._socket, theirs = socket.socketpair()
        self._life, life = socket.socketpair()
        try:
            with theirs, life:
                template.fork(theirs, life)
            self._await_start()
        except BaseException:
            self.end()
            raise

    def _await_start(self) -> None:
        self._socket.settimeout(START_SECONDS)
        try:
            message, _ = wire.receive(self._socket, most_files=0)
        except (EOFError, OSError, wire.Hostile) as error:
            raise TemplateGone from error
        self.pid = int(message["ready"])

    def is_alive(self) -> bool:
        return not self._has_ended(0)

    def _has_ended(self, seconds: float) -> bool:
        """Waits so long for it. The code stays None where the template has ended too."""
        if self._life.fileno() < 0:
            return True
        # Not `select`, which takes no descriptor above 1,023.
        poll = select.poll()
        poll.register(self._life, select.POLLIN)
        if not poll.poll(seconds * 1000):
            return False
        with suppress(OSError):
            code = self._life.recv(EXIT_CODE.size)
            if len(code) == EXIT_CODE.size:
                (self._code,) = EXIT_CODE.unpack(code)
        self._life.close()
        return True

    def ask(self, request: dict[str, Any], files: list[int]) -> tuple[dict[str, Any], list[int]]:
        """Send a request and return the answer, with at most one file.

        Raises HelperGone and DecodingFailed, after which the helper is unusable.
        """
        deadline = time.monotonic() + self.limits.seconds * CLOCK
        self._socket.settimeout(START_SECONDS)
        try:
            wire.send(self._socket, request, files)
            taken, _ = wire.receive(self._socket, most_files=0, largest=100)
        except (EOFError, OSError) as error:
            raise HelperGone from error
        except wire.Hostile as error:
            raise BadAnswer(str(error)) from error
        if taken != {"taken": True}:
            raise BadAnswer("it did not say that it has begun")
        self.served += 1
        try:
            self._socket.settimeout(max(0.01, deadline - time.monotonic()))
            return wire.receive(self._socket, most_files=1, largest=wire.LARGEST_ANSWER)
        except TimeoutError as error:
            raise DecoderTooSlow from error
        except wire.Hostile as error:
            raise BadAnswer(str(error)) from error
        except (EOFError, OSError) as error:
            raise self._cause_of_death() from error

    def _cause_of_death(self) -> DecoderDied | DecoderTooSlow | HelperGone:
        if not self._has_ended(_EXIT_CODE_SECONDS):
            return DecoderDied("it closed its connection")
        if self._code is None:
            # Somebody ended the template, and all its helpers with it.
            return HelperGone()
        if self._code in (-signal.SIGXCPU, -signal.SIGALRM):
            return DecoderTooSlow()
        return DecoderDied(f"ended with {self._code}")

    def end(self, patience: float = 0.0) -> None:
        """End the process. It has exited when this returns."""
        self._socket.close()
        if not self._has_ended(patience):
            with suppress(OSError):
                self._life.shutdown(socket.SHUT_WR)
            self._has_ended(_GONE_SECONDS)
        self._life.close()

    def forget(self) -> None:
        """Drop the helper in a forked child: it belongs to the parent."""
        self._socket.close()
        self._life.close()
