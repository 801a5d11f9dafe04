"""Auditors see only the galleries that are shared with them, and can't change them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.test import Client
from django.urls import reverse

from persons import access
from persons.actions.sharing import set_gallery_role
from persons.audit import Actor
from persons.errors import Refused
from persons.models import Face, Gallery, GalleryMember, Photo, Role, Source, Team, User
from tests.support.factories import FaceFactory, GalleryFactory, PersonFactory, PhotoFactory, jpeg

SignIn = Callable[[User], Client]


@pytest.fixture(params=["open", "closed"])
def gallery(request: pytest.FixtureRequest, team: Team) -> Gallery:
    found: Gallery = GalleryFactory.create(
        team=team, slug="harbour", name="Harbour", is_open=request.param == "open"
    )
    return found


@pytest.fixture
def photo(gallery: Gallery) -> Photo:
    photo: Photo = PhotoFactory.create(gallery=gallery)
    for what in ("thumb", "large", "sent"):
        default_storage.save(photo.key(what), ContentFile(jpeg()))
    return photo


@pytest.fixture
def face(photo: Photo) -> Face:
    person = PersonFactory.create(space=photo.gallery.space, label="Anna")
    face: Face = FaceFactory.create(photo=photo, person=person)
    return face


def addresses(photo: Photo, face: Face) -> list[str]:
    return [
        reverse("gallery", args=["trip", "harbour"]),
        reverse("photo", args=["trip", photo.pk]),
        reverse("media_photo", args=["trip", photo.pk, "thumb"]),
        reverse("media_face", args=["trip", face.pk]),
        "/rest/teams/trip/galleries/harbour/photos/",
        f"/rest/teams/trip/photos/{photo.pk}/",
    ]


def writes(photo: Photo, face: Face) -> list[str]:
    return [
        reverse("rename_gallery", args=["trip", "harbour"]),
        reverse("photos_trash", args=["trip", "harbour"]),
        reverse("face_name", args=["trip", face.pk]),
        reverse("face_ignore", args=["trip", face.pk]),
        reverse("recognise_photo", args=["trip", photo.pk]),
    ]


def test_a_gallery_that_is_not_shared_is_not_there(
    photo: Photo, face: Face, audrey: User, sign_in: SignIn
) -> None:
    client = sign_in(audrey)
    for address in addresses(photo, face):
        assert client.get(address).status_code == 404, address
    for address in writes(photo, face):
        assert client.post(address).status_code == 404, address
    assert client.get(reverse("galleries", args=["trip"])).status_code == 403
    assert 'href="/t/trip/galleries/"' not in client.get("/t/trip/").text


def test_one_that_is_shared_opens_and_nothing_in_it_can_be_changed(
    gallery: Gallery, photo: Photo, face: Face, alice: User, audrey: User, sign_in: SignIn
) -> None:
    set_gallery_role(actor=Actor(alice, Source.PAGE), gallery=gallery, user=audrey, role="viewer")
    client = sign_in(audrey)
    for address in addresses(photo, face):
        response = client.get(address)
        assert response.status_code == 200, address
        if response.streaming:
            response.getvalue()
    for address in writes(photo, face):
        assert client.post(address, {"label": "X"}).status_code == 403, address
    page = client.get(reverse("galleries", args=["trip"])).text
    assert "Harbour" in page
    assert 'href="/t/trip/galleries/"' in client.get("/t/trip/").text


def test_the_others_stay_away_from_who_has_one(
    team: Team, gallery: Gallery, photo: Photo, face: Face, audrey: User, sign_in: SignIn
) -> None:
    other = PhotoFactory.create(gallery=GalleryFactory.create(team=team, slug="else", name="Else"))
    GalleryMember.objects.create(gallery=gallery, user=audrey, role=Role.VIEWER)
    client = sign_in(audrey)
    assert client.get(reverse("gallery", args=["trip", "else"])).status_code == 404
    assert client.get(reverse("photo", args=["trip", other.pk])).status_code == 404
    assert "Else" not in client.get(reverse("galleries", args=["trip"])).text
    for name in ("people", "review", "groups"):
        assert client.get(reverse(name, args=["trip"])).status_code == 403
    assert face.person is not None
    where = reverse("person", args=["trip", 0, face.person.person_id])
    assert client.get(where).status_code == 404
    visible = access.visible(audrey, team)
    assert visible.shows(gallery.pk) and not visible.shows(other.gallery_id)


def test_an_owner_shares_it_on_its_page_and_takes_it_back(
    gallery: Gallery, photo: Photo, alice: User, audrey: User, sign_in: SignIn
) -> None:
    owner, auditor = sign_in(alice), sign_in(audrey)
    share = reverse("share", args=["trip", "harbour"])
    assert f'<option value="{audrey.pk}">Audrey (auditor)</option>' in owner.get(share).text
    owner.post(
        reverse("share_member", args=["trip", "harbour"]), {"user": audrey.pk, "role": "viewer"}
    )
    assert auditor.get(reverse("gallery", args=["trip", "harbour"])).status_code == 200
    member = GalleryMember.objects.get(user=audrey)
    owner.post(reverse("share_member_remove", args=["trip", "harbour", member.pk]))
    assert auditor.get(reverse("gallery", args=["trip", "harbour"])).status_code == 404


def test_an_auditor_is_no_editor_of_anything(gallery: Gallery, alice: User, audrey: User) -> None:
    with pytest.raises(Refused, match="may only look"):
        set_gallery_role(
            actor=Actor(alice, Source.PAGE), gallery=gallery, user=audrey, role="editor"
        )
