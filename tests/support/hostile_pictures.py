"""Small files that crash a process or take a gigabyte when a library opens them without limits."""

from __future__ import annotations

import io
import struct
import zlib

import pillow_heif
from PIL import Image


def lossless_jpeg(width: int = 800, height: int = 600) -> bytes:
    """A lossless JPEG (SOF3), one component, all grey: every difference is 0, coded as bit 0."""

    def segment(marker: int, body: bytes) -> bytes:
        return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body

    frame = segment(0xC3, struct.pack(">BHHB", 8, height, width, 1) + bytes([1, 0x11, 0]))
    table = segment(0xC4, bytes([0, 1]) + bytes(15) + bytes([0]))
    scan = segment(0xDA, bytes([1, 1, 0, 1, 0, 0]))
    return b"\xff\xd8" + frame + table + scan + bytes((width * height + 7) // 8) + b"\xff\xd9"


def webp_of(width: int, height: int) -> bytes:
    """A VP8L file of 46 bytes: five codes of one symbol each, so that pixels take no bits."""
    head = (width - 1) | (height - 1) << 14
    codes = sum(0b0001 << 3 + 4 * n for n in range(5))
    body = b"\x2f" + struct.pack("<I", head) + codes.to_bytes(21, "little")
    riff = b"WEBPVP8L" + struct.pack("<I", len(body)) + body
    return b"RIFF" + struct.pack("<I", len(riff)) + riff


def png_of(width: int, height: int, *, depth: int = 8, colour: int = 2) -> bytes:
    """An all black PNG. `colour` is PNG's colour type: 0 grey, 2 RGB, 6 RGB with alpha."""
    channels = {0: 1, 2: 3, 6: 4}[colour]
    row = bytes(1 + width * channels * depth // 8)
    packer = zlib.compressobj(9)
    data = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()

    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def heic_of(width: int, height: int) -> bytes:
    out = io.BytesIO()
    pillow_heif.from_pillow(Image.new("RGB", (width, height), (90, 120, 60))).save(out, quality=50)
    return out.getvalue()
