"""Byte-exact requests as clients of the persons API send them, in process or over a socket."""

from __future__ import annotations

import http.client
import io
import json
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Protocol, Self
from urllib.parse import urlencode, urlsplit

import jsonschema  # type: ignore[import-untyped]
import pytest
from django.db import connection
from django.test import Client
from PIL import Image as Pillow

from persons.actions.keys import KeyOptions, create_key
from persons.audit import Actor
from persons.models import ApiKey, Team
from persons.models.keys import Scope
from persons.vision.envelope import done, success
from persons.vision.types import Method
from tests.support import fakes
from tests.support.fakes import Asked, FakeVision
from tests.support.processes import ROOT, child_environment, database_url, free_port, wait_until

TESTS = Path(__file__).parents[1]
PHOTOS = ROOT / "demo" / "photos"
ENVELOPE = ["status", "body", "htmlencoded", "last_modified"]
METHODS = ("set", "recognize", "delete", "truncate")
BOUNDARY = "------------------------d74496d66958873e"

Wire = dict[str, Any]


# --- Bodies --------------------------------------------------------------------------------------


def part(disposition: str, data: bytes, *headers: str) -> bytes:
    """One multipart part. `disposition` is what follows `form-data`; `headers` are more lines."""
    lines = [f"Content-Disposition: form-data{disposition}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + data


def text(name: str, value: str | bytes) -> bytes:
    return part(f'; name="{name}"', value if isinstance(value, bytes) else value.encode())


def meta(value: object) -> bytes:
    """The `meta` part as curl writes it; a value that is no text is encoded as JSON."""
    return text("meta", value if isinstance(value, str | bytes) else json.dumps(value))


def file(
    name: str, data: bytes, *, filename: str = "a.jpg", content_type: str = "image/jpeg"
) -> bytes:
    """A file part as curl writes `-F 'name=@a.jpg;type=image/jpeg'`."""
    return part(f'; name="{name}"; filename="{filename}"', data, f"Content-Type: {content_type}")


def multipart(*parts: bytes, boundary: str = BOUNDARY) -> bytes:
    mark = f"--{boundary}".encode()
    return b"".join(mark + b"\r\n" + one + b"\r\n" for one in parts) + mark + b"--\r\n"


def people(*names: str, space: object = "5", person_id: object = 1, **more: object) -> Wire:
    """The meta of a `set` or a `delete`."""
    images = [{"name": name, "person_id": person_id} for name in names or ("file",)]
    return {"space": space, "images": images, **more}


def pictures(*names: str, space: object = "5", **more: object) -> Wire:
    """The meta of a `recognize`."""
    return {"space": space, "images": [{"name": name} for name in names or ("file",)], **more}


# --- Pictures ------------------------------------------------------------------------------------


@cache
def photo(name: str) -> bytes:
    """A demo photo of one public figure."""
    return (PHOTOS / f"{name}.jpg").read_bytes()


@cache
def two_people() -> bytes:
    images = [Pillow.open(PHOTOS / f"{name}.jpg") for name in ("obama_1", "sunak_1")]
    canvas = Pillow.new("RGB", (sum(i.width for i in images), max(i.height for i in images)))
    left = 0
    for image in images:
        canvas.paste(image, (left, 0))
        left += image.width
    return encoded(canvas, "JPEG", quality=92)


@cache
def nobody() -> bytes:
    """A picture without a face."""
    return encoded(Pillow.linear_gradient("L"), "JPEG")


def encoded(image: Pillow.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


# --- Answers -------------------------------------------------------------------------------------


@cache
def openapi() -> Wire:
    loaded: Wire = json.loads((TESTS / "data" / "persons-openapi.json").read_text())
    return loaded


def check_schema(method: str, got: object) -> None:
    """Validate against the vendor's OpenAPI description."""
    described = openapi()["paths"][f"/v1/persons/{method}"]["post"]["responses"]["200"]
    schema = described["content"]["application/json"]["schema"]
    jsonschema.validate(got, {**schema, "components": openapi()["components"]})


@dataclass(frozen=True)
class Got:
    """An answer. `told` is its envelope, after a check that it is valid."""

    method: str
    status: int
    content_type: str
    raw: bytes = field(repr=False)

    @property
    def told(self) -> Wire:
        assert self.status == 200, (self.status, self.raw[:500])
        assert self.content_type == "application/json"
        told: Wire = json.loads(self.raw)
        assert list(told) == ENVELOPE
        assert (told["htmlencoded"], told["last_modified"]) == (False, 0)
        assert isinstance(told["body"], dict if told["status"] == 200 else str)
        check_schema(self.method, told)
        return told

    @property
    def body(self) -> Any:
        return self.told["body"]

    @property
    def outcome(self) -> tuple[int, Any]:
        return self.told["status"], self.told["body"]


def envelope(status: int, body: object) -> Wire:
    return {"status": status, "body": body, "htmlencoded": False, "last_modified": 0}


# --- Asking --------------------------------------------------------------------------------------


class Ask(Protocol):
    """`ask("set", meta(…), file(…))` sends one request of these parts, or `raw` unchanged."""

    def __call__(
        self,
        method: str,
        *parts: bytes,
        raw: bytes | None = None,
        content_type: str = ...,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Got: ...


MULTIPART = f"multipart/form-data; boundary={BOUNDARY}"


def in_process(token: str) -> Ask:
    """Ask the whole site without a socket: an exception inside is raised here."""
    client = Client()

    def ask(
        method: str,
        *parts: bytes,
        raw: bytes | None = None,
        content_type: str = MULTIPART,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Got:
        body = multipart(*parts) if raw is None else raw
        environ: dict[str, Any] = {
            "CONTENT_TYPE": content_type,
            "CONTENT_LENGTH": str(len(body)),
            "wsgi.input": io.BytesIO(body),
        }
        target = f"{path(method)}?{urlencode(query_of(token, query))}"
        response = client.generic("POST", target, headers=dict(headers or {}), **environ)
        kind = response.headers.get("Content-Type", "")
        return Got(method, response.status_code, kind, response.content)

    return ask


def over_http(address: str, token: str, *, timeout: float = 60) -> Ask:
    """Ask over a new socket each time; `headers` are sent unchanged."""
    host = urlsplit(address).netloc

    def ask(
        method: str,
        *parts: bytes,
        raw: bytes | None = None,
        content_type: str = MULTIPART,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Got:
        body = multipart(*parts) if raw is None else raw
        target = f"{path(method)}?{urlencode(query_of(token, query))}"
        link = http.client.HTTPConnection(host, timeout=timeout)
        try:
            sent = {"Accept": "application/json", "Content-Type": content_type, **(headers or {})}
            link.request("POST", target, body=body, headers=sent)
            answer = link.getresponse()
            return Got(method, answer.status, answer.headers["Content-Type"], answer.read())
        finally:
            link.close()

    return ask


def path(method: str) -> str:
    return f"/api/v1/persons/{method}"


def query_of(token: str, query: Mapping[str, str] | None) -> dict[str, str]:
    return {"oauth_token": token, "oauth_provider": "mcs"} if query is None else dict(query)


def make_key(team: Team, **limits: Any) -> tuple[ApiKey, str]:
    """An API key and its text, with all scopes unless `scopes` is given."""
    limits.setdefault("scopes", Scope.values)
    return create_key(
        actor=Actor.command("tests"), team=team, name="Turnstile", options=KeyOptions(**limits)
    )


# --- A real server -------------------------------------------------------------------------------


class Gunicorn:
    """The site served by gunicorn on a free port, with the tests' own database and files."""

    def __init__(
        self,
        data: Path,
        *,
        database: str | None = None,
        processes: int = 1,
        threads: int = 8,
        app: str = "dashboard.wsgi",
        **env: str,
    ) -> None:
        port = free_port()
        self.address = f"http://127.0.0.1:{port}"
        self.log = data / f"gunicorn-{uuid.uuid4().hex}.log"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "gunicorn", app),
                    *("--config=python:dashboard.gunicorn_conf", f"--bind=127.0.0.1:{port}"),
                ],
                cwd=ROOT,
                env=child_environment(
                    DATABASE_URL=database or database_url(connection),
                    ROLLCALL_DATA=str(data),
                    ROLLCALL_WEB_PROCESSES=str(processes),
                    ROLLCALL_WEB_THREADS=str(threads),
                    **env,
                ),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        try:
            wait_until(self._is_up, what="gunicorn to answer")
        except AssertionError:
            self.stop()
            raise AssertionError(f"gunicorn did not start:\n{self.output}") from None
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def peak_bytes(self) -> int:
        """The peak memory of any of its processes."""
        return max(_status(pid, "VmHWM") for pid in self._pids())

    def descriptors(self) -> int:
        """The largest number of open files and sockets in any of its processes."""
        return max(len(list((Path("/proc") / str(pid) / "fd").iterdir())) for pid in self._pids())

    def forget_peak(self) -> None:
        for pid in self._pids():
            (Path("/proc") / str(pid) / "clear_refs").write_text("5")

    def _pids(self) -> list[int]:
        parent = self._process.pid
        children = (Path("/proc") / str(parent) / "task" / str(parent) / "children").read_text()
        return [int(pid) for pid in children.split()]

    def _is_up(self) -> bool:
        assert self._process.poll() is None, self.output
        try:
            link = http.client.HTTPConnection(urlsplit(self.address).netloc, timeout=5)
            link.request("GET", "/healthz")
            return link.getresponse().status == 200
        except OSError:
            return False
        finally:
            link.close()


def _status(pid: int, name: str) -> int:
    for line in (Path("/proc") / str(pid) / "status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"no {name} of {pid}")


def exchange(
    address: str, pieces: Iterator[bytes], *, seconds: float = 30, gentle: bool = True
) -> tuple[bytes, int]:
    """Send raw bytes until the server answers or hangs up.

    Returns its answer and how many bytes it took. With `gentle=False` the client sends everything
    before it reads.
    """
    import select
    import socket

    netloc = urlsplit(address)
    sent = 0
    deadline = time.monotonic() + seconds
    with socket.create_connection((netloc.hostname or "", netloc.port or 0), timeout=10) as link:
        try:
            for piece in pieces:
                view = memoryview(piece)
                while view:
                    assert time.monotonic() < deadline, f"still sending after {sent} bytes"
                    readable, writable, _ = select.select([link] * gentle, [link], [], 10)
                    if readable:
                        raise ConnectionError("it answers")
                    assert writable, f"the server takes nothing more after {sent} bytes"
                    count = link.send(view[: 256 * 1024])
                    sent += count
                    view = view[count:]
        except OSError:
            pass
        got = b""
        try:
            while data := link.recv(64 * 1024):
                got += data
        except OSError:
            pass
    return got, sent


def told_by(raw: bytes) -> tuple[int, Wire]:
    """HTTP status and JSON of a raw answer; a `100 Continue` before it is skipped."""
    while raw.startswith(b"HTTP/1.1 100"):
        raw = raw.partition(b"\r\n\r\n")[2]
    head, _, body = raw.partition(b"\r\n\r\n")
    told: Wire = json.loads(body)
    return int(head.split()[1]), told


class Vision(FakeVision):
    """A `FakeVision` that is billed like the cloud and supports `truncate`."""

    name = "cloud"
    model = "cloud.example"

    def _answer(self, asked: Asked) -> bytes:
        if asked.method is Method.TRUNCATE:
            return success({})
        if asked.method is Method.RECOGNIZE:
            return super()._answer(asked)
        return success({"objects": [done(name) for name in asked.names]})


def use(monkeypatch: pytest.MonkeyPatch, vision: Vision) -> Vision:
    """Make `vision` the Vision of the proxy and the pipeline, for every space."""
    fakes.use(monkeypatch, vision)
    monkeypatch.setattr("persons.proxy.answering.vision_for", lambda space: vision)
    return vision
