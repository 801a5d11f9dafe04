"""Measures every page and every action of a big installation.

    python bench/pages.py --scale 0.01            # a quick try: minutes
    python bench/pages.py --keep --write          # the targets' size, and bench/pages.md

Fills two PostgreSQL databases of its own beside that of DATABASE_URL (`filling.py`): one at
`--scale`, one at a hundredth of it (no page may repeat a query more often in the one); drops them
again, unless `--keep` leaves them for the next time. What is measured is a copy of them. Requests
go through the whole stack, middleware and templates included, in this process. `--only WORD`
chooses lines of the table, `--slow 20` shows the statements that took 20 ms and more.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import re
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import psycopg
from machine import Yardstick, cpu

if TYPE_CHECKING:
    from asking import Ask, Probe

ROOT = Path(__file__).resolve().parent.parent
DATABASE = "rollcall_bench_pages"
SMALLER = 100
SMALL_COUNT = 30
WARM = 3
TRIES = 3
BY_CHANCE = 2
"""How often more a statement may be asked because of what single targets need."""
QUIET = 1.5
"""How much longer the yardstick may be than it once was, for a line to count at once."""
PATIENCE = 3.0
"""Seconds to wait for that, before a line is measured again."""
FILLING = ("drafts.py", "rows.py", "filling.py")
PEOPLE_REQUESTS = 30


@dataclass
class Measured:
    """Milliseconds, queries and bytes of each request of one probe."""

    probe: Probe
    times: list[float] = field(default_factory=list)
    queries: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    repeated: Counter[str] = field(default_factory=Counter)
    """How often one request asked a statement at most."""
    statements: dict[str, float] = field(default_factory=dict)
    """Each with the most milliseconds that it took."""

    @property
    def p50(self) -> float:
        return statistics.median(self.times)

    @property
    def p95(self) -> float:
        cuts = statistics.quantiles(self.times, n=20, method="inclusive")
        return cuts[18]

    def complaints(self, small: Measured | None) -> list[str]:
        """Why this line fails; nothing where it passes."""
        found = []
        if self.probe.limit is not None and self.p95 >= self.probe.limit:
            found.append(f"p95 is not below {self.probe.limit:.0f} ms")
        if self.probe.most_bytes and max(self.sizes) >= self.probe.most_bytes:
            found.append(f"{max(self.sizes):,} bytes")
        if small is not None and (more := grown(self.repeated, small.repeated)):
            found.append(f"asked more often than at a hundredth of the size: {more}")
        if any(" OFFSET " in sql for sql in self.statements):
            found.append("pages by offset")
        if wrong := {status for status in self.statuses if status >= 400 and status != 404}:
            found.append(f"status {wrong}")
        return found


def grown(big: Counter[str], small: Counter[str]) -> str:
    """A statement that one request repeats more often in the bigger database, in a few words.

    What only happens to be asked of some targets, as what a person without a name needs, makes
    their sums differ, and is none.
    """
    more = [sql for sql, times in big.items() if times > max(1, small[sql]) + BY_CHANCE]
    return "; ".join(f"{small[sql]} / {big[sql]} {sql[:60]}" for sql in more)


def shape(sql: str) -> str:
    """A statement without the number of its values, or the name of a savepoint."""
    sql = re.sub(r"%s(, %s)+", "…", sql)
    sql = re.sub(r"(\(…\))(, \(…\))+", r"\1", sql)
    return re.sub(r'SAVEPOINT "\w+"', "SAVEPOINT", sql)


# --- Databases ---


def beside(name: str) -> str:
    """The address of another database of the same server."""
    return urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{name}").geturl()


def administer(statement: str) -> list[Any]:
    address = urlsplit(beside("postgres"))._replace(scheme="postgresql").geturl()
    with psycopg.connect(address, autocommit=True) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


def use(database: str) -> None:
    from django.db import connection

    connection.close()
    connection.settings_dict["NAME"] = database


@contextmanager
def filled(scale: float, *, keep: bool, seed: int) -> Iterator[str]:
    """A database of that size, by name: a copy of the one that was kept, or of a new one.

    What is done in it is gone with it, so that each measurement begins with the same rows.
    """
    original = f"{DATABASE}_{scale:g}".replace(".", "_")
    copy = f"{original}_copy"
    made_of = digest(seed)
    kept = administer(
        "SELECT shobj_description(oid, 'pg_database') FROM pg_database"
        f" WHERE datname = '{original}'"
    )
    if kept != [(made_of,)]:
        fill(original, scale, seed)
        administer(f"COMMENT ON DATABASE {original} IS '{made_of}'")
    administer(f"DROP DATABASE IF EXISTS {copy} WITH (FORCE)")
    administer(f"CREATE DATABASE {copy} TEMPLATE {original}")
    use(copy)
    yield copy
    use("postgres")
    administer(f"DROP DATABASE {copy} WITH (FORCE)")
    if not keep:
        administer(f"DROP DATABASE {original} WITH (FORCE)")


def fill(database: str, scale: float, seed: int) -> None:
    import filling
    from django.core.management import call_command

    print(f"Filling {database}:")
    administer(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")
    administer(f"CREATE DATABASE {database}")
    use(database)
    call_command("migrate", verbosity=0)
    filling.fill(filling.Size(scale, seed))
    if wrong := filling.resolved_wrong():
        raise SystemExit(f"The rows are at odds with persons.faces.identity: photos {wrong[:9]}")
    use("postgres")


def digest(seed: int) -> str:
    """Of all that a filled database depends on: a kept one is made anew when it has changed."""
    found = hashlib.sha256(str(seed).encode())
    migrations = sorted((ROOT / "persons" / "migrations").glob("0*.py"))
    for path in [*migrations, *(Path(__file__).with_name(name) for name in FILLING)]:
        found.update(path.read_bytes())
    return found.hexdigest()


# --- Measuring ---


def measured_in_peace(
    asked: Probe, world: Any, client: Any, yardstick: Yardstick, tries: int
) -> Measured | None:
    """Measured once more, with other targets, when it is quieter, where others wanted the machine
    just then, as the yardstick before and after it says; of all times the quietest one."""
    found = []
    for _ in range(tries):
        before = yardstick.lay()
        measured = measure(asked, world, client)
        if measured is None:
            break
        pace = max(before, yardstick.lay())
        found.append((pace, measured))
        if pace <= QUIET * yardstick.best:
            break
        yardstick.wait(QUIET * yardstick.best, seconds=PATIENCE)
    return min(found, key=lambda one: one[0])[1] if found else None


def measure(asked: Probe, world: Any, client: Any) -> Measured | None:
    """None where there is nothing to ask for."""
    from django.core.cache import cache

    measured = Measured(asked)
    for number, ask in enumerate(asked.asks()):
        if number >= world.count + WARM:
            break
        if asked.fresh:
            cache.clear()
        _request(client, ask, measured)
    if len(measured.times) < 2 * WARM:
        return None
    # The first ones fill caches: the templates', the database's.
    for values in (measured.times, measured.queries, measured.sizes):
        del values[:WARM]
    return measured


def _request(client: Any, ask: Ask, measured: Measured) -> None:
    from django.db import connection

    count = 0
    shapes: Counter[str] = Counter()

    def counting(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        nonlocal count
        count += 1
        shapes[shape(sql)] += 1
        began = time.perf_counter()
        result = execute(sql, params, many, context)
        took = (time.perf_counter() - began) * 1000
        measured.statements[sql] = max(took, measured.statements.get(sql, 0.0))
        return result

    headers = {}
    if ask.part is not None:
        headers = {"HX-Request": "true", "HX-Target": ask.part}
    with connection.execute_wrapper(counting):
        began = time.perf_counter()
        if ask.data is None:
            response = client.get(ask.path, headers=headers)
        else:
            response = client.post(ask.path, ask.data, headers=headers)
        content = b"".join(response.streaming_content) if response.streaming else response.content
        measured.times.append((time.perf_counter() - began) * 1000)
    measured.repeated |= shapes
    measured.queries.append(count)
    measured.sizes.append(len(content))
    measured.statuses[response.status_code] += 1
    if response.resolver_match is not None:
        asked_routes.add(response.resolver_match.route)


asked_routes: set[str] = set()


def run(
    scale: float, arguments: argparse.Namespace, yardstick: Yardstick, tries: int = TRIES
) -> dict[str, Measured]:
    import drafts
    from actions_asked import actions
    from asking import World
    from django.test import Client
    from pages_asked import pages, parts, rest

    from persons.models import User

    with filled(scale, keep=arguments.keep, seed=arguments.seed):
        world = World(arguments.seed, arguments.count, arguments.user or drafts.OWNER)
        client = Client(SERVER_NAME="localhost")
        client.force_login(User.objects.get(username=world.who))
        results = {}
        for probe in [*pages(world), *parts(world), *rest(world), *actions(world)]:
            if arguments.only and arguments.only.lower() not in probe.name.lower():
                continue
            measured = measured_in_peace(probe, world, client, yardstick, tries)
            if measured is None:
                print(f"  (nothing to ask: {probe.name})")
                continue
            results[probe.name] = measured
            print(line(measured, None), flush=True)
            show_slow(measured, arguments.slow)
        return results


# --- Telling ---


def line(measured: Measured, small: Measured | None) -> str:
    queries = str(max(measured.queries))
    if small is not None:
        queries = f"{max(small.queries)} / {queries}"
    wrong = "; ".join(measured.complaints(small))
    return (
        f"| {measured.probe.name} | {queries} | {measured.p50:.1f} | {measured.p95:.1f} |"
        f" {statistics.median(measured.sizes) / 1000:.1f} | {len(measured.times)} |"
        f" {'**' + wrong + '**' if wrong else 'pass'} |"
    )


def show_slow(measured: Measured, least: float | None) -> None:
    for sql, took in sorted(measured.statements.items(), key=lambda found: -found[1]):
        if least is not None and took >= least:
            short = re.sub(r"SELECT (?!COUNT)[^()]*? FROM", "SELECT … FROM", sql)
            print(f"    {took:.0f} ms: {short[:1000]}")


def table(big: dict[str, Measured], small: dict[str, Measured]) -> str:
    lines = [
        "| asked | queries, small / big | p50 ms | p95 ms | KB | targets | |",
        "| --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    lines += [line(measured, small.get(name)) for name, measured in big.items()]
    return "\n".join(lines)


def header(arguments: argparse.Namespace, yardstick: Yardstick) -> str:
    """On what was measured, and what the columns are."""
    ((server,),) = administer("SHOW server_version")
    return (
        f"`python bench/pages.py --keep --write --count {arguments.count}`\n\n"
        f"{cpu()}, {os.cpu_count()} cores shared with PostgreSQL · "
        f"Python {platform.python_version()} · Django {version('django')} · "
        f"PostgreSQL {server.split()[0]} · load {os.getloadavg()[2]:.1f} · {yardstick} "
        "between the lines (`bench/machine.py`)\n\n"
        "200,000 photos, 1,000,000 faces, 20,000 people, 1,000,000 recognitions; one person has "
        "50,000 faces and one gallery 100,000 photos. Milliseconds are the server's, of one "
        "request after the other, each with other targets. A line passes below 150 ms at p95 (an "
        "action of the review or on a photo: 100 ms) with no statement repeated more often by one "
        f"request than at a hundredth of the size; up to {BY_CHANCE} times more is what single "
        "targets need. Others use this machine too: a line during which the yardstick was half as "
        "long again as at its best is measured up to three times, and the quietest one counts.\n"
    )


def small_run(arguments: argparse.Namespace) -> dict[str, Measured]:
    """Of many targets, whatever is asked for: how many queries a page makes depends on what is on
    it as well. That is all that counts of it."""
    asked = argparse.Namespace(**vars(arguments) | {"count": max(arguments.count, SMALL_COUNT)})
    return run(arguments.scale / SMALLER, asked, Yardstick(), tries=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=4)
    parser.add_argument("--count", type=int, default=60, help="targets of each line")
    parser.add_argument("--only", default="", help="lines whose name has this in it")
    parser.add_argument("--user", help="who asks, as member4; the team's owner if it is not said")
    parser.add_argument("--keep", action="store_true", help="leave the databases for next time")
    parser.add_argument("--slow", type=float, help="show statements that take so many ms")
    parser.add_argument("--big-only", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--write", action="store_true", help="put the table into bench/pages.md")
    arguments = parser.parse_args()
    if "postgres" not in os.environ.get("DATABASE_URL", ""):
        raise SystemExit("DATABASE_URL is no address of PostgreSQL")
    yardstick = Yardstick()
    with tempfile.TemporaryDirectory() as folder:
        prepare(folder)
        small = {} if arguments.big_only else small_run(arguments)
        big = run(arguments.scale, arguments, yardstick)
    text = table(big, small)
    print(f"{text}\n\n{yardstick}")
    if arguments.write:
        title = "# How quick the pages of a big installation are"
        page = f"{title}\n\n{header(arguments, yardstick)}\n{text}\n"
        Path(__file__).with_name("pages.md").write_text(page)


def prepare(folder: str) -> None:
    """Django, with a data folder of its own and the settings of a server."""
    sys.path.insert(0, str(ROOT))
    # Bells are files, and what is kept for a while is this process's own.
    os.environ.pop("REDIS_URL", None)
    os.environ |= {
        "DJANGO_SETTINGS_MODULE": "dashboard.settings",
        "DATABASE_URL": beside("postgres"),
        "ROLLCALL_DATA": folder,
        "ROLLCALL_SECRET_KEY": "a-secret-of-the-bench-alone",
        "ROLLCALL_LOG_LEVEL": "ERROR",
    }
    import django
    from django.core.management import call_command

    django.setup()
    call_command("collectstatic", verbosity=0, interactive=False)
    # Loads and keeps what a server's process does.
    import dashboard.wsgi  # noqa: F401


if __name__ == "__main__":
    main()
