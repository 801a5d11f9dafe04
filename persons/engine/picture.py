"""Decodes pictures for the engine, only after their size was checked.

Pixels are (height, width, 3) uint8, RGB, as stored. EXIF orientation is not applied: boxes are in
the sent picture's pixels, and Rollcall sends upright pictures. A helper process decodes and
returns read-only shared memory.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .. import decoding
from ..vision import limits

Pixels = NDArray[np.uint8]

UNKNOWN_TYPE = "The memory contains data of an unknown image type"
"""The vendor's error text."""


class BadPicture(ValueError):
    """The picture can't be used; the message is the image's permanent error."""


@dataclass(frozen=True, slots=True)
class Level:
    """The picture at one size; `scale` is pixels of this level per pixel of the picture."""

    pixels: Pixels
    scale: float


class Picture:
    """An encoded picture whose header passed the checks. Use from one thread.

    Each step uses the smallest sufficient version. Detection runs on a small one, which JPEG can
    decode several times faster, and small faces are cropped from a larger one.
    """

    def __init__(self, data: bytes | decoding.PictureSource, width: int, height: int) -> None:
        self.width, self.height = width, height
        self._data = data
        self._levels: list[Level] = []  # from coarse to fine

    def coarse(self, side: int) -> Level:
        """The picture with its longer side at most `side`. Raises BadPicture."""
        ratio = min(1.0, side / max(self.width, self.height))
        size = max(1, round(self.width * ratio)), max(1, round(self.height * ratio))
        decoded = self._decode(at_least=size)
        self._levels = [decoded]
        height, width = decoded.pixels.shape[:2]
        if (width, height) != size:
            # Area averaging prevents aliasing; up to 2:1 bilinear is good enough and faster.
            how = cv2.INTER_AREA if width > 2 * size[0] else cv2.INTER_LINEAR
            small = cv2.resize(decoded.pixels, size, interpolation=how).astype(np.uint8, copy=False)
            self._levels.insert(0, Level(small, ratio))
        return self._levels[0]

    def at_least(self, scale: float) -> Level:
        """The smallest version of at least `scale`, or else the full size. Raises BadPicture."""
        for level in self._levels:
            if level.scale >= min(scale, 1.0):
                return level
        self._levels.append(self._decode())
        return self._levels[-1]

    def _decode(self, at_least: tuple[int, int] | None = None) -> Level:
        reply = _ask("decoded", self._data, at_least=at_least)
        width, height = _size_of(reply)
        if len(reply.parts) != 1 or len(reply.parts[0]) != width * height * 3:
            raise BadPicture(UNKNOWN_TYPE)
        pixels = np.frombuffer(reply.parts[0], np.uint8).reshape(height, width, 3)
        # Rounded up: a JPEG at 1/2, 1/4 or 1/8 keeps its last, partial pixel.
        return Level(pixels, 1 / max(1, round(self.width / width)))


class OpenPicture(Picture):
    """An already decoded picture: (height, width, 3) uint8, RGB."""

    def __init__(self, pixels: Pixels) -> None:
        height, width = pixels.shape[:2]
        super().__init__(b"", width, height)
        self._pixels = pixels

    def _decode(self, at_least: tuple[int, int] | None = None) -> Level:
        return Level(self._pixels, 1.0)


def read_picture(
    data: bytes | decoding.PictureSource,
    *,
    max_width: int = limits.MAX_WIDTH,
    max_height: int = limits.MAX_HEIGHT,
    max_pixels: int | None = None,
) -> Picture:
    """Open a picture, reading the header alone. Raises BadPicture for another format or a size
    outside the limits, and DecodingBusy if no helper is free."""
    width, height = _size_of(_ask("header", data))
    low = limits.MIN_SIDE
    if max_pixels is not None and width * height > max_pixels:
        raise BadPicture(
            f"the image is {width}x{height} pixels, must have at most {max_pixels} in all"
        )
    if not (low <= width <= max_width and low <= height <= max_height):
        raise BadPicture(
            f"the image is {width}x{height} pixels, must be {low}x{low} to {max_width}x{max_height}"
        )
    return Picture(data, width, height)


def pixels_of(pictures: Iterable[bytes]) -> int:
    """Total pixels by the headers; a file that is no picture counts as 0. Raises DecodingBusy."""
    total = 0
    for data in pictures:
        with suppress(BadPicture):
            width, height = _size_of(_ask("header", data))
            total += width * height
    return total


def _ask(operation: str, data: bytes | decoding.PictureSource, **params: Any) -> decoding.Reply:
    try:
        return decoding.ask(operation, data, formats=sorted(limits.FORMATS), **params)
    except decoding.HelperRefusal as error:
        if error.code == "too_many_pixels":
            raise BadPicture("the image has far too many pixels") from error
        raise BadPicture(UNKNOWN_TYPE) from error
    except decoding.DecodingFailed as error:
        raise BadPicture(str(error)) from error


def _size_of(reply: decoding.Reply) -> tuple[int, int]:
    match reply.data.get("size"):
        case [int(width), int(height)] if width > 0 and height > 0:
            return width, height
        case _:
            raise BadPicture(UNKNOWN_TYPE)
