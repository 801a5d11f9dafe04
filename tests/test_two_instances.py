"""Rollcall behind Rollcall: a second one, with its own recogniser, is the cloud of the first."""

from __future__ import annotations

import http.client
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from django.db.models import Sum
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from persons import cloud, tasks
from persons.metering import spent
from persons.models import (
    Call,
    Enrolment,
    EnrolmentState,
    Face,
    Gallery,
    Meter,
    Photo,
    PhotoState,
    Team,
    User,
)
from persons.models.calls import Outcome
from persons.tariff import parse
from persons.vision.tokens import Secret
from tests import wire
from tests.factories import GalleryFactory
from tests.fakes import due_now
from tests.misbehaving import Behaviour, Misbehaving, message
from tests.processes import ROOT, child_environment
from tests.wire import Gunicorn, file, meta, people, photo, pictures

pytestmark = [
    pytest.mark.processes,
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("eager"),
]

MAKE_TEAM = """
from persons.actions.teams import create_team
from persons.audit import Actor
from persons.models import User
owner = User.objects.create_user("owner")
create_team(actor=Actor.command("tests"), name="Branch", owner=owner, slug="branch")
from django.core.management import call_command
call_command("create_api_key", "--team=branch", "--name=The first Rollcall")
"""


@dataclass(frozen=True)
class Second:
    """The other instance, and what it says of itself."""

    address: str
    key: str
    database: Path

    def one(self, sql: str) -> int:
        link = sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)
        try:
            value: int | None = link.execute(sql).fetchone()[0]
            return value or 0
        finally:
            link.close()

    @property
    def images(self) -> int:
        """All that it was ever sent, by its history; its meter says the same."""
        counted = self.one("SELECT SUM(image_count) FROM persons_call")
        assert counted == self.one("SELECT SUM(images) FROM persons_meter")
        assert counted == self.one(
            "SELECT COUNT(*) FROM persons_recognition r JOIN persons_call c ON c.id = r.call_id "
            "WHERE c.method IN ('set', 'recognize')"
        )
        return counted

    @property
    def known(self) -> int:
        """Faces that it would recognise somebody by."""
        return self.one("SELECT COUNT(*) FROM persons_engineembedding")


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Second]:
    """Its own folder, database, team and key; gunicorn on a port of its own."""
    folder = tmp_path_factory.mktemp("second")
    database = folder / "rollcall.sqlite3"
    url = f"sqlite:///{database}"
    environment = child_environment(ROLLCALL_DATA=str(folder), DATABASE_URL=url, REDIS_URL="")

    def manage(*words: str) -> str:
        command = [sys.executable, "manage.py", *words]
        return subprocess.run(
            command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True
        ).stdout.strip()

    manage("migrate", "--verbosity=0")
    key = manage("shell", "--verbosity=0", "-c", MAKE_TEAM)
    with Gunicorn(folder, database=url, threads=4, REDIS_URL="") as served:
        yield Second(served.address, key, database)


def relayed(address: str, *, lost: bool = False) -> Behaviour:
    """What the server there answers; or, `lost`, the line breaks after it has done its work."""

    def run(server: Misbehaving, connection: socket.socket) -> None:
        asked = server.received[-1]
        link = http.client.HTTPConnection(address.removeprefix("http://"), timeout=60)
        try:
            headers = {"Content-Type": asked.headers["content-type"]}
            link.request(asked.method, asked.target, asked.body, headers)
            got = link.getresponse()
            body = got.read()
        finally:
            link.close()
        if not lost:
            connection.sendall(message(body, got.status))

    return run


@pytest.fixture
def line(second: Second, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The first instance's way to the second, which can be cut."""
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("no_proxy", "*")
    with Misbehaving(relayed(second.address)) as server:
        settings.VISION_URL, settings.VISION_TOKEN = server.url, Secret(second.key)
        cloud.cloud.cache_clear()
        yield server
    cloud.cloud.cache_clear()


@dataclass(frozen=True)
class Browser:
    """Alice, over HTTP."""

    address: str
    session: requests.Session

    def post(self, path: str, **content: Any) -> requests.Response:
        token = self.session.cookies.get("csrftoken") or ""
        headers = {"X-CSRFToken": token, "Accept": "application/json"}
        got = self.session.post(f"{self.address}{path}", headers=headers, timeout=60, **content)
        assert got.status_code < 300, got.text
        return got


@pytest.fixture
def browser_of(live: str, sign_in: Callable[[User], Client]) -> Iterator[Callable[[User], Browser]]:
    with requests.Session() as session:
        session.trust_env = False

        def browser_of(user: User) -> Browser:
            session.cookies.set("sessionid", sign_in(user).cookies["sessionid"].value)
            assert session.get(f"{live}/t/trip/g/summit/", timeout=30).ok
            return Browser(live, session)

        yield browser_of


def names(gallery: Gallery) -> dict[str, str]:
    """Who is on each photo, of one face each; "?" where nobody knows."""
    faces = Face.objects.filter(photo__gallery=gallery).select_related("photo", "person")
    return {
        face.photo.file_name.removesuffix(".jpg"): face.person.label if face.person else "?"
        for face in faces
    }


def metered(team: Team) -> int:
    return Meter.objects.filter(team=team).aggregate(images=Sum("images"))["images"] or 0


LADDER = parse("7:1, 0.25")
NOBODY = {"ardern_1": "?", "ardern_2": "?", "obama_1": "?"}
TWICE = {"ardern_1": "Jacinda", "ardern_2": "Jacinda", "obama_1": "?"}


def test_a_photo_goes_its_whole_way_through_another_rollcall(
    second: Second,
    line: Misbehaving,
    live: str,
    alice: User,
    team: Team,
    browser_of: Callable[[User], Browser],
    settings: Settings,
) -> None:
    # Its edge lies in the middle of what is sent below, among what is sent again.
    settings.TARIFF = LADDER
    gallery: Gallery = GalleryFactory.create(team=team, name="Summit", slug="summit")
    browser = browser_of(alice)

    # Up, and recognised.
    for name in NOBODY:
        files = {"files": (f"{name}.jpg", photo(name), "image/jpeg")}
        browser.post(reverse("upload", args=["trip", "summit"]), files=files)
    assert set(gallery.photos.values_list("state", "error")) == {(PhotoState.DONE, "")}
    assert names(gallery) == NOBODY
    assert {call.backend for call in Call.objects.all()} == {"cloud"}
    assert metered(team) == second.images == 3

    # Named, enrolled there, and found on the other photo.
    face = Face.objects.get(photo__file_name="ardern_1.jpg")
    browser.post(f"/rest/teams/trip/faces/{face.pk}/name/", json={"label": "Jacinda"})
    enrolment = Enrolment.objects.get()
    assert (enrolment.state, enrolment.error) == (EnrolmentState.DONE, "")
    assert names(gallery) == TWICE
    assert second.known == 1
    assert metered(team) == second.images

    # A call whose answer is lost was done and counted there. It is sent again, and counted again.
    other = Photo.objects.get(file_name="ardern_2.jpg")
    before = second.images
    line.script = [relayed(second.address, lost=True), relayed(second.address)]
    browser.post(f"/rest/teams/trip/photos/{other.pk}/recognise/")
    other.refresh_from_db()
    assert (other.state, other.attempts) == (PhotoState.QUEUED, 1)
    assert "closed the connection without an answer" in other.error
    due_now()
    tasks.recognise_space.delay(gallery.space_id)
    other.refresh_from_db()
    assert (other.state, other.error) == (PhotoState.DONE, "")
    assert Call.objects.filter(outcome=Outcome.TEMPORARY).count() == 1
    assert metered(team) == second.images == before + 2
    assert before < LADDER.steps[0].up_to < second.images  # type: ignore[operator]
    assert spent(team) == LADDER.cost(0, second.images)
    assert names(gallery) == TWICE

    # Taken away again: forgotten there, and here nobody has the name but by a human's word.
    browser.post(f"/rest/teams/trip/enrolments/{enrolment.pk}/remove/")
    enrolment.refresh_from_db()
    assert enrolment.state == EnrolmentState.REMOVED
    assert second.known == 0
    assert names(gallery) == {**NOBODY, "ardern_1": "Jacinda"}
    assert metered(team) == second.images

    # A client of the first enrols by its own key, and both sides know it.
    key, text = wire.make_key(team)
    ask = wire.over_http(live, text)
    person_id = enrolment.person.person_id
    picture = photo("ardern_2")
    told = ask("set", file("a", picture), meta(people("a", space="0", person_id=person_id)))
    assert told.body["objects"] == [{"status": 0, "name": "a"}]
    assert second.known == 1
    asked = (file("b", photo("ardern_1")), meta(pictures("b", space="0")))
    (found,) = ask("recognize", *asked).body["objects"][0]["persons"]
    assert found["tag"] == f"person{person_id}"

    # Truncated by that client: nobody is known there, and the ledger here says the same.
    assert ask("truncate", meta({"space": "0"})).outcome[0] == 200
    assert second.known == 0
    assert not Enrolment.objects.filter(state=EnrolmentState.DONE).exists()
    (found,) = ask("recognize", *asked).body["objects"][0]["persons"]
    assert found["tag"] == "undefined"

    # Nothing was sent that either of them did not count.
    assert metered(team) == second.images
    assert Meter.objects.get(team=team, key=key).images == 3
    assert metered(team) == Call.objects.aggregate(images=Sum("image_count"))["images"]
    sent = sum(len(request.parts()[1]) for request in line.received)
    assert sent == second.images
    assert spent(team) == LADDER.cost(0, sent)
    methods = {request.path.rpartition("/")[2] for request in line.received}
    assert methods == {"set", "recognize", "delete", "truncate"}
    assert {request.query["oauth_token"] for request in line.received} == {second.key}


def test_a_key_that_the_second_revokes_stops_the_first_with_its_words(
    second: Second, line: Misbehaving, alice: User, team: Team, browser_of: Callable[..., Browser]
) -> None:
    gallery: Gallery = GalleryFactory.create(team=team, slug="summit")
    before = second.images
    link = sqlite3.connect(second.database, timeout=30)
    with link:
        link.execute("UPDATE persons_apikey SET revoked_at = '2020-01-01 00:00:00'")
    link.close()
    browser = browser_of(alice)
    files = {"files": ("a.jpg", photo("obama_1"), "image/jpeg")}
    browser.post(reverse("upload", args=["trip", "summit"]), files=files)
    waiting = gallery.photos.get()
    assert (waiting.state, waiting.attempts) == (PhotoState.QUEUED, 0)
    assert waiting.error == "the oauth_token was revoked"
    page = browser.session.get(f"{browser.address}/t/trip/connection/", timeout=30).text
    assert "The token is refused" in page and "the oauth_token was revoked" in page
    assert second.images == before
    assert len(line.received) == 1
