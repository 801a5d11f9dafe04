"""Typing "person77" means person 77 wherever a name is typed, like the tag on the wire."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from persons.models import Face, Gallery, Person, Team, User
from persons.models.canonical import set_merged_into
from tests.support.factories import FaceFactory, GalleryFactory, PersonFactory, PhotoFactory

SignIn = Callable[[User], Client]

pytestmark = pytest.mark.django_db


@pytest.fixture
def gallery(team: Team) -> Gallery:
    found: Gallery = GalleryFactory.create(team=team, slug="lake")
    return found


@pytest.fixture
def known(gallery: Gallery) -> Person:
    found: Person = PersonFactory.create(space=gallery.space, person_id=77, label="Anna")
    return found


@pytest.fixture
def face(gallery: Gallery) -> Face:
    found: Face = FaceFactory.create(photo=PhotoFactory.create(gallery=gallery), review="unknown")
    return found


def by_viewer(client: Client, face: Face, label: str) -> Any:
    return client.post(f"/t/trip/faces/{face.pk}/name", {"label": label}, follow=True)


def by_review(client: Client, face: Face, label: str) -> Any:
    asked = {"do": "name", "face": face.pk, "label": label}
    return client.post("/t/trip/review/", asked, follow=True)


def by_rest(client: Client, face: Face, label: str) -> Any:
    address = f"/rest/teams/trip/faces/{face.pk}/name/"
    return client.post(address, {"label": label}, content_type="application/json")


def by_drawing(client: Client, face: Face, label: str) -> Any:
    box = {"left": "2", "top": "2", "right": "32", "bottom": "32"}
    face.delete()
    address = f"/t/trip/photos/{face.photo_id}/draw"
    return client.post(address, {**box, "label": label}, follow=True)


WAYS = [by_viewer, by_review, by_rest, by_drawing]
TYPED = ["person77", " Person77", "PERSON77 ", "person0077", "Unnamed person 77", "\ufeffperson77"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("label", TYPED, ids=ascii)
def test_a_number_means_that_person(
    known: Person, face: Face, bob: User, sign_in: SignIn, way: Any, label: str
) -> None:
    way(sign_in(bob), face, label)
    assert Face.objects.get(photo=face.photo_id).person == known
    assert list(Person.objects.all()) == [known]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("label", ["person78", "person" + "9" * 40])
def test_a_number_that_is_nobody_s_says_so_and_makes_nobody(
    known: Person, face: Face, bob: User, sign_in: SignIn, way: Any, label: str
) -> None:
    answer = way(sign_in(bob), face, label)
    assert f"There is no person {label[6:][:24]}" in answer.text
    assert list(Person.objects.all()) == [known]


def test_whom_a_merged_person_is_now_is_meant(
    known: Person, face: Face, bob: User, sign_in: SignIn
) -> None:
    root = PersonFactory.create(space=known.space, person_id=5, label="Bea")
    set_merged_into(known, root)
    by_viewer(sign_in(bob), face, "person77")
    face.refresh_from_db()
    assert face.person == root


def test_somebody_who_is_being_erased_is_nobody(
    known: Person, face: Face, bob: User, sign_in: SignIn
) -> None:
    Person.objects.filter(pk=known.pk).update(erasing=True)
    assert "There is no person 77" in by_viewer(sign_in(bob), face, "person77").text


def test_several_faces_are_given_to_a_person_by_number(
    known: Person, gallery: Gallery, bob: User, sign_in: SignIn
) -> None:
    other = PersonFactory.create(space=known.space, label="Cid")
    faces = [
        FaceFactory.create(photo=PhotoFactory.create(gallery=gallery), person=other)
        for _ in range(2)
    ]
    Face.objects.update(found_person=other)
    names = [gallery.team.slug, gallery.space.number, other.person_id]
    client = sign_in(bob)
    asked = {"face": [face.pk for face in faces], "label": "person77", "sure": "1"}
    client.post(reverse("person_split", args=names), asked)
    assert set(Face.objects.values_list("person", flat=True)) == {known.pk}
    told = client.post(reverse("person_split", args=names), asked | {"label": "person99"})
    assert "Choose a face first" in told.text or told.status_code == 303


def test_the_merge_page_and_the_filter_of_a_gallery_say_that_nobody_has_a_number(
    known: Person, gallery: Gallery, bob: User, sign_in: SignIn
) -> None:
    client = sign_in(bob)
    names = [gallery.team.slug, gallery.space.number, known.person_id]
    page = client.get(reverse("person_merge", args=names), {"label": "person99"})
    assert "There is no person 99 in" in page.text
    PersonFactory.create(space=known.space, label="person99 the second")
    page = client.get("/t/trip/g/lake/", {"with": "person99"}, follow=True)
    assert "There is no person 99 in" in page.text
    response = client.get("/t/trip/g/lake/", {"with": "Person77"})
    assert response["Location"] == "/t/trip/g/lake/?person=77"


@pytest.mark.parametrize("way", ["page", "rest"])
def test_nobody_can_be_renamed_to_a_number(
    known: Person, bob: User, sign_in: SignIn, way: str
) -> None:
    client, number = sign_in(bob), known.space.number
    if way == "rest":
        address = f"/rest/teams/trip/spaces/{number}/people/77/"
        answer = client.patch(address, {"label": "person5"}, content_type="application/json")
        assert answer.status_code == 409
    else:
        address = reverse("person_rename", args=["trip", number, 77])
        answer = client.post(address, {"label": "person5"}, follow=True)
    assert "be a name" in answer.text
    known.refresh_from_db()
    assert known.label == "Anna"
