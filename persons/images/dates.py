"""Finds when a photo was taken from the best metadata in its file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from typing import BinaryIO, Final

from .metadata import Metadata, metadata_of
from .tiffs import Damaged, Table, exif_of

_ORIGINAL: Final = (0x9003, 0x9011, 0x9291)
"""EXIF tags: date and time, UTC offset, fraction of a second."""
_DIGITIZED: Final = (0x9004, 0x9012, 0x9292)

_TIME = re.compile(
    r"\s*(\d{4})[:-](\d\d)[:-](\d\d)[ T](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?\s*"
    r"(Z|[+-]\d\d:?\d\d)?",
    re.ASCII,
)
_FRACTION = re.compile(r"\s*([0-9]+)\s*")
_OFFSET = re.compile(r"\s*(Z|[+-]\d\d:\d\d)")
_XMP_TAKEN: Final = (b"exif:DateTimeOriginal", b"photoshop:DateCreated")
_XMP_MADE: Final = (b"exif:DateTimeDigitized", b"xmp:CreateDate")


def taken_at_of(file: BinaryIO, kind: str) -> datetime | None:
    """When an accepted file was taken. `kind` is the format found by `inspect`. Decodes no
    pixels."""
    return taken_at(metadata_of(file, kind))


def taken_at(metadata: Metadata) -> datetime | None:
    """When the photo was taken or, failing that, scanned. Aware if the UTC offset is known, else
    naive local time. Modification dates are ignored."""
    for moments in (
        _of_exif(metadata, _ORIGINAL),
        _of_xmp(metadata, _XMP_TAKEN),
        _days_of_xmp(metadata, _XMP_TAKEN),
        _of_exif(metadata, _DIGITIZED),
        _of_xmp(metadata, _XMP_MADE),
        _days_of_xmp(metadata, _XMP_MADE),
    ):
        for moment in moments:
            return moment
    return None


def _of_exif(metadata: Metadata, tags: tuple[int, int, int]) -> Iterator[datetime]:
    for block in metadata.exif:
        try:
            _, main, shot = exif_of(block)
        except Damaged:
            continue
        for table in (shot, main):
            moment = _moment(*(_text(table, tag) for tag in tags))
            if moment is not None:
                yield moment


def _text(table: Table, number: int) -> str:
    return table[number].text if number in table else ""


def _of_xmp(metadata: Metadata, words: tuple[bytes, ...]) -> Iterator[datetime]:
    for packet in metadata.xmp:
        plain = packet.replace(b"\0", b"")
        for word in words:
            pattern = re.escape(word) + rb"\s*(?:=\s*[\"']|>)\s*([0-9T:.Z+-]{10,40})"
            for found in re.finditer(pattern, plain):
                moment = _moment(found[1].decode("ascii"))
                if moment is not None:
                    yield moment


def _days_of_xmp(metadata: Metadata, words: tuple[bytes, ...]) -> Iterator[datetime]:
    """Noon of each date that has no time, such as a scan of an old print."""
    for word in words:
        pattern = re.escape(word) + rb"\s*(?:=\s*[\"']|>)\s*(\d{4}-\d\d-\d\d)\s*[\"'<]"
        for packet in metadata.xmp:
            for found in re.finditer(pattern, packet.replace(b"\0", b"")):
                moment = _moment(f"{found[1].decode('ascii')} 12:00")
                if moment is not None:
                    yield moment


def _moment(text: str, offset: str = "", fraction: str = "") -> datetime | None:
    found = _TIME.match(text)
    if not found:
        return None
    year, month, day, hour, minute, second, own_fraction, own_offset = found.groups()
    # A clock that was never set reads 0000 or 1904, and the calendar's extremes overflow when
    # converted between time zones.
    if not 1900 <= int(year) <= 9000:
        return None
    beside = _FRACTION.fullmatch(fraction)
    digits = own_fraction or (beside[1] if beside else "")
    moment = f"{year}-{month}-{day}T{hour}:{minute}:{second or '00'}"
    moment += f".{digits[:6]:0<6}" if digits else ""
    written = _OFFSET.match(offset)
    offset = own_offset or (written[1] if written else "")
    for words in (moment + offset, moment):
        try:
            return datetime.fromisoformat(words)
        except ValueError:
            continue
    return None
