"""Metadata that a shared copy of a photo keeps: rebuilt from harmless tags, never blanked in
place. Data that no tag refers to is therefore never copied."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from typing import Final

from .metadata import Metadata, xmp_orientation
from .tiffs import (
    EXIF,
    GPS,
    INTEROP,
    ORIENTATION,
    SUB_IFDS,
    XMP,
    Damaged,
    Table,
    Tag,
    Tiff,
    copied,
    one_of,
    written,
)

_PLACE_WORDS: Final = (
    b"gps", b"location", b"city", b"country", b"state", b"sublocation", b"latitude", b"longitude",
    b"altitude", b"address", b"geo:", b"iptc4xmp", b"thumbnail", b"photoshop:history",
)  # fmt: skip
"""Lower-case words in an XMP packet that mean it reveals a place, or may."""

MAIN: Final = frozenset(
    {0x010F, 0x0110, 0x011A, 0x011B, 0x0128, 0x0131, 0x0132, 0x013B, 0x0213, 0x4746, 0x8298}
)
"""Make and model, resolution, software, time, author, rating, copyright."""
_SHOT: Final = frozenset(
    {
        0x829A, 0x829D, 0x8822, 0x8827, *range(0x8830, 0x8836), 0x9000, 0x9003, 0x9004, 0x9010,
        0x9011, 0x9012, 0x9101, 0x9102, *range(0x9201, 0x920B), 0x9290, 0x9291, 0x9292,
        *range(0xA000, 0xA004), 0xA20E, 0xA20F, 0xA210, 0xA215, 0xA217, 0xA300, 0xA301,
        *range(0xA401, 0xA40B), 0xA40C, 0xA430, 0xA431, 0xA432, 0xA433, 0xA434, 0xA435, 0xA500,
    }
)  # fmt: skip
"""How the photo was taken. Free text, maker notes and variable-length patterns are excluded."""
_ELSEWHERE: Final = frozenset({EXIF, GPS, INTEROP, SUB_IFDS, ORIENTATION, XMP, 0x83BB, 0x8649})
"""Pointers and packets that are left out even when the whole block is kept."""
_PICTURE: Final = frozenset({0x0111, 0x0117, 0x0144, 0x0145, 0x0201, 0x0202, 0x015B, 0x8773})
_LONGEST: Final = 2048


class Keep(Enum):
    """Which metadata a copy keeps, besides colour profile and orientation."""

    NOTHING = "nothing"
    ALL_BUT_PLACE = "all but the place"


def kept_exif(metadata: Metadata, keep: Keep | None, orientation: int) -> bytes | None:
    """One new EXIF block with this orientation, or None if it would be empty. If `keep` is None,
    all tags are kept."""
    for block in metadata.exif:
        try:
            order, main, below = kept_tables(block, keep)
        except Damaged:
            continue
        if orientation != 1:
            main[ORIENTATION] = one_of(orientation, order=order)
        return written(main, order=order, below=below) if main or below else None
    if orientation == 1:
        return None
    return written({ORIENTATION: one_of(orientation, order=">")}, order=">")


def kept_tables(block: bytes, keep: Keep | None) -> tuple[str, Table, dict[int, Table]]:
    """Byte order, tags of the main table, and sub-tables by pointer tag.

    Raises Damaged.
    """
    if keep == Keep.NOTHING:
        return ">", {}, {}
    tiff = Tiff(block)
    main = tiff.table(tiff.first)
    tables = {EXIF: tiff.sub_table(main, EXIF)}
    if keep is None:
        tables[GPS] = tiff.sub_table(main, GPS)
        main = copied(main, set(main) - _ELSEWHERE - _PICTURE - set(range(0x0100, 0x010A)))
        tables = {number: copied(one, set(one) - _ELSEWHERE) for number, one in tables.items()}
    else:
        main = _harmless(main, MAIN)
        tables[EXIF] = _harmless(tables[EXIF], _SHOT)
    return tiff.order, main, {number: one for number, one in tables.items() if one}


def _harmless(table: Mapping[int, Tag], wanted: frozenset[int]) -> Table:
    return {
        number: tag
        for number, tag in copied(table, wanted).items()
        if len(tag.raw) <= _LONGEST and not tells_of_a_place(tag.raw)
    }


def kept_xmp(metadata: Metadata, keep: Keep | None, orientation: int) -> bytes | None:
    """The XMP packet if it may be kept, with the same orientation as EXIF."""
    if keep == Keep.NOTHING or not metadata.xmp:
        return None
    packet = metadata.xmp[0]
    if keep is not None and tells_of_a_place(packet):
        return None
    if xmp_orientation(packet) in (0, orientation):
        return packet
    turned = re.sub(
        rb"(tiff:Orientation\s*(?:=\s*[\"']|>)\s*)[0-9]",
        lambda found: found[1] + str(orientation).encode(),
        packet,
    )
    return turned if xmp_orientation(turned) == orientation else None


def tells_of_a_place(text: bytes) -> bool:
    # UTF-16 packets have a zero in every second byte.
    small = text.replace(b"\0", b"").lower()
    return any(word in small for word in _PLACE_WORDS)
