"""Originals for strangers keep their pixels and lose all data that tells where they were taken."""

from __future__ import annotations

import io
import random
import struct

import pytest
from PIL import Image, ImageOps

from persons.images import ImageRefused, Keep, stripped
from tests.support.metadata import DETAIL, PLACE, exif_of, picture, taken

XMP_DETAIL = f'<x:xmpmeta><rdf xmp:Rating="{DETAIL}"/></x:xmpmeta>'.encode()
KINDS = ["JPEG", "PNG", "WEBP", "TIFF", "HEIF"]


def pixels(data: bytes) -> bytes:
    with Image.open(io.BytesIO(data)) as image:
        return image.convert("RGB").tobytes()


def turned(data: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(data)) as image:
        return ImageOps.exif_transpose(image).size


@pytest.mark.parametrize("kind", KINDS)
def test_the_samples_tell_of_a_place(kind: str) -> None:
    """Else the tests below would hold of files that have nothing to take out."""
    data = taken(kind)
    assert PLACE.encode() in data
    with Image.open(io.BytesIO(data)) as image:
        assert image.getexif().get_ifd(0x8825)


@pytest.mark.parametrize("keep", Keep)
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_says_where_it_was_taken(kind: str, keep: Keep) -> None:
    clean = stripped(taken(kind), kind, keep).data
    assert PLACE.encode() not in clean
    with Image.open(io.BytesIO(clean)) as image:
        assert not image.getexif().get_ifd(0x8825)
        assert 0x8825 not in image.getexif()


@pytest.mark.parametrize("keep", Keep)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_not_a_pixel_is_encoded_anew(kind: str, keep: Keep) -> None:
    data = taken(kind, orientation=6 if kind == "JPEG" else 1)
    found = stripped(data, kind, keep)
    assert not found.is_new
    assert pixels(found.data) == pixels(data)


@pytest.mark.parametrize("keep", Keep)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_it_stays_the_right_way_up(kind: str, keep: Keep, orientation: int) -> None:
    data = taken(kind, orientation=orientation)
    assert turned(stripped(data, kind, keep).data) == turned(data)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_the_rest_stays_where_only_the_place_goes(kind: str) -> None:
    found = stripped(taken(kind), kind, Keep.ALL_BUT_PLACE)
    with Image.open(io.BytesIO(found.data)) as image:
        assert image.getexif()[0x010F] == DETAIL
        assert image.getexif().get_ifd(0x8769)[0xA434] == DETAIL


@pytest.mark.parametrize("kind", KINDS)
def test_without_details_nothing_is_left(kind: str) -> None:
    clean = stripped(taken(kind), kind, Keep.NOTHING).data
    assert DETAIL.encode() not in clean
    assert b"2024" not in clean


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_a_packet_that_tells_of_no_place_stays(kind: str) -> None:
    data = taken(kind, xmp=XMP_DETAIL)
    assert XMP_DETAIL in stripped(data, kind, Keep.ALL_BUT_PLACE).data
    assert XMP_DETAIL not in stripped(data, kind, Keep.NOTHING).data


def test_colours_and_progressive_pictures_stay_as_they_are() -> None:
    out = io.BytesIO()
    picture((400, 300)).save(
        out, "JPEG", progressive=True, icc_profile=b"p" * 70_000, exif=exif_of(), quality=90
    )
    clean = stripped(out.getvalue(), "JPEG", Keep.NOTHING).data
    with Image.open(io.BytesIO(clean)) as image:
        assert image.info["icc_profile"] == b"p" * 70_000
        assert image.info["progressive"]
    assert pixels(clean) == pixels(out.getvalue())


def test_heic_comes_as_a_new_jpeg() -> None:
    found = stripped(taken("HEIF"), "HEIF", Keep.ALL_BUT_PLACE)
    assert (found.is_new, found.suffix) == (True, "jpg")
    assert Image.open(io.BytesIO(found.data)).format == "JPEG"


@pytest.mark.parametrize("order", ["II", "MM"])
def test_exif_that_goes_in_circles_does_not_hold_anybody_up(order: str) -> None:
    """Nothing of it goes along."""
    mark = "<" if order == "II" else ">"
    loop = order.encode() + struct.pack(f"{mark}HIH", 42, 8, 0) + struct.pack(f"{mark}I", 8)
    data = io.BytesIO()
    picture().save(data, "JPEG", exif=b"Exif\0\0" + loop)
    found = stripped(data.getvalue(), "JPEG", Keep.ALL_BUT_PLACE)
    assert b"Exif" not in found.data


@pytest.mark.filterwarnings("ignore")
def test_a_damaged_file_gives_no_place_away() -> None:
    """Some bytes of real files are changed: what comes out is clean, or there is a refusal."""
    numbers = random.Random(11)
    for kind in ["JPEG", "PNG", "WEBP", "TIFF"]:
        whole = taken(kind)
        head = min(len(whole), 900)
        for _ in range(120):
            data = bytearray(whole)
            for _ in range(numbers.randint(1, 3)):
                data[numbers.randrange(head)] = numbers.randrange(256)
            try:
                clean = stripped(bytes(data), kind, Keep.NOTHING).data
            except ImageRefused:
                continue
            assert PLACE.encode() not in clean
