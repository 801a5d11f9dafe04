"""One HTTP exchange through requests: pooled connections, deadlines and error mapping.

Failures are returned as values without a traceback, and raised only where no frame holds a secret.
See `connection` for how the token gets into the request.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from http.cookiejar import DefaultCookiePolicy
from typing import Any, Protocol, cast
from urllib.parse import quote, urlsplit

import requests
import urllib3

from .connection import SENDING, Adapter, Sending, plain
from .errors import VisionError, VisionTemporary
from .tokens import Secret
from .types import Answer

CHUNK = 64 * 1024
# Anything shorter is no real token, and might occur in an answer by chance.
_TOKEN_MIN = 12


def host_of(url: str) -> str:
    """Host and port of a URL. Raises ValueError for an invalid URL, without quoting it."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError("the address is malformed") from None
    if parts.scheme not in ("http", "https") or not host:
        raise ValueError("the address must be http:// or https:// and a host")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("the address must hold no user, query or fragment")
    host = f"[{host}]" if ":" in host else host
    return f"{host}:{port}" if port else host


# The body


class Body(Protocol):
    """A request body: iterated anew for each sending, of a known length."""

    content_type: str

    @property
    def secrets(self) -> Sequence[Secret]:
        """Secrets in the body: an exception's text might quote what was being sent."""
        ...

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[bytes | memoryview]: ...


class _JsonBody:
    """A JSON body that reveals its secrets only while it is sent."""

    content_type = "application/json"

    def __init__(self, fields: Mapping[str, str | Secret]) -> None:
        self._fields = fields
        self.secrets = [value for value in fields.values() if isinstance(value, Secret)]

    def __len__(self) -> int:
        return len(self._dump())

    def __iter__(self) -> Iterator[bytes]:
        yield self._dump()

    def _dump(self) -> bytes:
        return json.dumps({key: plain(value) for key, value in self._fields.items()}).encode()


# The exchange


class _TooLarge(Exception):
    pass


class _Redirected(Exception):
    pass


_FAILURES = (
    requests.RequestException,
    urllib3.exceptions.HTTPError,
    http.client.HTTPException,
    OSError,
    _TooLarge,
    _Redirected,
)


class Http:
    """A pool of connections that follows no redirects, keeps no cookies and reads no netrc.

    One instance serves all threads of a process, and may be made before a fork. `read_timeout`
    applies to each read, `deadline` to the whole exchange, of which connecting takes at most
    `connect_timeout`. An answer above `max_answer` bytes is refused while it is read. The
    environment's HTTPS_PROXY, NO_PROXY and REQUESTS_CA_BUNDLE apply; `ca_bundle` replaces the
    usual authorities.
    """

    def __init__(
        self,
        *,
        connect_timeout: float = 5.0,
        read_timeout: float = 60.0,
        deadline: float = 120.0,
        max_answer: int = 20_000_000,
        pool_size: int = 32,
        ca_bundle: str | None = None,
    ) -> None:
        self._timeouts = (connect_timeout, read_timeout)
        self._deadline = deadline
        self._max_answer = max_answer
        self._pool_size = pool_size
        self._verify = ca_bundle or True
        self._session = self._new_session()
        self._requests: dict[str, tuple[requests.PreparedRequest, Any]] = {}
        self._pid = os.getpid()

    def post(self, url: str, body: Body, query: Mapping[str, str | Secret]) -> Answer:
        """The answer, whatever its HTTP status except a redirect. Raises VisionTemporary.

        Secrets of `query` that the answer repeats are replaced by asterisks, because it is stored.
        """
        host_of(url)  # refuses an invalid URL before there is a secret to guard
        outcome = self._exchange(url, body, query)
        if isinstance(outcome, Answer):
            return outcome
        try:
            raise outcome
        finally:
            del outcome  # otherwise frame and exception reference each other

    def post_json(self, url: str, fields: Mapping[str, str | Secret]) -> tuple[int, Secret]:
        """HTTP status and text of the answer, which may hold tokens. Raises VisionTemporary."""
        answer = self.post(url, _JsonBody(fields), {})
        return answer.http_status, Secret(answer.raw.decode("utf-8", "replace"))

    def close(self) -> None:
        self._session.close()

    def _exchange(
        self, url: str, body: Body, query: Mapping[str, str | Secret]
    ) -> Answer | BaseException:
        """Never raises; no exception that it returns has a traceback or a context.

        Below this frame local variables hold the plain token.
        """
        sending = Sending(query, time.monotonic() + self._deadline, self._timeouts[1])
        context = SENDING.set(sending)
        try:
            return _without_secrets(self._ask(url, body), query.values())
        except _FAILURES as error:
            return _fault(host_of(url), error)
        except BaseException as error:  # noqa: BLE001 - raised again by `post`
            # A worker's time limit, Ctrl-C or a bug. The traceback is given as source lines, which
            # hold no values.
            where = "".join(traceback.format_tb(error.__traceback__))
            if any(
                form in f"{error!r} {error}" for form in _forms([*query.values(), *body.secrets])
            ):
                error = RuntimeError(f"{type(error).__name__}, whose text held a secret")
            error.__cause__ = error.__context__ = None
            error.add_note(f"Raised at:\n{where}")
            return error.with_traceback(None)
        finally:
            SENDING.reset(context)

    def _ask(self, url: str, body: Body) -> Answer:
        if self._pid != os.getpid():
            # After a fork the connections belong to the parent.
            self._session, self._pid = self._new_session(), os.getpid()
        prepared, environment = self._prepared(url)
        request = prepared.copy()
        request.headers["Content-Type"] = body.content_type
        request.headers["Content-Length"] = str(len(body))
        request.body = cast("Any", _TimedBody(body))
        with self._session.send(
            request, timeout=self._timeouts, allow_redirects=False, **environment
        ) as response:
            if 300 <= response.status_code < 400:
                raise _Redirected
            return Answer(self._read(response), response.status_code)

    def _prepared(self, url: str) -> tuple[requests.PreparedRequest, Any]:
        """The parts of a request to `url` that never change, and the environment's settings for
        it. Cached, because computing either costs as much as a query."""
        if url not in self._requests:
            request = requests.Request("POST", url, headers={"Accept": "application/json"})
            session = self._session
            self._requests[url] = (
                session.prepare_request(request),
                session.merge_environment_settings(url, {}, True, self._verify, None),
            )
        return self._requests[url]

    def _read(self, response: requests.Response) -> bytes:
        chunks, size = [], 0
        for chunk in response.raw.stream(CHUNK, decode_content=True):
            size += len(chunk)
            if size > self._max_answer:
                raise _TooLarge
            chunks.append(chunk)
        return b"".join(chunks)

    def _new_session(self) -> requests.Session:
        session = requests.Session()
        session.headers.update({"User-Agent": "Rollcall", "Accept-Encoding": "identity"})
        session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        session.auth = _no_auth
        adapter = Adapter(pool_connections=4, pool_maxsize=self._pool_size)
        session.mount("http://", adapter)
        session.mount("https://", adapter)
        return session


def _no_auth(request: requests.PreparedRequest) -> requests.PreparedRequest:
    # Without this, requests looks for the host's password in ~/.netrc.
    return request


class _TimedBody:
    """`body`, with the deadline enforced while it is sent."""

    def __init__(self, body: Body) -> None:
        self._body = body

    def __len__(self) -> int:
        return len(self._body)

    def __iter__(self) -> Iterator[bytes | memoryview]:
        sending = SENDING.get()
        for piece in self._body:
            if sending:
                sending.patience()
            yield piece


def _without_secrets(answer: Answer, values: Iterable[str | Secret]) -> Answer:
    raw = answer.raw
    for form in _forms(values):
        raw = raw.replace(form.encode(), b"***")
    return answer if raw is answer.raw else Answer(raw, answer.http_status)


def _forms(values: Iterable[str | Secret]) -> Iterator[str]:
    """Forms of each secret: raw, URL-encoded, and with slashes escaped as some JSON writers do."""
    for value in values:
        if isinstance(value, Secret) and len(value.reveal()) >= _TOKEN_MIN:
            text = value.reveal()
            yield from (text, quote(text, safe=""), text.replace("/", "\\/"))


# Faults


_FAULTS: tuple[tuple[tuple[type[BaseException], ...], str], ...] = (
    ((_TooLarge,), "sent an answer that is too large."),
    ((_Redirected,), "answered with a redirect, which is not followed: check its address."),
    (
        (requests.exceptions.ProxyError, requests.exceptions.InvalidProxyURL),
        "could not be reached through the proxy.",
    ),
    ((socket.gaierror,), "has a name that could not be resolved."),
    ((ssl.SSLCertVerificationError,), "has a certificate that is not trusted."),
    ((ssl.SSLError, requests.exceptions.SSLError), "failed to agree on TLS."),
    ((ConnectionRefusedError,), "refused the connection."),
    ((requests.exceptions.ConnectTimeout,), "took no connection in time."),
    ((urllib3.exceptions.NewConnectionError,), "could not be reached."),
    ((TimeoutError, urllib3.exceptions.ReadTimeoutError), "did not answer in time."),
    # Subclasses come before their base classes.
    (
        (ConnectionResetError, BrokenPipeError, ConnectionAbortedError),
        "closed the connection without an answer.",
    ),
    ((http.client.IncompleteRead,), "cut its answer off."),
    ((urllib3.exceptions.DecodeError,), "sent an answer that could not be decompressed."),
    ((http.client.HTTPException,), "did not answer in HTTP."),
)


_NEVER_ARRIVED = frozenset(
    {
        "could not be reached through the proxy.",
        "has a name that could not be resolved.",
        "has a certificate that is not trusted.",
        "failed to agree on TLS.",
        "refused the connection.",
        "took no connection in time.",
        "could not be reached.",
    }
)


def _fault(host: str, error: BaseException) -> VisionError:
    """An error with the host and the cause, but no library text, which may quote what was sent."""
    causes = tuple(_causes(error))
    for kinds, text in _FAULTS:
        if any(isinstance(cause, kinds) for cause in causes):
            fault = VisionTemporary(f"{host} {text}")
            fault.sent = text not in _NEVER_ARRIVED
            return fault
    return VisionTemporary(f"{host} could not be asked ({type(error).__name__}).")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The exception and all exceptions it wraps, in whichever way requests and urllib3 wrap
    them."""
    seen: set[int] = set()
    waiting: list[object] = [error]
    while waiting:
        cause = waiting.pop(0)
        if not isinstance(cause, BaseException) or id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        waiting += [*cause.args, getattr(cause, "reason", None), cause.__cause__, cause.__context__]
