"""Rules for the tests themselves: where they are placed, and what they import."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import connection

import tests
from tests.support import marks
from tests.support.traces import read_elsewhere

TESTS = Path(tests.__file__).parent
SUPPORT = TESTS / "support"


def sources() -> Iterator[Path]:
    return TESTS.rglob("*.py")


def imported(path: Path) -> Iterator[str]:
    """The full names of what a module imports, and of what strings in it import for processes."""
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=str(module), names=names):
                yield from (f"{module}.{alias.name}" for alias in names)
            case ast.Constant(value=str(text)) if text.startswith(("from tests", "import tests")):
                yield text.split()[1]


def test_no_module_imports_a_test_module() -> None:
    wrong = [
        f"{path.relative_to(TESTS)} imports {name}"
        for path in sources()
        for name in imported(path)
        if name.startswith("tests.") and any(part.startswith("test_") for part in name.split("."))
    ]
    assert wrong == []


def test_what_tests_share_stands_in_support() -> None:
    wrong = [
        str(path.relative_to(TESTS))
        for path in sources()
        if SUPPORT not in path.parents
        and path.stem not in {"__init__", "conftest"}
        and not path.stem.startswith("test_")
    ]
    assert wrong == []
    assert not list(SUPPORT.rglob("test_*.py"))


# --- Marks ---


def item(*names: str) -> Any:
    return SimpleNamespace(get_closest_marker=lambda name: name in names or None)


@pytest.mark.processes
def test_who_starts_a_process_fails_without_its_mark() -> None:
    def start() -> None:
        subprocess.run([sys.executable, "-S", "-c", "pass"], check=True)

    with marks.checked(item("processes")):
        start()
    with pytest.raises(pytest.fail.Exception, match="Mark it `processes`"), marks.checked(item()):
        start()


def test_a_tool_that_takes_no_time_needs_no_mark() -> None:
    with marks.checked(item()):
        subprocess.run(["cat", "/dev/null"], check=True)


@pytest.mark.django_db
@pytest.mark.any_database
def test_who_opens_the_database_s_files_fails() -> None:
    if connection.vendor != "sqlite":
        pytest.skip("PostgreSQL's files are its own")
    path = Path(connection.settings_dict["NAME"])
    assert read_elsewhere(path).startswith(b"SQLite format 3")
    with pytest.raises(pytest.fail.Exception, match="another process"), marks.checked(item()):
        sys.audit("open", str(path), "rb", 0)  # as opening it does


def test_the_browser_and_a_worker_bring_their_marks_along() -> None:
    found: list[str] = []
    one: Any = SimpleNamespace(
        fixturenames=["browser", "real_worker"],
        add_marker=lambda mark: found.append(mark.name),
        iter_markers=lambda name: iter(()),
    )
    marks.complete(one)
    assert found == ["browser", "processes"]


def test_what_needs_a_service_that_is_not_there_is_skipped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(marks.SERVICES, "redis", lambda: False)
    monkeypatch.setitem(marks.SERVICES, "postgresql", lambda: True)
    found: list[str] = []
    one: Any = SimpleNamespace(
        fixturenames=[],
        add_marker=lambda mark: found.append(str(mark.mark.kwargs["reason"])),
        iter_markers=lambda name: iter([pytest.mark.services("postgresql", "redis").mark]),
    )
    marks.complete(one)
    assert found == ["needs redis"]


def bare_numbers(path: Path) -> Iterator[str]:
    """Places where a number, as text, is looked for in what may hold keys and times as well."""
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Compare(
                left=ast.Constant(value=str(text)), ops=[ast.NotIn()], comparators=[where]
            ) if re.fullmatch(r"[0-9]+([.,][0-9]+)?%?", text.strip()):
                if not (isinstance(where, ast.Call) and ast.unparse(where.func) == "read_text"):
                    yield f"{path.relative_to(TESTS)}:{node.lineno} {ast.unparse(node)}"


def test_that_a_number_is_not_shown_is_asked_of_what_somebody_reads() -> None:
    """In a page's source it may be a part of a key, which depends on the tests that ran before."""
    assert [place for path in sources() for place in bare_numbers(path)] == []
