"""Full-resolution photos for browsers: upright, in a format that all of them show."""

from __future__ import annotations

from typing import BinaryIO, Final

from PIL.Image import Image

from .colour import oriented
from .copies import jpeg
from .opening import opened

QUALITY: Final = 92
_SHOWN_BY_ALL: Final = frozenset({"L", "RGB"})


def full_size(file: BinaryIO) -> bytes | None:
    """A JPEG without metadata; None if the file can be served as it is: a JPEG whose orientation
    every browser applies as we do. Raises ImageRefused."""
    with opened(file) as source:
        if source.kind == "JPEG" and source.metadata.is_plain and source.mode in _SHOWN_BY_ALL:
            return None
        image: Image = oriented(source)
    return jpeg(image, QUALITY, subsampling="4:4:4")
