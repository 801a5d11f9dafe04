"""Spaces, one space, and its policy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from persons.models import (
    AuditEntry,
    Enrolment,
    EnrolmentState,
    PhotoState,
    Run,
    Space,
    Team,
    User,
)
from tests.support.factories import FaceFactory, GalleryFactory, PersonFactory, PhotoFactory

# What is asked of the database here is asked by tests of actions and of queries as well.
pytestmark = pytest.mark.any_database

SignIn = Callable[[User], Client]


def spaces_url(team: Team) -> str:
    return reverse("spaces", args=[team.slug])


def space_url(team: Team, number: int = 0) -> str:
    return reverse("space", args=[team.slug, number])


def policy(**values: Any) -> dict[str, Any]:
    """A form as a browser sends it: a box that is not checked is not in it."""
    bars = {"threshold": "0.45", "confirm_threshold": "0.6"}
    chosen = {"name": "Office", "searcher": "0"} | bars | values
    return {key: value for key, value in chosen.items() if value is not None}


# --- The list ---


def test_it_shows_people_enrolled_faces_and_the_policy_in_words(
    team: Team, alice: User, sign_in: SignIn
) -> None:
    space = team.spaces.get(number=3)
    Space.objects.filter(pk=space.pk).update(name="Door", threshold=0.55, create_new=True)
    anna = PersonFactory.create(space=space)
    for state in (EnrolmentState.DONE, EnrolmentState.DONE, EnrolmentState.QUEUED):
        Enrolment.objects.create(person=anna, state=state)
    Enrolment.objects.create(person=anna, state=EnrolmentState.REMOVED)
    page = sign_in(alice).get(spaces_url(team)).text
    for text in ("Door", "1 person", "75,000", "Matches from 55%", "makes new people", "1 waiting"):
        assert text in page
    assert '<b class="num">2</b>' in page
    assert page.count("Empty") == 9


@pytest.mark.parametrize("count", [1, 6])
def test_the_list_asks_the_same_number_of_queries_for_any_number_of_people(
    team: Team,
    alice: User,
    sign_in: SignIn,
    count: int,
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    for space in team.spaces.filter(number__lt=count):
        for _ in range(count):
            PersonFactory.create(space=space)
    client = sign_in(alice)
    with django_assert_num_queries(7):
        client.get(spaces_url(team))


# --- One space ---


def test_a_space_shows_its_people_galleries_and_policy(
    team: Team, vera: User, sign_in: SignIn
) -> None:
    gallery = GalleryFactory.create(team=team, name="Harbour")
    anna = PersonFactory.create(space=gallery.space, label="Anna")
    face = FaceFactory.create(photo=PhotoFactory.create(gallery=gallery), person=anna)
    page = sign_in(vera).get(space_url(team)).text
    for text in ("Anna", "1 photo", "Harbour", "40% similarity", "stays unknown"):
        assert text in page
    assert reverse("media_face", args=[team.slug, face.pk]) in page
    assert "Save policy" not in page


def test_its_people_are_searched_by_name_in_any_case_of_any_alphabet(
    team: Team, vera: User, sign_in: SignIn
) -> None:
    space = team.spaces.get(number=0)
    for label in ("Иван Петров", "Éloïse", "Bob (tall)"):
        PersonFactory.create(space=space, label=label)
    client = sign_in(vera)
    for typed, found in [("иван", "Иван Петров"), ("ÉLO", "Éloïse"), ("b (T", "Bob (tall)")]:
        page = client.get(space_url(team), {"q": typed}).text
        shown = [name for name in ("Иван Петров", "Éloïse", "Bob (tall)") if f'"{name}"' in page]
        assert shown == [found], typed
    assert "Nobody is called" in client.get(space_url(team), {"q": "%_"}).text


def test_a_search_in_place_answers_with_the_people_alone(
    team: Team, vera: User, sign_in: SignIn
) -> None:
    PersonFactory.create(space=team.spaces.get(number=0), label="Anna")
    part = sign_in(vera).get(
        space_url(team), {"q": "ann"}, headers={"HX-Request": "true", "HX-Target": "people"}
    )
    assert "Anna" in part.text
    assert "<html" not in part.text


def test_runs_in_progress_are_shown_and_followed(team: Team, vera: User, sign_in: SignIn) -> None:
    gallery = GalleryFactory.create(team=team)
    run = Run.objects.create(space=gallery.space, reason="Looking for Anna", photo_count=3)
    PhotoFactory.create(gallery=gallery, run=run, state=PhotoState.QUEUED)
    client = sign_in(vera)
    page = client.get(space_url(team)).text
    assert "Looking for Anna" in page
    assert "1 of 3 photos left" in page
    assert 'hx-trigger="every 2s' in page
    Run.objects.update(finished_at="2026-01-01T00:00Z")
    part = client.get(
        space_url(team), headers={"HX-Request": "true", "HX-Target": "space-live"}
    ).text
    assert "every 2s" not in part
    assert "<html" not in part


def test_an_auditor_sees_counts_and_policy_but_no_people_and_no_galleries(
    team: Team, audrey: User, sign_in: SignIn
) -> None:
    gallery = GalleryFactory.create(team=team, name="Harbour")
    PersonFactory.create(space=gallery.space, label="Anna")
    client = sign_in(audrey)
    page = client.get(space_url(team)).text
    assert "40% similarity" in page
    for text in ("Anna", "Harbour", "/media/", "/t/trip/people/"):
        assert text not in page + client.get(spaces_url(team)).text
        assert text not in client.get(space_url(team), {"q": "a"}).text


@pytest.mark.parametrize("count", [3, 59])
def test_a_space_asks_the_same_number_of_queries_for_any_number_of_people(
    team: Team,
    vera: User,
    sign_in: SignIn,
    count: int,
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    gallery = GalleryFactory.create(team=team)
    for n in range(count):
        person = PersonFactory.create(space=gallery.space)
        photo = PhotoFactory.create(gallery=gallery, sha256=f"{n:064}")
        FaceFactory.create(photo=photo, person=person)
        Run.objects.create(space=gallery.space, person=person, reason="Looking", photo_count=1)
    client = sign_in(vera)
    with django_assert_num_queries(SPACE_QUERIES):
        client.get(space_url(team))


SPACE_QUERIES = 14
"""Session, user, membership three times, space twice, runs, jobs, galleries, people twice; and
the frame's two."""


# --- The policy ---


def test_an_owner_changes_the_policy_and_it_is_in_the_audit_log(
    team: Team, alice: User, sign_in: SignIn
) -> None:
    response = sign_in(alice).post(
        space_url(team), policy(create_new="on", searcher="1"), follow=True
    )
    space = team.spaces.get(number=0)
    assert (space.name, space.threshold, space.create_new) == ("Office", 0.45, True)
    assert (space.update_embedding, space.searcher, space.show_attributes) == (False, 1, False)
    assert "the policy is saved" in response.text
    entry = AuditEntry.objects.get(action="space.policy")
    assert entry.actor == alice
    assert entry.after["create_new"] is True


@pytest.mark.parametrize(
    "wrong",
    [
        {"threshold": "1.5"},
        {"threshold": "-0.1"},
        {"threshold": "nan"},
        {"threshold": ""},
        {"searcher": "7"},
        {"name": "x" * 101},
    ],
)
def test_a_policy_that_can_t_be_is_refused_and_what_was_typed_stays(
    team: Team, alice: User, sign_in: SignIn, wrong: dict[str, str]
) -> None:
    response = sign_in(alice).post(space_url(team), policy(**wrong))
    assert response.status_code == 422
    assert 'class="error"' in response.text
    space = team.spaces.get(number=0)
    assert (space.name, space.threshold, space.searcher) == ("", 0.4, 0)
    assert not AuditEntry.objects.exists()
    if "threshold" in wrong:
        assert 'value="Office"' in response.text


def test_every_setting_is_explained_with_its_risk(team: Team, alice: User, sign_in: SignIn) -> None:
    page = sign_in(alice).get(space_url(team), {"view": "policy"}).text
    for wire in ("create_new", "update_embedding", "searcher"):
        assert wire in page
    for risk in ("passers-by too", "drifts away from the enrolled pictures", "often wrong"):
        assert risk in page


@pytest.mark.parametrize("who", ["bob", "vera", "audrey"])
def test_nobody_but_an_owner_changes_the_policy(
    team: Team, sign_in: SignIn, who: str, request: pytest.FixtureRequest
) -> None:
    client = sign_in(request.getfixturevalue(who))
    assert client.post(space_url(team), policy()).status_code == 403
    assert "Save policy" not in client.get(space_url(team), {"view": "policy"}).text
    assert team.spaces.get(number=0).name == ""
