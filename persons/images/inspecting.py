"""Looking at an upload: may it come in, and what is it."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO, Final

from PIL import ExifTags, Image, ImageFile

from .opening import MAX_FILE_BYTES, TURNED_BY_DECODER, check_size, opened
from .refusal import ImageRefused, Refusal

_CHUNK: Final = 1 << 20
_QUARTER_TURNED: Final = frozenset({5, 6, 7, 8})
"""EXIF orientations that swap width and height."""

_TIME = re.compile(r"(\d{4})[:-](\d\d)[:-](\d\d)[ T](\d\d):(\d\d):(\d\d)")
_OFFSET = re.compile(r"Z|[+-]\d\d:\d\d")


@dataclass(frozen=True, slots=True)
class Inspected:
    """What is known of a file that may come in."""

    sha256: str
    """Hex, of the bytes as they came."""

    size: int
    """Bytes."""

    format: str
    """"JPEG", "PNG", "TIFF", "WEBP" or "HEIF", told by content."""

    width: int
    height: int
    """Pixels, after EXIF orientation: of what `open_oriented` will return."""

    taken_at: datetime | None = None
    """EXIF DateTimeOriginal: aware where the camera wrote its offset, else naive local time."""

    notes: tuple[str, ...] = ()
    """Sentences about what will not be used, to be shown to the uploader."""


def inspect(file: BinaryIO, *, max_bytes: int = MAX_FILE_BYTES) -> Inspected:
    """Check a seekable file and say what it is. Leaves the file open, at its beginning.

    Reads it in chunks for the hash, checks the header, then decodes it once to find out whether it
    is whole: a JPEG at an eighth of its size, others in full, one frame at most. Raises
    ImageRefused with any code.
    """
    size = file.seek(0, os.SEEK_END)
    if size > max_bytes:
        raise ImageRefused(
            Refusal.TOO_LARGE_BYTES,
            f"This file has {size / 1e6:.1f} MB; the limit is {max_bytes / 1e6:.0f} MB. "
            "Save the picture with a higher compression or a smaller size and send that.",
        )
    with opened(file) as (image, kind):
        width, height = image.size
        taken_at = _taken_at(image)
        notes = _notes(image, kind)
        if kind == "JPEG":
            if orientation_of(image, kind) in _QUARTER_TURNED:
                width, height = height, width
            image.draft(None, (max(1, image.width // 8), max(1, image.height // 8)))
            image.load()
        else:
            turned = orientation_of(image, kind) in _QUARTER_TURNED
            image.load()
            # A HEIF's true size is known only now.
            width, height = image.size
            check_size(width, height)
            if turned:
                width, height = height, width
    digest = _sha256(file)
    file.seek(0)
    return Inspected(digest, size, kind, width, height, taken_at, notes)


def orientation_of(image: ImageFile.ImageFile, kind: str) -> int:
    """The EXIF orientation, 1 to 8, that is still to be applied. Garbage counts as 1."""
    if kind in TURNED_BY_DECODER:
        return 1
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # noqa: BLE001 - whatever a camera wrote, it mustn't cost the photo
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _sha256(file: BinaryIO) -> str:
    file.seek(0)
    digest = hashlib.sha256()
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
    return digest.hexdigest()


def _notes(image: Image.Image, kind: str) -> tuple[str, ...]:
    if not getattr(image, "is_animated", False):
        return ()
    match kind:
        case "JPEG":
            # Phones append a depth map or gain map to the photo: nothing that anyone would miss.
            return ()
        case "TIFF":
            return ("Only the first page of this file is used.",)
        case "HEIF":
            return ("Only the main picture of the several in this file is used.",)
        case _:
            return ("Only the first frame of this animation is used.",)


def _taken_at(image: Image.Image) -> datetime | None:
    try:
        exif = image.getexif().get_ifd(ExifTags.IFD.Exif)
        taken = _TIME.match(str(exif.get(ExifTags.Base.DateTimeOriginal, "")))
        offset = _OFFSET.match(str(exif.get(ExifTags.Base.OffsetTimeOriginal, "")))
    except Exception:  # noqa: BLE001 - whatever a camera wrote, it mustn't cost the photo
        return None
    if not taken:
        return None
    year, month, day, hour, minute, second = taken.groups()
    moment = f"{year}-{month}-{day}T{hour}:{minute}:{second}"
    # A clock that was never set says 0000 or 1904; and the ends of the calendar can't be
    # converted between time zones without overflow.
    if not 1900 <= int(year) <= 9000:
        return None
    for text in (moment + (offset[0] if offset else ""), moment):
        try:
            return datetime.fromisoformat(text)
        except ValueError:
            continue
    return None
