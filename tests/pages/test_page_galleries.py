"""Galleries: the list, creating one, and photos as they arrive and are recognised."""

from __future__ import annotations

import re
from collections.abc import Callable
from secrets import token_hex
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from dashboard.pages.galleries.grid import MOST_POLLED
from persons.models import (
    AuditEntry,
    Decision,
    Gallery,
    Photo,
    PhotoState,
    Run,
    Team,
    User,
)
from tests.support.factories import (
    FaceFactory,
    GalleryFactory,
    PersonFactory,
    PhotoFactory,
)

# What is asked of the database here is asked by tests of actions and of queries as well.
pytestmark = pytest.mark.any_database

SignIn = Callable[[User], Client]
HTMX = {"HX-Request": "true"}
JSON = {"Accept": "application/json"}


@pytest.fixture
def gallery(team: Team) -> Gallery:
    return GalleryFactory.create(team=team, name="Harbour", slug="harbour")


def url(name: str = "gallery", *more: object) -> str:
    return reverse(name, args=["trip", "harbour", *more])


def photo_of(gallery: Gallery, **values: Any) -> Photo:
    values.setdefault("prepared_at", timezone.now())
    return PhotoFactory.create(gallery=gallery, sha256=token_hex(32), **values)


# --- Who may ---

PAGES = ["gallery", "gallery_tiles", "gallery_dates", "gallery_people", "gallery_range"]
WRITES = ["upload", "rename_gallery", "recognise_gallery"]


@pytest.mark.parametrize("name", [*PAGES, *WRITES])
def test_anonymous_visitors_sign_in_first(gallery: Gallery, client: Client, name: str) -> None:
    response = client.post(url(name)) if name in WRITES else client.get(url(name))
    assert response["Location"] == f"/login/?next={url(name)}"


@pytest.mark.parametrize("name", [*PAGES, *WRITES])
def test_a_stranger_finds_nothing(
    gallery: Gallery, charlie: User, sign_in: SignIn, name: str
) -> None:
    client = sign_in(charlie)
    response = client.post(url(name)) if name in WRITES else client.get(url(name))
    assert response.status_code == 404


@pytest.mark.parametrize("name", [*PAGES, *WRITES])
def test_an_auditor_finds_no_gallery(
    gallery: Gallery, audrey: User, sign_in: SignIn, name: str
) -> None:
    client = sign_in(audrey)
    response = client.post(url(name)) if name in WRITES else client.get(url(name))
    assert response.status_code == 404


@pytest.mark.parametrize("name", PAGES)
def test_a_viewer_may_look(gallery: Gallery, vera: User, sign_in: SignIn, name: str) -> None:
    assert sign_in(vera).get(url(name)).status_code == 200


@pytest.mark.parametrize("name", WRITES)
def test_a_viewer_may_change_nothing(
    gallery: Gallery, vera: User, sign_in: SignIn, name: str
) -> None:
    response = sign_in(vera).post(url(name), {"name": "Other"})
    assert response.status_code == 403
    assert "Your role in Trip is viewer" in response.text


@pytest.mark.parametrize("name", [*PAGES, *WRITES])
def test_the_wrong_method_is_refused(
    gallery: Gallery, bob: User, sign_in: SignIn, name: str
) -> None:
    client = sign_in(bob)
    response = client.get(url(name)) if name in WRITES else client.post(url(name))
    assert response.status_code == 405


def test_the_list_and_the_new_form_ask_for_the_same_rights(
    team: Team, vera: User, charlie: User, client: Client, sign_in: SignIn
) -> None:
    listed, new = reverse("galleries", args=["trip"]), reverse("new_gallery", args=["trip"])
    assert client.get(listed)["Location"] == f"/login/?next={listed}"
    assert sign_in(charlie).get(listed).status_code == 404
    assert sign_in(charlie).post(new, {"name": "x"}).status_code == 404
    assert sign_in(vera).get(listed).status_code == 200
    assert sign_in(vera).get(new).status_code == 403
    assert sign_in(vera).post(new, {"name": "x"}).status_code == 403
    assert sign_in(vera).post(listed).status_code == 405
    assert sign_in(vera).delete(new).status_code == 405


def test_a_viewer_is_offered_no_upload(gallery: Gallery, vera: User, sign_in: SignIn) -> None:
    page = sign_in(vera).get(url()).text
    assert "Add photos" not in page
    assert url("upload") not in page
    assert "No photos yet" in page


# --- The list and a new one ---


def test_the_list_shows_counts_and_covers(gallery: Gallery, vera: User, sign_in: SignIn) -> None:
    photos = [photo_of(gallery) for _ in range(4)]
    FaceFactory.create(photo=photos[0])
    page = sign_in(vera).get(reverse("galleries", args=["trip"])).text
    assert "4 photos" in page
    assert "1 unknown face" in page
    shown = re.findall(r"/media/photo/(\d+)/thumb", page)
    assert [int(pk) for pk in shown] == [photo.pk for photo in photos[:0:-1]]


def test_the_list_costs_the_same_for_one_and_for_many(
    team: Team,
    vera: User,
    sign_in: SignIn,
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    client = sign_in(vera)
    photo_of(GalleryFactory.create(team=team))
    with django_assert_num_queries(5):
        client.get(reverse("galleries", args=["trip"]))
    for _ in range(15):
        FaceFactory.create(photo=photo_of(GalleryFactory.create(team=team)))
    with django_assert_num_queries(5):
        client.get(reverse("galleries", args=["trip"]))


def test_a_new_gallery_is_made_in_the_chosen_space(team: Team, bob: User, sign_in: SignIn) -> None:
    response = sign_in(bob).post(
        reverse("new_gallery", args=["trip"]), {"name": " Summer  2026 ", "space": "7"}
    )
    made = Gallery.objects.get()
    assert response["Location"] == reverse("gallery", args=["trip", made.slug])
    assert (made.name, made.space.number, made.created_by) == ("Summer 2026", 7, bob)
    entry = AuditEntry.objects.get(action="gallery.create")
    assert (entry.actor, entry.source, entry.address) == (bob, "page", "127.0.0.1")


def test_a_gallery_without_a_name_is_refused_and_the_choice_kept(
    team: Team, bob: User, sign_in: SignIn
) -> None:
    response = sign_in(bob).post(
        reverse("new_gallery", args=["trip"]), {"name": "  ", "space": "3"}
    )
    assert response.status_code == 422
    assert "Give the gallery a name" in response.text
    assert '<option value="3" selected>' in response.text
    assert not Gallery.objects.exists()


@pytest.mark.parametrize("space", ["10", "-1", "x", "99999999999999999999"])
def test_what_is_no_space_is_said_to_be_none(
    team: Team, bob: User, sign_in: SignIn, space: str
) -> None:
    response = sign_in(bob).post(
        reverse("new_gallery", args=["trip"]), {"name": "A", "space": space}
    )
    assert response.status_code == 400 and "space" in response.text
    assert not Gallery.objects.exists()


def test_a_renamed_gallery_keeps_its_address(gallery: Gallery, bob: User, sign_in: SignIn) -> None:
    response = sign_in(bob).post(url("rename_gallery"), {"name": "Port"}, follow=True)
    assert response.redirect_chain == [(url(), 303)]
    assert "is called “Port” now" in response.text


def test_a_refused_name_is_told_and_changes_nothing(
    gallery: Gallery, bob: User, sign_in: SignIn
) -> None:
    response = sign_in(bob).post(url("rename_gallery"), {"name": " "}, follow=True)
    assert "Give the gallery a name" in response.text
    gallery.refresh_from_db()
    assert gallery.name == "Harbour"


def test_a_form_never_leads_to_another_site(gallery: Gallery, bob: User, sign_in: SignIn) -> None:
    client = sign_in(bob)
    for next_url in ("https://evil.example/", "//evil.example", "\\\\evil.example"):
        response = client.post(url("rename_gallery"), {"name": "A", "next": next_url})
        assert response["Location"] == url()


def test_all_photos_are_recognised_again_on_demand(
    gallery: Gallery, bob: User, sign_in: SignIn
) -> None:
    photo = photo_of(gallery, sent_sha256="1" * 64)
    response = sign_in(bob).post(url("recognise_gallery"), follow=True)
    assert "1 photo is being recognised again" in response.text
    photo.refresh_from_db()
    assert photo.state == PhotoState.QUEUED
    assert photo.run == Run.objects.get()


def test_recognising_an_empty_gallery_says_why_not(
    gallery: Gallery, bob: User, sign_in: SignIn
) -> None:
    response = sign_in(bob).post(url("recognise_gallery"), follow=True)
    assert "There is no finished photo in this gallery yet" in response.text


# --- Tiles ---


def test_a_tile_shows_who_is_on_the_photo_and_how_many_are_unknown(
    gallery: Gallery, vera: User, sign_in: SignIn
) -> None:
    photo = photo_of(gallery, width=640, height=480)
    anna = PersonFactory.create(space=gallery.space, label="Anna <b>")
    FaceFactory.create(photo=photo, person=anna)
    FaceFactory.create(photo=photo, person=anna, left=40, right=50)
    FaceFactory.create(photo=photo)
    FaceFactory.create(photo=photo, decision=Decision.IGNORED)
    FaceFactory.create(photo=photo, missing=True)
    page = sign_in(vera).get(url()).text
    assert page.count("Anna &lt;b&gt;") == 1
    assert 'title="1 unknown face"' in page
    assert 'title="4 faces"' in page
    assert 'class="tile r13"' in page


def test_a_photo_that_is_not_prepared_has_no_picture_yet(
    gallery: Gallery, vera: User, sign_in: SignIn
) -> None:
    photo = photo_of(gallery, state=PhotoState.NEW, prepared_at=None)
    page = sign_in(vera).get(url()).text
    assert "/thumb" not in page
    assert f'name="busy" value="{photo.pk}.new.0"' in page


@pytest.mark.parametrize("count", [3, 60])
def test_a_gallery_costs_the_same_for_3_and_for_60_photos(
    gallery: Gallery,
    vera: User,
    sign_in: SignIn,
    django_assert_num_queries: DjangoAssertNumQueries,
    count: int,
) -> None:
    anna = PersonFactory.create(space=gallery.space)
    for _ in range(count):
        photo = photo_of(gallery)
        FaceFactory.create(photo=photo)
        FaceFactory.create(photo=photo, person=anna)
    client = sign_in(vera)
    with django_assert_num_queries(10):
        page = client.get(url()).text
    assert page.count('class="tile ') == count


# --- Tiles that are busy ---


def ask(client: Client, *busy: str) -> str:
    response = client.get(url("gallery_tiles"), {"busy": busy}, headers=HTMX)
    assert response.status_code == 200
    return str(response.text)


def test_only_tiles_that_moved_are_sent_again(
    gallery: Gallery, vera: User, sign_in: SignIn
) -> None:
    still = photo_of(gallery, state=PhotoState.QUEUED)
    done = photo_of(gallery)
    FaceFactory.create(photo=done)
    text = ask(sign_in(vera), f"{still.pk}.queued.1", f"{done.pk}.running.1")
    assert f'id="photo-{done.pk}"' in text
    assert f'id="photo-{still.pk}"' not in text
    assert 'title="1 unknown face"' in text
    assert 'id="filters"' in text


def test_it_asks_again_while_a_tile_is_busy_and_rests_when_none_is(
    gallery: Gallery, vera: User, sign_in: SignIn
) -> None:
    photo = photo_of(gallery, state=PhotoState.RUNNING)
    client = sign_in(vera)
    assert "load delay:" in ask(client, f"{photo.pk}.running.1")
    Photo.objects.filter(pk=photo.pk).update(state=PhotoState.DONE)
    assert "load delay:" not in ask(client, f"{photo.pk}.running.1")
    assert "load delay:" not in ask(client)


def test_it_asks_less_often_while_nothing_moves(
    gallery: Gallery, vera: User, sign_in: SignIn
) -> None:
    photo = photo_of(gallery, state=PhotoState.RUNNING)
    client = sign_in(vera)

    def delay(turn: int, state: str) -> int:
        query = {"turn": str(turn), "busy": f"{photo.pk}.{state}.1"}
        found = re.search(r"load delay:(\d+)s", client.get(url("gallery_tiles"), query).text)
        assert found
        return int(found[1])

    waits = [delay(turn, "running") for turn in range(12)]
    assert waits == sorted(waits)
    assert waits[-1] > waits[0]
    assert delay(11, "queued") == waits[0]


def test_a_tile_of_a_photo_that_is_gone_is_taken_away(
    gallery: Gallery, vera: User, sign_in: SignIn
) -> None:
    assert 'id="photo-12345" hx-swap-oob="delete"' in ask(sign_in(vera), "12345.queued.1")


def test_photos_of_another_gallery_are_not_told(
    gallery: Gallery, vera: User, sign_in: SignIn
) -> None:
    other = photo_of(GalleryFactory.create(), file_name="secret.jpg")
    assert "secret.jpg" not in ask(sign_in(vera), f"{other.pk}.queued.1")


def test_one_request_asks_about_no_more_than_a_hundred(
    gallery: Gallery, vera: User, sign_in: SignIn
) -> None:
    client = sign_in(vera)
    tiles = [f"{10_000 + n}.queued.1" for n in range(MOST_POLLED)]
    assert ask(client, *tiles).count('hx-swap-oob="delete"') == len(tiles)
    for unlike, why in (
        ([*tiles, "1.queued.1"], f"At most {MOST_POLLED} of them."),
        (["x.y"], "“x.y” is no photo with its state."),
    ):
        answer = client.get(url("gallery_tiles"), {"busy": unlike})
        assert answer.status_code == 400
        assert why in answer.text
