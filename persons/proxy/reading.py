"""A client's multipart body, read as it streams in, refused as soon as it is too much.

Source: VK Cloud Vision documentation, "Limits", and the public programs that call the API: parts
are named after paths or URLs, names come unquoted, stray and empty file parts come along.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from typing import BinaryIO, NoReturn
from urllib.parse import unquote

from django.core.handlers.wsgi import WSGIRequest
from multipart import (
    MultipartError,
    MultipartSegment,
    ParserLimitReached,
    PushMultipartParser,
)

from persons.vision import limits
from persons.vision.meta import BadMeta
from persons.vision.types import Image

SLACK_BYTES = 1_000_000
"""For `meta` and the parts' headers, on top of the images' 30 MB."""

STRAY_PARTS = 20
"""Files that no image of `meta` names: some clients send one with every request."""

MAX_FIELDS = 1000
MAX_FIELD_BYTES = 2_500_000
"""Of all parts that are no files; `meta` is one."""

MAX_HEADERS = 16
MAX_HEADER_BYTES = 16 * 1024
"""Of one line: a part may be named after a signed URL."""

DRAIN_BYTES = 32_000_000
"""Read and thrown away after a refusal, for clients that send all before they read."""

TAKEN = "rollcall.taken"
"""In `META`: how many bytes of the body were read already."""

CHUNK = 256 * 1024
DRAIN_CHUNK = 64 * 1024

_BOUNDARY = re.compile(r"[ -~]{0,199}[!-~]")
_PARAMETER = re.compile(r';\s*([^\s=;"]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;]*))', re.DOTALL)
_ESCAPED = re.compile(r'\\(["\\])')
_EXTENDED = re.compile(r"[^']*'[^']*'(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Body:
    meta: bytes
    images: tuple[Image, ...]


class TooMuch(BadMeta):
    """The request is above a limit of the API; nothing more of it is read."""


def read_body(request: WSGIRequest) -> Body:
    """Raises BadMeta, with the text of a 400 envelope, where it is no request of the API."""
    if request.content_type != "multipart/form-data":
        raise BadMeta("the request must be multipart/form-data")
    chunked = "chunked" in request.META.get("HTTP_TRANSFER_ENCODING", "").lower()
    try:
        length = int(request.META.get("CONTENT_LENGTH") or 0)
    except ValueError:
        raise BadMeta("wrong Content-Length") from None
    most = limits.MAX_REQUEST_BYTES + SLACK_BYTES
    if length > most:
        _too_large()
    if length <= 0 and not chunked:
        raise BadMeta("no meta has been provided")
    boundary = _parameters(request.META["CONTENT_TYPE"]).get("boundary", "")
    if not _BOUNDARY.fullmatch(boundary):
        _unreadable()
    parts = _Parts()
    source = _Counted(request.environ["wsgi.input"], None if chunked else length, most)
    parser = _Parser(
        boundary,
        max_header_count=MAX_HEADERS,
        max_header_size=MAX_HEADER_BYTES,
        # Any byte is a letter in it: what is no UTF-8 must not refuse the whole request.
        header_charset="latin-1",
    )
    try:
        for piece in parser.parse_blocking(source.read, CHUNK):
            parts.take(piece)
    except MultipartError as error:
        if parts.count or isinstance(error, ParserLimitReached):
            _unreadable()
    finally:
        request.META[TAKEN] = source.taken
    return parts.body()


def drain(request: WSGIRequest) -> None:
    """Throw away what a refused client still sends, up to a bound."""
    source = request.environ.get("wsgi.input")
    try:
        length = int(request.META.get("CONTENT_LENGTH") or DRAIN_BYTES)
        left = min(length - request.META.get(TAKEN, 0), DRAIN_BYTES)
    except ValueError:
        return
    while source is not None and left > 0:
        try:
            data = source.read(min(DRAIN_CHUNK, left))
        except OSError:
            return
        if not data:
            return
        left -= len(data)


class _Parser(PushMultipartParser):  # type: ignore[misc] # it ships no types
    def _create_segment(self, headerlist: list[tuple[str, str]]) -> MultipartSegment:
        # A part of another kind is none of ours, and no reason to refuse those that are.
        return MultipartSegment(headerlist)


class _Counted:
    """The body as a file that ends where it should and says stop where it is too long."""

    def __init__(self, source: BinaryIO, length: int | None, most: int) -> None:
        self._source = source
        self._left = length
        self._room = most
        self.taken = 0

    def read(self, size: int) -> bytes:
        if self._left is not None:
            size = min(size, self._left)
        data = self._source.read(size) if size else b""
        self.taken += len(data)
        if size and not data and self._left:
            # Half a picture is not to be enrolled.
            raise BadMeta("the body ended before its Content-Length")
        if self._left is not None:
            self._left -= len(data)
        self._room -= len(data)
        if self._room < 0:
            _too_large()
        return data


@dataclass(slots=True)
class _Part:
    """A part as it comes in; `is_kept` where somebody could ask for what is in it."""

    name: str
    content_type: str
    is_file: bool
    is_kept: bool
    is_base64: bool
    size: int = 0
    data: BytesIO = field(default_factory=BytesIO)

    def content(self) -> bytes:
        if not self.is_base64:
            return self.data.getvalue()
        try:
            return base64.b64decode(b"".join(self.data.getvalue().split()), validate=True)
        except ValueError:
            _unreadable()


class _Parts:
    """Parts in memory, which the API's own limits bound, counted while they come.

    Files are known by their parts' names. What a client calls the file itself is of no interest,
    but that it calls it anything makes it a file.
    """

    def __init__(self) -> None:
        self.count = 0
        self._files: list[_Part] = []
        self._fields: dict[str, _Part] = {}
        self._file_count = self._file_bytes = self._field_bytes = 0
        self._part: _Part | None = None

    def take(self, piece: MultipartSegment | bytes | bytearray | None) -> None:
        """What the parser found: a part's head, some of its content, or its end."""
        if isinstance(piece, MultipartSegment):
            self._begin(dict(piece.headerlist))
        elif piece is not None and self._part is not None:
            self._go_on(self._part, piece)

    def _begin(self, headers: Mapping[str, str]) -> None:
        self.count += 1
        parameters = _parameters(_text(headers.get("Content-Disposition", "")))
        name, file_name = parameters.get("name", ""), parameters.get("filename")
        self._part = part = _Part(
            name=name,
            content_type=headers.get("Content-Type", "").partition(";")[0].strip().lower(),
            is_file=file_name is not None,
            is_kept=bool(name and file_name) if file_name is not None else name == "meta",
            is_base64=headers.get("Content-Transfer-Encoding", "").strip().lower() == "base64",
        )
        if part.is_file:
            self._file_count += 1
            if self._file_count > limits.MAX_IMAGES + STRAY_PARTS:
                raise TooMuch(f"there are too many files, at most {limits.MAX_IMAGES} in a request")
        elif self.count - self._file_count > MAX_FIELDS:
            _too_many()
        if part.is_kept and part.is_file:
            self._files.append(part)
        elif part.is_kept:
            if name in self._fields:
                raise BadMeta(f"two parts are named {name}")
            self._fields[name] = part

    def _go_on(self, part: _Part, data: bytes | bytearray) -> None:
        part.size += len(data)
        if part.is_file:
            self._file_bytes += len(data)
            if part.size > limits.MAX_IMAGE_BYTES:
                raise TooMuch(
                    f"image {part.name[:100]} is larger than {limits.MAX_IMAGE_BYTES} bytes"
                )
            if self._file_bytes > limits.MAX_REQUEST_BYTES:
                _too_large()
        else:
            self._field_bytes += len(data)
            if self._field_bytes > MAX_FIELD_BYTES:
                _too_many()
        if part.is_kept:
            part.data.write(data)

    def body(self) -> Body:
        images = tuple(self._images())
        if "meta" in self._fields:
            return Body(self._fields["meta"].content(), images)
        for image in images:
            # curl -F meta=@meta.json makes a file of it.
            if image.name == "meta":
                return Body(image.data, images)
        raise BadMeta("no meta has been provided")

    def _images(self) -> Iterator[Image]:
        for part in self._files:
            yield Image(part.name, part.content(), part.content_type)


def _text(header: str) -> str:
    """In UTF-8. What is none, as an old program's file names, is no reason to refuse the rest."""
    return header.encode("latin-1", "replace").decode("utf-8", "replace")


def _parameters(header: str) -> dict[str, str]:
    """The parameters behind a header's value, by their names in small letters.

    Quoted or not, and `filename*=UTF-8''%D1%84.jpg` (RFC 5987) as `filename`. A backslash stands
    for itself, as in a path of Windows, but before a quote or another one.
    """
    found: dict[str, str] = {}
    extended: dict[str, str] = {}
    for name, quoted, bare in _PARAMETER.findall(header):
        value = _ESCAPED.sub(r"\1", quoted) if quoted else bare.strip()
        if name.endswith("*") and (match := _EXTENDED.fullmatch(value)):
            extended[name[:-1].lower()] = unquote(match[1])
        else:
            found[name.lower()] = value
    return found | extended


def _too_large() -> NoReturn:
    raise TooMuch(f"the images together are larger than {limits.MAX_REQUEST_BYTES} bytes")


def _too_many() -> NoReturn:
    raise TooMuch("there are too many parts, or a part that is no file is too large")


def _unreadable() -> NoReturn:
    raise BadMeta("the multipart body can't be parsed")
