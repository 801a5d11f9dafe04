"""One client's connection: bytes received but not processed, and bytes it has not read yet."""

from __future__ import annotations

import os
import re
import socket
import tempfile
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from itertools import islice
from typing import IO, Any

MEMORY_BYTES = 128 * 1024
"""Bytes of one request kept in memory; the rest goes to an anonymous file."""

_PIECES = 64
_FILE_BYTES = 1024 * 1024
_TARGET = re.compile(rb"[!-~]+ (?:https?://[^/ ]*)?([^ ?]*)[^\r\n]*\r\n")
_LENGTH = re.compile(rb"\r\ncontent-length[ \t]*:[ \t]*([0-9]{1,18})[ \t]*\r\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding[ \t]*:", re.IGNORECASE)
_EXPECTS = re.compile(rb"\r\nexpect[ \t]*:[ \t]*100-continue", re.IGNORECASE)


class Stage(Enum):
    """HEAD -> (BODY ->) ANSWERING -> (SENDING ->) HEAD again, or LEAVING -> closed."""

    HEAD = auto()
    BODY = auto()
    ANSWERING = auto()
    SENDING = auto()
    LEAVING = auto()


@dataclass(frozen=True, slots=True)
class Framing:
    """Framing of a request's body, used for buffering alone: gunicorn's parser decides validity
    and the end of the request on the same bytes."""

    path: str
    head_bytes: int
    length: int
    is_chunked: bool
    expects_continue: bool


def framing_of(data: bytes | bytearray) -> Framing | None:
    """The framing of a request; None while its headers are incomplete."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    head = bytes(data[: end + 2])
    target = _TARGET.match(head)
    length = _LENGTH.search(head)
    return Framing(
        path=target[1].decode("latin-1") if target else "",
        head_bytes=end + 4,
        length=int(length[1]) if length else 0,
        is_chunked=_CHUNKED.search(head) is not None,
        expects_continue=_EXPECTS.search(head) is not None,
    )


class Inbox:
    """The raw bytes of one request, in memory or in a file, read once."""

    def __init__(self, data: bytes = b"", *, folder: str | None = None) -> None:
        self._folder = folder
        self._file: IO[bytes] | None = None
        self.data = bytearray(data)
        """All bytes while there is no file, else empty."""
        self.size = len(data)
        self._at = 0

    @property
    def in_file(self) -> int:
        return self.size if self._file is not None else 0

    def put(self, data: bytes) -> None:
        self.size += len(data)
        if self._file is None and self.size <= MEMORY_BYTES:
            self.data += data
            return
        if self._file is None:
            # An anonymous file: its space is freed however this process ends.
            self._file = tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115
            _write(self._file, self.data)
            self.data = bytearray()
        _write(self._file, data)

    def take(self, most: int) -> bytes:
        """The next bytes; empty when all received bytes are read."""
        if self._file is not None:
            data = os.pread(self._file.fileno(), most, self._at)
        else:
            data = bytes(memoryview(self.data)[self._at : self._at + most])
        self._at += len(data)
        return data

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        self.data = bytearray()


def _write(file: IO[bytes], data: bytes | bytearray) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) or 0 :]


class Outbox:
    """Bytes waiting to be sent to the client, optionally followed by a file."""

    def __init__(self) -> None:
        self._pieces: deque[memoryview] = deque()
        self._file = -1
        self._at = self._left = 0
        self.size = 0
        """Bytes in memory."""

    def __bool__(self) -> bool:
        return self.size > 0 or self._left > 0

    def put(self, data: bytes) -> None:
        if data:
            self._pieces.append(memoryview(data))
            self.size += len(data)

    def put_file(self, descriptor: int, offset: int, count: int) -> None:
        """Take ownership of the descriptor. Nothing may be added until it is sent."""
        self._file, self._at, self._left = descriptor, offset, count

    def send(self, sock: socket.socket) -> int:
        """Send without blocking; returns the number of bytes sent. Raises OSError if the client is
        gone."""
        taken = 0
        with suppress(BlockingIOError):
            while self._pieces:
                sent = sock.sendmsg(list(islice(self._pieces, _PIECES)))
                taken += sent
                self._drop(sent)
            while self._left:
                sent = os.sendfile(
                    sock.fileno(), self._file, self._at, min(self._left, _FILE_BYTES)
                )
                if not sent:
                    raise ConnectionAbortedError("a file was cut off while it was sent")
                taken, self._at, self._left = taken + sent, self._at + sent, self._left - sent
            self._close_file()
        return taken

    def close(self) -> None:
        self._pieces.clear()
        self.size = self._left = 0
        self._close_file()

    def _drop(self, count: int) -> None:
        self.size -= count
        while count:
            first = self._pieces[0]
            if len(first) > count:
                self._pieces[0] = first[count:]
                return
            count -= len(first)
            self._pieces.popleft()

    def _close_file(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


@dataclass(slots=True, eq=False)
class Connection:
    """A connection. It belongs to the loop or, while ANSWERING, to the thread that answers."""

    sock: socket.socket
    client: Any
    server: Any
    inbox: Inbox
    since: float
    """Start of this stage."""
    moved: float
    """Time of the last byte in either direction."""
    out: Outbox = field(default_factory=Outbox)
    stage: Stage = Stage.HEAD
    framing: Framing | None = None
    want: int = 0
    """Bytes needed before the request is answered."""
    begun: float = 0.0
    """Arrival of this request's first byte."""
    is_upload: bool = False
    is_first: bool = True
    has_ended: bool = False
    """The client has closed its sending side."""
    is_late: bool = False
    """The client's deadline has passed."""
    was_told_to_go_on: bool = False
    stays: bool = False
    """Keep-alive: another request may follow the current answer."""
    is_read: bool = False
    """No received bytes are unread, as far as is known."""
    taken: int = 0
    """Bytes received of the request being answered."""
    counted: int = 0
    """Bytes sent of this answer, or discarded while LEAVING."""

    def cut(self) -> None:
        """End whatever waits for this client, in any thread."""
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.inbox.close()
        self.out.close()
        self.sock.close()
