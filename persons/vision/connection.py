"""Connections that know the token and their deadline, and tell neither to requests nor urllib3.

The token travels in the query string, because the API takes it nowhere else. So it is added to the
request line by the connection itself: the URL that requests and urllib3 know, log and put into
their exceptions never holds it.
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
    """What the connection must know of the exchange that runs in this context."""

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
    """Holds the whole answer, headers too, to the deadline, though it come a byte a minute."""

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
            # Its pools are of another kind, which would send the request without its token.
            raise requests.exceptions.InvalidProxyURL("SOCKS proxies are not supported")
        manager = super().proxy_manager_for(proxy, **kwargs)
        manager.pool_classes_by_scheme = _POOLS
        return manager


class RedactTokens(logging.Filter):
    """Second line of defence: a server may send the token back in a header that urllib3 logs."""

    _QUERY = re.compile(r"((?:oauth_token|access_token|refresh_token|client_secret)=)[^&\s\"'<>]+")

    def filter(self, record: logging.LogRecord) -> bool:
        try:
            text = record.getMessage()
        except (TypeError, ValueError):
            return True  # a wrong format: logging itself reports that
        clean = self._QUERY.sub(r"\1***", text)
        if clean != text:
            record.msg, record.args = clean, None
        # urllib3 adds a traceback to some warnings; handlers may print its frames' variables.
        record.exc_info = record.exc_text = None
        return True


# A filter counts only for the very logger that a line is written to, not for those below it.
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
