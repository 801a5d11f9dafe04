"""Iterates over an image's pixels a few rows at a time, to avoid a second copy in memory."""

from __future__ import annotations

from collections.abc import Iterator

from PIL import Image

_AT_ONCE = 1 << 18
"""Bytes per piece."""


class Rows:
    """The rows of a mode "RGB" image from the top, three bytes per pixel."""

    def __init__(self, image: Image.Image) -> None:
        self._image = image
        self.nbytes = image.width * image.height * 3

    def __iter__(self) -> Iterator[bytes]:
        width, height = self._image.size
        step = max(1, _AT_ONCE // (width * 3))
        for top in range(0, height, step):
            yield self._image.crop((0, top, width, min(top + step, height))).tobytes()
