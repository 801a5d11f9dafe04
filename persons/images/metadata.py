"""Reads EXIF blocks and XMP packets from each format's containers, and the orientation from them,
in one place for all callers."""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, Final

from .heifs import Heif
from .jpegs import bodies
from .tiffs import ORIENTATION, Damaged, Tiff, exif_of

EXIF_MARK, XMP_MARK = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
_XMP_WORD = b"XML:com.adobe.xmp"
_PROFILES: Final = {b"raw profile type exif", b"raw profile type app1", b"raw profile type xmp"}
_MOST_TEXT: Final = 8_000_000
_MOST_CHUNKS: Final = 100_000
_TURN = re.compile(rb"tiff:Orientation\s*(?:=\s*[\"']|>)\s*([0-9])\b")

PNG_HEAD = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, slots=True)
class Metadata:
    """`exif` are TIFF-structured blocks and `xmp` packets, both in file order."""

    exif: tuple[bytes, ...] = field(default=(), repr=False)
    xmp: tuple[bytes, ...] = field(default=(), repr=False)

    @property
    def orientation(self) -> int:
        """1 to 8. The first EXIF block with an orientation wins, then the first XMP packet;
        invalid values are ignored."""
        return next(self._orientations(), 1)

    @property
    def is_plain(self) -> bool:
        """Whether every reader finds the same orientation: there is at most one EXIF block, and it
        has the orientation if anything has."""
        return len(self.exif) <= 1 and self.orientation == _of_exif(self.exif)

    def _orientations(self) -> Iterator[int]:
        for block in self.exif:
            if found := _exif_orientation(block):
                yield found
        for packet in self.xmp:
            if found := xmp_orientation(packet):
                yield found


def _of_exif(blocks: tuple[bytes, ...]) -> int:
    return (_exif_orientation(blocks[0]) if blocks else 0) or 1


def _exif_orientation(block: bytes) -> int:
    try:
        order, main, _ = exif_of(block)
    except Damaged:
        return 0
    values = main[ORIENTATION].integers(order) if ORIENTATION in main else ()
    return values[0] if values and 1 <= values[0] <= 8 else 0


def xmp_orientation(packet: bytes) -> int:
    """The packet's orientation, or 0 if it has none."""
    found = _TURN.search(packet.replace(b"\0", b""))
    return int(found[1]) if found and 1 <= int(found[1]) <= 8 else 0


def metadata_of(file: BinaryIO, kind: str) -> Metadata:
    """Read the metadata of a seekable file of format `kind`. Never raises for the file's
    content."""
    readers: dict[str, Callable[[BinaryIO], Metadata]] = {
        "JPEG": _jpeg,
        "PNG": _png,
        "WEBP": _webp,
        "TIFF": _tiff,
        "HEIF": _heif,
        "AVIF": _heif,
    }
    try:
        return readers[kind](file) if kind in readers else Metadata()
    except (Damaged, ValueError):
        return Metadata()


def _jpeg(file: BinaryIO) -> Metadata:
    exif: list[bytes] = []
    xmp: list[bytes] = []
    for body in bodies(file, 0xE1):
        if body.startswith(EXIF_MARK):
            block = body.removeprefix(EXIF_MARK)
            if exif and block[:2] not in (b"II", b"MM"):
                # A block too long for one segment continues in the next.
                exif[-1] += block
            else:
                exif.append(block)
        elif body.startswith(XMP_MARK):
            xmp.append(body.removeprefix(XMP_MARK))
    return Metadata(tuple(exif), tuple(xmp))


# --- PNG ---


@dataclass(frozen=True, slots=True)
class PngChunk:
    kind: bytes
    at: int
    """Offset of the body in the file."""
    length: int


def png_chunks(file: BinaryIO) -> Iterator[PngChunk]:
    """The file's chunks. Ends at the first incomplete one."""
    size = file.seek(0, os.SEEK_END)
    at = len(PNG_HEAD)
    for _ in range(_MOST_CHUNKS):
        file.seek(at)
        head = file.read(8)
        length = int.from_bytes(head[:4], "big")
        if len(head) < 8 or at + 12 + length > size:
            return
        yield PngChunk(head[4:], at + 8, length)
        if head[4:] == b"IEND":
            return
        at += 12 + length


def _png(file: BinaryIO) -> Metadata:
    exif: list[bytes] = []
    texts: list[bytes] = []
    xmp: list[bytes] = []
    for chunk in png_chunks(file):
        if chunk.kind not in (b"eXIf", b"tEXt", b"zTXt", b"iTXt") or chunk.length > _MOST_TEXT:
            continue
        file.seek(chunk.at)
        body = file.read(chunk.length)
        if chunk.kind == b"eXIf":
            exif.append(body.removeprefix(EXIF_MARK))
            continue
        word, text = _png_text(chunk.kind, body)
        if word == _XMP_WORD:
            xmp.append(text)
        elif word.lower() in _PROFILES:
            profile = _profile(text)
            if profile.startswith(XMP_MARK) or word.lower().endswith(b"xmp"):
                xmp.append(profile.removeprefix(XMP_MARK))
            else:
                texts.append(profile.removeprefix(EXIF_MARK))
    # The chunk is the standard; metadata packed into text chunks predates it.
    return Metadata((*exif, *texts), tuple(xmp))


def _png_text(kind: bytes, body: bytes) -> tuple[bytes, bytes]:
    word, _, rest = body.partition(b"\0")
    is_packed = kind == b"zTXt"
    if kind == b"iTXt":
        is_packed, rest = rest[:1] == b"\1", rest[2:]
        rest = rest.split(b"\0", 2)[-1]
    elif is_packed:
        rest = rest[1:]
    if is_packed and (word == _XMP_WORD or word.lower() in _PROFILES):
        try:
            rest = zlib.decompressobj().decompress(rest, _MOST_TEXT)
        except zlib.error:
            rest = b""
    return word, rest


def _profile(text: bytes) -> bytes:
    """Decode ImageMagick's packing: a name, a length and hexadecimal digits."""
    parts = text.strip().split(b"\n", 2)
    try:
        return bytes.fromhex(parts[2].decode("ascii")) if len(parts) == 3 else b""
    except ValueError:
        return b""


# --- The others ---


def _webp(file: BinaryIO) -> Metadata:
    exif: list[bytes] = []
    xmp: list[bytes] = []
    size = file.seek(0, os.SEEK_END)
    at = 12
    while at + 8 <= size:
        file.seek(at)
        head = file.read(8)
        length = int.from_bytes(head[4:], "little")
        if head[:4] in (b"EXIF", b"XMP ") and at + 8 + length <= size:
            body = file.read(length)
            (xmp if head[:4] == b"XMP " else exif).append(body.removeprefix(EXIF_MARK))
        at += 8 + length + length % 2
    return Metadata(tuple(exif), tuple(xmp))


def _tiff(file: BinaryIO) -> Metadata:
    file.seek(0)
    data = file.read()
    tiff = Tiff(data)
    packet = tiff.table(tiff.first).get(0x02BC)
    return Metadata((data,), (packet.raw,) if packet else ())


def _heif(file: BinaryIO) -> Metadata:
    file.seek(0)
    exif, xmp = Heif(file.read()).metadata()
    return Metadata(tuple(exif), tuple(xmp))
