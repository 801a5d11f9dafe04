"""All processes share the limits on guessing, and strangers can't use them to lock out an owner."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.utils import timezone

from dashboard import devices
from persons.access import throttling
from persons.access.throttling import Ceiling, claim, network_of, take
from persons.models import Throttle, User
from tests.support.factories import PASSWORD

FEW = Ceiling("test", 3, 60)
LOGIN = "/login/"

pytestmark = pytest.mark.django_db


def enter(client: Client, name: str, password: str = PASSWORD) -> int:
    return int(client.post(LOGIN, {"username": name, "password": password}).status_code)


def stranger(n: int) -> Client:
    return Client(REMOTE_ADDR=f"198.51.{n // 250}.{n % 250 + 1}")


@pytest.fixture
def low(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttling, "SIGN_IN_ACCOUNT", Ceiling("sign-in account", 6, 900))
    monkeypatch.setattr(throttling, "SIGN_IN_ADDRESS", Ceiling("sign-in address", 8, 900))


# --- Counting ---


def test_so_many_tries_and_no_more() -> None:
    assert [take(claim(FEW, "a")) is not None for _ in range(5)] == [True] * 3 + [False] * 2
    assert take(claim(FEW, "b")) is not None


def test_a_try_that_is_given_back_counts_for_nothing() -> None:
    for _ in range(10):
        tries = take(claim(FEW, "a"))
        assert tries is not None
        tries.give_back()


def test_where_one_ceiling_is_reached_none_of_the_others_counts() -> None:
    for _ in range(3):
        take(claim(FEW, "full"))
    for _ in range(5):
        assert take(claim(FEW, "other"), claim(FEW, "full")) is None
    assert take(claim(FEW, "other")) is not None


def test_waiting_ends_with_the_window_whatever_is_tried_meanwhile() -> None:
    for _ in range(20):
        take(claim(FEW, "a"))
    row = Throttle.objects.get()
    assert row.until <= timezone.now() + timedelta(seconds=60)
    Throttle.objects.update(until=timezone.now() - timedelta(seconds=1))
    assert take(claim(FEW, "a")) is not None
    assert Throttle.objects.get().tries == 1


def test_what_is_over_goes() -> None:
    take(claim(FEW, "a"))
    Throttle.objects.update(until=timezone.now() - timedelta(seconds=1))
    take(claim(FEW, "b"))
    assert Throttle.objects.count() == 1


def test_neither_names_nor_addresses_stand_in_the_table() -> None:
    enter(Client(REMOTE_ADDR="192.0.2.77"), "somebody", "wrong")
    assert Throttle.objects.count() == 3
    kept = str(list(Throttle.objects.values()))
    assert "somebody" not in kept
    assert "192.0.2" not in kept


@pytest.mark.django_db(transaction=True)
def test_tries_that_come_at_once_count_exactly() -> None:
    taken: list[bool] = []

    def guess() -> None:
        taken.append(take(claim(FEW, "a")) is not None)
        connection.close()

    threads = [threading.Thread(target=guess) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == [False] * 5 + [True] * 3


@pytest.mark.parametrize(
    ("address", "network"),
    [
        (None, ""),
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
    ],
)
def test_who_stands_for_an_address(address: str | None, network: str) -> None:
    assert network_of(address) == network


# --- Signing in ---


def test_the_count_is_in_no_process(alice: User) -> None:
    """Another process has another memory."""
    for _ in range(throttling.SIGN_IN.most):
        cache.clear()
        assert enter(Client(), "alice", "wrong") == 422
    cache.clear()
    assert enter(Client(), "alice") == 429


def test_guessing_at_one_account_from_many_addresses_is_stopped(alice: User, low: None) -> None:
    told = [enter(stranger(n), "alice", f"guess {n}") for n in range(8)]
    assert told == [422] * 6 + [429] * 2
    # By whichever spelling of the name.
    assert enter(stranger(9), " Alice", "guess") == 429


def test_guessing_at_many_accounts_from_one_address_is_stopped(alice: User, low: None) -> None:
    client = stranger(1)
    told = [enter(client, f"name {n}", "guess") for n in range(10)]
    assert told == [422] * 8 + [429] * 2
    assert enter(client, "alice") == 429
    assert enter(stranger(2), "alice") == 302


def test_a_stranger_keeps_nobody_out_who_has_signed_in_there_before(alice: User, low: None) -> None:
    owner = Client()
    assert enter(owner, "alice") == 302
    owner.post("/logout/")
    for n in range(10):
        enter(stranger(n), "alice", "guess")
    assert enter(stranger(11), "alice") == 429
    for _ in range(3):
        assert enter(owner, "alice", "mistyped") == 422
    assert enter(owner, "alice") == 302


def test_a_stranger_keeps_nobody_out_by_sharing_an_address(alice: User, low: None) -> None:
    owner, other = stranger(1), stranger(1)
    assert enter(owner, "alice") == 302
    owner.post("/logout/")
    for n in range(10):
        enter(other, f"name {n}", "guess")
    assert enter(owner, "alice") == 302


def test_a_known_browser_has_a_ceiling_of_its_own(alice: User) -> None:
    thief = Client()
    assert enter(thief, "alice") == 302
    thief.post("/logout/")
    told = [enter(thief, "alice", "guess") for _ in range(throttling.SIGN_IN.most + 1)]
    assert told == [422] * throttling.SIGN_IN.most + [429]


def test_a_browser_is_known_only_for_whom_it_signed_in(alice: User, bob: User, low: None) -> None:
    client = Client()
    assert enter(client, "bob") == 302
    client.post("/logout/")
    for n in range(8):
        enter(stranger(n), "alice", "guess")
    assert enter(client, "alice") == 429


@pytest.mark.parametrize("told", ["", "x", "e30:1:2", "é"])
def test_a_cookie_that_nobody_signed_says_nothing(alice: User, low: None, told: str) -> None:
    for n in range(8):
        enter(stranger(n), "alice", "guess")
    client = Client()
    client.cookies[devices.COOKIE] = told
    assert enter(client, "alice") == 429


def test_the_cookie_holds_no_name_and_is_sent_to_the_form_alone(alice: User) -> None:
    client = Client()
    enter(client, "alice")
    given = client.cookies[devices.COOKIE]
    assert (given["path"], given["httponly"], given["samesite"]) == (LOGIN, True, "Lax")
    assert "alice" not in str(devices._read_cookie(_request(given.value)))


def _request(cookie: str) -> Any:
    from django.test import RequestFactory

    request = RequestFactory().get("/")
    request.COOKIES[devices.COOKIE] = cookie
    return request


# --- Tokens ---


@pytest.mark.parametrize(("path", "status"), [("/s/none/", 404), ("/join/none/", 410)])
def test_tokens_that_open_nothing_are_counted(
    monkeypatch: pytest.MonkeyPatch, path: str, status: int
) -> None:
    monkeypatch.setattr(throttling, "TOKEN_ADDRESS", Ceiling("token address", 2, 900))
    assert [Client().get(path).status_code for _ in range(3)] == [status, status, 429]
    assert stranger(1).get(path).status_code == status


def test_unknown_api_keys_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttling, "KEY_ADDRESS", Ceiling("key address", 2, 900))
    path = "/api/v1/persons/truncate?oauth_token=none"
    said = [Client().post(path).json()["body"] for _ in range(3)]
    assert said[:2] == ["the oauth_token is unknown"] * 2
    assert "wait" in said[2]
