"""Files that used to crash servers leave real web processes and workers alive."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from persons.models import Gallery, Photo, PhotoState, Team
from tests.support import wire
from tests.support.factories import GalleryFactory, PhotoFactory, jpeg
from tests.support.hostile_pictures import lossless_jpeg, webp_of
from tests.support.processes import PATIENCE, CeleryProcess, wait_until

pytestmark = [pytest.mark.processes, pytest.mark.any_database]

HOSTILE = [lossless_jpeg(), webp_of(10_000, 10_000), lossless_jpeg(3000, 2000)]
GOOD = jpeg((90, 120, 60), (64, 48))
MB = 1_000_000


def children(pid: int) -> list[int]:
    """Templates and their helpers, also those that a thread has started."""
    found = []
    for task in (Path("/proc") / str(pid) / "task").iterdir():
        found += [int(one) for one in (task / "children").read_text().split()]
    return [*found, *(one for child in found for one in children(child))]


def is_there(pid: int) -> bool:
    try:
        state = (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


@pytest.fixture
def server(transactional_db: None, data_folder: Path) -> Iterator[wire.Gunicorn]:
    with wire.Gunicorn(data_folder, processes=2, ROLLCALL_DECODERS="2") as server:
        yield server


def test_web_processes_outlive_them_and_leave_no_helper(server: wire.Gunicorn, team: Team) -> None:
    ask = wire.over_http(server.address, wire.make_key(team)[1])
    web = server._pids()

    def recognize(number: int) -> object:
        files = [wire.file("bad", HOSTILE[number % len(HOSTILE)]), wire.file("good", GOOD)]
        got = ask("recognize", *files, wire.meta(wire.pictures("bad", "good")))
        bad, good = got.body["objects"]
        assert bad["status"] == 1
        return good["status"]

    with ThreadPoolExecutor(6) as threads:
        assert list(threads.map(recognize, range(18))) == [0] * 18
    assert server._pids() == web
    assert server.peak_bytes() < 400 * MB
    with urllib.request.urlopen(f"{server.address}/healthz", timeout=PATIENCE) as answer:
        assert answer.status == 200
    helpers = [one for pid in web for one in children(pid)]
    assert helpers
    server.stop()
    wait_until(lambda: not any(map(is_there, [*web, *helpers])), what="all of them to end")


def test_a_worker_goes_on_after_them(
    gallery: Gallery, real_worker: Callable[..., CeleryProcess]
) -> None:
    bad = [left_behind(gallery, content) for content in HOSTILE]
    good = left_behind(gallery, wire.photo("macron_1"))
    worker = real_worker(beat=True, ROLLCALL_SWEEP_SECONDS="1")
    pids = [process.pid for process in worker._running]
    wait_until(lambda: state_of(good) == PhotoState.DONE, what="the good one")
    for photo in bad:
        wait_until(lambda: state_of(photo) == PhotoState.FAILED, what="the others")  # noqa: B023
        photo.refresh_from_db()
        assert "can't be read here" in photo.error or "GB of memory" in photo.error
        assert photo.interruptions == 0
    assert [process.poll() for process in worker._running] == [None] * len(pids)


@pytest.fixture
def gallery(transactional_db: None, team: Team) -> Gallery:
    return GalleryFactory.create(team=team, slug="lake")


def left_behind(gallery: Gallery, content: bytes) -> Photo:
    photo: Photo = PhotoFactory.create(
        gallery=gallery,
        with_file=content,
        state=PhotoState.NEW,
        uploaded_at=timezone.now() - timedelta(minutes=1),
    )
    return photo


def state_of(photo: Photo) -> str:
    photo.refresh_from_db()
    return photo.state
