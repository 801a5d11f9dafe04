"""Originals for strangers: the same pixels without where they were taken, or without any metadata.

JPEG, PNG, WebP and TIFF are taken apart and put together again: not a pixel is encoded anew. What
is kept is what is known to be harmless; whatever is not known goes. HEIC, and any file whose parts
do not add up, comes as a new JPEG instead, which never had any metadata.
"""

from __future__ import annotations

import io
import logging
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final

from PIL import Image

from .colour import open_oriented
from .tiffs import Damaged, only_orientation, without_tags

log = logging.getLogger(__name__)

JPEG_QUALITY = 92

_PLACE_WORDS: Final = (b"gps", b"location", b"city", b"country", b"state", b"sublocation")
"""In an XMP packet, in small letters: it then tells of a place."""


class Keep(Enum):
    """What of a file's metadata is left, besides colours and which side is up."""

    NOTHING = "nothing"
    ALL_BUT_PLACE = "all but the place"


@dataclass(frozen=True, slots=True)
class Stripped:
    """`suffix` is what its name ends in, without a dot; `is_new` says that it was encoded anew."""

    data: bytes
    suffix: str
    is_new: bool = False


SUFFIXES: Final = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "TIFF": "tif"}


def stripped(data: bytes, kind: str, keep: Keep) -> Stripped:
    """`kind` is the format as `inspect` names it. Raises ImageRefused where nothing can be read."""
    take_apart: dict[str, Callable[[bytes, Keep], bytes]] = {
        "JPEG": _jpeg,
        "PNG": _png,
        "WEBP": _webp,
        "TIFF": _tiff,
    }
    if kind in take_apart:
        try:
            clean = take_apart[kind](data, keep)
            if _is_clean(clean, keep):
                return Stripped(clean, SUFFIXES[kind])
        except Exception as error:  # noqa: BLE001
            # As in `opening`: on bytes that make no sense, Pillow raises nearly everything.
            log.info("a %s is encoded anew: %r", kind, error)
    out = io.BytesIO()
    open_oriented(io.BytesIO(data)).save(out, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return Stripped(out.getvalue(), "jpg", is_new=True)


def _is_clean(data: bytes, keep: Keep) -> bool:
    """What another reader makes of the result: the last look before it goes to a stranger."""
    with Image.open(io.BytesIO(data)) as image:
        exif = image.getexif()
        if exif.get_ifd(0x8825):
            return False
        return keep != Keep.NOTHING or not exif.get_ifd(0x8769)


# --- JPEG ---

_JFIF, _EXIF, _XMP = b"JFIF\0", b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
_ICC, _ADOBE = b"ICC_PROFILE\0", b"Adobe"
_SOS, _EOI, _APP0, _APP1, _APP2, _APP14, _COM = 0xDA, 0xD9, 0xE0, 0xE1, 0xE2, 0xEE, 0xFE


def _jpeg(data: bytes, keep: Keep) -> bytes:
    """Segment by segment up to the first end of image: what is stuck on behind (a film, a second
    picture with metadata of its own) is left out, and so are the segments that point to it."""
    if data[:2] != b"\xff\xd8":
        raise Damaged
    out = [data[:2]]
    position = 2
    while True:
        while data[position] == 0xFF and data[position + 1] == 0xFF:
            position += 1
        if data[position] != 0xFF:
            raise Damaged
        marker = data[position + 1]
        if marker == _EOI:
            out.append(b"\xff\xd9")
            return b"".join(out)
        (length,) = struct.unpack_from(">H", data, position + 2)
        end = position + 2 + length
        if length < 2 or end > len(data):
            raise Damaged
        body = data[position + 4 : end]
        kept = _segment(marker, body, keep)
        if kept is not None:
            out.append(struct.pack(">BBH", 0xFF, marker, len(kept) + 2) + kept)
        position = end
        if marker == _SOS:
            position = _end_of_scan(data, position)
            out.append(data[end:position])


def _segment(marker: int, body: bytes, keep: Keep) -> bytes | None:
    if not (_APP0 <= marker <= 0xEF or marker == _COM):
        if not _is_decoding(marker, body):
            raise Damaged
        return body
    if marker == _APP0 and body.startswith(_JFIF):
        # Without its thumbnail, which may show what was cut off the picture since.
        return body[:12] + b"\0\0"
    if (marker == _APP2 and body.startswith(_ICC)) or (
        marker == _APP14 and body.startswith(_ADOBE)
    ):
        return body
    if marker == _APP1 and body.startswith(_EXIF):
        if keep == Keep.NOTHING:
            tiff = only_orientation(body[len(_EXIF) :])
            return _EXIF + tiff if tiff else None
        return _EXIF + without_tags(body[len(_EXIF) :])
    if keep == Keep.NOTHING:
        return None
    if marker == _APP1 and body.startswith(_XMP) and not tells_of_a_place(body):
        return body
    return body if marker == _COM and not tells_of_a_place(body) else None


def _is_decoding(marker: int, body: bytes) -> bool:
    """Whether this is what a decoder needs, in full and with nothing else in it."""
    length = len(body)
    match marker:
        case 0xC4:  # Huffman tables: 16 counts and so many symbols each
            position = 0
            while position + 17 <= length:
                position += 17 + sum(body[position + 1 : position + 17])
            return position == length
        case 0xDB:  # quantization tables of 64 values of one byte or two
            position = 0
            while position < length:
                position += 129 if body[position] >> 4 else 65
            return position == length
        case 0xDD:  # restart interval
            return length == 2
        case 0xDA:  # a scan's head
            return length == 4 + 2 * body[0]
        case _:  # frames
            return 0xC0 <= marker <= 0xCF and marker != 0xC8 and length == 6 + 3 * body[5]


def _end_of_scan(data: bytes, position: int) -> int:
    """Where the next marker stands that does not belong to the compressed picture."""
    while True:
        position = data.index(0xFF, position)
        following = data[position + 1]
        if following == 0 or 0xD0 <= following <= 0xD7:
            position += 2
        elif following == 0xFF:
            position += 1
        else:
            return position


def tells_of_a_place(text: bytes) -> bool:
    # UTF-16 packets have a zero at every second byte.
    small = text.replace(b"\0", b"").lower()
    return any(word in small for word in _PLACE_WORDS)


# --- PNG ---

_PNG_HEAD = b"\x89PNG\r\n\x1a\n"
_PNG_KEPT = frozenset(
    b"IHDR PLTE IDAT IEND tRNS cHRM gAMA iCCP sBIT sRGB cICP mDCV cLLI bKGD hIST pHYs sPLT".split()
)
_PNG_TEXTS = frozenset([b"tEXt", b"zTXt", b"iTXt"])


def _png(data: bytes, keep: Keep) -> bytes:
    if not data.startswith(_PNG_HEAD):
        raise Damaged
    out = [_PNG_HEAD]
    for kind, body in _png_chunks(data):
        kept: bytes | None = body if kind in _PNG_KEPT else None
        if kind == b"eXIf":
            kept = only_orientation(body) if keep == Keep.NOTHING else without_tags(body)
        elif keep != Keep.NOTHING and kind == b"tIME":
            kept = body
        elif keep != Keep.NOTHING and kind == b"tEXt" and not tells_of_a_place(body):
            # Compressed texts and packed profiles may hold anything.
            kept = None if body.startswith((b"Raw profile", b"XML:")) else body
        if kept is not None:
            crc = zlib.crc32(kind + kept)
            out.append(struct.pack(">I", len(kept)) + kind + kept + struct.pack(">I", crc))
    return b"".join(out)


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    position = len(_PNG_HEAD)
    while True:
        length, kind = struct.unpack_from(">I4s", data, position)
        body = data[position + 8 : position + 8 + length]
        if len(body) != length:
            raise Damaged
        yield kind, body
        if kind == b"IEND":
            return
        position += 12 + length


# --- WebP ---

_WEBP_KEPT = frozenset([b"VP8 ", b"VP8L", b"ALPH", b"ICCP"])
_HAS_XMP, _HAS_EXIF = 0x04, 0x08


def _webp(data: bytes, keep: Keep) -> bytes:
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP":
        raise Damaged
    out: list[tuple[bytes, bytes]] = []
    for kind, body in _riff_chunks(data):
        if kind in _WEBP_KEPT or kind == b"VP8X":
            out.append((kind, body))
        elif kind == b"EXIF":
            tiff = body.removeprefix(_EXIF)
            kept = only_orientation(tiff) if keep == Keep.NOTHING else without_tags(tiff)
            if kept:
                out.append((kind, kept))
        elif kind == b"XMP " and keep != Keep.NOTHING and not tells_of_a_place(body):
            out.append((kind, body))
    kinds = {kind for kind, _ in out}
    if not kinds & {b"VP8 ", b"VP8L"}:
        raise Damaged  # Moving ones are refused at upload.
    body = b"".join(_riff_chunk(kind, _flags(kind, body, kinds)) for kind, body in out)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def _flags(kind: bytes, body: bytes, kinds: set[bytes]) -> bytes:
    """The header says what there is."""
    if kind != b"VP8X":
        return body
    flags = body[0] & ~(_HAS_XMP | _HAS_EXIF)
    flags |= _HAS_XMP * (b"XMP " in kinds) | _HAS_EXIF * (b"EXIF" in kinds)
    return bytes([flags]) + body[1:]


def _riff_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    end = min(len(data), 8 + struct.unpack_from("<I", data, 4)[0])
    position = 12
    while position + 8 <= end:
        kind, length = struct.unpack_from("<4sI", data, position)
        body = data[position + 8 : position + 8 + length]
        if len(body) != length:
            raise Damaged
        yield kind, body
        position += 8 + length + length % 2


def _riff_chunk(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


# --- TIFF ---


def _tiff(data: bytes, keep: Keep) -> bytes:
    return without_tags(data, all_of_them=keep == Keep.NOTHING)
