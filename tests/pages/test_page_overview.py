"""A team's front page."""

from __future__ import annotations

from collections.abc import Callable
from secrets import token_hex
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from persons.models import (
    Call,
    Gallery,
    Person,
    PhotoState,
    Run,
    Source,
    SyncState,
    Team,
    User,
)
from tests.support.factories import FaceFactory, GalleryFactory, PersonFactory, PhotoFactory

# What is asked of the database here is asked by tests of actions and of queries as well.
pytestmark = pytest.mark.any_database

SignIn = Callable[[User], Client]
HTMX = {"HX-Request": "true"}


@pytest.fixture
def gallery(team: Team) -> Gallery:
    return GalleryFactory.create(team=team, name="Harbour")


def overview(client: Client) -> Any:
    return client.get(reverse("overview", args=["trip"]))


def work(client: Client, **query: str) -> Any:
    return client.get(reverse("overview_work", args=["trip"]), query, headers=HTMX)


def photo_of(gallery: Gallery, **values: Any) -> Any:
    values.setdefault("prepared_at", timezone.now())
    return PhotoFactory.create(gallery=gallery, sha256=token_hex(32), **values)


# --- Who may ---


@pytest.mark.parametrize("name", ["overview", "overview_work"])
def test_anonymous_visitors_sign_in_first(team: Team, client: Client, name: str) -> None:
    url = reverse(name, args=["trip"])
    assert client.get(url)["Location"] == f"/login/?next={url}"


@pytest.mark.parametrize("name", ["overview", "overview_work"])
def test_a_stranger_finds_no_team(team: Team, charlie: User, sign_in: SignIn, name: str) -> None:
    assert sign_in(charlie).get(reverse(name, args=["trip"])).status_code == 404


@pytest.mark.parametrize("name", ["overview", "overview_work"])
def test_it_only_answers_to_get(team: Team, alice: User, sign_in: SignIn, name: str) -> None:
    assert sign_in(alice).post(reverse(name, args=["trip"])).status_code == 405


def test_a_part_of_a_page_moves_the_whole_page_to_the_sign_in(team: Team, client: Client) -> None:
    here = "http://testserver/t/trip/"
    response = client.get(
        reverse("overview_work", args=["trip"]), headers=HTMX | {"HX-Current-URL": here}
    )
    assert response["HX-Redirect"] == "/login/?next=/t/trip/"


def test_an_auditor_sees_calls_and_no_photos(
    gallery: Gallery, audrey: User, sign_in: SignIn
) -> None:
    FaceFactory.create(photo=photo_of(gallery))
    page = overview(sign_in(audrey)).text
    assert "Recent calls" in page
    assert "Harbour" not in page
    assert "of galleries those that an owner shares with you" in page
    assert "/media/" not in page


def test_an_auditor_is_refused_the_work(team: Team, audrey: User, sign_in: SignIn) -> None:
    assert work(sign_in(audrey)).status_code == 403


# --- What it shows ---


def test_a_new_team_is_shown_the_first_step(team: Team, bob: User, sign_in: SignIn) -> None:
    page = overview(sign_in(bob)).text
    assert "Make the first gallery" in page
    assert reverse("new_gallery", args=["trip"]) in page


def test_a_viewer_of_a_new_team_is_told_who_can_take_it(
    team: Team, vera: User, sign_in: SignIn
) -> None:
    page = overview(sign_in(vera)).text
    assert "An editor or owner of the team can make one" in page
    assert reverse("new_gallery", args=["trip"]) not in page


def test_galleries_people_and_waiting_faces_are_there(
    gallery: Gallery, vera: User, sign_in: SignIn
) -> None:
    photo = photo_of(gallery)
    face = FaceFactory.create(photo=photo)
    anna = PersonFactory.create(space=gallery.space, label="Anna")
    FaceFactory.create(photo=photo, person=anna, left=40, right=60)
    page = overview(sign_in(vera)).text
    assert "Harbour" in page
    assert "Anna" in page
    assert "1</b> face waits for a name" in page
    assert f"/photos/{photo.pk}/#face-{face.pk}" in page


def test_other_teams_things_are_not(
    gallery: Gallery, alice: User, charlie: User, sign_in: SignIn
) -> None:
    elsewhere = GalleryFactory.create(team=Team.objects.get(slug="others"), name="Secret")
    FaceFactory.create(photo=photo_of(elsewhere))
    PersonFactory.create(space=elsewhere.space, label="Mallory")
    page = overview(sign_in(alice)).text
    assert "Secret" not in page
    assert "Mallory" not in page
    assert "h-waiting" not in page


def test_recent_calls_lead_to_the_history(team: Team, vera: User, sign_in: SignIn) -> None:
    call = Call.objects.create(
        team=team,
        method="recognize",
        source=Source.WORKER,
        backend="embedded",
        image_count=7,
        actor_text="Bob",
        outcome="done",
    )
    GalleryFactory.create(team=team)
    page = overview(sign_in(vera)).text
    assert reverse("call", args=["trip", call.pk]) in page
    assert "Bob" in page


def test_the_page_costs_the_same_for_one_and_for_many(
    team: Team,
    vera: User,
    sign_in: SignIn,
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    client = sign_in(vera)

    def more() -> None:
        gallery = GalleryFactory.create(team=team)
        photo = photo_of(gallery)
        FaceFactory.create(photo=photo)
        FaceFactory.create(photo=photo, person=PersonFactory.create(space=gallery.space))
        run = Run.objects.create(space=gallery.space, reason="Again", photo_count=1)
        photo_of(gallery, state=PhotoState.QUEUED, run=run)

    more()
    with django_assert_num_queries(14) as first:
        overview(client)
    for _ in range(12):
        more()
    with django_assert_num_queries(len(first)):
        overview(client)


# --- What is being worked on ---


def test_photos_in_progress_are_told_by_what_happens_to_them(
    gallery: Gallery, vera: User, sign_in: SignIn
) -> None:
    for state in (PhotoState.NEW, PhotoState.QUEUED, PhotoState.QUEUED, PhotoState.RUNNING):
        photo_of(gallery, state=state)
    text = work(sign_in(vera)).text
    assert "4 photos" in text
    assert "1 being prepared" in text
    assert "2 waiting" in text
    assert "1 being recognised" in text


def test_a_run_shows_its_progress_and_an_enrolment_its_person(
    gallery: Gallery, vera: User, sign_in: SignIn
) -> None:
    anna = PersonFactory.create(space=gallery.space, label="Anna")
    Person.objects.filter(pk=anna.pk).update(sync_state=SyncState.QUEUED)
    run = Run.objects.create(space=gallery.space, reason="Looking for Anna", photo_count=5)
    photo_of(gallery, state=PhotoState.QUEUED, run=run)
    text = work(sign_in(vera)).text
    assert "Enrolling" in text
    assert "1 of 5 photos to go" in text
    assert 'max="5" value="4"' in text


def test_why_work_waits_is_told_in_vision_s_own_words(
    gallery: Gallery, vera: User, sign_in: SignIn
) -> None:
    photo_of(gallery, state=PhotoState.QUEUED, error="limit reached")
    assert "limit reached" in work(sign_in(vera)).text


def test_failed_photos_are_counted(gallery: Gallery, vera: User, sign_in: SignIn) -> None:
    photo_of(gallery, state=PhotoState.FAILED)
    text = work(sign_in(vera)).text
    assert "1 photo</strong> could not be recognised" in text
    assert f"{reverse('gallery', args=['trip', gallery.slug])}?show=failed" in text


def test_it_asks_again_soon_while_there_is_work_and_ever_less_often(
    gallery: Gallery, vera: User, sign_in: SignIn
) -> None:
    photo_of(gallery, state=PhotoState.QUEUED)
    client = sign_in(vera)
    assert "load delay:2s" in work(client).text
    assert "load delay:9s" in work(client, turn="20").text


def test_it_hardly_asks_while_there_is_none(team: Team, vera: User, sign_in: SignIn) -> None:
    assert "load delay:30s" in work(sign_in(vera)).text


def test_the_page_is_renewed_when_the_work_is_over(team: Team, vera: User, sign_in: SignIn) -> None:
    client = sign_in(vera)
    assert work(client, busy="1")["HX-Trigger"] == "work-done"
    assert "HX-Trigger" not in work(client)
