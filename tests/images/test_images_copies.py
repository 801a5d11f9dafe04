"""The copies that pages show and that Vision gets: sizes, mapping boxes back, and no metadata."""

from __future__ import annotations

import hashlib
import io
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageCms, TiffImagePlugin

from persons.images import (
    ImageRefused,
    Refusal,
    SentCopy,
    crop_face,
    enrolment_crop,
    map_box,
    open_oriented,
    renditions,
    sent_copy,
)
from persons.vision import limits
from persons.vision.types import Box

pytestmark = pytest.mark.thorough

SECRET = b"Geheimnisstrasse 7"
TRACES = (SECRET, b"Exif\0\0", b"http://ns.adobe.com", b"ICC_PROFILE", b"ICCP", b"EXIF", b"XMP ")


def decoded(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def with_secrets(format: str, size: tuple[int, int] = (800, 600)) -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = SECRET.decode()
    gps = exif.get_ifd(ExifTags.IFD.GPSInfo)
    gps[ExifTags.GPS.GPSLatitudeRef] = "N"
    gps[ExifTags.GPS.GPSLatitude] = tuple(TiffImagePlugin.IFDRational(v) for v in (52, 31, 12))
    gps[ExifTags.GPS.GPSAreaInformation] = SECRET
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    options: dict[str, object] = {"exif": exif.tobytes(), "icc_profile": profile}
    if format != "TIFF":
        options["xmp"] = b"<x:xmpmeta xmlns:tiff='http://ns.adobe.com/tiff/1.0/'>" + SECRET
    if format == "JPEG":
        options["comment"] = SECRET
    buffer = io.BytesIO()
    Image.new("RGB", size, (90, 120, 150)).save(buffer, format, **options)
    return buffer.getvalue()


def test_a_picture_of_few_pixels_is_shown_exactly() -> None:
    pixels = random.Random(3).randbytes(20 * 12 * 3)
    image = Image.frombytes("RGB", (20, 12), pixels)
    for data in renditions(image).values():
        assert decoded(data).convert("RGB").tobytes() == pixels
    large = renditions(image.resize((640, 384)))
    assert decoded(large["large"]).convert("RGB").tobytes() != image.resize((640, 384)).tobytes()


def assert_bare(data: bytes) -> None:
    for trace in TRACES:
        assert trace not in data
    image = decoded(data)
    assert not set(image.info) & {"exif", "icc_profile", "comment", "xmp", "XML:com.adobe.xmp"}
    assert not image.getexif()
    if data.startswith(b"\xff\xd8"):
        applications = {name for name, _ in image.applist}  # type: ignore[attr-defined]
        assert applications <= {"APP0"}, "nothing but the JFIF header"


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP", "HEIF"])
@pytest.mark.parametrize("cleaned", [True, False])
def test_no_copy_holds_gps_or_any_other_metadata_of_the_original(
    format: str, cleaned: bool
) -> None:
    original = with_secrets(format)
    assert SECRET in original
    # Copies are bare even of an image that was not opened through `open_oriented`.
    image = open_oriented(io.BytesIO(original)) if cleaned else decoded(original)

    assert len(renditions(image)) == 3
    for data in renditions(image).values():
        assert_bare(data)
    assert_bare(sent_copy(image).data)
    assert_bare(crop_face(image, Box(100, 100, 300, 300)))
    assert_bare(enrolment_crop(image, Box(100, 100, 300, 300), [Box(320, 100, 500, 300)]))


def test_no_large_copy_holds_metadata_either() -> None:
    image = decoded(with_secrets("JPEG", (4200, 3000)))
    assert_bare(sent_copy(image).data)
    for data in renditions(image).values():
        assert_bare(data)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((5000, 3000), {"thumb": (320, 192), "medium": (1280, 768), "large": (2560, 1536)}),
        ((1500, 3000), {"thumb": (160, 320), "medium": (640, 1280), "large": (1280, 2560)}),
        ((1000, 500), {"thumb": (320, 160), "medium": (1000, 500), "large": (1000, 500)}),
        ((20, 10), {"thumb": (20, 10), "medium": (20, 10), "large": (20, 10)}),
        ((9000, 5), {"thumb": (320, 1), "medium": (1280, 1), "large": (2560, 1)}),
    ],
)
def test_renditions_are_webp_in_three_sizes_and_never_larger_than_the_photo(
    size: tuple[int, int], expected: dict[str, tuple[int, int]]
) -> None:
    made = renditions(Image.new("RGB", size, "teal"))
    assert {name: decoded(data).size for name, data in made.items()} == expected
    assert {decoded(data).format for data in made.values()} == {"WEBP"}


def test_a_photo_within_the_limits_is_sent_in_its_own_size() -> None:
    for size in ((3840, 2160), (640, 480), (5, 5)):
        copy = sent_copy(Image.new("RGB", size))
        assert (copy.width, copy.height) == (copy.original_width, copy.original_height) == size


@pytest.mark.parametrize(
    ("size", "sent"),
    [
        ((4000, 3000), (2880, 2160)),
        ((3000, 4000), (1620, 2160)),
        ((2160, 3840), (1215, 2160)),
        ((3841, 2160), (3840, 2159)),
        ((7680, 4320), (3840, 2160)),
        ((9999, 101), (3840, 39)),
        ((20_000, 6), (3840, 5)),
        ((6, 20_000), (5, 2160)),
    ],
)
def test_a_larger_photo_is_sent_smaller_and_its_corners_map_to_corners(
    size: tuple[int, int], sent: tuple[int, int]
) -> None:
    copy = sent_copy(Image.new("RGB", size))
    assert (copy.width, copy.height) == sent == decoded(copy.data).size
    assert limits.fits(*sent)
    assert copy.to_original(Box(0, 0, *sent)) == Box(0, 0, *size)
    assert copy.to_original(Box(-9, -9, 99_999, 99_999)) == Box(0, 0, *size)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("stored", [(4400, 3300), (3000, 4600), (1200, 900)])
def test_a_mark_seen_in_the_sent_copy_is_found_in_the_oriented_original(
    orientation: int, stored: tuple[int, int]
) -> None:
    """The whole way: a turned file, opened, shrunk, encoded, a box found in it, and mapped back."""
    width, height = stored if orientation in (1, 3) else stored[::-1]
    mark = Box(width // 5, height // 3, width // 5 + width // 4, height // 3 + height // 5)
    upright = Image.new("L", (width, height), 0)
    upright.paste(255, (mark.left, mark.top, mark.right, mark.bottom))
    turns = {
        1: upright,
        3: upright.transpose(Image.Transpose.ROTATE_180),
        6: upright.transpose(Image.Transpose.ROTATE_90),
        8: upright.transpose(Image.Transpose.ROTATE_270),
    }
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    file = io.BytesIO()
    turns[orientation].save(file, "JPEG", exif=exif)

    copy = sent_copy(open_oriented(file))
    seen = decoded(copy.data).convert("L").point(lambda value: 255 * (value >= 128)).getbbox()
    assert seen is not None
    found = copy.to_original(Box(*seen))

    scale = width / copy.width
    for got, true in zip(
        (found.left, found.top, found.right, found.bottom),
        (mark.left, mark.top, mark.right, mark.bottom),
        strict=True,
    ):
        assert abs(got - true) <= scale / 2 + 0.5, "within half a pixel of the sent copy"


sides = st.integers(5, 30_000)
sizes = st.tuples(sides, sides)


@st.composite
def boxes_within(draw: st.DrawFn, width: int, height: int) -> Box:
    left, right = sorted((draw(st.integers(0, width)), draw(st.integers(0, width))))
    top, bottom = sorted((draw(st.integers(0, height)), draw(st.integers(0, height))))
    return Box(left, top, right, bottom)


@given(original=sizes, data=st.data())
def test_any_box_of_the_sent_copy_lies_inside_the_original_and_comes_back_within_a_pixel(
    original: tuple[int, int], data: st.DataObject
) -> None:
    scale = limits.scale_to_fit(*original)
    sent = (max(5, int(original[0] * scale)), max(5, int(original[1] * scale)))
    copy = SentCopy(b"", "", *sent, *original)
    box = data.draw(boxes_within(*sent))

    mapped = copy.to_original(box)

    assert 0 <= mapped.left <= mapped.right <= original[0]
    assert 0 <= mapped.top <= mapped.bottom <= original[1]
    assert (mapped.left < mapped.right) == (box.left < box.right)
    assert map_box(mapped, original, sent) == box, "a smaller copy's pixels come back exactly"
    assert copy.to_original(Box(0, 0, *sent)) == Box(0, 0, *original)
    if original == sent:
        assert mapped == box


@given(big=sizes, small=sizes, data=st.data())
def test_boxes_between_any_two_sizes_keep_order_edges_and_place(
    big: tuple[int, int], small: tuple[int, int], data: st.DataObject
) -> None:
    box = data.draw(boxes_within(*big))
    mapped = map_box(box, big, small)
    back = map_box(mapped, small, big)
    for axis, (got, true) in enumerate(((back.left, box.left), (back.top, box.top))):
        assert abs(got - true) <= big[axis] / small[axis] / 2 + 1
    assert map_box(Box(0, 0, *big), big, small) == Box(0, 0, *small)


@given(st.tuples(*[st.integers(-(10**9), 10**9)] * 4), sizes, sizes)
def test_a_box_that_makes_no_sense_still_maps_inside_the_picture(
    numbers: tuple[int, int, int, int], one: tuple[int, int], other: tuple[int, int]
) -> None:
    mapped = map_box(Box(*numbers), one, other)
    assert 0 <= mapped.left <= mapped.right <= other[0]
    assert 0 <= mapped.top <= mapped.bottom <= other[1]


def test_the_same_photo_gives_the_same_bytes() -> None:
    data = with_secrets("JPEG", (4000, 2500))
    copies = [sent_copy(open_oriented(io.BytesIO(data))) for _ in range(2)]
    assert copies[0] == copies[1]
    assert copies[0].digest == hashlib.sha256(copies[0].data).hexdigest()
    small = open_oriented(io.BytesIO(with_secrets("JPEG")))
    assert renditions(small) == renditions(small)


def test_the_worst_noise_is_still_sent_within_15_mb() -> None:
    width, height = 3840, 2160
    noise = Image.frombytes("RGB", (width, height), random.Random(3).randbytes(width * height * 3))
    assert len(sent_copy(noise).data) <= limits.MAX_IMAGE_BYTES


def test_a_picture_that_is_too_small_is_not_sent() -> None:
    with pytest.raises(ImageRefused) as caught:
        sent_copy(Image.new("RGB", (4, 100)))
    assert caught.value.code == Refusal.TOO_SMALL
