"""Inspects an upload: whether it is accepted, and what it is."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO, Final

from .dates import taken_at
from .opening import MAX_FILE_BYTES, InspectedFile, opened
from .refusal import ImageRefused, Refusal

_CHUNK: Final = 1 << 20
_QUARTER_TURNED: Final = frozenset({5, 6, 7, 8})
"""EXIF orientations that swap width and height."""


@dataclass(frozen=True, slots=True)
class Inspected:
    """What inspection found out about an accepted file."""

    sha256: str
    """Hex digest of the bytes as received."""

    size: int
    """Bytes."""

    format: str
    """A name in `formats.FORMATS`, detected by content."""

    width: int
    height: int
    """Pixels after orientation, as in the image that `open_oriented` will return."""

    taken_at: datetime | None = None
    """Aware if the camera recorded its UTC offset, else naive local time: see `dates`."""

    notes: tuple[str, ...] = ()
    """Messages for the uploader about parts of the file that won't be used."""


def inspect(file: BinaryIO, *, max_bytes: int = MAX_FILE_BYTES, sha256: str = "") -> Inspected:
    """Check a seekable file and describe it. Leaves the file open, at its beginning.

    Reads it in chunks for the hash, checks the header, then decodes it once to verify that it is
    whole: a JPEG at an eighth of its size, others in full, one frame at most. Raises ImageRefused
    with any code.
    """
    size = file.seek(0, os.SEEK_END)
    if size > max_bytes:
        raise ImageRefused(
            Refusal.TOO_LARGE_BYTES,
            f"This file has {size / 1e6:.1f} MB; the limit is {max_bytes / 1e6:.0f} MB. "
            "Save the picture with a higher compression or a smaller size and send that.",
        )
    with opened(file) as source:
        width, height = source.size
        notes = _notes(source)
        source.verify_whole()
        if source.kind == "HEIF":
            # The true size is known only after decoding.
            width, height = source.size
        if source.orientation in _QUARTER_TURNED:
            width, height = height, width
        taken = taken_at(source.metadata)
    digest = sha256 or _sha256(file)
    file.seek(0)
    return Inspected(digest, size, source.kind, width, height, taken, notes)


def _sha256(file: BinaryIO) -> str:
    file.seek(0)
    digest = hashlib.sha256()
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
    return digest.hexdigest()


def _notes(source: InspectedFile) -> tuple[str, ...]:
    if not source.is_animated:
        return ()
    match source.kind:
        case "JPEG":
            # Phones append a depth map or gain map, which no uploader needs to hear about.
            return ()
        case "TIFF":
            return ("Only the first page of this file is used.",)
        case "HEIF":
            return ("Only the main picture of the several in this file is used.",)
        case _:
            return ("Only the first frame of this animation is used.",)
