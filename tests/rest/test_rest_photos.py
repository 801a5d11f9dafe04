"""One photo, its faces, and decisions about them, through REST."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from persons.models import (
    Enrolment,
    Face,
    Gallery,
    Person,
    Photo,
    PhotoState,
    Rejection,
    Team,
    User,
)
from tests.support import factories


@pytest.fixture
def gallery(team: Team) -> Gallery:
    return factories.GalleryFactory.create(team=team, slug="walk")


@pytest.fixture
def mia(gallery: Gallery) -> Person:
    return factories.PersonFactory.create(space=gallery.space, label="Mia")


@pytest.fixture
def photo(gallery: Gallery) -> Photo:
    return factories.PhotoFactory.create(gallery=gallery)


@pytest.fixture
def client(bob: User, sign_in: Callable[[User], Client]) -> Client:
    return sign_in(bob)


def decide(client: Client, face: Face, verb: str, body: object = None) -> Any:
    address = f"/rest/teams/trip/faces/{face.pk}/{verb}/"
    return client.post(address, body, content_type="application/json")


def test_a_photo_tells_what_the_engine_said_and_apart_from_it_what_a_human_decided(
    client: Client, photo: Photo, mia: Person
) -> None:
    Photo.objects.filter(pk=photo.pk).update(prepared_at=timezone.now())
    face = factories.FaceFactory.create(photo=photo, person=mia)
    said = client.get(f"/rest/teams/trip/photos/{photo.pk}/").json()
    assert (said["state"], said["error"], said["gallery"]) == ("done", "", "walk")
    media = f"http://testserver/t/trip/media/photo/{photo.pk}"
    assert said["media"] == {
        what: f"{media}/{what}" for what in ("original", "thumb", "medium", "large")
    }
    (found,) = said["faces"]
    assert found == {
        "id": face.pk,
        "photo": photo.pk,
        "box": {"left": 10, "top": 8, "right": 34, "bottom": 38},
        "person": {"person_id": mia.person_id, "tag": mia.tag, "label": "Mia"},
        "tag": mia.tag,
        "similarity": 0.7,
        "confidence": 0.9,
        "quality": 0.8,
        "attributes": {},
        "missing": False,
        "decision": None,
        "decided_by": None,
        "decided_at": None,
        "image": f"http://testserver/t/trip/media/face/{face.pk}",
    }


def test_attributes_are_told_only_where_the_owner_shows_them(
    client: Client, photo: Photo, gallery: Gallery
) -> None:
    factories.FaceFactory.create(photo=photo, attributes={"sex": "female"})
    address = f"/rest/teams/trip/photos/{photo.pk}/"
    assert client.get(address).json()["faces"][0]["attributes"] == {}
    gallery.space.show_attributes = True
    gallery.space.save(update_fields=["show_attributes"])
    assert client.get(address).json()["faces"][0]["attributes"] == {"sex": "female"}


def test_a_name_makes_the_person_and_enrols_the_face(
    client: Client, photo: Photo, bob: User
) -> None:
    face = factories.FaceFactory.create(photo=photo)
    response = decide(client, face, "name", {"label": "  Nora   Lind "})
    assert response.status_code == 200
    said = response.json()
    nora = Person.objects.get()
    assert said["person"] == {"person_id": nora.person_id, "tag": nora.tag, "label": "Nora Lind"}
    assert (said["decision"], said["decided_by"]) == ("named", str(bob))
    assert Enrolment.objects.get().face == face


def test_a_rejected_person_is_taken_from_the_face(
    client: Client, photo: Photo, mia: Person
) -> None:
    face = factories.FaceFactory.create(photo=photo, person=mia)
    said = decide(client, face, "reject").json()
    assert (said["person"], said["decision"], said["tag"]) == (None, None, mia.tag)
    assert Rejection.objects.filter(face=face, person=mia).exists()


def test_rejecting_nobody_is_a_conflict_that_says_why(client: Client, photo: Photo) -> None:
    response = decide(client, factories.FaceFactory.create(photo=photo), "reject")
    assert response.status_code == 409
    assert response.json() == {
        "code": "refused",
        "detail": "This face has no name to take away.",
    }


def test_an_ignored_face_is_ignored_until_that_is_cleared(client: Client, photo: Photo) -> None:
    face = factories.FaceFactory.create(photo=photo)
    assert decide(client, face, "ignore").json()["decision"] == "ignored"
    assert decide(client, face, "clear").json()["decision"] is None


@pytest.mark.parametrize(
    "body",
    [{}, {"label": ""}, {"label": " "}, {"label": "x" * 201}, {"label": None}, {"label": "a\0"}],
)
def test_a_name_that_is_none_is_refused_by_its_field(
    client: Client, photo: Photo, body: dict[str, Any]
) -> None:
    response = decide(client, factories.FaceFactory.create(photo=photo), "name", body)
    assert response.status_code == 400
    assert set(response.json()["fields"]) == {"label"}
    assert response.json()["detail"].startswith("label: ")
    assert not Person.objects.exists()


def test_a_failed_photo_is_tried_again(client: Client, photo: Photo) -> None:
    Photo.objects.filter(pk=photo.pk).update(
        state=PhotoState.FAILED, error="no", sent_sha256="0" * 64
    )
    response = client.post(f"/rest/teams/trip/photos/{photo.pk}/recognise/")
    assert response.status_code == 202
    assert (response.json()["state"], response.json()["error"]) == ("queued", "")


def test_a_number_that_no_database_holds_is_just_not_there(client: Client) -> None:
    assert client.get(f"/rest/teams/trip/photos/{10**30}/").status_code == 404
    assert client.get(f"/rest/teams/trip/spaces/{10**30}/").status_code == 404
