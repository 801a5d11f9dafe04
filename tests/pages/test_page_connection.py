"""The connection to Vision: its page, the overview's banner, and the check of /readyz."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries, Settings

from persons.backends import cloud, embedded
from persons.engine.weights import SFACE_SHA256, YUNET_SHA256, WeightsError
from persons.models import Call, CloudCircuit, CloudToken, Source, Team, User
from persons.models.calls import Outcome
from persons.vision.tokens import Grant, Problem, Secret, Stored
from tests.support.reading import read_text

# What is asked of the database here is asked by tests of actions and of queries as well.
pytestmark = pytest.mark.any_database

SignIn = Callable[[User], Client]

HOST = "vision.example.org"
CANARY = "canary-8c1f0e5d7b"


@pytest.fixture
def service(settings: Settings) -> None:
    settings.VISION_URL = f"https://{HOST}"
    settings.VISION_TOKEN = Secret(CANARY)


@pytest.fixture
def client_credentials(settings: Settings) -> None:
    settings.VISION_URL = f"https://{HOST}"
    settings.VISION_CLIENT_ID = "our-client"
    settings.VISION_CLIENT_SECRET = Secret(CANARY)


@pytest.fixture
def read(team: Team, vera: User, sign_in: SignIn) -> Callable[..., str]:
    """`read()` is the connection page as somebody reads it, `read("overview")` another."""
    client = sign_in(vera)

    def read(name: str = "connection") -> str:
        response = client.get(reverse(name, args=[team.slug]))
        assert response.status_code == 200
        assert CANARY not in response.text
        return read_text(response.text)

    return read


def readyz() -> Any:
    response = Client().get("/readyz")
    return response.status_code, response.json()["checks"]["vision"]


def circuit(phase: str, upstream: str = HOST, *, seconds: float = 60, **values: Any) -> None:
    CloudCircuit.objects.create(
        upstream=upstream, phase=phase, until=time.time() + seconds, **values
    )


def make_call(team: Team, **values: Any) -> Call:
    values = {
        "method": "recognize",
        "source": Source.WORKER,
        "backend": "cloud",
        "outcome": Outcome.DONE,
        "status": 200,
        "image_count": 1,
    } | values
    return Call.objects.create(team=team, **values)


def store(stored: Stored) -> None:
    vault = cloud.DatabaseVault(cloud.account())
    assert vault.claim("test", 10)
    assert vault.store("test", stored)


def grant(seconds: float) -> Grant:
    now = time.time()
    return Grant(Secret(CANARY), Secret(CANARY), now, now + seconds)


# --- The embedded recogniser ---


@pytest.mark.django_db
def test_the_embedded_recogniser_names_its_models(read: Callable[..., str]) -> None:
    page = read()
    assert "Rollcall's own recogniser, on this machine" in page
    for words in ("yunet", "sface", YUNET_SHA256, SFACE_SHA256, "1 inside each worker"):
        assert words in page
    assert readyz() == (200, "ok")


def test_missing_models_are_said(read: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise WeightsError("/srv/models is empty")

    monkeypatch.setattr(embedded, "weights", refuse)
    page = read()
    assert "The model files are missing." in page
    assert "/srv" not in page


# --- The circuit ---


def test_all_is_well(service: None, read: Callable[..., str]) -> None:
    page = read()
    for words in (HOST, "Vision answers", "Signed in by a service token", "Rate limit none"):
        assert words in page
    assert "Vision doesn't answer" not in read("overview")
    assert readyz() == (200, "ok")


@pytest.mark.parametrize(
    ("phase", "seconds", "page_says", "overview_says"),
    [
        ("open", 60, "nothing is sent until", "It is left alone until"),
        ("open", -1, "The next call tries whether it is back", "The next call tries it again"),
        ("half-open", 60, "One call has been sent", "It is being tried again just now"),
    ],
)
def test_an_open_circuit_is_said_everywhere_and_takes_no_page_away(
    service: None,
    read: Callable[..., str],
    phase: str,
    seconds: float,
    page_says: str,
    overview_says: str,
) -> None:
    circuit(phase, seconds=seconds, failures=5, opened=1)
    assert page_says in read()
    assert overview_says in read("overview")
    assert readyz() == (200, "does not answer, and is tried again by itself")


def test_failures_short_of_opening_it_are_no_alarm(service: None, read: Callable[..., str]) -> None:
    circuit("closed", failures=2)
    assert "The last 2 calls failed" in read()
    assert "Vision doesn't answer" not in read("overview")


def test_the_limits_are_in_words(
    service: None, read: Callable[..., str], settings: Settings
) -> None:
    settings.VISION_REQUESTS_PER_SECOND = 5.0
    settings.VISION_IMAGES_PER_SECOND = 0.5
    assert "5 requests and 0.5 images a second, all workers together" in read()


# --- The token ---


def test_a_refused_service_token_says_what_to_do(
    service: None, team: Team, read: Callable[..., str]
) -> None:
    make_call(team, outcome=Outcome.REJECTED, status=403, error="token not found")
    circuit("open", f"{HOST} credentials", failures=1, opened=1)
    page = read()
    for words in ("The token is refused", "token not found", "VISION_TOKEN", "Somebody has to act"):
        assert words in page
    assert "Vision refuses the token." in read("overview")
    assert readyz() == (200, "refuses the token: somebody has to act")


def test_a_token_that_is_not_set_is_missing(
    service: None, read: Callable[..., str], settings: Settings
) -> None:
    settings.VISION_TOKEN = Secret("")
    assert "No token is set" in read()
    assert "No Vision token is set." in read("overview")


@pytest.mark.parametrize(
    ("stored", "words"),
    [
        (Stored(), "No token was fetched yet"),
        (Stored(grant(3000)), "The present token is good until"),
        (Stored(grant(-5)), "The token has expired"),
        (Stored(None, Problem("oauth: slow", False, 2e9)), "oauth: slow This passes by itself"),
        (Stored(grant(3000), Problem("HTTP 401", True, 2e9)), "HTTP 401 Somebody has to act."),
    ],
)
def test_client_credentials_have_a_state(
    client_credentials: None, read: Callable[..., str], stored: Stored, words: str
) -> None:
    store(stored)
    page = read()
    assert words in page
    assert "client credentials, as mcs" in page


def test_only_a_final_problem_is_an_alarm(
    client_credentials: None, read: Callable[..., str]
) -> None:
    store(Stored(None, Problem("slow", False, 2e9)))
    assert "refuses the token" not in read("overview")
    assert readyz() == (200, "ok")
    store(Stored(None, Problem("wrong", True, 2e9)))
    assert "Vision refuses the token." in read("overview")
    assert readyz() == (200, "refuses the token: somebody has to act")


def test_a_renewal_under_way_is_said(client_credentials: None, read: Callable[..., str]) -> None:
    CloudToken.objects.create(
        account=cloud.account(), claimant="another", claimed_until=time.time() + 60
    )
    assert "The token is being renewed" in read()


def test_an_address_that_is_none_is_said(
    service: None, read: Callable[..., str], settings: Settings
) -> None:
    settings.VISION_URL = f"https://user:{CANARY}@{HOST}"
    assert "VISION_URL is no address." in read()
    assert readyz() == (200, "has no valid address")


# --- The last calls ---


def test_the_last_good_and_bad_calls_are_there(
    service: None, team: Team, charlie: User, read: Callable[..., str]
) -> None:
    make_call(team, method="set", duration_ms=480)
    make_call(team, outcome=Outcome.TEMPORARY, status=None, error="It timed out")
    make_call(team, outcome=Outcome.UNAVAILABLE, status=None, error="Never sent")
    make_call(team, outcome=Outcome.REJECTED, status=400, error="A bad picture")
    make_call(team, saved_count=1, image_count=0, method="saved")
    make_call(team, backend="embedded", method="elsewhere")
    make_call(charlie.teams.get(), outcome=Outcome.TEMPORARY, error="Their failure")
    page = read()
    assert "set 1 image in 480 ms" in page
    assert "It timed out" in page
    for words in ("Never sent", "A bad picture", "saved 0", "elsewhere", "Their failure"):
        assert words not in page


@pytest.mark.parametrize("count", [1, 30])
def test_the_page_asks_the_same_number_of_queries_for_any_history(
    service: None,
    team: Team,
    vera: User,
    sign_in: SignIn,
    count: int,
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    for _ in range(count):
        make_call(team)
        make_call(team, outcome=Outcome.TEMPORARY)
    client = sign_in(vera)
    with django_assert_num_queries(8):
        client.get(reverse("connection", args=[team.slug]))


def test_it_asks_again_by_itself_and_gets_its_part(
    service: None, team: Team, vera: User, sign_in: SignIn
) -> None:
    client = sign_in(vera)
    address = reverse("connection", args=[team.slug])
    assert 'hx-trigger="every 5s, wake"' in client.get(address).text
    part = client.get(address, headers={"HX-Request": "true", "HX-Target": "connection"}).text
    assert part.lstrip().startswith('<div id="connection"')
    assert "<html" not in part


def test_strangers_find_nothing_and_wrong_methods_are_refused(
    team: Team, alice: User, charlie: User, sign_in: SignIn
) -> None:
    address = reverse("connection", args=[team.slug])
    assert sign_in(charlie).get(address).status_code == 404
    assert sign_in(alice).post(address).status_code == 405
