"""An HTTP server over a real socket that treats each request as its script says.

    with Misbehaving(answer(b"<html>", status=502), envelope(OK)) as server:
        ...

The first request gets the first behaviour, and so on; the last behaviour repeats.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import shutil
import socket
import ssl
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from django.core.files.uploadhandler import MemoryFileUploadHandler
from django.http.multipartparser import MultiPartParser


@dataclass
class Received:
    """One request as it came over the wire."""

    method: str
    target: str
    headers: Mapping[str, str]
    length: int
    body: bytes = field(repr=False)

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        pairs = parse_qs(urlsplit(self.target).query, strict_parsing=True, keep_blank_values=True)
        return {key: value for key, (value,) in pairs.items()}

    def json(self) -> Any:
        return json.loads(self.body)

    def parts(self) -> tuple[dict[str, str], dict[str, Any]]:
        """The form's texts and files, parsed by Django."""
        meta = {
            "CONTENT_TYPE": self.headers["content-type"],
            "CONTENT_LENGTH": self.headers["content-length"],
        }
        handler = MemoryFileUploadHandler()
        handler.handle_raw_input(BytesIO(), meta, self.length, "")
        texts, files = MultiPartParser(meta, BytesIO(self.body), [handler]).parse()
        return {key: str(texts[key]) for key in texts}, {key: files[key] for key in files}


Behaviour = Callable[["Misbehaving", socket.socket], None]
"""Writes anything to the socket. The connection is closed afterwards, except after `answer`."""


class Misbehaving:
    """The server. `keep=False` drops bodies after reading; `tls` is certificate and key file."""

    def __init__(
        self, *script: Behaviour, keep: bool = True, tls: tuple[Path, Path] | None = None
    ) -> None:
        self.script = list(script)
        self.received: list[Received] = []
        self.connections = 0
        self.stopped = threading.Event()
        self._keep = keep
        self._lock = threading.Lock()
        self._tls: ssl.SSLContext | None = None
        if tls is not None:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(*tls)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self.host = f"127.0.0.1:{self.port}"
        self.url = f"{'https' if tls else 'http'}://{self.host}"
        self._threads: list[threading.Thread] = []
        self._open: set[socket.socket] = set()

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stopped.set()
        # Wakes `accept`, which closing alone doesn't.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)

    def _start(self, target: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self.connections += 1
                self._open.add(connection)
            self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        try:
            if self._tls is not None:
                connection = self._secured(connection)
            while True:
                if getattr(self._next(), "unread", False):
                    self._take()(self, connection)
                    return
                request = self._read(connection)
                if request is None:
                    return
                with self._lock:
                    self.received.append(request)
                behaviour = self._take()
                behaviour(self, connection)
                if not getattr(behaviour, "keeps_alive", False):
                    return
        except OSError:
            pass
        finally:
            with self._lock:
                self._open.discard(connection)
            connection.close()

    def _secured(self, plain: socket.socket) -> socket.socket:
        assert self._tls is not None
        # Wrapping detaches `plain`, so register the new socket before the handshake: on exit all
        # open sockets are closed.
        secured = self._tls.wrap_socket(plain, server_side=True, do_handshake_on_connect=False)
        with self._lock:
            self._open.discard(plain)
            self._open.add(secured)
        try:
            secured.do_handshake()
        except OSError:
            secured.close()
            raise
        return secured

    def _next(self) -> Behaviour:
        return self.script[0]

    def _take(self) -> Behaviour:
        with self._lock:
            return self.script.pop(0) if len(self.script) > 1 else self.script[0]

    def _read(self, connection: socket.socket) -> Received | None:
        data = b""
        while b"\r\n\r\n" not in data:
            piece = connection.recv(64 * 1024)
            if not piece:
                return None
            data += piece
        head, _, start = data.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ")
        headers = {key.lower(): value for key, value in (line.split(": ", 1) for line in lines)}
        length = int(headers.get("content-length", "0"))
        body = BytesIO()
        got = len(start)
        body.write(start if self._keep else b"")
        buffer = bytearray(64 * 1024)
        while got < length:
            count = connection.recv_into(buffer)
            if not count:
                return None
            got += count
            if self._keep:
                body.write(memoryview(buffer)[:count])
        return Received(method, target, headers, got, body.getvalue())


# Behaviours


def _keeps_alive(behaviour: Behaviour) -> Behaviour:
    behaviour.keeps_alive = True  # type: ignore[attr-defined]
    return behaviour


def unread(behaviour: Behaviour) -> Behaviour:
    """The same behaviour, before anything of the request is read."""

    def run(server: Misbehaving, connection: socket.socket) -> None:
        behaviour(server, connection)

    run.unread = True  # type: ignore[attr-defined]
    return run


def raw(*pieces: bytes, pause: float = 0.0, reset: bool = False) -> Behaviour:
    """Sends these bytes, with a pause before each but the first, then closes or resets."""

    def run(server: Misbehaving, connection: socket.socket) -> None:
        for number, piece in enumerate(pieces):
            if number and pause and server.stopped.wait(pause):
                return
            connection.sendall(piece)
        if reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    return run


def message(body: bytes, status: int = 200, length: int | None = None, /, **headers: str) -> bytes:
    """A whole answer as bytes. `length` is a false Content-Length, if one is wanted."""
    lines = [f"HTTP/1.1 {status} Whatever"]
    lines.append(f"Content-Length: {len(body) if length is None else length}")
    lines += [f"{key.replace('_', '-')}: {value}" for key, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def answer(body: bytes, status: int = 200, **headers: str) -> Behaviour:
    """A whole answer, on a connection that stays open."""
    return _keeps_alive(raw(message(body, status, None, **headers)))


def envelope(body: Any, status: int = 200) -> Behaviour:
    """A well-formed envelope. NaN is written as `NaN`."""
    fields = {"status": status, "body": body, "htmlencoded": False, "last_modified": 0}
    return answer(json.dumps(fields).encode())


def hang_up() -> Behaviour:
    return raw()


def silence() -> Behaviour:
    def run(server: Misbehaving, connection: socket.socket) -> None:
        server.stopped.wait(30)

    return run


def drip(start: bytes, forever: bytes, pause: float) -> Behaviour:
    """Sends `start`, and then `forever` again and again."""

    def run(server: Misbehaving, connection: socket.socket) -> None:
        connection.sendall(start)
        while not server.stopped.wait(pause) if pause else not server.stopped.is_set():
            connection.sendall(forever)

    return run


def refusing_address() -> str:
    """An address of this machine that refuses connections."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


@contextlib.contextmanager
def deaf_address() -> Iterator[str]:
    """An address that neither accepts nor refuses connections: its backlog is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def self_signed(folder: Path) -> tuple[Path, Path] | None:
    """A self-signed certificate for 127.0.0.1 and its key; None without openssl."""
    if shutil.which("openssl") is None:
        return None
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*command.split(), *names, *files], check=True, capture_output=True)
    return certificate, key


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n"

NO_ANSWER: dict[str, tuple[Behaviour, str]] = {
    "accepts and closes": (unread(hang_up()), "closed the connection without an answer"),
    "resets": (raw(b"HTTP", reset=True), "closed the connection without an answer"),
    "closes without an answer": (hang_up(), "closed the connection without an answer"),
    "says nothing": (silence(), "did not answer in time"),
    "stops in the headers": (raw(HEAD, HEAD, pause=9), "did not answer in time"),
    "drips headers": (drip(HEAD, b"X-Wait: 1\r\n", 0.1), "did not answer in time"),
    "drips one header": (drip(HEAD + b"X-Wait: ", b"1", 0.1), "did not answer in time"),
    "stops in the body": (raw(HEAD + b"\r\n{", b"}", pause=9), "did not answer in time"),
    "drips a body": (drip(HEAD + b"\r\n", b" ", 0.1), "did not answer in time"),
    "drips chunks": (
        drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n", 0.1),
        "did not answer in time",
    ),
    "cuts the body": (raw(message(b'{"status": 200', 200, 100)), "cut its answer off"),
    "cuts the headers": (raw(b"HTTP/1.1 200 OK\r\nContent-Le"), "is not JSON"),
    "cuts a chunk": (
        raw(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{"status'),
        "cut its answer off",
    ),
    "sends wrong chunks": (
        raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}"),
        "cut its answer off",
    ),
    "sends an endless body": (drip(b"HTTP/1.1 200 OK\r\n\r\n", b" " * 10_000, 0), "too large"),
    "sends endless headers": (
        drip(b"HTTP/1.1 200 OK\r\n", b"X-More: 1\r\n", 0),
        "did not answer in HTTP",
    ),
    "sends garbage": (raw(bytes(range(128, 256)) * 20), "did not answer in HTTP"),
    "greets like another protocol": (unread(raw(b"SSH-2.0-x\r\n")), "did not answer in HTTP"),
    "sends a compressed bomb": (
        answer(gzip.compress(b" " * 10_000_000), Content_Encoding="gzip"),
        "too large",
    ),
    "compresses wrongly": (
        answer(b"not gzip at all", Content_Encoding="gzip"),
        "could not be decompressed",
    ),
    "redirects": (
        answer(b"", 302, Location="http://127.0.0.1:1/elsewhere"),
        "redirect, which is not followed",
    ),
    "redirects and keeps the method": (
        answer(b"", 307, Location="/elsewhere"),
        "redirect, which is not followed",
    ),
}
