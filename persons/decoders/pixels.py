"""Decodes pixels as stored, for the recogniser and for crops of sent or generated pictures.

EXIF orientation is not applied: boxes are in the sent picture's pixels, and Rollcall sends and
stores pictures upright. In TIFF the orientation is part of the layout, and is applied to size and
pixels alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO

from PIL import Image, ImageFile, UnidentifiedImageError

from persons.images import open_oriented
from persons.images.budget import check_budget
from persons.images.colour import to_rgb
from persons.images.formats import unsupported
from persons.images.jpegs import frame_of
from persons.images.metadata import PNG_HEAD
from persons.images.opening import minimal_png, opened
from persons.images.refusal import ImageRefused, Refusal
from persons.vision.types import Box

_OURS = ("JPEG", "PNG", "TIFF", "WEBP")
_TIFFS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_QUARTER_TURNED = frozenset({5, 6, 7, 8})


@contextmanager
def header(file: BinaryIO, formats: Sequence[str]) -> Iterator[ImageFile.ImageFile]:
    """The opened image, not decoded yet. Raises ImageRefused; errors that Pillow raises inside the
    block for a broken file become TRUNCATED."""
    try:
        file.seek(0)
        head = file.read(len(PNG_HEAD))
        if head.startswith(b"\xff\xd8\xff"):
            frame = frame_of(file)
            if frame is not None and frame.unusual:
                raise unsupported(frame.unusual)
        source = minimal_png(file)[0] if head == PNG_HEAD else file
        source.seek(0)
        with Image.open(source, formats=list(formats)) as image:
            yield image
    except (ImageRefused, MemoryError):
        raise
    except UnidentifiedImageError as error:
        # No reader recognised it, so nothing was decoded.
        raise ImageRefused(Refusal.NOT_AN_IMAGE, "This is not a picture.") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageRefused(
            Refusal.TOO_MANY_PIXELS, "This picture has far too many pixels."
        ) from error
    except Exception as error:
        # Pillow's readers raise any exception on broken files.
        raise ImageRefused(Refusal.TRUNCATED, "This picture is damaged or incomplete.") from error


def size(file: BinaryIO, formats: Sequence[str]) -> tuple[int, int]:
    """Width and height, unchecked: callers have their own limits."""
    try:
        with header(file, formats) as image:
            return image.size
    except ImageRefused:
        if not _is_tiff(file, formats):
            raise
    with opened(file) as source:
        width, height = source.size
        return (height, width) if source.orientation in _QUARTER_TURNED else (width, height)


def _is_tiff(file: BinaryIO, formats: Sequence[str]) -> bool:
    """Whether our own code has to read it, since Pillow silently shows some TIFFs wrong."""
    file.seek(0)
    return "TIFF" in formats and file.read(4) in _TIFFS


def decoded(
    file: BinaryIO, formats: Sequence[str], at_least: tuple[int, int] | None
) -> Image.Image:
    """Decode to mode "RGB"; a JPEG may be smaller, but not below `at_least`."""
    if _is_tiff(file, formats):
        return open_oriented(file)
    with header(file, formats) as image:
        if at_least is not None:
            image.draft(None, at_least)
        check_budget(file, image, image.format or "")
        image.load()
        return to_rgb(image)


def plain(file: BinaryIO) -> Image.Image:
    """Decode a generated picture, or one sent by a client, to mode "RGB"."""
    if _is_tiff(file, _OURS):
        return open_oriented(file)
    with header(file, _OURS) as image:
        check_budget(file, image, image.format or "")
        image.load()
        return to_rgb(image)


def around(box: Box, margin: float, size: tuple[int, int]) -> Box | None:
    """The box with `margin` of its size added on each side, clipped; None if under 2 pixels
    remain."""
    x, y = round((box.right - box.left) * margin), round((box.bottom - box.top) * margin)
    left, top = max(0, box.left - x), max(0, box.top - y)
    right, bottom = min(size[0], box.right + x), min(size[1], box.bottom + y)
    return Box(left, top, right, bottom) if right - left >= 2 and bottom - top >= 2 else None
