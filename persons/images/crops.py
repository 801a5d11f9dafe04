"""Crops of one face of a photo, for pages and for enrolment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from PIL import Image

from persons.vision.types import Box

from .copies import jpeg, shrink, webp

PAGE_SIDE: Final = 256
ENROLMENT_MARGIN: Final = 0.6
_PAGE_MARGINS: Final = (0.35, 0.25, 0.15)
_OTHER_MARGIN: Final = 0.15
"""Margin painted over around other faces. A box ends at the chin and mid-forehead, and half a
forehead beside an ear is enough for some detectors."""

_NEUTRAL: Final = (128, 128, 128)
_SMALLEST_FACE: Final = 120
_LARGEST_CROP: Final = 1200


def crop_face(image: Image.Image, box: Box, others: Sequence[Box] = ()) -> bytes:
    """A WebP of one face for pages: square if the photo allows, at most 256 pixels per side.

    The margin is about a third, or less to keep the middle of another face out. A small face is
    not scaled up. Raises ValueError for a box outside the photo.
    """
    box = _clipped(box, image)
    window = box
    for margin in _PAGE_MARGINS:
        window = _square(box, margin, image)
        if not any(_holds_middle(window, other) for other in others if other != box):
            break
    return webp(shrink(_cut(image, window), PAGE_SIDE))


def enrolment_crop(
    image: Image.Image,
    box: Box,
    others: Sequence[Box] = (),
    margin: float = ENROLMENT_MARGIN,
) -> bytes:
    """A JPEG of a single face for the `set` call, which requires exactly one face in the picture.

    `margin` is the space around the box on each side, as a fraction of its size. If Vision still
    finds a second, undetected face, retrying with 0.25 usually helps. Other faces inside the crop
    are painted over, except where that would touch this face's box. The crop is scaled so that the
    face is at least 120 pixels wide and the crop at most 1200 per side. Raises ValueError for a
    box outside the photo.
    """
    box = _clipped(box, image)
    window = _clipped(_grown(box, margin), image)
    crop = _cut(image, window)
    for other in others:
        if other == box:
            continue
        for piece in _without(_grown(other, _OTHER_MARGIN), box):
            piece = _shifted(piece, window)
            # Pillow clips rectangles that extend beyond the picture.
            crop.paste(_NEUTRAL, (piece.left, piece.top, piece.right, piece.bottom))
    scale = max(1.0, _SMALLEST_FACE / (box.right - box.left))
    scale = min(scale, _LARGEST_CROP / max(crop.size))
    if scale != 1:
        size = (max(5, round(crop.width * scale)), max(5, round(crop.height * scale)))
        crop = crop.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    return jpeg(crop, subsampling="4:4:4")


def _clipped(box: Box, image: Image.Image) -> Box:
    clipped = Box(
        max(0, box.left),
        max(0, box.top),
        min(image.width, box.right),
        min(image.height, box.bottom),
    )
    if clipped.left >= clipped.right or clipped.top >= clipped.bottom:
        raise ValueError(f"{box} is outside the picture of {image.width} x {image.height}")
    return clipped


def _grown(box: Box, margin: float) -> Box:
    x, y = round((box.right - box.left) * margin), round((box.bottom - box.top) * margin)
    return Box(box.left - x, box.top - y, box.right + x, box.bottom + y)


def _square(box: Box, margin: float, image: Image.Image) -> Box:
    """The square around a box, moved inside the image; not square if the image is too narrow."""
    side = round(max(box.right - box.left, box.bottom - box.top) * (1 + 2 * margin))
    width, height = min(side, image.width), min(side, image.height)
    left = min(max((box.left + box.right - width) // 2, 0), image.width - width)
    top = min(max((box.top + box.bottom - height) // 2, 0), image.height - height)
    return Box(left, top, left + width, top + height)


def _holds_middle(window: Box, other: Box) -> bool:
    x, y = (other.left + other.right) // 2, (other.top + other.bottom) // 2
    return window.left <= x < window.right and window.top <= y < window.bottom


def _without(box: Box, kept: Box) -> Iterator[Box]:
    """`box` minus `kept`, as up to four rectangles."""
    top, bottom = max(box.top, kept.top), min(box.bottom, kept.bottom)
    pieces = (
        Box(box.left, box.top, box.right, min(box.bottom, kept.top)),
        Box(box.left, max(box.top, kept.bottom), box.right, box.bottom),
        Box(box.left, top, min(box.right, kept.left), bottom),
        Box(max(box.left, kept.right), top, box.right, bottom),
    )
    return (piece for piece in pieces if piece.left < piece.right and piece.top < piece.bottom)


def _shifted(box: Box, window: Box) -> Box:
    return Box(
        box.left - window.left,
        box.top - window.top,
        box.right - window.left,
        box.bottom - window.top,
    )


def _cut(image: Image.Image, box: Box) -> Image.Image:
    return image.crop((box.left, box.top, box.right, box.bottom))
