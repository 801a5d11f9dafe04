"""All processes share one token, which one of them renews."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from persons.vision.errors import VisionTemporary, VisionUnauthorized
from persons.vision.oauth import ClientCredentials, Timing
from persons.vision.tokens import Grant, MemoryVault, Problem, Secret, ServiceToken, Stored
from persons.vision.transport import Http
from tests.support.misbehaving import (
    Behaviour,
    Misbehaving,
    answer,
    hang_up,
    refusing_address,
    silence,
)

NOW = 1_000_000.0
HOUR = 3600.0


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("no_proxy", "*")


class Clock:
    """Stands still, but for who sleeps."""

    def __init__(self) -> None:
        self.now = NOW
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


def granted(access: str, refresh: str = "", **more: Any) -> Behaviour:
    fields = {"access_token": access, **({"refresh_token": refresh} if refresh else {}), **more}
    return answer(json.dumps(fields).encode())


def refused(status: int = 401, code: str = "invalid_client") -> Behaviour:
    return answer(json.dumps({"error": code}).encode(), status)


def grant(access: str = "old", *, age: float) -> Grant:
    return Grant(Secret(access), Secret("refresh"), NOW - age, NOW - age + HOUR)


def source(
    url: str, clock: Clock, stored: Stored | None = None, **options: Any
) -> ClientCredentials:
    vault = options.pop("vault", None) or MemoryVault(stored, clock=clock)
    http = Http(connect_timeout=1, read_timeout=0.5, deadline=1)
    return ClientCredentials(
        "client",
        Secret("hush"),
        url,
        vault,
        http,
        Timing(clock=clock, sleep=clock.sleep, **options),
    )


def asked(server: Misbehaving) -> list[str]:
    return [request.json()["grant_type"] for request in server.received]


# --- One process ---


def test_the_first_token_is_had_by_client_credentials(clock: Clock) -> None:
    with Misbehaving(granted("first", "again")) as server:
        tokens = source(server.url + "/auth/oauth/v1/token", clock)
        assert tokens.token() == Secret("first")
        assert tokens.token() == Secret("first")
    (request,) = server.received
    assert request.target == "/auth/oauth/v1/token"
    assert request.headers["content-type"] == "application/json"
    assert request.json() == {
        "client_id": "client",
        "client_secret": "hush",
        "grant_type": "client_credentials",
    }


def test_later_tokens_are_had_by_the_refresh_token_ahead_of_expiry(clock: Clock) -> None:
    with Misbehaving(granted("first", "again"), granted("second"), granted("third")) as server:
        tokens = source(server.url, clock, margin=300)
        tokens.token()
        clock.now += HOUR - 301
        assert tokens.token() == Secret("first")
        clock.now += 2
        assert tokens.token() == Secret("second")
        # The answer brought no new refresh token, so the old one goes on.
        clock.now += HOUR
        assert tokens.token() == Secret("third")
    refresh = {"client_id": "client", "refresh_token": "again", "grant_type": "refresh_token"}
    assert [request.json() for request in server.received[1:]] == [refresh, refresh]


def test_a_new_refresh_token_replaces_the_old_one(clock: Clock) -> None:
    vault = MemoryVault(Stored(grant(age=HOUR)), clock=clock)
    with Misbehaving(granted("new", "newer")) as server:
        source(server.url, clock, vault=vault).token()
    kept = vault.read().grant
    assert kept and kept.refresh == Secret("newer")


def test_a_token_of_a_process_before_is_used(clock: Clock) -> None:
    tokens = source(refusing_address(), clock, Stored(grant(age=60)))
    assert tokens.token() == Secret("old")


@pytest.mark.parametrize("status", [400, 401, 403])
def test_a_refused_refresh_token_falls_back_to_the_credentials_once(
    status: int, clock: Clock
) -> None:
    with Misbehaving(refused(status, "invalid_grant"), granted("new")) as server:
        assert source(server.url, clock, Stored(grant(age=HOUR))).token() == Secret("new")
    assert asked(server) == ["refresh_token", "client_credentials"]


def test_refused_credentials_ask_for_an_owner_and_are_not_sent_again_for_a_while(
    clock: Clock,
) -> None:
    with Misbehaving(refused(), refused(), granted("new")) as server:
        tokens = source(server.url, clock, Stored(grant(age=HOUR)), long_rest=60)
        for _ in range(3):
            with pytest.raises(
                VisionUnauthorized,
                match=r"^127\.0\.0\.1 refused the client \(HTTP 401, invalid_client\)\.$",
            ):
                tokens.token()
        assert asked(server) == ["refresh_token", "client_credentials"]
        clock.now += 61
        assert tokens.token() == Secret("new")


@pytest.mark.parametrize(
    ("behaviour", "text"),
    [
        (answer(b"<html>", 502), r"gave no token \(HTTP 502\)"),
        (answer(b"{}", 429), r"gave no token \(HTTP 429\)"),
        (answer(b"<html>"), "answered without a token"),
        (answer(b'{"access_token": ""}'), "answered without a token"),
        (answer(b'{"access_token": 7}'), "answered without a token"),
        (answer(b"[]"), "answered without a token"),
        (hang_up(), "closed the connection"),
        (silence(), "did not answer in time"),
        (answer(b"", 302, Location="/elsewhere"), "redirect"),
    ],
)
def test_an_oauth_server_that_fails_is_temporary_and_left_alone_for_a_moment(
    behaviour: Behaviour, text: str, clock: Clock
) -> None:
    with Misbehaving(behaviour, granted("new")) as server:
        tokens = source(server.url, clock, Stored(grant(age=HOUR)), rest=5)
        for _ in range(2):
            with pytest.raises(VisionTemporary, match=text):
                tokens.token()
        assert asked(server) == ["refresh_token"]
        clock.now += 6
        assert tokens.token() == Secret("new")


def test_an_oauth_server_that_fails_ahead_of_expiry_stops_nobody(clock: Clock) -> None:
    with Misbehaving(answer(b"", 500)) as server:
        tokens = source(server.url, clock, Stored(grant(age=HOUR - 100)))
        for _ in range(5):
            assert tokens.token() == Secret("old")
        assert len(server.received) == 1
        clock.now += 101
        with pytest.raises(VisionTemporary):
            tokens.token()


def test_a_token_that_lives_shorter_than_the_margin_is_used_for_half_its_life(
    clock: Clock,
) -> None:
    with Misbehaving(granted("short", expires_in=60), granted("next")) as server:
        tokens = source(server.url, clock)
        assert tokens.token() == tokens.token() == Secret("short")
        clock.now += 31
        assert tokens.token() == Secret("next")
        assert len(server.received) == 2


@pytest.mark.parametrize("life", [0, -5, True, "3600", None, float("nan"), float("inf"), 10**9])
def test_a_life_that_makes_no_sense_is_an_hour(life: object, clock: Clock) -> None:
    vault = MemoryVault(clock=clock)
    with Misbehaving(granted("new", expires_in=life)) as server:
        source(server.url, clock, vault=vault).token()
    kept = vault.read().grant
    assert kept and kept.expires_at == NOW + HOUR


# --- A token that Vision refused ---


def test_a_refused_token_is_renewed(clock: Clock) -> None:
    with Misbehaving(granted("new")) as server:
        tokens = source(server.url, clock, Stored(grant(age=900)))
        assert tokens.renew(Secret("old")) == Secret("new")
        assert tokens.token() == Secret("new")
        assert len(server.received) == 1


def test_a_refused_token_that_another_renewed_meanwhile_is_not_renewed_again(clock: Clock) -> None:
    tokens = source(refusing_address(), clock, Stored(grant("newer", age=1)))
    assert tokens.renew(Secret("old")) == Secret("newer")


def test_a_fresh_token_that_is_refused_is_not_renewed(clock: Clock) -> None:
    """Else an account without the right to Vision would fetch a token for every call."""
    tokens = source(refusing_address(), clock, Stored(grant("new", age=10)))
    with pytest.raises(VisionUnauthorized, match="issued moments ago"):
        tokens.renew(Secret("new"))


def test_a_refused_token_is_no_spare(clock: Clock) -> None:
    with Misbehaving(answer(b"", 500)) as server:
        tokens = source(server.url, clock, Stored(grant(age=900)))
        with pytest.raises(VisionTemporary):
            tokens.renew(Secret("old"))


def test_a_service_token_is_what_it_is() -> None:
    tokens = ServiceToken(Secret("service"))
    assert tokens.token() == Secret("service")
    with pytest.raises(VisionUnauthorized, match="can't be renewed"):
        tokens.renew(Secret("service"))
    with pytest.raises(VisionUnauthorized, match="No Vision token is set"):
        ServiceToken(Secret("")).token()


# --- Many at once ---


def slowly(behaviour: Behaviour) -> Behaviour:
    def run(server: Misbehaving, connection: Any) -> None:
        time.sleep(0.3)
        behaviour(server, connection)

    return run


def all_at_once(workers: Sequence[Callable[[], object]]) -> list[object]:
    """What each of them returned or raised."""
    barrier = threading.Barrier(len(workers))
    outcomes: list[object] = []

    def run(work: Callable[[], object]) -> None:
        barrier.wait()
        try:
            outcomes.append(work())
        except Exception as error:  # noqa: BLE001
            outcomes.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return outcomes


def fifty(url: str, vault: MemoryVault, **options: Any) -> list[ClientCredentials]:
    """As in fifty processes: they share nothing but the vault."""
    return [
        ClientCredentials("client", Secret("hush"), url, vault, Http(), Timing(**options))
        for _ in range(50)
    ]


def stored_now(*, age: float) -> MemoryVault:
    obtained = time.time() - age
    return MemoryVault(Stored(Grant(Secret("old"), Secret("refresh"), obtained, obtained + HOUR)))


def test_fifty_workers_without_a_token_make_one_request() -> None:
    with Misbehaving(slowly(granted("new"))) as server:
        sources = fifty(server.url, MemoryVault())
        outcomes = all_at_once([tokens.token for tokens in sources])
        assert len(server.received) == 1
    assert outcomes == [Secret("new")] * 50


def test_fifty_workers_at_expiry_make_one_request() -> None:
    with Misbehaving(slowly(granted("new"))) as server:
        sources = fifty(server.url, stored_now(age=HOUR))
        outcomes = all_at_once([tokens.token for tokens in sources])
        assert asked(server) == ["refresh_token"]
    assert outcomes == [Secret("new")] * 50


def test_fifty_workers_ahead_of_expiry_make_one_request_and_wait_for_nothing() -> None:
    with Misbehaving(slowly(granted("new"))) as server:
        sources = fifty(server.url, stored_now(age=HOUR - 60))
        outcomes = all_at_once([tokens.token for tokens in sources])
        assert len(server.received) == 1
    assert outcomes.count(Secret("new")) >= 1
    assert outcomes.count(Secret("new")) + outcomes.count(Secret("old")) == 50


def test_fifty_workers_with_a_refused_token_make_one_request() -> None:
    with Misbehaving(slowly(granted("new"))) as server:
        sources = fifty(server.url, stored_now(age=900))
        outcomes = all_at_once([lambda t=t: t.renew(Secret("old")) for t in sources])  # type: ignore[misc]
        assert len(server.received) == 1
    assert outcomes == [Secret("new")] * 50


def test_fifty_workers_before_a_failing_oauth_server_make_one_request() -> None:
    with Misbehaving(slowly(answer(b"", 500))) as server:
        sources = fifty(server.url, stored_now(age=HOUR))
        outcomes = all_at_once([tokens.token for tokens in sources])
        assert len(server.received) == 1
    assert {type(outcome) for outcome in outcomes} == {VisionTemporary}
    assert {str(outcome) for outcome in outcomes} == {"127.0.0.1 gave no token (HTTP 500)."}


def test_who_waits_too_long_for_anothers_renewal_gives_up(clock: Clock) -> None:
    vault = MemoryVault(Stored(grant(age=HOUR)), clock=clock)
    assert vault.claim("another", 3600)
    tokens = source(refusing_address(), clock, vault=vault, patience=30)
    with pytest.raises(VisionTemporary, match="still being fetched"):
        tokens.token()
    assert 30 <= sum(clock.slept) < 31


def test_a_claim_whose_holder_died_passes_on(clock: Clock) -> None:
    vault = MemoryVault(Stored(grant(age=HOUR)), clock=clock)
    assert vault.claim("the dead", 10)
    with Misbehaving(granted("new")) as server:
        assert source(server.url, clock, vault=vault).token() == Secret("new")
    assert clock.now >= NOW + 10


def test_a_mistake_in_the_middle_of_a_renewal_gives_the_claim_back(clock: Clock) -> None:
    class Broken:
        def post_json(self, url: str, fields: Mapping[str, str | Secret]) -> tuple[int, Secret]:
            raise RuntimeError("ours")

    vault = MemoryVault(clock=clock)
    tokens = ClientCredentials("client", Secret("hush"), "https://x.example", vault, Broken())
    with pytest.raises(RuntimeError):
        tokens.token()
    assert vault.claim("the next", 1)


def test_who_gets_the_claim_just_after_another_renewed_does_not_renew_again(clock: Clock) -> None:
    class Raced(MemoryVault):
        """Another process claims and stores between our reading and our claim."""

        def claim(self, claimant: str, seconds: float) -> bool:
            if self.read() == Stored():
                assert super().claim("another", 60)
                assert super().store("another", Stored(grant("another's", age=0)))
            return super().claim(claimant, seconds)

    vault = Raced(clock=clock)
    tokens = source(refusing_address(), clock, vault=vault)
    assert tokens.token() == Secret("another's")
    assert vault.claim("the next", 1)


def test_who_lost_the_claim_does_not_overwrite_what_another_stored(clock: Clock) -> None:
    vault = MemoryVault(clock=clock)

    class Slow:
        def post_json(self, url: str, fields: Mapping[str, str | Secret]) -> tuple[int, Secret]:
            clock.now += 1000
            assert vault.claim("another", 90)
            assert vault.store("another", Stored(grant("another's", age=-1000)))
            return 200, Secret('{"access_token": "mine"}')

    tokens = ClientCredentials(
        "client", Secret("hush"), "https://x.example", vault, Slow(), Timing(clock=clock)
    )
    assert tokens.token() == Secret("mine")
    kept = vault.read().grant
    assert kept and kept.access == Secret("another's")


# --- The vault in memory, which is also the model of the one in the database ---


def test_of_many_claims_one_succeeds() -> None:
    vault = MemoryVault()
    claims = [lambda n=n: vault.claim(f"worker {n}", 60) for n in range(20)]
    assert sorted(map(bool, all_at_once(claims))) == [False] * 19 + [True]


def test_only_the_holder_settles_and_releases(clock: Clock) -> None:
    vault = MemoryVault(clock=clock)
    problem = Stored(None, Problem("no", final=False, until=NOW))
    assert vault.claim("holder", 60)
    vault.release("stranger")
    assert not vault.store("stranger", problem)
    assert not vault.claim("stranger", 60)
    assert vault.read() == Stored()
    assert vault.store("holder", problem)
    assert vault.read() == problem
    assert not vault.store("holder", Stored())
    assert vault.claim("stranger", 60)
