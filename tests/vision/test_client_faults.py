"""Each fault of an upstream server has one defined outcome, tested over a real socket."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from persons.vision import meta
from persons.vision.client import HttpVision
from persons.vision.envelope import MISSING, clip, match_objects, parse
from persons.vision.errors import (
    VisionError,
    VisionRejected,
    VisionTemporary,
    VisionUnauthorized,
)
from persons.vision.guards import (
    Bucket,
    CircuitBreaker,
    CircuitOpen,
    MemoryBreakerState,
    MemoryBucketState,
    Phase,
    RateLimit,
    RateLimited,
)
from persons.vision.tokens import Secret, ServiceToken, TokenSource
from persons.vision.transport import Http
from persons.vision.types import Answer, Box, Image, ImageStatus, Method
from tests.support.misbehaving import (
    NO_ANSWER,
    Behaviour,
    Misbehaving,
    answer,
    deaf_address,
    envelope,
    hang_up,
    message,
    raw,
    refusing_address,
    self_signed,
    silence,
    unread,
)

HTML = b"<html><body>502 Bad Gateway: /api?oauth_token=...</body></html>"


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    made = self_signed(tmp_path_factory.mktemp("tls"))
    if made is None:
        pytest.skip("openssl is not there")
    return made


class Renewable:
    """A token source that counts."""

    def __init__(self) -> None:
        self.renewed = 0

    def token(self) -> Secret:
        return Secret(f"token-number-{self.renewed}")

    def renew(self, stale: Secret) -> Secret:
        assert stale == self.token()
        self.renewed += 1
        return self.token()


def vision(url: str, tokens: TokenSource | None = None, **options: Any) -> HttpVision:
    http = Http(connect_timeout=0.3, read_timeout=0.3, deadline=0.6, max_answer=100_000)
    options.setdefault("http", http)
    return HttpVision(url, tokens or ServiceToken(Secret("service-token")), **options)


def ask(cloud: HttpVision, *names: str, data: bytes = b"picture") -> Answer:
    request = meta.RecognizeRequest(5, names or ("a",), update_embedding=False)
    images = [Image(name, data) for name in request.names]
    return cloud.call(Method.RECOGNIZE, request.as_meta(), images)


def objects(*entries: Any) -> Behaviour:
    return envelope({"objects": list(entries)})


def seen(name: str, coord: Any = (1, 2, 3, 4), **more: Any) -> dict[str, Any]:
    person = {"tag": "person1", "coord": coord, "confidence": 0.9, "similarity": 0.8, **more}
    return {"status": 0, "name": name, "persons": [person]}


# --- There was no answer: temporary, with a text that names host and cause ---


@pytest.mark.thorough
@pytest.mark.parametrize("fault", NO_ANSWER)
def test_without_an_answer_the_error_is_temporary_and_clear(fault: str) -> None:
    behaviour, text = NO_ANSWER[fault]
    started = time.monotonic()
    with Misbehaving(behaviour) as server:
        with pytest.raises(VisionTemporary) as caught:
            parse(Method.RECOGNIZE, ask(vision(server.url)))
        assert time.monotonic() - started < 2
        assert len(server.received) <= 1
    assert text in str(caught.value)
    assert "token" not in str(caught.value)
    if text != "is not JSON":
        assert str(caught.value).startswith(server.host)


def test_a_refused_connection_is_temporary() -> None:
    with pytest.raises(VisionTemporary, match=r"^127\.0\.0\.1:\d+ refused the connection\.$"):
        ask(vision(refusing_address()))


def test_an_address_that_takes_no_connection_is_given_up_in_time() -> None:
    with deaf_address() as url, pytest.raises(VisionTemporary, match="took no connection in time"):
        ask(vision(url))


def test_a_name_that_is_not_in_the_dns_is_temporary() -> None:
    with pytest.raises(VisionTemporary, match=r"^vision\.invalid has a name that could not be"):
        ask(vision("https://vision.invalid"))


def test_a_certificate_that_nobody_vouches_for_is_refused(certificate: tuple[Path, Path]) -> None:
    with Misbehaving(envelope({}), tls=certificate) as server:
        with pytest.raises(VisionTemporary, match="certificate that is not trusted"):
            ask(vision(server.url))
        assert server.received == []


def test_a_certificate_for_another_name_is_refused(certificate: tuple[Path, Path]) -> None:
    with Misbehaving(envelope({}), tls=certificate) as server:
        http = Http(ca_bundle=str(certificate[0]))
        with pytest.raises(VisionTemporary, match="certificate that is not trusted"):
            ask(vision(server.url.replace("127.0.0.1", "localhost"), http=http))
        assert server.received == []


def test_a_certificate_of_a_given_authority_is_accepted(certificate: tuple[Path, Path]) -> None:
    with Misbehaving(objects(seen("a")), tls=certificate) as server:
        cloud = vision(server.url, http=Http(ca_bundle=str(certificate[0])))
        assert ask(cloud, data=b"x" * 1_000_000).http_status == 200
        assert ask(cloud).http_status == 200
        assert server.connections == 1
    assert server.received[0].query["oauth_token"] == "service-token"


def test_tls_with_a_server_that_speaks_none_is_temporary() -> None:
    with (
        Misbehaving(unread(raw(b"HTTP/1.1 400 Bad Request\r\n\r\n"))) as server,
        pytest.raises(VisionTemporary, match="failed to agree on TLS"),
    ):
        ask(vision(server.url.replace("http", "https")))


def test_a_certificate_file_that_is_missing_is_an_error_of_the_same_kind() -> None:
    with Misbehaving(envelope({}), keep=False) as server:
        cloud = vision(server.url.replace("http", "https"), http=Http(ca_bundle="/no/such/file"))
        with pytest.raises(VisionTemporary, match=r"could not be asked \(OSError\)"):
            ask(cloud)


def test_a_server_that_stops_reading_is_given_up_in_time() -> None:
    started = time.monotonic()
    with (
        Misbehaving(unread(silence())) as server,
        pytest.raises(VisionTemporary, match="did not answer in time"),
    ):
        ask(vision(server.url), data=b"x" * 14_000_000)
    assert time.monotonic() - started < 2


def test_a_server_that_reads_too_slowly_is_given_up_in_time() -> None:
    def sip(server: Misbehaving, connection: socket.socket) -> None:
        while not server.stopped.wait(0.05) and connection.recv(100_000):
            pass

    started = time.monotonic()
    with (
        Misbehaving(unread(sip)) as server,
        pytest.raises(VisionTemporary, match="did not answer in time"),
    ):
        ask(vision(server.url), data=b"x" * 14_000_000)
    assert time.monotonic() - started < 2


def test_a_redirect_is_not_followed_so_the_token_stays_where_it_was_sent() -> None:
    with Misbehaving(envelope({})) as thief:
        target = thief.url + "/api/v1/persons/recognize"
        with (
            Misbehaving(answer(b"", 308, Location=target)) as server,
            pytest.raises(VisionTemporary),
        ):
            ask(vision(server.url))
    assert thief.connections == 0


def test_the_next_call_after_a_fault_is_a_clean_one() -> None:
    with Misbehaving(
        raw(message(b"{", 200, 100)),
        answer(b"x" * 200_000),
        hang_up(),
        objects(seen("a")),
    ) as server:
        cloud = vision(server.url)
        for _ in range(3):
            with pytest.raises(VisionTemporary):
                ask(cloud)
        assert parse(Method.RECOGNIZE, ask(cloud)).objects[0].persons


# --- There was an answer: it is returned, and parsing judges it ---


@pytest.mark.parametrize(
    ("behaviour", "status", "error", "text"),
    [
        (answer(HTML, 502), 502, VisionTemporary, r"not JSON \(HTTP 502\)"),
        (answer(HTML), 200, VisionTemporary, r"not JSON \(HTTP 200\)"),
        (answer(b""), 200, VisionTemporary, r"not JSON"),
        (answer(b"[1, 2]"), 200, VisionTemporary, "no envelope"),
        (answer(b'{"objects": []}'), 200, VisionTemporary, "no status"),
        (answer(b'{"status": "200"}'), 200, VisionTemporary, "no status"),
        (answer(b'\xff\xfe{"status": 200}'), 200, VisionTemporary, "not JSON"),
        (envelope("empty image", 400), 200, VisionRejected, "empty image"),
        (envelope("access denied", 403), 200, VisionUnauthorized, "access denied"),
        (envelope("internal", 500), 200, VisionTemporary, "internal"),
        (envelope("slow down", 429), 200, VisionTemporary, "slow down"),
        (envelope({"objects": {}}), 200, VisionTemporary, "malformed"),
        (envelope([]), 200, VisionTemporary, "malformed"),
        (objects(seen("a", similarity=float("nan"))), 200, VisionTemporary, "not JSON"),
        (objects(seen("a", coord=[float("inf"), 0, 1, 1])), 200, VisionTemporary, "not JSON"),
        (objects(seen("a", coord=[0, 0, 1])), 200, VisionTemporary, "coord"),
        (objects({"name": "a", "status": 7}), 200, VisionTemporary, "no known status"),
        (objects({"status": 0}), 200, VisionTemporary, "no name"),
    ],
)
def test_an_answer_that_is_no_success_is_returned_for_parsing_to_judge(
    behaviour: Behaviour, status: int, error: type[VisionError], text: str
) -> None:
    with Misbehaving(behaviour) as server:
        given_back = ask(vision(server.url))
    assert given_back.http_status == status
    with pytest.raises(error, match=text):
        parse(Method.RECOGNIZE, given_back)


def test_a_bare_http_403_that_nobody_could_judge_by_is_raised() -> None:
    with (
        Misbehaving(answer(b"<html>Forbidden</html>", 403)) as server,
        pytest.raises(VisionUnauthorized, match=r"refused the token \(HTTP 403\)"),
    ):
        ask(vision(server.url))


STATUSES = {
    "a": ImageStatus.DONE,
    "b": ImageStatus.PERMANENT,
    "c": ImageStatus.TEMPORARY,
}


def results(*entries: Any) -> dict[str, tuple[ImageStatus, str]]:
    """What three images came to, by name."""
    with Misbehaving(objects(*entries)) as server:
        given_back = ask(vision(server.url), *STATUSES)
    matched = match_objects(list(STATUSES), parse(Method.RECOGNIZE, given_back))
    assert [result.name for result in matched] == list(STATUSES)
    return {result.name: (result.status, result.error) for result in matched}


def entry(name: str, **more: Any) -> dict[str, Any]:
    status = STATUSES.get(name, ImageStatus.DONE)
    return {"status": int(status), "name": name, "error": "why", **more}


def test_statuses_mixed_in_one_batch_go_to_their_images_in_any_order() -> None:
    expected = {name: (status, "why") for name, status in STATUSES.items()}
    assert results(entry("a"), entry("b"), entry("c")) == expected
    assert results(entry("c"), entry("a"), entry("b")) == expected


def test_an_image_without_an_answer_is_temporary() -> None:
    found = results(entry("a"))
    assert found["a"][0] is ImageStatus.DONE
    assert found["b"] == found["c"] == (ImageStatus.TEMPORARY, MISSING)


def test_an_answer_for_an_image_that_was_not_sent_is_ignored() -> None:
    assert len(results(entry("a"), entry("b"), entry("c"), entry("stranger"))) == 3


def test_the_same_answer_twice_counts_once_and_two_that_differ_are_temporary() -> None:
    found = results(entry("a"), entry("a"), entry("b"), entry("b", error="not why"), entry("c"))
    assert found["a"][0] is ImageStatus.DONE
    assert found["b"][0] is ImageStatus.TEMPORARY


def test_coordinates_outside_the_image_are_clipped_by_who_knows_its_size() -> None:
    with Misbehaving(
        objects(seen("a", coord=[-50, -50, 50, 50]), seen("b", coord=[900, 900, 950, 950]))
    ) as server:
        given_back = ask(vision(server.url), "a", "b")
    inside, outside = parse(Method.RECOGNIZE, given_back).objects
    assert clip(inside.persons[0].box, 100, 100) == Box(0, 0, 50, 50)
    assert clip(outside.persons[0].box, 100, 100) is None


# --- A refused token is renewed once ---

REFUSALS = [
    envelope("access denied", 403),
    envelope("access denied", 401),
    answer(HTML, 401),
    answer(HTML, 403),
]


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_refused_token_is_renewed_and_the_same_is_sent_again(refusal: Behaviour) -> None:
    tokens = Renewable()
    with Misbehaving(refusal, objects(seen("a"))) as server:
        given_back = ask(vision(server.url, tokens))
    assert parse(Method.RECOGNIZE, given_back).objects[0].name == "a"
    assert [request.query["oauth_token"] for request in server.received] == [
        "token-number-0",
        "token-number-1",
    ]
    first, second = server.received
    assert first.body == second.body


def test_a_second_refusal_is_given_back_as_it_came() -> None:
    tokens = Renewable()
    refusal = {"status": 403, "body": "no right to Vision", "htmlencoded": False}
    body = json.dumps(refusal).encode()
    with Misbehaving(envelope("expired", 403), answer(body)) as server:
        given_back = ask(vision(server.url, tokens))
        assert len(server.received) == 2
    assert given_back.raw == body
    assert tokens.renewed == 1
    with pytest.raises(VisionUnauthorized, match="no right to Vision"):
        parse(Method.RECOGNIZE, given_back)


def test_a_service_token_is_not_sent_again_once_refused() -> None:
    with Misbehaving(envelope("access denied", 403)) as server:
        given_back = ask(vision(server.url))
        assert len(server.received) == 1
    with pytest.raises(VisionUnauthorized, match="access denied"):
        parse(Method.RECOGNIZE, given_back)


def test_where_the_token_cannot_be_renewed_just_now_the_error_is_temporary() -> None:
    class Down(Renewable):
        def renew(self, stale: Secret) -> Secret:
            raise VisionTemporary("auth.example did not answer in time.")

    with (
        Misbehaving(envelope("access denied", 403)) as server,
        pytest.raises(VisionTemporary, match=r"auth\.example"),
    ):
        ask(vision(server.url, Down()))


# --- The breaker learns from faults and not from refusals ---


@pytest.fixture
def breaker() -> CircuitBreaker:
    return CircuitBreaker("cloud", MemoryBreakerState(), threshold=3)


@pytest.mark.parametrize(
    "behaviour",
    [hang_up(), answer(HTML, 502), envelope("internal", 500), answer(HTML), silence()],
)
def test_a_dead_upstream_opens_the_circuit_and_is_left_alone(
    behaviour: Behaviour, breaker: CircuitBreaker
) -> None:
    with Misbehaving(behaviour) as server:
        cloud = vision(server.url, breaker=breaker)
        for _ in range(3):
            with pytest.raises(VisionTemporary):
                parse(Method.RECOGNIZE, ask(cloud))
        with pytest.raises(CircuitOpen, match="failed 3 times in a row"):
            ask(cloud)
        assert len(server.received) == 3


@pytest.mark.parametrize(
    "behaviour",
    [
        envelope("empty image", 400),
        envelope("denied", 403),
        objects(),
        answer(HTML, 403),
        answer(HTML, 413),
    ],
)
def test_an_upstream_that_refuses_is_alive(behaviour: Behaviour, breaker: CircuitBreaker) -> None:
    with Misbehaving(hang_up(), hang_up(), behaviour, hang_up(), hang_up(), behaviour) as server:
        cloud = vision(server.url, breaker=breaker)
        for _ in range(6):
            try:
                ask(cloud)
            except (VisionTemporary, VisionUnauthorized):
                continue
    assert breaker.state().phase is Phase.CLOSED


def test_a_probe_that_the_rate_limit_held_back_is_left_to_the_next_call() -> None:
    breaker = CircuitBreaker("cloud", MemoryBreakerState(), threshold=1, cool_down=0)
    limit = RateLimit(requests=Bucket(MemoryBucketState(), rate=0.01, burst=1), patience=0)
    with Misbehaving(hang_up(), objects(seen("a"))) as server:
        cloud = vision(server.url, breaker=breaker, limit=limit)
        with pytest.raises(VisionTemporary):
            ask(cloud)
        for _ in range(2):
            with pytest.raises(RateLimited):
                ask(cloud)
            assert breaker.state().phase is Phase.OPEN
        ask(vision(server.url, breaker=breaker))
        assert len(server.received) == 2
    assert breaker.state().phase is Phase.CLOSED


def test_each_sending_counts_in_the_rate_limit_with_its_images() -> None:
    slept: list[float] = []
    images = Bucket(MemoryBucketState(), rate=1, burst=3)
    limit = RateLimit(images=images, clock=lambda: 1e6, sleep=slept.append)
    with Misbehaving(envelope("expired", 403), objects()) as server:
        ask(vision(server.url, Renewable(), limit=limit), "a", "b", "c")
    # Nothing to wait for before the first; the second, with another token, is three images more.
    assert slept == [3]
