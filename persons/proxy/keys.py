"""Authenticates the proxy's clients by API key, and enforces their quotas."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, timedelta
from typing import Any

from django.db.models import F
from django.utils import timezone

from persons.models import ApiKey, KeyDay
from persons.models.keys import Scope
from persons.proxy import statements
from persons.vision.meta import RecognizeRequest, Request
from persons.vision.tokens import Secret

TOUCH_SECONDS = 30
"""`last_used_at` is written at most this often, to save a write per call."""


class KeyRefused(Exception):
    """The key is refused; the message is the body of a 403 envelope. Never holds the key."""


class KeyUnknown(KeyRefused):
    """There is no such key."""


def key_of(token: Secret) -> ApiKey:
    """The usable key with this text. Raises KeyRefused."""
    if not token:
        raise KeyRefused("no oauth_token has been provided")
    key = statements.key_by_hash(ApiKey.hash_key(token.reveal()))
    if key is None:
        raise KeyUnknown("the oauth_token is unknown")
    if key.revoked_at:
        raise KeyRefused("the oauth_token was revoked")
    if not key.is_usable:
        raise KeyRefused("the oauth_token has expired")
    return key


def demand_method(key: ApiKey, method: str) -> None:
    if key.methods and method not in key.methods:
        raise KeyRefused(f"this oauth_token may not be used for {method}")


def demand_space(key: ApiKey, space: int) -> None:
    if key.spaces and space not in key.spaces:
        raise KeyRefused(f"this oauth_token may not be used for space {space}")


def require_scopes(key: ApiKey, request: Request, meta: Mapping[str, Any]) -> None:
    """Check that the key has a scope for each write that a recognition requests.

    `meta` is the request as it was sent. A client that leaves out `update_embedding` is not
    refused: its recognition learns nothing without the scope, see `may_learn`. Raises KeyRefused.
    """
    if not isinstance(request, RecognizeRequest):
        return
    if request.create_new:
        _demand_scope(key, Scope.CREATE, "create_new")
    if meta.get("update_embedding") is True:
        _demand_scope(key, Scope.LEARN, "update_embedding")


def may_learn(key: ApiKey) -> bool:
    """Whether recognitions with this key may change what Vision knows (`update_embedding`)."""
    return Scope.LEARN in key.scopes


def _demand_scope(key: ApiKey, scope: Scope, parameter: str) -> None:
    if scope not in key.scopes:
        raise KeyRefused(
            f"this oauth_token may not be used with {parameter}: it lacks the scope {scope}"
        )


def spend(key: ApiKey, images: int) -> date:
    """Take `images` from the key's daily quota: all or none, atomically under concurrency.

    Returns the day, for `give_back`. Raises KeyRefused if they exceed what is left.
    """
    today = timezone.now().astimezone(UTC).date()
    if key.daily_images is None or not images:
        return today
    if not statements.spend(key, today, images, key.daily_images):
        raise KeyRefused(f"this oauth_token's {key.daily_images} images of today are used up")
    return today


def give_back(key: ApiKey, images: int, day: date) -> None:
    """Return unsent images to the quota of the day they were taken from."""
    if key.daily_images is not None and images:
        KeyDay.objects.filter(key=key, day=day, images__gte=images).update(
            images=F("images") - images
        )


def touch(key: ApiKey, address: str | None) -> None:
    """Record when and from where the key was last used."""
    now = timezone.now()
    recent = key.last_used_at and now - key.last_used_at < timedelta(seconds=TOUCH_SECONDS)
    if not recent or key.last_used_address != address:
        ApiKey.objects.filter(pk=key.pk).update(last_used_at=now, last_used_address=address)
