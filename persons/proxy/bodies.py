"""Converts a multipart body that Go's reader accepts to strict form, as it streams in.

The vendor's server is written in Go, and clients send what it accepts. Beyond RFC 2046,
`mime/multipart` and `net/textproto` of Go 1.22 accept the following:

    - boundary lines may end with LF alone, if the first delimiter's does;
    - header lines of a part may always end with LF alone;
    - spaces and tabs may follow a delimiter on its line;
    - any lines before the first delimiter are skipped;
    - a delimiter may follow a part's headers at once: the part is empty;
    - a line that continues after the boundary's characters is content;
    - a part's own Content-Length is ignored.

The output has CRLF everywhere and its own boundary, which no content can contain. Only the current
line is buffered, and nothing is decoded; limits are left to the parser.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from typing import Final

from multipart import ParserError

LONGEST_LINE: Final = 64 * 1024
"""Longer header lines are passed on unchanged; the parser, whose limit is lower, refuses them."""
LONGEST_GAP: Final = 4096
"""Maximum spaces after a boundary, the size of Go's buffer."""

_OWN_LENGTH = re.compile(rb"content-length[ \t]*:", re.IGNORECASE)
_ENDS = b" \t\r\n"


class Strict:
    """A file whose `read` gives the same parts under `boundary`. Raises ParserError for what Go
    refuses."""

    def __init__(self, read: Callable[[int], bytes], boundary: str) -> None:
        self.boundary = secrets.token_hex(24)
        self._read = read
        self._mark = b"--" + boundary.encode("latin-1")
        self._line_end = b"\r\n"
        self._own = b"\r\n--" + self.boundary.encode()
        self._buffer = b""
        self._at = 0
        self._out: list[bytes] = []
        self._is_ended = self._is_over = False
        self._error: ParserError | None = None
        self._go_on = self._before
        self._is_first = True
        self._is_line_begun = False
        self._is_body_begun = False

    def read(self, size: int) -> bytes:
        """At least one byte until the end; b"" at the end."""
        while not (self._out or self._is_over):
            data = self._read(size)
            self._is_ended = not data
            self._buffer = self._buffer[self._at :] + data
            self._at = 0
            try:
                while self._go_on():
                    pass
            except ParserError as error:
                self._error = error
            if self._is_ended or self._error is not None:
                self._is_over = True
        if self._error is not None and not self._out:
            raise self._error
        # Data before an error is returned first, to show that there were parts at all.
        found = b"".join(self._out)
        self._out.clear()
        return found

    # Each of these continues from `_at`, and returns whether more can be done with the data.

    def _before(self) -> bool:
        """Skip lines before the first delimiter."""
        end = self._buffer.find(b"\n", self._at)
        if end < 0 and not self._is_ended:
            if len(self._buffer) - self._at > len(self._mark) + LONGEST_GAP:
                # Too long for a delimiter: the buffered part of this line can be dropped.
                self._is_line_begun = True
                self._at = len(self._buffer)
            return False
        line = self._buffer[self._at :] if end < 0 else self._buffer[self._at : end + 1]
        is_whole, self._is_line_begun = not self._is_line_begun, False
        if is_whole and line.startswith(self._mark):
            return self._delimiter()
        self._at += len(line)
        return end >= 0

    def _delimiter(self) -> bool:
        """Read a delimiter at its mark. The last one needs no more than two hyphens."""
        rest_at = self._at + len(self._mark)
        if self._buffer.startswith(b"--", rest_at):
            self._out.append(self._own + b"--\r\n")
            self._is_over = True
            return False
        end = self._buffer.find(b"\n", rest_at)
        if end < 0:
            if self._is_ended or len(self._buffer) - rest_at > LONGEST_GAP:
                raise ParserError("a delimiter has no end")
            return False
        rest = self._buffer[rest_at : end + 1].lstrip(b" \t")
        if self._is_first and rest == b"\n":
            self._line_end = b"\n"
        if rest != self._line_end:
            if self._is_first:
                # Another line before the first delimiter.
                self._at = end + 1
                self._go_on = self._before
                return True
            raise ParserError("a delimiter is followed by something")
        self._out.append((self._own if not self._is_first else self._own[2:]) + b"\r\n")
        self._is_first = False
        self._at = end + 1
        self._go_on = self._head
        return True

    def _head(self) -> bool:
        end = self._buffer.find(b"\n", self._at)
        if end < 0:
            if self._is_ended or len(self._buffer) - self._at > LONGEST_LINE:
                self._out.append(self._buffer[self._at :])
                self._at = len(self._buffer)
            return False
        line = self._buffer[self._at : end]
        line = line.removesuffix(b"\r")
        self._at = end + 1
        if not _OWN_LENGTH.match(line):
            self._out.append(line + b"\r\n")
        if not line:
            self._is_body_begun = False
            self._go_on = self._body
        return True

    def _body(self) -> bool:
        buffer, mark = self._buffer, self._mark
        left = len(buffer) - self._at
        if not self._is_body_begun:
            if left < len(mark) + 2 and not self._is_ended:
                return False
            self._is_body_begun = True
            if self._ends_here(self._at):
                self._go_on = self._delimiter
                return True
        wanted = self._line_end + mark
        start = self._at
        while (found := buffer.find(wanted, start)) >= 0:
            behind = found + len(wanted)
            if len(buffer) < behind + 2 and not self._is_ended:
                self._give(found)
                return False
            if self._ends_here(found + len(self._line_end)):
                self._give(found)
                self._at = found + len(self._line_end)
                self._go_on = self._delimiter
                return True
            start = found + 1
        # A delimiter may begin at the end of the buffer.
        kept = 0 if self._is_ended else self._begun(wanted)
        self._give(len(buffer) - kept)
        return False

    def _ends_here(self, at: int) -> bool:
        behind = at + len(self._mark)
        if not self._buffer.startswith(self._mark, at):
            return False
        after = self._buffer[behind : behind + 2]
        return after == b"--" or (after[:1] in _ENDS if after else self._is_ended)

    def _begun(self, wanted: bytes) -> int:
        """How many bytes at the end of the buffer are the beginning of `wanted`."""
        most = min(len(wanted) - 1, len(self._buffer) - self._at)
        tail = self._buffer[len(self._buffer) - most :] if most else b""
        at = tail.find(wanted[:1])
        while at >= 0:
            if wanted.startswith(tail[at:]):
                return len(tail) - at
            at = tail.find(wanted[:1], at + 1)
        return 0

    def _give(self, end: int) -> None:
        if end > self._at:
            self._out.append(self._buffer[self._at : end])
            self._at = end
