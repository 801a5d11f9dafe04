"""Signing in and out, the page after it, and the headers of every response."""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from pytest_django import Settings

from dashboard.middleware import FORM_BYTES, client_address
from persons.access import throttling
from persons.models import AuditEntry, Membership, Role, Team, User
from tests.support.factories import PASSWORD, GalleryFactory, PhotoFactory, TeamFactory, UserFactory

# What is asked of the database here is asked by tests of actions and of queries as well.
pytestmark = pytest.mark.any_database

SignIn = Callable[[User], Client]
LOGIN = "/login/"


def enter(client: Client, name: str, password: str = PASSWORD, **more: Any) -> Any:
    return client.post(LOGIN, {"username": name, "password": password, **more})


# --- Signing in ---


def test_the_right_password_signs_in_and_leads_to_the_team(alice: User, client: Client) -> None:
    response = enter(client, "alice")
    assert response.status_code == 302
    home = client.get(response["Location"])
    assert home.status_code == 302
    assert home["Location"] == reverse("overview", args=["trip"])


def test_signing_in_leads_back_to_the_page_that_was_asked_for(alice: User, client: Client) -> None:
    asked = reverse("galleries", args=["trip"])
    to_login = client.get(asked)
    assert to_login["Location"] == f"{LOGIN}?next={asked}"
    assert enter(client, "alice", next=asked)["Location"] == asked


@pytest.mark.parametrize("next", ["https://evil.example/", "//evil.example/", "javascript:x"])
def test_signing_in_never_leads_to_another_site(alice: User, client: Client, next: str) -> None:
    assert enter(client, "alice", next=next)["Location"] == "/"


def test_a_wrong_password_says_so_and_keeps_the_name(alice: User, client: Client) -> None:
    response = enter(client, "alice", "wrong")
    assert response.status_code == 422
    assert "do not fit together" in response.text
    assert 'value="alice"' in response.text
    assert "sessionid" not in client.cookies


def test_an_unknown_name_says_the_same_as_a_wrong_password(alice: User, client: Client) -> None:
    known, unknown = enter(client, "alice", "wrong"), enter(client, "nobody", "wrong")
    assert unknown.status_code == known.status_code
    assert "do not fit together" in unknown.text


def test_guessing_is_paused_even_for_the_right_password(alice: User, client: Client) -> None:
    for _ in range(throttling.SIGN_IN.most):
        assert enter(client, "alice", "wrong").status_code == 422
    response = enter(client, "alice")
    assert response.status_code == 429
    assert "Too many tries" in response.text


def test_a_pause_for_one_name_is_none_for_another(alice: User, bob: User, client: Client) -> None:
    for _ in range(throttling.SIGN_IN.most):
        enter(client, "alice", "wrong")
    assert enter(client, "bob").status_code == 302


def test_signing_in_starts_the_count_of_tries_anew(alice: User, client: Client) -> None:
    for _ in range(throttling.SIGN_IN.most - 1):
        enter(client, "alice", "wrong")
    assert enter(client, "alice").status_code == 302
    client.logout()
    assert enter(client, "alice", "wrong").status_code == 422
    assert enter(client, "alice").status_code == 302


def test_who_is_signed_in_is_not_asked_again(alice: User, sign_in: SignIn) -> None:
    assert sign_in(alice).get(LOGIN).status_code == 302


def test_the_form_may_not_come_from_elsewhere(alice: User) -> None:
    client = Client(enforce_csrf_checks=True)
    response = enter(client, "alice")
    assert response.status_code == 403
    assert "Try that once more" in response.text


# --- Signing out ---


def test_signing_out_takes_a_post_and_drops_the_photos_the_browser_kept(
    alice: User, sign_in: SignIn
) -> None:
    client = sign_in(alice)
    assert client.get("/logout/").status_code == 405
    response = client.post("/logout/")
    assert response.status_code == 302
    assert response["Clear-Site-Data"] == '"cache"'
    assert client.get("/")["Location"] == f"{LOGIN}?next=/"


# --- Home ---


def test_home_asks_strangers_to_sign_in(db: None, client: Client) -> None:
    assert client.get("/")["Location"] == f"{LOGIN}?next=/"


def test_home_offers_a_choice_between_several_teams(alice: User, sign_in: SignIn) -> None:
    other = TeamFactory.create(name="Club")
    Membership.objects.create(team=other, user=alice, role=Role.VIEWER)
    page = sign_in(alice).get("/").text
    assert reverse("overview", args=["trip"]) in page
    assert reverse("overview", args=["club"]) in page


def test_home_tells_who_is_in_no_team_what_to_do(db: None, sign_in: SignIn) -> None:
    page = sign_in(UserFactory.create()).get("/")
    assert page.status_code == 200
    assert "You are in no team yet" in page.text


def test_home_takes_no_post(alice: User, sign_in: SignIn) -> None:
    assert sign_in(alice).post("/").status_code == 405


# --- The frame ---


def test_the_frame_costs_two_queries_and_shows_what_the_role_may(
    team: Team, audrey: User, sign_in: SignIn
) -> None:
    page = sign_in(audrey).get(reverse("overview", args=["trip"])).text
    assert reverse("history", args=["trip"]) in page
    assert reverse("galleries", args=["trip"]) not in page


def test_a_page_that_is_not_there_says_so_inside_the_frame(alice: User, sign_in: SignIn) -> None:
    response = sign_in(alice).get("/t/trip/photos/999/")
    assert response.status_code == 404
    assert "This page is not here" in response.text
    assert reverse("galleries", args=["trip"]) in response.text


def test_a_stranger_s_page_that_is_not_there_tells_nothing_of_the_team(
    team: Team, charlie: User, sign_in: SignIn
) -> None:
    response = sign_in(charlie).get("/t/trip/")
    assert response.status_code == 404
    assert "Trip" not in response.text


def test_the_page_of_a_broken_server_needs_no_database(client: Client, db: None) -> None:
    from django.views.defaults import server_error

    with CaptureQueriesContext(
        connection,
    ) as queries:
        response = server_error(RequestFactory().get("/"))
    assert response.status_code == 500
    assert "Something broke" in response.content.decode()
    assert not queries.captured_queries


# --- What every response carries ---


def test_pages_allow_no_inline_script_or_style_and_are_not_kept(db: None, client: Client) -> None:
    response = client.get(LOGIN)
    policy = response["Content-Security-Policy"]
    assert "script-src 'self';" in policy
    assert "style-src 'self';" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert response["Referrer-Policy"] == "same-origin"
    assert "no-store" in response["Cache-Control"]
    assert "style=" not in response.text
    assert "<script>" not in response.text


def test_every_response_has_an_id_of_its_own(db: None, client: Client) -> None:
    one, two = (client.get(LOGIN)["X-Request-ID"] for _ in range(2))
    assert len(one) == len(two) == 32
    assert one != two


def test_a_form_that_is_far_too_long_is_refused_before_it_is_read(
    alice: User, sign_in: SignIn
) -> None:
    response = sign_in(alice).post(
        reverse("new_gallery", args=["trip"]),
        data=b"name=x",
        content_type="application/x-www-form-urlencoded",
        headers={"Content-Length": str(FORM_BYTES + 1)},
    )
    assert response.status_code == 413


@pytest.mark.parametrize(
    ("proxies", "forwarded", "direct", "address"),
    [
        (0, "6.6.6.6", "10.0.0.1", "10.0.0.1"),
        (1, "6.6.6.6, 8.8.8.8", "10.0.0.1", "8.8.8.8"),
        (2, "6.6.6.6, 8.8.8.8, 10.0.0.2", "10.0.0.1", "8.8.8.8"),
        (2, "8.8.8.8", "10.0.0.1", "10.0.0.1"),
        (1, "", "10.0.0.1", "10.0.0.1"),
        (1, "not an address", "10.0.0.1", "10.0.0.1"),
        (1, "[2001:db8::1]:4711", "10.0.0.1", "2001:db8::1"),
        (1, "8.8.8.8:4711", "10.0.0.1", "8.8.8.8"),
        (0, "", "", None),
    ],
)
def test_the_client_s_address_is_the_last_one_that_a_proxy_of_ours_wrote(
    settings: Settings, proxies: int, forwarded: str, direct: str, address: str | None
) -> None:
    settings.TRUSTED_PROXIES = proxies
    headers = {"X-Forwarded-For": forwarded} if forwarded else {}
    request = RequestFactory().get("/", headers=headers, REMOTE_ADDR=direct)
    assert client_address(request) == address


# --- The audit of it ---


def told(action: str) -> list[AuditEntry]:
    return list(AuditEntry.objects.filter(action=action).order_by("pk"))


def test_signing_in_and_out_is_audited_in_each_of_ones_teams(
    team: Team, alice: User, client: Client
) -> None:
    other = TeamFactory.create(slug="second")
    Membership.objects.create(team=other, user=alice, role=Role.VIEWER)
    enter(client, "alice")
    client.post("/logout/")
    for action in ("account.sign_in", "account.sign_out"):
        entries = told(action)
        assert [entry.team for entry in entries] == [team, other]
        assert {(entry.actor, entry.actor_text) for entry in entries} == {(alice, "Alice")}
        assert {entry.address for entry in entries} == {"127.0.0.1"}
        assert len({entry.request_id for entry in entries}) == 1


def test_a_wrong_password_is_audited_and_not_repeated(
    team: Team, alice: User, client: Client
) -> None:
    enter(client, "alice", "hunter2-or-so")
    (entry,) = told("account.refused")
    assert (entry.team, entry.actor, entry.target_id) == (team, None, str(alice.pk))
    assert entry.actor_text == "Somebody"
    assert "hunter2" not in str(entry.__dict__)


def test_a_name_that_is_nobodys_is_in_the_installations_own_chain_without_its_letters(
    alice: User, client: Client
) -> None:
    """It may be a password in the wrong field."""
    for name in ("hunter2-or-so", "hunter2-or-so", "another"):
        enter(client, name, "x")
    entries = told("account.refused")
    assert {entry.team for entry in entries} == {None}
    names = [entry.after["name"] for entry in entries]
    assert names[0] == names[1] != names[2]
    assert "hunter2" not in str([entry.__dict__ for entry in entries])


def test_whoever_is_in_no_team_signs_in_in_the_installations_chain(
    client: Client, db: None
) -> None:
    UserFactory.create(username="alone")
    enter(client, "alone")
    (entry,) = told("account.sign_in")
    assert entry.team is None


def test_a_password_that_is_changed_by_command_is_audited(
    team: Team, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("getpass.getpass", lambda prompt="": "a new password, quite long")
    call_command("changepassword", "alice", stdout=StringIO())
    (entry,) = told("account.password")
    assert (entry.source, entry.target_id, entry.team) == ("command", str(alice.pk), team)
    alice.refresh_from_db()
    assert alice.check_password("a new password, quite long")
    assert "quite long" not in str(entry.__dict__)


def test_an_original_that_is_fetched_is_audited_and_a_rendition_is_not(
    team: Team, alice: User, sign_in: SignIn
) -> None:
    photo = PhotoFactory.create(gallery=GalleryFactory.create(team=team))
    client = sign_in(alice)
    for what in ("original", "thumb"):
        url = reverse("media_photo", args=[team.slug, photo.pk, what])
        client.head(url)
        client.get(url)
    (entry,) = told("photo.download")
    assert (entry.actor, entry.target_id) == (alice, str(photo.pk))


# --- One's own account ---

ACCOUNT = "/account/"
NEW = "five plain words in a row"


def change(client: Client, old: str = PASSWORD, new: str = NEW, again: str | None = None) -> Any:
    again = new if again is None else again
    return client.post(ACCOUNT, {"old_password": old, "new_password1": new, "new_password2": again})


def test_a_new_password_is_the_one_that_counts(
    alice: User, sign_in: SignIn, client: Client
) -> None:
    mine = sign_in(alice)
    assert "Change your password" in mine.get(ACCOUNT).text
    response = change(mine)
    assert response["Location"] == ACCOUNT
    assert "Your password is changed" in mine.get(ACCOUNT).text
    assert enter(client, "alice").status_code == 422
    assert enter(client, "alice", NEW).status_code == 302


def test_a_new_password_signs_out_everywhere_else(alice: User, sign_in: SignIn) -> None:
    here, elsewhere = sign_in(alice), sign_in(alice)
    change(here)
    assert here.get(ACCOUNT).status_code == 200
    assert elsewhere.get(ACCOUNT)["Location"] == f"{LOGIN}?next={ACCOUNT}"


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"old": "wrong"}, "That is not your password now."),
        ({"again": "something else, quite long"}, "match"),
        ({"new": "short"}, "too short"),
        ({"new": "password123"}, "too common"),
        ({"new": "", "again": ""}, "required"),
    ],
)
def test_a_password_that_is_refused_says_why_and_changes_nothing(
    alice: User, sign_in: SignIn, asked: dict[str, str], said: str
) -> None:
    response = change(sign_in(alice), **asked)
    assert response.status_code == 422
    assert said in response.text
    alice.refresh_from_db()
    assert alice.check_password(PASSWORD)
    assert not told("account.password")


def test_guessing_the_password_now_is_paused(alice: User, sign_in: SignIn) -> None:
    client = sign_in(alice)
    for _ in range(throttling.SIGN_IN.most):
        assert change(client, "wrong").status_code == 422
    response = change(client)
    assert response.status_code == 429
    assert "Too many tries" in response.text
    alice.refresh_from_db()
    assert alice.check_password(PASSWORD)


def test_a_changed_password_is_audited_without_it(team: Team, alice: User, sign_in: SignIn) -> None:
    change(sign_in(alice))
    (entry,) = told("account.password")
    assert (entry.source, entry.actor_id, entry.team) == ("page", alice.pk, team)
    assert NEW not in str(entry.__dict__)


def test_the_account_lists_ones_teams_and_asks_the_same_for_many(
    team: Team, alice: User, sign_in: SignIn
) -> None:
    client = sign_in(alice)
    with CaptureQueriesContext(connection) as one:
        text = client.get(ACCOUNT).text
    assert team.name in text
    assert "Owner" in text
    for _ in range(5):
        Membership.objects.create(team=TeamFactory.create(), user=alice, role=Role.VIEWER)
    with CaptureQueriesContext(connection) as many:
        client.get(ACCOUNT)
    assert len(many) == len(one)


def test_the_account_is_for_who_is_signed_in(client: Client, db: None) -> None:
    assert client.get(ACCOUNT)["Location"] == f"{LOGIN}?next={ACCOUNT}"
    assert change(client)["Location"] == f"{LOGIN}?next={ACCOUNT}"
