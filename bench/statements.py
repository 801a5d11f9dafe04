"""Measures each statement that is written by hand beside what the ORM would send for the same.

    python bench/statements.py            # prints the table
    python bench/statements.py --write    # and puts it into bench/statements.md

On DATABASE_URL, else on SQLite; the database is made anew and dropped again. The two ways take
turns, many times each, and the quickest round of each counts: others use this machine too.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from machine import Yardstick, cpu

ROOT = Path(__file__).resolve().parent.parent
ROUNDS = 9
PEOPLE = 5_000
PHOTOS = 40


@dataclass(frozen=True)
class Pair:
    """`by_hand` and `orm` do the same, `times` in one round. `run_by` is what runs it, and how
    often."""

    name: str
    run_by: str
    by_hand: Callable[[], object]
    orm: Callable[[], object]
    times: int = 200


def quickest(pair: Pair) -> tuple[float, float]:
    """Milliseconds of one run of each."""
    taken: tuple[list[float], list[float]] = ([], [])
    for act in (pair.by_hand, pair.orm):
        act()
    for _ in range(ROUNDS):
        for act, some in zip((pair.by_hand, pair.orm), taken, strict=True):
            began = time.perf_counter()
            for _ in range(pair.times):
                act()
            some.append((time.perf_counter() - began) / pair.times * 1000)
    return min(taken[0]), min(taken[1])


def pairs() -> list[Pair]:
    from django.db.models import F
    from django.utils import timezone

    from persons.backends.circuits import circuits
    from persons.calls.statements import stored_results
    from persons.db.tables import save
    from persons.faces.identity import FACES, RESOLVED
    from persons.models import (
        ApiKey,
        CloudCircuit,
        Face,
        KeyDay,
        Person,
        Recognition,
        Space,
    )
    from persons.people.statements import known_people
    from persons.proxy.statements import key_by_hash, space_of, spend
    from tests.support import factories, wire

    team = factories.TeamFactory.create()
    space = team.spaces.get(number=5)
    key = wire.make_key(team, daily_images=10**9)[0]
    for name in ("one", "other"):
        CloudCircuit.objects.create(upstream=name)
    Person.objects.bulk_create(
        (Person(space=space, person_id=n, label=f"P {n}") for n in range(1, PEOPLE + 1)),
        batch_size=1000,
    )
    gallery = factories.GalleryFactory.create(team=team, space=space)
    photos = factories.PhotoFactory.create_batch(PHOTOS, gallery=gallery)
    faces = [factories.FaceFactory.create(photo=photo) for photo in photos for _ in range(5)]
    since, day = timezone.now() - timedelta(hours=24), timezone.now().date()

    def orm_space() -> Space:
        found = Space.objects.get(team=team, number=5)
        found.team = team
        return found

    def orm_spend() -> int:
        row = KeyDay(key=key, day=day, images=0)
        KeyDay.objects.bulk_create([row], ignore_conflicts=True)
        fits = KeyDay.objects.filter(key=key, day=day, images__lt=10**9)
        return fits.update(images=F("images") + 1)

    def orm_results() -> list[Recognition]:
        done = Recognition.objects.filter(status=0, sha256__in=["ab"]).exclude(sha256="")
        asked = done.filter(call__question="q", call__space=space, call__started_at__gte=since)
        sizes = {"a": F("call__enrolled_people"), "b": F("call__enrolled_pictures")}
        return list(asked.annotate(**sizes).order_by("pk"))

    def changed(count: int) -> list[Face]:
        for face in faces[:count]:
            face.review_rank = random.random()
        return faces[:count]

    columns = [name.removesuffix("_id") for name in RESOLVED]

    def saving(count: int) -> Pair:
        return Pair(
            f"save_faces, {count}",
            "every batch of photos whose faces are worked out anew",
            lambda: save(FACES, changed(count), RESOLVED),
            lambda: Face.everything.bulk_update(changed(count), columns),
            times=max(2, 100 // count),
        )

    return [
        Pair(
            "key_by_hash",
            "every call",
            lambda: key_by_hash(key.key_hash),
            lambda: ApiKey.objects.select_related("team").filter(key_hash=key.key_hash).first(),
        ),
        Pair("space_of", "every call", lambda: space_of(team, 5), orm_space),
        Pair(
            "circuits",
            "every call to the cloud",
            lambda: circuits(["one", "other"]),
            lambda: {
                row.upstream: row
                for row in CloudCircuit.objects.filter(upstream__in=["one", "other"])
            },
        ),
        Pair(
            "spend",
            "every call of a key with a daily limit",
            lambda: spend(key, day, 1, 10**9),
            orm_spend,
        ),
        Pair(
            "stored_results",
            "every recognition",
            lambda: stored_results(space, "q", ["ab"], since),
            orm_results,
        ),
        Pair(
            "known_people",
            "every recognition that finds somebody",
            lambda: known_people(space, {1, 2, 3}),
            lambda: set(
                Person.objects.filter(space=space, person_id__in={1, 2, 3}).values_list(
                    "person_id", flat=True
                )
            ),
        ),
        *(saving(count) for count in (1, 20, 200)),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--write", action="store_true", help="put it into bench/statements.md")
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "dashboard.settings")
    import django
    from django.conf import settings
    from django.db import connection

    django.setup()
    settings.DEBUG = False
    name = connection.settings_dict["NAME"]
    connection.creation.create_test_db(verbosity=0, autoclobber=True, serialize=False)
    yardstick, lines = Yardstick(), []
    try:
        for pair in pairs():
            yardstick.lay()
            hand, orm = quickest(pair)
            line = f"| {pair.name} | {pair.run_by} | {hand:.2f} | {orm:.2f} | {orm / hand:.1f} |"
            print(line, flush=True)
            lines.append(line)
        told = f"{connection.vendor} {'.'.join(map(str, connection.get_database_version()))}"
    finally:
        connection.creation.destroy_test_db(name, verbosity=0)
    text = (
        "# Statements written by hand, beside the ORM's\n\n"
        "`python bench/statements.py --write`\n\n"
        f"{cpu()} · Python {platform.python_version()} · django {django.__version__} · {told}"
        f" · {yardstick}\n\n"
        f"Milliseconds of one run, the quickest of {ROUNDS} rounds, in turns. `insert_call` and "
        "`end_call` have no twin here: the ORM can't send several writes as one statement, and "
        "takes a trip to the database for each.\n\n"
        "| statement | run by | by hand | ORM | times |\n| --- | --- | ---: | ---: | ---: |\n"
    )
    if options.write:
        (ROOT / "bench" / "statements.md").write_text(text + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
