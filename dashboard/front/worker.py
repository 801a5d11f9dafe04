"""The event loop: accepts connections, buffers requests, hands them to threads, sends answers."""

from __future__ import annotations

import errno
import os
import queue
import resource
import selectors
import socket
import time
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any

from django.db import connections
from gunicorn import http
from gunicorn.http import wsgi
from gunicorn.workers import base

from dashboard.front.addresses import takes_files
from dashboard.front.connection import (
    MEMORY_BYTES,
    Connection,
    Inbox,
    Stage,
    framing_of,
)
from dashboard.front.exchange import MINIMUM_RATE, Outlet, Patience, unread_bytes
from dashboard.front.pool import ThreadPool

MOST_CONNECTIONS = 1000
"""Maximum connections per process. Beyond that, a new one replaces the longest silent one."""
HEAD_BYTES = 64 * 1024
HEAD_SECONDS = 10.0
FORM_BYTES = 4 * 1024 * 1024
"""Longer bodies are streamed on paths that accept files, and refused unread elsewhere."""
UPLOAD_BYTES = 16 * 1024 * 1024
"""Longer uploads are processed while they arrive."""
SPOOLED_BYTES = 1024 * 1024 * 1024
"""Maximum bytes in files, over all incoming requests of a process."""
WAITING_BYTES = 64 * 1024 * 1024
"""Maximum bytes in memory, over all unsent answers of a process."""
DRAIN_BYTES = 64_000_000
"""Maximum bytes of a refused request that are read and discarded, for clients that send everything
before they read."""
DRAIN_SECONDS = 30.0
DRAIN_SILENCE = 5.0
LOOK_SECONDS = 0.5
LEAVE_SECONDS = 0.05

_RECEIVE = 64 * 1024
_ACCEPTS = 64
_UNANSWERED = (Stage.HEAD, Stage.BODY, Stage.LEAVING)
_GONE = (errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN, errno.ECONNABORTED, errno.ETIMEDOUT)
_LATE = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_LONG_HEAD = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"Connection: close\r\nContent-Length: 0\r\n\r\n"
)


class FrontWorker(base.Worker):  # type: ignore[misc] # it ships no types
    """gunicorn's process, parser and log with our own socket handling.

    Settings: `threads`, `keepalive`, `graceful_timeout`, and `client_seconds` and `spool_folder`
    of this class, which `dashboard.gunicorn_conf` sets.
    """

    alive: bool
    client_seconds = 30.0
    spool_folder: str | None = None

    @classmethod
    def check_config(cls, cfg: Any, log: Any) -> None:
        if cfg.is_ssl:
            raise RuntimeError("The front speaks no TLS: put a server that does before it.")

    def init_process(self) -> None:
        self._patience = Patience(self.client_seconds)
        self._most = min(MOST_CONNECTIONS, _descriptors() // 4)
        self._pool = ThreadPool(
            self.cfg.threads, aside=max(16, 2 * self.cfg.threads), end=connections.close_all
        )
        self._selector = selectors.DefaultSelector()
        self._done: queue.SimpleQueue[partial[None]] = queue.SimpleQueue()
        self._wake_reader, self._wake_writer = os.pipe()
        for descriptor in (self._wake_reader, self._wake_writer):
            os.set_blocking(descriptor, False)
        self._all: set[Connection] = set()
        self._is_accepting = False
        self._looked = time.monotonic()
        super().init_process()

    # --- The loop ---

    def run(self) -> None:
        self._selector.register(self._wake_reader, selectors.EVENT_READ, self._finish)
        # Signals write here, so that the loop notices a stop at once.
        self._selector.register(self.PIPE[0], selectors.EVENT_READ, self._woken)
        self._accept_more()
        while self.alive and self.ppid == os.getppid():
            self.notify()
            self._turn(LOOK_SECONDS)
        self.alive = False
        self._stop()

    def _stop(self) -> None:
        """Stop: incomplete requests are closed at once, the others after their answer."""
        self._accept_no_more()
        deadline = time.monotonic() + self.cfg.graceful_timeout
        while time.monotonic() < deadline:
            for conn in [conn for conn in self._all if conn.stage in _UNANSWERED]:
                self._close(conn)
            if not self._all:
                break
            self.notify()
            self._turn(LEAVE_SECONDS)
        for conn in list(self._all):
            if conn.stage is not Stage.ANSWERING:
                self._close(conn)
        for listener in self.sockets:
            listener.close()

    def _turn(self, seconds: float) -> None:
        if not self._is_accepting and self.alive and len(self._all) < self._most:
            self._accept_more()
        for key, _ in self._selector.select(seconds):
            if isinstance(key.data, Connection):
                # An earlier event of this turn may have closed it.
                if key.data in self._all:
                    self._moved(key.data)
            else:
                key.data(key.fileobj)
        if time.monotonic() - self._looked >= LOOK_SECONDS:
            self._looked = time.monotonic()
            self._look()

    def _woken(self, _pipe: Any) -> None:
        with suppress(BlockingIOError):
            os.read(self.PIPE[0], 4096)

    def _moved(self, conn: Connection) -> None:
        try:
            if conn.stage is Stage.SENDING:
                self._send(conn)
            elif conn.stage is Stage.LEAVING:
                self._throw_away(conn)
            else:
                self._receive(conn)
        except OSError:
            self._close(conn)

    def _watch(self, conn: Connection, events: int) -> None:
        self._selector.register(conn.sock, events, conn)

    def _unwatch(self, conn: Connection) -> None:
        with suppress(KeyError, ValueError):
            self._selector.unregister(conn.sock)

    def _close(self, conn: Connection) -> None:
        self._unwatch(conn)
        self._all.discard(conn)
        conn.close()

    # --- Coming in ---

    def _accept_more(self) -> None:
        for listener in self.sockets:
            listener.setblocking(False)
            self._selector.register(listener, selectors.EVENT_READ, self._accept)
        self._is_accepting = True

    def _accept_no_more(self) -> None:
        if self._is_accepting:
            for listener in self.sockets:
                self._selector.unregister(listener)
        self._is_accepting = False

    def _accept(self, listener: Any) -> None:
        for _ in range(_ACCEPTS):
            if len(self._all) >= self._most and not self._make_place():
                self._accept_no_more()
                return
            try:
                sock, client = listener.accept()
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE):
                    self._make_place()
                return
            sock.setblocking(False)
            now = time.monotonic()
            inbox = Inbox(folder=self.spool_folder)
            conn = Connection(sock, client, listener.getsockname(), inbox, since=now, moved=now)
            self._all.add(conn)
            self._watch(conn, selectors.EVENT_READ)
            self._moved(conn)

    def _make_place(self) -> bool:
        free = [conn for conn in self._all if conn.stage is not Stage.ANSWERING]
        if free:
            self._close(min(free, key=lambda conn: conn.moved))
        return bool(free)

    def _receive(self, conn: Connection) -> None:
        try:
            data = conn.sock.recv(_RECEIVE)
        except BlockingIOError:
            return
        conn.moved = time.monotonic()
        if data:
            if not conn.inbox.size:
                conn.begun = conn.moved
            conn.inbox.put(data)
            self._advance(conn)
            return
        conn.has_ended = True
        if conn.stage is Stage.BODY and conn.is_upload:
            # The reader reports the truncated body.
            self._answer(conn)
        else:
            self._close(conn)

    def _advance(self, conn: Connection, *, later: bool = False) -> None:
        """Answer the request if enough of it has arrived; with `later`, after others."""
        if conn.stage is Stage.HEAD:
            conn.framing = framing_of(conn.inbox.data)
            if conn.framing is None:
                if conn.inbox.size > HEAD_BYTES:
                    self._refuse(conn, _LONG_HEAD)
                return
            conn.stage, conn.since = Stage.BODY, time.monotonic()
            conn.is_upload = takes_files(conn.framing.path)
            conn.want = self._wanted(conn)
            if conn.framing.expects_continue and conn.inbox.size < conn.want:
                conn.was_told_to_go_on = True
                with suppress(BlockingIOError):
                    conn.sock.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        if conn.inbox.size >= conn.want:
            self._answer(conn, later=later)

    def _wanted(self, conn: Connection) -> int:
        framing = conn.framing
        assert framing is not None
        if framing.is_chunked:
            return framing.head_bytes
        if not conn.is_upload:
            # Too long bodies are refused by their length, so none of it is needed.
            return framing.head_bytes + (framing.length if framing.length <= FORM_BYTES else 0)
        if framing.length <= MEMORY_BYTES:
            return framing.head_bytes + framing.length
        spooled = sum(other.want for other in self._all if other.stage is Stage.BODY)
        if framing.length > UPLOAD_BYTES or spooled + framing.length > SPOOLED_BYTES:
            return framing.head_bytes + MEMORY_BYTES
        return framing.head_bytes + framing.length

    # --- Being answered ---

    def _answer(self, conn: Connection, *, later: bool = False) -> None:
        self._unwatch(conn)
        conn.stage, conn.since, conn.counted = Stage.ANSWERING, time.monotonic(), 0
        conn.taken = conn.inbox.size
        self._pool.submit(partial(self._in_thread, conn), later=later)

    def _in_thread(self, conn: Connection) -> None:
        """Runs in a thread of the pool, which owns `conn` meanwhile."""
        outlet = Outlet(conn, self._pool, self._patience)
        stays = False
        rest: bytes | None = None
        req = None
        parser = None
        try:
            parser = http.get_parser(self.cfg, outlet, conn.client)
            req = next(parser)
            stays = self._respond(req, conn, outlet)
        except (http.errors.NoMoreData, StopIteration):
            pass
        except OSError as error:
            if error.errno in _GONE or isinstance(error, (ConnectionError, TimeoutError)):
                self.log.debug("A client went away: %s", error)
            else:
                self.log.exception("Socket error processing request.")
        except Exception as error:  # noqa: BLE001 # whatever a request does, the thread goes on
            self._tell(req, conn, outlet, error)
        if parser is not None and req is not None:
            rest = _rest(req, parser, conn)
        self._done.put(partial(self._answered, conn, stays, rest))
        with suppress(BlockingIOError):
            os.write(self._wake_writer, b"\0")

    def _tell(self, req: Any, conn: Connection, outlet: Outlet, error: Exception) -> None:
        conn.out.close()
        self.handle_error(req, outlet, conn.client, error)
        with suppress(OSError):
            outlet.flush()

    def _respond(self, req: Any, conn: Connection, outlet: Outlet) -> bool:
        """Answer the request; returns whether another may follow on this connection."""
        begun = time.monotonic()
        resp, environ = wsgi.create(req, outlet, conn.client, conn.server, self.cfg)
        environ["wsgi.multithread"] = True
        self.nr += 1
        if not self.alive or not self.cfg.keepalive or unread_bytes(req) < 0:
            resp.force_close()
        try:
            answer = self.wsgi(environ, resp.start_response)
            try:
                if not isinstance(answer, wsgi.FileWrapper) or not outlet.put_file(resp, answer):
                    for item in answer:
                        outlet.make_room()
                        resp.write(item)
                        outlet.flush()
                    resp.close()
                outlet.flush()
            finally:
                took = timedelta(seconds=time.monotonic() - begun)
                self.log.access(resp, req, environ, took)
                if hasattr(answer, "close"):
                    answer.close()
        except OSError:
            raise
        except Exception:
            if not resp.headers_sent:
                raise
            # Sent bytes can't be taken back, so the connection closes and the client notices.
            self.log.exception("Error handling request")
            conn.cut()
            return False
        return not resp.should_close()

    def _finish(self, _pipe: Any) -> None:
        with suppress(BlockingIOError):
            os.read(self._wake_reader, 4096)
        # Answers that finish meanwhile have their own wake-up, so other events get their turn.
        for _ in range(self._done.qsize()):
            self._done.get_nowait()()

    def _answered(self, conn: Connection, stays: bool, rest: bytes | None) -> None:
        """Take a connection back into the loop. `rest` is the data after the request; None if
        unknown."""
        conn.stays = stays and rest is not None and self.alive and not conn.has_ended
        conn.is_read = rest == b""
        conn.inbox.close()
        conn.inbox = Inbox(rest or b"", folder=self.spool_folder)
        conn.is_first = False
        now = time.monotonic()
        if conn.out:
            conn.stage, conn.since, conn.moved = Stage.SENDING, now, now
            self._watch(conn, selectors.EVENT_WRITE)
            self._bound_waiting()
            return
        try:
            self._sent(conn)
        except OSError:
            self._close(conn)

    # --- Going out ---

    def _send(self, conn: Connection) -> None:
        if sent := conn.out.send(conn.sock):
            conn.counted += sent
            conn.moved = time.monotonic()
        if not conn.out:
            self._unwatch(conn)
            self._sent(conn)

    def _sent(self, conn: Connection) -> None:
        now = time.monotonic()
        conn.since = conn.moved = now
        if conn.stays:
            conn.stage, conn.framing, conn.begun = Stage.HEAD, None, now
            conn.was_told_to_go_on = False
            self._watch(conn, selectors.EVENT_READ)
            if conn.inbox.size:
                # Pipelined without waiting for the answer, which browsers never do.
                self._advance(conn, later=True)
            return
        if conn.is_read or conn.has_ended:
            self._close(conn)
            return
        # Closing with unread data would reset the connection and lose the answer.
        conn.sock.shutdown(socket.SHUT_WR)
        conn.stage, conn.counted = Stage.LEAVING, conn.taken
        self._watch(conn, selectors.EVENT_READ)

    def _throw_away(self, conn: Connection) -> None:
        with suppress(BlockingIOError):
            data = conn.sock.recv(_RECEIVE)
            conn.counted += len(data)
            conn.moved = time.monotonic()
            if not data or conn.counted > DRAIN_BYTES:
                self._close(conn)

    def _refuse(self, conn: Connection, answer: bytes) -> None:
        self._unwatch(conn)
        conn.out.put(answer)
        conn.stays = conn.is_read = False
        conn.inbox.close()
        conn.stage = Stage.SENDING
        conn.since = conn.moved = time.monotonic()
        self._watch(conn, selectors.EVENT_WRITE)

    def _bound_waiting(self) -> None:
        sending = [conn for conn in self._all if conn.stage is Stage.SENDING]
        total = sum(conn.out.size for conn in sending)
        for conn in sorted(sending, key=lambda conn: conn.moved):
            if total <= WAITING_BYTES:
                break
            total -= conn.out.size
            self._close(conn)

    # --- Deadlines ---

    def _look(self) -> None:
        now = time.monotonic()
        for conn in list(self._all):
            if conn.stage is Stage.HEAD:
                self._look_at_head(conn, now)
            elif conn.stage is Stage.BODY:
                if now > self._patience.until(conn, conn.inbox.size):
                    if conn.is_upload:
                        # The view reports it, in the format its clients expect.
                        conn.is_late = True
                        self._answer(conn)
                    else:
                        self._refuse(conn, _LATE)
            elif conn.stage is Stage.SENDING:
                least = conn.since + self._patience.seconds + conn.counted / MINIMUM_RATE
                if now > min(conn.moved + self._patience.seconds, least):
                    self._close(conn)
            elif conn.stage is Stage.LEAVING and (
                now - conn.since > DRAIN_SECONDS or now - conn.moved > DRAIN_SILENCE
            ):
                self._close(conn)

    def _look_at_head(self, conn: Connection, now: float) -> None:
        head_seconds = min(HEAD_SECONDS, self._patience.seconds)
        if conn.inbox.size:
            if now - conn.begun > head_seconds:
                self._refuse(conn, _LATE)
        elif now - conn.since > (head_seconds if conn.is_first else self.cfg.keepalive):
            self._close(conn)


def _rest(req: Any, parser: Any, conn: Connection) -> bytes | None:
    """The received part of the next request; None if this one's body is incomplete."""
    unread = unread_bytes(req)
    if unread < 0 or unread > MEMORY_BYTES or getattr(req.body, "failed", False):
        return None
    rest: bytes = parser.unreader.take_buffered()
    while data := conn.inbox.take(_RECEIVE):
        rest += data
        if len(rest) > unread + HEAD_BYTES:
            break
    return rest[unread:] if len(rest) >= unread else None


def _descriptors() -> int:
    """The limit of open descriptors, raised to the maximum allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4 * MOST_CONNECTIONS + 200
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        return most
    return soft
