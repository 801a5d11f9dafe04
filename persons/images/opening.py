"""Opening a stranger's file with Pillow: which formats, how large, and what an error means.

Everything here happens before and around decoding. Formats are told by content, never by name.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import BinaryIO, Final

import pillow_heif

# Imported for the side effect: a plugin that is not registered yet makes Pillow import all of them.
from PIL import (
    Image,
    ImageFile,
    JpegImagePlugin,  # noqa: F401
    PngImagePlugin,  # noqa: F401
    TiffImagePlugin,
    WebPImagePlugin,  # noqa: F401
)

from persons.vision.limits import MIN_SIDE

from .refusal import ImageRefused, Refusal

MAX_FILE_BYTES: Final = 50_000_000
MAX_PIXELS: Final = 100_000_000
"""300 MB as RGB, which is what a worker can hold beside its engine."""
MAX_SIDE: Final = 30_000

# Pillow's own guard, behind ours: above twice this many pixels it raises before decoding, above
# this many it warns. Set once for the process because it is a global, and the same for all threads.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS

# Depth maps and embedded thumbnails are never used; without thumbnails a decode is always of the
# picture itself, which is what `inspect` has to test. Two threads: workers run side by side.
pillow_heif.register_heif_opener(
    thumbnails=False, depth_images=False, aux_images=False, decode_threads=2
)

TURNED_BY_DECODER: Final = frozenset({"TIFF", "HEIF"})
"""Formats whose plugins turn size and pixels themselves: turning again would turn twice."""

_HEIF_STILLS = frozenset({b"heic", b"heix", b"heim", b"heis", b"mif1"})
_HEIF_SEQUENCES = frozenset({b"hevc", b"hevx", b"hevm", b"hevs", b"msf1"})
_HEAD = 512
_MAX_SCANS = 200
"""Progressive pictures have about ten. Each costs a walk over all pixels, in a few bytes."""

_FOREIGN: tuple[tuple[re.Pattern[bytes], str], ...] = (
    (re.compile(rb"GIF8[79]a"), "a GIF"),
    (re.compile(rb"BM....\0\0\0\0", re.DOTALL), "a BMP"),
    (re.compile(rb"8BPS"), "a Photoshop file"),
    (re.compile(rb"%PDF-"), "a PDF"),
    (re.compile(rb"\s*(<\?xml.*)?<svg", re.DOTALL), "an SVG drawing"),
    (re.compile(rb"\0\0\0\x0cJXL |\xff\x0a"), "a JPEG XL"),
    (re.compile(rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51"), "a JPEG 2000"),
    (re.compile(rb"\0\0\x01\0[^\0]\0"), "an icon"),
    (re.compile(rb"....ftypavi[fs]", re.DOTALL), "an AVIF"),
    (re.compile(rb"....ftypcrx |(II|MM).{6}CR|IIRO|IIU\0|FUJIFILMCCD", re.DOTALL), "a camera raw"),
    (re.compile(rb"....ftyp|\x1a\x45\xdf\xa3|RIFF....AVI ", re.DOTALL), "a video"),
)


@contextmanager
def opened(file: BinaryIO) -> Iterator[tuple[ImageFile.ImageFile, str]]:
    """The image, its header read but nothing decoded, and its format's name.

    Names: "JPEG", "PNG", "TIFF", "WEBP", "HEIF". The caller's file stays open. Raises ImageRefused
    for what may not come in; whatever Pillow raises inside the block becomes TRUNCATED.
    """
    file.seek(0)
    head = file.read(_HEAD)
    kind = _sniff(head)
    try:
        if kind == "WEBP":
            # Pillow allocates two canvases when it opens a WebP, before its size can be asked.
            check_size(*_webp_size(head))
        file.seek(0)
        with Image.open(file, formats=[kind]) as image:
            check_size(*image.size)
            _check_structure(file, image, kind)
            yield image, kind
    except (ImageRefused, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_many_pixels() from error
    except Exception as error:
        # Pillow's plugins raise nearly everything on hostile bytes. A number says that it was the
        # disk, not the picture, and the disk's troubles are not the uploader's; but EINVAL is what
        # a seek to a nonsensical offset in the header gives.
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise
        if kind == "HEIF" and head[8:12] in _HEIF_SEQUENCES:
            raise ImageRefused(
                Refusal.ANIMATED,
                "This HEIC file is a moving sequence without a still picture. "
                "Export one frame of it as JPEG and send that.",
            ) from error
        raise ImageRefused(
            Refusal.TRUNCATED,
            "This picture is damaged or incomplete: its end may be missing. "
            "Copy or download it again, then send it again.",
        ) from error


def pixel_size(data: bytes) -> tuple[int, int] | None:
    """Width and height as the header of an encoded picture has them; None for what is none."""
    try:
        with Image.open(BytesIO(data), formats=["JPEG", "PNG", "TIFF"]) as image:
            return image.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


def foreign_format(data: bytes) -> str:
    """ "a GIF": what a file is that Vision does not take; empty where its start does not tell."""
    head = data[:_HEAD]
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "a WebP"
    if head[4:8] == b"ftyp" and head[8:12] in _HEIF_STILLS | _HEIF_SEQUENCES:
        return "a HEIC"
    return next((what for pattern, what in _FOREIGN if pattern.match(head)), "")


def check_size(width: int, height: int) -> None:
    """Raise ImageRefused where there are too many pixels, or fewer than Vision takes."""
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        raise _too_many_pixels()
    if min(width, height) < MIN_SIDE:
        raise ImageRefused(
            Refusal.TOO_SMALL,
            f"This picture is {width} x {height} pixels; the smallest that can be recognised is "
            f"{MIN_SIDE} x {MIN_SIDE}. Send the original in full size.",
        )


def _too_many_pixels() -> ImageRefused:
    return ImageRefused(
        Refusal.TOO_MANY_PIXELS,
        f"This picture has more than {MAX_PIXELS // 1_000_000} megapixels or a side of more than "
        f"{MAX_SIDE:,} pixels. Save a smaller copy and send that.",
    )


def _sniff(head: bytes) -> str:
    """The format, told by the file's first bytes. Raises ImageRefused for any but our five."""
    if not head:
        raise ImageRefused(
            Refusal.EMPTY, "This file is empty. Copy it again from where it came from."
        )
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "WEBP"
    if head[4:8] == b"ftyp" and head[8:12] in _HEIF_STILLS | _HEIF_SEQUENCES:
        end = min(int.from_bytes(head[:4], "big"), len(head))
        brands = {head[i : i + 4] for i in (8, *range(16, end, 4))}
        # "mif1" says only that it is some HEIF; AVIF is one, and there is no decoder for it there.
        if b"avif" not in brands or brands & (_HEIF_STILLS - {b"mif1"}):
            return "HEIF"
        raise _unsupported("an AVIF")
    for pattern, what in _FOREIGN:
        if pattern.match(head):
            raise _unsupported(what)
    if head.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return "TIFF"
    raise ImageRefused(
        Refusal.NOT_AN_IMAGE,
        "This is not a picture, whatever its name says. Send a JPEG, PNG, TIFF, WebP or HEIC file.",
    )


def _unsupported(what: str) -> ImageRefused:
    return ImageRefused(
        Refusal.UNSUPPORTED_FORMAT,
        f"This is {what}, which can't be recognised here. "
        "Save the picture as JPEG, PNG, TIFF, WebP or HEIC and send that.",
    )


def _webp_size(head: bytes) -> tuple[int, int]:
    """Width and height. Source: RFC 9649, section 2, and RFC 6386, section 9.1, for VP8."""
    if len(head) < 30:
        raise EOFError("WebP header cut off")
    if head[12:16] == b"VP8X":
        return 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")
    if head[12:16] == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = (int.from_bytes(head[i : i + 2], "little") & 0x3FFF for i in (26, 28))
    return width, height


def _check_structure(file: BinaryIO, image: ImageFile.ImageFile, kind: str) -> None:
    """What only shows after the header is read, and would cost or mislead when decoded."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        # Raw files are TIFFs that begin with a small preview: faces would be sought in that.
        subfile_type, dng_version = image.tag_v2.get(254, 0), image.tag_v2.get(50706)
        if dng_version is not None or (isinstance(subfile_type, int) and subfile_type & 1):
            raise _unsupported("a camera raw")
    elif kind == "JPEG" and image.info.get("progressive") and _count_scans(file) > _MAX_SCANS:
        raise ImageRefused(
            Refusal.TRUNCATED,
            "This JPEG is built in a way that would take hours to open. "
            "Open it in a photo program, save it as a new JPEG and send that.",
        )


def _count_scans(file: BinaryIO) -> int:
    """Scans of the first picture of a JPEG, counted up to just above the limit.

    Segments are skipped by their length, so a thumbnail in the EXIF is not counted; inside scans
    0xFF is followed by 0x00 or by a restart marker, so that any other marker is a real one.
    """
    marker = re.compile(rb"\xff[^\x00\xff\xd0-\xd8]")
    file.seek(2)
    scans, window, base = 0, b"", 2
    while scans <= _MAX_SCANS:
        found = marker.search(window)
        if found is None:
            base += max(0, len(window) - 1)
            file.seek(base)
            window = file.read(1 << 16)
            if len(window) < 2:
                break
            continue
        at = base + found.start()
        kind = window[found.start() + 1]
        if kind == 0xD9:
            break
        scans += kind == 0xDA
        file.seek(at + 2)
        length = int.from_bytes(file.read(2), "big")
        base = at + 2 + length
        file.seek(base)
        window = file.read(1 << 12)
    return scans
