"""Many files as one zip, made while it is sent: never more than one chunk of one file in memory.

The one place where zips are written: downloads, the audit's export and snapshots. It stands on the
standard library's `zipfile`. zipstream-ng streams as well, and knows the length beforehand, but
gives what comes as chunks neither a date nor permissions of its own.
"""

from __future__ import annotations

import io
import unicodedata
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath
from typing import BinaryIO

from persons.images import clean_name

CHUNK = 256 * 1024
MOST_BYTES = 255
"""Of one name in UTF-8: what the file systems of Linux take."""
YEARS = (1980, 2107)
"""What a zip can say of a file's date."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of an archive. Its bytes are requested by `position` when they are due. `size` is an
    upper limit in bytes."""

    name: str
    size: int
    at: datetime
    mode: int = 0o644
    """Who may read it, once it is unpacked."""


class _Sink(io.RawIOBase):
    """Buffer of the bytes written since the last read. Not seekable, so sizes follow each file."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self._parts.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)


def stream(
    entries: Iterable[tuple[Entry, Iterable[bytes]]], *, deflated: bool = False
) -> Iterator[bytes]:
    """Yield the zip in chunks. Files are stored uncompressed, since pictures hardly shrink, unless
    `deflated` is set.

    Zip64 is used where needed: above 4 GB or 65,535 files.
    """
    sink = _Sink()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:
        for entry, chunks in entries:
            info = zipfile.ZipInfo(entry.name, _date(entry.at))
            info.file_size = entry.size
            info.external_attr = entry.mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED
            with archive.open(info, "w") as out:
                for chunk in chunks:
                    out.write(chunk)
                    if ready := sink.take():
                        yield ready
    yield sink.take()


def length_of(entries: Iterable[Entry]) -> int:
    """The bytes that `stream` sends if each entry has exactly its size. With this length, a browser
    shows the remaining time and detects a truncated download."""
    position = directory = count = 0
    for entry in entries:
        name = len(entry.name.encode())
        is_large = entry.size * 1.05 > zipfile.ZIP64_LIMIT
        extra = 2 * (entry.size > zipfile.ZIP64_LIMIT) + (position > zipfile.ZIP64_LIMIT)
        directory += 46 + name + (4 + 8 * extra if extra else 0)
        position += 30 + name + (20 + 24 if is_large else 16) + entry.size
        count += 1
    is_large = count > zipfile.ZIP_FILECOUNT_LIMIT or max(position, directory) > zipfile.ZIP64_LIMIT
    return position + directory + 22 + (56 + 20 if is_large else 0)


def _date(at: datetime) -> tuple[int, int, int, int, int, int]:
    if at.year < YEARS[0]:
        return (YEARS[0], 1, 1, 0, 0, 0)
    if at.year > YEARS[1]:
        return (YEARS[1], 12, 31, 23, 59, 58)
    return (at.year, at.month, at.day, at.hour, at.minute, at.second)


def chunks_of(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(CHUNK):
        yield chunk


class ArchiveNames:
    """File names of one archive: safe on every system and unique: "a.jpg", "a (2).jpg".

    Names that differ only in case or Unicode composition count as equal, as on most users' file
    systems. Names are at most MOST_BYTES long in UTF-8; the extension is kept.
    """

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._next_number: dict[str, int] = {}

    def unique(self, name: str) -> str:
        path = PurePosixPath(_portable(clean_name(name)))
        stem, suffix = path.stem, path.suffix
        candidate = shortened(stem, suffix)
        same = _same(candidate)
        while _same(candidate) in self._taken:
            number = self._next_number.get(same, 1) + 1
            self._next_number[same] = number
            candidate = shortened(stem, f" ({number}){suffix}")
        self._taken.add(_same(candidate))
        return candidate


def unique_names(names: Sequence[str]) -> list[str]:
    found = ArchiveNames()
    return [found.unique(name) for name in names]


def shortened(stem: str, tail: str) -> str:
    """`stem` and `tail` joined. The stem is cut between letters so that the name isn't too long."""
    room = MOST_BYTES - len(tail.encode())
    kept = stem.encode()[: max(room, 0)].decode(errors="ignore")
    if kept != stem:
        # Drop a joiner whose next letter was cut off.
        kept = kept.rstrip("\u200c\u200d .")
    return (kept or "photo") + tail


def _same(name: str) -> str:
    return unicodedata.normalize("NFKD", name.casefold())


_RESERVED = {
    "con",
    "prn",
    "aux",
    "nul",
    "conin$",
    "conout$",
    *(f"{port}{n}" for port in ("com", "lpt") for n in (*range(10), "\u00b9", "\u00b2", "\u00b3")),
}


def _portable(name: str) -> str:
    """The name without what Windows refuses in file names."""
    name = "".join("_" if letter in '<>:"/\\|?*' or letter < " " else letter for letter in name)
    name = name.strip(" .") or "photo"
    # Windows reserves names up to the first dot: "con.tar.gz" is the console too.
    return f"_{name}" if name.partition(".")[0].strip().casefold() in _RESERVED else name
