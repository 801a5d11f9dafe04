"""The template's loop: it forks a helper for each request and waits for the helper's end.

A request is an empty message with two sockets: the helper's connection, and its `life`. The asking
process holds the other end of `life`. The helper is killed when that end is closed, and its exit
code is sent there. The template reads no picture and nothing that a helper sends.
"""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import select
import signal
import socket
import sys
from contextlib import suppress

from persons.decoding import wire
from persons.decoding.helper import EXIT_CODE

_DIE_WITH_PARENT = 1
_FIRST_OWN = 3
"""Descriptors below are the standard streams."""


class Template:
    """Runs in a process of one thread.

    `run` returns in every helper, with its connection. In the template it returns None once the
    template is no longer needed.
    """

    def __init__(self, control: socket.socket, idle: float) -> None:
        self._control: socket.socket | None = control
        self._idle = idle
        self._lives: dict[int, socket.socket] = {}
        self._wakes, self._wake = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(self._wakes, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)

    def run(self) -> socket.socket | None:
        gc.collect()
        # What is there now is shared with all helpers, as long as nobody writes to it.
        gc.freeze()
        while self._control or self._lives:
            ready = self._wait()
            if not ready and not self._lives:
                return None
            self._bury()
            for pid, life in self._lives.items():
                if life.fileno() in ready:
                    os.kill(pid, signal.SIGKILL)
                    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
            self._bury()
            if self._control and self._control.fileno() in ready:
                helper = self._fork(self._control)
                if helper:
                    return helper
        return None

    def _wait(self) -> set[int]:
        poll = select.poll()
        poll.register(self._wakes, select.POLLIN)
        for one in (self._control, *self._lives.values()):
            if one is not None:
                poll.register(one, select.POLLIN)
        ready = {number for number, _ in poll.poll(None if self._lives else self._idle * 1000)}
        if self._wakes in ready:
            with suppress(BlockingIOError):
                os.read(self._wakes, 4096)
        return ready

    def _bury(self) -> None:
        while self._lives:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            with self._lives.pop(pid) as life, suppress(OSError):
                life.send(EXIT_CODE.pack(os.waitstatus_to_exitcode(status)))

    def _fork(self, control: socket.socket) -> socket.socket | None:
        try:
            _, files = wire.receive(control, most_files=2)
            connection, life = (socket.socket(fileno=number) for number in files)
        except (EOFError, OSError, ValueError, wire.Hostile):
            control.close()
            self._control = None
            return None
        template = os.getpid()
        try:
            pid = os.fork()
        except OSError:
            # The asking process notices that its connection was closed.
            pid = -1
        if pid == 0:
            life.detach()
            self._become_helper(connection, template)
            return connection
        connection.close()
        if pid > 0:
            self._lives[pid] = life
        else:
            life.close()
        return None

    def _become_helper(self, connection: socket.socket, template: int) -> None:
        """Nothing of the template's stays open or in force."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != template:
            os._exit(1)
        for one in (self._control, *self._lives.values()):
            if one is not None:
                one.detach()
        self._lives.clear()
        most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        os.closerange(_FIRST_OWN, connection.fileno())
        os.closerange(connection.fileno() + 1, most)
