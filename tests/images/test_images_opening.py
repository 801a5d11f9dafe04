"""What is read from a file at upload, and the decoded picture that everything else is made from."""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from datetime import UTC, datetime, timedelta, timezone

import pytest
from PIL import ExifTags, Image, ImageChops, ImageCms, PngImagePlugin

from persons.images import inspect, open_oriented

pytestmark = pytest.mark.thorough

RED, GREEN, BLUE, YELLOW = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)

INVERSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def quarters(size: tuple[int, int] = (96, 64)) -> Image.Image:
    """Four colours, so that every way of turning it looks different."""
    image = Image.new("RGB", (2, 2))
    image.putdata([RED, GREEN, BLUE, YELLOW])
    return image.resize(size, Image.Resampling.NEAREST)


def saved(image: Image.Image, format: str, **options: object) -> io.BytesIO:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer


def distance(one: Image.Image, other: Image.Image) -> int:
    """The largest difference of any channel of any pixel."""
    assert one.mode == other.mode == "RGB"
    assert one.size == other.size
    channels = ImageChops.difference(one, other).split()
    return max(
        value for channel in channels for value, count in enumerate(channel.histogram()) if count
    )


def pixel(image: Image.Image, x: int, y: int) -> tuple[int, ...]:
    value = image.getpixel((x, y))
    assert isinstance(value, tuple)
    return value


def exif_with(tags: dict[int, object], orientation: int | None = None) -> bytes:
    """Bytes, since some writers drop or misread an Exif object."""
    exif = Image.Exif()
    if orientation is not None:
        exif[ExifTags.Base.Orientation] = orientation
    exif.get_ifd(ExifTags.IFD.Exif).update(tags)
    return exif.tobytes()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("format", "options", "tolerance"),
    [
        ("JPEG", {"quality": 95, "subsampling": 0}, 4),
        ("PNG", {}, 0),
        ("WEBP", {"lossless": True}, 0),
        ("TIFF", {}, 0),
        ("TIFF", {"compression": "tiff_lzw"}, 0),
        ("HEIF", {"quality": 95, "chroma": 444}, 12),
    ],
)
def test_every_orientation_in_every_format_is_turned_the_right_way_up_once(
    orientation: int, format: str, options: dict[str, object], tolerance: int
) -> None:
    upright = quarters()
    stored = upright.transpose(INVERSE[orientation]) if orientation > 1 else upright
    tag = (
        {"tiffinfo": {ExifTags.Base.Orientation: orientation}}
        if format == "TIFF"
        else {"exif": exif_with({}, orientation)}
    )
    file = saved(stored, format, **tag, **options)

    image = open_oriented(file)

    assert distance(image, upright) <= tolerance
    seen = inspect(file)
    assert (seen.width, seen.height) == (96, 64)


def test_a_heic_is_turned_by_its_container_and_not_by_its_exif() -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    file = saved(quarters(), "HEIF", exif=exif, quality=95, chroma=444)
    assert b"irot" not in file.getvalue()
    assert distance(open_oriented(file), quarters()) <= 12


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_an_orientation_that_makes_no_sense_is_no_orientation(value: int) -> None:
    file = saved(quarters(), "JPEG", exif=exif_with({}, value))
    assert (inspect(file).width, open_oriented(file).width) == (96, 96)


def test_an_orientation_in_words_is_no_orientation() -> None:
    entry = struct.pack("<HHHI4s", 1, ExifTags.Base.Orientation, 2, 4, b"six\0")
    file = saved(quarters(), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0" + entry + b"\0\0\0\0")
    assert (inspect(file).width, open_oriented(file).width) == (96, 96)


@pytest.mark.parametrize("blob", [b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", b"\0" * 99])
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.filterwarnings("ignore")
def test_broken_exif_does_not_cost_the_photo(blob: bytes, format: str) -> None:
    file = saved(quarters(), format, exif=blob)
    assert inspect(file).taken_at is None
    assert open_oriented(file).size == (96, 64)


def test_what_is_told_of_a_file_and_the_file_is_left_at_its_beginning() -> None:
    file = saved(quarters((640, 480)), "JPEG")
    seen = inspect(file)
    assert seen.sha256 == hashlib.sha256(file.getvalue()).hexdigest()
    assert (seen.size, seen.format) == (len(file.getvalue()), "JPEG")
    assert (seen.width, seen.height, seen.taken_at, seen.notes) == (640, 480, None, ())
    assert file.tell() == 0
    assert not file.closed


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP", "HEIF"])
def test_the_format_is_told_by_content(format: str) -> None:
    file = saved(quarters(), format)
    assert inspect(file).format == format
    assert open_oriented(file).info == {}
    assert not file.closed


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({0x9003: "2024:05:06 07:08:09"}, datetime(2024, 5, 6, 7, 8, 9)),
        (
            {0x9003: "2024:05:06 07:08:09", 0x9011: "+03:00"},
            datetime(2024, 5, 6, 7, 8, 9, tzinfo=timezone(timedelta(hours=3))),
        ),
        (
            {0x9003: "2024:05:06 07:08:09", 0x9011: "Z"},
            datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC),
        ),
        ({0x9003: "2024:05:06 07:08:09", 0x9011: "+99:99"}, datetime(2024, 5, 6, 7, 8, 9)),
        ({0x9003: "2024:05:06 07:08:09", 0x9011: "   :  "}, datetime(2024, 5, 6, 7, 8, 9)),
        ({0x9003: "0000:00:00 00:00:00"}, None),
        ({0x9003: "    :  :     :  :  "}, None),
        ({0x9003: "2024:13:45 99:00:00"}, None),
        ({0x9003: "1000:01:01 00:00:00"}, None),
        ({0x9003: "9999:12:31 23:59:59"}, None),
        ({0x9003: "yesterday"}, None),
        ({0x9003: 5}, None),
        ({}, None),
    ],
)
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "HEIF"])
def test_the_time_it_was_taken_is_read_where_it_makes_sense(
    format: str, tags: dict[int, object], expected: datetime | None
) -> None:
    taken = inspect(saved(quarters(), format, exif=exif_with(tags))).taken_at
    assert taken == expected
    assert (taken and taken.utcoffset()) == (expected and expected.utcoffset())


@pytest.mark.parametrize(
    ("format", "word"), [("PNG", "frame"), ("WEBP", "frame"), ("TIFF", "page"), ("HEIF", "main")]
)
def test_of_several_frames_the_first_is_used_and_that_is_said(format: str, word: str) -> None:
    first = Image.new("RGB", (64, 48), RED)
    file = saved(
        first, format, save_all=True, append_images=[Image.new("RGB", (64, 48), BLUE)], quality=95
    )
    (note,) = inspect(file).notes
    assert word in note
    assert distance(open_oriented(file), first) < 16


def test_a_phones_jpeg_with_a_second_picture_inside_is_a_jpeg() -> None:
    file = saved(
        quarters((128, 96)), "MPO", save_all=True, append_images=[Image.new("RGB", (64, 48))]
    )
    seen = inspect(file)
    assert (seen.format, seen.notes, seen.width) == ("JPEG", (), 128)
    assert open_oriented(file).size == (128, 96)


def test_cmyk_without_a_profile_is_converted() -> None:
    for format in ("JPEG", "TIFF"):
        image = open_oriented(saved(Image.new("CMYK", (32, 32), (0, 255, 255, 0)), format))
        assert distance(image, Image.new("RGB", (32, 32), RED)) < 8


def test_palette_grey_and_one_bit_pictures_are_converted() -> None:
    palette = quarters().quantize(4)
    assert distance(open_oriented(saved(palette, "PNG")), quarters()) <= 2
    for mode in ("L", "1"):
        file = saved(quarters().convert("L").point(lambda v: 255 * (v > 100)).convert(mode), "PNG")
        image = open_oriented(file)
        assert image.mode == "RGB"
        assert pixel(image, 1, 1) == (0, 0, 0)
        assert pixel(image, 90, 1) == (255, 255, 255)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "RGB key", "P key", "L key", "1 key"])
def test_transparent_parts_become_white(mode: str) -> None:
    options: dict[str, object] = {}
    match mode:
        case "RGBA":
            source = Image.new("RGBA", (32, 32), (255, 0, 0, 0))
        case "LA":
            source = Image.new("LA", (32, 32), (0, 0))
        case "PA":
            source = Image.new("RGBA", (32, 32), (255, 0, 0, 0)).quantize(4)
        case "RGB key":
            source, options = Image.new("RGB", (32, 32), RED), {"transparency": RED}
        case "P key":
            source, options = Image.new("RGB", (32, 32), RED).quantize(4), {"transparency": 0}
        case "L key":
            source, options = Image.new("L", (32, 32), 0), {"transparency": 0}
        case _:
            source, options = Image.new("1", (32, 32), 0), {"transparency": 0}
    image = open_oriented(saved(source, "PNG", **options))
    # One-bit pictures are scans: there a transparent black is still black ink.
    expected = (0, 0, 0) if mode == "1 key" else (255, 255, 255)
    assert pixel(image, 5, 5) == expected


def test_half_transparent_is_blended_with_white() -> None:
    file = saved(Image.new("RGBA", (32, 32), (255, 0, 0, 128)), "WEBP", lossless=True)
    red, green, _ = pixel(open_oriented(file), 5, 5)
    assert red == 255
    assert 120 <= green <= 135


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled_and_not_clipped(format: str) -> None:
    source = Image.new("I;16", (64, 32))
    source.putdata([column * 1040 for _ in range(32) for column in range(64)])
    image = open_oriented(saved(source, format))
    assert [pixel(image, x, 5)[0] for x in (0, 16, 32, 63)] == [0, 65, 129, 255]


@pytest.mark.parametrize(
    ("mode", "values", "expected"),
    [
        ("F", (0.0, 0.5, 1.0), (0, 128, 255)),
        ("F", (0.0, 127.0, 255.0), (0, 127, 255)),
        ("F", (-1.0, 0.0, 1.0), (0, 128, 255)),
        ("I", (0, 32768, 65535), (0, 128, 255)),
        ("I", (0, 500_000, 1_000_000), (0, 128, 255)),
    ],
)
def test_32_bit_grey_is_scaled_to_the_white_it_seems_to_mean(
    mode: str, values: tuple[float, ...], expected: tuple[int, ...]
) -> None:
    source = Image.new(mode, (30, 30))
    source.putdata([values[x // 10] for _ in range(30) for x in range(30)])
    image = open_oriented(saved(source, "TIFF"))
    assert tuple(pixel(image, x, 5)[0] for x in (5, 15, 25)) == expected


def test_a_transparent_grey_of_16_bits_is_white() -> None:
    """One grey stands for what is not there; its neighbour by one is a colour as before."""
    file = saved(Image.new("I;16", (8, 8), 255), "PNG", transparency=255)
    assert pixel(open_oriented(file), 4, 4) == (255, 255, 255)
    file = saved(Image.new("I;16", (8, 8), 256), "PNG", transparency=255)
    assert pixel(open_oriented(file), 4, 4) == (1, 1, 1)


def test_16_bits_per_channel_in_colour_come_in() -> None:
    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    row = b"\0" + struct.pack(">HHH", 0xFFFF, 0x8000, 0) * 8
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0))
    data += chunk(b"IDAT", zlib.compress(row * 8)) + chunk(b"IEND", b"")
    assert pixel(open_oriented(io.BytesIO(data)), 3, 3) == (255, 128, 0)


def test_lab_and_ycbcr_tiffs_are_converted() -> None:
    srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    in_lab = ImageCms.profileToProfile(quarters(), srgb, lab, outputMode="LAB")
    assert in_lab is not None
    assert distance(open_oriented(saved(in_lab, "TIFF")), quarters()) < 24
    plain = Image.new("RGB", (64, 48), (200, 120, 40))
    in_ycbcr = saved(plain.convert("YCbCr"), "TIFF", compression="jpeg")
    assert distance(open_oriented(in_ycbcr), plain) < 6


def with_swapped_red_and_green() -> bytes:
    """An ICC profile whose red is sRGB's green, so that it shows whether a profile was applied."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    (count,) = struct.unpack(">I", profile[128:132])
    entries = {bytes(profile[132 + 12 * i : 136 + 12 * i]): 132 + 12 * i for i in range(count)}
    red, green = entries[b"rXYZ"] + 4, entries[b"gXYZ"] + 4
    profile[red : red + 8], profile[green : green + 8] = (
        profile[green : green + 8],
        profile[red : red + 8],
    )
    return bytes(profile).replace("sRGB".encode("utf-16-be"), "test".encode("utf-16-be"))


@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP"])
def test_a_colour_profile_is_applied_and_gone(format: str) -> None:
    options = {"lossless": True} if format == "WEBP" else {}
    file = saved(
        Image.new("RGB", (32, 32), RED), format, icc_profile=with_swapped_red_and_green(), **options
    )
    image = open_oriented(file)
    assert distance(image, Image.new("RGB", (32, 32), GREEN)) < 8
    assert "icc_profile" not in image.info


@pytest.mark.parametrize("mode", ["RGB", "CMYK", "L"])
def test_a_broken_profile_or_one_for_other_colours_is_passed_over(mode: str) -> None:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    for profile in (b"rubbish", lab):
        image = open_oriented(saved(Image.new(mode, (32, 32)), "TIFF", icc_profile=profile))
        assert image.mode == "RGB"


def test_text_in_a_png_does_not_come_along() -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "a secret place")
    assert open_oriented(saved(quarters(), "PNG", pnginfo=text)).info == {}
