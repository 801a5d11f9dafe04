"""A photo belongs to the local day on which it was taken, and all photos have one order."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from django.core.files.storage import default_storage
from django.core.management import call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from PIL import Image
from pytest_django import Settings

from persons.actions.photos import add_photo
from persons.actions.sharing import make_link
from persons.audit import Actor
from persons.models import Gallery, Photo, Source, Team, User
from tests.support.factories import GalleryFactory

SignIn = Callable[[User], Client]

pytestmark = pytest.mark.django_db


@pytest.fixture
def gallery(team: Team) -> Gallery:
    return GalleryFactory.create(team=team, name="Trip", slug="trip-there")


@pytest.fixture(params=["UTC", "America/Los_Angeles", "Asia/Tokyo", "Pacific/Kiritimati"])
def zone(request: pytest.FixtureRequest, settings: Settings) -> str:
    settings.TIME_ZONE = request.param
    return str(request.param)


def content(taken: str, offset: str = "", colour: int = 0) -> bytes:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9003] = taken
    if offset:
        exif.get_ifd(0x8769)[0x9011] = offset
    out = io.BytesIO()
    Image.new("RGB", (64, 48), (colour, 9, 9)).save(out, "JPEG", exif=exif)
    return out.getvalue()


def upload(gallery: Gallery, user: User, taken: str, offset: str = "", colour: int = 0) -> Photo:
    return add_photo(
        actor=Actor(user, Source.PAGE),
        gallery=gallery,
        file=io.BytesIO(content(taken, offset, colour)),
        file_name="a.jpg",
    ).photo


def days(client: Client, gallery: Gallery, **query: str) -> dict[str, list[int]]:
    """The photos under each heading, from the top down."""
    text = client.get(reverse("gallery", args=["trip", gallery.slug]), query).text
    found: dict[str, list[int]] = {}
    day = ""
    for heading, photo in re.findall(r'data-day="([^"]+)"|<li id="photo-(\d+)"', text):
        if heading:
            day = heading
        elif photo:
            found.setdefault(day, []).append(int(photo))
    return found


@pytest.mark.thorough
@pytest.mark.parametrize("offset", ["-12:00", "-08:00", "Z", "+05:45", "+14:00"])
def test_its_day_is_where_it_was_taken(
    zone: str, gallery: Gallery, bob: User, sign_in: SignIn, offset: str
) -> None:
    late = upload(gallery, bob, "2023:05:10 23:50:00", offset, 1)
    early = upload(gallery, bob, "2023:05:10 00:10:00", offset, 2)
    client = sign_in(bob)
    assert days(client, gallery) == {"2023-05-10": [late.pk, early.pk]}
    for query in ({"from": "2023-05-10"}, {"to": "2023-05-10"}):
        assert days(client, gallery, **query) == {"2023-05-10": [late.pk, early.pk]}
    for query in ({"from": "2023-05-11"}, {"to": "2023-05-09"}):
        assert days(client, gallery, **query) == {}
    page = client.get(reverse("photo", args=["trip", late.pk])).text
    assert "10 May 2023, 23:50" in page


def test_cameras_with_and_without_an_offset_stand_in_one_order(
    zone: str, gallery: Gallery, bob: User, sign_in: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A phone that knows Tokyo and a camera whose clock was set to it, on one trip."""
    monkeypatch.setattr("dashboard.pages.galleries.sheets.DENSE", 0)
    clocks = [
        ("09 23", "+09:00"),
        ("10 01", ""),
        ("10 09", "+09:00"),
        ("10 12", ""),
        ("10 23", "+09:00"),
        ("11 00", ""),
    ]
    shots = [
        upload(gallery, bob, f"2023:05:{clock}:00:00", offset, number)
        for number, (clock, offset) in enumerate(clocks)
    ]
    pks = [photo.pk for photo in shots]
    assert days(sign_in(bob), gallery) == {
        "2023-05-11": [pks[5]],
        "2023-05-10": [pks[4], pks[3], pks[2], pks[1]],
        "2023-05-09": [pks[0]],
    }


def test_the_moment_stays_what_it_was(gallery: Gallery, bob: User) -> None:
    photo = upload(gallery, bob, "2023:05:10 23:50:00", "+09:00")
    photo.refresh_from_db()
    assert photo.taken_at == datetime(2023, 5, 10, 14, 50, tzinfo=UTC)
    assert (photo.taken_offset, photo.taken_zone) == (540, "UTC+09:00")
    west = upload(gallery, bob, "2023:05:10 23:50:00", "-03:30")
    assert (west.taken_offset, west.taken_zone) == (-210, "UTC-03:30")
    unknown = upload(gallery, bob, "2023:05:10 23:50:00", colour=9)
    assert (unknown.taken_offset, unknown.taken_zone) == (None, "")


def test_photos_of_an_earlier_version_are_dated_anew(gallery: Gallery, bob: User) -> None:
    photo = upload(gallery, bob, "2023:05:10 23:50:00", "-08:00")
    wanted = (photo.taken_at, photo.taken_offset, photo.shown_at)
    gone = upload(gallery, bob, "2023:05:10 23:50:00", "-09:00")
    default_storage.delete(gone.original)
    Photo.objects.filter(pk=photo.pk).update(taken_offset=None, shown_at=photo.taken_at)
    out = io.StringIO()
    call_command("redate_photos", team=gallery.team.slug, stdout=out, stderr=io.StringIO())
    assert out.getvalue().strip() == "1 photos moved, 1 files are gone"
    photo.refresh_from_db()
    assert (photo.taken_at, photo.taken_offset, photo.shown_at) == wanted
    assert Photo.objects.get(pk=gone.pk).taken_offset == -540


def test_a_link_reaches_every_photo_of_before_1970(
    gallery: Gallery, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dashboard.pages.public.public.PAGE", 3)
    monkeypatch.setattr("dashboard.pages.public.public.ABOVE", 1)
    photos = [
        upload(gallery, bob, f"{year}:06:01 12:00:00", colour=year % 200)
        for year in (1901, 1914, 1938, 1955, 1969, 1970, 1971, 1999)
    ]
    Photo.objects.update(prepared_at=timezone.now())
    _, token = make_link(actor=Actor(bob, Source.PAGE), gallery=gallery)
    home = f"/s/{token}/"
    client = Client()
    seen: list[int] = []
    address = home
    while address:
        text = client.get(address).text
        seen += map(int, re.findall(r'<li id="photo-(\d+)"', text))
        more = re.search(r'rel="next" href="([^"]+)"', text)
        address = home + more[1] if more else ""
        assert len(seen) <= len(photos)
    assert seen == [photo.pk for photo in photos[::-1]]
    # The way back from an old one leads to where it stands.
    page = client.get(f"{home}photo/{photos[0].pk}/").text
    back = re.search(r'id="up"[^>]* href="([^"#]+)#photo-(\d+)"', page)
    assert back
    assert f'<li id="photo-{photos[0].pk}"' in client.get(back[1]).text
