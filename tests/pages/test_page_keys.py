"""API keys: the list, a new key that is shown once, and revoking it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import Page
from pytest_django import DjangoAssertNumQueries, Settings

from persons.actions.keys import KeyOptions, create_key
from persons.audit import Actor
from persons.billing import metering
from persons.models import ApiKey, AuditEntry, KeyDay, Meter, Space, Team, User
from persons.proxy import keys as proxy_keys
from persons.vision.tokens import Secret
from tests.support.factories import PASSWORD, jpeg

# What is asked of the database here is asked by tests of actions and of queries as well.
pytestmark = pytest.mark.any_database

SignIn = Callable[[User], Client]


def keys_url(team: Team) -> str:
    return reverse("api_keys", args=[team.slug])


def make_key(team: Team, name: str = "Door camera", **values: Any) -> tuple[ApiKey, str]:
    return create_key(
        actor=Actor.command("test"), team=team, name=name, options=KeyOptions(**values)
    )


def post(client: Client, team: Team, **values: Any) -> Any:
    """The form as a browser sends it: a box that is not checked is not in it."""
    data = {"name": "Door camera", "methods": ["recognize"]} | values
    return client.post(reverse("make_key", args=[team.slug]), data)


def revoke_url(key: ApiKey) -> str:
    return reverse("revoke_key", args=[key.team.slug, key.pk])


# --- The list ---


def test_the_list_says_what_a_key_may_and_what_it_did(
    team: Team, alice: User, sign_in: SignIn
) -> None:
    Space.objects.filter(team=team, number=3).update(name="Office")
    key, text = make_key(team, methods=["set"], spaces=[0, 3], daily_images=1500)
    today = timezone.now().astimezone(UTC).date()
    KeyDay.objects.create(key=key, day=today, images=1204)
    KeyDay.objects.create(key=key, day=today - timedelta(days=1), images=77)
    Meter.objects.create(team=team, key=key, month=metering.this_month(), images=4321)
    proxy_keys.touch(key, "192.0.2.9")
    page = sign_in(alice).get(keys_url(team)).text
    for words in (
        "Door camera",
        key.prefix,
        "set",
        "in Space 0, 3 · Office",
        "1,204 of 1,500",
        "4,321 images this month",
        "from 192.0.2.9",
    ):
        assert words in page
    assert text not in page


def test_no_list_is_no_limit(team: Team, alice: User, sign_in: SignIn) -> None:
    make_key(team)
    page = sign_in(alice).get(keys_url(team)).text
    for words in ("everything", "in all spaces", "no daily limit", "never"):
        assert words in page


@pytest.mark.parametrize("who", ["bob", "vera", "audrey"])
def test_the_others_see_keys_and_nothing_to_change(
    team: Team, sign_in: SignIn, who: str, request: pytest.FixtureRequest
) -> None:
    key, _ = make_key(team)
    page = sign_in(request.getfixturevalue(who)).get(keys_url(team)).text
    assert "Door camera" in page
    assert "Owners of the team make and revoke keys." in page
    for words in ("Make a key", "Make the key", revoke_url(key)):
        assert words not in page


def test_another_teams_keys_are_not_in_it(
    team: Team, alice: User, charlie: User, sign_in: SignIn
) -> None:
    theirs, _ = make_key(charlie.teams.get(), name="Theirs")
    client = sign_in(alice)
    assert "Theirs" not in client.get(keys_url(team)).text
    assert client.post(reverse("revoke_key", args=[team.slug, theirs.pk])).status_code == 404


def test_what_has_ended_stands_apart(team: Team, alice: User, sign_in: SignIn) -> None:
    make_key(team, "Working")
    revoked, _ = make_key(team, "Revoked one")
    expired, _ = make_key(team, "Expired one")
    now = timezone.now()
    ApiKey.objects.filter(pk=revoked.pk).update(revoked_at=now)
    ApiKey.objects.filter(pk=expired.pk).update(expires_at=now - timedelta(seconds=1))
    client = sign_in(alice)
    names = ("Working", "Revoked one", "Expired one")

    def shown(query: str) -> list[str]:
        page = client.get(keys_url(team) + query).text
        return [name for name in names if name in page]

    assert shown("") == ["Working"]
    assert shown("?show=ended") == ["Revoked one", "Expired one"]
    assert "Make the key" not in client.get(keys_url(team) + "?show=ended").text


def test_a_key_that_ends_within_a_week_says_so(team: Team, alice: User, sign_in: SignIn) -> None:
    make_key(team, expires_at=timezone.now() + timedelta(days=6))
    assert "Expires soon" in sign_in(alice).get(keys_url(team)).text


@pytest.mark.parametrize("count", [2, 40])
def test_the_list_is_paged_and_asks_the_same_number_of_queries_for_any_length(
    team: Team,
    alice: User,
    sign_in: SignIn,
    count: int,
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    for number in range(count):
        make_key(team, f"Key {number:03}")
    client = sign_in(alice)
    with django_assert_num_queries(QUERIES):
        page = client.get(keys_url(team)).text
    assert page.count('<article class="key"') == min(count, 30)
    assert ("before=" in page) == (count > 30)


QUERIES = 7
"""Session, user, membership twice (the page and its rights), keys, spaces, counts; and the frame's
memberships and waiting faces."""


# --- A new one ---


def test_a_new_key_is_shown_once_and_only_its_hash_is_kept(
    team: Team, alice: User, sign_in: SignIn
) -> None:
    client = sign_in(alice)
    response = post(client, team)
    found = re.search(r'data-copy="(rck_[\w-]+)"', response.text)
    assert found
    key = ApiKey.objects.get()
    assert key.key_hash == ApiKey.hash_key(found[1])
    assert key.created_by == alice
    assert "no-store" in response["Cache-Control"]
    later = client.get(keys_url(team)).text
    assert "Door camera" in later
    assert found[1] not in later
    assert found[1] not in str(AuditEntry.objects.get(action="key.create").__dict__)


def test_what_was_chosen_is_what_it_may(team: Team, alice: User, sign_in: SignIn) -> None:
    last = timezone.localdate() + timedelta(days=30)
    response = post(
        sign_in(alice), team, methods=["set", "delete"], spaces=["3", "5"], daily_images="200",
        last_day=last.isoformat(),
    )  # fmt: skip
    assert response.status_code == 200
    key = ApiKey.objects.get()
    assert (key.methods, key.spaces, key.daily_images) == (["delete", "set"], [3, 5], 200)
    assert key.expires_at is not None
    assert timezone.localtime(key.expires_at).date() == last + timedelta(days=1)
    assert f"{last.day} {last:%b %Y}" in response.text


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"name": "  "}, "Give the key a name"),
        ({"name": "x" * 101}, "at most 100 characters"),
        ({"methods": []}, "Choose at least one method."),
        ({"methods": ["drop"]}, "Select a valid choice"),
        ({"spaces": ["10"]}, "Select a valid choice"),
        ({"daily_images": "0"}, "at least one image"),
        ({"daily_images": "many"}, "Enter a whole number"),
        ({"last_day": "2020-02-29"}, "That day is over."),
        ({"last_day": "9999-12-31"}, "too far away"),
        ({"last_day": "soon"}, "Enter a valid date"),
    ],
)
def test_a_wrong_form_says_what_is_wrong_and_makes_nothing(
    team: Team, alice: User, sign_in: SignIn, values: dict[str, Any], words: str
) -> None:
    response = post(sign_in(alice), team, **values)
    assert response.status_code == 422
    assert words in unescape(response.text)
    assert not ApiKey.objects.exists()


def test_a_key_may_only_look_unless_its_maker_says_more(
    team: Team, alice: User, sign_in: SignIn
) -> None:
    page = sign_in(alice).get(keys_url(team)).text
    checked = re.findall(r'name="methods" value="(\w+)" checked', page)
    assert checked == ["recognize"]
    assert not re.search(r'name="spaces" value="\d" checked', page)


@pytest.mark.parametrize("method", ["recognize", "set", "delete", "truncate"])
def test_the_example_is_a_request_that_the_proxy_takes(
    team: Team, alice: User, sign_in: SignIn, method: str
) -> None:
    response = post(sign_in(alice), team, methods=[method], spaces=["4"])
    found = re.search(r'data-copy="(curl [^"]+)"', response.text)
    assert found
    curl = shlex.split(unescape(found[1]).replace("\\\n", " "))
    address, fields = curl[1], dict(field.split("=", 1) for field in curl[3::2])
    assert address.startswith(f"http://testserver/api/v1/persons/{method}?oauth_token=rck_")
    data: dict[str, Any] = {"meta": fields["meta"]}
    if "photo" in fields:
        assert fields["photo"] == "@photo.jpg"
        data["photo"] = SimpleUploadedFile("photo.jpg", jpeg(), "image/jpeg")
    answer = Client().post(address.removeprefix("http://testserver"), data)
    assert answer.json()["status"] == 200


def test_htmx_swaps_the_keys_alone(team: Team, alice: User, sign_in: SignIn) -> None:
    part = sign_in(alice).post(
        reverse("make_key", args=[team.slug]),
        {"name": "Door", "methods": "set"},
        headers={"HX-Request": "true"},
    )
    assert "rck_" in part.text
    assert "<html" not in part.text
    assert part.text.lstrip().startswith('<div id="keys"')


# --- Its end ---


def test_an_owner_revokes_a_key_which_then_opens_nothing(
    team: Team, alice: User, sign_in: SignIn
) -> None:
    key, text = make_key(team)
    response = sign_in(alice).post(revoke_url(key), follow=True)
    assert "opens nothing any more" in response.text
    with pytest.raises(proxy_keys.KeyRefused, match="revoked"):
        proxy_keys.key_of(Secret(text))
    assert AuditEntry.objects.get(action="key.revoke").actor == alice


def test_revoking_twice_is_one_entry(team: Team, alice: User, sign_in: SignIn) -> None:
    key, _ = make_key(team)
    client = sign_in(alice)
    for _ in range(2):
        assert client.post(revoke_url(key)).status_code == 303
    assert AuditEntry.objects.filter(action="key.revoke").count() == 1


# --- Who may what ---


@pytest.mark.parametrize("who", ["bob", "vera", "audrey"])
def test_only_owners_make_and_revoke(
    team: Team, sign_in: SignIn, who: str, request: pytest.FixtureRequest
) -> None:
    key, _ = make_key(team)
    client = sign_in(request.getfixturevalue(who))
    assert post(client, team).status_code == 403
    assert client.post(revoke_url(key)).status_code == 403
    assert ApiKey.objects.usable().count() == 1


def test_strangers_find_nothing(team: Team, charlie: User, sign_in: SignIn) -> None:
    key, _ = make_key(team)
    client = sign_in(charlie)
    assert client.get(keys_url(team)).status_code == 404
    assert post(client, team).status_code == 404
    assert client.post(revoke_url(key)).status_code == 404


def test_wrong_methods_are_refused(team: Team, alice: User, sign_in: SignIn) -> None:
    key, _ = make_key(team)
    client = sign_in(alice)
    assert client.post(keys_url(team)).status_code == 405
    assert client.get(reverse("make_key", args=[team.slug])).status_code == 405
    assert client.get(revoke_url(key)).status_code == 405


def test_the_page_speaks_of_the_cloud_where_there_is_one(
    team: Team, alice: User, sign_in: SignIn, settings: Settings
) -> None:
    client = sign_in(alice)
    assert "token stays on the server" not in client.get(keys_url(team)).text
    settings.VISION_URL = "https://smarty.mail.ru"
    assert "token stays on the server" in client.get(keys_url(team)).text


def test_in_a_browser_a_key_is_made_and_revoked(
    team: Team, alice: User, live: str, page: Page
) -> None:
    page.goto(f"{live}/login/")
    page.fill("[name=username]", "alice")
    page.fill("[name=password]", PASSWORD)
    page.click("form button")
    page.goto(live + keys_url(team))
    page.fill("#id_name", "Turnstile")
    page.check("[name=spaces][value='3']")
    page.click("text=Make the key")
    shown = page.locator(".made input").input_value()
    assert ApiKey.objects.get().key_hash == ApiKey.hash_key(shown)
    page.click(".key-actions >> text=Revoke")
    page.click("[popover]:popover-open button.danger")
    page.wait_for_selector("text=No key is in use")
    assert not ApiKey.objects.usable().exists()


def test_the_last_day_is_whole_in_the_site_s_time_zone(
    team: Team, alice: User, sign_in: SignIn
) -> None:
    with timezone.override("Asia/Vladivostok"):
        last = timezone.localdate() + timedelta(days=3)
        post(sign_in(alice), team, last_day=last.isoformat())
        key = ApiKey.objects.get()
        assert key.expires_at is not None
        ends = timezone.localtime(key.expires_at)
        assert ends == timezone.make_aware(
            datetime(last.year, last.month, last.day) + timedelta(days=1)
        )


def test_the_audit_log_says_it_in_words(team: Team, alice: User, sign_in: SignIn) -> None:
    key, _ = make_key(team, methods=["set"], expires_at=timezone.now() + timedelta(days=9))
    client = sign_in(alice)
    client.post(revoke_url(key))
    page = client.get(reverse("audit", args=[team.slug])).text
    for words in ("made the API key", "revoked the API key", keys_url(team), "all"):
        assert words in page
