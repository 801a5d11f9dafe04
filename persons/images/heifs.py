"""Parses the boxes of a HEIC or AVIF file: the main picture's items, and whether all are present.

libheif silently fills tiles it can't decode, so a truncated file would pass as whole, green or
black where data is missing. Source: ISO/IEC 14496-12 (boxes), 23008-12 (items).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from .tiffs import Damaged

_CONTAINERS: Final = frozenset({b"iprp", b"ipco", b"dinf"})
_MOST_ITEMS: Final = 5000
_DEEPEST: Final = 8
_BLANK = re.compile(rb"\0{16}|\xff{64}")
"""Bytes that were never written. An HEVC unit can't hold three consecutive zero bytes, and its
arithmetic code has no long runs of ones."""
CODECS: Final = {
    b"avc1": "AVC (H.264)",
    b"vvc1": "VVC (H.266)",
    b"evc1": "EVC",
    b"lhv1": "layered HEVC",
    b"jpeg": "JPEG",
    b"j2k1": "JPEG 2000",
    b"unci": "uncompressed pixels",
    b"mski": "a mask",
    b"tili": "tiles of a new kind",
}
"""Codec name by item type, for pictures that are neither HEVC nor AV1."""


@dataclass(slots=True)
class Item:
    kind: bytes = b""
    content_type: bytes = b""
    extents: list[tuple[int, int]] = field(default_factory=list)
    """Position and length of each extent, in bytes."""
    method: int = 0
    """Base of the positions: 0 the file, 1 the `idat` box, 2 another item."""
    properties: list[tuple[bytes, bytes]] = field(default_factory=list)
    made_of: list[int] = field(default_factory=list)
    """Ids of the items it is derived from, such as the tiles of a grid."""


class Heif:
    """The parsed `meta` box. Raises Damaged if it is inconsistent or truncated."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.brands: frozenset[bytes] = frozenset()
        self.items: dict[int, Item] = {}
        self.primary = 0
        self.alpha_of: dict[int, list[int]] = {}
        self._idat = (0, 0)
        meta = None
        for kind, start, end in _boxes(data, 0, len(data)):
            if kind == b"ftyp":
                marks = data[start:end]
                self.brands = frozenset(marks[i : i + 4] for i in (0, *range(8, len(marks) - 3, 4)))
            elif kind == b"meta" and meta is None:
                meta = start + 4, end
        if meta is None:
            raise Damaged("no meta box")
        if meta[1] > len(data):
            raise Damaged("the meta box is cut off")
        self._read_meta(*meta)

    # --- Reading ---

    def _read_meta(self, start: int, end: int) -> None:
        parts = {kind: (at, to) for kind, at, to in _boxes(self.data, start, end)}
        if b"pitm" in parts:
            reader = _Reader(self.data, *parts[b"pitm"])
            version = reader.number(4) >> 24
            self.primary = reader.number(2 if version == 0 else 4)
        self._idat = parts.get(b"idat", (0, 0))
        if b"iinf" in parts:
            self._read_infos(*parts[b"iinf"])
        if b"iloc" in parts:
            self._read_places(_Reader(self.data, *parts[b"iloc"]))
        if b"iref" in parts:
            self._read_references(*parts[b"iref"])
        if b"iprp" in parts:
            self._read_properties(*parts[b"iprp"])

    def _item(self, number: int) -> Item:
        if len(self.items) > _MOST_ITEMS:
            raise Damaged("too many items")
        return self.items.setdefault(number, Item())

    def _read_infos(self, start: int, end: int) -> None:
        reader = _Reader(self.data, start, end)
        reader.skip(2 if reader.number(4) >> 24 == 0 else 4)
        for kind, at, to in _boxes(self.data, reader.at, end):
            if kind != b"infe":
                continue
            info = _Reader(self.data, at, to)
            version = info.number(4) >> 24
            if version < 2:
                continue
            item = self._item(info.number(2 if version == 2 else 4))
            info.skip(2)
            item.kind = info.take(4)
            if item.kind == b"mime":
                texts = self.data[info.at : to].split(b"\0")
                item.content_type = texts[1] if len(texts) > 1 else b""

    def _read_places(self, reader: _Reader) -> None:
        version = reader.number(4) >> 24
        sizes = reader.number(2)
        offset_size, length_size = sizes >> 12, sizes >> 8 & 15
        base_size, index_size = sizes >> 4 & 15, sizes & 15 if version in (1, 2) else 0
        for _ in range(reader.number(2 if version < 2 else 4)):
            item = self._item(reader.number(2 if version < 2 else 4))
            item.method = reader.number(2) & 15 if version in (1, 2) else 0
            reader.skip(2)
            base = reader.number(base_size)
            for _ in range(reader.number(2)):
                reader.skip(index_size)
                at = base + reader.number(offset_size)
                item.extents.append((at, reader.number(length_size)))

    def _read_references(self, start: int, end: int) -> None:
        width = 2 if _Reader(self.data, start, end).number(4) >> 24 == 0 else 4
        for kind, at, to in _boxes(self.data, start + 4, end):
            reader = _Reader(self.data, at, to)
            source = reader.number(width)
            targets = [reader.number(width) for _ in range(reader.number(2))]
            if kind == b"dimg":
                self._item(source).made_of.extend(targets)
            elif kind == b"auxl":
                for target in targets:
                    self.alpha_of.setdefault(target, []).append(source)

    def _read_properties(self, start: int, end: int) -> None:
        parts = list(_boxes(self.data, start, end))
        container = next((part for part in parts if part[0] == b"ipco"), None)
        if container is None:
            return
        properties = [
            (kind, self.data[at:to]) for kind, at, to in _boxes(self.data, *container[1:])
        ]
        for kind, at, to in parts:
            if kind != b"ipma":
                continue
            reader = _Reader(self.data, at, to)
            head = reader.number(4)
            is_wide = bool(head & 1)
            for _ in range(reader.number(4)):
                item = self._item(reader.number(2 if head >> 24 == 0 else 4))
                for _ in range(reader.number(1)):
                    index = reader.number(2) & 0x7FFF if is_wide else reader.number(1) & 0x7F
                    if 0 < index <= len(properties):
                        item.properties.append(properties[index - 1])

    # --- What it says ---

    def bytes_of(self, item: Item) -> bytes:
        """The item's whole content. Raises Damaged if part of it is missing from the file."""
        found = []
        base, limit = 0, len(self.data)
        if item.method == 1:
            base, limit = self._idat
        elif item.method != 0:
            raise Damaged("an item within an item")
        for at, length in item.extents:
            start = base + at
            end = start + length if length else limit
            if start > limit or end > limit:
                raise Damaged("an item lies beyond the end")
            found.append(self.data[start:end])
        return b"".join(found)

    def pieces(self) -> Iterator[Item]:
        """The items that the main picture consists of, down to those that hold pixels."""
        todo, seen = [(self.primary, 0)], set()
        while todo:
            number, depth = todo.pop()
            if number in seen:
                continue
            seen.add(number)
            item = self.items.get(number)
            if item is None or depth > _DEEPEST:
                raise Damaged("a piece of the picture is missing")
            yield item
            todo += [(one, depth + 1) for one in item.made_of]

    @property
    def codec(self) -> str:
        """Name of the codec if it is one that can't be read here."""
        kinds = (item.kind for item in self.pieces())
        return next((CODECS[kind] for kind in kinds if kind in CODECS), "")

    @property
    def is_deep(self) -> bool:
        """Whether any AV1 item has more than 8 bits per sample, or doesn't say."""
        found = [
            body[2] & 0x40
            for item in self.pieces()
            for kind, body in item.properties
            if kind == b"av1C" and len(body) > 2
        ]
        return not found or any(found)

    @property
    def is_turned(self) -> bool:
        """Whether the container declares the orientation, as it should."""
        main = self.items.get(self.primary, Item())
        return any(kind in (b"irot", b"imir") for kind, _ in main.properties)

    @property
    def trusts_exif(self) -> bool:
        """Whether EXIF orientation applies when the container declares none. Apple's viewers apply
        it, except for files of the "miaf" brand, which forbids it."""
        return not self.is_turned and b"miaf" not in self.brands

    def metadata(self) -> tuple[list[bytes], list[bytes]]:
        """The readable EXIF blocks and XMP packets."""
        exif, xmp = [], []
        for item in self.items.values():
            try:
                if item.kind == b"Exif":
                    block = self.bytes_of(item)
                    start = 4 + int.from_bytes(block[:4], "big")
                    exif.append(block[start:].removeprefix(b"Exif\0\0"))
                elif item.content_type == b"application/rdf+xml":
                    xmp.append(self.bytes_of(item))
            except Damaged:
                continue
        return exif, xmp

    def check(self) -> None:
        """Raise Damaged unless every item of the main picture is present and consistent."""
        for item in self.pieces():
            if item.kind in (b"hvc1", b"av01"):
                if not item.extents:
                    raise Damaged("a piece without a place")
                data = self.bytes_of(item)
                if item.kind == b"hvc1":
                    _check_units(data, self._length_size(item))
                elif len(set(data[-64:])) < 2 and data[-1:] in (b"", b"\0", b"\xff"):
                    raise Damaged("a blank piece")
            elif item.kind == b"grid":
                self._check_grid(item)

    def _check_grid(self, item: Item) -> None:
        grid = self.bytes_of(item)
        if len(grid) < 8 or len(item.made_of) < (grid[2] + 1) * (grid[3] + 1):
            raise Damaged("tiles are missing")

    @staticmethod
    def _length_size(item: Item) -> int:
        for kind, body in item.properties:
            if kind == b"hvcC" and len(body) > 21:
                return (body[21] & 3) + 1
        return 4


def _check_units(data: bytes, length_size: int) -> None:
    """Check that HEVC units, chained by their lengths, end exactly at the end of the item."""
    at, has_picture = 0, False
    while at < len(data):
        length = int.from_bytes(data[at : at + length_size], "big")
        at += length_size
        if length < 2 or at + length > len(data) or data[at] & 0x80:
            raise Damaged("units of the picture don't add up")
        kind = data[at] >> 1
        if kind < 32:
            has_picture = True
            if _BLANK.search(data, at, at + length):
                raise Damaged("a part of the picture is blank")
        at += length
    if not has_picture:
        raise Damaged("a piece without a picture")


class _Reader:
    """Reads consecutive numbers, never beyond the end."""

    def __init__(self, data: bytes, start: int, end: int) -> None:
        self._data, self.at, self._end = data, start, end

    def take(self, size: int) -> bytes:
        if self.at + size > self._end:
            raise Damaged("a box is too short")
        self.at += size
        return self._data[self.at - size : self.at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def skip(self, size: int) -> None:
        self.take(size)


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Type, start and end of each box's content. In a truncated file the end may lie beyond it."""
    at = start
    for _ in range(_MOST_ITEMS * 2):
        if at + 8 > min(end, len(data)):
            return
        size, head = int.from_bytes(data[at : at + 4], "big"), 8
        kind = data[at + 4 : at + 8]
        if size == 1:
            size, head = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        elif size == 0:
            size = end - at
        if size < head:
            return
        yield kind, at + head, at + size
        at += size
