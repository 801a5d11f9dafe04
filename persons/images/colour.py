"""From whatever a file holds to what everything else works on: 8-bit RGB in sRGB, right way up."""

from __future__ import annotations

import io
import math
from typing import BinaryIO, Final

from PIL import Image, ImageCms

from .inspecting import orientation_of
from .opening import check_size, opened

_TURN: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_ICC_SPACE: Final = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK", "LAB": "Lab"}
"""A profile is usable where its colour space is the picture's."""

_WHITES: Final = (1.0, 255.0, 65535.0)
"""What full white usually is in 32-bit integer and floating point pictures."""


def open_oriented(file: BinaryIO) -> Image.Image:
    """Decode a file: mode "RGB", 8 bits, sRGB, EXIF orientation applied, no metadata.

    Transparent parts become white; of several frames or pages the first counts. The file stays
    open. Raises ImageRefused, also for a file that was never inspected.
    """
    with opened(file) as (source, kind):
        orientation = orientation_of(source, kind)
        source.load()
        check_size(*source.size)
        image = _to_rgb(source)
        if orientation in _TURN:
            image = image.transpose(_TURN[orientation])
        elif image is source:
            # The file's own image object would go on holding the file and its metadata.
            image = source.copy()
    image.info = {}
    return image


def _to_rgb(image: Image.Image) -> Image.Image:
    profile = image.info.get("icc_profile")
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
    """Mode "L". 16 bits use their full range; 32 bits the smallest usual white that holds all.

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
    return image.convert("F").point(lambda value: value * scale + (0.5 - low * scale)).convert("L")


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
