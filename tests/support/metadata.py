"""Pictures with metadata that must not reach strangers."""

from __future__ import annotations

import io
import random
import struct
from typing import Any

from PIL import Image, PngImagePlugin, TiffImagePlugin

PLACE = "CANARY-PLACE"

DETAIL = "CANARY-DETAIL"

XMP_PLACE = f'<x:xmpmeta><rdf exif:GPSLatitude="{PLACE}"/></x:xmpmeta>'.encode()


def picture(size: tuple[int, int] = (40, 30)) -> Image.Image:
    image = Image.new("RGB", size)
    numbers = random.Random(5)
    image.putdata([tuple(numbers.randbytes(3)) for _ in range(size[0] * size[1])])
    return image


def exif_of(orientation: int = 6, *, place: bool = True) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = DETAIL
    exif[0x9003 if not place else 0x0132] = "2024:05:06 07:08:09"
    inner = exif.get_ifd(0x8769)
    inner[0x9003] = "2024:05:06 07:08:09"
    inner[0xA434] = DETAIL
    if place:
        inner[0x927C] = f"notes {PLACE}".encode()
        inner[0x9286] = f"comment {PLACE}".encode()
        gps = exif.get_ifd(0x8825)
        gps.update(
            {1: "N", 2: (48.0, 51.0, 29.5), 3: "E", 4: (2.0, 17.0, 40.2), 27: PLACE.encode()}
        )
    return exif


def taken(kind: str, *, place: bool = True, orientation: int = 6, xmp: bytes = b"") -> bytes:
    """A file of that format with all metadata that cameras and editors write."""
    out = io.BytesIO()
    exif = exif_of(orientation, place=place)
    more: dict[str, Any] = {"exif": exif.tobytes()}
    if kind == "PNG":
        info = PngImagePlugin.PngInfo()
        info.add_text("Author", DETAIL)
        info.add_text("City", PLACE)
        info.add_text("Comment", PLACE, zip=True)
        info.add_itxt("XML:com.adobe.xmp", (xmp or XMP_PLACE).decode())
        info.add_text("Raw profile type iptc", PLACE)
        more["pnginfo"] = info
    elif kind == "TIFF":
        tags = TiffImagePlugin.ImageFileDirectory_v2()
        tags[0x0112] = orientation
        tags[0x010F] = DETAIL
        tags[0x02BC] = xmp or XMP_PLACE
        tags.tagtype[0x02BC] = 1
        tags[0x83BB] = PLACE.encode()
        tags.tagtype[0x83BB] = 1
        tags[0x8825] = {1: "N", 2: (48.0, 51.0, 29.5), 27: PLACE.encode()}
        tags[0x8769] = {0xA434: DETAIL, 0x927C: PLACE.encode()}
        more = {"tiffinfo": tags}
    elif kind != "HEIF":
        more["xmp"] = xmp or XMP_PLACE
    if kind == "WEBP":
        more["lossless"] = True
    picture().save(out, kind, **more)
    data = out.getvalue()
    return _with_segments(data) if kind == "JPEG" else data


def _with_segments(data: bytes) -> bytes:
    """The JPEG with IPTC, video metadata, a comment, and data after its end."""

    def segment(marker: int, body: str) -> bytes:
        return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body.encode()

    extra = segment(0xED, f"Photoshop 3.0\0{PLACE}") + segment(0xE6, f"GoPro\0{PLACE}")
    extra += segment(0xFE, f"location {PLACE}") + segment(0xE2, f"FPXR\0{PLACE}")
    return data[:2] + extra + data[2:] + f"motion photo {PLACE}".encode()
