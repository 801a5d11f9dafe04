"""The first picture in a TIFF file: its kind, and its decompressed strips and tiles.

Pillow reads only part of TIFF and silently shows some of the rest wrong. So tables and samples are
parsed here. Pillow supplies byte codecs (LZW, Deflate, PackBits, Zstandard, LZMA), and decodes
whole pictures only for image codecs (fax, JPEG). Unknown kinds are refused by name.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from PIL import Image

from .tiffs import (
    BYTE,
    ICC,
    LONG,
    ORIENTATION,
    SHORT,
    STRIP_COUNTS,
    STRIP_OFFSETS,
    TILE_COUNTS,
    TILE_OFFSETS,
    XMP,
    Damaged,
    Table,
    Tiff,
    copied,
    integers_tag,
    one_of,
    written,
)

WIDTH, LENGTH, BITS, COMPRESSION, PHOTOMETRIC = 0x0100, 0x0101, 0x0102, 0x0103, 0x0106
FILL_ORDER, PER_PIXEL, ROWS_PER_STRIP, PLANAR = 0x010A, 0x0115, 0x0116, 0x011C
PREDICTOR, COLOUR_MAP, TILE_WIDTH, TILE_LENGTH = 0x013D, 0x0140, 0x0142, 0x0143
INK_SET, EXTRA_SAMPLES, SAMPLE_FORMAT = 0x014C, 0x0152, 0x0153
JPEG_TABLES, COEFFICIENTS, SUBSAMPLING, BLACK_WHITE = 0x015B, 0x0211, 0x0212, 0x0214

SHOWING: Final = frozenset(
    {
        *range(WIDTH, PHOTOMETRIC + 1), 0x0107, 0x0108, 0x0109, FILL_ORDER, PER_PIXEL,
        ROWS_PER_STRIP, 0x0118, 0x0119, 0x011A, 0x011B, PLANAR, 0x0122, 0x0123, 0x0124, 0x0125,
        0x0128, 0x012D, PREDICTOR, 0x013E, 0x013F, COLOUR_MAP, TILE_WIDTH, TILE_LENGTH, INK_SET,
        0x014E, 0x0150, EXTRA_SAMPLES, SAMPLE_FORMAT, 0x0154, 0x0155, 0x0156, JPEG_TABLES,
        COEFFICIENTS, SUBSAMPLING, 0x0213, BLACK_WHITE, ICC,
    }
)  # fmt: skip
"""Tags needed to show a picture correctly, except those that locate its data."""

_BLOBS: Final = frozenset({JPEG_TABLES, ICC})

NONE, LZW, JPEG, DEFLATE, OLD_DEFLATE, PACK_BITS = 1, 5, 7, 8, 32946, 32773
OLD_JPEG: Final = 6
_BY_BYTES: Final = frozenset({NONE, LZW, DEFLATE, OLD_DEFLATE, PACK_BITS, 34925, 50000})
_FAX: Final = frozenset({2, 3, 4})
_NAMES: Final = {
    34712: "JPEG 2000", 34887: "LERC", 50001: "WebP", 50002: "JPEG XL", 34892: "lossy JPEG (DNG)",
    33003: "JPEG 2000", 33005: "JPEG 2000", 34676: "LogLuv", 34677: "LogLuv", 32809: "ThunderScan",
    32766: "NeXT", 32895: "CT", 32908: "Pixar", 32909: "Pixar", 34661: "JBIG", 9: "JBIG",
}  # fmt: skip
COLOURS: Final = {0: 1, 1: 1, 2: 3, 3: 1, 5: 4, 6: 3, 8: 3, 9: 3}
"""Colour samples per pixel, by photometric interpretation: white is zero, black is zero, RGB,
palette, CMYK, YCbCr, CIE L*a*b* and ICC L*a*b*."""
_RAW: Final = frozenset({32803, 34892})
_MOST_BYTES: Final = 200_000_000
"""Limit for one strip or tile: Pillow opens that many bytes as grey pixels."""
_BATCH: Final = 16_000_000
_MOST_SAMPLES: Final = 600_000_000
"""Limit for all samples in bytes: 100 megapixels in three colours of 16 bits."""
_REVERSED: Final = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class Unknown(Exception):
    """An unsupported kind of TIFF; the message names it, as in "a TIFF with ..."."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """One strip or tile: its position, and how much of it belongs to the picture."""

    left: int
    top: int
    band: int | None
    """The one band it holds; None if it holds all."""
    width: int
    height: int
    data: bytes


class TiffPicture:
    """The first page of a TIFF. Raises Damaged where its tables don't add up."""

    def __init__(self, data: bytes) -> None:
        self.tiff = tiff = Tiff(data)
        self.table: Table = tiff.table(tiff.first)
        self.order = tiff.order
        self.width, self.height = self.number(WIDTH, 0), self.number(LENGTH, 0)
        if not self.width or not self.height:
            raise Damaged("no size")
        self.per_pixel = self.number(PER_PIXEL, 1)
        self.bits = self._same(BITS, 1)
        self.format = self._same(SAMPLE_FORMAT, 1)
        self.compression = self.number(COMPRESSION, 1)
        self.photometric = self.number(PHOTOMETRIC, 1)
        self.planar = self.number(PLANAR, 1) == 2 and self.per_pixel > 1
        self.predictor = self.number(PREDICTOR, 1)
        self.is_tiled = TILE_OFFSETS in self.table

    def number(self, tag: int, default: int) -> int:
        values = self.numbers(tag)
        return values[0] if values else default

    def numbers(self, tag: int) -> tuple[int, ...]:
        found = self.table.get(tag)
        return found.integers(self.order) if found else ()

    def fractions(self, tag: int) -> tuple[float, ...]:
        found = self.table.get(tag)
        return found.rationals(self.order) if found else ()

    def _same(self, tag: int, default: int) -> int:
        """The value that a tag has for every sample; -1 if samples differ."""
        values = set(self.numbers(tag)[: max(1, self.per_pixel)]) or {default}
        return values.pop() if len(values) == 1 else -1

    @property
    def has_extra(self) -> bool:
        """Whether there are samples besides the colours, such as alpha."""
        return EXTRA_SAMPLES in self.table

    @property
    def is_raw(self) -> bool:
        """Whether it is a raw file: a TIFF that begins with a small preview, useless for
        detection."""
        return bool(0xC612 in self.table or self.number(0x00FE, 0) & 1 or self.photometric in _RAW)

    @property
    def has_more_pages(self) -> bool:
        return self.tiff.next_of(self.tiff.first) != 0

    @property
    def xmp(self) -> bytes:
        return self.table[XMP].raw if XMP in self.table else b""

    # --- What it is ---

    def check(self) -> None:
        """Raise Unknown for an unsupported kind."""
        if self.compression in _FAX:
            if self.bits != 1 or self.per_pixel != 1 or self.photometric not in (0, 1):
                raise Unknown("a TIFF with fax compression of more than black and white")
        elif self.compression in (JPEG, OLD_JPEG):
            if self.bits != 8 or self.planar or self.photometric not in (1, 2, 5, 6):
                depth = f"{self.bits}-bit " if self.bits > 0 and self.bits != 8 else ""
                kind = "planes" if self.planar else "samples"
                raise Unknown(f"a TIFF with {depth}JPEG compression of {kind} of an unusual kind")
        elif self.compression not in _BY_BYTES:
            name = _NAMES.get(self.compression, f"compression {self.compression}")
            raise Unknown(f"a TIFF with {name} compression")
        else:
            self._check_samples()

    def _check_samples(self) -> None:
        if self.width * self.height * self.per_pixel * abs(self.bits) // 8 > _MOST_SAMPLES:
            raise Unknown("a TIFF with more than 600 MB of samples")
        colours = COLOURS.get(self.photometric)
        if colours is None:
            raise Unknown(f"a TIFF with colours of kind {self.photometric}")
        if self.per_pixel < colours or self.per_pixel > 16:
            raise Unknown(f"a TIFF with {self.per_pixel} samples a pixel")
        if self.bits == -1 or self.format == -1:
            raise Unknown("a TIFF whose samples differ in kind or depth")
        known = {
            1: set(range(1, 17)) | {32},
            2: {8, 16, 32},
            3: {16, 32, 64},
            4: set(range(1, 17)) | {32},
        }
        if self.bits not in known.get(self.format, ()):
            kind = {2: "signed", 3: "floating point", 5: "complex", 6: "complex"}
            raise Unknown(f"a TIFF with {self.bits}-bit {kind.get(self.format, '')} samples")
        self._check_colours()
        self._check_predictor()

    def _check_colours(self) -> None:
        """Whether samples of this depth can be these colours."""
        if self.photometric == 3 and (self.bits > 8 or self.format != 1):
            raise Unknown("a TIFF with a palette of more than 256 colours")
        if self.photometric in (6, 8, 9) and (self.bits not in (8, 16) or self.format == 3):
            raise Unknown(f"a TIFF with {self.bits}-bit Lab or YCbCr colours")
        if self.photometric == 6 and (self.bits != 8 or self.per_pixel != 3):
            raise Unknown("a TIFF with YCbCr colours of more than 8 bits")
        if self.photometric == 6 and self.planar and self.subsampling != (1, 1):
            raise Unknown("a TIFF with separate YCbCr planes")
        if self.photometric == 5 and self.number(INK_SET, 1) != 1:
            raise Unknown("a TIFF with inks that are not CMYK")

    def _check_predictor(self) -> None:
        if self.predictor not in (1, 2, 3) or (
            self.predictor == 2 and self.bits not in (8, 16, 32)
        ):
            raise Unknown(f"a TIFF with predictor {self.predictor} on {self.bits} bits")
        if self.predictor == 2 and self.format == 3:
            raise Unknown("a TIFF with differences of floating point numbers")
        if self.predictor == 3 and self.format != 3:
            raise Unknown("a TIFF with predictor 3 on whole numbers")

    @property
    def subsampling(self) -> tuple[int, int]:
        across, down = (*self.numbers(SUBSAMPLING), 2, 2)[:2]
        if across not in (1, 2, 4) or down not in (1, 2, 4):
            raise Damaged("subsampling")
        return across, down

    @property
    def decompresses(self) -> bool:
        """Whether `chunks` can decompress its parts, which image codecs don't allow."""
        return self.compression in _BY_BYTES

    # --- Its parts ---

    def parts(self) -> list[bytes]:
        """Its strips or tiles as stored, still compressed."""
        offsets = self.numbers(TILE_OFFSETS if self.is_tiled else STRIP_OFFSETS)
        sizes = self.numbers(TILE_COUNTS if self.is_tiled else STRIP_COUNTS)
        if not offsets or (len(sizes) != len(offsets) and self.compression != NONE):
            raise Damaged("its parts are not listed")
        needed = self._grid_size()
        if len(offsets) < needed:
            raise Damaged("parts are missing")
        found = []
        for index, at in enumerate(offsets[:needed]):
            size = sizes[index] if index < len(sizes) else 0
            if self.compression == NONE and self.photometric != 6:
                # Wrong sizes are common there, and not needed.
                size = self._bytes_of(*self._size_of(index))
            if not at or not size or at + size > len(self.tiff.data):
                raise Damaged("a part lies beyond the end")
            found.append(self.tiff.data[at : at + size])
        return found

    def _chunk_size(self) -> tuple[int, int]:
        if self.is_tiled:
            width, height = self.number(TILE_WIDTH, 0), self.number(TILE_LENGTH, 0)
        else:
            width, height = self.width, min(self.number(ROWS_PER_STRIP, self.height), self.height)
        if not 0 < width <= 1 << 16 or not 0 < height <= 1 << 16:
            raise Damaged("parts without a size")
        return width, height

    def _across_down(self) -> tuple[int, int]:
        width, height = self._chunk_size()
        return -(-self.width // width), -(-self.height // height)

    def _grid_size(self) -> int:
        across, down = self._across_down()
        return across * down * (self.per_pixel if self.planar else 1)

    def _size_of(self, index: int) -> tuple[int, int]:
        """Width and height of a part: the last strip has the remaining rows, a tile is always
        whole."""
        width, height = self._chunk_size()
        if not self.is_tiled:
            _, down = self._across_down()
            height = min(height, self.height - index % down * height)
        return width, height

    def _row_bytes(self, width: int) -> int:
        bands = 1 if self.planar else self.per_pixel
        return (width * bands * self.bits + 7) // 8

    def _bytes_of(self, width: int, height: int) -> int:
        if self.photometric == 6 and not self.planar:
            across, down = self.subsampling
            return -(-width // across) * -(-height // down) * (across * down + 2)
        return self._row_bytes(width) * height

    def chunks(self) -> Iterator[Chunk]:
        """Its parts decompressed, each of exactly the expected length."""
        across, down = self._across_down()
        width, height = self._chunk_size()
        for index, data in enumerate(self._decompressed(self.parts())):
            band, place = divmod(index, across * down)
            needed = self._bytes_of(*self._size_of(index))
            if len(data) < needed:
                raise Damaged("a part is too short")
            yield Chunk(
                place % across * width,
                place // across * height,
                band if self.planar else None,
                *self._size_of(index),
                data[:needed],
            )

    def _decompressed(self, parts: list[bytes]) -> Iterator[bytes]:
        is_reversed = self.number(FILL_ORDER, 1) == 2
        if self.compression in (NONE, DEFLATE, OLD_DEFLATE):
            for index, part in enumerate(parts):
                data = part.translate(_REVERSED) if is_reversed else part
                needed = self._bytes_of(*self._size_of(index))
                yield data if self.compression == NONE else _inflated(data, needed)
            return
        for start, end in self._batches(len(parts)):
            yield from self._by_pillow(parts, start, end)

    def _batches(self, count: int) -> Iterator[tuple[int, int]]:
        """Index ranges of parts to decode together: some megabytes, all of one height except the
        last."""
        start, size = 0, 0
        for index in range(count):
            size += self._bytes_of(*self._size_of(index))
            is_last = index + 1 == count or self._size_of(index + 1) != self._size_of(start)
            if size > _MOST_BYTES:
                raise Unknown("a TIFF that is stored in one piece of more than 200 MB")
            if is_last or size > _BATCH:
                yield start, index + 1
                start, size = index + 1, 0

    def _by_pillow(self, parts: list[bytes], start: int, end: int) -> Iterator[bytes]:
        """Decompress parts by stacking them as one grey picture: the codec ignores what bytes
        mean."""
        _, high = self._size_of(start)
        sizes = [self._bytes_of(*self._size_of(index)) for index in range(start, end)]
        width = sizes[0] // high if sizes[0] % high == 0 else sizes[0]
        rows = sizes[0] // width
        table = {
            WIDTH: one_of(width, kind=LONG),
            LENGTH: one_of(rows * len(sizes), kind=LONG),
            BITS: one_of(8),
            COMPRESSION: one_of(self.compression),
            PHOTOMETRIC: one_of(1),
            FILL_ORDER: one_of(self.number(FILL_ORDER, 1)),
            PER_PIXEL: one_of(1),
            ROWS_PER_STRIP: one_of(rows, kind=LONG),
        }
        grey = io.BytesIO(written(table, order="<", chunks=parts[start:end]))
        with Image.open(grey, formats=["TIFF"]) as image:
            data = image.tobytes()
        for index in range(len(sizes)):
            yield data[index * sizes[0] : (index + 1) * sizes[0]]

    def for_pillow(self) -> bytes:
        """A minimal file with this picture alone, so that Pillow does nothing besides decoding
        it."""
        if self.compression == OLD_JPEG:
            # The JPEG tables may be anywhere in the file and refer to offsets in it.
            if self.number(ORIENTATION, 1) != 1 or XMP in self.table:
                raise Unknown("a turned TIFF with JPEG compression of the old kind")
            return self.tiff.data
        return self.copy(SHOWING, self.parts())

    def copy(self, tags: frozenset[int], chunks: list[bytes]) -> bytes:
        """A classic TIFF of this page with only these tags and parts."""
        table = copied(self.table, tags)
        for number, tag in table.items():
            # Some programs write numbers as bytes, which libtiff does not read.
            if tag.kind == BYTE and number not in _BLOBS:
                table[number] = integers_tag(tag.integers(self.order), kind=SHORT, order=self.order)
        return written(table, order=self.order, chunks=chunks, is_tiled=self.is_tiled)


def _inflated(data: bytes, needed: int) -> bytes:
    try:
        return zlib.decompressobj().decompress(data, needed)
    except zlib.error as error:
        raise Damaged("compressed wrong") from error
