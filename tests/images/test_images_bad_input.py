"""Files that are refused, or of which only a part is used: each case has its own clear message."""

from __future__ import annotations

import io
import pickle
import random
import struct
import tempfile
import time
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from persons.images import ImageRefused, Refusal, inspect, open_oriented

pytestmark = pytest.mark.thorough


def encoded(format: str, size: tuple[int, int] = (160, 120), **options: object) -> bytes:
    """A noisy picture, so that its compressed data is long enough to be cut anywhere."""
    width, height = size
    pixels = random.Random(7).randbytes(width * height * 3)
    buffer = io.BytesIO()
    Image.frombytes("RGB", size, pixels).save(buffer, format, **options)
    return buffer.getvalue()


WHOLE: dict[str, bytes] = {
    "jpeg": encoded("JPEG"),
    "progressive jpeg": encoded("JPEG", progressive=True),
    "png": encoded("PNG"),
    "webp": encoded("WEBP"),
    "lossless webp": encoded("WEBP", lossless=True),
    "heic": encoded("HEIF"),
    "tiff": encoded("TIFF"),
    "deflated tiff": encoded("TIFF", compression="tiff_deflate"),
    "lzw tiff": encoded("TIFF", compression="tiff_lzw"),
    "big tiff": encoded("TIFF", big_tiff=True),
    "tiled heic": encoded("HEIF", tile_size=64),
    "avif": encoded("AVIF"),
    "gif": encoded("GIF"),
    "bmp": encoded("BMP"),
    "jpeg 2000": encoded("JPEG2000"),
}


def refusal(data: bytes, **options: Any) -> ImageRefused:
    with pytest.raises(ImageRefused) as caught:
        inspect(io.BytesIO(data), **options)
    sentence = str(caught.value)
    assert sentence[0].isupper()
    assert sentence.endswith(".")
    assert ". " in sentence or ";" in sentence, "says what is wrong and what to do"
    return caught.value


def png_header(width: int, height: int) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


def jpeg_with_size(width: int, height: int) -> bytes:
    data = bytearray(encoded("JPEG", (16, 16)))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def webp_canvas(width: int, height: int) -> bytes:
    body = b"VP8X" + struct.pack("<I", 10) + bytes([2, 0, 0, 0])
    body += (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def test_an_empty_file_is_refused() -> None:
    assert refusal(b"").code == Refusal.EMPTY


@pytest.mark.parametrize("data", [b"Dear diary, BM", b"<html><body>", b"\0" * 500, b"\xff", b"II"])
def test_text_and_rubbish_named_like_a_photo_is_not_an_image(data: bytes) -> None:
    assert refusal(data).code == Refusal.NOT_AN_IMAGE


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (encoded("TGA"), "Targa"),
        (encoded("TGA", compression="tga_rle"), "Targa"),
        (encoded("PPM"), "PPM"),
        (encoded("SGI"), "SGI"),
        (encoded("PCX"), "PCX"),
        (encoded("DDS"), "DDS"),
        (b"\x76\x2f\x31\x01\2\0\0\0channels\0", "OpenEXR"),
        (b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n", "Radiance"),
        (b"\0\0\0\x1cftypavci\0\0\0\0mif1avcimiaf" + b"\0" * 40, "AVC"),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + b"\0" * 40, "JPEG XL"),
        (b"%PDF-1.7\n", "PDF"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b'<?xml version="1.0"?>\n<svg/>', "SVG"),
        (b"\0\0\0\x18ftypmp42" + b"\0" * 40, "video"),
        (b"\0\0\0\x18ftypcrx " + b"\0" * 40, "raw"),
        (b"II*\0\x10\0\0\0CR\x02\0" + b"\0" * 40, "raw"),
        (encoded("TIFF", tiffinfo={254: 1}), "raw"),
        (encoded("TIFF", tiffinfo={50706: b"\1\4\0\0"}), "raw"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_format_that_is_known_but_not_taken_is_named(data: bytes, word: str) -> None:
    refused = refusal(data)
    assert refused.code == Refusal.UNSUPPORTED_FORMAT
    assert word in str(refused)


def test_a_heic_sequence_without_a_still_picture_is_refused_as_moving() -> None:
    data = b"\0\0\0\x18ftyphevc\0\0\0\0hevcmsf1" + b"\0\0\0\x08moov"
    assert refusal(data).code == Refusal.ANIMATED


@pytest.mark.parametrize("kind", WHOLE)
@pytest.mark.parametrize("part", [0.02, 0.1, 0.5, 0.9, 0.99])
def test_a_file_that_was_cut_off_is_refused_at_upload_and_again_in_the_worker(
    kind: str, part: float
) -> None:
    cut = WHOLE[kind][: max(12, int(len(WHOLE[kind]) * part))]
    assert refusal(cut).code == Refusal.TRUNCATED
    with pytest.raises(ImageRefused):
        open_oriented(io.BytesIO(cut))


@pytest.mark.parametrize("kind", WHOLE)
def test_the_same_files_come_in_when_they_are_whole(kind: str) -> None:
    seen = inspect(io.BytesIO(WHOLE[kind]))
    assert (seen.width, seen.height) == (160, 120)
    assert seen.size == len(WHOLE[kind])
    assert open_oriented(io.BytesIO(WHOLE[kind])).size == (160, 120)


@pytest.mark.parametrize(
    "data",
    [
        png_header(20_000, 20_000),
        png_header(2**31 - 1, 2**31 - 1),
        png_header(12_000, 9_000),
        png_header(30_001, 10),
        jpeg_with_size(20_000, 20_000),
        jpeg_with_size(65_500, 65_500),
        jpeg_with_size(12_000, 12_000),
        webp_canvas(20_000, 20_000),
        webp_canvas(2**24, 256),
    ],
    ids=lambda data: data[:4].hex(),
)
@pytest.mark.parametrize("read", [inspect, open_oriented])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_pixel_bomb_is_refused_before_it_is_decoded(
    data: bytes, read: Callable[[io.BytesIO], object]
) -> None:
    started = time.process_time()
    with pytest.raises(ImageRefused) as caught:
        read(io.BytesIO(data))
    assert caught.value.code == Refusal.TOO_MANY_PIXELS
    assert time.process_time() - started < 0.5


@pytest.mark.filterwarnings("error::PIL.Image.DecompressionBombWarning")
def test_a_pixel_bomb_is_refused_the_same_where_warnings_are_errors() -> None:
    assert refusal(png_header(12_000, 9_000)).code == Refusal.TOO_MANY_PIXELS


def test_a_progressive_jpeg_with_thousands_of_scans_is_refused_before_it_is_decoded() -> None:
    whole = WHOLE["progressive jpeg"]
    last = whole.rindex(b"\xff\xda")
    bomb = whole[:-2] + whole[last:-2] * 3000 + b"\xff\xd9"
    started = time.process_time()
    assert refusal(bomb).code == Refusal.TRUNCATED
    assert time.process_time() - started < 1


@pytest.mark.parametrize("size", [(1, 1), (4, 4), (4, 900), (900, 4)])
@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_a_picture_below_five_pixels_a_side_is_too_small(
    format: str, size: tuple[int, int]
) -> None:
    refused = refusal(encoded(format, size))
    assert refused.code == Refusal.TOO_SMALL
    assert f"{size[0]} x {size[1]}" in str(refused)


def test_five_by_five_pixels_come_in() -> None:
    assert inspect(io.BytesIO(encoded("PNG", (5, 5)))).width == 5


def test_a_file_of_60_mb_is_refused_without_being_read() -> None:
    with tempfile.TemporaryFile() as file:
        file.write(WHOLE["jpeg"])
        file.truncate(60_000_000)
        started = time.process_time()
        with pytest.raises(ImageRefused) as caught:
            inspect(file)
    assert caught.value.code == Refusal.TOO_LARGE_BYTES
    assert "60.0 MB" in str(caught.value)
    assert "50 MB" in str(caught.value)
    assert time.process_time() - started < 0.5


def test_the_limit_in_bytes_is_the_callers_and_inclusive() -> None:
    data = WHOLE["jpeg"]
    assert inspect(io.BytesIO(data), max_bytes=len(data)).size == len(data)
    assert refusal(data, max_bytes=len(data) - 1).code == Refusal.TOO_LARGE_BYTES


def test_a_refusal_keeps_its_code_and_sentence_between_processes() -> None:
    refused = pickle.loads(pickle.dumps(refusal(b"")))
    assert refused.code == Refusal.EMPTY
    assert str(refused) == str(refusal(b""))


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(sorted(WHOLE)),
    changes=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=8),
    in_header=st.booleans(),
    on_disk=st.booleans(),
)
def test_damaged_bytes_are_either_taken_or_refused_and_nothing_else_is_ever_raised(
    kind: str, changes: list[tuple[int, int]], in_header: bool, on_disk: bool
) -> None:
    data = bytearray(WHOLE[kind])
    for at, value in changes:
        data[at % (min(len(data), 400) if in_header else len(data))] = value
    with tempfile.TemporaryFile() if on_disk else io.BytesIO() as file:
        file.write(data)
        try:
            seen = inspect(file)
            image = open_oriented(file)
        except ImageRefused:
            return
    assert image.mode == "RGB"
    assert image.size == (seen.width, seen.height)


# --- What other programs write ---


def lossless_jpeg(width: int = 800, height: int = 600, *, between: bytes = b"") -> bytes:
    """One component, all grey: every difference is 0, whose code is the bit 0."""

    def segment(marker: int, body: bytes) -> bytes:
        return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body

    frame = segment(0xC3, struct.pack(">BHHB", 8, height, width, 1) + bytes([1, 0x11, 0]))
    table = segment(0xC4, bytes([0, 1]) + bytes(15) + bytes([0]))
    scan = segment(0xDA, bytes([1, 1, 0, 1, 0, 0]))
    pixels = bytes((width * height + 7) // 8)
    return b"\xff\xd8" + between + frame + table + scan + pixels + b"\xff\xd9"


@pytest.mark.parametrize(
    "between",
    [
        b"",
        b"\xff\xff\xff",
        b"\xff\xfe\0\4hi\0\0junk",
        b"\xff\xfe\0\x04hi" * 3,
        b"\xff\xe1\x20\2" + b"x" * 8192,
    ],
    ids=["plain", "fill", "junk", "comments", "long"],
)
def test_a_lossless_jpeg_is_named_before_a_decoder_sees_it(
    between: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pillow's `draft` writes beyond its buffer on it, which ends the process."""
    monkeypatch.setattr("persons.images.opening.Image.open", lambda *_, **__: pytest.fail("opened"))
    refused = refusal(lossless_jpeg(between=between))
    assert refused.code == Refusal.UNSUPPORTED_FORMAT
    assert "lossless JPEG" in str(refused)


@pytest.mark.parametrize(("marker", "bits", "word"), [(0xC5, 8, "hierarchical"), (0xC1, 12, "12")])
def test_other_unusual_jpegs_are_named(marker: int, bits: int, word: str) -> None:
    data = bytearray(encoded("JPEG"))
    at = data.index(b"\xff\xc0")
    data[at + 1], data[at + 4] = marker, bits
    refused = refusal(bytes(data))
    assert refused.code == Refusal.UNSUPPORTED_FORMAT
    assert word in str(refused)


def test_a_png_with_much_text_is_taken() -> None:
    texts = PngImagePlugin.PngInfo()
    texts.add_text("workflow", '{"a":1}' * 300_000, zip=True)
    for number in range(80):
        texts.add_text(f"page {number}", "words " * 150_000, zip=True)
    data = encoded("PNG", pnginfo=texts)
    assert inspect(io.BytesIO(data)).format == "PNG"
    assert open_oriented(io.BytesIO(data)).size == open_oriented(io.BytesIO(WHOLE["png"])).size


def test_a_png_with_a_profile_of_megabytes_is_taken() -> None:
    data = encoded("PNG", icc_profile=bytes(3_000_000))
    assert inspect(io.BytesIO(data)).format == "PNG"


@pytest.mark.parametrize("kind", ["AVIF", "GIF", "BMP", "JPEG2000"])
def test_what_people_have_is_taken(kind: str) -> None:
    assert inspect(io.BytesIO(encoded(kind))).format == kind


@pytest.mark.parametrize("compression", [1, 2])
def test_a_bmp_with_runs_is_refused_by_its_kind(compression: int) -> None:
    data = bytearray(encoded("BMP"))
    data[30] = compression
    refused = refusal(bytes(data))
    assert refused.code == Refusal.UNSUPPORTED_FORMAT
    assert "run-length" in str(refused)


def test_of_a_gif_the_first_frame_is_taken_and_that_is_said() -> None:
    first = Image.new("RGB", (64, 48), (250, 0, 0))
    out = io.BytesIO()
    first.save(out, "GIF", save_all=True, append_images=[Image.new("RGB", (64, 48), "blue")])
    (note,) = inspect(out).notes
    assert "first frame" in note
    assert open_oriented(out).getpixel((9, 9)) == (250, 0, 0)
