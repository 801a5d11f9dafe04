"""From an encoded picture to pixels, and not before its size is known to be sane.

Pixels are (height, width, 3) uint8, RGB. They are as stored: an EXIF orientation is not applied,
for boxes are in the sent picture's pixels and Rollcall sends pictures already upright. (In TIFF the
orientation is part of the layout; Pillow applies it to size and pixels alike.)
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..vision import limits

Pixels = NDArray[np.uint8]

UNKNOWN_TYPE = "The memory contains data of an unknown image type"
"""The vendor's text."""


class BadPicture(ValueError):
    """Its text is the image's permanent error."""


@dataclass(frozen=True, slots=True)
class Level:
    """The picture at one size: `scale` is this level's pixels for each pixel of the picture."""

    pixels: Pixels
    scale: float


class Picture:
    """An encoded picture whose header was found sane. Use from one thread.

    Each part of the work takes the smallest version that serves it: faces are looked for in a small
    one, which JPEG can decode several times faster than the whole, and cropped from a larger one
    only where they are small.
    """

    def __init__(self, data: bytes, width: int, height: int) -> None:
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
            # Averaging over areas keeps detail from aliasing; up to 2:1 bilinear does, and faster.
            how = cv2.INTER_AREA if width > 2 * size[0] else cv2.INTER_LINEAR
            small = cv2.resize(decoded.pixels, size, interpolation=how).astype(np.uint8, copy=False)
            self._levels.insert(0, Level(small, ratio))
        return self._levels[0]

    def at_least(self, scale: float) -> Level:
        """The smallest version that is not below `scale`, or else the whole. Raises BadPicture."""
        for level in self._levels:
            if level.scale >= min(scale, 1.0):
                return level
        self._levels.append(self._decode())
        return self._levels[-1]

    def _decode(self, at_least: tuple[int, int] | None = None) -> Level:
        image = _open(self._data)
        if at_least is not None:
            image.draft(None, at_least)
        # Rounded up: a JPEG at 1/2, 1/4 or 1/8 keeps its last, partial pixel.
        shrink = round(self.width / image.width)
        try:
            return Level(_rgb(image), 1 / shrink)
        except Exception as error:  # Pillow's readers raise anything on broken files
            raise BadPicture(UNKNOWN_TYPE) from error


class OpenPicture(Picture):
    """A picture that is decoded already: (height, width, 3) uint8, RGB."""

    def __init__(self, pixels: Pixels) -> None:
        height, width = pixels.shape[:2]
        super().__init__(b"", width, height)
        self._pixels = pixels

    def _decode(self, at_least: tuple[int, int] | None = None) -> Level:
        return Level(self._pixels, 1.0)


def read_picture(
    data: bytes, *, max_width: int = limits.MAX_WIDTH, max_height: int = limits.MAX_HEIGHT
) -> Picture:
    """Reads the header alone. Raises BadPicture for another format or a size outside the limits."""
    width, height = _open(data).size
    low = limits.MIN_SIDE
    if not (low <= width <= max_width and low <= height <= max_height):
        raise BadPicture(
            f"the image is {width}x{height} pixels, must be {low}x{low} to {max_width}x{max_height}"
        )
    return Picture(data, width, height)


def _open(data: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=sorted(limits.FORMATS))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BadPicture("the image has far too many pixels") from error
    except Exception as error:  # Pillow's readers raise anything on broken files
        raise BadPicture(UNKNOWN_TYPE) from error


def _rgb(image: Image.Image) -> Pixels:
    """Any mode as 8-bit RGB. What was transparent is white."""
    if image.mode.startswith(("I", "F")):
        return np.repeat(_grey(image)[:, :, np.newaxis], 3, axis=2)
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return np.asarray(image.convert("RGB"), np.uint8)


def _grey(image: Image.Image) -> Pixels:
    """One channel of more than 8 bits, scaled: Pillow's own conversion would clip at 255."""
    values = np.nan_to_num(np.asarray(image).astype(np.float32), posinf=0, neginf=0)
    low, high = 0.0, 65535.0
    if not image.mode.startswith("I;16"):
        # 32-bit integers and floats have no customary white: take the range that is there.
        low, high = float(values.min()), float(values.max())
    scaled = (values - low) * (255 / max(high - low, 1e-9))
    return np.asarray(np.rint(scaled), np.uint8)
