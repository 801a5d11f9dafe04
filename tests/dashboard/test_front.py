"""Slow clients can't keep others out of `dashboard.front`, run by gunicorn."""

from __future__ import annotations

import http.client
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.urls import URLPattern, URLResolver, get_resolver

from dashboard.front.addresses import takes_files
from dashboard.front.connection import MEMORY_BYTES, Inbox, framing_of
from dashboard.front.pool import NoRoom, ThreadPool
from tests.support import slow_clients
from tests.support.front_app import FILE_BYTES, PIECE, PIECES
from tests.support.nginx import needs_nginx, running_nginx
from tests.support.processes import PATIENCE, ROOT, child_environment, wait_until
from tests.support.slow_clients import KINDS, holding
from tests.support.wire import Gunicorn

processes = pytest.mark.processes
MB = 1_000_000
SOON = 15.0
"""Seconds: half of what a slow client is waited for (ROLLCALL_CLIENT_SECONDS). Whom one of them
holds up waits longer, and nobody else does, on a busy machine either."""


def connect(server: Gunicorn) -> socket.socket:
    where = urlsplit(server.address)
    return socket.create_connection((where.hostname or "", where.port or 0), PATIENCE)


def get(server: Gunicorn, path: str, seconds: float = PATIENCE) -> int:
    return status_of(server.address, path, seconds)


def status_of(address: str, path: str, seconds: float = PATIENCE) -> int:
    link = http.client.HTTPConnection(urlsplit(address).netloc, timeout=seconds)
    with closing(link):
        link.request("GET", path)
        answer = link.getresponse()
        answer.read()
        return answer.status


def rest_of(link: socket.socket) -> bytes:
    return b"".join(iter(lambda: link.recv(65536), b""))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gunicorn]:
    """A small application, answered by one thread: whatever holds it is seen at once."""
    data = tmp_path_factory.mktemp("small")
    with Gunicorn(
        data,
        database=f"sqlite:///{data}/none.sqlite3",
        threads=1,
        app="tests.support.front_app:application",
        ROLLCALL_CLIENT_SECONDS="2",
    ) as server:
        yield server


# --- Many of them, and the whole site ---


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with the static files as they are served."""
    data = tmp_path_factory.mktemp("site")
    subprocess.run(
        [sys.executable, "manage.py", "collectstatic", "-v0", "--noinput"],
        cwd=ROOT,
        env=child_environment(ROLLCALL_DATA=str(data), DATABASE_URL=""),
        check=True,
    )
    return data


@processes
@pytest.mark.any_database
def test_two_hundred_slow_clients_of_each_kind_keep_nobody_waiting(
    transactional_db: None, folder: Path
) -> None:
    """One kind after another, then all at once."""
    static = f"/static/css/shared/{max((folder / 'static/css/shared').glob('rollcall.*.css')).name}"
    with Gunicorn(folder, threads=4) as server:
        for kinds in (*((kind,) for kind in KINDS), KINDS):
            assert get(server, static) == get(server, "/login/") == 200
            before = server.peak_bytes()
            with holding(server.address, kinds, each=200, static=static) as held:
                for _ in range(4):
                    assert get(server, "/healthz", SOON) == 200, kinds
                    assert get(server, "/login/", SOON) == 200, kinds
                    time.sleep(0.2)
                # A process keeps a thousand at most.
                assert held.now >= 150 * min(len(kinds), 5)
                assert server.peak_bytes() - before < 100 * MB
                assert server.descriptors() < 4200
            wait_until(lambda: server.descriptors() < 100, what="the clients to be forgotten")
        maps = list((folder / "static").rglob("*.map"))
        assert maps
        assert get(server, f"/static/{maps[0].relative_to(folder / 'static')}") == 404


@needs_nginx
@processes
@pytest.mark.any_database
def test_nor_do_they_with_nginx_in_front(
    transactional_db: None, folder: Path, tmp_path: Path
) -> None:
    static = f"/static/css/shared/{max((folder / 'static/css/shared').glob('rollcall.*.css')).name}"
    with (
        Gunicorn(folder, threads=4, ROLLCALL_TRUSTED_PROXIES="1") as server,
        running_nginx(tmp_path, web=urlsplit(server.address).port or 0, data=folder) as nginx,
    ):
        for kinds in (*((kind,) for kind in KINDS), KINDS):
            with holding(nginx.address, kinds, each=200, static=static) as held:
                for _ in range(4):
                    for path in ("/healthz", "/login/", static):
                        assert status_of(nginx.address, path, SOON) == 200, (kinds, path)
                    time.sleep(0.2)
                assert held.now >= 150 * len(kinds)
        assert status_of(nginx.address, f"{static}.map") == 404


@needs_nginx
@processes
@pytest.mark.any_database
def test_a_body_that_trickles_through_nginx_has_its_deadline_too(
    small: Gunicorn, tmp_path: Path
) -> None:
    with running_nginx(tmp_path, web=urlsplit(small.address).port or 0) as nginx:
        assert _answer_to_a_trickle(nginx.port, SLOW).startswith(b"HTTP/1.1 408 ")


@needs_nginx
@processes
@pytest.mark.any_database
def test_nginx_bounds_what_one_address_asks_for(small: Gunicorn, tmp_path: Path) -> None:
    with (
        running_nginx(tmp_path, web=urlsplit(small.address).port or 0) as nginx,
        ExitStack() as stack,
    ):
        # Passwords: sixty at once, then two a second.
        told = [status_of(nginx.address, "/login/") for _ in range(90)]
        assert told[:60] == [200] * 60
        assert 429 in told
        # Connections with a request under way.
        where = ("127.0.0.1", nginx.port)
        links = [stack.enter_context(socket.create_connection(where, 20)) for _ in range(120)]
        for link in links:
            link.sendall(b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")
        refused = [link for link in links if _has_answer(link)]
        assert len(refused) >= 20


@processes
@pytest.mark.any_database
def test_a_stop_waits_for_no_slow_client(transactional_db: None, folder: Path) -> None:
    server = Gunicorn(folder, threads=4)
    with (
        server,
        holding(
            server.address, KINDS, each=20, static="/static/css/shared/rollcall.css", again=False
        ),
    ):
        started = time.monotonic()
        server.stop()
        assert time.monotonic() - started < SOON


# --- Deadlines ---


SLOW = b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"


@processes
@pytest.mark.parametrize("begun", [b"GET / HTTP/1.1\r\nX: ", SLOW], ids=["head", "body"])
def test_who_sends_a_byte_now_and_then_is_told_that_time_is_up(
    small: Gunicorn, begun: bytes
) -> None:
    port = urlsplit(small.address).port or 0
    assert _answer_to_a_trickle(port, begun).startswith(b"HTTP/1.1 408 ")


def _answer_to_a_trickle(port: int, begun: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 20) as link:
        link.sendall(begun)
        link.settimeout(0.2)
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            try:
                return link.recv(1000)
            except TimeoutError:
                link.send(b"x")
    return b""


def _has_answer(link: socket.socket) -> bool:
    link.settimeout(0.2)
    try:
        return link.recv(1000).startswith(b"HTTP/1.1 429 ")
    except TimeoutError:
        return False


@processes
def test_an_upload_may_take_its_time_at_the_lowest_rate(small: Gunicorn) -> None:
    """Longer than the deadline of other requests, in steps."""
    with connect(small) as link:
        link.sendall(b"POST /api/x HTTP/1.1\r\nConnection: close\r\nContent-Length: 120000\r\n\r\n")
        for _ in range(6):
            time.sleep(0.6)
            link.sendall(b"\1" * 20_000)
        assert rest_of(link).endswith(b"120000 120000")


@processes
def test_an_upload_that_trickles_is_given_up(small: Gunicorn) -> None:
    with connect(small) as link:
        link.sendall(b"POST /api/x HTTP/1.1\r\nContent-Length: 40000000\r\n\r\n")
        link.settimeout(0.2)
        ended = False
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            try:
                ended = not link.recv(1000)
                break
            except TimeoutError:
                link.send(b"x")
            except ConnectionError:
                ended = True
                break
    assert ended


@processes
@pytest.mark.parametrize("path", ["/stream", "/file"])
def test_who_does_not_read_holds_no_thread_and_little_memory(small: Gunicorn, path: str) -> None:
    small.forget_peak()
    before = small.peak_bytes()
    with ExitStack() as stack:
        links = [stack.enter_context(connect(small)) for _ in range(12)]
        for link in links:
            link.sendall(f"GET {path} HTTP/1.1\r\n\r\n".encode())
        for _ in range(5):
            # One thread answers all: it is free although twelve answers are not read.
            assert get(small, "/") == 200

        # And they are let go.
        def nobody_left() -> bool:
            return small.descriptors() < 20

        wait_until(nobody_left, what="those to be let go who don't read")
    assert small.peak_bytes() - before < 60 * MB


@processes
@pytest.mark.parametrize(
    ("path", "size"),
    [("/file", FILE_BYTES), ("/stream", PIECES * len(PIECE)), ("/late", PIECES * len(PIECE))],
)
def test_large_answers_come_whole(small: Gunicorn, path: str, size: int) -> None:
    link = http.client.HTTPConnection(urlsplit(small.address).netloc, timeout=PATIENCE)
    with closing(link):
        for _ in range(2):  # The connection stays.
            link.request("GET", path)
            answer = link.getresponse()
            assert len(answer.read()) == size
        link.request("HEAD", "/file")
        assert link.getresponse().read() == b""


# --- One request after another ---


@processes
def test_requests_behind_one_another_are_answered_in_order(small: Gunicorn) -> None:
    with connect(small) as link:
        link.sendall(
            b"POST /read HTTP/1.1\r\nContent-Length: 3\r\n\r\n\1\1\1"
            b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nGET /"  # nobody reads this body
            b"POST /read HTTP/1.1\r\nContent-Length: 2\r\n\r\n\2\2"
            b"POST /read HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n\3\3\r\n0\r\n\r\n"
        )
        bodies = [one.partition(b"\r\n\r\n")[2] for one in rest_of(link).split(b"HTTP/1.1 200 OK")]
    assert bodies[1:] == [b"3 3", b"ok", b"2 4", b"2 6"]


@processes
@pytest.mark.parametrize("size", [0, 100, MEMORY_BYTES, 3 * MB])
def test_bodies_arrive_whole_in_memory_and_in_files(small: Gunicorn, size: int) -> None:
    link = http.client.HTTPConnection(urlsplit(small.address).netloc, timeout=PATIENCE)
    with closing(link):
        for _ in range(2):
            link.request("POST", "/read", b"\1" * size)
            assert link.getresponse().read() == f"{size} {size}".encode()


@processes
def test_an_upload_that_is_too_large_to_be_kept_is_read_as_it_comes(small: Gunicorn) -> None:
    link = http.client.HTTPConnection(urlsplit(small.address).netloc, timeout=PATIENCE)
    with closing(link):
        link.request("POST", "/api/x", b"\1" * 40 * MB)
        assert link.getresponse().read() == f"{40 * MB} {40 * MB}".encode()


@processes
def test_a_client_that_asks_first_is_told_to_go_on_once(small: Gunicorn) -> None:
    with connect(small) as link:
        link.sendall(
            b"POST /read HTTP/1.1\r\nExpect: 100-continue\r\nConnection: close\r\n"
            b"Content-Length: 4\r\n\r\n"
        )
        assert link.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        link.sendall(b"\1\1\1\1")
        answer = rest_of(link)
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert answer.endswith(b"4 4")


@processes
def test_who_sends_all_before_reading_gets_the_answer(small: Gunicorn) -> None:
    """The body is not read by the application, and the connection is not reset."""
    with connect(small) as link:
        link.sendall(b"POST / HTTP/1.1\r\nContent-Length: 20000000\r\n\r\n" + bytes(20 * MB))
        assert rest_of(link).endswith(b"ok")


@processes
def test_an_answer_that_breaks_half_way_is_cut_off(small: Gunicorn) -> None:
    link = http.client.HTTPConnection(urlsplit(small.address).netloc, timeout=PATIENCE)
    with closing(link):
        link.request("GET", "/breaks")
        answer = link.getresponse()
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            answer.read()
    assert get(small, "/") == 200


@processes
def test_a_head_without_end_is_refused(small: Gunicorn) -> None:
    with connect(small) as link:
        link.sendall(b"GET / HTTP/1.1\r\nX: " + b"x" * 100_000)
        assert rest_of(link).startswith(b"HTTP/1.1 431 ")


# --- Its parts ---


def test_every_address_that_reads_large_bodies_is_known_to_the_front() -> None:
    """Views that read their body themselves, past the limit of forms, and those of REST that take
    files. All else has a deadline for the whole request."""
    found = {}
    for path, view in _views(get_resolver().url_patterns, ""):
        parsers = getattr(getattr(view, "view_class", None), "parser_classes", ())
        is_rest = hasattr(view, "view_class") and path.startswith("/rest/")
        by_hand = getattr(view, "csrf_exempt", False) and not is_rest
        takes = by_hand or any("Upload" in parser.__name__ for parser in parsers)
        found[path] = (takes, takes_files(path))
    assert sum(takes for takes, _ in found.values()) >= 4
    assert not {path for path, (takes, known) in found.items() if takes != known}


def _views(patterns: list[Any], before: str) -> Iterator[tuple[str, Any]]:
    for pattern in patterns:
        path = before + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from _views(pattern.url_patterns, path)
        elif isinstance(pattern, URLPattern):
            words = path.replace("<slug:", "<").replace("<int:", "<").replace("<str:", "<")
            yield "/" + words.replace("<", "").replace(">", ""), pattern.callback


@pytest.mark.parametrize(
    ("head", "length"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 0),
        (b"POST / HTTP/1.1\r\nCONTENT-LENGTH:7\r\n\r\n1234567", 7),
        (b"POST / HTTP/1.1\r\nX: Content-Length: 7\r\n\r\n", 0),
        (b"POST / HTTP/1.1\r\nContent-Length: 1" + b"0" * 5000 + b"\r\n\r\n", 0),
        (b"POST / HTTP/1.1\r\nContent-Length: -7\r\n\r\n", 0),
    ],
)
def test_what_a_head_says_of_its_body(head: bytes, length: int) -> None:
    framing = framing_of(head)
    assert framing is not None
    assert framing.length == length
    assert framing_of(head.partition(b"\r\n\r\n")[0]) is None


@pytest.mark.parametrize("target", ["/a/b?c=d", "http://host/a/b?c=d", "/a/b"])
def test_an_address_is_read_without_its_query(target: str) -> None:
    framing = framing_of(f"GET {target} HTTP/1.1\r\n\r\n".encode())
    assert framing is not None
    assert framing.path == "/a/b"


def test_an_inbox_gives_back_what_it_took(tmp_path: Path) -> None:
    inbox = Inbox(folder=str(tmp_path))
    pieces = [bytes([n]) * 50_000 for n in range(8)]
    for piece in pieces:
        inbox.put(piece)
    assert inbox.in_file == 400_000
    assert not list(tmp_path.iterdir())  # Nothing that a kill could leave behind.
    assert b"".join(iter(lambda: inbox.take(7777), b"")) == b"".join(pieces)
    inbox.close()


def test_a_job_that_waits_for_its_client_makes_room_for_another() -> None:
    pool = ThreadPool(1, aside=1, end=lambda: None)
    first, second, go = threading.Event(), threading.Event(), threading.Event()

    def waits() -> None:
        with pool.aside(go.set):
            go.wait(20)
        first.set()

    pool.submit(waits)
    pool.submit(second.set)
    assert second.wait(20)
    assert not first.is_set()
    go.set()
    assert first.wait(20)


def test_requests_that_wait_for_no_answer_let_others_go_first() -> None:
    pool = ThreadPool(1, aside=1, end=lambda: None)
    go, done = threading.Event(), threading.Event()
    order: list[str] = []
    pool.submit(lambda: order.append("first") if go.wait(20) else None)
    for n in range(6):
        pool.submit(lambda n=n: order.append(f"pipelined {n}"), later=True)  # type: ignore[misc]
    for n in range(4):
        pool.submit(lambda n=n: order.append(f"asked {n}"))  # type: ignore[misc]
    pool.submit(done.set, later=True)
    go.set()
    assert done.wait(20)
    # And nobody waits for ever: one time in four it is their turn.
    asked = [n for n, name in enumerate(order) if name.startswith("asked")]
    assert asked == [1, 2, 4, 5]
    assert order[3] == "pipelined 0"
    assert len(order) == 11


def test_where_too_many_wait_the_longest_is_let_go() -> None:
    pool = ThreadPool(1, aside=1, end=lambda: None)
    cut, refused, go = threading.Event(), threading.Event(), threading.Event()

    def waits() -> None:
        with pool.aside(cut.set):
            cut.wait(PATIENCE)

    def comes_at_once() -> None:
        try:
            with pool.aside(go.set):
                pass
        except NoRoom:
            refused.set()

    pool.submit(waits)
    pool.submit(comes_at_once)
    assert refused.wait(PATIENCE)
    assert not cut.is_set()
    while not cut.is_set():
        pool.submit(comes_at_once)
        time.sleep(0.05)


def test_a_client_of_each_kind_is_let_go_when_the_test_ends() -> None:
    """What the tests above hold on to is bounded."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with holding(address, KINDS, each=2, static="/", again=False) as held:
            assert held.now == 2 * len(slow_clients.KINDS)
