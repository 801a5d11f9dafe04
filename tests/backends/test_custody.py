"""Canaries in place of every secret appear nowhere in Rollcall's data afterwards.

`test_client_custody.py` does the same for the client alone.
"""

from __future__ import annotations

import base64
import http.client
import itertools
import json
import logging
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from html import unescape
from io import BytesIO, StringIO
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote, quote_plus, urlencode
from uuid import uuid4
from zipfile import ZipFile

import pytest
from celery.result import EagerResult
from django.conf import settings as django_settings
from django.core import mail
from django.core.exceptions import RequestDataTooBig
from django.core.management import call_command
from django.core.signals import got_request_exception
from django.db import OperationalError, connection
from django.test import Client
from django.urls import reverse
from django.utils.log import AdminEmailHandler
from django.views.debug import ExceptionReporter
from pytest_django import Settings

from persons import tasks
from persons.backends import cloud
from persons.models import ApiKey, Call, CloudCircuit, Gallery, Photo, PhotoState, Team, User
from persons.vision.tokens import Grant, Secret, Stored
from tests.support import fakes, wire
from tests.support.factories import GalleryFactory
from tests.support.fakes import due_now, found, seen, waiting_photo, wire_name
from tests.support.misbehaving import (
    Behaviour,
    Misbehaving,
    answer,
    deaf_address,
    envelope,
    hang_up,
    refusing_address,
    silence,
)
from tests.support.traces import read_elsewhere
from tests.support.wire import file, meta, pictures

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.thorough]

# Of a module, and so in no frame of a test's own. Long enough to be masked in answers, and with
# what a query and JSON write in other ways.
CANARIES = {
    "service": "canary/custody+service==/5d0a",
    "client_secret": "canary/custody+client==/e7b1",
    "access": "canary/custody+access==/90fc",
    "refresh": "canary/custody+refresh==/2b48",
    "new_access": "canary/custody+new+access==/77aa",
    "new_refresh": "canary/custody+new+refresh==/c3d9",
    "key": "rck_canary-custody-key_Zk31vQ90ab",
    "encryption": "canary/custody+encryption==/1f6e",
}


def forms(canary: str) -> set[str]:
    plain = {
        canary,
        quote(canary),
        quote(canary, safe=""),
        quote_plus(canary),
        canary.replace("/", "\\/"),
    }
    return {form.lower() for form in plain} | {base64.b64encode(canary.encode()).decode().lower()}


FORMS = {name: forms(canary) for name, canary in CANARIES.items()}


def assert_clean(where: str, text: str) -> None:
    lowered = unescape(text).lower()
    for name, ways in FORMS.items():
        for form in ways:
            assert form not in lowered, f"{where}: the {name} canary is out"


# --- What is planted and watched -----------------------------------------------------------------


@pytest.fixture(autouse=True)
def _planted(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("no_proxy", "*")
    settings.ENCRYPTION_KEY = Secret(CANARIES["encryption"])
    settings.VISION_CONNECT_SECONDS, settings.VISION_READ_SECONDS = 0.3, 0.3
    settings.ADMINS = [("Admin", "admin@example.org")]
    monkeypatch.setattr(ApiKey, "new_key", staticmethod(lambda: CANARIES["key"]))
    yield
    cloud.cloud.cache_clear()


@pytest.fixture(params=["service token", "client credentials"])
def cloud_at(request: pytest.FixtureRequest, settings: Settings) -> Callable[[str], None]:
    """`cloud_at(url)`: the cloud is there, by either kind of credentials."""

    def cloud_at(url: str) -> None:
        settings.VISION_URL = url
        if request.param == "service token":
            settings.VISION_TOKEN = Secret(CANARIES["service"])
        else:
            settings.VISION_CLIENT_ID = "our-client"
            settings.VISION_CLIENT_SECRET = Secret(CANARIES["client_secret"])
            settings.VISION_OAUTH_URL = request.getfixturevalue("oauth").url
            vault = cloud.DatabaseVault(cloud.account())
            if vault.read().grant is None:
                access, refresh = Secret(CANARIES["access"]), Secret(CANARIES["refresh"])
                assert vault.claim("planted", 60)
                assert vault.store("planted", Stored(Grant(access, refresh, 1.0, 2.0e9)))
        cloud.cloud.cache_clear()

    return cloud_at


@pytest.fixture
def oauth() -> Iterator[Misbehaving]:
    granted = {
        "access_token": CANARIES["new_access"],
        "refresh_token": CANARIES["new_refresh"],
        "expires_in": 3600,
    }
    with Misbehaving(answer(json.dumps(granted).encode())) as server:
        yield server


@pytest.fixture(autouse=True)
def _logs(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Everything is logged, and whatever a test does, no record holds a canary."""
    caplog.set_level(logging.DEBUG)
    for name in ("urllib3", "requests", "http", "django", "celery", "persons"):
        caplog.set_level(logging.DEBUG, name)
    # Every variable that a template does not find, of the reports that the tests themselves make.
    caplog.set_level(logging.INFO, "django.template")
    tracebacks = Tracebacks()
    logging.getLogger().addHandler(tracebacks)
    yield
    logging.getLogger().removeHandler(tracebacks)
    for record in caplog.get_records("call"):
        assert_clean("a log record", repr(vars(record)))
    assert_clean("the log", caplog.text)
    for text in tracebacks.texts:
        assert_clean("a logged traceback", text)


class Tracebacks(logging.Handler):
    """What a handler that sends local variables somewhere would see: later Celery clears them."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            self.texts += as_shown(error)


@pytest.fixture
def key(team: Team) -> str:
    return wire.make_key(team)[1]


@pytest.fixture
def gallery(bob: User) -> Gallery:
    return GalleryFactory.create(team=bob.memberships.get().team)


# --- Where it is looked for ----------------------------------------------------------------------


def assert_tells_nothing(error: BaseException, request: Any = None) -> None:
    """As tracebacks and Django's reports show it, with all local variables of all frames."""
    for text in as_shown(error, request):
        assert_clean("a traceback", text)


def as_shown(error: BaseException, request: Any = None) -> list[str]:
    shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    reporters = [
        ExceptionReporter(request, type(error), error, error.__traceback__, is_email=is_email)
        for is_email in (False, True)
    ]
    return [
        "".join(shown.format()),
        *(reporter.get_traceback_html() for reporter in reporters),
        *(reporter.get_traceback_text() for reporter in reporters),
    ]


def in_database() -> str:
    """Every value of every table, and with SQLite every byte of its files."""
    found: list[str] = []
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")
            for row in cursor.fetchall():
                found += [_text(value) for value in row]
    if connection.vendor == "sqlite":
        name = Path(str(connection.settings_dict["NAME"]))
        found.append(read_elsewhere(*name.parent.glob(f"{name.name}*")).decode("latin-1"))
    assert any("Trip" in text for text in found)
    return "\n".join(found)


def _text(value: object) -> str:
    if isinstance(value, bytes | memoryview):
        return bytes(value).decode("latin-1")
    return str(value)


def in_queue(data: Path) -> str:
    """Celery's messages, with what is inside their base64."""
    if django_settings.REDIS_URL:
        import redis

        with redis.Redis.from_url(django_settings.REDIS_URL) as client:
            keys = list(client.scan_iter(f"{django_settings.REDIS_PREFIX}*"))
            lists = [key for key in keys if client.type(key) == b"list"]
            messages = [raw.decode() for key in lists for raw in client.lrange(key, 0, -1)]
    else:
        folder = data / "broker" / "messages"
        messages = [path.read_text() for path in folder.iterdir() if path.is_file()]
    bodies = [json.loads(raw)["body"] for raw in messages]
    return "\n".join([*messages, *(base64.b64decode(body).decode() for body in bodies)])


PAGES = ["overview", "connection", "usage", "history", "audit", "api_keys", "galleries"]
REST = ["", "calls/", "audit/", "spaces/", "galleries/", "members/"]


def on_pages(client: Client, team: Team) -> dict[str, str]:
    paths = [reverse(name, args=[team.slug]) for name in PAGES]
    paths += [f"/rest/teams/{team.slug}/{path}" for path in REST]
    for call in Call.objects.all():
        paths += [reverse("call", args=[team.slug, call.pk])]
        paths += [f"/rest/teams/{team.slug}/calls/{call.pk}/"]
    for photo in Photo.objects.filter(gallery__team=team):
        paths += [reverse("photo", args=[team.slug, photo.pk])]
        paths += [f"/rest/teams/{team.slug}/photos/{photo.pk}/"]
    paths += ["/metrics", "/readyz", "/healthz"]
    told = {}
    for path in paths:
        response = client.get(path)
        assert response.status_code == 200, path
        told[path] = response.text + repr(response.headers)
    return told


def in_exports(client: Client, team: Team, folder: Path) -> Iterator[tuple[str, str]]:
    """Whatever leaves as a file: a space's snapshot, a gallery's photos as they were uploaded, and
    the whole database as Django writes it. Names and contents, unpacked."""
    snapshot = folder / f"{uuid4().hex}.zip"
    call_command("space_snapshot", "--team", team.slug, "--space", 0, "--out", snapshot)
    zips = {"a snapshot": snapshot.read_bytes()}
    for gallery in Gallery.objects.filter(team=team):
        asked = {"photo": list(gallery.photos.values_list("pk", flat=True))}
        address = reverse("photos_zip", args=[team.slug, gallery.slug])
        response: Any = client.post(address, asked)
        zips["photos"] = b"".join(response.streaming_content)
    for name, data in zips.items():
        with ZipFile(BytesIO(data)) as archive:
            assert archive.namelist(), name
            for member in archive.namelist():
                yield name, member + archive.read(member).decode("latin-1")
    dumped = StringIO()
    call_command("dumpdata", stdout=dumped)
    yield "dumpdata", dumped.getvalue()


@pytest.fixture
def nowhere(
    team: Team, alice: User, sign_in: Callable[[User], Client], data_folder: Path, tmp_path: Path
) -> Callable[[], None]:
    """`nowhere()` looks through all that Rollcall has kept and shows."""

    def nowhere() -> None:
        assert_clean("the database", in_database())
        assert_clean("the queue", in_queue(data_folder))
        for path, text in on_pages(sign_in(alice), team).items():
            assert_clean(path, text)
        for name, text in in_exports(sign_in(alice), team, tmp_path):
            assert_clean(name, text)
        told = {name: getattr(django_settings, name, "") for name in dir(django_settings)}
        assert_clean("the settings", repr(told))
        assert_clean("the settings' own repr", repr(django_settings))
        for kept in data_folder.rglob("*"):
            if kept.is_file() and "sqlite3" not in kept.name:
                assert_clean(kept.name, kept.read_bytes().decode("latin-1"))

    return nowhere


def work(gallery: Gallery) -> None:
    """As a worker runs the task; its own error is logged with a traceback, as Celery does."""
    due_now()
    result: EagerResult[None] = tasks.do_work.apply(args=("recognise",))
    if isinstance(result.result, BaseException):
        assert_tells_nothing(result.result)
        assert_clean("Celery's traceback", str(result.traceback))


def client_asks(key: str, *, raises: bool = True) -> wire.Got:
    body = wire.multipart(file("a", b"no picture, and nobody looks"), meta(pictures("a")))
    client = Client(raise_request_exception=raises)
    query = urlencode({"oauth_token": key, "oauth_provider": "mcs"})
    response = client.generic(
        "POST", f"{wire.path('recognize')}?{query}", body, content_type=wire.MULTIPART
    )
    assert_clean("the proxy's answer", response.text + repr(response.headers))
    return wire.Got("recognize", response.status_code, "", response.content)


# --- What happens --------------------------------------------------------------------------------


def echo(status: int, *, inside: str = "") -> Behaviour:
    """A page that repeats the request's whole address, or an envelope that repeats its token."""

    def run(server: Misbehaving, connection: Any) -> None:
        asked = server.received[-1]
        if inside:
            text = f"{inside} {asked.query['oauth_token']} in {asked.target}"
            envelope(text, status)(server, connection)
        else:
            page = f"<h1>Bad gateway</h1><p>{asked.target}</p><p>{asked.query}</p>"
            answer(page.encode(), status)(server, connection)

    return run


def faults(photo: Photo) -> dict[str, Behaviour]:
    return {
        "success": answer(fakes.answer(seen(wire_name(photo), found(None)), seen("a"))),
        "403": echo(403, inside="unknown token"),
        "403 page": echo(403),
        "400": echo(400, inside="bad token"),
        "500": echo(500, inside="failed for"),
        "502": echo(502),
        "200 page": echo(200),
        "hangs up": hang_up(),
        "silence": silence(),
        "redirect": answer(b"", 302, Location="https://elsewhere.example/?oauth_token=abc"),
    }


FAULTS = list(faults(Photo(pk=1)))


@pytest.mark.any_database
@pytest.mark.parametrize("fault", FAULTS)
def test_no_answer_of_the_cloud_brings_a_secret_out(
    fault: str,
    cloud_at: Callable[[str], None],
    gallery: Gallery,
    key: str,
    nowhere: Callable[[], None],
) -> None:
    photo = waiting_photo(gallery)
    with Misbehaving(faults(photo)[fault]) as server:
        cloud_at(server.url)
        work(gallery)
        client_asks(key)
        CloudCircuit.objects.update(until=0)
        work(gallery)
        sent = {request.query["oauth_token"] for request in server.received}
        assert sent <= set(CANARIES.values()) and sent
    assert Call.objects.exists()
    photo.refresh_from_db()
    assert (photo.state == PhotoState.DONE) == (fault == "success")
    nowhere()


def test_no_lack_of_a_connection_brings_a_secret_out(
    cloud_at: Callable[[str], None], gallery: Gallery, key: str, nowhere: Callable[[], None]
) -> None:
    photo = waiting_photo(gallery)
    with deaf_address() as deaf:
        for url in (refusing_address(), deaf, "https://vision.invalid", "https://127.0.0.1:1"):
            cloud_at(url)
            work(gallery)
            client_asks(key)
            photo.refresh_from_db()
            assert photo.state == PhotoState.QUEUED and photo.error
    nowhere()


@pytest.mark.parametrize("cloud_at", ["client credentials"], indirect=True)
@pytest.mark.parametrize("status", [200, 400, 401, 500])
def test_no_answer_of_the_oauth_server_brings_a_secret_out(
    status: int,
    cloud_at: Callable[[str], None],
    oauth: Misbehaving,
    gallery: Gallery,
    nowhere: Callable[[], None],
) -> None:
    def echo(server: Misbehaving, connection: Any) -> None:
        answer(server.received[-1].body, status)(server, connection)

    oauth.script = [echo]
    waiting_photo(gallery)
    with Misbehaving(envelope("who are you?", 403)) as server:
        cloud_at(server.url)
        work(gallery)
    asked = [request.json() for request in oauth.received]
    assert asked[0]["refresh_token"] == CANARIES["refresh"]
    nowhere()


@pytest.mark.parametrize("where", ["on the wire", "in the pipeline", "in the vault"])
def test_no_mistake_of_ours_in_a_worker_brings_a_secret_out(
    where: str,
    cloud_at: Callable[[str], None],
    gallery: Gallery,
    nowhere: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    photo = waiting_photo(gallery)

    def fail(*args: object, **kwargs: object) -> None:
        raise LookupError("a mistake of ours")

    def send(connection: http.client.HTTPConnection, data: Any) -> None:
        raise LookupError(repr(data))

    with Misbehaving(faults(photo)["success"]) as server:
        cloud_at(server.url)
        if where == "on the wire":
            monkeypatch.setattr(http.client.HTTPConnection, "send", send)
        elif where == "in the pipeline":
            monkeypatch.setattr("persons.pipeline.vision_calls.match_objects", fail)
        else:
            monkeypatch.setattr("persons.backends.circuits.circuits", fail)
        work(gallery)
    assert any("LookupError" in record.getMessage() for record in caplog.records)
    monkeypatch.undo()
    photo.refresh_from_db()
    assert (photo.state, photo.interruptions) == (PhotoState.QUEUED, 1)
    nowhere()


@pytest.mark.parametrize("cloud_at", ["client credentials"], indirect=True)
@pytest.mark.parametrize("broken", ["Fernet.encrypt", "Fernet.decrypt", "Grant", "HKDF.derive"])
def test_no_mistake_while_tokens_are_sealed_brings_them_out(
    broken: str,
    cloud_at: Callable[[str], None],
    oauth: Misbehaving,
    gallery: Gallery,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise LookupError("a mistake of somebody else's")

    waiting_photo(gallery)
    with Misbehaving(envelope("who are you?", 403)) as server:
        cloud_at(server.url)
        monkeypatch.setattr(f"persons.backends.cloud.{broken}", fail)
        work(gallery)
    assert any("LookupError" in record.getMessage() for record in caplog.records)


# --- Error reports -------------------------------------------------------------------------------

Failure = tuple[Any, BaseException, TracebackType | None]


@pytest.fixture
def failures() -> Iterator[list[Failure]]:
    """Each request that failed, as Django reports it."""
    seen: list[Failure] = []

    def note(sender: object, request: Any, **kwargs: object) -> None:
        error = sys.exc_info()[1]
        assert error is not None
        seen.append((request, error, error.__traceback__))

    got_request_exception.connect(note)
    yield seen
    got_request_exception.disconnect(note)


def boom(*args: object, **kwargs: object) -> Any:
    raise OperationalError("the database is gone")


PLACES = {
    "where the answer is made": "persons.proxy.views.answer",
    "where the key is looked up": "persons.models.ApiKey.is_usable",
    "where the body is read": "persons.proxy.views.read_body",
    "before the view": "dashboard.middleware.client_address",
}


@pytest.fixture
def debug(settings: Settings, request: pytest.FixtureRequest) -> bool:
    settings.DEBUG = request.param
    return bool(request.param)


@pytest.mark.any_database
@pytest.mark.parametrize("debug", [False, True], indirect=True)
@pytest.mark.parametrize(("how", "place"), list(itertools.product(["query", "bearer"], PLACES)))
def test_no_error_report_holds_a_clients_key(
    how: str,
    place: str,
    debug: bool,
    key: str,
    failures: list[Failure],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(
        PLACES[place], property(boom) if PLACES[place].endswith("is_usable") else boom
    )
    path = wire.path("recognize")
    query = urlencode({"oauth_provider": "mcs"} | ({"oauth_token": key} if how == "query" else {}))
    headers = {"Authorization": f"Bearer {key}"} if how == "bearer" else {}
    handler = AdminEmailHandler(include_html=True)
    logger = logging.getLogger("django.request")
    logger.addHandler(handler)
    try:
        response = Client(raise_request_exception=False).generic(
            "POST",
            f"{path}?{query}",
            wire.multipart(file("a", b"x"), meta(pictures("a"))),
            content_type=wire.MULTIPART,
            # As gunicorn and uWSGI have it.
            RAW_URI=f"{path}?{query}",
            REQUEST_URI=f"{path}?{query}",
            headers=headers,
        )
    finally:
        logger.removeHandler(handler)
    assert response.status_code == 500
    assert ("OperationalError" in response.text) == debug
    assert_clean("the answer", response.text)
    ((request, error, _),) = failures
    assert_tells_nothing(error, request)
    assert_clean("the request", repr(request) + repr(request.GET) + request.build_absolute_uri())
    if how == "query":
        # What gunicorn writes into its access log, too.
        assert_clean("the environment", repr(request.environ))
        assert request.environ["RAW_URI"] == f"{path}?oauth_provider=mcs&oauth_token=%2A%2A%2A"
    assert mail.outbox
    for letter in mail.outbox:
        assert_clean("a mail", str(letter.body) + repr(getattr(letter, "alternatives", "")))


@pytest.mark.any_database
@pytest.mark.parametrize("debug", [False, True])
def test_no_error_report_holds_the_clouds_credentials(
    debug: bool,
    cloud_at: Callable[[str], None],
    key: str,
    failures: list[Failure],
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings.DEBUG = debug

    def send(connection: http.client.HTTPConnection, data: Any) -> None:
        raise LookupError(repr(data))

    with Misbehaving(hang_up()) as server:
        cloud_at(server.url)
        monkeypatch.setattr(http.client.HTTPConnection, "send", send)
        client_asks(key, raises=False)
    ((request, error, _),) = failures
    assert "LookupError, whose text held a secret" in str(error)
    assert_tells_nothing(error, request)


@pytest.mark.any_database
@pytest.mark.parametrize("name", ["REDIS_URL", "CELERY_BROKER_URL", "CACHES", "VISION_URL"])
def test_reports_show_no_password_of_an_address(name: str, settings: Settings) -> None:
    secret = CANARIES["key"]
    address = f"redis://user:{secret}@redis.example:6379/0"
    setattr(settings, name, {"default": {"LOCATION": address}} if name == "CACHES" else address)
    reporter = ExceptionReporter(None, None, None, None)
    shown = reporter.filter.get_safe_settings()
    assert_clean("the settings of a report", repr(shown))
    assert "redis.example" in repr(shown[name])


@pytest.mark.any_database
def test_a_request_of_too_many_fields_is_reported_without_its_key(
    key: str, settings: Settings, failures: list[Failure]
) -> None:
    settings.DEBUG = True
    settings.DATA_UPLOAD_MAX_NUMBER_FIELDS = 1000
    query = f"oauth_token={key}&" + "&".join(["a=b"] * 1500)
    response = Client(raise_request_exception=False).post(f"{wire.path('recognize')}?{query}")
    assert_clean("the answer", response.text)
    assert response.json()["status"] == 403
    assert failures == []


@pytest.mark.any_database
def test_the_key_is_taken_out_however_it_is_spelt(key: str) -> None:
    spelt = quote(key, safe="").replace("r", "%72")
    for query in (
        f"oauth_token={key}",
        f"oauth%5Ftoken={spelt}&a=b",
        f"oauth_token=x&oauth_token={key}",
        f"a=%ff&oauth_token={key}&oauth_provider=mcs",
    ):
        response = Client().post(f"{wire.path('recognize')}?{query}", b"x", "text/plain")
        assert response.json()["status"] == 400, query  # the key was good, the body is not
        request = response.wsgi_request
        told = repr(request) + repr(request.GET) + repr(request.META) + request.get_full_path()
        assert_clean(query[:12], told.replace("%72", "r"))
        assert not re.search(r"oauth(_|%5F)token=(?!%2A%2A%2A)", request.get_full_path())


@pytest.mark.any_database
def test_a_body_that_is_too_large_is_no_report_either(
    key: str, failures: list[Failure], monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_big(*args: object) -> None:
        raise RequestDataTooBig("too much")

    monkeypatch.setattr("persons.proxy.views.read_body", too_big)
    client_asks(key, raises=False)
