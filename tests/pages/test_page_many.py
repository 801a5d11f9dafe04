"""Bulk review of one person's suggestions, and undoing all of one form's changes at once."""

from __future__ import annotations

from collections.abc import Callable
from secrets import token_hex
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from persons.actions.faces import name_face
from persons.models import Change, Decision, Face, Gallery, Person, Rejection, Review, Team, User
from tests.support.factories import FaceFactory, GalleryFactory, PersonFactory, PhotoFactory
from tests.support.fakes import by

SignIn = Callable[[User], Client]


@pytest.fixture
def gallery(team: Team) -> Gallery:
    return GalleryFactory.create(team=team, slug="harbour")


@pytest.fixture
def anna(gallery: Gallery) -> Person:
    return PersonFactory.create(space=gallery.space, label="Anna")


def make_face(gallery: Gallery, **values: Any) -> Face:
    photo = PhotoFactory.create(gallery=gallery, sha256=token_hex(32))
    return FaceFactory.create(photo=photo, **values)


@pytest.fixture
def faces(gallery: Gallery, anna: Person) -> list[Face]:
    """Five suggestions, the likeliest first."""
    return [make_face(gallery, person=anna, similarity=0.49 - n / 100) for n in range(5)]


def page_of(person: Person) -> str:
    team = person.space.team.slug
    return reverse("review_person", args=[team, person.space.number, person.person_id])


def sort(client: Client, person: Person, faces: list[Face], wrong: list[Face], do: str) -> Any:
    data = {
        "face": [face.pk for face in faces],
        "yes": [face.pk for face in faces if face not in wrong],
        "do": do,
    }
    return client.post(page_of(person), data)


def test_people_are_listed_with_how_many_wait(
    team: Team, gallery: Gallery, anna: Person, faces: list[Face], bob: User, sign_in: SignIn
) -> None:
    berta = PersonFactory.create(space=gallery.space, label="Berta")
    make_face(gallery, person=berta, similarity=0.42)
    response = sign_in(bob).get(reverse("review_many", args=[team.slug]))
    assert [(row.person, row.count) for row in response.context["rows"]] == [(anna, 5), (berta, 1)]
    assert "5 to confirm" in response.text


def test_where_nothing_waits_the_list_says_so(team: Team, bob: User, sign_in: SignIn) -> None:
    response = sign_in(bob).get(reverse("review_many", args=[team.slug]))
    assert "No suggestion waits" in response.text


def test_suggestions_are_all_ticked_and_the_likeliest_come_first(
    anna: Person, faces: list[Face], bob: User, sign_in: SignIn
) -> None:
    response = sign_in(bob).get(page_of(anna))
    assert response.context["faces"] == faces
    assert response.text.count(" checked") == 5
    assert "49%" in response.text


def test_pages_go_by_key_and_miss_none(
    anna: Person, faces: list[Face], bob: User, sign_in: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dashboard.pages.review.bulk_review.FACES", 2)
    Face.objects.update(similarity=0.45)
    client = sign_in(bob)
    found, query = [], ""
    while True:
        response = client.get(page_of(anna) + query)
        found += response.context["faces"]
        if response.context["next"] is None:
            break
        query = f"?before={response.context['next']}"
    assert found == sorted(faces, key=lambda face: -face.pk)


def test_the_ticked_are_confirmed_and_the_others_rejected_in_one_stroke(
    anna: Person, faces: list[Face], bob: User, sign_in: SignIn
) -> None:
    client = sign_in(bob)
    response = sort(client, anna, faces, faces[3:], "both")
    assert response.status_code == 303
    assert Face.objects.filter(decision=Decision.NAMED, person=anna).count() == 3
    assert set(Face.objects.unknown()) == set(faces[3:])
    assert Rejection.objects.count() == 2
    # Nothing is left of Anna: on to the others, where the stroke can be taken back.
    onward = client.get(response["Location"])
    assert onward.status_code == 302
    page = client.get(onward["Location"])
    assert "3 faces are Anna" in page.text
    token = page.context["undoable"].token
    client.post(reverse("review_undo", args=[anna.space.team.slug]), {"done": token})
    assert not Rejection.objects.exists()
    assert set(Face.objects.suggested()) == set(faces)
    assert not Change.objects.filter(undone_at=None).exists()


def test_the_unticked_may_be_left_as_they_are(
    anna: Person, faces: list[Face], bob: User, sign_in: SignIn
) -> None:
    sort(sign_in(bob), anna, faces, faces[3:], "confirm")
    assert set(Face.objects.suggested()) == set(faces[3:])
    assert not Rejection.objects.exists()


def test_an_unknown_button_decides_nothing(
    anna: Person, faces: list[Face], bob: User, sign_in: SignIn
) -> None:
    response = sort(sign_in(bob), anna, faces, [faces[4]], "everything")
    assert response.status_code == 400 and "none of confirm, reject, both" in response.text
    assert not Face.objects.exclude(decision=Decision.NONE).exists()


def test_what_changed_meanwhile_is_left_out_and_told(
    gallery: Gallery, anna: Person, faces: list[Face], alice: User, bob: User, sign_in: SignIn
) -> None:
    name_face(actor=by(alice), face=faces[0], label="Berta")
    carla = PersonFactory.create(space=gallery.space, label="Carla")
    Face.objects.filter(pk=faces[1].pk).update(person=carla, found_person=carla)
    client = sign_in(bob)
    response = sort(client, anna, faces, [faces[4]], "both")
    page = client.get(client.get(response["Location"])["Location"]).text
    assert "2 faces changed meanwhile" in page
    assert Face.objects.filter(decided_by=bob, person=anna).count() == 2
    assert Face.objects.get(pk=faces[0].pk).person.label == "Berta"  # type: ignore[union-attr]


def test_nothing_ticked_and_nothing_shown_is_refused(
    anna: Person, faces: list[Face], bob: User, sign_in: SignIn
) -> None:
    client = sign_in(bob)
    assert "Tick a face." in client.get(sort(client, anna, [], [], "both")["Location"]).text


def test_faces_of_a_closed_gallery_are_neither_shown_nor_decided(
    team: Team, gallery: Gallery, anna: Person, faces: list[Face], bob: User, sign_in: SignIn
) -> None:
    secret = GalleryFactory.create(team=team, slug="secret", space=gallery.space, is_open=False)
    hidden = make_face(secret, person=anna, similarity=0.48)
    client = sign_in(bob)
    assert hidden not in client.get(page_of(anna)).context["faces"]
    sort(client, anna, [hidden, *faces], [], "both")
    hidden.refresh_from_db()
    assert (hidden.decision, hidden.review) == (Decision.NONE, Review.WEAK)


def test_only_one_s_own_changes_are_taken_back(
    anna: Person, faces: list[Face], alice: User, bob: User, sign_in: SignIn
) -> None:
    sort(sign_in(alice), anna, faces, [], "both")
    change = Change.objects.get()
    client = sign_in(bob)
    address = reverse("review_undo", args=[anna.space.team.slug])
    for token in (str(change.pk), "", f"{change.pk}.{2**63 - 1}"):
        assert client.post(address, {"done": token}).status_code == 303
    for token in ("x.y", "9" * 30, f"{change.pk}.", ".".join(map(str, range(25)))):
        assert client.post(address, {"done": token}).status_code == 400
    change.refresh_from_db()
    assert change.undone_at is None


@pytest.mark.parametrize("count", [3, 30])
def test_it_asks_the_same_number_of_queries_for_any_length(
    team: Team,
    gallery: Gallery,
    bob: User,
    sign_in: SignIn,
    count: int,
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    people = [PersonFactory.create(space=gallery.space) for _ in range(count)]
    for person in people:
        make_face(gallery, person=person, similarity=0.45)
        make_face(gallery, person=people[0], similarity=0.44)
    client = sign_in(bob)
    with django_assert_num_queries(10):
        client.get(reverse("review_many", args=[team.slug]))
    with django_assert_num_queries(11):
        client.get(page_of(people[0]))
