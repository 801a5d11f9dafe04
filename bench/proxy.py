"""Measures what the proxy adds to a call: direct, through nginx, and through Rollcall.

    python bench/proxy.py               # prints the tables
    python bench/proxy.py --write       # and puts them into bench/proxy.md
    python bench/proxy.py --only stages # where the time of a call goes, alone

Everything runs on this machine at once: clients, the upstream stand-in (which answers any
`recognize` 20 ms after it came in), PostgreSQL and Redis (DATABASE_URL, REDIS_URL), gunicorn, and
nginx (Debian's package) as the plain pass-through. The database is made anew and dropped again.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import importlib
import io
import itertools
import os
import platform
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from machine import cpu

ROOT = Path(__file__).resolve().parent.parent
UPSTREAM_SECONDS = 0.020
IMAGE_BYTES = 200_000
DATABASE = "rollcall_bench_proxy"

ANSWER = (
    b'{"status":200,"body":{"objects":[{"status":0,"name":"file","persons":[{"tag":"undefined",'
    b'"coord":[349,45,543,308],"confidence":0.99977,"awesomeness":0.5002,"similarity":1}]}],'
    b'"aliases_changed":false},"htmlencoded":false,"last_modified":0}'
)


@dataclass(frozen=True)
class Way:
    """One way to the upstream."""

    name: str
    port: int
    path: str


@dataclass(frozen=True)
class Result:
    """Latencies in milliseconds."""

    way: str
    clients: int
    rate: float
    p50: float
    p95: float
    p99: float
    failed: int


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# --- The upstream ---------------------------------------------------------------------------------


async def serve_upstream(port: int) -> None:
    """HTTP/1.1 with kept connections; counts nothing, decodes nothing, answers after 20 ms."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                began = time.perf_counter()
                await reader.readexactly(content_length(head))
                await asyncio.sleep(UPSTREAM_SECONDS - (time.perf_counter() - began))
                writer.write(response(ANSWER))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", port, backlog=512, limit=2**20)
    async with server:
        await server.serve_forever()


def response(body: bytes) -> bytes:
    head = (
        f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


# --- The clients ----------------------------------------------------------------------------------


async def load(way: Way, clients: int, calls: int) -> Result:
    """`calls` in all by so many clients, each on its own kept connection."""
    latencies: list[float] = []
    failed = 0
    left = iter(range(calls))

    async def client() -> None:
        nonlocal failed
        reader, writer = await asyncio.open_connection("127.0.0.1", way.port, limit=2**20)
        for _ in left:
            # No two pictures are the same: nothing is answered from what is stored.
            body = multipart(next(_MARKS).to_bytes(8, "big"))
            head = (
                f"POST {way.path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                "Content-Type: multipart/form-data; boundary=frontier\r\n"
                f"Content-Length: {len(body)}\r\n\r\n"
            )
            began = time.perf_counter()
            writer.write(head.encode())
            writer.write(body)
            await writer.drain()
            answer = await reader.readuntil(b"\r\n\r\n")
            content = await reader.readexactly(content_length(answer))
            latencies.append((time.perf_counter() - began) * 1000)
            failed += content != ANSWER
            if b"connection: close" in answer.lower():
                writer.close()
                reader, writer = await asyncio.open_connection("127.0.0.1", way.port, limit=2**20)
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    seconds = time.perf_counter() - began
    cuts = statistics.quantiles(latencies, n=100, method="inclusive")
    return Result(way.name, clients, calls / seconds, cuts[49], cuts[94], cuts[98], failed)


_PHOTO = (ROOT / "demo" / "photos" / "ardern_1.jpg").read_bytes()
_MARKS = itertools.count()
_FILLING = os.urandom(IMAGE_BYTES - len(_PHOTO) - 8)


def multipart(mark: bytes) -> bytes:
    # What stands behind a JPEG's end is ignored: a picture of its own, as far as digests go.
    image = _PHOTO + mark + _FILLING
    return (
        b'--frontier\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n'
        b"Content-Type: image/jpeg\r\n\r\n" + image + b"\r\n--frontier\r\n"
        b'Content-Disposition: form-data; name="meta"\r\n\r\n'
        b'{"space":"5","images":[{"name":"file"}]}\r\n--frontier--\r\n'
    )


# --- What is measured -----------------------------------------------------------------------------


@contextmanager
def running(command: list[str], port: int, env: dict[str, str] | None = None) -> Iterator[int]:
    process = subprocess.Popen(
        command, cwd=ROOT, env=env, start_new_session=True, stdout=subprocess.DEVNULL
    )
    try:
        for _ in range(300):
            try:
                socket.create_connection(("127.0.0.1", port), 0.2).close()
                break
            except OSError:
                if process.poll() is not None:
                    raise SystemExit(f"{command[0]} ended at once") from None
                time.sleep(0.1)
        yield process.pid
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def nginx(folder: Path, port: int, upstream: int) -> list[str]:
    config = folder / "nginx.conf"
    config.write_text(
        f"""
daemon off; worker_processes 2; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{
  access_log off; client_max_body_size 40m;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  client_body_buffer_size 1m;
  upstream vision {{ server 127.0.0.1:{upstream}; keepalive 64; }}
  server {{
    listen 127.0.0.1:{port};
    keepalive_requests 100000;
    location / {{
      proxy_pass http://vision; proxy_http_version 1.1; proxy_set_header Connection "";
    }}
  }}
}}
"""
    )
    return ["nginx", "-c", str(config), "-p", str(folder)]


def rollcall_env(folder: Path, upstream: int) -> dict[str, str]:
    database = os.environ["DATABASE_URL"].rsplit("/", 1)[0] + f"/{DATABASE}"
    return os.environ | {
        "DATABASE_URL": database,
        "ROLLCALL_DATA": str(folder / "data"),
        "VISION_URL": f"http://127.0.0.1:{upstream}",
        "VISION_TOKEN": "a-token-of-the-bench-alone",
        "ROLLCALL_SECRET_KEY": "a-secret-of-the-bench-alone",
        "ROLLCALL_LOG_LEVEL": "WARNING",
        "PYTHONPATH": str(ROOT),
        "DJANGO_SETTINGS_MODULE": "dashboard.settings",
    }


def psql(statement: str) -> None:
    parts = urlsplit(os.environ["DATABASE_URL"])
    url = parts._replace(scheme="postgresql", path="/postgres").geturl()
    subprocess.run(["psql", "-q", url, "-c", statement], check=True)


def manage(env: dict[str, str], *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env=env,
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


SETUP = """
from persons.models import *; from persons.actions.teams import create_team
from persons.actions.keys import create_key; from persons.audit import Actor
user = User.objects.create(username="bench"); actor = Actor.command("bench", user)
team = create_team(actor=actor, name="Bench", owner=user)
print(create_key(actor=actor, team=team, name="bench")[1])
"""


def resident_mb(pid: int) -> float:
    """Of a process and its children."""
    listing = subprocess.run(
        ["ps", "-o", "rss=", "--pid", str(pid), "--ppid", str(pid)],
        capture_output=True,
        text=True,
        check=True,
    )
    return sum(int(line) for line in listing.stdout.split()) / 1024


# --- What the time goes into ----------------------------------------------------------------------

_HTTP = "HTTP to the upstream, beyond its 20 ms"
STAGES = {
    "read and parse the body": ["persons.proxy.views.read_body"],
    "whose key it is": ["persons.proxy.statements.key_by_hash"],
    "space, and a stored answer if there is one": [
        "persons.proxy.statements.space_of",
        "persons.calls.statements.stored_results",
    ],
    "digests and sizes": ["persons.calls.log.digest_of", "persons.proxy.answering._fault_of"],
    "begin: the call's rows": ["persons.calls.log.begin"],
    "circuits": ["persons.backends.circuits.circuits"],
    _HTTP: ["persons.vision.transport.Http.post"],
    "judge and parse the answer": [
        "persons.vision.client._is_refusal",
        "persons.vision.client._is_alive",
        "persons.pipeline.vision_calls.parse",
    ],
    "end: results, cost, meter, to the disk": ["persons.calls.log.end"],
}
IN_DATABASE = "psycopg.Connection.wait"


def stages(key: str, calls: int) -> str:
    """Median milliseconds of each stage of a call, by one client, inside one process."""
    import django

    warnings.simplefilter("ignore")
    django.setup()
    from dashboard.wsgi import application

    spent: dict[str, float] = {}
    places = [(what, place) for what, some in STAGES.items() for place in some]
    for what, place in [*places, (IN_DATABASE, IN_DATABASE)]:
        _time(place, what, spent)
    found: dict[str, list[float]] = {}
    for number in range(calls + 50):
        spent.clear()
        body = multipart(number.to_bytes(8, "big"))
        began = time.perf_counter()
        answer = b"".join(application(_environ(key, body), _start))
        total = time.perf_counter() - began
        assert answer == ANSWER
        measured = spent | {"all of it": total}
        if number >= 50:
            for what, seconds in measured.items():
                found.setdefault(what, []).append(seconds * 1000)
    median = {what: statistics.median(some) for what, some in found.items()}
    median[_HTTP] -= UPSTREAM_SECONDS * 1000
    median["all of it"] -= UPSTREAM_SECONDS * 1000
    rest = median["all of it"] - sum(median.get(what, 0.0) for what in STAGES)
    lines = ["| stage | p50 ms |", "| --- | ---: |"]
    lines += [f"| {what} | {median.get(what, 0.0):.2f} |" for what in STAGES]
    lines += [f"| the rest: Django, middleware, audit rows in memory | {rest:.2f} |"]
    lines += [f"| **in the process** | **{median['all of it']:.2f}** |"]
    lines += [f"| of which waiting for PostgreSQL | {median[IN_DATABASE]:.2f} |"]
    return "\n".join(lines)


def _time(place: str, what: str, spent: dict[str, float]) -> None:
    """Add up what the function at this place takes. Stages do not call each other."""
    path, _, name = place.rpartition(".")
    try:
        owner: Any = importlib.import_module(path)
    except ModuleNotFoundError:
        module, _, of = path.rpartition(".")
        owner = getattr(importlib.import_module(module), of)
    function = getattr(owner, name)

    @functools.wraps(function)
    def timed(*args: Any, **kwargs: Any) -> Any:
        began = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            spent[what] = spent.get(what, 0.0) + time.perf_counter() - began

    setattr(owner, name, timed)


def _start(status: str, headers: Any, failure: Any = None, /) -> Callable[[bytes], object]:
    return lambda data: None


def _environ(key: str, body: bytes) -> dict[str, Any]:
    return {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/api/v1/persons/recognize",
        "QUERY_STRING": f"oauth_provider=mcs&oauth_token={key}",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "80",
        "HTTP_HOST": "127.0.0.1",
        "REMOTE_ADDR": "127.0.0.1",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "CONTENT_TYPE": "multipart/form-data; boundary=frontier",
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": io.BytesIO(body),
        "wsgi.url_scheme": "http",
        "wsgi.errors": sys.stderr,
    }


def cpu_seconds(pid: int) -> float:
    """Of a process's children, so far."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    ticks = 0
    for child in children:
        times = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
        ticks += int(times[11]) + int(times[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def measure(arguments: argparse.Namespace) -> str:
    lines: list[str] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        upstream, passing, ours = free_port(), free_port(), free_port()
        psql(f"DROP DATABASE IF EXISTS {DATABASE}")
        psql(f"CREATE DATABASE {DATABASE}")
        stack.callback(psql, f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
        env = rollcall_env(folder, upstream)
        manage(env, "migrate", "-v0")
        key = manage(env, "shell", "-v0", "-c", SETUP).splitlines()[-1]
        stack.enter_context(
            running([sys.executable, __file__, "--upstream", str(upstream)], upstream)
        )
        stack.enter_context(running(nginx(folder, passing, upstream), passing))
        web = stack.enter_context(
            running(
                [
                    *(sys.executable, "-m", "gunicorn", "dashboard.wsgi"),
                    *("--config", "python:dashboard.gunicorn_conf"),
                    *("--bind", f"127.0.0.1:{ours}", "--log-level", "warning"),
                ],
                ours,
                env,
            )
        )
        path = "/api/v1/persons/recognize?oauth_provider=mcs&oauth_token="
        ways = [
            Way("direct", upstream, path + "any"),
            Way("nginx", passing, path + "any"),
            Way("Rollcall", ours, path + key),
        ]
        divided = subprocess.run(
            [sys.executable, __file__, "--stages", key],
            cwd=ROOT,
            env=env,
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        if arguments.only == "stages":
            return divided
        for way in ways:
            asyncio.run(load(way, 4, 60))
        lines += [
            "| clients | way | calls/s | p50 ms | p95 ms | p99 ms | added ms | CPU ms | failed |",
            "| ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        ]
        for clients, calls in ((1, 400), (8, 1600), (32, 3200)):
            direct = 0.0
            for way in ways:
                before = cpu_seconds(web)
                got = asyncio.run(load(way, clients, calls))
                cpu = (cpu_seconds(web) - before) * 1000 / calls
                direct = direct or got.p50
                lines.append(
                    f"| {clients} | {way.name} | {got.rate:.0f} | {got.p50:.1f} | {got.p95:.1f} "
                    f"| {got.p99:.1f} | {got.p50 - direct:.1f} "
                    f"| {f'{cpu:.1f}' if way is ways[2] else ''} | {got.failed} |"
                )
        lines += [
            "",
            "Where the time of a call goes (one client, inside the process):",
            "",
            divided,
        ]
        lines += ["", "Memory of the web processes over many calls (8 clients):", ""]
        lines += ["| calls so far | resident MB |", "| ---: | ---: |"]
        done = 60 + 400 + 1600 + 3200
        lines.append(f"| {done} | {resident_mb(web):.0f} |")
        for _ in range(arguments.rounds):
            asyncio.run(load(ways[2], 8, 2000))
            done += 2000
            lines.append(f"| {done} | {resident_mb(web):.0f} |")
    return "\n".join(lines)


def header() -> str:
    versions = " · ".join(f"{name} {version(name)}" for name in ("django", "gunicorn", "requests"))
    nginx_version = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=True)
    return (
        f"{cpu()}, {os.cpu_count()} cores shared by clients, upstream, PostgreSQL and proxy · "
        f"Python {platform.python_version()} · {versions} · "
        f"{nginx_version.stderr.strip().removeprefix('nginx version: ')}\n\n"
        f"One image of {IMAGE_BYTES // 1000} KB a call; the upstream answers after "
        f"{UPSTREAM_SECONDS * 1000:.0f} ms.\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--upstream", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--stages", help=argparse.SUPPRESS)
    parser.add_argument("--only", choices=["stages"])
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--rounds", type=int, default=5, help="of 2,000 calls for the memory")
    arguments = parser.parse_args()
    if arguments.upstream:
        asyncio.run(serve_upstream(arguments.upstream))
        return
    if arguments.stages:
        print(stages(arguments.stages, 300))
        return
    for need in ("DATABASE_URL", "REDIS_URL"):
        if not os.environ.get(need):
            raise SystemExit(f"{need} is not set")
    if not shutil.which("nginx"):
        raise SystemExit("nginx is not installed (Debian: apt install nginx-light)")
    before = os.getloadavg()[0]
    measured = measure(arguments)
    load_now = f"{before:.1f} before and {os.getloadavg()[0]:.1f} after"
    text = f"{header()}The machine's load was {load_now}.\n\n{measured}\n"
    print(text)
    if arguments.write:
        target = Path(__file__).with_name("proxy.md")
        target.write_text(f"# What the proxy adds\n\n`python bench/proxy.py --write`\n\n{text}")


if __name__ == "__main__":
    main()
