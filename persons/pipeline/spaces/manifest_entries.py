"""Reads a manifest as a stream, one entry of its two long lists at a time.

So a file that is made to be huge in memory is refused while it is read.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable, Iterator
from typing import Any, Final, NoReturn

CHUNK: Final = 256 * 1024
LONGEST_ENTRY: Final = 1_000_000
"""Characters of one entry, or of one value outside the lists: notes have 5,000 characters at
most."""

_SPACE = " \t\n\r"


class BadJSON(ValueError):
    """It is not JSON, or an entry is longer than any real one."""


class Document:
    """A JSON object read as a stream. `read` returns bytes, b"" at the end."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._decode = codecs.getincrementaldecoder("utf-8")()
        self._json = json.JSONDecoder(parse_constant=_no_constant)
        self._text = ""
        self._at = 0
        self._is_ended = False

    def members(self) -> Iterator[str]:
        """The object's names. Take each value by `value` or `entries` before the next name. Raises
        BadJSON."""
        self._expect("{")
        if self._next() == "}":
            self._at += 1
        else:
            while True:
                name = self.value()
                if not isinstance(name, str):
                    raise BadJSON("a name is no text")
                self._expect(":")
                yield name
                if self._take(",}") == "}":
                    break
        if self._next():
            raise BadJSON("something follows it")

    def entries(self) -> Iterator[Any]:
        """The entries of a list. Raises BadJSON if it is none."""
        self._expect("[")
        if self._next() == "]":
            self._at += 1
            return
        while True:
            yield self.value()
            if self._take(",]") == "]":
                return

    def is_object(self) -> bool:
        return self._next() == "{"

    def is_list(self) -> bool:
        return self._next() == "["

    def value(self) -> Any:
        """A whole value of limited length. Raises BadJSON."""
        self._next()
        while True:
            try:
                found, end = self._json.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                problem: str = error.msg
            except (ValueError, RecursionError) as error:
                # An invalid constant, thousands of digits, or too deep.
                raise BadJSON(str(error)) from None
            else:
                if end < len(self._text) or self._is_ended:
                    self._at = end
                    return found
                problem = "a value has no end"
            if self._is_ended or len(self._text) - self._at > LONGEST_ENTRY:
                raise BadJSON(problem)
            self._fill()

    def _take(self, either: str) -> str:
        letter = self._next()
        if not letter or letter not in either:
            raise BadJSON(f"no {' or '.join(either)}")
        self._at += 1
        return letter

    def _expect(self, letter: str) -> None:
        self._take(letter)

    def _next(self) -> str:
        """The next character that is not white space; "" at the end."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in _SPACE:
                self._at += 1
            if self._at < len(self._text):
                return self._text[self._at]
            if self._is_ended:
                return ""
            self._fill()

    def _fill(self) -> None:
        data = self._read(CHUNK)
        self._is_ended = not data
        try:
            more = self._decode.decode(data, self._is_ended)
        except UnicodeDecodeError:
            raise BadJSON("it is no UTF-8") from None
        self._text = self._text[self._at :] + more
        self._at = 0


def _no_constant(name: str) -> NoReturn:
    raise BadJSON(f"{name} is not JSON")
