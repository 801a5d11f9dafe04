"""Sends the proxy thousands of requests that nobody should send, over real sockets.

    pip install -e ".[dev,fuzz]"
    python bench/fuzz_proxy.py --requests 20000
    python bench/fuzz_proxy.py --requests 20000 --write  # and puts what came into bench/fuzz.md

Starts gunicorn with the embedded recogniser on a database of its own (SQLite; DATABASE_URL names an
empty one instead). Three kinds, a third each: raw multipart by hypothesis; by schemathesis what the
vendor's OpenAPI description allows; and what it forbids. Each must be answered within 10 seconds,
with HTTP 200 and an envelope that the description knows; else the smallest request that is not is
printed, and the exit code is 1. Without schemathesis all are raw.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from machine import cpu

ROOT = Path(__file__).resolve().parent.parent

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

    from tests.support.hostile import Judge, Request


@dataclass(frozen=True)
class Fuzzed:
    """What came of one kind of requests; `wrong` says what was no answer, and to which request."""

    name: str
    seen: Counter[str]
    seconds: float
    slowest: float
    wrong: str = ""

    def __str__(self) -> str:
        told = f"{self.name}: {self.wrong}\n" if self.wrong else ""
        return (
            f"{told}{self.name}: {self.seen.total()} requests in {self.seconds:.0f} s, the slowest "
            f"{self.slowest * 1000:.0f} ms; {dict(sorted(self.seen.items()))}"
        )

    def line(self) -> str:
        by_status: Counter[str] = Counter()
        for outcome, count in self.seen.items():
            by_status[outcome.rpartition(" ")[2]] += count
        counts = " | ".join(f"{by_status[status]:,}" for status in ("200", "400", "403"))
        rate = self.seen.total() / self.seconds
        return (
            f"| {self.name} | {self.seen.total():,} | {counts} | {rate:.0f} "
            f"| {self.slowest * 1000:.0f} | {1 if self.wrong else 0} |"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description="Fuzz the proxy.")
    parser.add_argument("--requests", type=int, default=20_000, help="in all")
    parser.add_argument("--seed", type=int, default=None, help="of a run to repeat")
    parser.add_argument("--write", action="store_true", help="bench/fuzz.md, too")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else int.from_bytes(os.urandom(4), "big")
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="rollcall-fuzz-") as folder:
        kinds, errors, peak = run(Path(folder), options.requests, seed)
    print(f"gunicorn: {len(errors)} errors in its log, at most {peak / 1e6:.0f} MB a process")
    print("\n".join(errors[:20]))
    if options.write:
        text = report(kinds, errors, peak, seed=seed, load=load)
        (ROOT / "bench" / "fuzz.md").write_text(text)
    return 1 if errors or any(kind.wrong for kind in kinds) else 0


def run(data: Path, requests: int, seed: int) -> tuple[list[Fuzzed], list[str], int]:
    """What came of each kind, the errors in the server's log, and a process's most bytes."""
    (data / "static").mkdir()
    os.environ |= {
        "ROLLCALL_DATA": str(data),
        "ROLLCALL_LOG_LEVEL": "WARNING",
        "DJANGO_SETTINGS_MODULE": "dashboard.settings",
    }
    os.environ.setdefault("DATABASE_URL", f"sqlite:///{data / 'fuzz.sqlite3'}")
    sys.path.insert(0, str(ROOT))
    import django

    django.setup()
    from django.core.management import call_command
    from django.db import connection

    from tests.support import factories, hostile, wire

    call_command("migrate", verbosity=0)
    _, token = wire.make_key(factories.TeamFactory.create())
    connection.close()
    made = {"raw": hostile.requests()}
    if importlib.util.find_spec("schemathesis"):
        made["as described"] = hostile.from_description("positive")
        made["against the description"] = hostile.from_description("negative")
    print(f"seed {seed}", flush=True)
    kinds = []
    url = os.environ["DATABASE_URL"]
    with wire.Gunicorn(data, database=url, processes=2, threads=4) as server:
        for number, (name, strategy) in enumerate(made.items()):
            judge = hostile.Judge(server.address, token)
            share = requests // len(made) + (number < requests % len(made))
            kinds.append(fuzz(name, judge, strategy, share, seed))
            print(kinds[-1], flush=True)
        peak = server.peak_bytes()
    return kinds, [line for line in server.output.splitlines() if " ERROR " in line], peak


def fuzz(
    name: str, judge: Judge, strategy: SearchStrategy[Request], count: int, seed: int
) -> Fuzzed:
    import hypothesis
    from hypothesis import HealthCheck, Phase, given, settings

    @hypothesis.seed(seed)
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        print_blob=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def one(request: Request) -> None:
        judge.try_(request)

    began = time.monotonic()
    wrong = ""
    try:
        one()
    except AssertionError as error:
        wrong = "\n".join([str(error), *getattr(error, "__notes__", ())])
    return Fuzzed(name, judge.seen, time.monotonic() - began, judge.slowest, wrong)


def report(kinds: list[Fuzzed], errors: list[str], peak: int, *, seed: int, load: float) -> str:
    total = sum(kind.seen.total() for kind in kinds)
    packages = ["gunicorn", "hypothesis", "schemathesis"][: 3 if len(kinds) > 1 else 2]
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    database = os.environ["DATABASE_URL"].partition(":")[0]
    head = (
        f"`python bench/fuzz_proxy.py --requests {total} --seed {seed} --write`, on "
        f"{datetime.now(UTC):%Y-%m-%d}: {cpu()}, {os.cpu_count()} cores, Python "
        f"{platform.python_version()}, {versions}; {database}. The machine's load was {load:.1f} "
        "before."
    )
    rule = (
        "Wrong is whatever is not HTTP 200 with an envelope that the vendor's description knows, "
        "of status 200, 400 or 403, within 10 seconds."
    )
    end = (
        f"{total:,} requests in all. Errors in gunicorn's log: {len(errors)}. The largest process "
        f"had {peak / 1e6:.0f} MB at most."
    )
    lines = [
        "# Requests that nobody should send",
        "",
        head,
        "",
        rule,
        "",
        "| Kind | requests | 200 | 400 | 403 | a second | slowest ms | wrong |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        *(kind.line() for kind in kinds),
        "",
        end,
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
