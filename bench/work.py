"""Measures the queue: a backlog of photos, what waits in the broker, and whoever comes in between.

    python bench/work.py --photos 2000            # a quick try
    python bench/work.py --write                  # 20,000 photos, and bench/work.md

Once on SQLite and files, and once on the PostgreSQL and Redis of DATABASE_URL and REDIS_URL, where
they are given: in a database of its own, which it makes and drops. A real Celery worker and beat
run as `up` starts them. Recognition is a stand-in that answers at once, so that all the time goes
into the queue and the database. Photos have a copy to send and no renditions: they wait for Vision.

In between somebody is named and two people are merged, in another space: it is timed until Vision
has the picture and the last face has followed.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from machine import Yardstick, cpu

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "bench" / "work.md"
GALLERIES = 4
FACES = 2
PEOPLE = 50
FOLLOWING = 25
"""Faces of somebody who is merged: so many that a worker moves them."""
IN_BETWEEN = (0.3, 0.5, 0.7)
BEGINNING, END = (0.05, 0.25), (0.75, 0.95)
SAMPLE_SECONDS = 0.1
PATIENCE = 120
MOST_SECONDS = 3600
MOST_MESSAGES, WITHIN, SECONDS = 100, 0.10, 3.0


@dataclass
class Found:
    """`rates`: photos a second at the beginning and at the end; `costs`: milliseconds of processor
    time that the worker took for one."""

    services: str
    photos: int
    seconds: float
    rates: tuple[float, float]
    costs: tuple[float, float]
    samples: int
    most_messages: int
    names: list[float]
    merges: list[float]
    yardstick: str


# --- In a process of its own, with Rollcall's settings ---


def run_worker() -> None:
    """A worker whose Vision is the stand-in."""
    import django

    django.setup()
    from persons.backends import select

    select.vision_for = lambda space: StandIn()
    from dashboard.celery import app

    app.worker_main(
        [
            *("worker", "--pool=threads", "--concurrency=2", "--loglevel=WARNING"),
            *("--without-gossip", "--without-mingle", "--without-heartbeat"),
        ]
    )


class StandIn:
    """Sees the same people on every picture, at once."""

    name, model, max_batch = "stand-in", "stand-in", 8

    def call(self, method: Any, meta: Any, images: Any) -> Any:
        from persons.vision import envelope
        from persons.vision.types import Answer, Method

        names = [entry["name"] for entry in meta["images"]]
        objects = [envelope.done(name) for name in names]
        if method is Method.RECOGNIZE:
            for number, seen in enumerate(objects):
                seen["persons"] = [_face(number, at) for at in range(FACES)]
        return Answer(envelope.success({"objects": objects, "aliases_changed": False}))


def _face(number: int, at: int) -> dict[str, Any]:
    from persons.vision import envelope

    return {
        "tag": envelope.tag_of(1 + (number * FACES + at) % PEOPLE),
        "coord": [100 + 200 * at, 80, 200 + 200 * at, 210],
        "confidence": 0.95,
        "awesomeness": 0.7,
        "similarity": 0.8,
        "frontality": 0.9,
        "visibility": 0.8,
    }


def measure(count: int) -> Found:
    """With the settings of this process."""
    import django

    django.setup()
    from celery import current_app
    from django.core.management import call_command

    from dashboard.messages import waiting_messages
    from persons import tasks
    from persons.models import Photo, PhotoState
    from persons.work import Work

    call_command("migrate", verbosity=0)
    backlog = Backlog()
    backlog.fill(count)
    tasks.send(Work.RECOGNISE)
    yardstick, started = Yardstick(), time.monotonic()
    marks: list[tuple[float, int, float]] = []
    names: list[float] = []
    merges: list[float] = []
    most = samples = 0
    due = list(IN_BETWEEN)
    with _running() as worker:

        def look() -> None:
            nonlocal most, samples
            time.sleep(SAMPLE_SECONDS)
            most = max(most, waiting_messages(current_app))
            samples += 1
            if samples % 5 == 0:
                done = Photo.objects.filter(state=PhotoState.DONE).count()
                marks.append((time.monotonic(), done, _processor_seconds(worker)))
            if samples % 50 == 0:
                yardstick.lay()
            if time.monotonic() - started > MOST_SECONDS:
                raise SystemExit("It did not come to an end.")

        while Photo.objects.filter(state=PhotoState.QUEUED).exists():
            look()
            if due and marks and marks[-1][1] >= due[0] * count:
                due.pop(0)
                names.append(_timed(backlog.name_somebody, look))
                _timed(backlog.make_two, look)
                merges.append(_timed(backlog.merge_two, look))
        marks.append((time.monotonic(), count, _processor_seconds(worker)))
    return Found(
        services=_services(),
        photos=count,
        seconds=marks[-1][0] - next(at for at, photos, _ in marks if photos),
        rates=(_rate(marks, count, BEGINNING), _rate(marks, count, END)),
        costs=(_cost(marks, count, BEGINNING), _cost(marks, count, END)),
        samples=samples,
        most_messages=most,
        names=names,
        merges=merges,
        yardstick=str(yardstick),
    )


def _between(
    marks: list[tuple[float, int, float]], count: int, span: tuple[float, float]
) -> list[tuple[float, int, float]]:
    return [mark for mark in marks if span[0] * count <= mark[1] <= span[1] * count]


def _rate(marks: list[tuple[float, int, float]], count: int, span: tuple[float, float]) -> float:
    some = _between(marks, count, span)
    return (some[-1][1] - some[0][1]) / (some[-1][0] - some[0][0])


def _cost(marks: list[tuple[float, int, float]], count: int, span: tuple[float, float]) -> float:
    some = _between(marks, count, span)
    return 1000 * (some[-1][2] - some[0][2]) / (some[-1][1] - some[0][1])


def _processor_seconds(process: subprocess.Popen[bytes]) -> float:
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _timed(begin: Callable[[], Callable[[], bool]], look: Callable[[], None]) -> float:
    """From when somebody has pressed the button until all that follows from it is done, to a tenth
    of a second."""
    began = time.monotonic()
    is_done = begin()
    while not is_done():
        if time.monotonic() - began > PATIENCE:
            raise SystemExit(f"{begin.__name__} was not done within {PATIENCE} s.")
        look()
    return time.monotonic() - began


@contextmanager
def _running() -> Iterator[subprocess.Popen[bytes]]:
    worker = subprocess.Popen([sys.executable, __file__, "--worker"], cwd=ROOT)
    beat = [sys.executable, "-m", "celery", "-A", "dashboard", "-q", "beat", "--pidfile="]
    beating = subprocess.Popen([*beat, "--loglevel=WARNING"], cwd=ROOT)
    try:
        yield worker
    finally:
        for process in (worker, beating):
            process.terminate()
        for process in (worker, beating):
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


class Backlog:
    """The photos that wait, and the people of another space."""

    def fill(self, count: int) -> None:
        from django.core.files.base import ContentFile
        from django.core.files.storage import default_storage

        from persons.actions.teams import create_team
        from persons.audit import Actor
        from persons.models import Gallery, Photo, PhotoState, User

        self.user = User.objects.create_user("owner")
        team = create_team(
            actor=Actor.command("bench"), name="Bench", owner=self.user, slug="bench"
        )
        picture = _picture()
        for number in range(GALLERIES):
            gallery = Gallery.objects.create(
                team=team, space=team.spaces.get(number=0), slug=f"album-{number}", name="Album"
            )
            theirs = [
                _photo(gallery, f"{at:032x}{number:032x}", PhotoState.QUEUED, len(picture))
                for at in range(number, count, GALLERIES)
            ]
            for photo in Photo.objects.bulk_create(theirs, batch_size=500):
                path = Path(default_storage.path(photo.key("sent")))
                path.parent.mkdir(parents=True)
                path.write_bytes(picture)
        self.space = team.spaces.get(number=1)
        self.gallery = Gallery.objects.create(
            team=team, space=self.space, slug="in-between", name="In between"
        )
        self.picture = default_storage.save("originals/bench.jpg", ContentFile(picture))
        self.made = 0

    def name_somebody(self) -> Callable[[], bool]:
        from persons.actions.faces import name_face
        from persons.models import Enrolment, SyncState

        person = name_face(actor=self._actor(), face=self._face(), label=f"N{self.made}").person
        assert person is not None
        there = Enrolment.objects.filter(
            person=person, state="done", person__sync_state=SyncState.IDLE
        )
        return there.exists

    def make_two(self) -> Callable[[], bool]:
        """Whom `merge_two` merges: each with a picture that Vision has."""
        from persons.actions.faces import name_face
        from persons.models import Enrolment, Face, Person, SyncState

        two = [
            name_face(actor=self._actor(), face=self._face(), label=f"{letter}{self.made}").person
            for letter in "MI"
        ]
        one, into = self.two = two
        for _ in range(FOLLOWING):
            face = self._face()
            Face.objects.filter(pk=face.pk).update(person=one, found_person=one)

        def is_done() -> bool:
            there = Enrolment.objects.filter(person__in=[one, into], state="done").count() == 2
            people = Person.objects.filter(pk__in=[one.pk, into.pk])
            return there and not people.exclude(sync_state=SyncState.IDLE).exists()

        return is_done

    def merge_two(self) -> Callable[[], bool]:
        from persons.actions.merging import merge_people
        from persons.models import Enrolment, Face, SpaceJob, SyncState

        one, into = self.two
        merge_people(actor=self._actor(), person=one, into=into)
        moved = Enrolment.objects.filter(person=into, state="done")

        def is_done() -> bool:
            left = Face.everything.filter(person=one).exists()
            into.refresh_from_db()
            return (
                not left
                and moved.count() == 2
                and into.sync_state == SyncState.IDLE
                and into.identity_due_at is None
                and not SpaceJob.objects.under_way().exists()
            )

        return is_done

    def _face(self) -> Any:
        from persons.models import Face, Photo, PhotoState

        self.made += 1
        photo = _photo(self.gallery, f"{self.made:064x}", PhotoState.DONE, 0)
        photo.original = self.picture
        photo.save()
        return Face.objects.create(
            photo=Photo.objects.get(pk=photo.pk),
            space=self.space,
            gallery=self.gallery,
            **dict(zip(("left", "top", "right", "bottom"), (100, 80, 200, 210), strict=True)),
        )

    def _actor(self) -> Any:
        from persons.audit import Actor
        from persons.models import Source

        return Actor(self.user, Source.PAGE)


def _photo(gallery: Any, digest: str, state: Any, sent: int) -> Any:
    from django.utils import timezone

    from persons.models import Photo

    return Photo(
        gallery=gallery,
        sha256=digest,
        original=f"originals/{digest}",
        file_name=f"{digest}.jpg",
        size=1000,
        format="JPEG",
        width=640,
        height=480,
        shown_at=timezone.now(),
        state=state,
        sent_width=640,
        sent_height=480,
        sent_size=sent,
        sent_sha256=digest,
    )


def _picture() -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.effect_noise((640, 480), 60).convert("RGB").save(file, "JPEG", quality=40)
    return file.getvalue()


def _services() -> str:
    import sqlite3

    from django.conf import settings
    from django.db import connection

    if not settings.REDIS_URL:
        return f"SQLite {sqlite3.sqlite_version} and files"
    import redis

    with redis.Redis.from_url(settings.REDIS_URL) as client:
        version = client.info("server")["redis_version"]
    with connection.cursor() as cursor:
        cursor.execute("SHOW server_version")
        server = cursor.fetchone()[0].split()[0]
    return f"PostgreSQL {server} and Redis {version}"


# --- All of it ---


def measured(count: int, **env: str) -> Found:
    folder = tempfile.mkdtemp(prefix="rollcall-bench-work-")
    told = Path(folder) / "found.json"
    try:
        subprocess.run(
            [sys.executable, __file__, "--one", str(told), "--photos", str(count)],
            cwd=ROOT,
            env=os.environ
            | {"ROLLCALL_DATA": folder, "DJANGO_SETTINGS_MODULE": "dashboard.settings"}
            | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore", "DATABASE_URL": ""}
            | {"REDIS_URL": "", "ROLLCALL_REDIS_PREFIX": f"bench-{os.getpid()}:"}
            | env,
            check=True,
        )
        return Found(**json.loads(told.read_text()))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _own_database(url: str) -> Iterator[str]:
    import psycopg

    name = f"rollcall_bench_work_{os.getpid()}"
    with psycopg.connect(url, autocommit=True) as server:
        server.execute(f"CREATE DATABASE {name}")
        try:
            yield urlsplit(url)._replace(path=f"/{name}").geturl()
        finally:
            server.execute(f"DROP DATABASE {name} WITH (FORCE)")


def report(runs: list[Found]) -> str:
    import celery
    import django

    lines = [
        "# A backlog of photos",
        "",
        (
            f"`python bench/work.py --write`, {time.strftime('%Y-%m-%d')}, on {cpu()}, "
            f"{os.cpu_count()} cores, {platform.system()} {platform.release()}, "
            f"Python {platform.python_version()}, Django {django.__version__}, "
            f"Celery {celery.__version__}; one worker with two threads, and beat."
        ),
        "",
        (
            "Photos that wait for recognition, which is a stand-in that answers at once: what is "
            "measured is the queue and the database. The rate is taken between 5 % and 25 % of "
            "them, and between 75 % and 95 %; beside it the processor time that the worker took "
            "for a photo, which says more where others use the machine too. In between, three "
            "times, a face is named until Vision has the picture, and somebody with 25 faces is "
            "merged until the last of them has followed and Vision has the pictures."
        ),
        "",
        "| | Wanted | " + " | ".join(run.services for run in runs) + " |",
        "|---|---|" + "---|" * len(runs),
        _row("Photos", "", [f"{run.photos:,}" for run in runs]),
        _row("Time for all", "", [f"{run.seconds:.0f} s" for run in runs]),
        _row(
            "Most messages in the broker",
            f"≤ {MOST_MESSAGES}",
            [f"{run.most_messages} in {run.samples:,} samples" for run in runs],
        ),
        _row("Photos a second at the beginning", "", [f"{run.rates[0]:.1f}" for run in runs]),
        _row(
            "Photos a second at the end",
            f"within {WITHIN:.0%}",
            [f"{run.rates[1]:.1f} ({_change(run.rates)})" for run in runs],
        ),
        _row("Processor a photo at the beginning", "", [f"{run.costs[0]:.1f} ms" for run in runs]),
        _row(
            "Processor a photo at the end",
            f"within {WITHIN:.0%}",
            [f"{run.costs[1]:.1f} ms ({_change(run.costs)})" for run in runs],
        ),
        _row("A name", f"≤ {SECONDS:.0f} s", [_seconds(run.names) for run in runs]),
        _row("A merge", f"≤ {SECONDS:.0f} s", [_seconds(run.merges) for run in runs]),
        _row("The machine meanwhile", "", [run.yardstick for run in runs]),
        "",
    ]
    return "\n".join(lines)


def _row(what: str, wanted: str, cells: list[str]) -> str:
    return f"| {what} | {wanted} | " + " | ".join(cells) + " |"


def _change(pair: tuple[float, float]) -> str:
    return f"{pair[1] / pair[0] - 1:+.1%}"


def _seconds(times: list[float]) -> str:
    return ", ".join(f"{one:.2f}" for one in times) + " s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--photos", type=int, default=20_000)
    parser.add_argument("--write", action="store_true", help=f"write {TARGET.name}")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        run_worker()
    elif options.one:
        options.one.write_text(json.dumps(asdict(measure(options.photos))))
    else:
        runs = [measured(options.photos)]
        print(report(runs))
        database, redis = os.environ.get("DATABASE_URL"), os.environ.get("REDIS_URL")
        if database and redis:
            with _own_database(database) as url:
                runs.append(measured(options.photos, DATABASE_URL=url, REDIS_URL=redis))
        print(report(runs))
        if options.write:
            TARGET.write_text(report(runs))


if __name__ == "__main__":
    main()
