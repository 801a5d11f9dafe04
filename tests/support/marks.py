"""Sets and checks the marks that say what a test needs.

The fixture `browser` sets the mark of that name. A test that starts a process must have the mark
`processes`. Decoder processes don't count: nearly every test has some.

No test opens the files of SQLite's database itself. A process that closes a file loses all locks
that it has on it, SQLite's too. The next process that leaves the database then takes itself for the
last one and deletes the log, and from there on everything fails with "disk I/O error".
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import connection

from persons.decoding import template

SERVICES = {
    "postgresql": lambda: connection.vendor == "postgresql",
    "redis": lambda: bool(settings.REDIS_URL),
}

_OURS = {template._RUN, "run-driver"}
"""Words in the command lines of decoder processes and of the browser's driver."""

_SMALL = {"cat", "openssl", "verify.py"}
"""Tools and scripts that are too quick to count."""

_started: list[str] = []
_opened: list[str] = []


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open":
        if _is_of_the_database(arguments[0]):
            _opened.append(str(arguments[0]))
    elif event == "subprocess.Popen":
        words = arguments[1] if isinstance(arguments[1], (list, tuple)) else [arguments[1]]
        told = [str(word) for word in words]
        if not _OURS.intersection(told) and not _SMALL.intersection(Path(one).name for one in told):
            _started.append(" ".join(told)[:200])


def _is_of_the_database(path: object) -> bool:
    if not isinstance(path, str | Path):  # a number, or bytes, which nobody here uses
        return False
    return connection.vendor == "sqlite" and str(path).startswith(
        str(connection.settings_dict["NAME"])
    )


sys.addaudithook(_note)


@contextmanager
def checked(item: pytest.Item) -> Iterator[None]:
    """Fails a test that has started a process without being marked for it, or has opened the
    database's files beside SQLite."""
    _started.clear()
    _opened.clear()
    yield
    opened, started = _opened[:1], _started[:1]
    _opened.clear()
    _started.clear()
    if opened:
        pytest.fail(f"Read it in another process: it has opened {opened[0]!r}.", pytrace=False)
    if started and item.get_closest_marker("processes") is None:
        pytest.fail(f"Mark it `processes`: it has started {started[0]!r}.", pytrace=False)


def complete(item: pytest.Item) -> None:
    """Adds the marks that follow from fixtures, and skips what needs a service that isn't there."""
    if "browser" in getattr(item, "fixturenames", ()):
        item.add_marker(pytest.mark.browser)
    if "real_worker" in getattr(item, "fixturenames", ()):
        item.add_marker(pytest.mark.processes)
    for mark in item.iter_markers("services"):
        for name in mark.args:
            if not SERVICES[name]():
                item.add_marker(pytest.mark.skip(reason=f"needs {name}"))
