"""Converts a TIFF's samples to an 8-bit picture."""

from __future__ import annotations

import io
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from .tiff_pictures import (
    BLACK_WHITE,
    COEFFICIENTS,
    COLOUR_MAP,
    COLOURS,
    EXTRA_SAMPLES,
    Chunk,
    TiffPicture,
)
from .tiffs import ICC, Damaged

Samples = NDArray[Any]

_ROWS: Final = 1 << 22
"""Number of samples converted to 8 bits at a time."""
_WHITES: Final = (1.0, 255.0, 65535.0)
"""Usual values of full white in floating point samples."""


def image_of(picture: TiffPicture) -> Image.Image:
    """The page as stored: L, LA, RGB, RGBA, CMYK or LAB with 8 bits, or 1 for fax.

    Raises Unknown and Damaged.
    """
    picture.check()
    if picture.decompresses:
        image = _from_samples(picture)
    else:
        with Image.open(io.BytesIO(picture.for_pillow()), formats=["TIFF"]) as source:
            source.load()
            image = source.copy()
    image.info = {}
    if ICC in picture.table:
        image.info["icc_profile"] = picture.table[ICC].raw
    return image


def _from_samples(picture: TiffPicture) -> Image.Image:
    samples = samples_of(picture)
    if picture.photometric == 3:
        return Image.fromarray(_palette(picture)[samples[:, :, 0]], "RGB")
    colours = COLOURS[picture.photometric]
    if picture.photometric in (8, 9):
        return _from_lab(_lab(picture, samples))
    pixels = _eight_bits(picture, samples[:, :, :colours])
    if picture.photometric == 0:
        pixels = np.subtract(255, pixels, dtype=np.uint8)
    if picture.photometric == 6:
        return Image.fromarray(_from_ycc(picture, pixels), "RGB")
    if picture.photometric == 5:
        return Image.fromarray(pixels, "CMYK")
    alpha = _alpha(picture, samples, colours)
    if alpha is not None:
        if picture.number(EXTRA_SAMPLES, 2) == 1:
            pixels = _unmultiplied(pixels, alpha)
        return Image.fromarray(np.concatenate([pixels, alpha], 2), "LA" if colours == 1 else "RGBA")
    return Image.fromarray(pixels[:, :, 0] if colours == 1 else pixels)


def _alpha(picture: TiffPicture, samples: Samples, colours: int) -> Samples | None:
    # If the meaning of the extra sample is unspecified, readers treat it as transparency.
    if samples.shape[2] <= colours or picture.number(EXTRA_SAMPLES, 2) not in (1, 2):
        return None
    return _eight_bits(picture, samples[:, :, colours : colours + 1])


def _palette(picture: TiffPicture) -> Samples:
    colours = picture.numbers(COLOUR_MAP)
    size = 1 << picture.bits
    if len(colours) < 3 * size:
        raise Damaged("the palette is too short")
    palette = np.array(colours[: 3 * size], np.uint32).reshape(3, size).T
    # The format specifies 16 bits, but some programs write 8.
    palette = palette // 257 if palette.max() > 255 else palette
    return palette.astype(np.uint8)


def _eight_bits(picture: TiffPicture, samples: Samples) -> Samples:
    """Scale to 8 bits: integers by their depth, floats by the smallest usual white that fits."""
    if samples.dtype == np.uint8 and picture.bits == 8:
        return np.ascontiguousarray(samples)
    low, white = 0.0, float((1 << min(picture.bits, 16)) - 1)
    if picture.format in (2, 3) or picture.bits == 32:
        low, white = _range(samples)
    out = np.empty(samples.shape, np.uint8)
    step = max(1, _ROWS // max(1, samples[0].size))
    for top in range(0, len(samples), step):
        rows = samples[top : top + step].astype(np.float64)
        rows = np.nan_to_num(rows, nan=low, posinf=white, neginf=low)
        rows = (np.clip(rows, low, white) - low) * (255 / (white - low))
        out[top : top + step] = np.rint(rows)
    return out


def _lab(picture: TiffPicture, samples: Samples) -> Samples:
    """Convert to Pillow's layout: lightness, and two signed colour channels."""
    deep = samples[:, :, :3]
    if picture.bits == 16:
        deep = (deep >> 8).astype(np.uint8)
    deep = deep.view(np.uint8).copy()
    if picture.photometric == 9:
        deep[:, :, 1:] ^= 0x80
    return deep


def _from_ycc(picture: TiffPicture, pixels: Samples) -> Samples:
    """Convert from YCbCr by ITU-R BT.601 or the file's own coefficients and reference levels."""
    weights = (
        picture.table[COEFFICIENTS].rationals(picture.order)
        if COEFFICIENTS in picture.table
        else ()
    )
    red, green, blue = weights if len(weights) == 3 and weights[1] else (0.299, 0.587, 0.114)
    limits = (
        picture.table[BLACK_WHITE].rationals(picture.order) if BLACK_WHITE in picture.table else ()
    )
    if len(limits) != 6:
        limits = tuple(float(one) for one in picture.numbers(BLACK_WHITE))
    y0, y1, b0, b1, r0, r1 = limits if len(limits) == 6 else (0, 255, 128, 255, 128, 255)
    if y1 == y0 or b1 == b0 or r1 == r0:
        raise Damaged("no range")
    out = np.empty(pixels.shape, np.uint8)
    step = max(1, _ROWS // max(1, pixels[0].size))
    for top in range(0, len(pixels), step):
        y, cb, cr = np.moveaxis(pixels[top : top + step].astype(np.float32), 2, 0)
        y, cb, cr = (
            (y - y0) * (255 / (y1 - y0)),
            (cb - b0) * (127 / (b1 - b0)),
            (cr - r0) * (127 / (r1 - r0)),
        )
        r = y + cr * (2 - 2 * red)
        b = y + cb * (2 - 2 * blue)
        g = (y - blue * b - red * r) / green
        out[top : top + step] = np.rint(np.clip(np.stack([r, g, b], 2), 0, 255))
    return out


# --- Samples ---


def samples_of(picture: TiffPicture) -> Samples:
    """All samples, shaped (height, width, samples per pixel), at the file's own depth."""
    whole: Samples | None = None
    for chunk in picture.chunks():
        values = _values(picture, chunk)
        if whole is None:
            shape = (picture.height, picture.width, picture.per_pixel)
            whole = np.zeros(shape, values.dtype.newbyteorder("="))
        rows = min(chunk.height, picture.height - chunk.top)
        columns = min(chunk.width, picture.width - chunk.left)
        bands = slice(None) if chunk.band is None else slice(chunk.band, chunk.band + 1)
        place = (slice(chunk.top, chunk.top + rows), slice(chunk.left, chunk.left + columns))
        whole[(*place, bands)] = values[:rows, :columns]
    if whole is None:
        raise Damaged("no parts")
    return whole


def _values(picture: TiffPicture, chunk: Chunk) -> Samples:
    bands = 1 if picture.planar else picture.per_pixel
    shape = (chunk.height, chunk.width, bands)
    if picture.photometric == 6 and not picture.planar:
        return _spread(chunk, *picture.subsampling)
    if picture.predictor == 3:
        return _floats(chunk.data, shape, picture.bits // 8)
    if picture.bits in (8, 16, 32, 64):
        letter = {2: "i", 3: "f"}.get(picture.format, "u")
        kind = np.dtype(f"{picture.order}{letter}{picture.bits // 8}")
        values = np.frombuffer(chunk.data, kind).reshape(shape)
        if picture.predictor == 2:
            native = kind.newbyteorder("=")
            return np.cumsum(values.astype(native), axis=1, dtype=native)
        return values
    return _unpacked(chunk.data, shape, picture.bits)


def _unpacked(data: bytes, shape: tuple[int, int, int], bits: int) -> Samples:
    """Unpack samples that aren't whole bytes: most significant bit first, rows byte-aligned."""
    height, width, bands = shape
    count = width * bands
    rows = np.frombuffer(data, np.uint8).reshape(height, -1)
    out = np.empty((height, count), np.uint8 if bits <= 8 else np.uint16)
    weights = (1 << np.arange(bits - 1, -1, -1)).astype(np.uint16)
    step = max(1, _ROWS // max(1, count * bits))
    for top in range(0, height, step):
        some = np.unpackbits(rows[top : top + step], axis=1)[:, : count * bits]
        out[top : top + step] = some.reshape(-1, count, bits).astype(np.uint16) @ weights
    return out.reshape(shape)


def _floats(data: bytes, shape: tuple[int, int, int], size: int) -> Samples:
    """Undo Adobe's floating point predictor: byte differences, most significant bytes first."""
    height, width, bands = shape
    rows: Samples = np.frombuffer(data, np.uint8).reshape(height, width * size, bands)
    rows = np.cumsum(rows, axis=1, dtype=np.uint8).reshape(height, size, width * bands)
    values: Samples = np.ascontiguousarray(np.moveaxis(rows, 1, 2))
    return values.view(np.dtype(f">f{size}")).reshape(shape)


def _spread(chunk: Chunk, across: int, down: int) -> Samples:
    """Expand subsampled YCbCr blocks: several luma samples, then two chroma samples."""
    wide, high = -(-chunk.width // across), -(-chunk.height // down)
    blocks = np.frombuffer(chunk.data, np.uint8).reshape(high, wide, across * down + 2)
    bright: Samples = blocks[:, :, :-2].reshape(high, wide, down, across).swapaxes(1, 2)
    bright = bright.reshape(high * down, wide * across, 1)
    colour = blocks[:, :, -2:].repeat(down, 0).repeat(across, 1)
    whole: Samples = np.concatenate([bright, colour], 2)
    return whole[: chunk.height, : chunk.width]


def _range(samples: Samples) -> tuple[float, float]:
    """Estimated black and white levels of samples with no declared range. A few highlights beyond
    white are clipped."""
    finite = samples[np.isfinite(samples)] if samples.dtype.kind == "f" else samples
    if not finite.size:
        raise Damaged("not numbers")
    darkest, brightest = float(finite.min()), float(finite.max())
    low = min(0.0, darkest)
    if samples.dtype.kind == "f" and brightest > 1 and float(np.percentile(finite, 95)) <= 1:
        return low, 1.0
    return low, next((usual for usual in _WHITES if brightest <= usual), brightest)


def _unmultiplied(pixels: Samples, alpha: Samples) -> Samples:
    some = np.maximum(alpha, 1).astype(np.uint16)
    clear: Samples = np.minimum((pixels.astype(np.uint16) * 255 + some // 2) // some, 255)
    return clear.astype(np.uint8)


def _from_lab(pixels: Samples) -> Image.Image:
    lab = Image.frombytes("LAB", (pixels.shape[1], pixels.shape[0]), pixels.tobytes())
    profile, target = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    image = ImageCms.profileToProfile(lab, profile, target, outputMode="RGB")
    if image is None:
        raise Damaged("no colours")
    return image
