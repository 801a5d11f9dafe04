"""Where the cloud's token comes from, and how it is kept out of everything but the wire.

A service token never expires. Client credentials give an access token of one hour and a refresh
token; an account has at most 25 live access tokens, so all processes share one, and one of them
renews it for all. Source: VK Cloud Vision documentation, "Tokens".
"""

from __future__ import annotations

import hmac
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol, Self

from .errors import VisionError, VisionTemporary, VisionUnauthorized

MASK = "•••"


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
        """What was stored last; `Stored()` at first. Never waits for a claim."""
        ...

    def claim(self, claimant: str, seconds: float) -> bool:
        """Whether `claimant` alone may renew for so long. False while another's claim lasts."""
        ...

    def store(self, claimant: str, stored: Stored) -> bool:
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

    def store(self, claimant: str, stored: Stored) -> bool:
        with self._lock:
            if self._claim[0] != claimant:
                return False
            self._stored, self._claim = stored, ("", 0.0)
            return True

    def release(self, claimant: str) -> None:
        with self._lock:
            if self._claim[0] == claimant:
                self._claim = ("", 0.0)
