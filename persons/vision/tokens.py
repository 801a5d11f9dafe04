"""Where the cloud's token comes from, and how it is kept out of everything but the wire.

A service token never expires. Client credentials give an access token of one hour and a refresh
token; an account has at most 25 live access tokens, so all processes share one, and one of them
renews it for all. Source: VK Cloud Vision documentation, "Tokens".
"""

from __future__ import annotations

import hmac
import json
import math
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol, Self
from urllib.parse import urlsplit

from .errors import VisionError, VisionTemporary, VisionUnauthorized

MASK = "•••"

# The error codes of RFC 6749, 5.2. Nothing else of an answer is quoted: it may repeat a secret.
_OAUTH_ERRORS = frozenset(
    {
        "invalid_request",
        "invalid_client",
        "invalid_grant",
        "unauthorized_client",
        "unsupported_grant_type",
        "invalid_scope",
    }
)


class Secret:
    """A text that no repr, log line, traceback, error report or pickle shows.

    Only `reveal` gives it, and only code that turns every exception into one without a traceback
    may call that: an error report prints the local variables of every frame.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return MASK

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._text.encode(), other._text.encode())

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: Any) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        # A pickle is how it would get into a queue or a cache.
        raise TypeError("a Secret is not serialised")


class TokenSource(Protocol):
    def token(self) -> Secret:
        """A token to send. Raises VisionTemporary or VisionUnauthorized where there is none."""
        ...

    def renew(self, stale: Secret) -> Secret:
        """Another token than `stale`, which Vision refused.

        Raises VisionUnauthorized where there can't be one, VisionTemporary where not now.
        """
        ...


class ServiceToken:
    """A token that never expires: once it is refused, only an owner can help."""

    def __init__(self, token: Secret) -> None:
        self._token = token

    def token(self) -> Secret:
        if not self._token:
            raise VisionUnauthorized("No Vision token is set.")
        return self._token

    def renew(self, stale: Secret) -> Secret:
        raise VisionUnauthorized("Vision refused the service token, and it can't be renewed.")


@dataclass(frozen=True, slots=True)
class Grant:
    """What the OAuth server gave. Times are seconds since the epoch."""

    access: Secret
    refresh: Secret | None
    obtained_at: float
    expires_at: float


@dataclass(frozen=True, slots=True)
class Problem:
    """Why the last renewal failed; until `until` no process asks the OAuth server again."""

    text: str
    final: bool
    """An owner must act; otherwise it passes by itself."""
    until: float

    def error(self) -> VisionError:
        return VisionUnauthorized(self.text) if self.final else VisionTemporary(self.text)


@dataclass(frozen=True, slots=True)
class Stored:
    grant: Grant | None = None
    problem: Problem | None = None


class TokenVault(Protocol):
    """One account's grant, shared by all processes, with a claim on the right to renew it.

    The claim is a lease and not a lock, because a network call is made under it: a process that
    dies leaves nothing locked, and no database transaction is open meanwhile. Each method is
    atomic, and what it wrote is seen by the next call of any process.
    """

    def read(self) -> Stored:
        """What was settled last; `Stored()` at first. Never waits for a claim."""
        ...

    def claim(self, claimant: str, seconds: float) -> bool:
        """Whether `claimant` alone may renew for so long. False while another's claim lasts."""
        ...

    def settle(self, claimant: str, stored: Stored) -> bool:
        """Store and give up the claim, in one write. False, and no change, if it was lost."""
        ...

    def release(self, claimant: str) -> None:
        """Give up the claim, if it is still this claimant's."""
        ...


class MemoryVault:
    """A TokenVault for the threads of one process."""

    def __init__(
        self, stored: Stored | None = None, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._stored = stored or Stored()
        self._claim = ("", 0.0)
        self._clock = clock
        self._lock = threading.Lock()

    def read(self) -> Stored:
        return self._stored

    def claim(self, claimant: str, seconds: float) -> bool:
        with self._lock:
            holder, until = self._claim
            if holder and until > self._clock():
                return False
            self._claim = (claimant, self._clock() + seconds)
            return True

    def settle(self, claimant: str, stored: Stored) -> bool:
        with self._lock:
            if self._claim[0] != claimant:
                return False
            self._stored, self._claim = stored, ("", 0.0)
            return True

    def release(self, claimant: str) -> None:
        with self._lock:
            if self._claim[0] == claimant:
                self._claim = ("", 0.0)


class Poster(Protocol):
    def post_json(self, url: str, fields: Mapping[str, str | Secret]) -> tuple[int, Secret]:
        """HTTP status and text of the answer. Raises VisionTemporary where there was none."""
        ...


class ClientCredentials:
    """Access tokens by client credentials, renewed ahead of expiry by one process for all.

    A token is renewed `margin` seconds before it expires; whoever meets a renewal under way goes on
    with the old token while that lasts, and waits up to `patience` seconds when it does not. A
    renewal that failed is not tried again for `rest` seconds, or `long_rest` where the server
    refused the credentials. `lease` must be longer than two requests to the server can take.
    """

    def __init__(
        self,
        client_id: str,
        client_secret: Secret,
        oauth_url: str,
        vault: TokenVault,
        http: Poster,
        *,
        margin: float = 300.0,
        lifetime: float = 3600.0,
        lease: float = 90.0,
        patience: float = 30.0,
        rest: float = 5.0,
        long_rest: float = 60.0,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client_id = client_id
        self._client_secret = client_secret
        self._url = oauth_url
        self._host = urlsplit(oauth_url).hostname or "the OAuth server"
        self._vault = vault
        self._http = http
        self._margin = margin
        self._lifetime = lifetime
        self._lease = lease
        self._patience = patience
        self._rest = rest
        self._long_rest = long_rest
        self._clock = clock
        self._sleep = sleep
        # Spares a look into the vault on every call; a refusal by Vision ends its use.
        self._known: Grant | None = None

    def token(self) -> Secret:
        if self._known is not None and self._is_fresh(self._known):
            return self._known.access
        return self._renewed(None)

    def renew(self, stale: Secret) -> Secret:
        if self._known is not None and self._known.access == stale:
            self._known = None
        return self._renewed(stale)

    def _renewed(self, stale: Secret | None) -> Secret:
        """A fresh token that is not `stale`, from the vault or else from the server."""
        claimant = uuid.uuid4().hex
        give_up = self._clock() + self._patience
        holding = False
        try:
            while True:
                # Read again once the claim is held: the one who held it before may have renewed.
                stored = self._vault.read()
                grant = stored.grant
                if grant is not None and grant.access == stale:
                    self._refuse_if_young(grant)
                elif grant is not None and self._is_fresh(grant):
                    self._known = grant
                    return grant.access
                spare = self._spare(grant, stale)
                if stored.problem is not None and stored.problem.until > self._clock():
                    return self._or_raise(spare, stored.problem)
                if holding:
                    return self._settled(claimant, grant, spare)
                holding = self._vault.claim(claimant, self._lease)
                if holding:
                    continue
                if spare is not None:
                    return spare
                if self._clock() >= give_up:
                    raise VisionTemporary(f"A new token from {self._host} is still being fetched.")
                self._sleep(0.05)
        finally:
            if holding:
                self._vault.release(claimant)

    def _is_fresh(self, grant: Grant) -> bool:
        # A token that lives shorter than the margin would otherwise never be fresh.
        margin = min(self._margin, (grant.expires_at - grant.obtained_at) / 2)
        return self._clock() < grant.expires_at - margin

    def _spare(self, grant: Grant | None, stale: Secret | None) -> Secret | None:
        """The old token, if it is good for a while yet."""
        if grant is None or grant.access == stale or self._clock() >= grant.expires_at:
            return None
        return grant.access

    def _refuse_if_young(self, grant: Grant) -> None:
        # Otherwise an account without the right to Vision would fetch a token for every call.
        if 0 <= self._clock() - grant.obtained_at < self._margin:
            raise VisionUnauthorized("Vision refused a token that was issued moments ago.")

    @staticmethod
    def _or_raise(spare: Secret | None, problem: Problem) -> Secret:
        if spare is None:
            raise problem.error()
        return spare

    def _settled(self, claimant: str, old: Grant | None, spare: Secret | None) -> Secret:
        outcome = self._fetch(old.refresh if old else None)
        if isinstance(outcome, Problem):
            self._vault.settle(claimant, Stored(old, outcome))
            return self._or_raise(spare, outcome)
        # If the claim was lost the other's token is the one that is kept; this one works as well.
        if self._vault.settle(claimant, Stored(outcome)):
            self._known = outcome
        return outcome.access

    def _fetch(self, refresh: Secret | None) -> Grant | Problem:
        """By the refresh token if there is one; if that was refused, by the client's secret."""
        if refresh:
            outcome = self._post(
                refresh,
                {
                    "client_id": self._client_id,
                    "refresh_token": refresh,
                    "grant_type": "refresh_token",
                },
            )
            if isinstance(outcome, Grant) or not outcome.final:
                return outcome
        return self._post(
            None,
            {
                "client_id": self._client_id,
                "client_secret": self._client_secret,
                "grant_type": "client_credentials",
            },
        )

    def _post(self, refresh: Secret | None, fields: Mapping[str, str | Secret]) -> Grant | Problem:
        asked_at = self._clock()
        try:
            status, text = self._http.post_json(self._url, fields)
        except VisionTemporary as error:
            return self._problem(str(error))
        if 400 <= status < 500 and status not in (408, 429):
            code = _oauth_error(text)
            reason = f"HTTP {status}, {code}" if code else f"HTTP {status}"
            return self._problem(f"{self._host} refused the client ({reason}).", final=True)
        if status != 200:
            return self._problem(f"{self._host} gave no token (HTTP {status}).")
        grant = _read_grant(text, refresh, asked_at, self._lifetime)
        return grant or self._problem(f"{self._host} answered without a token.")

    def _problem(self, text: str, *, final: bool = False) -> Problem:
        return Problem(text, final, self._clock() + (self._long_rest if final else self._rest))


# These two handle secrets as plain text, so nothing that they call may raise past them.


def _read_grant(text: Secret, refresh: Secret | None, now: float, lifetime: float) -> Grant | None:
    """`refresh` is kept where the answer brings no new one."""
    fields = _fields(text)
    access, new, life = (fields.get(k) for k in ("access_token", "refresh_token", "expires_in"))
    if not isinstance(access, str) or not access:
        return None
    if isinstance(life, bool) or not isinstance(life, int | float) or not 0 < life < math.inf:
        life = lifetime
    if isinstance(new, str) and new:
        refresh = Secret(new)
    return Grant(Secret(access), refresh, now, now + min(float(life), lifetime))


def _oauth_error(text: Secret) -> str:
    code = _fields(text).get("error")
    return code if isinstance(code, str) and code in _OAUTH_ERRORS else ""


def _fields(text: Secret) -> dict[str, Any]:
    try:
        fields = json.loads(text.reveal())
    except (ValueError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}
