"""Requests to the embedded engine without the proxy."""

from __future__ import annotations

from pathlib import Path

from django.conf import settings as django_settings

from persons.backends.select import vision_for
from persons.models import Space
from persons.vision import envelope
from persons.vision.meta import PersonImage, SetRequest
from persons.vision.types import Image, Method

PHOTOS: Path = django_settings.BASE_DIR / "demo" / "photos"


def photo(name: str) -> bytes:
    return (PHOTOS / f"{name}.jpg").read_bytes()


def enrol(space: Space, person_id: int, name: str) -> None:
    request = SetRequest(space.number, (PersonImage("a", person_id),))
    answer = vision_for(space).call(Method.SET, request.as_meta(), [Image("a", photo(name))])
    (result,) = envelope.parse(Method.SET, answer).objects
    assert (result.status, result.error) == (0, "")
