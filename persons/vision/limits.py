"""Limits of a request, an image and a space.

Source: VK Cloud Vision documentation, "Limits". Ambiguous numbers are read the stricter way, so
that whatever passes here passes there. MB are 10^6 bytes, and 3840x2160 is width by height, which
excludes a portrait picture of 2160x3840.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .types import Image

MAX_IMAGES = 100
MAX_IMAGE_BYTES = 15_000_000
MAX_REQUEST_BYTES = 30_000_000


@dataclass(frozen=True, slots=True)
class Sizes:
    """Maximum bytes of one image, and of all images of a request together."""

    image: int
    request: int


WIRE = Sizes(MAX_IMAGE_BYTES, MAX_REQUEST_BYTES)

MIN_SIDE = 5
MAX_WIDTH = 3840
MAX_HEIGHT = 2160

FORMATS = frozenset({"JPEG", "PNG", "TIFF"})
"""Pillow's names of the accepted formats."""

SPACES = range(10)
FACES_PER_SPACE = 75_000

PART_OVERHEAD = 1_000
"""Bytes allowed for one part's multipart headers and its entry in `meta`."""


def fits(width: int, height: int) -> bool:
    """Whether a picture of this many pixels may be sent."""
    return MIN_SIDE <= width <= MAX_WIDTH and MIN_SIDE <= height <= MAX_HEIGHT


def scale_to_fit(width: int, height: int) -> float:
    """The factor, at most 1, that makes a picture small enough to send."""
    return min(1.0, MAX_WIDTH / width, MAX_HEIGHT / height)


class Room:
    """What still fits into one request. The first image always does: if it is too large, the
    answer says so."""

    def __init__(self, max_images: int = MAX_IMAGES, max_bytes: int = MAX_REQUEST_BYTES) -> None:
        if max_images < 1:
            raise ValueError("max_images must be at least 1")
        self._images = max_images
        self._bytes = max_bytes
        self._is_empty = True

    def takes(self, size: int) -> bool:
        """Take an image of this many bytes; False where it doesn't fit."""
        cost = size + PART_OVERHEAD
        if not self._is_empty and (self._images < 1 or cost > self._bytes):
            return False
        self._is_empty = False
        self._images -= 1
        self._bytes -= cost
        return True


def split(
    images: Sequence[Image],
    max_images: int = MAX_IMAGES,
    max_bytes: int = MAX_REQUEST_BYTES,
) -> list[list[Image]]:
    """Batches in the given order, each within both limits, see `Room`."""
    room = Room(max_images, max_bytes)
    batches: list[list[Image]] = []
    for image in images:
        fits_in = room.takes(len(image.data))
        if not fits_in:
            room = Room(max_images, max_bytes)
            room.takes(len(image.data))
        if not fits_in or not batches:
            batches.append([])
        batches[-1].append(image)
    return batches
