"""Sends the proxy thousands of requests that nobody should send, over real sockets.

    pip install -e ".[dev,fuzz]"
    python bench/fuzz_proxy.py --requests 20000

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
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parent.parent

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

    from tests.hostile import Judge, Request


def main() -> int:
    parser = argparse.ArgumentParser(description="Fuzz the proxy.")
    parser.add_argument("--requests", type=int, default=20_000, help="in all")
    parser.add_argument("--seed", type=int, default=None, help="of a run to repeat")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else int.from_bytes(os.urandom(4), "big")
    with tempfile.TemporaryDirectory(prefix="rollcall-fuzz-") as folder:
        return run(Path(folder), options.requests, seed)


def run(data: Path, requests: int, seed: int) -> int:
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

    from tests import factories, hostile, wire

    call_command("migrate", verbosity=0)
    _, token = wire.make_key(factories.TeamFactory.create())
    connection.close()
    made = {"raw": hostile.requests()}
    if importlib.util.find_spec("schemathesis"):
        made["as described"] = hostile.from_description("positive")
        made["against the description"] = hostile.from_description("negative")
    print(f"seed {seed}", flush=True)
    failed = False
    url = os.environ["DATABASE_URL"]
    with wire.Gunicorn(data, database=url, processes=2, threads=4) as server:
        for number, (name, strategy) in enumerate(made.items()):
            judge = hostile.Judge(server.address, token)
            share = requests // len(made) + (number < requests % len(made))
            failed |= not fuzz(name, judge, strategy, share, seed)
        peak = server.peak_bytes()
    errors = [line for line in server.output.splitlines() if " ERROR " in line]
    print(f"gunicorn: {len(errors)} errors in its log, at most {peak / 1e6:.0f} MB a process")
    print("\n".join(errors[:20]))
    return 1 if failed or errors else 0


def fuzz(name: str, judge: Judge, strategy: SearchStrategy[Request], count: int, seed: int) -> bool:
    """Whether every answer was one."""
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
    right = True
    try:
        one()
    except AssertionError as error:
        right = False
        print(f"{name}: {error}", *getattr(error, "__notes__", ()), sep="\n")
    seconds = time.monotonic() - began
    print(
        f"{name}: {judge.seen.total()} requests in {seconds:.0f} s, the slowest "
        f"{judge.slowest * 1000:.0f} ms; {dict(sorted(judge.seen.items()))}",
        flush=True,
    )
    return right


if __name__ == "__main__":
    sys.exit(main())
