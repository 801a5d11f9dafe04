"""Reads and writes TIFF tag tables, which EXIF uses too.

Reading is bounded by the file: every count and offset is checked before use. Files are never
edited in place, so data that no table refers to is never copied.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

GPS, EXIF, INTEROP, SUB_IFDS = 0x8825, 0x8769, 0xA005, 0x014A
ORIENTATION, XMP, ICC = 0x0112, 0x02BC, 0x8773
STRIP_OFFSETS, STRIP_COUNTS, TILE_OFFSETS, TILE_COUNTS = 0x0111, 0x0117, 0x0144, 0x0145

_SIZES: Final = {
    1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4,
    16: 8, 17: 8, 18: 8,
}  # fmt: skip
_INTEGERS: Final = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I", 16: "Q", 18: "Q"}
_MOST_ENTRIES: Final = 4096
BYTE, SHORT, LONG = 1, 3, 4


class Damaged(Exception):
    """The file's structure is inconsistent."""


@dataclass(frozen=True, slots=True)
class Tag:
    """One value of a table; `raw` is in the file's byte order."""

    kind: int
    count: int
    raw: bytes = field(repr=False)

    def integers(self, order: str) -> tuple[int, ...]:
        """Its integers; empty if it holds something else."""
        letter = _INTEGERS.get(self.kind)
        if letter is None or self.kind == 7:
            return ()
        return struct.unpack(f"{order}{self.count}{letter}", self.raw)

    def rationals(self, order: str) -> tuple[float, ...]:
        """Its fractions; empty if it holds something else or divides by zero."""
        if self.kind not in (5, 10):
            return ()
        numbers = struct.unpack(
            f"{order}{2 * self.count}{'I' if self.kind == 5 else 'i'}", self.raw
        )
        pairs = list(zip(numbers[::2], numbers[1::2], strict=True))
        return tuple(a / b for a, b in pairs) if all(b for _, b in pairs) else ()

    @property
    def text(self) -> str:
        """Its text up to the terminator, decoded as Latin-1, which accepts any bytes."""
        return self.raw.partition(b"\0")[0].decode("latin-1") if self.kind in (1, 2, 7) else ""


Table = dict[int, Tag]


class Tiff:
    """A file's header and access to its tables by offset. Classic and BigTIFF."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.order = {b"II": "<", b"MM": ">"}.get(bytes(data[:2]), "")
        version = self._read("H", 2) if self.order else 0
        if version not in (42, 43) or (version == 43 and self._read("H", 4) != 8):
            raise Damaged("no TIFF")
        self.is_big = version == 43
        self.first = self._read("Q", 8) if self.is_big else self._read("I", 4)

    def _read(self, kind: str, at: int) -> int:
        try:
            (value,) = struct.unpack_from(self.order + kind, self.data, at)
        except struct.error:
            raise Damaged("cut off") from None
        return int(value)

    def table(self, at: int) -> Table:
        """The table at an offset. The first of duplicate tags wins."""
        return self._table(at)[0]

    def next_of(self, at: int) -> int:
        """Offset of the next page's table; 0 if there is none or it can't be read."""
        try:
            end = self._table(at)[1]
            return self._read("Q", end) if self.is_big else self._read("I", end)
        except Damaged:
            return 0

    def _table(self, at: int) -> tuple[Table, int]:
        if at < 8:
            raise Damaged("a table within the head")
        head, entry, room = (8, 20, 8) if self.is_big else (2, 12, 4)
        count = self._read("Q" if self.is_big else "H", at)
        end = at + head + count * entry
        if count > _MOST_ENTRIES or end > len(self.data):
            raise Damaged("a table beyond the end")
        found: Table = {}
        for place in range(at + head, end, entry):
            number, kind = self._read("H", place), self._read("H", place + 2)
            values = self._read("Q" if self.is_big else "I", place + 4)
            size = _SIZES.get(kind, 0) * values
            value_at = place + entry - room
            if size > room:
                value_at = self._read("Q" if self.is_big else "I", value_at)
            # Ignore tags of an unknown type or with an offset outside the file.
            if size > 0 and value_at + size <= len(self.data):
                found.setdefault(number, Tag(kind, values, self.data[value_at : value_at + size]))
        return found, end

    def sub_table(self, table: Table, number: int) -> Table:
        """The sub-table that a pointer tag refers to; empty if missing or unreadable."""
        pointers = table[number].integers(self.order) if number in table else ()
        if not pointers:
            return {}
        try:
            return self.table(pointers[0])
        except Damaged:
            return {}


def one_of(values: int, *, kind: int = SHORT, order: str = "<") -> Tag:
    """A tag with one integer."""
    return Tag(kind, 1, struct.pack(order + _INTEGERS[kind], values))


def integers_tag(values: Sequence[int], *, kind: int = LONG, order: str = "<") -> Tag:
    return Tag(kind, len(values), struct.pack(f"{order}{len(values)}{_INTEGERS[kind]}", *values))


def written(
    table: Mapping[int, Tag],
    *,
    order: str,
    below: Mapping[int, Mapping[int, Tag]] | None = None,
    chunks: Sequence[bytes] = (),
    is_tiled: bool = False,
) -> bytes:
    """A classic TIFF with one table, sub-tables `below` it by pointer tag, and a picture's strips
    or tiles."""
    rows = dict(table)
    for number in below or {}:
        rows[number] = one_of(0, kind=LONG, order=order)
    if chunks:
        offsets, counts = (TILE_OFFSETS, TILE_COUNTS) if is_tiled else (STRIP_OFFSETS, STRIP_COUNTS)
        sizes = [len(chunk) for chunk in chunks]
        rows[counts] = integers_tag(sizes, order=order)
        rows[offsets] = integers_tag([0] * len(chunks), order=order)
    position = 8 + _room(rows)
    for number, inner in (below or {}).items():
        rows[number] = one_of(position, kind=LONG, order=order)
        position += _room(inner)
    if chunks:
        starts = []
        for chunk in chunks:
            starts.append(position)
            position += len(chunk) + len(chunk) % 2
        if position >= 1 << 32:
            raise Damaged("too large to be written")
        rows[offsets] = integers_tag(starts, order=order)
    out = [b"II" if order == "<" else b"MM", struct.pack(order + "HI", 42, 8)]
    out.append(_packed(rows, 8, order))
    at = 8 + _room(rows)
    for inner in (below or {}).values():
        out.append(_packed(inner, at, order))
        at += _room(inner)
    out.extend(part for chunk in chunks for part in (chunk, b"\0" * (len(chunk) % 2)))
    return b"".join(out)


def _room(table: Mapping[int, Tag]) -> int:
    return 2 + 12 * len(table) + 4 + sum(_outside(tag.raw) for tag in table.values())


def _outside(raw: bytes) -> int:
    return len(raw) + len(raw) % 2 if len(raw) > 4 else 0


def _packed(table: Mapping[int, Tag], at: int, order: str) -> bytes:
    value_at = at + 2 + 12 * len(table) + 4
    rows, values = [struct.pack(order + "H", len(table))], []
    for number, tag in sorted(table.items()):
        raw = tag.raw.ljust(4, b"\0")
        if len(tag.raw) > 4:
            values.append(tag.raw + b"\0" * (len(tag.raw) % 2))
            raw = struct.pack(order + "I", value_at)
            value_at += len(values[-1])
        rows.append(struct.pack(order + "HHI", number, tag.kind, tag.count) + raw)
    return b"".join([*rows, b"\0\0\0\0", *values])


def exif_of(data: bytes) -> tuple[str, Table, Table]:
    """Byte order, main table and Exif sub-table of an EXIF block. Raises Damaged."""
    tiff = Tiff(data)
    main = tiff.table(tiff.first)
    return tiff.order, main, tiff.sub_table(main, EXIF)


def copied(table: Mapping[int, Tag], numbers: Iterable[int]) -> Table:
    """The listed tags that exist and that a classic file can hold."""
    wanted = set(numbers)
    return {number: tag for number, tag in table.items() if number in wanted and tag.kind <= 13}
