"""What one request, one image and one space may hold.

Source: VK Cloud Vision documentation, "Limits". Where a number can be read in two ways the smaller
reading is taken, so that what passes here passes there: MB are 10^6 bytes, and 3840x2160 is width
by height, which does not admit a portrait picture of 2160x3840.
"""

from __future__ import annotations

from collections.abc import Sequence

from .types import Image

MAX_IMAGES = 100
MAX_IMAGE_BYTES = 15_000_000
MAX_REQUEST_BYTES = 30_000_000

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


def split(
    images: Sequence[Image],
    max_images: int = MAX_IMAGES,
    max_bytes: int = MAX_REQUEST_BYTES,
) -> list[list[Image]]:
    """Batches in the given order, each within both limits.

    An image that alone is above `max_bytes` gets a batch to itself: the answer says what is wrong.
    """
    if max_images < 1:
        raise ValueError("max_images must be at least 1")
    batches: list[list[Image]] = []
    size = 0
    for image in images:
        cost = len(image.data) + PART_OVERHEAD
        if not batches or len(batches[-1]) >= max_images or size + cost > max_bytes:
            batches.append([])
            size = 0
        batches[-1].append(image)
        size += cost
    return batches
