"""A canary in place of every secret appears nowhere but on the wire."""

from __future__ import annotations

import copy
import http.client
import json
import logging
import pickle
import signal
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import FrameType
from typing import Any
from urllib.parse import quote

import pytest
from django.views.debug import ExceptionReporter

from persons.vision import meta
from persons.vision.client import HttpVision
from persons.vision.connection import RedactTokens
from persons.vision.envelope import parse
from persons.vision.errors import VisionError, VisionTemporary, VisionUnauthorized
from persons.vision.oauth import ClientCredentials
from persons.vision.tokens import MASK, Grant, MemoryVault, Secret, ServiceToken, Stored
from persons.vision.transport import Http
from persons.vision.types import Answer, Image, Method
from tests.support.misbehaving import (
    NO_ANSWER,
    Misbehaving,
    answer,
    deaf_address,
    envelope,
    silence,
)

pytestmark = pytest.mark.thorough

# Of a module, and so in no frame of a test's own.
CANARY = "canary/service+token=="
CANARIES = {
    "service": CANARY,
    "client_secret": "canary/client+secret==",
    "access": "canary/access+token==",
    "refresh": "canary/refresh+token==",
}


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture(autouse=True)
def _logs(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Everything is logged, and whatever a test does, no log line holds a canary."""
    caplog.set_level(logging.DEBUG)
    for name in ("urllib3", "requests", "http"):
        caplog.set_level(logging.DEBUG, name)
    yield
    for record in caplog.get_records("call"):
        assert_clean(repr(vars(record)))
    assert_clean(caplog.text)


def assert_clean(text: str) -> None:
    lowered = text.lower()
    for name, canary in CANARIES.items():
        for form in (canary, quote(canary, safe=""), quote(canary), json.dumps(canary)[1:-1]):
            assert form.lower() not in lowered, f"the {name} canary is out"
    assert "canary/" not in text and "canary%2" not in lowered


def assert_tells_nothing(error: BaseException) -> None:
    """Neither the error nor anything that hangs on it, with all local variables of all frames."""
    shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    assert_clean("".join(shown.format()))
    reporter = ExceptionReporter(None, type(error), error, error.__traceback__)
    assert_clean(reporter.get_traceback_text())
    assert_clean(reporter.get_traceback_html())
    # Also what a report would leave out, such as the context that `from None` hides.
    linked: BaseException | None = error
    while linked is not None:
        assert_clean(repr(linked) + str(linked) + repr(linked.args) + repr(vars(linked)))
        for frame, _ in traceback.walk_tb(linked.__traceback__):
            assert_clean(repr(frame.f_locals))
        linked = linked.__cause__ or linked.__context__


def fault_of(function: Callable[[], object]) -> BaseException:
    """What `function` raises. Its own frame and what it knows are a part of the traceback."""
    try:
        function()
    except BaseException as error:  # noqa: BLE001
        return error
    raise AssertionError("nothing was raised")


def http_of(patience: float) -> Http:
    return Http(
        connect_timeout=0.3, read_timeout=patience, deadline=1.5 * patience, max_answer=10**5
    )


def ask(url: str, patience: float = 0.1) -> Answer:
    cloud = HttpVision(url, ServiceToken(Secret(CANARY)), http=http_of(patience))
    request = meta.RecognizeRequest(5, ("a",)).as_meta()
    answered = cloud.call(Method.RECOGNIZE, request, [Image("a", b"picture")])
    parse(Method.RECOGNIZE, answered)
    return answered


@pytest.mark.parametrize("fault", NO_ANSWER)
def test_no_fault_of_the_upstream_brings_the_token_out(fault: str) -> None:
    with Misbehaving(NO_ANSWER[fault][0]) as server:
        error = fault_of(lambda: ask(server.url))
    assert isinstance(error, VisionTemporary)
    assert_tells_nothing(error)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1", "https://vision.invalid", "https://127.0.0.1:1"]
)
def test_no_connection_brings_the_token_out(url: str) -> None:
    error = fault_of(lambda: ask(url))
    assert isinstance(error, VisionTemporary)
    assert_tells_nothing(error)


def test_no_connection_in_time_brings_the_token_out() -> None:
    with deaf_address() as url:
        assert_tells_nothing(fault_of(lambda: ask(url)))


def test_what_urllib3_logs_is_the_address_without_the_query(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with Misbehaving(envelope({"objects": []})) as server:
        ask(server.url)
        assert server.received[0].query["oauth_token"] == CANARY
    assert '"POST /api/v1/persons/recognize HTTP/1.1" 200' in caplog.text


def test_http_clients_own_debugging_prints_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(http.client.HTTPConnection, "debuglevel", 1)
    with Misbehaving(envelope({"objects": []})) as server:
        ask(server.url)
    assert_clean("".join(capsys.readouterr()))


ECHOES = [
    lambda token: answer(f"<p>/api?oauth_token={quote(token, safe='')}</p>".encode(), 502),
    lambda token: answer(f"<p>/api?oauth_token={token}</p>".encode(), 502),
    lambda token: envelope(f"unknown token {token}", 403),
    lambda token: answer(
        json.dumps({"status": 400, "body": f"?oauth_token={token}"}).replace("/", "\\/").encode()
    ),
    lambda token: answer(b"{}", 302, Location=f"https://elsewhere.example/?oauth_token={token}"),
    lambda token: answer(b"{}", 502, X_Asked=f"/?oauth_token={token}"),
]


@pytest.mark.parametrize("echo", ECHOES)
def test_a_server_that_repeats_the_token_is_not_quoted(echo: Callable[[str], Any]) -> None:
    with Misbehaving(echo(CANARY)) as server:
        error = fault_of(lambda: ask(server.url))
    assert isinstance(error, VisionError)
    assert_tells_nothing(error)


def test_an_answer_that_repeats_the_token_is_stored_without_it() -> None:
    with Misbehaving(envelope({"objects": [], "asked_by": CANARY})) as server:
        answered = ask(server.url)
    assert_clean(repr(answered))
    assert json.loads(answered.raw)["body"]["asked_by"] == "***"


def test_a_redirect_with_a_broken_header_is_logged_without_the_token(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """urllib3 warns of headers it can't parse, with what it read and with a traceback."""
    caplog.set_level(logging.DEBUG, "urllib3.connection")
    logger = logging.getLogger("urllib3.connection")
    try:
        raise ValueError("unparsed")
    except ValueError:
        logger.warning("Failed to parse: oauth_token=%s&a=b", quote(CANARY, safe=""), exc_info=True)
    assert "oauth_token=***&a=b" in caplog.text
    assert caplog.records[-1].exc_info is None


def test_the_redaction_survives_a_wrong_format_and_leaves_other_lines_alone() -> None:
    redact = RedactTokens()
    wrong = logging.LogRecord("urllib3", logging.INFO, "", 1, "%d and %d", ("x",), None)
    right = logging.LogRecord("urllib3", logging.INFO, "", 1, "%s and %s", ("x", "y"), None)
    assert redact.filter(wrong) and redact.filter(right)
    assert right.args == ("x", "y")


# --- What is raised from outside while the token is on the wire ---


class OutOfTime(Exception):
    """As a worker's soft time limit is raised: by a signal, wherever the main thread is."""


@pytest.fixture
def soon() -> Iterator[None]:
    def ring(number: int, frame: FrameType | None) -> None:
        raise OutOfTime

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, 0.15)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def test_a_time_limit_in_the_middle_of_a_call_brings_nothing_out(soon: None) -> None:
    with Misbehaving(silence()) as server:
        error = fault_of(lambda: ask(server.url, patience=9))
    assert type(error) is OutOfTime
    assert_tells_nothing(error)
    # Yet it says where it was.
    assert "http/client.py" in "".join(error.__notes__)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, MemoryError, ValueError, OSError])
def test_whatever_is_raised_where_the_token_is_a_local_variable_comes_without_it(
    kind: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    def send(connection: http.client.HTTPConnection, data: bytes) -> None:
        assert quote(CANARY, safe="").encode() in data
        try:
            raise LookupError(data)
        except LookupError:
            raise kind("ours")  # noqa: B904

    monkeypatch.setattr(http.client.HTTPConnection, "send", send)
    with Misbehaving(silence()) as server:
        error = fault_of(lambda: ask(server.url))
    assert type(error) is (VisionTemporary if kind is OSError else kind)
    assert_tells_nothing(error)


def test_a_mistake_of_ours_in_a_body_is_raised_and_says_where_it_was() -> None:
    with Misbehaving(silence()) as server:
        query = {"oauth_token": Secret(CANARY)}
        error = fault_of(lambda: http_of(9).post(server.url, Broken(ZeroDivisionError), query))
    assert type(error) is ZeroDivisionError
    assert "test_client_custody.py" in "".join(error.__notes__)
    assert_tells_nothing(error)


@pytest.mark.parametrize("text", ["{}", "client_secret={}&x", '{{"client_secret": "{}"}}'])
def test_an_exception_that_quotes_a_secret_of_the_body_loses_its_text(text: str) -> None:
    """As a JSON encoder's, or a socket's, might: the client's secret travels in the body."""
    with Misbehaving(silence()) as server:
        secret = Secret(CANARIES["client_secret"])
        body = Broken(lambda: LookupError(text.format(secret.reveal())), secret)
        error = fault_of(lambda: http_of(9).post(server.url, body, {}))
    assert str(error) == "LookupError, whose text held a secret"
    assert_tells_nothing(error)


@dataclass
class Broken:
    """A body that fails while it is sent."""

    error: Callable[[], Exception]
    secret: Secret = field(default_factory=lambda: Secret(""))
    content_type: str = "text/plain"

    @property
    def secrets(self) -> list[Secret]:
        return [self.secret]

    def __len__(self) -> int:
        return 10

    def __iter__(self) -> Iterator[bytes]:
        yield b"12345"
        raise self.error()


# --- The secrets of client credentials ---


def credentials(url: str, vault: MemoryVault, patience: float = 0.1) -> ClientCredentials:
    secret = Secret(CANARIES["client_secret"])
    return ClientCredentials("client", secret, url, vault, http_of(patience))


def expired() -> MemoryVault:
    access, refresh = Secret(CANARIES["access"]), Secret(CANARIES["refresh"])
    return MemoryVault(Stored(Grant(access, refresh, 0.0, 1.0)))


@pytest.mark.parametrize("fault", NO_ANSWER)
def test_no_fault_of_the_oauth_server_brings_a_secret_out(fault: str) -> None:
    with Misbehaving(NO_ANSWER[fault][0]) as server:
        for vault in (MemoryVault(), expired()):
            error = fault_of(lambda vault=vault: credentials(server.url, vault).token())  # type: ignore[misc]
            assert isinstance(error, VisionTemporary)
            assert_tells_nothing(error)


OAUTH_ANSWERS = [
    (json.dumps({"access_token": CANARIES["access"]})[:-1].encode(), 200),
    (json.dumps({"access_token": [CANARIES["access"]]}).encode(), 200),
    (json.dumps({"refresh_token": CANARIES["refresh"]}).encode(), 200),
    (json.dumps({"error": CANARIES["client_secret"]}).encode(), 401),
    (json.dumps({"error": "invalid_client", "x": CANARIES["client_secret"]}).encode(), 400),
    (f"<p>{CANARIES['refresh']}</p>".encode(), 500),
    (CANARIES["access"].encode() + b"\xff", 200),
    (b"[" * 50_000, 200),
]


@pytest.mark.parametrize(("body", "status"), OAUTH_ANSWERS)
def test_no_answer_of_the_oauth_server_is_quoted(body: bytes, status: int) -> None:
    with Misbehaving(answer(body, status)) as server:
        error = fault_of(lambda: credentials(server.url, expired()).token())
    assert isinstance(error, VisionTemporary | VisionUnauthorized)
    assert_tells_nothing(error)


def test_tokens_that_were_granted_are_not_in_what_is_kept() -> None:
    body = {"access_token": CANARIES["access"], "refresh_token": CANARIES["refresh"]}
    vault = MemoryVault()
    with Misbehaving(answer(json.dumps(body).encode())) as server:
        source = credentials(server.url, vault)
        token = source.token()
        assert server.received[0].json()["client_secret"] == CANARIES["client_secret"]
    assert token == Secret(CANARIES["access"])
    assert_clean(repr((source, token, vault.read(), vars(source))))


def test_a_time_limit_in_the_middle_of_a_renewal_brings_nothing_out(soon: None) -> None:
    vault = expired()
    with Misbehaving(silence()) as server:
        error = fault_of(lambda: credentials(server.url, vault, patience=9).token())
    assert type(error) is OutOfTime
    assert_tells_nothing(error)
    assert vault.claim("the next one", 1)


# --- The wrapper itself ---


def test_a_secret_shows_itself_in_no_way_but_one() -> None:
    secret = Secret(CANARY)
    assert {repr(secret), str(secret), f"{secret}", f"{secret!r}", "%s" % secret} == {MASK}  # noqa: UP031
    assert_clean(repr([secret, {"token": secret}, (secret,)]))
    assert secret.reveal() == CANARY
    assert not hasattr(secret, "__dict__")


def test_a_secret_goes_into_no_pickle_and_no_json() -> None:
    for fails in (lambda: pickle.dumps(Secret(CANARY)), lambda: json.dumps(Secret(CANARY))):
        error = fault_of(fails)
        assert isinstance(error, TypeError)
        assert_clean(str(error))


def test_secrets_compare_by_what_they_hold() -> None:
    assert Secret("a") == Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a"), Secret("b")}) == 2
    assert Secret("ключ") == copy.deepcopy(copy.copy(Secret("ключ")))
    assert Secret("a") and not Secret("")
