"""A location planted wherever a file can hold one never reaches a stranger."""

from __future__ import annotations

import io
import struct
import zlib
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from PIL import Image

from persons.images import FORMATS, Keep, open_oriented, stripped, stripped_suffix
from tests.support.metadata import exif_of, picture
from tests.support.tiffs import compressed, tiff

pytestmark = pytest.mark.thorough

PLACE = b"CANARY-GPS 48.8582 N"
WIDE = "CANARY-GPS 48.8582 N".encode("utf-16-le")


def saved(kind: str, image: Image.Image | None = None, **options: Any) -> bytes:
    out = io.BytesIO()
    (image or picture()).save(out, kind, **options)
    return out.getvalue()


def exif_with_loose_block() -> bytes:
    """Nothing in its tables leads to what stands at its end."""
    return exif_of(1, place=False).tobytes() + PLACE + WIDE


def exif_with_free_texts() -> bytes:
    exif = exif_of(1, place=False)
    exif[0x010E] = PLACE.decode()
    exif[0x9C9C] = WIDE
    inner = exif.get_ifd(0x8769)
    inner[0x9286] = PLACE
    inner[0x927C] = PLACE
    return exif.tobytes()


def exif_with_thumbnail() -> bytes:
    """A second table, with a picture that has something to tell itself."""
    block = bytearray(exif_of(1, place=False).tobytes()[6:])
    order = "<" if block[:2] == b"II" else ">"
    (first,) = struct.unpack_from(order + "I", block, 4)
    (count,) = struct.unpack_from(order + "H", block, first)
    second = len(block)
    struct.pack_into(order + "I", block, first + 2 + 12 * count, second)
    small = saved("JPEG", comment=PLACE)
    at = second + 2 + 24 + 4
    block += struct.pack(order + "H", 2)
    block += struct.pack(order + "HHII", 0x0201, 4, 1, at)
    block += struct.pack(order + "HHII", 0x0202, 4, 1, len(small))
    return b"Exif\0\0" + bytes(block) + bytes(4) + small


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def riff(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def jpegs() -> dict[str, bytes]:
    plain = saved("JPEG")
    app = {
        f"segment {marker:02x}": plain[:2] + segment(marker, b"Any\0" + PLACE) + plain[2:]
        for marker in (*range(0xE1, 0xF0), 0xFE)
    }
    blocks = {
        f"exif {name}": plain[:2] + segment(0xE1, block) + plain[2:]
        for name, block in (
            ("loose", exif_with_loose_block()),
            ("texts", exif_with_free_texts()),
            ("thumbnail", exif_with_thumbnail()),
            ("second", exif_of(1, place=False).tobytes()),
        )
    }
    second = blocks.pop("exif second")
    return {
        **app,
        **blocks,
        "second exif": second[:2] + segment(0xE1, exif_with_free_texts()) + second[2:],
        "behind": plain + PLACE,
        "second picture": plain + saved("JPEG", comment=PLACE),
        "adobe": plain[:2] + segment(0xEE, b"Adobe\0d\0\0\0\0\1" + PLACE) + plain[2:],
        "jfif thumbnail": plain[:2]
        + segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\1\7" + PLACE[:20] + b"\0")
        + plain[20:],
        "multi picture": saved(
            "MPO", save_all=True, append_images=[picture()], exif=exif_with_free_texts()
        ),
    }


def pngs() -> dict[str, bytes]:
    plain = saved("PNG")
    head, rest = plain[:33], plain[33:]
    at = plain.index(b"IDAT")
    (length,) = struct.unpack(">I", plain[at - 4 : at])
    pixels = plain[at + 4 : at + 4 + length]
    return {
        "text": head + chunk(b"tEXt", b"Description\0" + PLACE) + rest,
        "packed text": head + chunk(b"zTXt", b"Comment\0\0" + zlib.compress(PLACE)) + rest,
        "text in any language": head + chunk(b"iTXt", b"Title\0\0\0\0\0" + PLACE) + rest,
        "profile": head
        + chunk(b"tEXt", b"Raw profile type exif\0\nexif\n 20\n" + PLACE.hex().encode())
        + rest,
        "unknown": head + chunk(b"geOl", PLACE) + rest,
        "long gamma": head + chunk(b"gAMA", struct.pack(">I", 45455) + PLACE) + rest,
        "palette names": head + chunk(b"sPLT", PLACE + b"\0\x08") + rest,
        "exif": head + chunk(b"eXIf", exif_with_loose_block()[6:]) + rest,
        "exif texts": head + chunk(b"eXIf", exif_with_free_texts()[6:]) + rest,
        "behind the pixels": head + chunk(b"IDAT", pixels + PLACE) + chunk(b"IEND", b""),
        "in its end": head + chunk(b"IDAT", pixels) + chunk(b"IEND", PLACE),
        "behind": plain + PLACE,
    }


def webps() -> dict[str, bytes]:
    plain = saved("WEBP", lossless=True, exif=exif_of(1, place=False).tobytes())

    def more(*parts: bytes) -> bytes:
        body = plain[12:] + b"".join(parts)
        return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body

    return {
        "unknown": more(riff(b"GEOL", PLACE)),
        "second exif": more(riff(b"EXIF", exif_with_free_texts())),
        "xmp": saved("WEBP", lossless=True, xmp=b"<x exif:GPSLatitude='" + PLACE + b"'/>"),
        "loose": saved("WEBP", lossless=True, exif=exif_with_loose_block()),
        "texts": saved("WEBP", lossless=True, exif=exif_with_free_texts()),
        "behind": plain + PLACE,
    }


def tiffs() -> dict[str, bytes]:
    pixels = np.asarray(picture())
    high, wide = pixels.shape[:2]
    raw = pixels.tobytes()

    def page(
        part: bytes, *, how: int = 1, photometric: int = 2, **more: tuple[str, list[int]]
    ) -> bytes:
        tags: dict[int, tuple[str, list[int]]] = {
            256: ("I", [wide]), 257: ("I", [high]), 258: ("H", [8, 8, 8]), 259: ("H", [how]),
            262: ("H", [photometric]), 277: ("H", [3]), 278: ("I", [high]),
        }  # fmt: skip
        tags |= {int(name[1:]): value for name, value in more.items()}
        return tiff(tags, [part], "<", big=False)

    plain = page(raw)
    letters = list(struct.unpack(f"<{len(PLACE) // 2}H", PLACE))
    second = saved("TIFF", save_all=True, append_images=[picture()], description=PLACE.decode())
    jpeg = saved("JPEG", comment=PLACE)
    jpeg = jpeg[:2] + segment(0xE5, PLACE) + jpeg[2:]
    return {
        "behind": plain + PLACE + exif_with_free_texts(),
        "in a long strip": page(raw + PLACE),
        "in a long deflated strip": page(compressed(raw, 8) + PLACE, how=8),
        "in a long lzw strip": page(compressed(raw, 5) + PLACE, how=5),
        "in a long packed strip": page(compressed(raw, 32773) + PLACE, how=32773),
        "in a jpeg strip": page(jpeg, how=7, photometric=6),
        "description": page(raw, t270=("H", letters)),
        "unknown tag": page(raw, t50000=("H", letters)),
        "second page": second,
        "fax": saved("TIFF", picture().convert("1"), compression="group4") + PLACE,
    }  # fmt: skip


def others() -> dict[str, tuple[str, bytes]]:
    exif = exif_with_free_texts()
    gif = saved("GIF", picture().quantize(64), comment=PLACE)
    bmp = saved("BMP")
    return {
        "heic exif": ("HEIF", saved("HEIF", exif=exif) + PLACE),
        "avif exif": ("AVIF", saved("AVIF", exif=exif) + PLACE),
        "gif comment": ("GIF", gif + PLACE),
        "bmp behind": ("BMP", bmp + PLACE),
        "jpeg 2000 box": (
            "JPEG2000",
            saved("JPEG2000", comment=PLACE) + struct.pack(">I4s", 28, b"uuid") + PLACE,
        ),
    }


CASES = {
    **{f"JPEG {name}": ("JPEG", data) for name, data in jpegs().items()},
    **{f"PNG {name}": ("PNG", data) for name, data in pngs().items()},
    **{f"WEBP {name}": ("WEBP", data) for name, data in webps().items()},
    **{f"TIFF {name}": ("TIFF", data) for name, data in tiffs().items()},
    **others(),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("keep", Keep)
@pytest.mark.parametrize("name", CASES)
def test_no_byte_of_a_planted_place_is_left(name: str, keep: Keep) -> None:
    kind, data = CASES[name]
    found = stripped(data, kind, keep)
    for plain in (found.data, _unpacked(found.data)):
        assert b"CANARY-GPS" not in plain
        assert WIDE[:20] not in plain
        assert b"CANARY-GPS".hex().encode() not in plain
    shown, before = (open_oriented(io.BytesIO(one)) for one in (found.data, data))
    difference = np.asarray(shown, int) - np.asarray(before, int)
    assert np.abs(difference).mean() < (20 if found.is_new else 0.01)
    assert found.suffix in (stripped_suffix(kind), "jpg")


def _unpacked(data: bytes) -> bytes:
    """What its compressed parts say."""
    found = b""
    for mark in (b"\x78\x9c", b"\x78\xda", b"\x78\x01", b"\x78\x5e"):
        at = data.find(mark)
        while at != -1:
            with suppress(zlib.error):
                found += zlib.decompressobj().decompress(data[at:], 1 << 20)
            at = data.find(mark, at + 1)
    return found


@pytest.mark.parametrize("name", [name for name in CASES if "behind" not in name])
def test_the_samples_tell_of_a_place(name: str) -> None:
    """Else the test above would hold of files that have nothing to take out."""
    _, data = CASES[name]
    plain = data + _unpacked(data)
    assert b"CANARY-GPS" in plain or b"CANARY-GPS".hex().encode() in plain


def test_a_deep_tiff_keeps_its_depth() -> None:
    values = (np.asarray(picture(), np.uint16) * 257).astype("<u2")
    high, wide = values.shape[:2]
    tags = {
        256: ("I", [wide]), 257: ("I", [high]), 258: ("H", [16] * 3), 259: ("H", [1]),
        262: ("H", [2]), 277: ("H", [3]), 278: ("I", [high]),
    }  # fmt: skip
    found = stripped(tiff(tags, [values.tobytes()], "<", big=False), "TIFF", Keep.NOTHING)
    assert not found.is_new
    assert values.tobytes() in _unpacked(found.data)


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_can_be_given_away(kind: str) -> None:
    image = picture().quantize(64) if kind == "GIF" else picture()
    found = stripped(saved(kind, image), kind, Keep.NOTHING)
    with Image.open(io.BytesIO(found.data)) as again:
        assert again.size == (40, 30)
        assert FORMATS[again.format or ""].suffixes[0] == found.suffix == stripped_suffix(kind)
