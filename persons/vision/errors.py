"""Errors of Vision backends. Each says what its catcher should do next."""

from __future__ import annotations


class VisionError(Exception):
    """Base class. The message may be shown to users and never holds a token or a URL's query."""


class VisionTemporary(VisionError):
    """Retry later, with backoff."""

    sent = True
    """Whether the request may have arrived and been billed."""


class VisionRejected(VisionError):
    """Stop: a retry gives the same result. Show the message."""


class VisionUnauthorized(VisionError):
    """Renew the token once; if it recurs, stop and ask an owner."""

    pause = 300.0
    """Seconds until the next check whether an owner has acted."""


class VisionUnavailable(VisionError):
    """Nothing was sent; wait: the circuit is open or the rate limit reached."""

    pause = 60.0
    """Seconds until the next attempt; subclasses are more precise."""
