"""Tokens in addresses appear in no log, report or error mail."""

from __future__ import annotations

import io
import logging
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from django.conf import settings
from django.core import mail
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory
from django.urls import URLPattern, get_resolver

from dashboard import redaction
from dashboard.redaction import SecretConverter, redact
from dashboard.reports import Reporter
from persons.actions.sharing import make_link
from persons.models import Team, User
from tests.support import factories, wire
from tests.support.access_table import routes
from tests.support.fakes import by
from tests.support.processes import PATIENCE, ROOT

# What is asked of the database here is asked by tests of actions and of queries as well.
pytestmark = pytest.mark.any_database

TOKEN = "zXq7-Some_token-of-43-letters-0123456789abc"

OPEN_TO_ALL = {
    "healthz",
    "readyz",
    "metrics",
    "login/",
    "logout/",
    "account/",
    "",
    *(f"api/v1/persons/{method}" for method in wire.METHODS),
}
"""Addresses that need no team, and have nothing in them."""


def secret_routes() -> list[tuple[str, URLPattern]]:
    return [(route, pattern) for route, pattern in routes() if "<secret:" in route]


def address(route: str, token: str = TOKEN) -> str:
    made = re.sub(r"<secret:\w+>", token, route)
    return "/" + re.sub(r"<str:\w+>", "thumb", re.sub(r"<int:\w+>", "7", made))


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """What another handler than the site's own writes, with tracebacks."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(name)s %(message)s"))
    for logger in (logging.getLogger(), logging.getLogger("django")):
        logger.addHandler(handler)
    yield stream
    for logger in (logging.getLogger(), logging.getLogger("django")):
        logger.removeHandler(handler)


# --- What is secret ---


def test_whatever_an_open_address_takes_is_marked_as_secret() -> None:
    """A new address that lets somebody in by a part of it has to mark that part."""
    assert {route for route, _ in secret_routes()} >= {"s/<secret:shared>/", "join/<secret:token>/"}
    for route, pattern in routes():
        if route.startswith(("t/", "rest/")) or route in OPEN_TO_ALL:
            continue
        converters = pattern.pattern.converters.values()
        assert any(isinstance(one, SecretConverter) for one in converters), route


@pytest.mark.parametrize("route", [route for route, _ in secret_routes()])
def test_a_secret_is_masked_wherever_its_address_is_quoted(route: str) -> None:
    plain = address(route)
    for text in (
        plain,
        f"https://photos.example{plain}?at=1",
        f"/login/?next={plain}",
        f"/login/?next={quote(plain, safe='')}",
        f"/login/?next={quote(quote(plain, safe=''), safe='')}&x=1",
        f'GET {plain} HTTP/1.1" 404 "https://photos.example{plain}"',
        repr({"HTTP_REFERER": f"http://h{plain}"}),
    ):
        assert TOKEN in text.replace("%5F", "_")
        clean = redact(text)
        assert TOKEN not in clean and redaction.MASK in clean
    rest = plain.partition(TOKEN)[2]
    assert redact(plain) == plain.replace(TOKEN, "***"), rest


def test_the_rest_of_a_line_is_left_alone() -> None:
    for text in ("/static/js/shared/app.js", "/t/trip/g/s/", "a/b/c", "/join", "/s/", "100% /s"):
        assert redact(text) == text


# --- Logs ---


@pytest.mark.parametrize("route", [route for route, _ in secret_routes()])
@pytest.mark.parametrize("status", [403, 404, 405, 429, 500])
@pytest.mark.usefixtures("db")
def test_no_answer_has_the_secret_logged(
    route: str,
    status: int,
    written: io.StringIO,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    settings: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings.ADMINS = [("Admin", "admin@example.org")]
    caplog.set_level("DEBUG")
    path = address(route)

    def fails(request: HttpRequest, **kwargs: Any) -> HttpResponse:
        if status == 429:
            return HttpResponse(status=429)
        (token,) = [value for value in kwargs.values() if value == TOKEN]
        raise RuntimeError(f"no disk for {request.build_absolute_uri()}, {token[:0]}really")

    if status in (429, 500):
        (pattern,) = [pattern for one, pattern in secret_routes() if one == route]
        monkeypatch.setattr(pattern, "callback", fails)
    client = Client(enforce_csrf_checks=True, raise_request_exception=False)
    headers = {"Referer": f"http://testserver{path}"}
    match status:
        case 403:
            response = client.post(path, {"next": path}, headers=headers)
        case 405:
            client = Client()
            response = client.delete(path, headers=headers)
        case _:
            response = client.get(path, headers=headers)
    if response.status_code == 405 and status in (403, 404):
        pytest.skip("this address is not for that method")
    assert response.status_code in (status, 404) or route.startswith("join")
    logged = written.getvalue() + caplog.text + capsys.readouterr().err
    if response.status_code >= 400:
        assert "***" in logged
    assert TOKEN not in logged
    for record in caplog.records:
        assert TOKEN not in f"{record.getMessage()}{record.args}{record.exc_text}"
    if status == 500:
        (sent,) = mail.outbox
        whole = f"{sent.subject}{sent.body}{getattr(sent, 'alternatives', '')}"
        assert "no disk for http://testserver" in whole
        assert TOKEN not in whole


def test_tracebacks_stacks_and_wrong_arguments_are_masked_too(written: io.StringIO) -> None:
    path = address("s/<secret:shared>/")
    log = logging.getLogger("tests.anywhere")
    try:
        raise ValueError(f"can't read {path}")
    except ValueError:
        log.exception("broke at %s", path)
    too_few = "%s %s"
    log.error(too_few, path)
    log.error("by name: %(path)s", {"path": path})
    log.warning("key in /api/v1/persons/set?oauth_token=%s&x=1", TOKEN)
    text = written.getvalue()
    assert TOKEN not in text
    assert text.count("***") >= 5


def test_a_report_masks_the_secret_in_the_variables_of_its_frames(rf: RequestFactory) -> None:
    request = rf.get(address("s/<secret:shared>/"), headers={"Referer": f"http://h/join/{TOKEN}/"})

    def view(request: HttpRequest, shared: str) -> None:
        alone = [shared, {"token": shared}]
        raise RuntimeError(f"no room for {alone}")

    assert f"{Reporter.__module__}.Reporter" == settings.DEFAULT_EXCEPTION_REPORTER
    try:
        view(request, TOKEN)
    except RuntimeError as error:
        reporter = Reporter(request, type(error), error, error.__traceback__)
        for report in (reporter.get_traceback_text(), reporter.get_traceback_html()):
            assert "no room for" in report and TOKEN not in report


@pytest.mark.processes
def test_a_real_server_logs_no_secret(transactional_db: None, data_folder: Path) -> None:
    """As clients' requests, also those that can't be parsed."""
    with wire.Gunicorn(data_folder, ROLLCALL_LOG_LEVEL="DEBUG") as server:
        host = urlsplit(server.address)
        for path in (address(route) for route, _ in secret_routes()):
            for line in (f"GET {path} HTTP/1.0", f"DELETE {path} HTTP/1.0", f"GET {path} HTTP/9"):
                with socket.create_connection(
                    (host.hostname, host.port or 80), timeout=PATIENCE
                ) as link:
                    head = f"{line}\r\nHost: localhost\r\nReferer: http://localhost{path}\r\n\r\n"
                    link.sendall(head.encode())
                    while link.recv(65536):
                        pass
        output = server.output
    assert "***" in output
    assert TOKEN not in output


# --- Beyond our own processes ---


def test_pages_with_a_secret_in_their_address_do_not_tell_it_to_the_next(
    team: Team, alice: User, client: Client
) -> None:
    gallery = factories.GalleryFactory.create(team=team)
    _, token = make_link(actor=by(alice), gallery=gallery)
    for path in (f"/s/{token}/", f"/join/{TOKEN}/", f"/login/?next=/join/{TOKEN}/"):
        assert client.get(path)["Referrer-Policy"] == "strict-origin"
    assert client.get("/login/")["Referrer-Policy"] == "same-origin"


def test_nginx_logs_no_errors_of_addresses_with_a_secret() -> None:
    """Its lines about errors quote the request."""
    text = (ROOT / "deploy" / "nginx.conf").read_text()
    quiet = [
        re.compile(found[1])
        for found in re.finditer(r"location [~=] (\S+) \{([^}]*)\}", text)
        if "error_log /dev/stderr emerg;" in found[2] and "proxy_pass" in found[2]
    ]
    for route, _ in secret_routes():
        assert any(one.match(address(route)) for one in quiet), route
    assert any(one.match("/login/") for one in quiet), "its `next` may be an invitation"
    assert not any(one.match("/t/trip/") for one in quiet)


def test_the_site_logs_through_the_mask() -> None:
    assert settings.LOGGING_CONFIG == "dashboard.redaction.configure"
    assert getattr(logging.getLogRecordFactory(), "redacts", False)
    assert get_resolver().url_patterns
