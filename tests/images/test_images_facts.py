"""Camera metadata of photos, read from untrusted files."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import IFDRational

from persons.images import CameraFacts, camera_facts

Base, GPS = ExifTags.Base, ExifTags.GPS


def photo(
    main: dict[int, Any] | None = None,
    shot: dict[int, Any] | None = None,
    gps: dict[int, Any] | None = None,
) -> io.BytesIO:
    exif = Image.Exif()
    exif.update(main or {})
    if shot:
        exif[ExifTags.IFD.Exif] = shot
    if gps:
        exif[ExifTags.IFD.GPSInfo] = gps
    file = io.BytesIO()
    Image.new("RGB", (32, 24)).save(file, "JPEG", exif=exif)
    return file


def test_a_camera_s_facts_are_told_as_a_page_shows_them() -> None:
    file = photo(
        {Base.Make: "Canon", Base.Model: "Canon EOS R5", Base.Software: "Darkroom\x00 2 "},
        {
            Base.LensModel: "RF24-70mm F2.8",
            Base.ExposureTime: IFDRational(1, 250),
            Base.FNumber: IFDRational(28, 10),
            Base.ISOSpeedRatings: 400,
            Base.FocalLength: IFDRational(35, 1),
            Base.FocalLengthIn35mmFilm: 52,
            Base.DateTimeOriginal: "2024:05:12 12:00:00",
        },
        {
            GPS.GPSLatitude: (IFDRational(60), IFDRational(10), IFDRational(3000, 100)),
            GPS.GPSLatitudeRef: "N",
            GPS.GPSLongitude: (IFDRational(24), IFDRational(56), IFDRational(0)),
            GPS.GPSLongitudeRef: "W",
        },
    )
    assert camera_facts(file) == CameraFacts(
        camera="Canon EOS R5",
        lens="RF24-70mm F2.8",
        exposure="1/250 s",
        aperture="f/2.8",
        sensitivity="ISO 400",
        focal_length="35 mm (52 mm on 35 mm film)",
        taken="2024:05:12 12:00:00",
        software="Darkroom 2",
        place=(60.175, -24.933333),
    )


def test_a_photo_without_facts_has_none() -> None:
    assert not camera_facts(photo())
    assert not camera_facts(io.BytesIO(b"no picture"))
    assert not camera_facts(io.BytesIO())


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (IFDRational(1, 8000), "1/8000 s"),
        (IFDRational(1, 3), "0.3 s"),
        (IFDRational(30, 1), "30 s"),
        (IFDRational(0, 1), ""),
        (IFDRational(1, 0), ""),
        (IFDRational(10**9, 1), ""),
    ],
)
def test_exposures(seconds: IFDRational, words: str) -> None:
    assert camera_facts(photo(shot={Base.ExposureTime: seconds})).exposure == words


@pytest.mark.parametrize(
    "latitude",
    [
        (IFDRational(91), IFDRational(0), IFDRational(0)),
        (IFDRational(1, 0), IFDRational(0), IFDRational(0)),
        (IFDRational(0), IFDRational(0)),
    ],
)
def test_a_place_that_is_nowhere_is_left_out(latitude: tuple[IFDRational, ...]) -> None:
    east = (IFDRational(24), IFDRational(56), IFDRational(0))
    assert (
        camera_facts(photo(gps={GPS.GPSLatitude: latitude, GPS.GPSLongitude: east})).place is None
    )
    nowhere = (IFDRational(0), IFDRational(0), IFDRational(0))
    nulls: dict[int, Any] = {GPS.GPSLatitude: nowhere, GPS.GPSLongitude: nowhere}
    assert camera_facts(photo(gps=nulls)).place is None


@given(st.text(max_size=300), st.binary(max_size=60))
def test_whatever_is_written_there_it_is_short_clean_text(text: str, noise: bytes) -> None:
    exif = Image.Exif()
    exif[Base.Model] = text
    exif[Base.Make] = noise
    file = io.BytesIO()
    Image.new("RGB", (32, 24)).save(file, "JPEG", exif=exif)
    facts = camera_facts(file)
    assert len(facts.camera) <= 161
    assert facts.camera.isprintable()


@given(st.binary(max_size=400))
def test_a_broken_block_costs_nothing_but_the_facts(noise: bytes) -> None:
    file = io.BytesIO()
    Image.new("RGB", (32, 24)).save(file, "JPEG", exif=b"Exif\x00\x00II*\x00" + noise)
    camera_facts(file)
