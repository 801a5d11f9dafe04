"""`manage.py up` starts real processes on a free port, in its own data folder."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.support import migrated as kept
from tests.support.processes import (
    PATIENCE,
    ROOT,
    child_environment,
    end_with_tests,
    free_port,
    processes_of,
    wait_until,
)

SOON = 25.0
"""Seconds. What hangs would be waited for longer than that; on a free machine it takes three."""

SERVICES = ("DATABASE_URL", "REDIS_URL", "ROLLCALL_REDIS_PREFIX")

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(
        "REDIS_URL" in os.environ, reason="one machine has no services: it is tried without them"
    ),
]


def environment(data: Path, **more: str) -> dict[str, str]:
    """One machine with nothing installed, whatever the rest of the suite runs on."""
    env = {name: value for name, value in child_environment().items() if name not in SERVICES}
    return {**env, "ROLLCALL_DATA": str(data), **more}


class Up:
    """A running `manage.py up` and everything it has printed."""

    def __init__(self, data: Path, port: int) -> None:
        self.data = data
        self.port = port
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "manage.py", "up"],
            cwd=ROOT,
            env=environment(data, PORT=str(port)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            preexec_fn=end_with_tests(),  # noqa: PLW1509
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.lines.extend(iter(self.process.stdout.readline, ""))

    @property
    def output(self) -> str:
        return "".join(self.lines)

    def wait_for(self, text: str, seconds: float = PATIENCE) -> None:
        wait_until(lambda: text in self.output, seconds=seconds, what=f"“{text}”")

    def pid_of(self, words: str) -> int | None:
        """The oldest process of this folder whose command line has these words."""
        return next((pid for pid, line in processes_of(self.data).items() if words in line), None)

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self.port}/healthz", timeout=5
            ) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def end(self, how: signal.Signals = signal.SIGTERM) -> float:
        """Seconds until `up` was gone."""
        started = time.monotonic()
        self.process.send_signal(how)
        self.process.wait(timeout=PATIENCE)
        seconds = time.monotonic() - started
        self.close()
        return seconds

    def close(self) -> None:
        """After the end of all processes, which hold the other end of the pipe."""
        assert self.process.stdout is not None
        self._reader.join(timeout=PATIENCE)
        self.process.stdout.close()


@pytest.fixture(scope="module")
def migrated(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("migrated")
    (data / "static").mkdir()
    if kept.take(request.config, data / "rollcall.sqlite3"):
        return data
    subprocess.run(
        [sys.executable, "manage.py", "migrate", "--verbosity", "0"],
        cwd=ROOT,
        env=environment(data),
        check=True,
        timeout=PATIENCE,
    )
    return data


@pytest.fixture
def start(migrated: Path, tmp_path: Path) -> Iterator[Callable[[], Up]]:
    data = tmp_path / "data"
    shutil.copytree(migrated, data)
    port = free_port()
    started: list[Up] = []

    def start() -> Up:
        up = Up(data, port)
        started.append(up)
        return up

    yield start
    for up in started:
        up.process.kill()
        up.process.wait()
    for pid in processes_of(data):
        os.kill(pid, signal.SIGKILL)
    for up in started:
        up.close()


@pytest.fixture
def up(start: Callable[[], Up]) -> Up:
    up = start()
    up.wait_for("Rollcall is at")
    return up


def assert_nothing_left(data: Path) -> None:
    left = processes_of(data)
    assert not left, f"processes were left behind: {left}"


def test_it_says_where_it_is_is_quiet_and_sigterm_ends_all_of_it_soon(
    up: Up,
) -> None:
    assert f"Rollcall is at http://127.0.0.1:{up.port}/" in up.output
    assert up.answers()
    for words in ("gunicorn", "celery -A dashboard -q worker", "celery -A dashboard -q beat"):
        assert wait_until(partial(up.pid_of, words), what=words)
    with socket.create_connection(("127.0.0.1", up.port)) as client:
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert client.recv(12) == b"HTTP/1.1 200"
        # A request that hangs does not hold up the end.
        client.sendall(b"POST /login/ HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\nx")
        assert up.end() < SOON
    talk = [line for line in up.lines if re.match(r"(web|worker|beat)\s*\|", line)]
    assert [line for line in talk if "Warm shutdown" not in line] == []
    assert "Traceback" not in up.output
    assert up.process.returncode == 0
    assert_nothing_left(up.data)
    assert "Rollcall has stopped." in up.output


def test_ctrl_c_ends_it_even_while_it_starts(start: Callable[[], Up]) -> None:
    up = start()
    wait_until(lambda: up.pid_of("gunicorn"), what="gunicorn")
    assert up.end(signal.SIGINT) < SOON
    assert up.process.returncode == 0
    assert_nothing_left(up.data)


def test_a_child_that_dies_is_started_again_and_what_it_was_at_goes_on_at_once(up: Up) -> None:
    web = wait_until(lambda: up.pid_of("gunicorn"), what="gunicorn")
    os.kill(web, signal.SIGKILL)
    up.wait_for("web was ended by SIGKILL; it starts again in 1 s.")

    claim = (
        "from django.utils import timezone; from persons.models import *; "
        "from tests.support.factories import *; "
        "PhotoFactory.create(state='running', claim='w', claimed_at=timezone.now())"
    )
    subprocess.run(
        [sys.executable, "manage.py", "shell", "-c", claim],
        cwd=ROOT,
        env=environment(up.data),
        check=True,
        capture_output=True,
        timeout=PATIENCE,
    )
    worker = wait_until(lambda: up.pid_of("-q worker"), what="the worker")
    os.kill(worker, signal.SIGKILL)
    up.wait_for("worker was ended by SIGKILL; it starts again in 1 s.")
    up.wait_for("Work that was cut off goes on (1).")
    for words, before in (("gunicorn", web), ("-q worker", worker)):
        assert wait_until(partial(up.pid_of, words), what=f"another {words}") != before
    assert wait_until(up.answers)


def test_kill_9_takes_the_children_along_and_it_starts_again_in_the_same_folder(
    up: Up, start: Callable[[], Up]
) -> None:
    assert wait_until(lambda: up.pid_of("celery -A dashboard -q beat"), what="beat")
    second = run_up(up.data, free_port())
    assert second.returncode == 1
    assert f"runs already with the data in {up.data}" in second.stderr
    assert f"http://127.0.0.1:{up.port}/ (process {up.process.pid})" in second.stderr
    assert up.answers()

    assert len(processes_of(up.data)) >= 5  # up, gunicorn and its two, worker, beat
    up.process.kill()
    up.process.wait()
    wait_until(lambda: not processes_of(up.data), what="the children to be gone")

    again = start()
    again.wait_for("Rollcall is at")
    assert again.end() < SOON
    assert_nothing_left(up.data)


def test_a_port_in_use_is_said_and_nothing_is_started(migrated: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(migrated, data)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        result = run_up(data, port)
    assert result.returncode == 1
    assert f"Can't listen on 127.0.0.1:{port}: Address already in use." in result.stderr
    assert_nothing_left(data)


@pytest.mark.parametrize(
    ("port", "sentence"),
    [("eight", "PORT must be a whole number."), ("70000", "Can't listen on 127.0.0.1:70000")],
)
def test_a_port_that_is_none_is_said(migrated: Path, port: str, sentence: str) -> None:
    result = run_up(migrated, port)
    assert result.returncode == 1
    assert sentence in result.stderr
    assert "Traceback" not in result.stderr


def test_a_database_that_was_not_migrated_is_said(tmp_path: Path) -> None:
    result = run_up(tmp_path / "fresh", free_port())
    assert result.returncode == 1
    assert "run manage.py migrate first" in result.stderr
    assert_nothing_left(tmp_path / "fresh")


def run_up(data: Path, port: int | str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", "up"],
        cwd=ROOT,
        env=environment(data, PORT=str(port)),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
