"""Pictures are served only after an access check: no file has a public address."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from PIL import Image, ImageOps
from pytest_django import Settings

from dashboard.pages.photos.media import box_of
from persons import pictures, pipeline
from persons.models import AuditEntry, Enrolment, Face, Gallery, Photo, PhotoState, Team, User
from persons.pipeline.privacy.purging import forget_files
from tests.support.factories import FaceFactory, GalleryFactory, PersonFactory, PhotoFactory

# What is sent comes from files.
pytestmark = pytest.mark.any_database

SignIn = Callable[[User], Client]
KINDS = ["thumb", "medium", "large", "full", "original", "sent"]


@pytest.fixture
def gallery(team: Team) -> Gallery:
    return GalleryFactory.create(team=team, name="Harbour")


@pytest.fixture
def photo(gallery: Gallery) -> Photo:
    """Prepared by the real pipeline, from 400 x 300 pixels."""
    photo = PhotoFactory.create(
        gallery=gallery, with_file=True, width=400, height=300, state=PhotoState.NEW
    )
    pipeline.prepare(photo.pk)
    photo.refresh_from_db()
    return photo


@pytest.fixture
def face(photo: Photo) -> Face:
    return FaceFactory.create(photo=photo, left=100, top=80, right=180, bottom=180)


@pytest.fixture
def enrolment(photo: Photo, face: Face) -> Enrolment:
    person = PersonFactory.create(space=photo.gallery.space)
    key = "enrolments/1/ab/abc.jpg"
    default_storage.save(key, ContentFile(b"the very bytes"))
    return Enrolment.objects.create(person=person, face=face, image=key, sha256="ab" * 32)


def photo_url(photo: Photo, what: str = "thumb") -> str:
    return reverse("media_photo", args=["trip", photo.pk, what])


def face_url(face: Face) -> str:
    return reverse("media_face", args=["trip", face.pk])


def enrolment_url(enrolment: Enrolment) -> str:
    return reverse("media_enrolment", args=["trip", enrolment.pk])


def get(client: Client, address: str, query: Any = None, **headers: str) -> Any:
    """The response, with the whole picture in `picture`."""
    response: Any = client.get(address, query, headers=headers)
    response.picture = response.getvalue() if response.streaming else response.content
    return response


def opened(response: Any) -> Image.Image:
    return Image.open(io.BytesIO(response.picture))


# --- Who may ---


@pytest.fixture
def addresses(photo: Photo, face: Face, enrolment: Enrolment) -> list[str]:
    kinds = [photo_url(photo, what) for what in KINDS]
    return [*kinds, face_url(face), enrolment_url(enrolment)]


def test_anonymous_visitors_sign_in_first(addresses: list[str], client: Client) -> None:
    for address in addresses:
        assert get(client, address)["Location"] == f"/login/?next={address}"


def test_a_stranger_finds_no_picture(addresses: list[str], charlie: User, sign_in: SignIn) -> None:
    client = sign_in(charlie)
    own = [address.replace("/t/trip/", "/t/others/") for address in addresses]
    for address in [*addresses, *own]:
        assert get(client, address).status_code == 404


def test_an_auditor_finds_no_picture(addresses: list[str], audrey: User, sign_in: SignIn) -> None:
    client = sign_in(audrey)
    assert {get(client, address).status_code for address in addresses} == {404}


def test_a_viewer_sees_every_picture(addresses: list[str], vera: User, sign_in: SignIn) -> None:
    client = sign_in(vera)
    assert {get(client, address).status_code for address in addresses} == {200}


def test_pictures_are_only_read(addresses: list[str], alice: User, sign_in: SignIn) -> None:
    client = sign_in(alice)
    assert {client.post(address).status_code for address in addresses} == {405}
    assert {client.head(address).status_code for address in addresses} == {200}


def test_there_is_no_other_kind_of_picture(photo: Photo, vera: User, sign_in: SignIn) -> None:
    for what in ("huge", "..", "originals"):
        assert get(sign_in(vera), photo_url(photo, "x")[:-1] + what).status_code == 404


def test_the_data_folder_itself_is_not_served(photo: Photo, alice: User, sign_in: SignIn) -> None:
    client = sign_in(alice)
    assert get(client, f"/media/{photo.original}").status_code == 404
    assert get(client, f"/static/../media/{photo.original}").status_code == 404


# --- How they are sent ---


@pytest.mark.parametrize("what", ["thumb", "medium", "large"])
def test_a_rendition_may_be_kept_by_its_reader_alone(
    photo: Photo, vera: User, sign_in: SignIn, what: str
) -> None:
    client = sign_in(vera)
    response = get(client, photo_url(photo, what))
    assert response["Content-Type"] == "image/webp"
    assert response["X-Content-Type-Options"] == "nosniff"
    assert response["Content-Security-Policy"].startswith("default-src 'none'; sandbox")
    assert response["Cache-Control"] == "private, max-age=31536000, immutable"
    assert response["Content-Disposition"].startswith("inline")
    again = get(client, photo_url(photo, what), **{"If-None-Match": response["ETag"]})
    assert again.status_code == 304
    assert again["ETag"] == response["ETag"]
    assert not again.content


def test_an_unchanged_picture_is_still_asked_for_with_access(
    photo: Photo, vera: User, charlie: User, sign_in: SignIn
) -> None:
    tag = get(sign_in(vera), photo_url(photo))["ETag"]
    headers = {"If-None-Match": tag}
    assert get(sign_in(charlie), photo_url(photo), **headers).status_code == 404


def test_an_original_comes_as_it_was_under_its_own_name(
    photo: Photo, vera: User, sign_in: SignIn
) -> None:
    Photo.objects.filter(pk=photo.pk).update(file_name='Nürnberg "2026"; a.jpg')
    response = get(sign_in(vera), photo_url(photo, "original"))
    assert response["Content-Type"] == "image/jpeg"
    name = "N%C3%BCrnberg%20%222026%22%3B%20a.jpg"
    assert response["Content-Disposition"] == f"attachment; filename*=utf-8''{name}"
    with default_storage.open(photo.original) as file:
        assert response.picture == file.read()


def test_what_vision_is_sent_can_be_seen(photo: Photo, vera: User, sign_in: SignIn) -> None:
    response = get(sign_in(vera), photo_url(photo, "sent"))
    assert response["Content-Type"] == "image/jpeg"
    assert response["ETag"] == f'"{photo.sent_sha256}"'


def test_the_server_in_front_sends_the_bytes_where_there_is_one(
    photo: Photo, face: Face, vera: User, charlie: User, sign_in: SignIn, settings: Settings
) -> None:
    settings.X_ACCEL_PREFIX = "/protected/"
    response = get(sign_in(vera), photo_url(photo))
    assert response["X-Accel-Redirect"] == f"/protected/{photo.key('thumb')}"
    assert response["Content-Type"] == "image/webp"
    assert response.picture == b""
    assert get(sign_in(vera), face_url(face))["X-Accel-Redirect"].startswith("/protected/crops/")
    assert "X-Accel-Redirect" not in get(sign_in(charlie), photo_url(photo))


def test_a_picture_that_is_not_made_yet_has_a_placeholder_that_nobody_keeps(
    gallery: Gallery, vera: User, sign_in: SignIn
) -> None:
    photo = PhotoFactory.create(gallery=gallery, state=PhotoState.NEW)
    face = FaceFactory.create(photo=photo)
    enrolment = Enrolment.objects.create(person=PersonFactory.create(space=gallery.space))
    client = sign_in(vera)
    for address in (photo_url(photo), face_url(face), enrolment_url(enrolment)):
        response = get(client, address)
        assert response.status_code == 404
        assert response["Content-Type"] == "image/svg+xml"
        assert response["Cache-Control"] == "no-store"


# --- Faces ---


def test_a_crop_is_made_once_and_shows_the_face(
    photo: Photo, face: Face, vera: User, sign_in: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = sign_in(vera)
    response = get(client, face_url(face))
    assert response["Content-Type"] == "image/webp"
    first = response.picture
    crop = Image.open(io.BytesIO(first))
    assert crop.width == crop.height
    assert 100 <= crop.width <= 256

    def again(*args: Any) -> bytes:
        raise AssertionError("made twice")

    monkeypatch.setattr(pictures, "crops", again)
    assert get(client, face_url(face)).picture == first


def test_all_crops_of_a_photo_are_cut_in_one_go(
    photo: Photo, face: Face, vera: User, sign_in: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = FaceFactory.create(photo=photo, left=250, top=90, right=330, bottom=190)
    get(sign_in(vera), face_url(face))
    monkeypatch.setattr(pictures, "crops", None)
    assert get(sign_in(vera), face_url(other)).status_code == 200


def test_a_box_is_scaled_to_the_rendition_that_is_cut(
    gallery: Gallery, vera: User, sign_in: SignIn
) -> None:
    """A white square on black, whose photo is twice as large as its largest rendition."""
    side = 2 * 2560
    picture = Image.new("RGB", (side, side // 2))
    picture.paste((255, 255, 255), (3000, 1000, 3600, 1600))
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=95)
    photo = PhotoFactory.create(
        gallery=gallery,
        with_file=out.getvalue(),
        width=side,
        height=side // 2,
        state=PhotoState.NEW,
    )
    pipeline.prepare(photo.pk)
    face = FaceFactory.create(photo=photo, left=3000, top=1000, right=3600, bottom=1600)
    crop = opened(get(sign_in(vera), face_url(face))).convert("L")
    middle, edge = crop.width // 2, round(crop.width * 0.1)
    assert crop.getpixel((middle, middle)) > 240  # type: ignore[operator]
    assert crop.getpixel((edge, edge)) < 15  # type: ignore[operator]


def test_a_crop_may_be_kept_under_the_address_that_names_its_box(
    photo: Photo, face: Face, vera: User, sign_in: SignIn
) -> None:
    client = sign_in(vera)
    kept = get(client, face_url(face), {"box": "100.80.180.180"})
    assert "immutable" in kept["Cache-Control"]
    for query in ({}, {"box": "1.2.3.4"}):
        assert get(client, face_url(face), query)["Cache-Control"] == "private, max-age=60"


def test_a_face_that_moved_has_another_crop(
    photo: Photo, face: Face, vera: User, sign_in: SignIn
) -> None:
    client = sign_in(vera)
    before = get(client, face_url(face))["ETag"]
    Face.objects.filter(pk=face.pk).update(left=120)
    assert get(client, face_url(face))["ETag"] != before


def test_a_box_outside_its_photo_has_a_placeholder(
    photo: Photo, face: Face, vera: User, sign_in: SignIn
) -> None:
    Face.objects.filter(pk=face.pk).update(left=4000, right=4100)
    assert get(sign_in(vera), face_url(face)).status_code == 404


def test_crops_lie_in_their_photo_s_own_folder(photo: Photo, face: Face) -> None:
    """So that whoever erases a photo finds them."""
    folder = f"crops/{photo.gallery.team_id}/{photo.sha256[:2]}/{photo.sha256}/"
    assert photo.crop_key(box_of(face)).startswith(folder)


def test_the_very_bytes_of_an_enrolment_are_shown(
    enrolment: Enrolment, vera: User, sign_in: SignIn
) -> None:
    response = get(sign_in(vera), enrolment_url(enrolment))
    assert response.picture == b"the very bytes"
    assert response["ETag"] == f'"{enrolment.sha256}"'


# --- All of its pixels ---


def lying(kind: str, **options: Any) -> bytes:
    """A large picture on its side: red on the left when it is upright, blue on the right."""
    image = Image.new("RGB", (2800, 3600), "red")
    image.paste("blue", (1400, 0, 2800, 3600))
    out = io.BytesIO()
    image.transpose(Image.Transpose.ROTATE_90).save(out, kind, **options)
    return out.getvalue()


def turned_to(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


XMP = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("kind", "options", "is_original"),
    [
        ("JPEG", {"exif": turned_to(6)}, True),
        ("JPEG", {"xmp": XMP}, False),
        ("WEBP", {"exif": turned_to(6), "lossless": True}, False),
        ("PNG", {"exif": turned_to(6)}, False),
        ("TIFF", {"tiffinfo": {0x0112: 6}}, False),
        ("HEIF", {"exif": turned_to(6)}, False),
    ],
)
def test_from_close_by_a_photo_is_upright_and_its_fetching_is_told(
    team: Team,
    vera: User,
    sign_in: SignIn,
    kind: str,
    options: dict[str, Any],
    is_original: bool,
) -> None:
    content = lying(kind, **options)
    photo = PhotoFactory.create(
        gallery=GalleryFactory.create(team=team),
        with_file=content,
        format=kind,
        width=2800,
        height=3600,
        prepared_at=timezone.now(),
    )
    client = sign_in(vera)
    before = AuditEntry.objects.filter(action="photo.download").count()
    response = get(client, photo_url(photo, "full"))
    assert AuditEntry.objects.filter(action="photo.download").count() == before + 1
    assert response["Content-Type"] == "image/jpeg"
    assert "attachment" not in response["Content-Disposition"]
    image = ImageOps.exif_transpose(opened(response)).convert("RGB")
    assert image.size == (2800, 3600)
    left, right = image.getpixel((700, 1800)), image.getpixel((2100, 1800))
    assert isinstance(left, tuple)
    assert isinstance(right, tuple)
    assert (left[0] > 230, left[2] < 30, right[0] < 30, right[2] > 230) == (True,) * 4
    assert (response.picture == content) == is_original
    assert default_storage.exists(photo.key("full")) != is_original
    if not is_original:
        assert not opened(response).getexif()
        # Once made it is kept, and goes with the photo.
        assert get(client, photo_url(photo, "full")).picture == response.picture
        photo.delete()
        assert forget_files(photo)
        assert not default_storage.exists(photo.key("full"))


def test_a_photo_whose_original_is_gone_has_no_full_size(
    photo: Photo, vera: User, sign_in: SignIn
) -> None:
    default_storage.delete(photo.original)
    assert get(sign_in(vera), photo_url(photo, "full")).status_code == 404
