"""Rollcall behind Rollcall: a second instance with its own recogniser is the first one's cloud."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import requests
from django.db.models import Sum
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from persons import tasks
from persons.billing.metering import spent
from persons.billing.tariff import parse
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
from persons.work import Work
from tests.support import wire
from tests.support.factories import GalleryFactory
from tests.support.fakes import due_now
from tests.support.instances import Second, line, relayed, second
from tests.support.misbehaving import Misbehaving
from tests.support.processes import PATIENCE
from tests.support.wire import file, meta, people, photo, pictures

__all__ = ["line", "second"]

pytestmark = [
    pytest.mark.processes,
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("eager"),
    pytest.mark.any_database,
]


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
            assert session.get(f"{live}/t/trip/g/summit/", timeout=PATIENCE).ok
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

    _a_lost_answer_is_asked_for_again(second, line, browser, gallery)
    _a_picture_is_taken_back(second, browser, gallery, enrolment)
    _a_client_enrols_and_truncates(second, live, team, enrolment.person.person_id)

    # Nothing was sent that either of them did not count.
    assert metered(team) == second.images
    assert metered(team) == Call.objects.aggregate(images=Sum("image_count"))["images"]
    sent = sum(len(request.parts()[1]) for request in line.received)
    assert sent == second.images
    assert spent(team) == LADDER.cost(0, sent)
    methods = {request.path.rpartition("/")[2] for request in line.received}
    assert methods == {"set", "recognize", "delete", "truncate"}
    assert {request.query["oauth_token"] for request in line.received} == {second.key}


def _a_lost_answer_is_asked_for_again(
    second: Second, line: Misbehaving, browser: Browser, gallery: Gallery
) -> None:
    """Its call was done and counted there. It is sent again, and counted again."""
    team = gallery.team
    other = Photo.objects.get(file_name="ardern_2.jpg")
    before = second.images
    line.script = [relayed(second.address, lost=True), relayed(second.address)]
    browser.post(f"/rest/teams/trip/photos/{other.pk}/recognise/")
    other.refresh_from_db()
    assert (other.state, other.attempts) == (PhotoState.QUEUED, 1)
    assert "closed the connection without an answer" in other.error
    due_now()
    tasks.send(Work.RECOGNISE)
    other.refresh_from_db()
    assert (other.state, other.error) == (PhotoState.DONE, "")
    assert Call.objects.filter(outcome=Outcome.TEMPORARY).count() == 1
    assert metered(team) == second.images == before + 2
    assert before < LADDER.steps[0].up_to < second.images  # type: ignore[operator]
    assert spent(team) == LADDER.cost(0, second.images)
    assert names(gallery) == TWICE


def _a_picture_is_taken_back(
    second: Second, browser: Browser, gallery: Gallery, enrolment: Enrolment
) -> None:
    """Forgotten there, and here nobody has the name but by a user's decision."""
    browser.post(f"/rest/teams/trip/enrolments/{enrolment.pk}/remove/")
    enrolment.refresh_from_db()
    assert enrolment.state == EnrolmentState.REMOVED
    assert second.known == 0
    assert names(gallery) == {**NOBODY, "ardern_1": "Jacinda"}
    assert metered(gallery.team) == second.images


def _a_client_enrols_and_truncates(second: Second, live: str, team: Team, person_id: int) -> None:
    """By its own key, and both sides know it."""
    key, text = wire.make_key(team)
    ask = wire.over_http(live, text)
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
    assert Meter.objects.get(team=team, key=key).images == 3


def test_a_key_that_the_second_revokes_stops_the_first_with_its_words(
    second: Second, line: Misbehaving, alice: User, team: Team, browser_of: Callable[..., Browser]
) -> None:
    gallery: Gallery = GalleryFactory.create(team=team, slug="summit")
    before = second.images
    link = sqlite3.connect(second.database, timeout=PATIENCE)
    with link:
        link.execute("UPDATE persons_apikey SET revoked_at = '2020-01-01 00:00:00'")
    link.close()
    browser = browser_of(alice)
    files = {"files": ("a.jpg", photo("obama_1"), "image/jpeg")}
    browser.post(reverse("upload", args=["trip", "summit"]), files=files)
    waiting = gallery.photos.get()
    assert (waiting.state, waiting.attempts) == (PhotoState.QUEUED, 0)
    assert waiting.error == "the oauth_token was revoked"
    page = browser.session.get(f"{browser.address}/t/trip/connection/", timeout=PATIENCE).text
    assert "The token is refused" in page and "the oauth_token was revoked" in page
    assert second.images == before
    assert len(line.received) == 1
