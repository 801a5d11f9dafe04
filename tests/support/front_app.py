"""A small WSGI application for tests of `dashboard.front`: each path stresses it in one way."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterable, Iterator
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "dashboard.settings")

PIECE = bytes(256 * 1024)
PIECES = 200
FILE_BYTES = 50_000_000


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    path = environ["PATH_INFO"]
    if path == "/stream":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return _pieces()
    if path == "/late":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return _late()
    if path == "/file":
        file = tempfile.TemporaryFile()  # noqa: SIM115
        file.truncate(FILE_BYTES)
        start_response("200 OK", [("Content-Length", str(FILE_BYTES))])
        return environ["wsgi.file_wrapper"](file)  # type: ignore[no-any-return]
    if path == "/breaks":
        start_response("200 OK", [("Content-Length", "100")])
        return _broken()
    said = b"ok"
    if path == "/read" or path.startswith("/api/"):
        body = environ["wsgi.input"].read()
        said = f"{len(body)} {sum(body)}".encode()
    start_response("200 OK", [("Content-Length", str(len(said)))])
    return [said]


def _pieces() -> Iterator[bytes]:
    for _ in range(PIECES):
        yield PIECE


def _late() -> Iterator[bytes]:
    """Starts to answer later than any timeout for clients."""
    time.sleep(3)
    yield from _pieces()


def _broken() -> Iterator[bytes]:
    yield b"half"
    raise RuntimeError("broken on purpose")
