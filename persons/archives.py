"""Many files as one zip, made while it is sent: never more than one chunk of one file in memory."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath
from typing import BinaryIO

from persons.images import clean_name

CHUNK = 256 * 1024
YEARS = (1980, 2107)
"""What a zip can say of a file's date."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of an archive. Its bytes are asked for by `position` when its turn has come; `size` is
    at least as much as there will be."""

    name: str
    size: int
    at: datetime


class _Sink(io.RawIOBase):
    """What has been written since it was last taken. It can't seek: sizes follow each file."""

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
    """The zip, chunk by chunk. Files are stored as they are, since pictures hardly get any smaller,
    unless they are to be `deflated`.

    Formats of large archives (above 4 GB, above 65,535 files) are used where they are needed.
    """
    sink = _Sink()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:
        for entry, chunks in entries:
            info = zipfile.ZipInfo(entry.name, _date(entry.at))
            info.file_size = entry.size
            info.external_attr = 0o644 << 16
            info.compress_type = zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED
            with archive.open(info, "w") as out:
                for chunk in chunks:
                    out.write(chunk)
                    if ready := sink.take():
                        yield ready
    yield sink.take()


def length_of(entries: Iterable[Entry]) -> int:
    """The bytes that `stream` sends, where each entry has exactly its size: so that a browser can
    say how long it takes, and that nothing is missing at the end."""
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


def unique_names(names: Sequence[str]) -> list[str]:
    """Safe for every system, and each only once: "a.jpg", "a (2).jpg". Letter case counts as the
    same, as it does where most people unpack."""
    taken: set[str] = set()
    next_number: dict[str, int] = {}
    found = []
    for name in names:
        clean = _portable(clean_name(name))
        path = PurePosixPath(clean)
        stem, suffix = path.stem, path.suffix
        candidate = clean
        while candidate.casefold() in taken:
            number = next_number.get(clean.casefold(), 1) + 1
            next_number[clean.casefold()] = number
            candidate = f"{stem} ({number}){suffix}"
        taken.add(candidate.casefold())
        found.append(candidate)
    return found


_RESERVED = {
    "con",
    "prn",
    "aux",
    "nul",
    *(f"{port}{n}" for port in ("com", "lpt") for n in range(10)),
}


def _portable(name: str) -> str:
    """Without what Windows refuses in a file's name."""
    name = "".join("_" if letter in '<>:"/\\|?*' or letter < " " else letter for letter in name)
    name = name.strip(" .") or "photo"
    return f"_{name}" if PurePosixPath(name).stem.casefold() in _RESERVED else name
