"""Real processes for tests: started in a data folder, watched, and always ended."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from dashboard.supervisor import die_with_parent

ROOT = Path(__file__).resolve().parents[2]


PATIENCE = 180.0
"""Seconds after which a test gives up waiting. Generous: a busy machine must not fail tests."""


def wait_until(done: Callable[[], Any], *, seconds: float = PATIENCE, what: str = "") -> Any:
    """Wait until `done` returns a true value, and return it; fails the test after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        if value := done():
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds} s for {what or done}")
        time.sleep(0.05)


def child_environment(**more: str) -> dict[str, str]:
    """This process's environment without what only browser tests set, plus `more`."""
    env = {**os.environ, **more}
    env.pop("DJANGO_ALLOW_ASYNC_UNSAFE", None)
    return env


def end_with_tests() -> Callable[[], None]:
    """For Popen's `preexec_fn`: tests that are killed leave no process behind."""
    return partial(die_with_parent, os.getpid())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def database_url(connection: BaseDatabaseWrapper) -> str:
    """The DATABASE_URL of the test's own database, for another process."""
    name = connection.settings_dict["NAME"]
    if connection.vendor == "sqlite":
        return f"sqlite:///{name}"
    base, _, query = os.environ["DATABASE_URL"].partition("?")
    server = base.rsplit("/", 1)[0]
    return f"{server}/{name}" + (f"?{query}" if query else "")


def processes_of(data: Path) -> dict[int, str]:
    """The command lines, by pid, of all live processes that were started with this data folder,
    the oldest first. Pids don't tell: after the highest one they begin anew."""
    mark = f"ROLLCALL_DATA={data}".encode()
    found: dict[int, tuple[int, str]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                words = (folder / "cmdline").read_bytes().split(b"\0")
                if any(words):  # a zombie's is empty
                    line = b" ".join(words).decode(errors="replace").strip()
                    found[int(folder.name)] = _started_at(folder), line
        except (OSError, ValueError):
            continue
    found.pop(os.getpid(), None)
    return {pid: line for pid, (_, line) in sorted(found.items(), key=lambda one: one[1][0])}


def _started_at(folder: Path) -> int:
    """When a process started, in clock ticks since the machine did: field 22 of proc(5)'s stat."""
    after_its_name = (folder / "stat").read_text().rpartition(")")[2].split()
    return int(after_its_name[22 - 3])


class CeleryProcess:
    """A Celery worker, optionally with beat, on the tests' database and broker."""

    def __init__(
        self, *, data: Path, database: str, beat: bool, concurrency: int, env: dict[str, str]
    ) -> None:
        self.log = data / f"celery-{time.monotonic_ns()}.log"
        self._data = data
        self._commands = [
            [
                *("worker", "--pool=threads", f"--concurrency={concurrency}"),
                *("--loglevel=INFO", "--without-gossip", "--without-mingle"),
            ]
        ]
        if beat:
            schedule = data / f"beat-{time.monotonic_ns()}"
            self._commands.append(["beat", "--loglevel=INFO", f"--schedule={schedule}"])
        self._env = child_environment(DATABASE_URL=database, **env)
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Start the processes. Returns when the worker accepts tasks."""
        ready = self._ready_count()
        with self.log.open("ab") as log:
            self._running = [
                subprocess.Popen(
                    [sys.executable, "-m", "celery", "-A", "dashboard", *command],
                    cwd=ROOT,
                    env=self._env,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    preexec_fn=end_with_tests(),  # noqa: PLW1509
                )
                for command in self._commands
            ]
        wait_until(lambda: self._ready_count() > ready, what="the worker to be ready")

    def kill(self) -> None:
        """Kill the processes, as a power cut would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def _ready_count(self) -> int:
        return self.output.count(" ready.")

    def _end(self, how: signal.Signals) -> None:
        for process in self._running:
            process.send_signal(how)
        for process in self._running:
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._running = []
