"""Remembers browsers that signed in before, by a signed cookie. It grants no access, but its own
count of sign-in attempts, so that guessing strangers can't lock out an account's owner."""

from __future__ import annotations

import hashlib
import secrets
from typing import Any

from django.conf import settings
from django.core import signing
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import reverse

COOKIE = "device"
KEPT_SECONDS = 180 * 24 * 3600
MAX_ACCOUNTS = 5
"""Maximum accounts remembered per browser: the most recent."""
_SALT = "rollcall.devices"


def known(request: HttpRequest, name: str) -> str:
    """The browser's id if `name` has signed in with it before, else ""."""
    cookie = _read_cookie(request)
    return cookie["device"] if _mark(name) in cookie.get("names", ()) else ""


def remember(request: HttpRequest, response: HttpResponseBase, name: str) -> None:
    cookie = _read_cookie(request)
    device = cookie.get("device") or secrets.token_hex(16)
    names = [mark for mark in cookie.get("names", ()) if mark != _mark(name)]
    response.set_cookie(
        COOKIE,
        signing.dumps(
            {"device": device, "names": [*names, _mark(name)][-MAX_ACCOUNTS:]}, salt=_SALT
        ),
        max_age=KEPT_SECONDS,
        path=reverse(settings.LOGIN_URL),
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )


def _read_cookie(request: HttpRequest) -> dict[str, Any]:
    try:
        cookie: dict[str, Any] = signing.loads(
            request.COOKIES.get(COOKIE, ""), salt=_SALT, max_age=KEPT_SECONDS
        )
    except signing.BadSignature:
        return {}
    return cookie


def _mark(name: str) -> str:
    """A mark for the lower-cased name; the cookie doesn't hold the name itself."""
    return hashlib.sha256(name.strip().casefold().encode("utf-8", "replace")).hexdigest()[:16]
