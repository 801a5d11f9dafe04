"""Searches every byte that Rollcall keeps: all tables' rows, the database's files, other files."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from django.db import connection

from persons.models.names import fold


def rows() -> Iterator[tuple[str, bytes]]:
    """Each table's rows, as the database returns them."""
    tables = connection.introspection.table_names()
    for table in sorted(tables):
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")
            cells = [cell for row in cursor.fetchall() for cell in row]
        yield f"table {table}", b"\0".join(map(_bytes, cells))


def _bytes(cell: Any) -> bytes:
    if isinstance(cell, bytes | memoryview):
        return bytes(cell)
    if isinstance(cell, dict | list):
        return json.dumps(cell, ensure_ascii=False).encode()
    return str(cell).encode()


def files(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "static" not in path.relative_to(folder).parts[:1]:
            yield f"file {path.relative_to(folder)}", read_elsewhere(path)


def read_elsewhere(*paths: Path) -> bytes:
    """What files hold, read by another process: whoever opens and closes SQLite's files beside
    SQLite drops the locks that this process has on them (see `marks`)."""
    return subprocess.run(["cat", *paths], check=True, capture_output=True).stdout


def places(needles: Iterable[bytes], folder: Path) -> dict[bytes, list[str]]:
    """The places where each of these is found; an empty list for none."""
    found: dict[bytes, list[str]] = {needle: [] for needle in needles}
    for place, hay in (*rows(), *files(folder)):
        for needle, where in found.items():
            if needle in hay:
                where.append(place)
    return found


def spelled(text: str) -> set[bytes]:
    """All spellings in which a text may be stored."""
    escaped = json.dumps(text)[1:-1]
    texts = {
        text,
        text.casefold(),
        fold(text),
        escaped,
        json.dumps(escaped)[1:-1],
        text.replace(" ", "%20"),
        text.replace(" ", "+"),
    }
    found = {one.encode() for one in texts}
    return found | {text.encode("utf-16-le"), text.encode("latin-1", "replace")} - {b""}


def slices(data: bytes, count: int = 8, size: int = 64) -> set[bytes]:
    """Some pieces from a file's middle: file headers may be equal."""
    step = max(size, (len(data) - 700) // count)
    found = {data[at : at + size] for at in range(700, len(data) - size, step)}
    return {one for one in found if len(set(one)) > 16}
