"""A decoder process that misbehaves on pictures that ask for it, and otherwise works normally.

`misbehaving` puts it in place of the real one: nothing in the program can name it.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from typing import Any, BinaryIO

from persons import decoding
from persons.decoders import operations, seclusion, serving
from persons.decoding import memory

MARK = b"misbehave:"
"""The text after it in a picture, up to a semicolon, names the misdeed to do on opening it."""

_asker: list[socket.socket] = []
_broken: list[Callable[[], None]] = []
"""What happens over the next picture, whatever that asks for."""


def asks_for(what: str, picture: bytes) -> bytes:
    """The JPEG with a request for that misdeed, in a comment, which decoders ignore."""
    comment = MARK + what.encode() + b";"
    segment = b"\xff\xfe" + struct.pack(">H", len(comment) + 2) + comment
    return picture[:2] + segment + picture[2:]


@contextmanager
def misbehaving(**limits: Any) -> Iterator[None]:
    """Use the misbehaving decoder in this process, by default with 2 seconds and 300 MB."""
    told = {"module": __name__, "seconds": 2.0, "memory": 300_000_000, **limits}
    before = decoding.configure(**told)
    try:
        yield
    finally:
        decoding.configure(**{one.name: getattr(before, one.name) for one in fields(before)})


# --- In the decoder process ---


def main(arguments: Sequence[str]) -> None:
    table: dict[str, Callable[..., Any]] = operations.OPERATIONS  # type: ignore[assignment]
    for name, operation in list(table.items()):
        table[name] = _watched(operation)
    serve = serving.serve

    def watched(asker: socket.socket, *more: Any) -> None:
        _asker.append(asker)
        serve(asker, *more)

    serving.serve = watched  # type: ignore[assignment]
    serving.main(arguments)


def _watched(operation: Callable[..., Any]) -> Callable[..., Any]:
    def watched(file: BinaryIO, **params: Any) -> Any:
        for happens in _broken:
            happens()
        data = file.read()
        file.seek(0)
        if MARK in data:
            wanted = data.split(MARK)[1].split(b";")[0].decode()
            answer = MISDEEDS[wanted]()
            if answer is not None:
                return answer
        return operation(file, **params)

    return watched


def _abort() -> None:
    os.abort()


def _loop() -> None:
    while True:
        pass


def _sleep() -> None:
    time.sleep(1000)


def _eat() -> None:
    eaten = []
    while True:
        eaten.append(bytearray(b"x") * 10_000_000)


def _write(data: bytes) -> None:
    _asker[0].sendall(data)
    time.sleep(1000)


def _say(answer: Any, files: Sequence[int] = ()) -> None:
    data = json.dumps(answer).encode()
    socket.send_fds(_asker[0], [struct.pack(">I", len(data)) + data], list(files))
    time.sleep(1000)


def _close() -> None:
    _asker[0].shutdown(socket.SHUT_RDWR)
    time.sleep(1000)


def _unsealed() -> None:
    file = os.memfd_create("could shrink")
    os.write(file, bytes(1000))
    _say({"done": {"size": [10, 10]}, "sizes": [1000]}, [file])


def _pipe() -> None:
    _say({"done": {}, "sizes": [1000]}, [os.pipe()[0]])


def _short() -> None:
    _say({"done": {}, "sizes": [2000]}, [memory.written([bytes(1000)])])


def _raise() -> None:
    raise RuntimeError("a table that an earlier picture overwrote")


def _out_of_memory() -> None:
    raise MemoryError


def _reach_out() -> tuple[dict[str, Any], tuple[()]]:
    """Try what an attacker in control of the decoder would try."""
    failures: dict[str, Callable[[], object]] = {
        "read": lambda: os.open("/etc/hostname", os.O_RDONLY),
        "list": lambda: os.listdir("/proc"),
        "write": lambda: os.open("/tmp/taken-over", os.O_WRONLY | os.O_CREAT),
        "run": lambda: os.execv("/bin/true", ["true"]),
        "connect": lambda: socket.create_connection(("127.0.0.1", 9), timeout=1),
        "kill": lambda: os.kill(os.getppid(), 0),
    }
    found = {}
    for name, fail in failures.items():
        try:
            fail()
        except OSError as error:
            found[name] = error.errno
        else:
            found[name] = 0
    return {"done": {"errors": found, "can": seclusion.enter_sandbox()}}, ()


def _when() -> tuple[dict[str, Any], tuple[()]]:
    began = time.monotonic()
    time.sleep(0.2)
    return {"done": {"began": began, "ended": time.monotonic()}}, ()


MISDEEDS: dict[str, Callable[[], Any]] = {
    "abort": _abort,
    "exit": lambda: os._exit(0),
    "loop": _loop,
    "sleep": _sleep,
    "eat": _eat,
    "noise": lambda: _write(os.urandom(4096)),
    "nothing": lambda: _write(struct.pack(">I", 0)),
    "endless": lambda: _write(struct.pack(">I", 0xFFFFFFFF)),
    "deep": lambda: _write(struct.pack(">I", 200_000) + b"[" * 200_000),
    "list": lambda: _say([1, 2]),
    "other": lambda: _say({"done": {"size": "x", "format": 7}, "sizes": []}),
    "negative": lambda: _say({"done": {}, "sizes": [-1, 1]}),
    "huge": lambda: _say({"done": {}, "sizes": [1 << 40]}),
    "code": lambda: _say({"refused": "x" * 1000, "text": "<script>"}),
    "close": _close,
    "unsealed": _unsealed,
    "pipe": _pipe,
    "short": _short,
    "break memory": lambda: _broken.append(os.abort),
    "break a table": lambda: _broken.append(_raise),
    "use up memory": lambda: _broken.append(_out_of_memory),
    "when": _when,
    "parent": lambda: ({"done": {"parent": os.getppid()}}, ()),
    "reach out": _reach_out,
}
