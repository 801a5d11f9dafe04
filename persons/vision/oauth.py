"""Access tokens by client credentials, from the OAuth server."""

from __future__ import annotations

import json
import math
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

from .errors import VisionTemporary, VisionUnauthorized
from .tokens import Grant, Problem, Secret, Stored, TokenVault

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


class Poster(Protocol):
    def post_json(self, url: str, fields: Mapping[str, str | Secret]) -> tuple[int, Secret]:
        """HTTP status and text of the answer. Raises VisionTemporary where there was none."""
        ...


@dataclass(frozen=True, slots=True)
class Timing:
    """When tokens are renewed, in seconds.

    A token is renewed `margin` seconds before it expires. Whoever meets a renewal under way uses
    the old token while it lasts, and waits up to `patience` seconds where it has expired. A renewal
    that failed is not tried again for `rest` seconds, or `long_rest` where the server refused the
    credentials. `lease` must be longer than two requests to the server can take.
    `lifetime` counts where the server names none.
    """

    margin: float = 300.0
    lifetime: float = 3600.0
    lease: float = 90.0
    patience: float = 30.0
    rest: float = 5.0
    long_rest: float = 60.0
    clock: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep


class ClientCredentials:
    """Access tokens by client credentials, renewed ahead of expiry by one process for all."""

    def __init__(
        self,
        client_id: str,
        client_secret: Secret,
        oauth_url: str,
        vault: TokenVault,
        http: Poster,
        timing: Timing | None = None,
    ) -> None:
        timing = timing or Timing()
        self._client_id = client_id
        self._client_secret = client_secret
        self._url = oauth_url
        self._host = urlsplit(oauth_url).hostname or "the OAuth server"
        self._vault = vault
        self._http = http
        self._margin = timing.margin
        self._lifetime = timing.lifetime
        self._lease = timing.lease
        self._patience = timing.patience
        self._rest = timing.rest
        self._long_rest = timing.long_rest
        self._clock = timing.clock
        self._sleep = timing.sleep
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
                spare = self._spare(stored.grant, stale)
                if (token := self._known_token(stored, stale, spare)) is not None:
                    return token
                if holding:
                    return self._fetch_and_store(claimant, stored.grant, spare)
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

    def _known_token(
        self, stored: Stored, stale: Secret | None, spare: Secret | None
    ) -> Secret | None:
        """What the vault has without asking the server; None where the server must be asked.

        Raises VisionUnauthorized where the server has just given the token that Vision refused, and
        the stored problem while the server is not to be asked again.
        """
        grant = stored.grant
        if grant is not None and grant.access == stale:
            self._refuse_if_young(grant)
        elif grant is not None and self._is_fresh(grant):
            self._known = grant
            return grant.access
        if stored.problem is not None and stored.problem.until > self._clock():
            return self._or_raise(spare, stored.problem)
        return None

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

    def _fetch_and_store(self, claimant: str, old: Grant | None, spare: Secret | None) -> Secret:
        outcome = self._fetch(old.refresh if old else None)
        if isinstance(outcome, Problem):
            self._vault.store(claimant, Stored(old, outcome))
            return self._or_raise(spare, outcome)
        # If the claim was lost the other's token is the one that is kept; this one works as well.
        if self._vault.store(claimant, Stored(outcome)):
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
