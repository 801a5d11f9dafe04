"""Uploads from forms and REST requests, including files that Django's parser silently drops.

Django drops a part whose file name isn't UTF-8, is "..", "/" or empty, or names an unknown charset,
and strips joiners from all other names. With `TakesEveryName` as the first upload handler, such a
file gets a made-up name, so that its sender learns what became of it.
"""

from __future__ import annotations

import html
import re
from typing import Any, cast
from urllib.parse import unquote

from django.core.files.uploadhandler import SkipFile
from django.http import HttpRequest
from django.http.multipartparser import MultiPartParser
from django.utils.http import parse_header_parameters

from persons.files.unfinished import IncomingUploadHandler
from persons.images import clean_name

MADE_UP = "photo"
_NAMELESS = "nameless-part"
"""Between the stream and the parser alone: a part with `filename=""`."""

CHUNK = 64 * 1024
LONGEST_HEADER = 16 * 1024
"""Of one part. Django takes 1,024 bytes; longer headers are shortened for it."""
_SHORT = 900
_NAME_LENGTH = 160

_DISPOSITION = re.compile(rb"content-disposition\s*:(.*)", re.IGNORECASE | re.DOTALL)
_PARAMETER = re.compile(r';\s*([^\s=;"]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;]*))', re.DOTALL)
_EXTENDED = re.compile(r"[^']*'[^']*'(.*)", re.DOTALL)


class TakesEveryName(IncomingUploadHandler):
    """Writes uploads to disk while they stream in, whatever their file names are."""

    _is_parsing = False

    def handle_raw_input(
        self,
        input_data: Any,
        META: Any,  # noqa: N803 - Django's name
        content_length: int,
        boundary: Any,
        encoding: str | None = None,
    ) -> Any:
        if self._is_parsing or self.request is None:
            return None
        self._is_parsing = True
        mended = _Mended(input_data, bytes(boundary))
        handlers = list(self.request.upload_handlers)
        return _Parser(META, cast("Any", mended), handlers, encoding).parse()

    def new_file(self, field_name: str, file_name: str, *args: Any, **kwargs: Any) -> None:
        self._is_nameless = file_name == _NAMELESS
        name = MADE_UP if self._is_nameless else file_name
        super().new_file(field_name, name, *args, **kwargs)

    def file_complete(self, file_size: int) -> Any:
        if self._is_nameless and not file_size:
            # A browser sends this for a file field in which nothing was chosen.
            self.file.close()
            return None
        return super().file_complete(file_size)


class CappedUploadHandler(TakesEveryName):
    """Stores files as they stream in, and drops a file once it exceeds `limit` bytes.

    The names of dropped files are in `too_large`. The rest of such a file is read and discarded,
    so that the sender receives the error.
    """

    def __init__(self, request: HttpRequest, *, limit: int) -> None:
        super().__init__(request)
        self.too_large: list[str] = []
        self._limit = limit

    def receive_data_chunk(self, raw_data: bytes, start: int) -> bytes | None:
        if start + len(raw_data) > self._limit:
            self.too_large.append(self.file_name or "")
            raise SkipFile
        super().receive_data_chunk(raw_data, start)
        return None


class _Parser(MultiPartParser):
    def sanitize_file_name(self, file_name: str) -> str:
        return clean_name(html.unescape(file_name))


class _Mended:
    """The body as a stream, with part headers rewritten if Django's parser can't read them."""

    def __init__(self, source: Any, boundary: bytes) -> None:
        self._source = source
        self._mark = b"--" + boundary
        self._raw = b""
        self._ready = bytearray()
        self._is_head = False
        self._is_over = False

    def read(self, size: int = -1) -> bytes:
        wanted = CHUNK if size < 0 else size
        while len(self._ready) < wanted and not self._is_over:
            data = self._source.read(CHUNK)
            self._is_over = not data
            self._raw += data
            self._go_on()
        found = bytes(self._ready[:wanted])
        del self._ready[:wanted]
        return found

    def _go_on(self) -> None:
        while self._raw:
            if not self._is_head:
                at = self._raw.find(self._mark)
                if at < 0:
                    # The boundary may begin at the end of the buffer.
                    kept = 0 if self._is_over else len(self._mark) - 1
                    self._give(len(self._raw) - kept)
                    return
                self._give(at + len(self._mark))
                self._is_head = True
                continue
            end = self._raw.find(b"\r\n\r\n")
            if end < 0 and len(self._raw) < LONGEST_HEADER and not self._is_over:
                return
            if 0 <= end < LONGEST_HEADER:
                self._ready += mended(self._raw[:end])
                self._raw = self._raw[end:]
            self._is_head = False

    def _give(self, count: int) -> None:
        if count > 0:
            self._ready += self._raw[:count]
            self._raw = self._raw[count:]


def mended(head: bytes) -> bytes:
    """A part's headers, without the boundary, in a form that Django's parser understands. Headers
    that it already understands are returned unchanged."""
    lines = head.split(b"\r\n")
    return b"\r\n".join(_mended_line(line, is_long=len(head) > _SHORT) for line in lines)


def _mended_line(line: bytes, *, is_long: bool) -> bytes:
    match = _DISPOSITION.fullmatch(line)
    if match is None or (not is_long and _is_fine(line)):
        return line
    parameters = _parameters(match[1].decode("utf-8", "replace"))
    if "name" not in parameters:
        return line
    parts = [
        b"Content-Disposition: form-data",
        _parameter("name", parameters["name"][:_NAME_LENGTH]),
    ]
    if "filename" in parameters:
        name = clean_name(parameters["filename"]) if parameters["filename"] else _NAMELESS
        stem, dot, suffix = name.rpartition(".")
        short = f"{stem[:_NAME_LENGTH]}{dot}{suffix[:16]}"
        parts.append(_parameter("filename", short))
    return b"; ".join(parts)


def _is_fine(line: bytes) -> bool:
    try:
        _, parameters = parse_header_parameters(line.decode())
        for value in parameters.values():
            value.encode()
    except ValueError:
        return False
    return parameters.get("filename") != ""


def _parameters(header: str) -> dict[str, str]:
    found: dict[str, str] = {}
    extended: dict[str, str] = {}
    for name, quoted, bare in _PARAMETER.findall(header):
        value = re.sub(r'\\(["\\])', r"\1", quoted) if quoted else bare.strip()
        if name.endswith("*") and (match := _EXTENDED.fullmatch(value)):
            extended[name[:-1].lower()] = unquote(match[1])
        else:
            found[name.lower()] = value
    return found | extended


def _parameter(name: str, value: str) -> bytes:
    plain = value.replace("\\", "\\\\").replace('"', '\\"').replace("\r", " ").replace("\n", " ")
    return f'{name}="{plain}"'.encode("utf-8", "replace")
