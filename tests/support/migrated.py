"""A cached, migrated SQLite database to start from: migrating takes ten seconds and more.

It is kept in pytest's cache under a digest of all files that migrations read, so that a change
makes a new one. PostgreSQL is migrated each time.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from importlib.metadata import version
from pathlib import Path

import pytest
from django.db import connection

from tests.support.processes import ROOT

_READ = ("persons/migrations/*.py", "persons/chain/*.py", "persons/models/*.py")


def _digest() -> str:
    found = hashlib.sha256()
    for pattern in _READ:
        for path in sorted(ROOT.glob(pattern)):
            found.update(path.name.encode() + b"\0" + path.read_bytes())
    found.update(version("django").encode())
    return found.hexdigest()[:16]


def kept(config: pytest.Config) -> Path:
    """The cached database's path, whether or not it exists."""
    folder: Path = config.cache.mkdir("migrated")
    return folder / f"{_digest()}.sqlite3"


def take(config: pytest.Config, into: Path) -> bool:
    """Copy the cached database to `into`. Returns whether there was one."""
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
