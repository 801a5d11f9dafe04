"""Measures the audit's chain: sealing, verifying, and what an entry adds to a request and a call.

    python bench/audit.py                     # prints the table
    python bench/audit.py --write             # and puts it into bench/audit.md
    python bench/audit.py --entries 10000     # a quick try

On a PostgreSQL database of its own beside that of DATABASE_URL, which is made anew and dropped
again. What is compared is measured in turns, one with and one without, so that other work on the
machine falls on both.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit

import psycopg
from machine import cpu

ROOT = Path(__file__).resolve().parent.parent
DATABASE = "rollcall_bench_audit"
RATE = 300
FEED_SECONDS = 20
TURNS = 600


@contextmanager
def database(url: str) -> Iterator[str]:
    """A new database beside that of `url`, and its own address."""
    with psycopg.connect(url, autocommit=True) as server:
        server.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
        server.execute(f"CREATE DATABASE {DATABASE}")
        try:
            yield urlsplit(url)._replace(path=f"/{DATABASE}").geturl()
        finally:
            server.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")


def fill(team: Any, user: Any, count: int) -> None:
    from persons import audit
    from persons.audit import Actor
    from persons.models import AuditEntry, Source

    actor = Actor(user=user, source=Source.PAGE, address="192.0.2.7")
    for first in range(0, count, 2000):
        AuditEntry.objects.bulk_create(
            audit.new_entry(
                actor=actor,
                team=team,
                action="person.rename",
                target=team,
                before={"label": f"Somebody {number}"},
                after={"label": f"Somebody else {number}"},
            )
            for number in range(first, min(count, first + 2000))
        )


def seconds(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def fed(team: Any, user: Any) -> tuple[int, int, float]:
    """Entries written one by one at RATE a second while the sealer's bell rings every second: how
    many were written, the most that ever waited, and the seconds that sealing took in all."""
    from django.db import connection

    from persons import audit
    from persons.audit import Actor
    from persons.models import AuditEntry, Source
    from persons.pipeline.audit.sealing import seal_audit

    actor = Actor(user=user, source=Source.PAGE, address="192.0.2.7")
    written = [0]

    def write() -> None:
        began = time.perf_counter()
        for number in range(RATE * FEED_SECONDS):
            audit.record(
                actor=actor, team=team, action="face.name", target=team, after={"n": number}
            )
            written[0] += 1
            time.sleep(max(0.0, began + (number + 1) / RATE - time.perf_counter()))
        connection.close()

    writer = threading.Thread(target=write)
    writer.start()
    most, spent = 0, 0.0
    while writer.is_alive():
        time.sleep(1)
        most = max(most, AuditEntry.objects.filter(sequence=None).count())
        spent += seconds(seal_audit)
    writer.join()
    seal_audit()
    return written[0], most, spent


def in_turns(act: Callable[[int], object], without: Callable[[], Any]) -> tuple[float, float]:
    """Median milliseconds with, and without what `without` takes away while it is entered."""
    taken: dict[bool, list[float]] = {True: [], False: []}
    for number in range(TURNS * 2):
        plain = number % 2 == 1
        with ExitStack() as stack:
            if plain:
                stack.enter_context(without())
            taken[plain].append(seconds(lambda number=number: act(number)) * 1000)  # type: ignore[misc]
    skip = TURNS // 10
    return statistics.median(taken[False][skip:]), statistics.median(taken[True][skip:])


def request_of(team: Any, user: Any) -> tuple[Callable[[int], object], Callable[[], Any]]:
    """A request that changes something, and the same without stamp and digest."""
    from django.test import Client
    from django.urls import reverse

    from persons.chain import entries
    from persons.models import Gallery, Space

    space = Space.objects.get(team=team, number=0)
    gallery = Gallery.objects.create(team=team, space=space, name="A", slug="a")
    client = Client()
    client.force_login(user)
    url = reverse("rename_gallery", args=[team.slug, gallery.slug])

    def act(number: int) -> None:
        response = client.post(url, {"name": f"Name {number}"})
        assert response.status_code in (302, 303), response.status_code

    return act, lambda: patch.object(entries, "mark", lambda entry, team: entry)


def call_of(team: Any, key: Any) -> tuple[Callable[[int], object], Callable[[], Any]]:
    """The rows of a call of one image, begun and ended, and the same without its entry."""
    from persons.audit import Actor
    from persons.calls import log as call_log
    from persons.calls import statements
    from persons.models import Source, Space
    from persons.vision.types import Answer, Image, ImageResult, ImageStatus, Method

    space = Space.objects.select_related("team").get(team=team, number=0)
    actor = Actor(user=None, source=Source.CLIENT, text="key bench", address="192.0.2.7")
    said = {
        "status": 0,
        "name": "file",
        "persons": [
            {"tag": "person1", "coord": [1, 2, 3, 4], "confidence": 0.9, "similarity": 0.8}
        ],
    }

    class Vision:
        name, model = "embedded", "bench"

    def act(number: int) -> None:
        call = call_log.begin(
            space=space,
            vision=Vision(),  # type: ignore[arg-type]
            method=Method.RECOGNIZE,
            meta={"space": "0", "images": [{"name": "file"}]},
            images=[call_log.Sent(Image("file", b"%d" % number), 640, 480)],
            origin=call_log.Origin(source=Source.CLIENT, actor=actor, key=key),
        )
        result = ImageResult("file", ImageStatus.DONE, raw=said)
        call_log.end(call, Answer(b'{"status":200,"body":{}}'), None, [result])

    @contextmanager
    def without() -> Iterator[None]:
        nothing: tuple[str, list[object]] = ("SELECT 1", [])
        with (
            patch.object(statements.ENTRIES, "insert", lambda rows: nothing),
            patch.object(call_log, "_entry", lambda *about: None),
        ):
            yield

    return act, without


def measure(count: int) -> str:
    from persons.actions.auditing import export_audit
    from persons.chain.checking import check
    from persons.models import ApiKey, Membership, Space, Team, User
    from persons.pipeline.audit.sealing import seal_audit
    from persons.vision.limits import SPACES

    team = Team.objects.create(name="Bench", slug="bench")
    Space.objects.bulk_create(Space(team=team, number=number) for number in SPACES)
    user = User.objects.create_user("bench", first_name="Bench")
    Membership.objects.create(team=team, user=user, role="owner")
    key = ApiKey.objects.create(team=team, name="bench", prefix="b", key_hash="b" * 64)
    rows: list[tuple[str, str]] = []
    fill(team, user, count)
    took = seconds(seal_audit)
    rows.append((f"sealing {count:,} entries that wait", f"{count / took:,.0f} a second"))
    written, most, spent = fed(team, user)
    rows.append(
        (
            f"{RATE} entries a second for {FEED_SECONDS} s, sealed every second",
            f"{written:,} written, at most {most:,} waited, {spent:.1f} s of sealing",
        )
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    total = count + written
    took = seconds(lambda: _demand_whole(check(team)))
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    rows.append((f"`audit_verify` of {total:,} entries", f"{total / took:,.0f} a second"))
    rows.append(("memory that it takes more than the process had", f"{grown:,.0f} MB"))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "export.zip"
        made = export_audit(actor=_actor(), team=team)
        took = seconds(lambda: file.write_bytes(b"".join(made.chunks())))
        rows.append(
            (f"export ({file.stat().st_size / 1e6:,.0f} MB)", f"{total / took:,.0f} a second")
        )
        with zipfile.ZipFile(file) as archive:
            archive.extractall(folder)
        verifier = [sys.executable, "-I", "verify.py"]
        took = seconds(
            lambda: subprocess.run(verifier, cwd=folder, check=True, capture_output=True)
        )
        rows.append(("`verify.py` of the export", f"{total / took:,.0f} a second"))
    act, without = request_of(team, user)
    took, plain = in_turns(act, without)
    rows.append(
        (
            "a request that renames a gallery, with and without stamp and digest (p50)",
            f"{took:.2f} ms and {plain:.2f} ms: {took - plain:+.2f} ms",
        )
    )
    act, without = call_of(team, key)
    took, plain = in_turns(act, without)
    rows.append(
        (
            "a call's rows, begun and ended, with and without its entry (p50)",
            f"{took:.2f} ms and {plain:.2f} ms: {took - plain:+.2f} ms",
        )
    )
    lines = ["| what | measured |", "| --- | --- |"]
    return "\n".join([*lines, *(f"| {what} | {said} |" for what, said in rows)])


def _actor() -> Any:
    from persons.audit import Actor

    return Actor.command("audit_export")


def _demand_whole(found: Any) -> None:
    assert found.problem == "", found.problem


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=100_000)
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    url = os.environ.get("DATABASE_URL", "")
    if not url.startswith("postgres"):
        sys.exit("Set DATABASE_URL to a PostgreSQL server's.")
    load = os.getloadavg()[0]
    with database(url) as own, tempfile.TemporaryDirectory() as data:
        os.environ |= {
            "DATABASE_URL": own,
            "ROLLCALL_DATA": data,
            "DJANGO_SETTINGS_MODULE": "dashboard.settings",
            "ROLLCALL_DEBUG": "0",
        }
        sys.path.insert(0, str(ROOT))
        import django
        from django.conf import settings
        from django.core.management import call_command
        from django.db import connections

        settings.STORAGES["staticfiles"] = {
            "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        }
        settings.ALLOWED_HOSTS += ["testserver"]
        django.setup()
        call_command("migrate", verbosity=0)
        with psycopg.connect(own) as db:
            server = db.info.parameter_status("server_version")
        table = measure(asked.entries)
        connections.close_all()
    text = (
        f"{cpu()}, {os.cpu_count()} cores · Python {platform.python_version()} · django "
        f"{version('django')} · PostgreSQL {server}\n\nThe machine's load was {load:.1f} before "
        f"and {os.getloadavg()[0]:.1f} after.\n\n{table}\n"
    )
    print(text)
    if asked.write:
        page = Path(__file__).with_suffix(".md")
        page.write_text(f"# The audit's chain\n\n`python bench/audit.py --write`\n\n{text}")


if __name__ == "__main__":
    main()
