"""Reads a client's multipart body as it streams in, and refuses it as soon as a limit is exceeded.

The front (`dashboard.front`) discards what a refused client still sends, without a thread.

Source: VK Cloud Vision documentation, "Limits", and the public programs that call the API: parts
are named after paths or URLs, names are unquoted, and stray and empty file parts occur.
"""

from __future__ import annotations

import base64
import binascii
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

from persons.inputs.params import whole
from persons.proxy.bodies import Strict
from persons.vision import limits
from persons.vision.meta import BadMeta
from persons.vision.types import Image

SLACK_BYTES = 1_000_000
"""Bytes for `meta` and the parts' headers, in addition to the images' 30 MB."""

STRAY_PARTS = 20
"""Maximum files that no image of `meta` names: some clients send one with every request."""

MAX_FIELDS = 1000
MAX_FIELD_BYTES = 2_500_000
"""Maximum bytes of all non-file parts; `meta` is one."""

MAX_HEADERS = 16
MAX_HEADER_BYTES = 16 * 1024
"""Maximum bytes of one header line: a part may be named after a signed URL."""

CHUNK = 256 * 1024

_BOUNDARY = re.compile(r"[ -~]{0,199}[!-~]")
_PARAMETER = re.compile(r';\s*([^\s=;"]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;]*))', re.DOTALL)
_ESCAPED = re.compile(r'\\(["\\])')
_EXTENDED = re.compile(r"[^']*'[^']*'(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class ParsedBody:
    meta: bytes
    images: tuple[Image, ...]


class TooMuch(BadMeta):
    """The request exceeds a limit of the API; the rest is not read."""


def read_body(request: WSGIRequest, sizes: limits.Sizes = limits.WIRE) -> ParsedBody:
    """Read the body. Raises BadMeta, with the text of a 400 envelope, if it isn't a valid
    request."""
    if request.content_type != "multipart/form-data":
        raise BadMeta("the request must be multipart/form-data")
    chunked = "chunked" in request.META.get("HTTP_TRANSFER_ENCODING", "").lower()
    length = whole(str(request.META.get("CONTENT_LENGTH") or 0))
    if length is None:
        raise BadMeta("wrong Content-Length")
    most = sizes.request + SLACK_BYTES
    if length > most:
        _too_large(sizes)
    if length <= 0 and not chunked:
        raise BadMeta("no meta has been provided")
    boundary = _parameters(request.META["CONTENT_TYPE"]).get("boundary", "")
    if not _BOUNDARY.fullmatch(boundary):
        _unreadable()
    parts = _Parts(sizes)
    source = _Counted(request.environ["wsgi.input"], None if chunked else length, sizes)
    strict = Strict(source.read, boundary)
    parser = _Parser(
        strict.boundary,
        max_header_count=MAX_HEADERS,
        max_header_size=MAX_HEADER_BYTES,
        # Latin-1 decodes any byte: invalid UTF-8 must not refuse the whole request.
        header_charset="latin-1",
    )
    try:
        for piece in parser.parse_blocking(strict.read, CHUNK):
            parts.take(piece)
    except MultipartError as error:
        if parts.count or isinstance(error, ParserLimitReached):
            _unreadable()
    return parts.body()


class _Parser(PushMultipartParser):  # type: ignore[misc] # it ships no types
    def _create_segment(self, headerlist: list[tuple[str, str]]) -> MultipartSegment:
        # Parts of an unknown kind are ignored rather than refused.
        return MultipartSegment(headerlist)


class _Counted:
    """The body as a file that ends at its Content-Length and raises if it is too long."""

    def __init__(self, source: BinaryIO, length: int | None, sizes: limits.Sizes) -> None:
        self._source = source
        self._left = length
        self._sizes = sizes
        self._room = sizes.request + SLACK_BYTES

    def read(self, size: int) -> bytes:
        if self._left is not None:
            size = min(size, self._left)
        data = self._source.read(size) if size else b""
        if size and not data and self._left:
            # Half a picture must not be enrolled.
            raise BadMeta("the body ended before its Content-Length")
        if self._left is not None:
            self._left -= len(data)
        self._room -= len(data)
        if self._room < 0:
            _too_large(self._sizes)
        return data


@dataclass(slots=True)
class _Part:
    """A part being received; `is_kept` if its content may be needed."""

    name: str
    content_type: str
    is_file: bool
    is_kept: bool
    is_nameless: bool
    """Whether its file name is empty or missing."""
    encoding: str
    size: int = 0
    data: BytesIO = field(default_factory=BytesIO)

    def content(self) -> bytes:
        if self.encoding == "quoted-printable":
            return binascii.a2b_qp(self.data.getvalue())
        if self.encoding != "base64":
            return self.data.getvalue()
        try:
            return base64.b64decode(b"".join(self.data.getvalue().split()), validate=True)
        except ValueError:
            _unreadable()


class _Parts:
    """Collects parts in memory, which the API's limits bound, and counts them while they arrive.

    Files are identified by their parts' names. A file name's value is ignored, but its presence
    makes the part a file.
    """

    def __init__(self, sizes: limits.Sizes) -> None:
        self._sizes = sizes
        self.count = 0
        self._files: list[_Part] = []
        self._fields: dict[str, _Part] = {}
        self._file_count = self._file_bytes = self._field_bytes = 0
        self._part: _Part | None = None

    def take(self, piece: MultipartSegment | bytes | bytearray | None) -> None:
        """Take the parser's next event: a part's headers, some of its content, or its end."""
        if isinstance(piece, MultipartSegment):
            self._begin(dict(piece.headerlist))
        elif piece is not None and self._part is not None:
            self._go_on(self._part, piece)

    def _begin(self, headers: Mapping[str, str]) -> None:
        self.count += 1
        parameters = _parameters(_text(headers.get("Content-Disposition", "")))
        name, file_name = parameters.get("name", ""), parameters.get("filename")
        # Go treats an empty file name as none, and some clients send `meta` that way.
        is_file = file_name is not None and (name != "meta" or bool(file_name))
        self._part = part = _Part(
            name=name,
            content_type=headers.get("Content-Type", "").partition(";")[0].strip().lower(),
            is_file=is_file,
            is_kept=bool(name) if is_file else name == "meta",
            is_nameless=not file_name,
            encoding=headers.get("Content-Transfer-Encoding", "").strip().lower(),
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
            if part.size > self._sizes.image:
                raise TooMuch(f"image {part.name[:100]} is larger than {self._sizes.image} bytes")
            if self._file_bytes > self._sizes.request:
                _too_large(self._sizes)
        else:
            self._field_bytes += len(data)
            if self._field_bytes > MAX_FIELD_BYTES:
                _too_many()
        if part.is_kept:
            part.data.write(data)

    def body(self) -> ParsedBody:
        images = tuple(self._images())
        if "meta" in self._fields:
            return ParsedBody(self._fields["meta"].content(), images)
        for image in images:
            # curl -F meta=@meta.json sends it as a file.
            if image.name == "meta":
                return ParsedBody(image.data, images)
        raise BadMeta("no meta has been provided")

    def _images(self) -> Iterator[Image]:
        """The images. A file with an empty name counts if it has content and no other file has the
        part's name: the vendor's older documentation sends pictures that way."""
        named = {part.name for part in self._files if not part.is_nameless}
        for part in self._files:
            if not part.is_nameless or (part.size and part.name not in named):
                yield Image(part.name, part.content(), part.content_type)


def _text(header: str) -> str:
    """Decode as UTF-8, tolerating invalid bytes such as an old program's file names."""
    return header.encode("latin-1", "replace").decode("utf-8", "replace")


def _parameters(header: str) -> dict[str, str]:
    """The parameters of a header's value, by lower-case name.

    Quoted or not, and `filename*=UTF-8''%D1%84.jpg` (RFC 5987) as `filename`. A backslash is
    literal, as in a Windows path, except before a quote or another backslash.
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


def _too_large(sizes: limits.Sizes) -> NoReturn:
    raise TooMuch(f"the images together are larger than {sizes.request} bytes")


def _too_many() -> NoReturn:
    raise TooMuch("there are too many parts, or a part that is no file is too large")


def _unreadable() -> NoReturn:
    raise BadMeta("the multipart body can't be parsed")
