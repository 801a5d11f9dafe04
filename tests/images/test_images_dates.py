"""When and in which time zone a photo was taken, by the best data in its file."""

from __future__ import annotations

import io
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from PIL import Image, PngImagePlugin

from persons.images import inspect

ORIGINAL, DIGITIZED, CHANGED = 0x9003, 0x9004, 0x0132
OFFSET, OFFSET_DIGITIZED, FRACTION = 0x9011, 0x9012, 0x9291
TOKYO = timezone(timedelta(hours=9))


def exif(tags: dict[int, str], main: dict[int, str] | None = None) -> bytes:
    block = Image.Exif()
    block.update(main or {})
    block.get_ifd(0x8769).update(tags)
    return block.tobytes()


def xmp(**said: str) -> bytes:
    names = "".join(f' {name.replace("_", ":")}="{text}"' for name, text in said.items())
    return f"<x:xmpmeta><rdf:RDF><rdf:Description{names}/></rdf:RDF></x:xmpmeta>".encode()


def taken(kind: str = "JPEG", **options: Any) -> datetime | None:
    out = io.BytesIO()
    Image.new("RGB", (32, 24)).save(out, kind, **options)
    return inspect(out).taken_at


KINDS = ["JPEG", "PNG", "WEBP", "HEIF", "AVIF"]


@pytest.mark.parametrize("kind", KINDS)
def test_when_it_was_scanned_counts_where_nothing_better_is_there(kind: str) -> None:
    block = exif(
        {DIGITIZED: "2021:05:06 07:08:09", OFFSET_DIGITIZED: "+09:00"},
        {CHANGED: "2024:01:01 00:00:00"},
    )
    assert taken(kind, exif=block) == datetime(2021, 5, 6, 7, 8, 9, tzinfo=TOKYO)


def test_when_it_was_changed_counts_for_nothing() -> None:
    assert taken(exif=exif({}, {CHANGED: "2024:01:01 00:00:00"})) is None
    assert taken(xmp=xmp(xmp_ModifyDate="2024-01-01T00:00:00")) is None


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "PNG", "AVIF", "HEIF"])
@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ({"exif_DateTimeOriginal": "2019-02-03T04:05:06"}, datetime(2019, 2, 3, 4, 5, 6)),
        (
            {"photoshop_DateCreated": "2019-02-03T04:05:06+09:00"},
            datetime(2019, 2, 3, 4, 5, 6, tzinfo=TOKYO),
        ),
        ({"xmp_CreateDate": "2019-02-03T04:05"}, datetime(2019, 2, 3, 4, 5)),
        (
            {
                "xmp_CreateDate": "2022-02-03T04:05:00",
                "exif_DateTimeOriginal": "1955-02-03T04:05:06",
            },
            datetime(1955, 2, 3, 4, 5, 6),
        ),
        ({"photoshop_DateCreated": "1955-06-07"}, datetime(1955, 6, 7, 12)),
        (
            {"photoshop_DateCreated": "1955-06-07", "xmp_CreateDate": "2019-02-03T04:05"},
            datetime(1955, 6, 7, 12),
        ),
        ({"photoshop_DateCreated": "1955-02-30"}, None),
        ({"photoshop_DateCreated": "1955-06"}, None),
        ({"xmp_CreateDate": "soon"}, None),
        ({"xmp_CreateDate": "2019-02-31T00:00:00"}, None),
    ],
)
def test_dates_in_xmp_count(kind: str, said: dict[str, str], wanted: datetime | None) -> None:
    if kind == "PNG":
        info = PngImagePlugin.PngInfo()
        info.add_itxt("XML:com.adobe.xmp", xmp(**said).decode())
        found = taken(kind, pnginfo=info)
    else:
        found = taken(kind, xmp=xmp(**said))
    assert found == wanted
    assert (found and found.utcoffset()) == (wanted and wanted.utcoffset())


def test_an_element_says_as_much_as_an_attribute() -> None:
    packet = b"<rdf><exif:DateTimeOriginal>2019-02-03T04:05:06Z</exif:DateTimeOriginal></rdf>"
    assert taken(xmp=packet) == datetime(2019, 2, 3, 4, 5, 6, tzinfo=timezone.utc)  # noqa: UP017


def test_what_the_camera_wrote_comes_first() -> None:
    block = exif({ORIGINAL: "2020:01:02 03:04:05", DIGITIZED: "2021:01:01 00:00:00"})
    packet = xmp(exif_DateTimeOriginal="2018-01-01T00:00:00")
    assert taken(exif=block, xmp=packet) == datetime(2020, 1, 2, 3, 4, 5)
    scanned = exif({DIGITIZED: "2021:01:01 00:00:00"})
    assert taken(exif=scanned, xmp=packet) == datetime(2018, 1, 1)


def test_shots_of_one_second_keep_their_order() -> None:
    moments = [
        taken(exif=exif({ORIGINAL: "2020:01:02 03:04:05", FRACTION: text}))
        for text in ("05", "31", "7")
    ]
    assert [moment.microsecond for moment in moments if moment] == [50_000, 310_000, 700_000]


@pytest.mark.parametrize("fraction", ["", "  ", "x", "²", "1e5", "9" * 40])
def test_a_fraction_that_makes_no_sense_costs_nothing(fraction: str) -> None:
    found = taken(exif=exif({ORIGINAL: "2020:01:02 03:04:05", FRACTION: fraction}))
    assert found is not None
    assert found.replace(microsecond=0) == datetime(2020, 1, 2, 3, 4, 5)


@pytest.mark.parametrize("year", [1900, 1938, 1969])
def test_old_pictures_have_their_date(year: int) -> None:
    assert taken(exif=exif({ORIGINAL: f"{year}:06:01 12:00:00"})) == datetime(year, 6, 1, 12)
