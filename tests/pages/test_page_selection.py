"""Bulk actions on selected photos: trash and undo, move, recognise again, download."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.test import Client

from persons.models import (
    AuditEntry,
    Gallery,
    GalleryMember,
    Photo,
    PhotoState,
    Role,
    Run,
    Team,
    User,
)
from tests.support.factories import FaceFactory, GalleryFactory, PhotoFactory

# What is asked of the database here is asked by tests of actions and of queries as well.
pytestmark = pytest.mark.any_database

SignIn = Callable[[User], Client]


@pytest.fixture
def gallery(team: Team) -> Gallery:
    found: Gallery = GalleryFactory.create(team=team, slug="lake", name="Lake")
    return found


@pytest.fixture
def client(bob: User, sign_in: SignIn) -> Client:
    return sign_in(bob)


def send(client: Client, what: str, *photos: Photo, **data: Any) -> Any:
    fields = {"photo": [photo.pk for photo in photos], **data}
    return client.post(f"/t/trip/g/lake/photos/{what}", fields)


def read(response: Any) -> str:
    """Where it leads, and what is said there."""
    assert response.status_code == 303, response.status_code
    return str(response.client.get(response["Location"]).text)


# --- Trash ---


def test_deleted_photos_are_undone_from_the_toast(client: Client, gallery: Gallery) -> None:
    one, two, before = (PhotoFactory.create(gallery=gallery) for _ in range(3))
    send(client, "trash", before)
    page = read(send(client, "trash", one, two, next="/t/trip/g/lake/?show=unknown"))
    assert "2 photos are in the trash now." in page
    assert not Photo.objects.exists()
    form = re.findall(
        r'<form method="post" action="/t/trip/trash/restore">(.*?)</form>', page, re.DOTALL
    )
    fields = dict(re.findall(r'name="(\w+)" value="([^"]*)"', form[-1]))
    assert fields["next"] == "/t/trip/g/lake/?show=unknown"
    response = client.post("/t/trip/trash/restore", fields)
    assert response["Location"] == "/t/trip/g/lake/?show=unknown"
    assert set(Photo.objects.all()) == {one, two}


def test_undoing_a_photo_s_deletion_leads_back_to_the_photo(
    client: Client, gallery: Gallery
) -> None:
    photo, other = (PhotoFactory.create(gallery=gallery) for _ in range(2))
    page = f"/t/trip/photos/{photo.pk}/?show=unknown"
    shown = read(send(client, "trash", photo, next=f"/t/trip/photos/{other.pk}/", back=page))
    form = re.search(r'action="/t/trip/trash/restore">(.*?)</form>', shown, re.DOTALL)
    assert form
    fields = dict(re.findall(r'name="(\w+)" value="([^"]*)"', form[1]))
    assert client.post("/t/trip/trash/restore", fields)["Location"] == page
    # Nowhere else, whatever the form says.
    shown = read(send(client, "trash", photo, back="https://example.org/photos/1/"))
    form = re.search(r'action="/t/trip/trash/restore">(.*?)</form>', shown, re.DOTALL)
    assert form
    fields = dict(re.findall(r'name="(\w+)" value="([^"]*)"', form[1]))
    assert client.post("/t/trip/trash/restore", fields)["Location"] == "/t/trip/trash/"


def test_a_toast_shows_no_markup_of_a_gallery_s_name(client: Client, gallery: Gallery) -> None:
    Gallery.objects.update(name="<b>Lake</b>")
    page = read(send(client, "trash", PhotoFactory.create(gallery=gallery)))
    assert "<b>Lake" not in page


@pytest.mark.parametrize("what", ["trash", "move", "recognise", "zip"])
@pytest.mark.parametrize(
    ("photos", "words"),
    [([], "Select one or more photos"), (range(1, 5002), "more than 5,000 photos")],
)
def test_nothing_and_too_much_are_refused(
    what: str, photos: Any, words: str, client: Client, gallery: Gallery
) -> None:
    response = client.post(f"/t/trip/g/lake/photos/{what}", {"photo": list(photos)})
    assert words in read(response)


@pytest.mark.parametrize("what", ["trash", "recognise"])
def test_those_that_are_not_there_stop_no_others(
    what: str, client: Client, gallery: Gallery
) -> None:
    mine = PhotoFactory.create(gallery=gallery, sent_sha256="0" * 64)
    other = PhotoFactory.create(gallery=GalleryFactory.create(team=gallery.team))
    page = read(send(client, what, mine, other, photo=[mine.pk, other.pk, 2**63 - 1]))
    assert "1 photo" in page
    assert "not in this gallery any more" in page or "not here any more" in page
    other.refresh_from_db()
    assert (other.trashed_at, other.state) == (None, PhotoState.DONE)


# --- The trash's page ---


def test_the_trash_is_by_day_and_gallery_and_gives_back_what_is_ticked(
    client: Client, gallery: Gallery
) -> None:
    one, two = (PhotoFactory.create(gallery=gallery) for _ in range(2))
    send(client, "trash", one, two)
    page = client.get("/t/trip/trash/").text
    assert "Lake" in page
    assert "30 days left" in page
    assert "2 photos" in page
    client.post("/t/trip/trash/restore", {"photo": one.pk})
    assert list(Photo.objects.all()) == [one]
    client.post("/t/trip/trash/restore", {"all": "yes"})
    assert set(Photo.objects.all()) == {one, two}
    assert "The trash is empty" in client.get("/t/trip/trash/").text


def test_the_trash_goes_on_by_key(
    client: Client, gallery: Gallery, django_assert_num_queries: Any
) -> None:
    photos = [PhotoFactory.create(gallery=gallery) for _ in range(125)]
    for some in (photos[:60], photos[60:]):
        send(client, "trash", *some)
    seen: list[str] = []
    address = "/t/trip/trash/"
    while address:
        with django_assert_num_queries(9):
            page = client.get(address).text
        seen += re.findall(r'name="photo" value="(\d+)"', page)
        more = re.search(r'rel="next" href="\?before=([^"]+)"', page)
        address = f"/t/trip/trash/?before={more[1]}" if more else ""
    assert sorted(map(int, seen)) == sorted(photo.pk for photo in photos)


@pytest.mark.parametrize("key", ["x", "2024-01-01.1", "2024-99-01T00:00:00+00:00.1", ".", "0.0"])
def test_a_key_that_is_none_is_an_error(key: str, client: Client, gallery: Gallery) -> None:
    send(client, "trash", PhotoFactory.create(gallery=gallery))
    response = client.get("/t/trip/trash/", {"before": key})
    assert response.status_code == 400
    assert 'name="photo"' not in response.text


@pytest.mark.parametrize("what", ["trash", "move", "recognise", "zip"])
@pytest.mark.parametrize("photo", ["nonsense", "-1", "²", "9" * 5000])
def test_what_is_no_photo_s_number_is_an_error(
    what: str, photo: str, client: Client, gallery: Gallery
) -> None:
    response = client.post(f"/t/trip/g/lake/photos/{what}", {"photo": photo})
    assert response.status_code == 400
    assert '<code class="mono">photo</code>' in response.text


def test_what_is_closed_to_somebody_is_not_in_their_trash(
    client: Client, gallery: Gallery, bob: User, alice: User, sign_in: SignIn
) -> None:
    photo = PhotoFactory.create(gallery=gallery, file_name="canary.jpg")
    send(sign_in(alice), "trash", photo)
    Gallery.objects.update(is_open=False)
    for role in (None, Role.VIEWER):
        if role:
            GalleryMember.objects.create(gallery=gallery, user=bob, role=role)
        assert "canary" not in client.get("/t/trip/trash/").text
        client.post("/t/trip/trash/restore", {"all": "yes"})
        client.post("/t/trip/trash/restore", {"photo": photo.pk})
        assert not Photo.objects.exists()
        assert client.get(f"/t/trip/media/trash/{photo.pk}").status_code in (403, 404)
    GalleryMember.objects.update(role=Role.EDITOR)
    client.post("/t/trip/trash/restore", {"photo": photo.pk})
    assert Photo.objects.exists()


def test_only_an_owner_who_is_sure_empties_it(
    client: Client, gallery: Gallery, alice: User, sign_in: SignIn
) -> None:
    send(client, "trash", PhotoFactory.create(gallery=gallery))
    assert "Empty trash" not in client.get("/t/trip/trash/").text
    owner = sign_in(alice)
    assert "Tick that you are sure" in read(owner.post("/t/trip/trash/empty"))
    assert "deleted for good" in read(owner.post("/t/trip/trash/empty", {"sure": "yes"}))
    assert "The trash is empty" in client.get("/t/trip/trash/").text


def test_a_photo_in_the_trash_has_no_other_address(client: Client, gallery: Gallery) -> None:
    photo = PhotoFactory.create(gallery=gallery, with_file=True)
    face = FaceFactory.create(photo=photo)
    send(client, "trash", photo)
    for address in (
        f"/t/trip/photos/{photo.pk}/",
        f"/t/trip/media/photo/{photo.pk}/thumb",
        f"/t/trip/media/photo/{photo.pk}/original",
        f"/t/trip/media/face/{face.pk}",
        f"/rest/teams/trip/photos/{photo.pk}/",
    ):
        assert client.get(address).status_code == 404, address


# --- Move ---


def test_the_page_that_asks_where_to_offers_galleries_of_the_same_space(
    client: Client, gallery: Gallery, team: Team
) -> None:
    GalleryFactory.create(team=team, name="Sea")
    GalleryFactory.create(team=team, name="Elsewhere", space=team.spaces.get(number=3))
    GalleryFactory.create(team=team, name="Secret", is_open=False)
    photo = PhotoFactory.create(gallery=gallery)
    page = send(client, "move", photo)
    assert page.status_code == 200
    assert re.findall(r'name="to" value="(\w+)"', page.text) == ["sea"]
    assert f'name="photo" value="{photo.pk}"' in page.text
    assert "Elsewhere (Space 3)" in page.text
    assert "Secret" not in page.text


def test_photos_move_with_their_faces(client: Client, gallery: Gallery, team: Team) -> None:
    sea = GalleryFactory.create(team=team, slug="sea", name="Sea")
    photo = PhotoFactory.create(gallery=gallery, with_file=True)
    face = FaceFactory.create(photo=photo, decision="ignored")
    assert "1 photo is in Sea now." in read(send(client, "move", photo, to="sea"))
    photo.refresh_from_db()
    face.refresh_from_db()
    assert (photo.gallery, face.decision) == (sea, "ignored")
    assert default_storage.exists(photo.original)
    entry = AuditEntry.objects.get(action="photos.move")
    assert (entry.before["gallery"], entry.after["gallery"]) == ("lake", "sea")


def test_what_the_other_gallery_has_already_stays(
    client: Client, gallery: Gallery, team: Team
) -> None:
    sea = GalleryFactory.create(team=team, slug="sea", name="Sea")
    one, two, three = (PhotoFactory.create(gallery=gallery) for _ in range(3))
    PhotoFactory.create(gallery=sea, sha256=one.sha256)
    twin = PhotoFactory.create(gallery=sea, sha256=two.sha256)
    client.post("/t/trip/g/sea/photos/trash", {"photo": twin.pk})
    page = read(send(client, "move", one, two, three, to="sea"))
    assert "2 photos are in Sea already and stayed here. 1 photo is in its trash" in page
    assert set(Photo.objects.filter(gallery=gallery)) == {one, two}
    assert three in Photo.objects.filter(gallery=sea)


def test_another_space_is_refused_with_a_way_out(
    client: Client, gallery: Gallery, team: Team
) -> None:
    GalleryFactory.create(team=team, name="Near")
    GalleryFactory.create(team=team, slug="far", name="Far", space=team.spaces.get(number=3))
    photo = PhotoFactory.create(gallery=gallery)
    page = send(client, "move", photo, to="far")
    assert page.status_code == 422
    assert "Download the photos and upload them to Far" in page.text
    assert f'name="photo" value="{photo.pk}"' in page.text
    assert send(client, "move", photo, to="nowhere").status_code == 404


def test_nothing_moves_into_a_gallery_that_is_not_one_s_own_to_change(
    client: Client, gallery: Gallery, team: Team, bob: User
) -> None:
    secret = GalleryFactory.create(team=team, slug="secret", is_open=False)
    photo = PhotoFactory.create(gallery=gallery)
    assert send(client, "move", photo, to="secret").status_code == 404
    GalleryMember.objects.create(gallery=secret, user=bob, role=Role.VIEWER)
    assert send(client, "move", photo, to="secret").status_code == 403


# --- Recognise again ---


def test_finished_and_failed_ones_are_recognised_again(client: Client, gallery: Gallery) -> None:
    done = PhotoFactory.create(gallery=gallery, sent_sha256="0" * 64)
    failed = PhotoFactory.create(gallery=gallery, state=PhotoState.FAILED, error="no")
    waiting = PhotoFactory.create(gallery=gallery, state=PhotoState.QUEUED, sent_sha256="1" * 64)
    page = read(send(client, "recognise", done, failed, waiting))
    assert "2 photos are being recognised again. 1 photo was waiting" in page
    states = {photo.pk: photo.state for photo in Photo.objects.all()}
    assert states == {
        done.pk: PhotoState.QUEUED,
        failed.pk: PhotoState.NEW,
        waiting.pk: PhotoState.QUEUED,
    }
    assert Run.objects.get().photo_count == 2


# --- Download ---


def test_the_zip_has_the_originals_under_names_of_their_own(
    client: Client, gallery: Gallery
) -> None:
    one = PhotoFactory.create(gallery=gallery, with_file=True, file_name="a.jpg")
    two = PhotoFactory.create(gallery=gallery, with_file=True, file_name="A.jpg")
    PhotoFactory.create(gallery=gallery, with_file=True)
    response = send(client, "zip", one, two)
    data = b"".join(response.streaming_content)
    assert response["Content-Disposition"] == 'attachment; filename="lake.zip"'
    assert int(response["Content-Length"]) == len(data)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.namelist() == ["a.jpg", "A (2).jpg"]
        with default_storage.open(two.original) as file:
            assert archive.read("A (2).jpg") == file.read()
    entry = AuditEntry.objects.get(action="photos.download")
    assert entry.after["ids"] == [one.pk, two.pk]


def test_a_file_that_is_gone_does_not_end_the_zip(client: Client, gallery: Gallery) -> None:
    there = PhotoFactory.create(gallery=gallery, with_file=True)
    gone = PhotoFactory.create(gallery=gallery)
    data = b"".join(send(client, "zip", there, gone).streaming_content)
    assert zipfile.ZipFile(io.BytesIO(data)).namelist() == [there.file_name]


def test_a_viewer_downloads_and_changes_nothing(
    gallery: Gallery, vera: User, sign_in: SignIn
) -> None:
    photo = PhotoFactory.create(gallery=gallery, with_file=True)
    response = send(sign_in(vera), "zip", photo)
    assert b"".join(response.streaming_content).startswith(b"PK")
    for what in ("trash", "move", "recognise"):
        assert send(sign_in(vera), what, photo).status_code == 403


# --- Over the grid ---


def test_a_grid_that_stays_is_told_which_photos_left_it(
    client: Client, gallery: Gallery, team: Team
) -> None:
    one, two, three, four = (PhotoFactory.create(gallery=gallery) for _ in range(4))
    other = GalleryFactory.create(team=team, space=gallery.space, name="Sea", slug="sea")
    PhotoFactory.create(gallery=other, sha256=three.sha256)
    htmx = {"HX-Request": "true", "HX-Target": "tiles"}

    def post(what: str, *photos: Photo, **data: str) -> str:
        fields = {"photo": [photo.pk for photo in photos], **data}
        response = client.post(f"/t/trip/g/lake/photos/{what}", fields, headers=htmx)
        assert response.status_code == 200
        return str(response.text)

    text = post("trash", one)
    assert f'data-gone="{one.pk}"' in text
    assert "1 photo is in the trash now." in text
    assert "Undo" in text
    text = post("move", two, three)
    assert "<h1" not in text
    assert 'value="sea"' in text
    assert 'name="photo"' not in text
    text = post("move", two, three, to="sea")
    assert f'data-gone="{two.pk}"' in text
    assert "in Sea already and stayed here" in text
    assert 'data-gone=""' in post("recognise", four)
