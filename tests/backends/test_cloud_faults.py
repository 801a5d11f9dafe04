"""Faults of the cloud leave each photo in one defined state, with the reason.

They run through the pipeline and the real client, against a real server over a socket.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from persons import pipeline
from persons.backends import cloud
from persons.backends.circuits import DatabaseBreaker
from persons.models import Call, CloudCircuit, Face, Gallery, Photo, PhotoState, Team, User
from persons.models.calls import Outcome
from persons.vision.envelope import CONTRADICTORY, MISSING, failed
from persons.vision.guards import CircuitBreaker, Phase
from persons.vision.tokens import Secret
from persons.vision.transport import host_of
from persons.vision.types import ImageStatus
from tests.support import fakes
from tests.support.factories import GalleryFactory
from tests.support.fakes import due_now, found, seen, waiting_photo, wire_name
from tests.support.misbehaving import (
    Behaviour,
    Misbehaving,
    Received,
    answer,
    deaf_address,
    envelope,
    hang_up,
    message,
    raw,
    refusing_address,
    silence,
)
from tests.support.processes import wait_until
from tests.support.reading import read_text

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.thorough]

Upstream = Callable[..., Misbehaving]
QUEUED, DONE, FAILED = PhotoState.QUEUED, PhotoState.DONE, PhotoState.FAILED


@pytest.fixture(autouse=True)
def _settings(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("no_proxy", "*")
    settings.VISION_TOKEN = Secret("service-token-of-the-tests")
    settings.VISION_CONNECT_SECONDS, settings.VISION_READ_SECONDS = 0.3, 0.5
    yield
    cloud.cloud.cache_clear()


@pytest.fixture
def at(settings: Settings) -> Callable[[str], None]:
    """`at(url)`: the cloud is there from now on."""

    def at(url: str) -> None:
        settings.VISION_URL = url
        cloud.cloud.cache_clear()

    return at


@pytest.fixture
def upstream(at: Callable[[str], None]) -> Iterator[Upstream]:
    """`upstream(…)`: a cloud that does this to its requests, one after the other."""
    servers: list[Misbehaving] = []

    def upstream(*script: Behaviour) -> Misbehaving:
        server = Misbehaving(*script).__enter__()
        servers.append(server)
        at(server.url)
        return server

    yield upstream
    for server in servers:
        server.__exit__()


@pytest.fixture
def gallery(bob: User) -> Gallery:
    return GalleryFactory.create(team=bob.memberships.get().team)


@pytest.fixture
def photos(gallery: Gallery) -> list[Photo]:
    return [waiting_photo(gallery) for _ in range(3)]


def ask(gallery: Gallery) -> bool:
    """One batch, as if every backoff were over."""
    due_now()
    return pipeline.recognise_batch(gallery.space_id)


def objects(*entries: Any) -> Behaviour:
    return answer(fakes.answer(*entries))


def all_seen(photos: list[Photo]) -> Behaviour:
    return objects(*(seen(wire_name(photo), found(None)) for photo in photos))


def temporary(photo: Photo, text: str = "") -> Any:
    return failed(wire_name(photo), text, ImageStatus.TEMPORARY)


def permanent(photo: Photo, text: str = "") -> Any:
    return failed(wire_name(photo), text)


def state(photo: Photo) -> tuple[str, int, str]:
    """State, attempts and text. Whatever happens nobody holds the photo any more."""
    photo.refresh_from_db()
    assert photo.claim == ""
    assert photo.interruptions == 0
    return photo.state, photo.attempts, photo.error


def boxes(photo: Photo) -> list[tuple[int, int, int, int]]:
    return list(photo.faces.order_by("left").values_list("left", "top", "right", "bottom"))


def sent(request: Received) -> list[str]:
    """The images that were asked about; each came with its bytes, and nothing else did."""
    texts, files = request.parts()
    names = [entry["name"] for entry in json.loads(texts["meta"])["images"]]
    assert sorted(names) == sorted(files)
    return names


def named(*photos: Photo) -> list[str]:
    return [wire_name(photo) for photo in photos]


# --- Some images of a batch ----------------------------------------------------------------------


def test_only_what_failed_temporarily_is_sent_again(
    upstream: Upstream, gallery: Gallery, photos: list[Photo]
) -> None:
    fine, bad, later = photos
    first = objects(
        permanent(bad, "no face could be read"), seen(wire_name(fine)), temporary(later, "busy")
    )
    server = upstream(first, objects(temporary(later)), all_seen([later]))
    assert ask(gallery) is True
    assert state(fine) == (DONE, 0, "")
    assert state(bad) == (FAILED, 0, "no face could be read")
    assert state(later) == (QUEUED, 1, "busy")
    assert Call.objects.get().outcome == Outcome.PARTIAL
    ask(gallery)
    assert state(later) == (QUEUED, 2, "Temporary error")
    ask(gallery)
    assert state(later) == (DONE, 0, "")
    assert ask(gallery) is False
    assert [sent(request) for request in server.received] == [
        named(fine, bad, later),
        named(later),
        named(later),
    ]
    assert state(bad) == (FAILED, 0, "no face could be read")
    assert boxes(fine) == [] and len(boxes(later)) == 1


def test_one_that_stays_temporary_is_failed_in_the_end(
    upstream: Upstream, gallery: Gallery, photos: list[Photo], settings: Settings
) -> None:
    fine, other, never = photos
    server = upstream(
        objects(seen(wire_name(fine)), seen(wire_name(other)), temporary(never, "busy")),
        objects(temporary(never, "busy")),
    )
    for _ in range(settings.MAX_ATTEMPTS + 3):
        ask(gallery)
    tries = settings.MAX_ATTEMPTS
    assert state(never) == (FAILED, tries, f"Gave up after {tries} attempts. Last: busy")
    assert len(server.received) == tries
    # Answers, if not the wished ones: the server is alive.
    assert cloud.circuit().phase is Phase.CLOSED


def test_answers_in_another_order_reach_their_own_photos(
    upstream: Upstream, gallery: Gallery, photos: list[Photo]
) -> None:
    spots = [(10 * n, 20, 10 * n + 50, 90) for n in range(3)]
    entries = [
        seen(wire_name(photo), found(None, spot)) for photo, spot in zip(photos, spots, strict=True)
    ]
    upstream(objects(*reversed(entries)))
    ask(gallery)
    assert [boxes(photo) for photo in photos] == [[spot] for spot in spots]
    assert {state(photo) for photo in photos} == {(DONE, 0, "")}


def test_one_that_is_missing_is_asked_again_alone(
    upstream: Upstream, gallery: Gallery, photos: list[Photo]
) -> None:
    first, missing, last = photos
    server = upstream(all_seen([first, last]), all_seen([missing]))
    ask(gallery)
    assert state(missing) == (QUEUED, 1, MISSING)
    assert state(first) == state(last) == (DONE, 0, "")
    ask(gallery)
    assert sent(server.received[1]) == named(missing)
    assert state(missing) == (DONE, 0, "")


def test_what_nobody_asked_for_is_ignored(
    upstream: Upstream, gallery: Gallery, photos: list[Photo]
) -> None:
    elsewhere = waiting_photo(GalleryFactory.create())
    entries = [seen(wire_name(photo), found(None)) for photo in photos]
    extra = [seen("photo999999", found(7)), seen(wire_name(elsewhere), found(8))]
    upstream(objects(*extra, *entries))
    ask(gallery)
    assert {state(photo) for photo in photos} == {(DONE, 0, "")}
    assert state(elsewhere) == (QUEUED, 0, "")
    assert Face.objects.count() == 3


def test_the_same_answer_twice_counts_once_and_two_that_differ_count_for_nothing(
    upstream: Upstream, gallery: Gallery, photos: list[Photo]
) -> None:
    same, differs, fine = photos
    here, there = found(None, (0, 0, 50, 50)), found(None, (100, 100, 150, 150))
    upstream(
        objects(
            *[seen(wire_name(same), here)] * 2,
            seen(wire_name(differs), here),
            seen(wire_name(differs), there),
            seen(wire_name(fine)),
        ),
        all_seen([differs]),
    )
    ask(gallery)
    assert state(same) == (DONE, 0, "") and boxes(same) == [(0, 0, 50, 50)]
    assert state(differs) == (QUEUED, 1, CONTRADICTORY) and boxes(differs) == []
    ask(gallery)
    assert state(differs) == (DONE, 0, "")


def test_boxes_are_cut_at_the_edge_and_those_beyond_it_are_no_faces(
    upstream: Upstream, gallery: Gallery, photos: list[Photo]
) -> None:
    """The sent copy is 400 by 300."""
    cut, beyond, swapped = photos
    far = 10**8
    entries = [
        seen(wire_name(cut), found(None, (-20, -5, 60, 70)), found(None, (350, 200, far, 301))),
        seen(
            wire_name(beyond),
            *(
                found(None, box)
                for box in [(400, 0, 500, 50), (-90, 10, 0, 50), (10, 10, 10, 50), (0, 300, 9, 310)]
            ),
        ),
        seen(wire_name(swapped), found(None, (120, 90, 20, 10))),
    ]
    upstream(objects(*entries))
    ask(gallery)
    assert {state(photo) for photo in photos} == {(DONE, 0, "")}
    assert boxes(cut) == [(0, 0, 60, 70), (350, 200, 400, 300)]
    assert boxes(beyond) == []
    assert boxes(swapped) == [(20, 10, 120, 90)]


# --- The whole answer ----------------------------------------------------------------------------


def with_coord(value: object) -> Callable[[list[Photo]], Behaviour]:
    def make(photos: list[Photo]) -> Behaviour:
        entries = [seen(wire_name(photo), found(None)) for photo in photos]
        entries[1]["persons"][0]["coord"] = value
        return envelope({"objects": entries, "aliases_changed": False})

    return make


def cut_body(photos: list[Photo]) -> Behaviour:
    whole = fakes.answer(*(seen(wire_name(photo), found(None)) for photo in photos))
    return raw(message(whole[:-20], 200, len(whole)))


FAULTS: dict[str, tuple[Callable[[list[Photo]], Behaviour], str]] = {
    "a gateway's page": (
        lambda photos: answer(b"<html>Bad gateway</html>", 502),
        "Vision's answer is not JSON (HTTP 502)",
    ),
    "a gateway's page as a success": (
        lambda photos: answer(b"<html>Sign in</html>"),
        "Vision's answer is not JSON (HTTP 200)",
    ),
    "nothing": (lambda photos: answer(b""), "Vision's answer is not JSON (HTTP 200)"),
    "no envelope": (lambda photos: answer(b"[1]"), "Vision's answer is no envelope (HTTP 200)"),
    "no status": (lambda photos: answer(b"{}", 500), "Vision's answer has no status (HTTP 500)"),
    "envelope 500": (lambda photos: envelope("internal error", 500), "internal error"),
    "envelope 429": (lambda photos: envelope("too many requests", 429), "too many requests"),
    "no objects": (
        lambda photos: envelope({"object": []}),
        "Vision's answer is malformed: body.objects is no list",
    ),
    "NaN": (
        with_coord([float("nan"), 1, 2, 3]),
        "Vision's answer is not JSON (HTTP 200)",
    ),
    "infinity": (
        with_coord([0, 0, float("inf"), 3]),
        "Vision's answer is not JSON (HTTP 200)",
    ),
    "a box of words": (
        with_coord(["1", "2", "3", "4"]),
        "Vision's answer is malformed: coord holds something else than numbers",
    ),
    "a box of three": (
        with_coord([1, 2, 3]),
        "Vision's answer is malformed: coord is no list of four numbers",
    ),
    "cut body": (cut_body, "{host} cut its answer off."),
    "hangs up": (lambda photos: hang_up(), "{host} closed the connection without an answer."),
    "silence": (lambda photos: silence(), "{host} did not answer in time."),
    "redirect": (
        lambda photos: answer(b"", 302, Location="https://elsewhere.example/"),
        "{host} answered with a redirect, which is not followed: check its address.",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_puts_the_whole_batch_back_with_its_reason_and_the_next_try_mends_it(
    upstream: Upstream, gallery: Gallery, photos: list[Photo], fault: str
) -> None:
    behaviour, text = FAULTS[fault]
    server = upstream(behaviour(photos), all_seen(photos))
    text = text.format(host=server.host)
    assert ask(gallery) is True
    assert {state(photo) for photo in photos} == {(QUEUED, 1, text)}
    assert Face.objects.count() == 0
    call = Call.objects.get()
    assert (call.outcome, call.error, call.image_count) == (Outcome.TEMPORARY, text, 3)
    ask(gallery)
    assert {state(photo) for photo in photos} == {(DONE, 0, "")}
    assert Face.objects.count() == 3
    assert [sent(request) for request in server.received] == [named(*photos)] * 2


def test_nobody_there_is_said(
    at: Callable[[str], None], gallery: Gallery, photos: list[Photo]
) -> None:
    url = refusing_address()
    at(url)
    ask(gallery)
    text = f"{host_of(url)} refused the connection."
    assert {state(photo) for photo in photos} == {(QUEUED, 1, text)}
    with deaf_address() as url:
        at(url)
        ask(gallery)
    text = f"{host_of(url)} took no connection in time."
    assert {state(photo) for photo in photos} == {(QUEUED, 2, text)}


def test_an_address_without_a_server_is_said(
    at: Callable[[str], None],
    gallery: Gallery,
    photos: list[Photo],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    resolve = socket.getaddrinfo

    def unknown(host: str, *args: Any, **kwargs: Any) -> Any:
        # Of everybody in this process, Redis' client too, only Vision asks for that name.
        if host == "vision.invalid":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return resolve(host, *args, **kwargs)

    monkeypatch.setattr("urllib3.util.connection.socket.getaddrinfo", unknown)
    at("https://vision.invalid")
    ask(gallery)
    text = "vision.invalid has a name that could not be resolved."
    assert {state(photo) for photo in photos} == {(QUEUED, 1, text)}


def test_a_picture_that_spoils_the_request_is_found_by_halving(
    upstream: Upstream, gallery: Gallery
) -> None:
    photos = [waiting_photo(gallery) for _ in range(5)]
    culprit = photos[3]

    def judge(server: Misbehaving, connection: socket.socket) -> None:
        names = sent(server.received[-1])
        if wire_name(culprit) in names:
            told = envelope("image is broken", 400)
        else:
            told = objects(*(seen(name) for name in names))
        told(server, connection)

    # As its answers say: the next question may come before a connection is seen to be closed.
    judge.keeps_alive = True  # type: ignore[attr-defined]
    server = upstream(judge)
    ask(gallery)
    assert state(culprit) == (FAILED, 0, "image is broken")
    assert {state(photo) for photo in photos if photo != culprit} == {(DONE, 0, "")}
    asked = [sent(request) for request in server.received]
    assert asked[-2:] in ([[wire_name(culprit)], named(photos[4])], [named(culprit), asked[-1]])
    assert max(sum(name in names for names in asked) for name in named(*photos)) <= 4
    assert ask(gallery) is False


# --- The circuit ---------------------------------------------------------------------------------


@pytest.fixture
def overview(team: Team, vera: User, sign_in: Callable[[User], Client]) -> Callable[[], str]:
    client = sign_in(vera)

    def overview() -> str:
        return read_text(client.get(reverse("overview", args=[team.slug])).text)

    return overview


def readyz() -> Any:
    response = Client().get("/readyz")
    assert response.status_code == 200
    return response.json()["checks"]["vision"]


def test_the_circuit_opens_shows_everywhere_and_closes_by_itself(
    upstream: Upstream, gallery: Gallery, photos: list[Photo], overview: Callable[[], str]
) -> None:
    broken = answer(b"<html>Bad gateway</html>", 502)
    server = upstream(*[broken] * 7, all_seen(photos))
    for failures in range(1, 6):
        assert readyz() == "ok"
        assert "Vision doesn't answer" not in overview()
        assert ask(gallery) is True
        assert cloud.circuit().failures == failures
    assert readyz() == "does not answer, and is tried again by itself"
    assert "Vision doesn't answer. It is left alone until" in overview()

    # Left alone: nothing is sent, no photo loses an attempt, and each says why it waits.
    for _ in range(3):
        assert ask(gallery) is False
    assert len(server.received) == 5
    (states,) = {state(photo) for photo in photos}
    assert states[:2] == (QUEUED, 5)
    assert states[2].startswith(f"{server.host} failed 5 times in a row; it will be tried again at")
    assert Call.objects.filter(outcome=Outcome.UNAVAILABLE).count() == 3

    # Each probe is one request; one that fails doubles the pause.
    pauses = [cloud.circuit().until - time.time()]
    for probe in (6, 7):
        CloudCircuit.objects.update(until=time.time() - 1)
        assert "The next call tries it again" in overview()
        ask(gallery)
        assert len(server.received) == probe
        pauses.append(cloud.circuit().until - time.time())
        assert ask(gallery) is False
        assert len(server.received) == probe
    assert pauses == sorted(pauses)
    assert 18 < pauses[-1] <= 20

    # It is back.
    CloudCircuit.objects.update(until=time.time() - 1)
    assert ask(gallery) is True
    assert {state(photo) for photo in photos} == {(DONE, 0, "")}
    assert cloud.circuit().phase is Phase.CLOSED
    assert readyz() == "ok"
    assert "Vision doesn't answer" not in overview()


def test_a_circuit_closes_without_anybodys_help(
    upstream: Upstream, gallery: Gallery, photos: list[Photo], monkeypatch: pytest.MonkeyPatch
) -> None:
    def hasty(upstream: str) -> CircuitBreaker:
        return CircuitBreaker(upstream, DatabaseBreaker(upstream), cool_down=2.0)

    monkeypatch.setattr(cloud, "breaker", hasty)
    server = upstream(*[hang_up()] * 5, all_seen(photos))
    for _ in range(5):
        ask(gallery)
    assert ask(gallery) is False
    wait_until(lambda: ask(gallery), what="the circuit to try again")
    assert {state(photo) for photo in photos} == {(DONE, 0, "")}
    assert len(server.received) == 6
