"""A cached, migrated database to start from: migrating takes ten seconds and more.

It is kept under a digest of all files that migrations read, so that a change makes a new one: for
SQLite as a file in pytest's cache, for PostgreSQL as a database on the server, which new ones are
made from. Of several test processes the first one migrates, and the others wait for it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path

import pytest
from django.db import DatabaseError, connection

from tests.support.processes import ROOT

_READ = ("persons/migrations/*.py", "persons/chain/*.py", "persons/models/*.py")
_PREFIX = "rollcall_migrated_"


@cache
def _digest() -> str:
    found = hashlib.sha256()
    for pattern in _READ:
        for path in sorted(ROOT.glob(pattern)):
            found.update(path.name.encode() + b"\0" + path.read_bytes())
    found.update(version("django").encode())
    return found.hexdigest()[:16]


@contextmanager
def one_at_a_time(config: pytest.Config) -> Iterator[None]:
    """Whoever is in here alone makes or finds the cached database."""
    with (config.cache.mkdir("migrated") / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


# --- SQLite ---


def kept(config: pytest.Config) -> Path:
    """The cached file's path, whether or not it exists."""
    folder: Path = config.cache.mkdir("migrated")
    return folder / f"{_digest()}.sqlite3"


def take(config: pytest.Config, into: Path) -> bool:
    """Copy the cached file to `into`. Returns whether there was one."""
    try:
        shutil.copyfile(kept(config), into)
    except FileNotFoundError:
        return False
    return True


def keep(config: pytest.Config) -> None:
    """Cache the connection's database, which must be just migrated, and delete older ones."""
    path = kept(config)
    if path.exists():
        return
    draft = path.with_suffix(f".{os.getpid()}")
    with connection.cursor() as cursor:
        cursor.execute("VACUUM INTO %s", [str(draft)])
    for old in path.parent.glob("*.sqlite3"):
        old.unlink(missing_ok=True)
    draft.replace(path)


# --- PostgreSQL ---


def template_of_server() -> str | None:
    """The name of the database to start from, if the server has it."""
    with connection._nodb_cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", [_PREFIX + _digest()])
        return _PREFIX + _digest() if cursor.fetchone() else None


def keep_on_server() -> None:
    """Copy the connection's database, which must be just migrated, and drop older copies."""
    connection.close()  # a database that is copied must not be in use
    quote, source = connection.ops.quote_name, connection.settings_dict["NAME"]
    with suppress(DatabaseError), connection._nodb_cursor() as cursor:  # another run may do it too
        cursor.execute("SELECT datname FROM pg_database WHERE starts_with(datname, %s)", [_PREFIX])
        for (old,) in cursor.fetchall():
            cursor.execute(f"DROP DATABASE IF EXISTS {quote(old)}")
        cursor.execute(f"CREATE DATABASE {quote(_PREFIX + _digest())} TEMPLATE {quote(source)}")
