"""What hostile clients cost: `python bench/hostile.py --write` puts bench/hostile.md's tables.

Starts Rollcall's web service (two processes of eight threads) on a data folder of its own, holds on
to it with so many slow clients of each kind, and asks for a page, `/healthz` and a static file
meanwhile. Each request is given up after 20 s. With `--before`, gunicorn's own threads are measured
beside it: what served before the front. With nginx installed, the same again behind
deploy/nginx.conf.

Everything is on this machine's loopback, bounded in clients and seconds, and stops by itself.
"""

from __future__ import annotations

import argparse
import http.client
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from itertools import count
from pathlib import Path
from shutil import which

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

from machine import Yardstick, cpu  # noqa: E402

from tests.support.nginx import running_nginx  # noqa: E402
from tests.support.processes import child_environment, free_port, wait_until  # noqa: E402
from tests.support.slow_clients import KINDS, Kind, holding  # noqa: E402

PAGES = Path(__file__).with_suffix(".md")
MARK = "<!-- Below: python bench/hostile.py --before --write -->"
END = "<!-- Above: what bench/hostile.py wrote. What stands below stays. -->"
GIVEN_UP_SECONDS = 20.0
_NUMBERS = count()


@dataclass(frozen=True)
class Row:
    who: str
    server: str
    asked: int
    failed: int
    median: float
    worst: float
    held: int
    let_go: int
    megabytes: int
    descriptors: int

    def __str__(self) -> str:
        return (
            f"| {self.who} | {self.server} | {self.asked} | {self.failed} | "
            f"{self.median * 1000:.0f} | {self.worst * 1000:.0f} | {self.held} | {self.let_go} | "
            f"{self.megabytes} | {self.descriptors} |"
        )


HEAD = (
    "| 200 clients: | server | asked | failed | median ms | worst ms | held at the end | let go | "
    "MB a process at most | descriptors |\n"
    "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
)


@contextmanager
def serving(data: Path, *, worker: str = "") -> Iterator[tuple[int, int]]:
    """(port, pid of gunicorn's first process)."""
    port = free_port()
    command = [
        *(sys.executable, "-m", "gunicorn", "dashboard.wsgi"),
        *("--config=python:dashboard.gunicorn_conf", f"--bind=127.0.0.1:{port}"),
        *([f"--worker-class={worker}"] if worker else []),
    ]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=child_environment(ROLLCALL_DATA=str(data), DATABASE_URL="", REDIS_URL=""),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            wait_until(lambda: asked(port, "/login/") is not None, seconds=60, what="the server")
            yield port, process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()


def asked(port: int, path: str) -> float | None:
    """Seconds until the whole answer was there; None where there was none."""
    # From an address each: nginx bounds how often one may ask for the form of passwords.
    source = (f"127.8.{next(_NUMBERS) % 250}.{next(_NUMBERS) % 250 + 1}", 0)
    link = http.client.HTTPConnection(
        "127.0.0.1", port, timeout=GIVEN_UP_SECONDS, source_address=source
    )
    begun = time.perf_counter()
    try:
        link.request("GET", path)
        answer = link.getresponse()
        answer.read()
        return time.perf_counter() - begun if answer.status == 200 else None
    except OSError:
        return None
    finally:
        link.close()


def processes(pid: int) -> list[Path]:
    children = (Path("/proc") / str(pid) / "task" / str(pid) / "children").read_text().split()
    return [Path("/proc") / child for child in children]


def megabytes(pid: int) -> int:
    most = 0
    for process in processes(pid):
        for line in (process / "status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                most = max(most, int(line.split()[1]) // 1000)
    return most


def descriptors(pid: int) -> int:
    return max(len(list((process / "fd").iterdir())) for process in processes(pid))


def measured(
    names: tuple[str, str],
    kinds: tuple[Kind, ...],
    *,
    port: int,
    pid: int,
    static: str,
    each: int,
    seconds: float,
) -> Row:
    took: list[float] = []
    failed = number = most_mb = most_fds = 0
    with holding(f"http://127.0.0.1:{port}", kinds, each=each, static=static) as held:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for path in ("/healthz", "/login/", static):
                number += 1
                found = asked(port, path)
                if found is None:
                    failed += 1
                else:
                    took.append(found)
            most_mb, most_fds = max(most_mb, megabytes(pid)), max(most_fds, descriptors(pid))
            time.sleep(0.1)
        row = Row(
            *names,
            number,
            failed,
            statistics.median(took) if took else GIVEN_UP_SECONDS,
            GIVEN_UP_SECONDS if failed else max(took),
            held.now,
            held.let_go,
            most_mb,
            most_fds,
        )
    print(row, flush=True)
    return row


def measure(arguments: argparse.Namespace) -> str:
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        data = Path(name) / "data"
        env = child_environment(
            ROLLCALL_DATA=str(data), DATABASE_URL="", REDIS_URL="", ROLLCALL_DEMO="0"
        )
        for words in (("migrate", "-v0"), ("collectstatic", "-v0", "--noinput")):
            subprocess.run([sys.executable, "manage.py", *words], cwd=ROOT, env=env, check=True)
        static = (
            f"/static/css/shared/{max((data / 'static/css/shared').glob('rollcall.*.css')).name}"
        )
        asks = [("none", ()), *((kind.name, (kind,)) for kind in KINDS), ("all of these", KINDS)]
        servers = [("the front", ""), *([("gunicorn's threads", "gthread")] * arguments.before)]
        for kind_name, kinds in asks:
            for server, worker in servers:
                # Each anew: what the one before left behind is nobody's fault here.
                with serving(data, worker=worker) as (port, pid):
                    rows.append(
                        measured(
                            (kind_name, server),
                            kinds,
                            port=port,
                            pid=pid,
                            static=static,
                            each=arguments.clients,
                            seconds=arguments.seconds,
                        )
                    )
        if which("nginx"):
            with ExitStack() as stack:
                port, pid = stack.enter_context(serving(data))
                nginx = stack.enter_context(running_nginx(Path(name), web=port, data=data))
                for kind_name, kinds in asks:
                    rows.append(
                        measured(
                            (kind_name, "nginx and the front"),
                            kinds,
                            port=nginx.port,
                            pid=pid,
                            static=static,
                            each=arguments.clients,
                            seconds=arguments.seconds,
                        )
                    )
    return "\n".join([HEAD, *map(str, rows)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=200, help="of each kind; 1000 at most")
    parser.add_argument("--seconds", type=float, default=10.0, help="each")
    parser.add_argument("--before", action="store_true", help="gunicorn's threads beside it")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    yardstick = Yardstick()
    yardstick.lay()
    table = measure(arguments)
    yardstick.lay()
    said = (
        f"`python bench/hostile.py{' --before' * arguments.before} --write`, measured "
        f"{time.strftime('%Y-%m-%d')} on {cpu()}, {os.cpu_count()} cores that the clients share, "
        f"{arguments.seconds:.0f} s a row; Python {platform.python_version()}, gunicorn "
        f"{version('gunicorn')}; load {load:.1f} before; {yardstick}"
    )
    print(said)
    if arguments.write:
        before, _, written = PAGES.read_text().partition(MARK)
        after = written.partition(END)[2]
        PAGES.write_text(f"{before}{MARK}\n\n{said}\n\n{table}\n\n{END}{after or chr(10)}")


if __name__ == "__main__":
    main()
