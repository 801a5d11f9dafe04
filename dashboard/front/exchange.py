"""One request in a thread: the socket-like object that gunicorn's parser and response use."""

from __future__ import annotations

import os
import select
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from gunicorn import util
from gunicorn.http.wsgi import FileWrapper, Response

from dashboard.front.connection import Connection
from dashboard.front.pool import ThreadPool

ROOM_BYTES = 1024 * 1024
"""Bytes buffered of an unfinished answer; generation then pauses until the client reads."""

MINIMUM_RATE = 2048
"""Minimum average bytes per second of uploads and downloads."""


@dataclass(frozen=True, slots=True)
class Patience:
    """Deadlines for clients."""

    seconds: float
    """Seconds for silence, for a complete request without upload, and until the minimum rate
    applies."""

    def until(self, conn: Connection, count: int) -> float:
        """The time at which a transfer of `count` bytes so far becomes too slow."""
        silence = conn.moved + self.seconds
        if conn.is_upload:
            return min(silence, conn.begun + self.seconds + count / MINIMUM_RATE)
        return min(silence, conn.begun + self.seconds)


class Outlet:
    """The socket as gunicorn sees it. Reads take buffered data, then wait for the client. Writes
    never block, except in `make_room`."""

    def __init__(self, conn: Connection, pool: ThreadPool, patience: Patience) -> None:
        self._conn = conn
        self._pool = pool
        self._patience = patience
        self._received = conn.inbox.size
        self._waited = 0.0
        # Only time spent waiting for the client counts, not the queue or the generation of the
        # answer.
        now = time.monotonic()
        conn.begun += now - conn.since
        conn.moved = now

    def recv(self, most: int) -> bytes:
        """Read from the client. Raises TimeoutError if it is too slow."""
        conn = self._conn
        while not (data := conn.inbox.take(most)):
            if conn.has_ended:
                return b""
            if conn.is_late:
                raise TimeoutError("the client is too slow")
            with suppress(BlockingIOError):
                data = conn.sock.recv(most)
                conn.has_ended = not data
                conn.moved = time.monotonic()
                self._received += len(data)
                conn.taken += len(data)
                return data
            until = self._patience.until(conn, self._received)
            conn.is_late = not self._wait(select.POLLIN, until)
        return data

    def sendall(self, data: bytes) -> None:
        self._conn.out.put(data)

    def send(self, data: bytes) -> int:
        """Only for gunicorn's "100 Continue", which the loop may have sent already."""
        if not self._conn.was_told_to_go_on:
            self._conn.was_told_to_go_on = True
            self.sendall(data)
            self.flush()
        return len(data)

    def flush(self) -> None:
        """Send what the client accepts now. Raises OSError if it is gone."""
        conn = self._conn
        if sent := conn.out.send(conn.sock):
            conn.counted += sent
            conn.moved = time.monotonic()

    def make_room(self) -> None:
        """Wait until the client has read most of what was written. Raises TimeoutError."""
        conn = self._conn
        while conn.out.size > ROOM_BYTES:
            began = time.monotonic()
            slowest = self._patience.seconds + conn.counted / MINIMUM_RATE - self._waited
            until = began + min(self._patience.seconds, slowest)
            if not self._wait(select.POLLOUT, until):
                raise TimeoutError("the client reads too slowly")
            self._waited += time.monotonic() - began
            self.flush()

    def put_file(self, response: Response, wrapper: FileWrapper) -> bool:
        """Leave the rest of an answer to the loop. False if it isn't an operating system file."""
        file = wrapper.filelike
        if not util.has_fileno(file):
            return False
        try:
            offset = os.lseek(file.fileno(), 0, os.SEEK_CUR)
            rest = os.fstat(file.fileno()).st_size - offset
        except OSError:
            return False
        length = response.response_length
        if length is None or length > rest:
            return False
        response.send_headers()
        if response.req.method != "HEAD" and response.status_code not in (204, 304) and length:
            self._conn.out.put_file(os.dup(file.fileno()), offset, length)
        return True

    def gettimeout(self) -> float:
        return 0.0

    def _wait(self, event: int, until: float) -> bool:
        """Whether the client was ready before `until`. Another thread may take this one's slot
        meanwhile."""
        poll = select.poll()
        poll.register(self._conn.sock, event)
        with self._pool.aside(self._conn.cut):
            left = until - time.monotonic()
            return left > 0 and bool(poll.poll(left * 1000))


def unread_bytes(req: Any) -> int:
    """Number of unread bytes of the request's body; -1 if only reading would tell."""
    reader = getattr(req.body, "reader", None)
    length = getattr(reader, "length", None)
    return length if isinstance(length, int) else -1
