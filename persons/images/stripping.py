"""Originals for strangers: the same pixels without where they were taken, or without any metadata.

JPEG, PNG, WebP and TIFF are taken apart and put together again, mostly without encoding a pixel
anew. What is kept is what is known to be harmless; whatever is not known goes. Other formats, and
any file whose parts do not add up, come as a new JPEG or PNG, which never had any metadata.

Every reader shows the result upright: a turned JPEG says so in one EXIF block, which all obey; in
the other formats some readers obey what others don't, so there the pixels themselves are turned.
"""

from __future__ import annotations

import io
import logging
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from PIL import Image

from .colour import TURN, open_oriented
from .formats import FORMATS
from .keeping import Keep, kept_exif, kept_tables, kept_xmp, tells_of_a_place
from .metadata import EXIF_MARK, PNG_HEAD, XMP_MARK, metadata_of
from .opening import opened
from .tiff_pictures import COMPRESSION, DEFLATE, FILL_ORDER, JPEG, SHOWING, TiffPicture
from .tiffs import GPS, ORIENTATION, XMP, Damaged, Table, Tag, copied, one_of, written

log = logging.getLogger(__name__)

JPEG_QUALITY = 92
WEBP_QUALITY = 95


@dataclass(frozen=True, slots=True)
class Stripped:
    """`suffix` is what its name ends in, without a dot; `is_new` says that it was encoded anew."""

    data: bytes
    suffix: str
    is_new: bool = False


@dataclass(frozen=True, slots=True)
class _Kept:
    """What goes into the new file."""

    exif: bytes | None
    xmp: bytes | None
    keep: Keep | None
    """None for everything."""


LOSSLESS: Final = frozenset({"GIF", "BMP"})
"""Formats that come as PNG where they are encoded anew; the others as JPEG."""


def stripped_suffix(kind: str) -> str:
    """What the name of a stripped file of this format mostly ends in."""
    if kind in _TAKEN_APART:
        return FORMATS[kind].suffixes[0]
    return "png" if kind in LOSSLESS else "jpg"


def stripped(data: bytes, kind: str, keep: Keep) -> Stripped:
    """`kind` is the format as `inspect` names it. Raises ImageRefused where nothing can be read."""
    return _made(data, kind, keep)


def shared_whole(data: bytes, kind: str) -> Stripped:
    """The file as it is, with all that it says; one that readers turn differently is made upright
    for all. Raises ImageRefused where nothing can be read."""
    if _is_agreed(data, kind):
        return Stripped(data, FORMATS[kind].suffixes[0])
    return _made(data, kind, None)


def _made(data: bytes, kind: str, keep: Keep | None) -> Stripped:
    metadata = metadata_of(io.BytesIO(data), kind)
    if kind in _TAKEN_APART:
        try:
            is_turned = metadata.orientation != 1 and kind != "JPEG"
            source = _turned(data, kind) if is_turned or not _is_simple(data, kind) else data
            turn = metadata.orientation if kind == "JPEG" else 1
            kept = _Kept(kept_exif(metadata, keep, turn), kept_xmp(metadata, keep, turn), keep)
            clean = _TAKEN_APART[kind](source, kept)
            if _is_clean(clean, keep):
                return Stripped(clean, FORMATS[kind].suffixes[0], is_new=source is not data)
        except Exception as error:  # noqa: BLE001
            # As in `opening`: on bytes that make no sense, Pillow raises nearly everything.
            log.info("a %s is encoded anew: %r", kind, error)
    out = io.BytesIO()
    image = open_oriented(io.BytesIO(data))
    if kind in LOSSLESS:
        image.save(out, "PNG")
        return Stripped(out.getvalue(), "png", is_new=True)
    image.save(out, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return Stripped(out.getvalue(), "jpg", is_new=True)


def _is_agreed(data: bytes, kind: str) -> bool:
    """Whether every reader shows a file the same way up as it is."""
    if kind == "JPEG":
        return metadata_of(io.BytesIO(data), kind).is_plain
    with opened(io.BytesIO(data)) as source:
        return source.orientation == 1 or kind == "AVIF"


def _is_simple(data: bytes, kind: str) -> bool:
    """Whether the picture can be taken over as it is coded."""
    if kind != "TIFF":
        return True
    picture = TiffPicture(data)
    picture.check()
    return picture.compression == JPEG or picture.decompresses


def _turned(data: bytes, kind: str) -> bytes:
    """The same picture in the same format, the right way up by its pixels."""
    options: dict[str, Any] = {}
    if kind == "WEBP":
        options = {"quality": WEBP_QUALITY, "lossless": b"VP8L" in data[:4096]}
    elif kind == "TIFF":
        options = {"compression": "tiff_adobe_deflate"}
    with opened(io.BytesIO(data)) as source:
        image = source.pixels()
        profile = image.info.get("icc_profile")
        if source.orientation != 1:
            image = image.transpose(TURN[source.orientation])
        out = io.BytesIO()
        image.info = {name: value for name, value in image.info.items() if name == "transparency"}
        image.save(out, kind, icc_profile=profile, **options)
    return out.getvalue()


def _is_clean(data: bytes, keep: Keep | None) -> bool:
    """What another reader makes of the result: the last look before it goes to a stranger."""
    with Image.open(io.BytesIO(data)) as image:
        exif = image.getexif()
        if keep is not None and exif.get_ifd(GPS):
            return False
        return keep is not Keep.NOTHING or not exif.get_ifd(0x8769)


# --- JPEG ---

_JFIF, _ICC, _ADOBE = b"JFIF\0", b"ICC_PROFILE\0", b"Adobe"
_SOS, _EOI, _APP0, _APP1, _APP2, _APP14, _COM = 0xDA, 0xD9, 0xE0, 0xE1, 0xE2, 0xEE, 0xFE
_LONGEST_SEGMENT = 65_533


def _jpeg(data: bytes, kept: _Kept) -> bytes:
    out = _jpeg_picture(data)
    own = []
    for mark, body in ((EXIF_MARK, kept.exif), (XMP_MARK, kept.xmp)):
        if body and len(mark) + len(body) <= _LONGEST_SEGMENT:
            length = len(mark) + len(body) + 2
            own.append(struct.pack(">BBH", 0xFF, _APP1, length) + mark + body)
    # JFIF's segment has to be the first.
    at = 2 if len(out) > 1 and out[1][:2] == bytes([0xFF, _APP0]) else 1
    return b"".join([*out[:at], *own, *out[at:]])


def _jpeg_picture(data: bytes) -> list[bytes]:
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
            return out
        (length,) = struct.unpack_from(">H", data, position + 2)
        end = position + 2 + length
        if length < 2 or end > len(data):
            raise Damaged
        body = data[position + 4 : end]
        kept = _segment(marker, body)
        if kept is not None:
            out.append(struct.pack(">BBH", 0xFF, marker, len(kept) + 2) + kept)
        position = end
        if marker == _SOS:
            position = _end_of_scan(data, position)
            out.append(data[end:position])


def _segment(marker: int, body: bytes) -> bytes | None:
    if not (_APP0 <= marker <= 0xEF or marker == _COM):
        if not _is_decoding(marker, body):
            raise Damaged
        return body
    if marker == _APP0 and body.startswith(_JFIF):
        # Without its thumbnail, which may show what was cut off the picture since.
        return body[:12] + b"\0\0"
    if marker == _APP2 and body.startswith(_ICC):
        return body
    return body[:12] if marker == _APP14 and body.startswith(_ADOBE) else None


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


# --- PNG ---

_PNG_KEPT: Final = {
    b"IHDR": 13, b"PLTE": 768, b"IEND": 0, b"tRNS": 256, b"cHRM": 32, b"gAMA": 4,
    b"iCCP": 4_000_000, b"sBIT": 4, b"sRGB": 1, b"cICP": 4, b"mDCV": 24, b"cLLI": 8, b"bKGD": 6,
    b"pHYs": 9,
}  # fmt: skip
"""What a decoder needs or may use, and how long it can be."""
_PNG_WORDS: Final = frozenset({b"Author", b"Artist", b"Copyright", b"Creation Time", b"Software"})


def _png(data: bytes, kept: _Kept) -> bytes:
    if not data.startswith(PNG_HEAD):
        raise Damaged
    out = [PNG_HEAD]
    pixels: list[bytes] = []
    for kind, body in _png_chunks(data):
        if kind == b"IDAT":
            pixels.append(body)
        elif kind == b"IEND":
            out += [_png_chunk(b"IDAT", one) for one in _png_pixels(pixels)]
            if kept.xmp:
                out.append(_png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + kept.xmp))
            out.append(_png_chunk(kind, b""))
        elif len(body) <= _PNG_KEPT.get(kind, -1):
            out.append(_png_chunk(kind, body))
            if kind == b"IHDR" and kept.exif:
                out.append(_png_chunk(b"eXIf", kept.exif))
        elif kept.keep != Keep.NOTHING and _is_png_detail(kind, body):
            out.append(_png_chunk(kind, body))
    return b"".join(out)


def _is_png_detail(kind: bytes, body: bytes) -> bool:
    if kind == b"tIME":
        return len(body) == 7
    word, _, text = body.partition(b"\0")
    return kind == b"tEXt" and word in _PNG_WORDS and not tells_of_a_place(text)


def _png_pixels(parts: list[bytes]) -> list[bytes]:
    """The compressed picture, without what stands behind its end."""
    unpacker = zlib.decompressobj()
    for index, part in enumerate(parts):
        rest = part
        while rest and not unpacker.eof:
            unpacker.decompress(rest, 1 << 20)
            rest = unpacker.unconsumed_tail
        if unpacker.eof:
            end = len(part) - len(unpacker.unused_data)
            return [*parts[:index], part[:end]]
    raise Damaged


def _png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    position = len(PNG_HEAD)
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

_WEBP_KEPT = frozenset([b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ICCP"])
_HAS_XMP, _HAS_EXIF = 0x04, 0x08


def _webp(data: bytes, kept: _Kept) -> bytes:
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP":
        raise Damaged
    picture = [part for part in _riff_chunks(data) if part[0] in _WEBP_KEPT]
    kinds = {kind for kind, _ in picture}
    if not kinds & {b"VP8 ", b"VP8L"}:
        raise Damaged  # Moving ones come as a new picture.
    own = [(b"EXIF", kept.exif), (b"XMP ", kept.xmp)]
    chunks = picture + [(kind, body) for kind, body in own if body]
    if len(chunks) > len(picture) and b"VP8X" not in kinds:
        chunks.insert(0, (b"VP8X", _webp_canvas(data)))
    kinds = {kind for kind, _ in chunks}
    body = b"".join(_riff_chunk(kind, _flags(kind, body, kinds)) for kind, body in chunks)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def _webp_canvas(data: bytes) -> bytes:
    """The head that a file needs which has more in it than its picture."""
    with Image.open(io.BytesIO(data), formats=["WEBP"]) as image:
        width, height = (side - 1 for side in image.size)
        alpha = 0x10 if image.mode == "RGBA" else 0
    return bytes([alpha, 0, 0, 0]) + width.to_bytes(3, "little") + height.to_bytes(3, "little")


def _flags(kind: bytes, body: bytes, kinds: set[bytes]) -> bytes:
    """The header says what there is."""
    if kind != b"VP8X":
        return body
    flags = body[0] & ~(_HAS_XMP | _HAS_EXIF)
    flags |= _HAS_XMP * (b"XMP " in kinds) | _HAS_EXIF * (b"EXIF" in kinds)
    return bytes([flags]) + body[1:10]


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


def _tiff(data: bytes, kept: _Kept) -> bytes:
    """The first page alone. Its strips or tiles hold nothing but its pixels."""
    picture = TiffPicture(data)
    table = copied(picture.table, SHOWING)
    order = picture.order
    below: dict[int, Table] = {}
    if kept.exif:
        exif_order, main, below = kept_tables(kept.exif, None)
        if exif_order != order:
            raise Damaged
        table = main | table
    if picture.compression == JPEG:
        chunks = [b"".join(_jpeg_picture(part)) for part in picture.parts()]
        if 0x015B in table:
            tables = b"".join(_jpeg_picture(table[0x015B].raw))
            table[0x015B] = Tag(7, len(tables), tables)
    else:
        chunks = [zlib.compress(chunk.data) for chunk in picture.chunks()]
        table[COMPRESSION] = one_of(DEFLATE, order=order)
        table.pop(FILL_ORDER, None)
    table.pop(ORIENTATION, None)
    if kept.xmp:
        table[XMP] = Tag(1, len(kept.xmp), kept.xmp)
    return written(table, order=order, below=below, chunks=chunks, is_tiled=picture.is_tiled)


_TAKEN_APART: Final[dict[str, Callable[[bytes, _Kept], bytes]]] = {
    "JPEG": _jpeg,
    "PNG": _png,
    "WEBP": _webp,
    "TIFF": _tiff,
}
