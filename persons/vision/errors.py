"""Each error says what its catcher should do next."""

from __future__ import annotations


class VisionError(Exception):
    """Base. Its text may be shown to a user and never holds a token or a URL's query."""


class VisionTemporary(VisionError):
    """Send the same again, later, with backoff."""

    sent = True
    """Whether the request may have arrived, and be billed."""


class VisionRejected(VisionError):
    """Stop: sending the same again gives the same. Show the text."""


class VisionUnauthorized(VisionError):
    """Renew the token once; if it comes back, stop and ask an owner."""

    pause = 300.0
    """Seconds after which it may be tried whether an owner has acted."""


class VisionUnavailable(VisionError):
    """Nothing was sent, nor should be for a while: the circuit is open, the rate used up."""

    pause = 60.0
    """Seconds after which it may be tried again; a subclass knows better."""
