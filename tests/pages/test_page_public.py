"""Public links: what visitors see, and what they must not see."""

from __future__ import annotations

import gc
import io
import re
import zipfile
from datetime import timedelta
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import OperationalError
from django.test import Client
from django.utils import timezone
from PIL import Image
from pytest_django import DjangoAssertNumQueries

from dashboard.pages.public import downloads, public
from persons.access import throttling
from persons.actions.sharing import LinkOptions, make_link, revoke_link
from persons.actions.trash import trash_photos
from persons.audit import Actor
from persons.models import AuditEntry, Gallery, Person, Photo, ShareLink, Source, Team, User
from tests.support.factories import FaceFactory, GalleryFactory, PersonFactory, PhotoFactory, jpeg
from tests.support.metadata import DETAIL, PLACE, taken
from tests.support.streams import leave

# What is asked of the database here is asked by tests of actions and of queries as well.
pytestmark = pytest.mark.any_database

FILE = "canary-file.jpg"
NAME = "Canary Person"


@pytest.fixture
def actor(alice: User) -> Actor:
    return Actor(alice, Source.PAGE)


@pytest.fixture
def gallery(team: Team) -> Gallery:
    found: Gallery = GalleryFactory.create(team=team, slug="lake", name="Lake")
    return found


def shown(gallery: Gallery, content: bytes = b"", **more: Any) -> Photo:
    """A photo with its renditions, and a place in the original."""
    content = content or taken("JPEG", orientation=1 + Photo.everything.count() % 8)
    photo: Photo = PhotoFactory.create(
        gallery=gallery,
        with_file=content,
        prepared_at=timezone.now(),
        **{"file_name": FILE, "width": 40, "height": 30, **more},
    )
    for what in ("thumb", "medium", "large"):
        default_storage.save(photo.key(what), ContentFile(jpeg()))
    return photo


@pytest.fixture
def photo(gallery: Gallery) -> Photo:
    found = shown(gallery, taken_at=timezone.now().replace(year=2019, month=3, day=4))
    person: Person = PersonFactory.create(space=gallery.space, label=NAME)
    FaceFactory.create(photo=found, person=person, decision="named")
    FaceFactory.create(photo=found, left=40, right=60)
    return found


def link_to(actor: Actor, gallery: Gallery, **options: Any) -> tuple[ShareLink, str]:
    link, token = make_link(actor=actor, gallery=gallery, options=LinkOptions(**options))
    return link, f"/s/{token}/"


def read(response: Any) -> bytes:
    return b"".join(response.streaming_content)


def everything_at(home: str, photo: Photo) -> str:
    """All that a stranger can read: pages with their headers, and headers of pictures."""
    client = Client()
    texts = []
    for address in (home, f"{home}photo/{photo.pk}/"):
        response = client.get(address)
        assert response.status_code == 200
        texts += [response.text, str(response.headers)]
    for what in ("thumb", "medium", "large"):
        response = client.get(f"{home}photo/{photo.pk}/{what}")
        assert response.status_code == 200
        read(response)
        texts.append(str(response.headers))
    return "\n".join(texts)


# --- What is shown ---


def test_a_stranger_sees_the_photos_and_nothing_else(
    actor: Actor, gallery: Gallery, photo: Photo, team: Team
) -> None:
    _, home = link_to(actor, gallery, title="For Granny")
    text = everything_at(home, photo)
    assert "Lake" in text
    for secret in (FILE, NAME, "2019", "For Granny", "/t/trip", photo.sha256, "Alice", "trip"):
        assert secret not in text, secret
    assert "/original" not in Client().get(f"{home}photo/{photo.pk}/").text
    assert 'name="robots" content="noindex' in text
    assert "noindex" in Client().get(home)["X-Robots-Tag"]


def test_an_owner_may_add_names_and_details(actor: Actor, gallery: Gallery, photo: Photo) -> None:
    _, home = link_to(actor, gallery, show_names=True)
    text = everything_at(home, photo)
    assert NAME in text
    assert FILE not in text
    _, home = link_to(actor, gallery, show_details=True)
    text = everything_at(home, photo)
    assert NAME not in text
    assert FILE in text
    assert "2019" in text


def test_no_name_is_told_that_nobody_confirmed(actor: Actor, gallery: Gallery) -> None:
    photo = shown(gallery)
    space = gallery.space
    weak = PersonFactory.create(space=space, label="Canary Weak")
    hidden = PersonFactory.create(space=space, label="Canary Hidden", hidden=True)
    gone = PersonFactory.create(space=space, label="Canary Missing")
    sure = PersonFactory.create(space=space, label="Canary Sure")
    FaceFactory.create(photo=photo, person=weak, similarity=space.confirm_threshold - 0.01)
    # Recognised with certainty, but no human has said so.
    FaceFactory.create(photo=photo, person=sure, similarity=0.99, left=20)
    FaceFactory.create(photo=photo, person=hidden, decision="named", left=40, right=50)
    FaceFactory.create(photo=photo, person=gone, decision="named", left=60, missing=True)
    _, home = link_to(actor, gallery, show_names=True)
    assert "Canary" not in everything_at(home, photo).replace(FILE, "")


def test_what_is_trashed_unprepared_or_elsewhere_is_not_there(
    actor: Actor, gallery: Gallery, team: Team
) -> None:
    _, home = link_to(actor, gallery, allow_download=True)
    trashed = shown(gallery)
    trash_photos(actor=actor, gallery=gallery, pks=[trashed.pk])
    unprepared = PhotoFactory.create(gallery=gallery)
    elsewhere = shown(GalleryFactory.create(team=team))
    client = Client()
    assert "No photos yet" in client.get(home).text
    for photo in (trashed, unprepared, elsewhere):
        for what in ("", "thumb", "large", "original"):
            assert client.get(f"{home}photo/{photo.pk}/{what}").status_code == 404
    assert client.post(f"{home}zip").status_code == 404


def test_all_photos_are_reached_page_by_page_in_a_fixed_number_of_queries(
    actor: Actor,
    gallery: Gallery,
    monkeypatch: pytest.MonkeyPatch,
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    monkeypatch.setattr(public, "PAGE", 10)
    same = timezone.now()
    photos = [
        PhotoFactory.create(gallery=gallery, prepared_at=same, shown_at=same - timedelta(n // 7))
        for n in range(35)
    ]
    _, home = link_to(actor, gallery)
    client = Client()
    client.get(home)
    seen: list[int] = []
    address = home
    while address:
        with django_assert_num_queries(3 if address == home else 2):
            page = client.get(address).text
        seen += map(int, re.findall(r'<li id="photo-(\d+)"><a ', page))
        more = re.search(r'rel="next" href="([^"]+)"', page)
        address = home + more[1] if more else ""
    ordered = sorted(photos, key=lambda photo: (photo.shown_at, photo.pk), reverse=True)
    assert seen == [photo.pk for photo in ordered]
    page = client.get(f"{home}photo/{seen[12]}/").text
    assert f'id="newer" rel="prev" href="{home}photo/{seen[11]}/"' in page
    assert f'id="older" rel="next" href="{home}photo/{seen[13]}/"' in page
    # Its way back leads to where it stands, with some newer ones above, and on from there.
    monkeypatch.setattr(public, "ABOVE", 4)
    place = re.search(r'id="up"[^>]* href="([^"#]+)#photo-(\d+)"', page)
    assert place
    assert int(place[2]) == seen[12]
    with django_assert_num_queries(3):
        page = client.get(place[1]).text
    assert list(map(int, re.findall(r'<li id="photo-(\d+)"', page))) == seen[8:18]
    newer = re.search(r'rel="prev" href="([^"]+)"', page)
    assert newer
    page = client.get(home + newer[1]).text
    assert list(map(int, re.findall(r'<li id="photo-(\d+)"', page)))[4] == seen[8]
    first = client.get(f"{home}photo/{seen[2]}/").text
    place = re.search(r'id="up"[^>]* href="([^"#]+)#', first)
    assert place
    page = client.get(place[1]).text
    assert "35 photos" in page
    assert list(map(int, re.findall(r'<li id="photo-(\d+)"', page))) == seen[:10]


# --- Links that do not work ---


def test_all_links_that_do_not_work_look_the_same(
    actor: Actor, gallery: Gallery, photo: Photo
) -> None:
    revoked, revoked_home = link_to(actor, gallery, password="over the hills")
    revoke_link(actor=actor, link=revoked)
    over, over_home = link_to(actor, gallery)
    ShareLink.objects.filter(pk=over.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    client = Client()
    pages = []
    for home in (revoked_home, over_home, "/s/nonsense/", "/s/%00/"):
        for part in ("", f"photo/{photo.pk}/", f"photo/{photo.pk}/thumb"):
            response = client.get(home + part)
            assert response.status_code == 404
            pages.append(response.text)
        assert client.post(home, {"password": "over the hills"}).status_code == 404
        assert client.post(f"{home}zip").status_code == 404
    assert len(set(pages)) == 1
    assert "Lake" not in pages[0]


def test_a_link_opens_no_page_of_the_team(actor: Actor, gallery: Gallery, photo: Photo) -> None:
    _, home = link_to(actor, gallery)
    client = Client()
    client.get(home)
    for address in ("/t/trip/g/lake/", f"/t/trip/media/photo/{photo.pk}/thumb", "/rest/teams/"):
        assert client.get(address).status_code in (302, 401), address


# --- Passwords ---


def test_the_password_comes_before_everything(actor: Actor, gallery: Gallery, photo: Photo) -> None:
    _, home = link_to(actor, gallery, password="over the hills", allow_download=True)
    client = Client()
    page = client.get(home).text
    assert "These photos have a password" in page
    assert "Lake" not in page
    assert client.get(f"{home}photo/{photo.pk}/").status_code == 302
    picture = client.get(f"{home}photo/{photo.pk}/thumb", headers={"Accept": "image/*"})
    assert picture.status_code == 404
    assert client.post(f"{home}zip").status_code == 404
    assert client.post(home, {"password": "Over the hills"}).status_code == 422
    assert ShareLink.objects.get().view_count == 0
    assert client.post(home, {"password": "over the hills"}).status_code == 303
    assert "Lake" in client.get(home).text
    assert client.get(f"{home}photo/{photo.pk}/").status_code == 200
    assert "Lake" not in Client().get(home).text


def test_a_pass_is_for_one_link_and_can_t_be_made_up(actor: Actor, gallery: Gallery) -> None:
    _, one = link_to(actor, gallery, password="over the hills")
    link, two = link_to(actor, gallery, password="over the hills")
    client = Client()
    client.post(one, {"password": "over the hills"})
    given = next(iter(client.cookies.values()))
    assert given["httponly"]
    assert given["path"] == one
    for value in (given.value, "1", "", "é"):
        other = Client()
        other.cookies[f"pass{link.pk}"] = value
        assert "These photos have a password" in other.get(two).text


def test_guessing_a_password_is_slowed(actor: Actor, gallery: Gallery) -> None:
    _, home = link_to(actor, gallery, password="over the hills")
    client = Client()
    for _ in range(throttling.LINK.most):
        assert client.post(home, {"password": "guess"}).status_code == 422
    assert client.post(home, {"password": "over the hills"}).status_code == 429
    other = Client(REMOTE_ADDR="192.0.2.9")
    assert other.post(home, {"password": "over the hills"}).status_code == 303


def test_guessing_from_everywhere_is_slowed_too(
    actor: Actor, gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = throttling.Ceiling("link everywhere", 5, 300)
    monkeypatch.setattr(throttling, "LINK_EVERYWHERE", few)
    _, home = link_to(actor, gallery, password="over the hills")
    for n in range(5):
        Client(REMOTE_ADDR=f"192.0.2.{n}").post(home, {"password": "guess"})
    assert Client().post(home, {"password": "over the hills"}).status_code == 429


# --- Counting ---


def test_views_are_counted_and_told_without_saying_whose(
    actor: Actor, gallery: Gallery, photo: Photo
) -> None:
    link, home = link_to(actor, gallery)
    client = Client(REMOTE_ADDR="192.0.2.77")
    for _ in range(3):
        client.get(home)
    client.get(f"{home}photo/{photo.pk}/")
    read(client.get(f"{home}photo/{photo.pk}/thumb"))
    link.refresh_from_db()
    assert link.view_count == 1
    assert link.last_viewed_at is not None
    Client().get(home)
    link.refresh_from_db()
    assert link.view_count == 2
    entry = AuditEntry.objects.get(action="link.view")
    assert (entry.actor, entry.address) == (None, None)
    assert entry.actor_text == f"Somebody with the link …{link.hint}"


# --- Download ---


def original(home: str, photo: Photo) -> Any:
    return Client().get(f"{home}photo/{photo.pk}/original")


def test_downloads_are_off_unless_the_owner_allows_them(
    actor: Actor, gallery: Gallery, photo: Photo
) -> None:
    _, home = link_to(actor, gallery, show_names=True, show_details=True)
    assert original(home, photo).status_code == 404
    assert Client().post(f"{home}zip").status_code == 404
    assert "Download" not in Client().get(home).text


@pytest.mark.parametrize(
    ("options", "details", "place"),
    [
        ({}, False, False),
        ({"show_details": True}, True, False),
        ({"show_details": True, "keep_place": True}, True, True),
        ({"keep_place": True}, False, False),
    ],
)
def test_a_download_has_what_the_owner_says(
    options: dict[str, bool],
    details: bool,
    place: bool,
    actor: Actor,
    gallery: Gallery,
    photo: Photo,
) -> None:
    _, home = link_to(actor, gallery, allow_download=True, **options)
    response = original(home, photo)
    assert (PLACE.encode() in response.content) is place
    assert (DETAIL.encode() in response.content) is details
    name = "canary-file.jpg" if details else f"photo-{photo.pk}.jpg"
    assert response["Content-Disposition"] == f'attachment; filename="{name}"'
    zipped = read(Client().post(f"{home}zip"))
    with zipfile.ZipFile(io.BytesIO(zipped)) as archive:
        (only,) = archive.namelist()
        assert only == ("canary-file.jpg" if details else "photo-00001.jpg")
        assert archive.read(only) == response.content
        year = archive.getinfo(only).date_time[0]
        assert (year == 2019) is details
    entries = AuditEntry.objects.filter(action="link.download").order_by("pk")
    assert [entry.after["photos"] for entry in entries] == [1, 1]


def test_a_heic_photo_comes_as_a_jpeg(actor: Actor, gallery: Gallery) -> None:
    photo = shown(gallery, taken("HEIF"), format="HEIF", file_name="a.heic")
    jpg = shown(gallery, file_name="a.jpg")
    _, home = link_to(actor, gallery, allow_download=True, show_details=True)
    response = original(home, photo)
    assert Image.open(io.BytesIO(response.content)).format == "JPEG"
    assert "a.jpg" in response["Content-Disposition"]
    zipped = read(Client().post(f"{home}zip"))
    names = zipfile.ZipFile(io.BytesIO(zipped)).namelist()
    assert sorted(names) == ["a (2).jpg", "a.jpg"]
    assert jpg.pk != photo.pk


@pytest.mark.parametrize("keep_place", [False, True])
@pytest.mark.parametrize(
    ("kind", "name", "without_place"),
    [
        ("HEIF", "a.HEIC", "a.jpg"),
        ("GIF", "a.gif", "a.png"),
        ("BMP", "a.b.bmp", "a.b.png"),
        ("AVIF", "a.avif", "a.jpg"),
        ("JPEG2000", "a.j2k", "a.jpg"),
        ("JPEG", "a.jpeg", "a.jpeg"),
        ("TIFF", "a.TIFF", "a.tiff"),
        ("PNG", "a", "a.png"),
        ("WEBP", "a.jpg", "a.webp"),
    ],
)
def test_a_download_s_name_ends_in_what_it_is(
    actor: Actor, gallery: Gallery, kind: str, name: str, without_place: str, keep_place: bool
) -> None:
    out = io.BytesIO()
    Image.new("RGB", (60, 40), "teal").save(out, kind)
    photo = shown(gallery, out.getvalue(), format=kind, file_name=name)
    whole = {"a": "a.png", "a.jpg": "a.webp"}.get(name, name.lower())
    expected = whole if keep_place else without_place
    options = {"show_details": True, "keep_place": keep_place}
    _, home = link_to(actor, gallery, allow_download=True, **options)
    assert f'"{expected}"' in original(home, photo)["Content-Disposition"]
    zipped = read(Client().post(f"{home}zip"))
    assert zipfile.ZipFile(io.BytesIO(zipped)).namelist() == [expected]


def test_a_large_gallery_is_downloaded_in_parts(
    actor: Actor, gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "ZIP_PART", 2)
    for _ in range(5):
        shown(gallery)
    _, home = link_to(actor, gallery, allow_download=True)
    page = Client().get(home).text
    assert "Photos 5 to 5" in page
    names: list[str] = []
    for part in ("1", "2", "3"):
        response = Client().post(f"{home}zip", {"part": part})
        assert f"lake-{part}.zip" in response["Content-Disposition"]
        data = read(response)
        names += zipfile.ZipFile(io.BytesIO(data)).namelist()
    assert names == [f"photo-0000{n}.jpg" for n in range(1, 6)]
    assert Client().post(f"{home}zip", {"part": "4"}).status_code == 404
    for part in ("0", "x", "-1"):
        assert Client().post(f"{home}zip", {"part": part}).status_code == 400


def test_strangers_do_not_take_all_of_the_server(
    actor: Actor, gallery: Gallery, photo: Photo
) -> None:
    _, home = link_to(actor, gallery, allow_download=True)
    first, second = (Client().post(f"{home}zip") for _ in range(2))
    refused = Client().post(f"{home}zip")
    assert refused.status_code == 429
    assert "Others are downloading" in refused.text
    leave(first)
    read(second)
    leave(second)
    for _ in range(3):
        again = Client().post(f"{home}zip")
        assert again.status_code == 200
        leave(again)


# --- Places for zips ---


def test_a_zip_that_breaks_gives_its_place_back(
    actor: Actor, gallery: Gallery, photo: Photo, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, home = link_to(actor, gallery, allow_download=True)
    client = Client(raise_request_exception=False)

    def breaks(**_: object) -> None:
        raise OperationalError("database is locked")

    with monkeypatch.context() as broken:
        broken.setattr(downloads, "record_link_download", breaks)
        assert [client.post(f"{home}zip").status_code for _ in range(4)] == [500] * 4
    assert read(client.post(f"{home}zip"))


def test_a_zip_that_nobody_reads_gives_its_place_back(
    actor: Actor, gallery: Gallery, photo: Photo
) -> None:
    """As where the client has gone before the first byte, or a middleware answers otherwise."""
    _, home = link_to(actor, gallery, allow_download=True)
    for _ in range(4):
        response = Client().post(f"{home}zip")
        assert response.status_code == 200
        del response
        gc.collect()
