"""A plugin of pytest that bench/mutation.py loads in a copy of the tree: it runs tests on mutants.

It collects tests once, and then does what the job in `MUTATION_JOB` (a JSON file) says, in place of
pytest's own loop:

- `cover` runs every test and writes down which lines of the given files it ran, and how long it
  took;
- `fork` forks for each mutant. The child puts the mutant's code into the functions that are there
  already, so nothing is imported again, runs the mutant's tests until one fails, and exits;
- `fresh` runs one mutant's tests here: its file was changed before this process began.

Results are appended to a file, one JSON object a line.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import select
import shutil
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import Any

import pytest

JOB: dict[str, Any] = json.loads(Path(os.environ["MUTATION_JOB"]).read_text())
ROOT = Path.cwd()
MEMORY = 4 * 1024**3
"""Bytes of address space that a process with a mutant may have."""
NEWLOCALS = 2
"""The flag of a function's code, which neither a module's nor a class's has."""


def append(result: dict[str, Any]) -> None:
    with Path(JOB["results"]).open("a") as file:
        file.write(json.dumps(result) + "\n")


# --- Running tests ---


class Failures:
    """The tests that failed. A test that is skipped or expected to fail didn't."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.names.append(report.nodeid)


def run(session: pytest.Session, items: list[pytest.Item]) -> str:
    """The name of the first test that fails, or "". What fixtures left is torn down."""
    failures = Failures()
    session.config.pluginmanager.register(failures)
    following: list[pytest.Item | None] = [*items[1:], None]
    try:
        for item, next_item in zip(items, following, strict=True):
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=next_item)
            if failures.names:
                return failures.names[0]
        return ""
    finally:
        if failures.names:
            session._setupstate.teardown_exact(None)
        session.config.pluginmanager.unregister(failures)


# --- Which lines a test runs ---


class Tracer:
    """Lines of `files` that ran since `lines` was last emptied, in any thread."""

    def __init__(self, files: list[str]) -> None:
        self.files = {str(ROOT / file): file for file in files}
        self.lines: set[tuple[str, int]] = set()

    def __call__(self, frame: FrameType, event: str, argument: object) -> Any:
        return self.local if frame.f_code.co_filename in self.files else None

    def local(self, frame: FrameType, event: str, argument: object) -> Any:
        if event == "line":
            self.lines.add((self.files[frame.f_code.co_filename], frame.f_lineno))
        return self.local


class TooLong(BaseException):
    """A test's time is up. It is no Exception, so that what is tested doesn't handle it."""


def time_is_up(number: int, frame: FrameType | None) -> None:
    raise TooLong


def cover(session: pytest.Session) -> None:
    """A test that takes more than JOB["longest"] seconds is stopped, and counts as failed."""
    signal.signal(signal.SIGALRM, time_is_up)
    tracer = Tracer(JOB["files"])
    failures = Failures()
    session.config.pluginmanager.register(failures)
    threading.settrace(tracer)
    items = session.items
    following: list[pytest.Item | None] = [*items[1:], None]
    for item, next_item in zip(items, following, strict=True):
        tracer.lines = set()
        failures.names.clear()
        began = time.perf_counter()
        sys.settrace(tracer)
        signal.setitimer(signal.ITIMER_REAL, JOB["longest"])
        try:
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=next_item)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            sys.settrace(None)
        append(
            {
                "test": item.nodeid,
                "passed": not failures.names,
                "seconds": round(time.perf_counter() - began, 3),
                "lines": sorted(tracer.lines),
            }
        )
    append({"is_all": True})


# --- A mutant's code in functions that exist ---


def functions(code: CodeType) -> Iterator[CodeType]:
    """The code of each function of a module or class, but not of functions inside functions."""
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            if inner.co_flags & NEWLOCALS:
                yield inner
            else:
                yield from functions(inner)


def outside(code: CodeType) -> tuple[object, ...]:
    """Everything of a module's or class's code but its functions."""
    constants: list[object] = []
    for inner in code.co_consts:
        if not isinstance(inner, CodeType):
            constants.append((type(inner), inner))
        elif not inner.co_flags & NEWLOCALS:
            constants.append(outside(inner))
    return code.co_code, code.co_names, tuple(constants)


def replaced(path: str, mutant: str) -> bool:
    """Whether the mutant's code could be put into the functions of the imported module."""
    name = str(ROOT / path)
    with warnings.catch_warnings(action="ignore", category=SyntaxWarning):
        before = compile((ROOT / path).read_text(), name, "exec", dont_inherit=True)
        after = compile(mutant, name, "exec", dont_inherit=True)
    if outside(before) != outside(after):
        return False
    pairs = zip(functions(before), functions(after), strict=True)
    changed = [(old, new) for old, new in pairs if old != new]
    gc.unfreeze()  # what is frozen is not listed; and `isinstance` would evaluate lazy objects
    alive = [
        one
        for one in gc.get_objects()
        if type(one) is FunctionType and one.__code__.co_filename == name
    ]
    for old, new in changed:
        of_it = [function for function in alive if function.__code__ == old]
        if not of_it or len(old.co_freevars) != len(new.co_freevars):
            return False
        for function in of_it:
            function.__code__ = new
    return bool(changed)


# --- A process for each mutant ---


def child(session: pytest.Session, items: list[pytest.Item], mutant: dict[str, Any] | None) -> str:
    """What became of them: "passed", "failed <test>" or "fresh", in a process that was forked."""
    if mutant is not None and not replaced(mutant["path"], mutant["text"]):
        return "fresh"
    failed = run(session, items)
    return f"failed {failed}" if failed else "passed"


def forked(
    session: pytest.Session,
    items: list[pytest.Item],
    mutant: dict[str, Any] | None,
    seconds: float,
) -> str:
    """As `child` answers, "timeout", or "error" and what the child raised outside any test.

    It is "failed" without a test if the process died. `seconds` are of the processor; a child that
    waits for something is given ten times as long.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        os.setpgid(0, 0)
        silence = os.open(os.devnull, os.O_RDWR)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        limit(seconds)
        try:
            os.write(writer, child(session, items, mutant).encode())
        except BaseException as error:  # noqa: BLE001 - it is told, and must not leave the child
            os.write(writer, f"error {error!r}".encode())
        finally:
            os._exit(0)
    os.close(writer)
    said = answer(reader, 10 * seconds)
    os.close(reader)
    for kill in (os.killpg, os.kill):
        with suppress(ProcessLookupError):
            kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    clean_up()
    return "timeout" if os.waitstatus_to_exitcode(status) == -signal.SIGXCPU else said


def limit(seconds: float) -> None:
    """Ends this process by SIGXCPU when it has used so many seconds of the processor.

    A mutant that fills the memory gets a MemoryError at MEMORY.
    """
    now = time.process_time()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (int(now + seconds), int(now + seconds) + 5))


def answer(reader: int, seconds: float) -> str:
    """Counts seconds in which this process ran, so that nothing is late if all are paused."""
    for _ in range(int(seconds) + 1):
        if select.select([reader], [], [], 1)[0]:
            return os.read(reader, 65536).decode() or "failed"
    return "timeout"


def clean_up() -> None:
    """A process that was killed leaves files in the data folder, which the next one would find."""
    data = Path(os.environ["ROLLCALL_DATA"])
    for path in data.iterdir():
        if path.name == "static":
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


class Trials:
    """Tries mutants. What a mutant's tests say counts if the same tests pass without it.

    A test that fails without a mutant too is left out from then on.
    """

    def __init__(self, session: pytest.Session) -> None:
        self._session = session
        self._by_name = {item.nodeid: item for item in session.items}
        self._reliable: set[str] = set()
        self._unreliable: set[str] = set()

    def outcome(self, mutant: dict[str, Any]) -> str:
        for _ in range(5):
            names = [name for name in mutant["tests"] if name not in self._unreliable]
            items = [self._by_name[name] for name in names if name in self._by_name]
            said = forked(self._session, items, mutant, mutant["seconds"])
            failed = said.removeprefix("failed ")
            if said in {"passed", "fresh", "failed"} or failed in self._reliable:
                return said
            if failed in self._by_name:
                items = items[: items.index(self._by_name[failed]) + 1]
            without = forked(self._session, items, None, mutant["seconds"])
            if without == "passed":
                self._reliable.add(failed)
                return said
            self._unreliable.add(without.removeprefix("failed "))
        return "passed"


def fork_all(session: pytest.Session) -> None:
    trials = Trials(session)
    for mutant in JOB["mutants"]:
        append({"id": mutant["id"], "said": trials.outcome(mutant)})


def fresh(session: pytest.Session) -> None:
    """Changes of the chain's modules don't make a new database, but for its triggers."""
    (mutant,) = JOB["mutants"]
    if not mutant["migrates"]:
        from tests.support import migrated

        migrated._digest = lambda: JOB["digest"]  # type: ignore[assignment]
    by_name = {item.nodeid: item for item in session.items}
    items = [by_name[name] for name in mutant["tests"] if name in by_name]
    limit(mutant["seconds"])
    failed = "collection" if session.testsfailed else run(session, items) if items else ""
    append({"id": mutant["id"], "said": f"failed {failed}" if failed else "passed"})


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool:
    """In place of pytest's own, which would end here if a module can't be imported."""
    if session.testsfailed and JOB["mode"] != "fresh":
        raise session.Failed(f"{session.testsfailed} errors during collection")
    {"cover": cover, "fork": fork_all, "fresh": fresh}[JOB["mode"]](session)
    return True
