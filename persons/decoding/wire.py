"""Messages between a process and its helper: a length, JSON, and passed file descriptors.

Answers from a helper are untrusted: it has read hostile bytes, so they are only parsed as data.
"""

from __future__ import annotations

import json
import os
import socket
import struct
from collections.abc import Sequence
from typing import Any

_HEAD = struct.Struct(">I")
LARGEST_MESSAGE = 16_000_000
LARGEST_ANSWER = 4_000_000
_CLOEXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)


class Hostile(Exception):
    """A malformed message, which no honest peer sends."""


def send(to: socket.socket, message: dict[str, Any], files: Sequence[int] = ()) -> None:
    body = json.dumps(message, separators=(",", ":")).encode()
    data = _HEAD.pack(len(body)) + body
    sent = socket.send_fds(to, [data], list(files)) if files else 0
    # Sending nothing fails too if the peer has ended, as it may have over what it was just sent.
    if sent < len(data):
        to.sendall(memoryview(data)[sent:])


def receive(
    source: socket.socket, *, most_files: int, largest: int = LARGEST_MESSAGE
) -> tuple[dict[str, Any], list[int]]:
    """Receive a message and its files, which the caller must close.

    Raises EOFError at the end, TimeoutError by the socket's own timeout, and Hostile.
    """
    head, files = b"", []
    try:
        while len(head) < _HEAD.size:
            piece, more, _, _ = socket.recv_fds(
                source, _HEAD.size - len(head), most_files, _CLOEXEC
            )
            files += more
            if not piece:
                raise EOFError
            head += piece
        (length,) = _HEAD.unpack(head)
        if length > largest or len(files) > most_files:
            raise Hostile("a message is too large")
        message = json.loads(_exactly(source, length))
        if not isinstance(message, dict):
            raise Hostile("a message is no object")
    except BaseException as error:
        for one in files:
            os.close(one)
        if isinstance(error, ValueError | RecursionError):
            raise Hostile(f"a message is no JSON: {type(error).__name__}") from None
        raise
    return message, files


def _exactly(source: socket.socket, length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        piece = source.recv(min(1 << 16, length - len(data)))
        if not piece:
            raise EOFError
        data += piece
    return bytes(data)
