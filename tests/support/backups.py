"""Backing up and restoring database and files, as an operator would."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.cache import cache
from django.db import connection, connections

from persons.backends import embedded


def take(folder: Path) -> Callable[[], None]:
    """Back up into `folder`. Returns a function that restores the backup."""
    media = Path(settings.MEDIA_ROOT)
    shutil.copytree(media, folder / "media")
    restore = _take_sqlite(folder) if connection.vendor == "sqlite" else _take_postgres(folder)

    def put_back() -> None:
        restore()
        shutil.rmtree(media)
        shutil.copytree(folder / "media", media)
        # As after a restart of all processes.
        cache.clear()
        embedded.engine_of.cache_clear()

    return put_back


def _take_sqlite(folder: Path) -> Callable[[], None]:
    """Copy through SQLite's backup API.

    Opening the file beside SQLite, in a process with other connections to it, would drop their
    locks; replacing it under them would be worse.
    """
    connection.ensure_connection()
    with closing(sqlite3.connect(folder / "database")) as copy:
        connection.connection.backup(copy)

    def restore() -> None:
        connection.ensure_connection()
        with closing(sqlite3.connect(folder / "database")) as copy:
            copy.backup(connection.connection)
        connections.close_all()

    return restore


def _take_postgres(folder: Path) -> Callable[[], None]:
    """Copy table by table with COPY, as pg_dump does."""
    tables = sorted(connection.introspection.table_names())
    names = [connection.ops.quote_name(table) for table in tables]
    for table, name in zip(tables, names, strict=True):
        with connection.cursor() as cursor, (folder / table).open("wb") as file:
            copy: Any = cursor.copy(f"COPY {name} TO STDOUT")
            with copy as rows:
                for part in rows:
                    file.write(part)

    def restore() -> None:
        with connection.cursor() as cursor:
            # As pg_restore --disable-triggers.
            cursor.execute("SET session_replication_role = replica")
            cursor.execute(f"TRUNCATE {', '.join(names)}")
            for table, name in zip(tables, names, strict=True):
                copy: Any = cursor.copy(f"COPY {name} FROM STDIN")
                with copy as rows, (folder / table).open("rb") as file:
                    rows.write(file.read())
            cursor.execute("SET session_replication_role = DEFAULT")

    return restore
