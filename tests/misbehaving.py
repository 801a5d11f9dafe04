"""An HTTP server over a real socket that does to each request what its script says.

    with Misbehaving(answer(b"<html>", status=502), envelope(OK)) as server:
        ...

The first request gets the first behaviour, and so on; the last one goes on for ever.
"""

from __future__ import annotations

import contextlib
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
        """Texts and files, as Django reads them."""
        meta = {
            "CONTENT_TYPE": self.headers["content-type"],
            "CONTENT_LENGTH": self.headers["content-length"],
        }
        handler = MemoryFileUploadHandler()
        handler.handle_raw_input(BytesIO(), meta, self.length, "")
        texts, files = MultiPartParser(meta, BytesIO(self.body), [handler]).parse()
        return {key: str(texts[key]) for key in texts}, {key: files[key] for key in files}


Behaviour = Callable[["Misbehaving", socket.socket], None]
"""Writes what it likes to the socket; the connection is closed after all but `answer`."""


class Misbehaving:
    """`keep=False` reads bodies without keeping them; `tls` is a certificate's and a key's file."""

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
        # Wakes the accept, which closing alone does not.
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
        # The handshake apart: wrapping empties `plain`, and the end must find what is open.
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
    """The same before anything of the request was read."""

    def run(server: Misbehaving, connection: socket.socket) -> None:
        behaviour(server, connection)

    run.unread = True  # type: ignore[attr-defined]
    return run


def raw(*pieces: bytes, pause: float = 0.0, reset: bool = False) -> Behaviour:
    """These bytes, with a pause before each but the first; then the end, or a reset."""

    def run(server: Misbehaving, connection: socket.socket) -> None:
        for number, piece in enumerate(pieces):
            if number and pause and server.stopped.wait(pause):
                return
            connection.sendall(piece)
        if reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    return run


def message(body: bytes, status: int = 200, length: int | None = None, /, **headers: str) -> bytes:
    """A whole answer as bytes; `length` is the Content-Length where that is to be a lie."""
    lines = [f"HTTP/1.1 {status} Whatever"]
    lines.append(f"Content-Length: {len(body) if length is None else length}")
    lines += [f"{key.replace('_', '-')}: {value}" for key, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def answer(body: bytes, status: int = 200, **headers: str) -> Behaviour:
    """A whole answer, on a connection that stays open."""
    return _keeps_alive(raw(message(body, status, None, **headers)))


def envelope(body: Any, status: int = 200) -> Behaviour:
    """A well-formed envelope. NaN goes out as such."""
    fields = {"status": status, "body": body, "htmlencoded": False, "last_modified": 0}
    return answer(json.dumps(fields).encode())


def hang_up() -> Behaviour:
    return raw()


def silence() -> Behaviour:
    def run(server: Misbehaving, connection: socket.socket) -> None:
        server.stopped.wait(30)

    return run


def drip(start: bytes, forever: bytes, pause: float) -> Behaviour:
    """`start`, and then `forever` again and again."""

    def run(server: Misbehaving, connection: socket.socket) -> None:
        connection.sendall(start)
        while not server.stopped.wait(pause) if pause else not server.stopped.is_set():
            connection.sendall(forever)

    return run


def refusing_address() -> str:
    """An address of this machine where nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


@contextlib.contextmanager
def deaf_address() -> Iterator[str]:
    """An address that takes no connection and refuses none: its queue is full."""
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
    """A certificate for 127.0.0.1 that nobody vouches for, and its key; None without openssl."""
    if shutil.which("openssl") is None:
        return None
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*command.split(), *names, *files], check=True, capture_output=True)
    return certificate, key
