"""Slow clients that keep a server's connections open, each kind in its own way.

Their number is bounded, they connect to this machine only, and they are gone when `holding` ends. A
client that the server drops connects again, as a hostile one would.
"""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

PIPELINED = 200
"""Requests that a client sends one after the other without reading an answer."""

TRICKLE_SECONDS = 1.0


@dataclass(frozen=True)
class Kind:
    """A kind of slow client. It sends `opening` at once and `trickle` every second after that."""

    name: str
    opening: Callable[[str], bytes]
    trickle: bytes = b""
    reads: bool = True


def _get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()


def _body(path: str, length: int) -> bytes:
    return (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {length}\r\n"
        "Content-Type: application/x-www-form-urlencoded\r\n\r\nusername=a"
    ).encode()


SLOW_HEADERS = Kind(
    "slow headers", lambda _: b"GET /login/ HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ", b"x"
)
SLOW_BODIES = Kind("slow bodies to /login/", lambda _: _body("/login/", 100_000), b"x")
SLOW_UPLOADS = Kind("slow bodies to the proxy", lambda _: _body("/api/v1/persons/set", 9_000_000))
NEVER_READING = Kind(
    "pipelining a static file, never reading", lambda path: _get(path) * PIPELINED, reads=False
)
IDLE = Kind("idle, kept alive", lambda _: _get("/healthz"))
SILENT = Kind("connected, silent", lambda _: b"")
KINDS = (SLOW_HEADERS, SLOW_BODIES, SLOW_UPLOADS, NEVER_READING, IDLE, SILENT)


class Held:
    """The clients, and counts of what has happened so far."""

    def __init__(self, port: int, static: str, *, again: bool) -> None:
        self.opened = self.let_go = self.refused = 0
        self._port = port
        self._static = static
        self._again = again
        self._links: dict[socket.socket, Kind] = {}
        self._selector = selectors.DefaultSelector()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._go_on, daemon=True)

    @property
    def now(self) -> int:
        return len(self._links)

    def begin(self, kinds: tuple[Kind, ...], each: int) -> None:
        for kind in kinds:
            for _ in range(each):
                self._open(kind)
        self._thread.start()

    def end(self) -> None:
        self._stop.set()
        self._thread.join(10)
        for link in self._links:
            link.close()
        self._selector.close()

    def _open(self, kind: Kind) -> None:
        try:
            # From many addresses of this machine, so that limits by address don't stop them.
            n = self.opened % 2000
            source = (f"127.9.{n // 200}.{n % 200 + 1}", 0)
            link = socket.create_connection(("127.0.0.1", self._port), 5, source)
            link.setblocking(False)
            if not kind.reads:
                link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        except OSError:
            self.refused += 1
            return
        self.opened += 1
        self._links[link] = kind
        if kind.reads:
            self._selector.register(link, selectors.EVENT_READ)
        with suppress(BlockingIOError, ConnectionError):
            link.send(kind.opening(self._static))

    def _go_on(self) -> None:
        trickled = time.monotonic()
        while not self._stop.is_set():
            lost = set()
            for key, _ in self._selector.select(0.1):
                link = key.fileobj
                assert isinstance(link, socket.socket)
                if _is_over(link):
                    lost.add(link)
            if time.monotonic() - trickled >= TRICKLE_SECONDS:
                trickled = time.monotonic()
                lost |= {link for link in self._links if not self._trickle(link)}
            for link in lost:
                self._lose(link)

    def _trickle(self, link: socket.socket) -> bool:
        """Send a bit more. Returns False if the server has dropped the connection."""
        kind = self._links[link]
        try:
            # A client that never reads sends its opening again, to notice a dropped connection.
            link.send(kind.trickle if kind.reads else kind.opening(self._static))
        except BlockingIOError:
            return True
        except OSError:
            return False
        return True

    def _lose(self, link: socket.socket) -> None:
        kind = self._links.pop(link)
        with suppress(KeyError, ValueError):
            self._selector.unregister(link)
        link.close()
        self.let_go += 1
        if self._again:
            self._open(kind)


def _is_over(link: socket.socket) -> bool:
    try:
        return not link.recv(4096)
    except BlockingIOError:
        return False
    except OSError:
        return True


@contextmanager
def holding(
    address: str, kinds: tuple[Kind, ...], *, each: int, static: str, again: bool = True
) -> Iterator[Held]:
    """Keep `each` clients of each kind connected to the server at `address`.

    `static` is the path of a static file. With `again`, dropped clients connect again.
    """
    assert each <= 1000
    where = urlsplit(address)
    assert where.hostname == "127.0.0.1"
    held = Held(where.port or 80, static, again=again)
    try:
        held.begin(kinds, each)
        yield held
    finally:
        held.end()
