"""Throttles guesses of passwords, tokens and keys. All processes share the limits.

A try is taken before the guess is checked and given back if the guess was right, so that concurrent
tries count exactly. A reached limit lasts until its window ends; further tries don't extend it.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils import timezone

from persons.models import Throttle


@dataclass(frozen=True, slots=True)
class Ceiling:
    """At most `most` failed tries of `kind` per user, address or link in a window of `seconds`.

    The first try starts the window.
    """

    kind: str
    most: int
    seconds: int


SIGN_IN = Ceiling("sign-in", 10, 300)
"""One user name from one address, or from one browser that has signed in before."""
SIGN_IN_ACCOUNT = Ceiling("sign-in account", 50, 900)
"""One user name from everywhere. It doesn't stop browsers that have signed in as them before."""
SIGN_IN_ADDRESS = Ceiling("sign-in address", 100, 900)
"""All user names from one address, with the same exception."""
PASSWORD_CHANGE = Ceiling("password", 10, 300)
LINK = Ceiling("link", 10, 300)
LINK_EVERYWHERE = Ceiling("link everywhere", 200, 300)
LINK_ADDRESS = Ceiling("link address", 100, 900)
TOKEN_ADDRESS = Ceiling("token address", 100, 900)
"""Unknown tokens of links and invitations from one address. Tokens have 256 random bits, so this
only bounds the cost of a flood. A valid token always works.
"""
KEY_ADDRESS = Ceiling("key address", 200, 900)
"""Unknown API keys from one address, for the same reason."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A ceiling applied to one subject. `who` are texts and numbers that identify the subject."""

    ceiling: Ceiling
    who: tuple[object, ...]

    @property
    def digest(self) -> str:
        text = "\0".join(str(part) for part in self.who)
        key = f"who tries\0{self.ceiling.kind}\0{settings.SECRET_KEY}".encode()
        return hmac.new(key, text.encode("utf-8", "replace"), hashlib.sha256).hexdigest()


def claim(ceiling: Ceiling, *who: object) -> Claim:
    return Claim(ceiling, who)


def network_of(address: str | None) -> str:
    """The network that an address is throttled by: an IPv4 address itself, or an IPv6 /64.

    One household or server usually has a whole /64. Empty if there is no address.
    """
    if not address:
        return ""
    found = ipaddress.ip_address(address)
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((found, 64), strict=False))
    return str(found)


class Tries:
    """Tries that were taken. Call `give_back` if the guess was not wrong."""

    def __init__(self, claims: tuple[Claim, ...]) -> None:
        self._claims = claims

    def give_back(self) -> None:
        for one in self._claims:
            rows = Throttle.objects.filter(kind=one.ceiling.kind, who=one.digest, tries__gt=0)
            rows.update(tries=F("tries") - 1)


def take(*claims: Claim) -> Tries | None:
    """Take one try of each claim. If any ceiling is reached, take none and return None."""
    taken: list[Claim] = []
    for one in claims:
        if not _take(one):
            Tries(tuple(taken)).give_back()
            return None
        taken.append(one)
    return Tries(claims)


def forget(*claims: Claim) -> None:
    """Reset these counters, after a right guess."""
    for one in claims:
        Throttle.objects.filter(kind=one.ceiling.kind, who=one.digest).delete()


def _take(one: Claim) -> bool:
    now = timezone.now()
    rows = Throttle.objects.filter(kind=one.ceiling.kind, who=one.digest)
    for _ in range(3):
        if rows.filter(until__gt=now, tries__lt=one.ceiling.most).update(tries=F("tries") + 1):
            return True
        until = now + timedelta(seconds=one.ceiling.seconds)
        if rows.filter(until__lte=now).update(tries=1, until=until):
            return True
        if rows.exists():
            return False
        with _unless_another_was_first():
            Throttle.objects.create(kind=one.ceiling.kind, who=one.digest, tries=1, until=until)
            _tidy(now)
            return True
    return False


@contextmanager
def _unless_another_was_first() -> Iterator[None]:
    try:
        with transaction.atomic():
            yield
    except IntegrityError:
        return


def _tidy(now: datetime) -> None:
    """Delete expired rows. Every new row does this, so the table stays small."""
    Throttle.objects.filter(until__lte=now).delete()
