"""Connections that add the token and enforce the deadline, hidden from requests and urllib3.

The API accepts the token only in the query string. The connection itself adds it to the request
line, so the URL that requests and urllib3 know, log and put into exceptions never holds it.
"""

from __future__ import annotations

import http.client
import io
import logging
import re
import socket
import time
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from .tokens import Secret


@dataclass(frozen=True, slots=True)
class Sending:
    """State of the exchange that runs in this context."""

    query: Mapping[str, str | Secret] = field(repr=False)
    deadline: float
    read_timeout: float

    def target(self, url: str) -> str:
        if not self.query:
            return url
        query = {key: plain(value) for key, value in self.query.items()}
        return f"{url}?{urlencode(query, quote_via=quote, safe='')}"

    def patience(self) -> float:
        """Seconds that the next read or write may take. Raises TimeoutError."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the exchange took too long")
        return min(left, self.read_timeout)


SENDING: ContextVar[Sending | None] = ContextVar("rollcall_sending", default=None)


def _target(url: str) -> str:
    sending = SENDING.get()
    return sending.target(url) if sending else url


class _TimedReader(io.RawIOBase):
    """Enforces the deadline for the whole answer, headers included, even if it arrives byte by
    byte."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket) -> None:
        self._raw = raw
        self._sock = sock

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if sending := SENDING.get():
            self._sock.settimeout(sending.patience())
        read: int | None = self._raw.readinto(buffer)
        return read

    def close(self) -> None:
        self._raw.close()
        super().close()


class _TimedResponse(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_TimedReader(self.fp.detach(), sock))


class _Plain(HTTPConnection):
    response_class = _TimedResponse
    debuglevel = 0  # of http.client: prints the request line

    def putrequest(self, method: str, url: str, *args: Any, **kwargs: Any) -> None:
        super().putrequest(method, _target(url), *args, **kwargs)


class _Secure(HTTPSConnection):
    response_class = _TimedResponse
    debuglevel = 0

    def putrequest(self, method: str, url: str, *args: Any, **kwargs: Any) -> None:
        super().putrequest(method, _target(url), *args, **kwargs)


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _Plain


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _Secure


_POOLS = {"http": _PlainPool, "https": _SecurePool}


class Adapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        if proxy.lower().startswith("socks"):
            # SOCKS pools are of another class, which would send the request without its token.
            raise requests.exceptions.InvalidProxyURL("SOCKS proxies are not supported")
        manager = super().proxy_manager_for(proxy, **kwargs)
        manager.pool_classes_by_scheme = _POOLS
        return manager


class RedactTokens(logging.Filter):
    """Redacts tokens in log records. Second line of defence: a server may echo the token in a
    header that urllib3 logs."""

    _QUERY = re.compile(r"((?:oauth_token|access_token|refresh_token|client_secret)=)[^&\s\"'<>]+")

    def filter(self, record: logging.LogRecord) -> bool:
        try:
            text = record.getMessage()
        except (TypeError, ValueError):
            return True  # a wrong format, which logging itself reports
        clean = self._QUERY.sub(r"\1***", text)
        if clean != text:
            record.msg, record.args = clean, None
        # urllib3 adds a traceback to some warnings, and handlers may print its frames' variables.
        record.exc_info = record.exc_text = None
        return True


# A logging filter applies only to its own logger, not to child loggers.
for _name_of_logger in (
    "urllib3.connection",
    "urllib3.connectionpool",
    "urllib3.poolmanager",
    "urllib3.response",
    "urllib3.util.retry",
):
    logging.getLogger(_name_of_logger).addFilter(RedactTokens())


def plain(value: str | Secret) -> str:
    return value.reveal() if isinstance(value, Secret) else value
