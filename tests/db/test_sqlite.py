"""SQLite's lock on its file: while a process uses a database, no other may take itself for its last
user."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from django.db import connection

from persons.db import sqlite

pytestmark = [pytest.mark.any_database, pytest.mark.processes]

SHARED_FIRST, SHARED_SIZE = 0x40000002, 510
"""The bytes of a database that every user of it has locked."""

TRIES_TO_LOCK = """
import fcntl, sys
with open(sys.argv[1], "r+b") as file:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, int(sys.argv[3]), int(sys.argv[2]))
    except BlockingIOError:
        print("in use")
"""

USES = """
import sqlite3, sys
link = sqlite3.connect(sys.argv[1])
link.execute("INSERT INTO notes VALUES ('from elsewhere')")
link.commit()
link.close()
"""


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "notes.sqlite3"
    with closing(connect(path)) as link:
        link.execute("CREATE TABLE notes (text TEXT)")
    yield path
    sqlite.keepers.let_go()


def connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, factory=sqlite.Connection, isolation_level=None)


def elsewhere(code: str, path: Path, *words: object) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, str(path), *map(str, words)],
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


def is_in_use(path: Path) -> bool:
    return elsewhere(TRIES_TO_LOCK, path, SHARED_FIRST, SHARED_SIZE) == "in use"


def test_a_database_stays_in_use_when_its_last_connection_is_closed(database: Path) -> None:
    assert is_in_use(database)
    log = database.with_name(f"{database.name}-wal")
    with closing(connect(database)) as link:
        link.execute("INSERT INTO notes VALUES ('from here')")
    elsewhere(USES, database)
    # Nobody took themselves for its last user, who would have deleted it.
    assert log.exists()
    with closing(connect(database)) as link:
        assert link.execute("SELECT count(*) FROM notes").fetchone() == (2,)
    sqlite.keepers.let_go()
    assert not is_in_use(database)
    assert not log.exists()


def test_a_database_in_the_place_of_another_is_in_use_too(database: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.sqlite3"
    with closing(sqlite3.connect(other)) as link:
        link.execute("CREATE TABLE others (text TEXT)")
    for ending in ("-wal", "-shm"):
        database.with_name(database.name + ending).unlink()
    other.replace(database)
    with closing(connect(database)) as link:
        assert link.execute("SELECT name FROM sqlite_master").fetchall() == [("others",)]
    assert is_in_use(database)


def test_a_forked_process_believes_in_no_lock_of_its_parent(database: Path) -> None:
    pid = os.fork()
    if not pid:
        try:
            was_kept = str(database) in sqlite.keepers
            connect(database).close()
            os._exit(0 if not was_kept and is_in_use(database) else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    connect(database).close()
    assert is_in_use(database)


def test_a_database_in_memory_is_none_to_be_kept() -> None:
    connect(Path(":memory:")).close()
    assert ":memory:" not in sqlite.keepers


def test_a_database_that_can_not_be_opened_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError, match="unable to open"):
        connect(tmp_path / "missing" / "notes.sqlite3")


@pytest.mark.django_db
def test_rollcalls_own_database_is_kept_in_use() -> None:
    if connection.vendor != "sqlite":
        pytest.skip("it is PostgreSQL")
    # A new one, since a test may have let go of what the open one came with.
    with closing(connection.get_new_connection(connection.get_connection_params())) as link:
        assert isinstance(link, sqlite.Connection)
        assert str(connection.settings_dict["NAME"]) in sqlite.keepers
