"""Estimates, from the header alone, the memory needed to decode a picture to upright 8-bit RGB.

The figures are the largest measured for each format and mode at 12 megapixels;
`tests/decoding/test_decoding_budget.py` measures them again. Pictures above the limit are refused
before decoding. The decoding helper's own memory limit is the second line of defence.
"""

from __future__ import annotations

from typing import BinaryIO, Final

from PIL import Image

from .heifs import Heif
from .jpegs import frame_of
from .refusal import ImageRefused, Refusal
from .tiff_pictures import TiffPicture
from .tiffs import Damaged

ALLOWANCE: Final = 200_000_000
"""Bytes for everything but pixels: the file itself, encoders, and earlier allocations."""

_limit = 1_300_000_000

_BY_MODE: Final = {
    "1": 9.7,
    "L": 9.3,
    "P": 9.6,
    "RGB": 12.1,
    "RGBX": 12.1,
    "RGBA": 17.1,
    "LA": 17.1,
    "CMYK": 12.1,
    "LAB": 12.1,
    "YCbCr": 12.1,
    "I;16": 11.1,
    "I;16B": 11.1,
    "I": 12.1,
    "F": 12.1,
}
"""Bytes per pixel, including a colour profile conversion and a quarter turn."""

_WITH_CLEAR: Final = {"1": 14.4, "L": 14.4, "P": 14.4, "RGB": 17.1}
"""Bytes per pixel where a colour or palette entry is declared transparent."""

_BY_FORMAT: Final = {
    ("HEIF", "RGB"): 15.1,
    ("HEIF", "RGBA"): 23.7,
    ("WEBP", "RGB"): 20.3,
    ("WEBP", "RGBA"): 27.6,
    ("AVIF", "RGB"): 16.3,
    ("AVIF", "RGBA"): 22.7,
    ("JPEG2000", "L"): 9.3,
    ("JPEG2000", "LA"): 17.6,
    ("JPEG2000", "I;16"): 10.2,
    ("JPEG2000", "RGB"): 20.0,
    ("JPEG2000", "RGBA"): 25.1,
}
"""Bytes per pixel for decoders that keep extra planes or canvases. AVIF was measured at 8 bits
without subsampling, JPEG 2000 as a single tile, which takes the most."""

_TIFF, _TIFF_SAMPLES, _TIFF_ALPHA = 8.0, 1.8, 6.0
"""Bytes per pixel: the base, the cost per byte of samples, and the cost of extra samples. Measured
at 30 megapixels with 8, 16 and 32 bits, grey, RGB, RGBA and CMYK, in strips and in planes."""

_OTHERS: Final = 27.6

_WITH_PLANES: Final = frozenset({"HEIF", "AVIF", "WEBP", "JPEG2000"})
"""Formats whose figures are in `_BY_FORMAT`. Unmeasured modes and formats cost `_OTHERS`."""

_SMALLEST: Final = 4
"""A JPEG that is large enough to matter is shrunk to at most half its width and height."""


def limit_to(memory: int) -> None:
    """Set the budget. `memory` is how many bytes the process may allocate beyond its current
    use."""
    global _limit  # noqa: PLW0603 - once, when a helper starts
    _limit = max(memory - ALLOWANCE, ALLOWANCE)


def limit() -> int:
    return _limit


def needed(file: BinaryIO, image: Image.Image, kind: str) -> int:
    """Estimated bytes to decode an image whose header alone was read; `kind` is its format."""
    return _needed(file, image, kind, image.width * image.height)


def _needed(file: BinaryIO, image: Image.Image, kind: str, pixels: int) -> int:
    cost = int(pixels * _per_pixel(file, image, kind))
    return cost + _coefficients(file) if kind == "JPEG" else cost


def _per_pixel(file: BinaryIO, image: Image.Image, kind: str) -> float:
    if kind in _WITH_PLANES:
        is_known = kind != "AVIF" or not _is_deep(file)
        return _BY_FORMAT.get((kind, image.mode), _OTHERS) if is_known else _OTHERS
    has_clear = image.mode in _WITH_CLEAR and "transparency" in image.info
    return (_WITH_CLEAR if has_clear else _BY_MODE).get(image.mode, _OTHERS)


def _is_deep(file: BinaryIO) -> bool:
    """Whether an AVIF has more than 8 bits per sample, or doesn't say."""
    at = file.tell()
    file.seek(0)
    try:
        return Heif(file.read()).is_deep
    except Damaged:
        return True
    finally:
        file.seek(at)


def _coefficients(file: BinaryIO) -> int:
    """Bytes for a progressive JPEG's coefficients: 2 each, for the full size even if shrunk on
    load."""
    at = file.tell()
    frame = frame_of(file)
    file.seek(at)
    if frame is None or not frame.is_progressive:
        return 0
    return int(frame.width * frame.height * frame.samples * 2)


def check_budget(file: BinaryIO, image: Image.Image, kind: str, *, smallest: bool = False) -> None:
    """Raise ImageRefused if decoding would exceed the budget.

    With `smallest`, check the cheapest way to decode it: a JPEG shrunk while loading.
    """
    pixels = image.width * image.height
    if smallest and kind == "JPEG":
        pixels //= _SMALLEST
    _check(_needed(file, image, kind, pixels))


def check_tiff(picture: TiffPicture, size: int) -> None:
    """Raise ImageRefused if decoding a TIFF would exceed the budget.

    `size` is the file's size in bytes: the whole file and its samples are held beside the picture.
    """
    samples = picture.per_pixel * max(1.0, picture.bits / 8)
    each = _TIFF + _TIFF_SAMPLES * samples + (_TIFF_ALPHA if picture.has_extra else 0)
    _check(int(picture.width * picture.height * each) + size)


def check_webp_canvas(width: int, height: int) -> None:
    """Check a WebP, whose canvas is allocated on opening, before its mode is known."""
    _check(int(width * height * _BY_FORMAT["WEBP", "RGB"]))


def _check(cost: int) -> None:
    if cost > _limit:
        raise ImageRefused(
            Refusal.TOO_MANY_PIXELS,
            f"This picture would take {cost / 1e9:.1f} GB of memory to open; "
            f"{_limit / 1e9:.1f} GB is the limit. Save a smaller copy, or one as an ordinary JPEG, "
            "and send that.",
        )
