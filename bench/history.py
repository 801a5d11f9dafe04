"""Measures the history at 1,000,000 recognitions: its first page by each filter, chart and export.

    DATABASE_URL=postgres://postgres@127.0.0.1/some_empty_database python bench/history.py --write

Fills the database of DATABASE_URL, which must be PostgreSQL and is emptied of what is in the way,
unless it is full already: 300,000 calls of two years with 1,000,000 images and as many findings, of
20,000 people, of whom one has 50,000 findings and one five, and one has 20,000 that are all two
years old. Requests go through the whole stack in this process. `--write` makes bench/history.md.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "dashboard.settings")

CALLS, IMAGES = 300_000, 1_000_000
WARM, ROUNDS = 2, 15
LIMIT = 150

CHANCE = "(hashint8extended({n}, {seed}) & 1048575) / 1048576.0"


def chance(n: str, seed: int) -> str:
    return CHANCE.format(n=n, seed=seed)


# Each third call is a worker's, of eight images.
FILL = {
    "persons_call": f"""
        SELECT n, 1, (SELECT id FROM persons_space WHERE team_id = 1 AND number = mod(n, 9)),
            CASE WHEN {chance("n", 1)} < 0.97 THEN 'recognize' ELSE 'set' END,
            CASE mod(n, 3) WHEN 0 THEN 'worker' ELSE 'client' END,
            CASE WHEN mod(n, 3) = 0 THEN 1 + mod(n / 3, 8) END, 'somebody',
            CASE WHEN mod(n, 3) > 0 THEN 1 + mod(n, 5) END,
            CASE WHEN n = 777 THEN '198.51.100.1'
                WHEN mod(n, 3) > 0 THEN '203.0.113.' || mod(n, 200) END::inet,
            md5(n::text), 'embedded', 'yunet, sface', '{{}}', '', 1, 0, 0, 7,
            now() - interval '730 days' + interval '730 days' * n / {CALLS}, 40,
            CASE WHEN n IN (500, 5000) THEN 'unavailable'
                WHEN {chance("n", 2)} < 0.02 THEN 'rejected' ELSE 'done' END,
            200, '', '', 0.4, 0.5, 100, 200, '', '', ''
        FROM generate_series(1, {CALLS}) n
    """,
    "persons_recognition": f"""
        SELECT row_number() OVER (ORDER BY n, p), n, p, 'file' || p, '', '', 640, 480, 0, '',
            '{{}}', 1, '',
            CASE WHEN mod(n, 3) = 0 THEN
                CASE WHEN mod(n, 6) = 0 THEN 1 ELSE 2 + mod(n, 1199) END END
        FROM generate_series(1, {CALLS}) n
        CROSS JOIN LATERAL generate_series(0, CASE WHEN mod(n, 3) = 0 THEN 7 ELSE 0 END) p
    """,
    "persons_finding": f"""
        SELECT r.id, 1, r.call_id, r.id, r.gallery_id, 0, who, who,
            0.2 + 0.8 * {chance("r.id", 3)}, 0.9, 1, 2, 30, 40, ''
        FROM persons_recognition r CROSS JOIN LATERAL (SELECT CASE
            WHEN mod(r.id, 200000) = 11 THEN 3
            WHEN mod(r.id, 20) = 0 THEN 1
            WHEN r.id < 100000 AND mod(r.id, 5) = 1 THEN 2
            ELSE (4 + 19990 * power({chance("r.id", 4)}, 3))::int END AS who) w
    """,
}
COLUMNS = {
    "persons_call": "id, team_id, space_id, method, source, actor_id, actor_text, key_id, address,"
    " request_id, backend, model, meta, question, image_count, saved_count, cost, space_version,"
    " started_at, duration_ms, outcome, status, error, answer, threshold, confirm_threshold,"
    " enrolled_people, enrolled_pictures, reason, salt, digest",
    "persons_recognition": "id, call_id, position, name, sha256, image, width, height, status,"
    " error, result, face_count, request_id, gallery_id",
    "persons_finding": "id, team_id, call_id, recognition_id, gallery_id, position, told_id,"
    ' person_id, similarity, confidence, "left", top, "right", bottom, matched_sha256',
}

PAGES = {
    "nothing": "",
    "method, rare half": "method=set",
    "outcome, 2 %": "outcome=rejected",
    "outcome, 2 of all": "outcome=unavailable",
    "source": "source=worker",
    "space": "space=4",
    "actor": "actor=3",
    "key": "key=2",
    "address, 1,000 calls": "address=203.0.113.7",
    "address, one call": "address=198.51.100.1",
    "request": "request=c4ca4238a0b923820dcc509a6f75849b",
    "a person of 50,000 findings": "person=0.1",
    "a person of 20,000, all old": "person=0.2",
    "a person of five": "person=0.3",
    "a name that 1,500 have": "q=anna",
    "a name that one has": "q=boris+petrova+14001",
    "similarity, wide": "low=0.5",
    "similarity, 1 %": "low=0.6&high=0.608",
    "similarity, 0.01 %": "low=0.7&high=0.70008",
    "gallery, half of all": "gallery=gallery-1",
    "gallery, one of 1,200": "gallery=gallery-50",
    "one day, two years ago": "from={old}&to={old}",
    "a year": "from={year}",
    "a year and outcome": "from={year}&outcome=rejected",
    "old day and rare outcome": "from={old}&to={old}&outcome=unavailable",
    "person and year": "person=0.1&from={year}",
    "old person and this year": "person=0.2&from={year}",
    "person and similarity": "person=0.1&low=0.6&high=0.601",
    "person and rare outcome": "person=0.1&outcome=unavailable",
    "person and one address": "person=0.1&address=198.51.100.1",
    "person, gallery": "person=0.1&gallery=gallery-50",
    "similarity, key": "low=0.9&key=2",
    "similarity 1 %, rare outcome": "low=0.6&high=0.608&outcome=unavailable",
    "gallery and outcome": "gallery=gallery-1&outcome=rejected",
    "actor, method, space": "actor=3&method=set&space=4",
    "far down": "before=1000",
}


def fill() -> None:
    from django.db import connection
    from django.utils import timezone

    from persons.models import ApiKey, Finding, Gallery, Membership, Person, Space, Team, User
    from persons.vision.limits import SPACES

    if Finding.objects.count() >= IMAGES:
        return
    began = time.perf_counter()
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        cursor.execute(
            "TRUNCATE persons_finding, persons_recognition, persons_call, persons_person,"
            " persons_gallery, persons_apikey, persons_space, persons_membership, persons_team,"
            " persons_user, persons_auditentry RESTART IDENTITY CASCADE"
        )
        team = Team.objects.create(name="Bench", slug="bench")
        Space.objects.bulk_create(Space(team=team, number=number) for number in SPACES)
        users = [User.objects.create(username=f"user{number}") for number in range(8)]
        Membership.objects.bulk_create(
            Membership(team=team, user=user, role="owner") for user in users
        )
        for number in range(1, 6):
            ApiKey.objects.create(team=team, name=f"key {number}", prefix="rck_", key_hash=number)
        space = Space.objects.get(team=team, number=0)
        Gallery.objects.bulk_create(
            Gallery(team=team, space=space, name=f"Gallery {n}", slug=f"gallery-{n}")
            for n in range(1, 1201)
        )
        Person.objects.bulk_create(
            [
                Person(
                    space=space,
                    person_id=number,
                    label=f"{'Anna' if number % 13 == 1 else 'Boris'} Petrova {number}",
                )
                for number in range(1, 20_001)
            ],
            batch_size=2000,
        )
        for table, select in FILL.items():
            cursor.execute(f"INSERT INTO {table} ({COLUMNS[table]}) {select}")
            print(f"  {time.perf_counter() - began:5.0f} s {table}, {timezone.now():%H:%M:%S}")
        cursor.execute("SET session_replication_role = DEFAULT")
        cursor.execute("VACUUM ANALYZE")


def measure(path: str, client: Any) -> tuple[float, float, int]:
    times = []
    for turn in range(WARM + ROUNDS):
        began = time.perf_counter()
        response = client.get(path)
        if turn >= WARM:
            times.append((time.perf_counter() - began) * 1000)
        assert response.status_code == 200, (path, response.status_code)
    rows = response.content.count(b'class="row-link"')
    return statistics.median(times), statistics.quantiles(times, n=20, method="inclusive")[18], rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    import django

    django.setup()
    from datetime import timedelta

    from django.conf import settings
    from django.core.management import call_command
    from django.test import Client
    from django.utils import timezone

    from persons.models import User

    settings.ALLOWED_HOSTS = ["*"]
    call_command("migrate", verbosity=0)
    call_command("collectstatic", verbosity=0, interactive=False)
    fill()
    client = Client()
    client.force_login(User.objects.get(username="user0"))
    today = timezone.now().date()
    days = {"old": today - timedelta(days=700), "year": today - timedelta(days=365)}
    lines = ["| Filter | p50 ms | p95 ms | Calls on the page |", "| --- | ---: | ---: | ---: |"]
    failed = []
    for kind, address in (("", "/t/bench/history/"), ("chart: ", "/t/bench/history/chart")):
        for name, query in PAGES.items():
            if options.only not in kind + name or (kind and name == "far down"):
                continue
            p50, p95, rows = measure(f"{address}?{query.format(**days)}", client)
            shown = "" if kind else f"{rows}"
            lines.append(f"| {kind}{name} | {p50:.0f} | {p95:.0f} | {shown} |")
            print(lines[-1], flush=True)
            if p95 >= LIMIT and not kind:
                failed.append(name)
    if not options.only:
        lines += ["", *export(client)]
    if options.write:
        write(lines)
    sys.exit(f"not below {LIMIT} ms: {failed}" if failed else 0)


def export(client: Any) -> list[str]:
    lines = [
        "| Export of everything | Rows | Seconds | MB | Grown by |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for form in ("csv", "jsonl"):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        began, size, rows = time.perf_counter(), 0, 0
        for chunk in client.get(f"/t/bench/history/export.{form}").streaming_content:
            size += len(chunk)
            rows += chunk.count(b"\n")
        seconds = time.perf_counter() - began
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before
        lines.append(f"| {form} | {rows:,} | {seconds:.0f} | {size / 1e6:.0f} | {grown:.0f} MB |")
        print(lines[-1], flush=True)
    return lines


def write(lines: list[str]) -> None:
    from machine import cpu

    about = (
        f"`bench/history.py` on {cpu()}, PostgreSQL on the same machine: {CALLS:,} calls of two"
        f" years, {IMAGES:,} images and as many findings of 20,000 people. Server time of the whole"
        f" first page of 50 calls, in this process; the limit is {LIMIT} ms. The chart is fetched"
        " after the page."
    )
    text = ["# The history at 1,000,000 recognitions", "", about, "", *lines, ""]
    (Path(__file__).parent / "history.md").write_text("\n".join(text))


if __name__ == "__main__":
    main()
