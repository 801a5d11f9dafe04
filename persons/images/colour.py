"""Decodes any accepted file to the common form: 8-bit RGB in sRGB, upright."""

from __future__ import annotations

import io
import math
from typing import BinaryIO, Final

import numpy as np
from PIL import Image, ImageCms

from .opening import InspectedFile, opened

TURN: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_ICC_SPACE: Final = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK", "LAB": "Lab"}
"""Colour space a profile must have for each mode; other profiles are ignored."""

_WHITES: Final = (1.0, 255.0, 65535.0)
"""What full white usually is in 32-bit integer and floating point pictures."""


def open_oriented(file: BinaryIO, *, at_least: tuple[int, int] | None = None) -> Image.Image:
    """Decode a file: mode "RGB", 8 bits, sRGB, upright, no metadata.

    Transparent parts become white; of several frames or pages the first is used. The file stays
    open. A JPEG may be decoded at a smaller size, but not below `at_least` (width, height, as
    stored). Raises ImageRefused, also for a file that was never inspected.
    """
    with opened(file) as source:
        if at_least is not None:
            source.shrink(at_least)
        return oriented(source)


def oriented(source: InspectedFile) -> Image.Image:
    """The result of `open_oriented` for an open source."""
    pixels = source.pixels()
    image = to_rgb(pixels, profile=pixels.info.get("icc_profile"))
    if source.orientation in TURN:
        image = image.transpose(TURN[source.orientation])
    elif image is pixels:
        # The file's own image object would go on holding the file and its metadata.
        image = pixels.copy()
    image.info = {}
    return image


def to_rgb(image: Image.Image, *, profile: bytes | None = None) -> Image.Image:
    """Convert any mode to 8-bit RGB, in sRGB if a colour profile is given. Transparency becomes
    white."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        image = _to_8_bit(image)
    elif image.mode == "1":
        image = image.convert("L")
    elif image.has_transparency_data:
        image = _over_white(image)
    elif image.mode not in _ICC_SPACE:
        image = image.convert("RGB")
    if profile:
        image = _to_srgb(image, profile)
    return image if image.mode == "RGB" else image.convert("RGB")


def _to_8_bit(image: Image.Image) -> Image.Image:
    """Convert to mode "L". 16 bits use their full range, 32 bits the smallest usual white that
    fits.

    Pillow's own conversion clips at 255, which turns a 16-bit photo white.
    """
    low, white = 0.0, 65535.0
    if image.mode in ("I", "F"):
        darkest, brightest = image.getextrema()
        if not isinstance(darkest, int | float) or not isinstance(brightest, int | float):
            raise ValueError("more than one band")
        if not (math.isfinite(darkest) and math.isfinite(brightest)):
            raise ValueError("not numbers")
        low = min(0.0, darkest)
        white = next((usual for usual in _WHITES if brightest <= usual), float(brightest))
    scale = 255 / (white - low)
    grey = image.convert("F").point(lambda value: value * scale + (0.5 - low * scale)).convert("L")
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        # Pillow reads a PNG's transparent grey but doesn't apply it to 16 bits.
        grey.paste(255, mask=Image.fromarray(np.asarray(image) == transparent))
    return grey


def _over_white(image: Image.Image) -> Image.Image:
    if image.mode == "La":
        image = image.convert("LA")
    image = image.convert("RGBA")
    alpha = image.getchannel("A")
    rgb = image.convert("RGB")
    if alpha.getextrema() != (255, 255):
        white = Image.new("RGB", image.size, "white")
        white.paste(rgb, mask=alpha)
        rgb = white
    return rgb


def _to_srgb(image: Image.Image, icc: bytes) -> Image.Image:
    """Convert by the embedded profile; a broken or foreign profile leaves the image as it is."""
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        if profile.profile.xcolor_space.strip() != _ICC_SPACE.get(image.mode):
            return image
        if image.mode == "RGB" and "sRGB" in (profile.profile.profile_description or ""):
            return image
        converted = ImageCms.profileToProfile(
            image, profile, ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return image
    return image if converted is None else converted
