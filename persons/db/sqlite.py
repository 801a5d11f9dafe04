"""SQLite's connections, safe to open and close in several threads of several processes.

Closing any descriptor of a file drops all POSIX locks that the process has on it. SQLite keeps a
descriptor open while another connection of the process holds a lock, but it looks first and closes
then: a connection that another thread is just opening may take its lock in between (`unixClose`,
seen with 3.40.1). It works on without a lock. The next process that closes its last connection
then deletes the write-ahead log under it, and its answer is "disk I/O error"; in the same load
"database disk image is malformed" was seen too. So each process holds one idle connection to a
database, whose lock keeps SQLite from closing anything.
"""

from __future__ import annotations

import atexit
import os
import sqlite3
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_BUSY_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class _Kept:
    connection: sqlite3.Connection
    file: tuple[int, int]
    """Device and inode: another database may take the file's place."""


class Keepers:
    """This process's idle connections, by the name of their database."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[str, _Kept] = {}

    def keep_open(self, database: str) -> None:
        """Return when a connection to this database is open. Raises what opening it raises."""
        if database.startswith((":memory:", "file:")):
            return
        with self._lock:
            kept = self._kept.get(database)
            if kept is not None:
                if kept.file == _file_of(database):
                    return
                self._kept.pop(database).connection.close()
            self._kept[database] = _opened(database)

    def let_go(self) -> None:
        """Close them. The next connection opens one again."""
        with self._lock:
            self._close()

    def before_fork(self) -> None:
        """A child has none of its parent's locks, and SQLite would believe it had."""
        self._lock.acquire()
        self._close()

    def after_fork(self) -> None:
        """In both processes: until now no other thread could open one."""
        self._lock.release()

    def _close(self) -> None:
        while self._kept:
            self._kept.popitem()[1].connection.close()

    def __contains__(self, database: str) -> bool:
        return database in self._kept


keepers = Keepers()
os.register_at_fork(
    before=keepers.before_fork,
    after_in_parent=keepers.after_fork,
    after_in_child=keepers.after_fork,
)
atexit.register(keepers.let_go)


class Connection(sqlite3.Connection):
    """For `sqlite3.connect(factory=…)`. The database gets a write-ahead log."""

    def __init__(self, database: Any, *args: Any, **options: Any) -> None:
        keepers.keep_open(os.fspath(database))
        super().__init__(database, *args, **options)


def _opened(database: str) -> _Kept:
    connection = sqlite3.connect(
        database, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )
    try:
        # Reading takes the lock, which a connection with such a log holds until it is closed.
        connection.execute("PRAGMA journal_mode=WAL").fetchall()
        connection.execute("PRAGMA schema_version").fetchall()
        return _Kept(connection, _file_of(database))
    except BaseException:
        connection.close()
        raise


def _file_of(database: str) -> tuple[int, int]:
    try:
        found = Path(database).stat()
    except FileNotFoundError:
        return (0, 0)
    return found.st_dev, found.st_ino
