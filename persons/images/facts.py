"""Camera metadata of a photo, for display only.

All of it is untrusted. Text is truncated and cleaned, numbers are bounded, and implausible values
are left out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, BinaryIO, Final

from PIL import ExifTags, Image

from persons.inputs import texts

from .opening import opened
from .refusal import ImageRefused

_LONGEST: Final = 80


@dataclass(frozen=True, slots=True)
class CameraFacts:
    """Display text for each fact, or ""; `place` is latitude and longitude in degrees."""

    camera: str = ""
    lens: str = ""
    exposure: str = ""
    aperture: str = ""
    sensitivity: str = ""
    focal_length: str = ""
    taken: str = ""
    software: str = ""
    place: tuple[float, float] | None = None

    def __bool__(self) -> bool:
        return any(getattr(self, one.name) for one in fields(self))


def camera_facts(file: BinaryIO) -> CameraFacts:
    """Read the facts from a seekable file's header. The file stays open. Never raises for its
    content."""
    try:
        with opened(file) as source:
            found = (_facts(_loaded(block)) for block in source.metadata.exif)
            return next((facts for facts in found if facts), CameraFacts())
    except ImageRefused:
        return CameraFacts()


def _loaded(block: bytes) -> Image.Exif:
    exif = Image.Exif()
    exif.load(block)
    return exif


def _facts(exif: Image.Exif) -> CameraFacts:
    shot = _part(exif, ExifTags.IFD.Exif)
    maker, model = _text(exif.get(ExifTags.Base.Make)), _text(exif.get(ExifTags.Base.Model))
    return CameraFacts(
        camera=model if model.lower().startswith(maker.lower()) else f"{maker} {model}".strip(),
        lens=_text(shot.get(ExifTags.Base.LensModel)),
        exposure=_exposure(_number(shot.get(ExifTags.Base.ExposureTime), 100_000)),
        aperture=_with_unit("f/{}", _number(shot.get(ExifTags.Base.FNumber), 1000)),
        sensitivity=_with_unit("ISO {}", _number(_first(shot, ExifTags.Base.ISOSpeedRatings), 1e8)),
        focal_length=_focal_length(shot),
        taken=_text(shot.get(ExifTags.Base.DateTimeOriginal)),
        software=_text(exif.get(ExifTags.Base.Software)),
        place=_place(_part(exif, ExifTags.IFD.GPSInfo)),
    )


def _part(exif: Image.Exif, which: ExifTags.IFD) -> dict[int, Any]:
    try:
        return dict(exif.get_ifd(which))
    except Exception:  # noqa: BLE001 - whatever a camera wrote, it mustn't cost the page
        return {}


def _first(values: dict[int, Any], tag: int) -> Any:
    value = values.get(tag)
    return value[0] if isinstance(value, tuple) and value else value


def _text(value: object) -> str:
    if isinstance(value, bytes):
        value = value.decode("ascii", "ignore")
    if not isinstance(value, str):
        return ""
    return texts.line(texts.line(value)[:_LONGEST])


def _number(value: object, most: float) -> float | None:
    """A finite number greater than 0 and at most `most`, else None."""
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None
    return number if math.isfinite(number) and 0 < number <= most else None


def _with_unit(words: str, number: float | None) -> str:
    return words.format(f"{number:.1f}".removesuffix(".0")) if number else ""


def _exposure(seconds: float | None) -> str:
    if not seconds:
        return ""
    if seconds >= 0.3 or round(1 / seconds) > 1_000_000:
        return _with_unit("{} s", seconds) if seconds >= 0.05 else ""
    return f"1/{round(1 / seconds)} s"


def _focal_length(shot: dict[int, Any]) -> str:
    real = _with_unit("{} mm", _number(shot.get(ExifTags.Base.FocalLength), 100_000))
    film = _with_unit("{} mm", _number(shot.get(ExifTags.Base.FocalLengthIn35mmFilm), 100_000))
    if real and film and film != real:
        return f"{real} ({film} on 35 mm film)"
    return real or film


def _place(gps: dict[int, Any]) -> tuple[float, float] | None:
    latitude = _degrees(gps.get(ExifTags.GPS.GPSLatitude), 90)
    longitude = _degrees(gps.get(ExifTags.GPS.GPSLongitude), 180)
    # Cameras without a fix write zeros.
    if latitude is None or longitude is None or (latitude == 0 and longitude == 0):
        return None
    south = _text(gps.get(ExifTags.GPS.GPSLatitudeRef)).upper() == "S"
    west = _text(gps.get(ExifTags.GPS.GPSLongitudeRef)).upper() == "W"
    return -latitude if south else latitude, -longitude if west else longitude


def _degrees(value: object, most: int) -> float | None:
    if not isinstance(value, tuple) or len(value) != 3:
        return None
    try:
        degrees = sum(float(part) / 60**power for power, part in enumerate(value))
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None
    return round(degrees, 6) if math.isfinite(degrees) and 0 <= degrees <= most else None
