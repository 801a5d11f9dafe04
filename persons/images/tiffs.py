"""The tables of tags in a TIFF file, which is also what EXIF is: taking tags out in place.

Nothing else moves, so whatever refers to a position in the file goes on being right.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

GPS, EXIF, INTEROP, SUB_IFDS = 0x8825, 0x8769, 0xA005, 0x014A
ORIENTATION = 0x0112

PLACE: Final = frozenset(
    {
        GPS,
        0x02BC,  # XMP, which has places by name and by number
        0x83BB,  # IPTC: city, country
        0x8649,  # Photoshop, which packs IPTC
        0x927C,  # the maker's notes, which nobody can look into
        0x9286,  # a comment, where some phones put what they know
        0xC4A5,  # Print Image Matching, as opaque as notes
        0xC634,  # the maker's notes once more, in DNG's way
    }
)
"""Tags that tell of a place, or may."""

WITHOUT_METADATA: Final = frozenset(
    {
        *range(0x0100, 0x010A),  # size, bits, compression, meaning of the colours
        0x010A, 0x0111, 0x0112, 0x0115, 0x0116, 0x0117, 0x0118, 0x0119, 0x011A, 0x011B,
        0x011C, 0x0120, 0x0121, 0x0122, 0x0123, 0x0124, 0x0125, 0x0128, 0x012D,
        0x013D, 0x013E, 0x013F, 0x0140, 0x0141, 0x0142, 0x0143, 0x0144, 0x0145, SUB_IFDS,
        0x014C, 0x014E, 0x0150, 0x0151, 0x0152, 0x0153, 0x0154, 0x0155, 0x0156,
        0x015B, 0x0200, 0x0201, 0x0202, 0x0203, 0x0205, 0x0206, 0x0207, 0x0208, 0x0209,
        0x0211, 0x0212, 0x0213, 0x0214, 0x8773,
    }
)  # fmt: skip
"""What is needed to show a TIFF file as it is meant; 0x8773 is its colour profile."""

_SIZES: Final = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_ENTRY = 12
_MOST_TABLES = 64


class Damaged(Exception):
    """The parts of a file do not add up."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """One tag: where it stands, and where its value does."""

    tag: int
    at: int
    value_at: int
    size: int
    count: int
    kind: int


class _Tables:
    """All tables of a file, found from its head on."""

    def __init__(self, data: bytes) -> None:
        self.data = bytearray(data)
        self.order = {b"II": "<", b"MM": ">"}.get(bytes(data[:2]), "")
        if not self.order or self.read("H", 2) != 42:
            raise Damaged
        self.seen: set[int] = set()

    def read(self, kind: str, at: int) -> int:
        try:
            (value,) = struct.unpack_from(self.order + kind, self.data, at)
        except struct.error:
            raise Damaged from None
        return int(value)

    def write(self, kind: str, at: int, value: int) -> None:
        struct.pack_into(self.order + kind, self.data, at, value)

    def entries(self, table: int) -> list[_Entry]:
        count = self.read("H", table)
        if table + 2 + count * _ENTRY > len(self.data):
            raise Damaged
        return [self._entry(table + 2 + i * _ENTRY) for i in range(count)]

    def _entry(self, at: int) -> _Entry:
        kind, count = self.read("H", at + 2), self.read("I", at + 4)
        size = _SIZES.get(kind, 1) * count
        value_at = at + 8 if size <= 4 else self.read("I", at + 8)
        if value_at + size > len(self.data):
            raise Damaged
        return _Entry(self.read("H", at), at, value_at, size, count, kind)

    def first(self) -> int:
        return self.read("I", 4)

    def next_of(self, table: int) -> int:
        end = table + 2 + self.read("H", table) * _ENTRY
        return self.read("I", end) if end + 4 <= len(self.data) else 0

    def remove(self, table: int, entries: list[_Entry]) -> None:
        """Take these tags out of a table and blank what they said."""
        for entry in entries:
            self.data[entry.value_at : entry.value_at + entry.size] = bytes(entry.size)
        gone = {entry.at for entry in entries}
        count = self.read("H", table)
        places = [table + 2 + i * _ENTRY for i in range(count)]
        kept = [bytes(self.data[at : at + _ENTRY]) for at in places if at not in gone]
        following = struct.pack(self.order + "I", self.next_of(table))
        room = min(2 + count * _ENTRY + 4, len(self.data) - table)
        packed = struct.pack(self.order + "H", len(kept)) + b"".join(kept) + following
        self.data[table : table + room] = packed[:room].ljust(room, b"\0")

    def blank(self, table: int) -> None:
        """A whole table with everything that it says."""
        entries = self.entries(table)
        self.remove(table, entries)


def without_tags(data: bytes, *, all_of_them: bool = False) -> bytes:
    """The same file without the tags that tell of a place, or with none but what showing it needs.

    Raises Damaged where its tables do not add up, or are of a kind that is not known here.
    """
    tables = _Tables(data)
    table = tables.first()
    while table:
        _clean(tables, table, all_of_them)
        table = tables.next_of(table)
        if len(tables.seen) > _MOST_TABLES:
            raise Damaged
    return bytes(tables.data)


def _clean(tables: _Tables, table: int, all_of_them: bool) -> None:
    if table in tables.seen or len(tables.seen) > _MOST_TABLES:
        raise Damaged  # A loop.
    tables.seen.add(table)
    entries = tables.entries(table)
    leaving = [
        entry
        for entry in entries
        if entry.tag in PLACE or (all_of_them and entry.tag not in WITHOUT_METADATA)
    ]
    for entry in entries:
        if entry.tag == GPS or (all_of_them and entry.tag in (EXIF, INTEROP)):
            _blank_all(tables, tables.read("I", entry.value_at))
        elif entry.tag in (EXIF, INTEROP):
            _clean(tables, tables.read("I", entry.value_at), all_of_them)
        elif entry.tag == SUB_IFDS and entry.kind in (4, 13):
            for i in range(entry.count):
                _clean(tables, tables.read("I", entry.value_at + 4 * i), all_of_them)
    if leaving:
        tables.remove(table, leaving)


def _blank_all(tables: _Tables, table: int) -> None:
    if table in tables.seen:
        return
    tables.seen.add(table)
    for entry in tables.entries(table):
        if entry.tag in (EXIF, INTEROP, GPS):
            _blank_all(tables, tables.read("I", entry.value_at))
    tables.blank(table)


def only_orientation(data: bytes) -> bytes | None:
    """EXIF that says which side is up and nothing else; None where that is how it lies."""
    try:
        tables = _Tables(data)
        found = (one for one in tables.entries(tables.first()) if one.tag == ORIENTATION)
        turned = next((tables.read("H", one.value_at) for one in found if one.kind == 3), 1)
    except Damaged:
        return None
    if not 2 <= turned <= 8:
        return None
    return struct.pack(">2sHIHHHIHHI", b"MM", 42, 8, 1, ORIENTATION, 3, 1, turned, 0, 0)
