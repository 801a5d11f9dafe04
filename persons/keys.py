"""Who a client of the proxy is, by its key, and how much it may still send."""

from __future__ import annotations

from datetime import UTC, date, timedelta

from django.db.models import F
from django.utils import timezone

from persons import statements
from persons.models import ApiKey, KeyDay
from persons.vision.tokens import Secret

TOUCH_SECONDS = 30
"""`last_used_at` is written at most this often: it need not cost a write a call."""


class KeyRefused(Exception):
    """The body of a 403 envelope: what the key lacks. Never holds the key."""


def key_of(token: Secret) -> ApiKey:
    """The usable key with this text. Raises KeyRefused."""
    if not token:
        raise KeyRefused("no oauth_token has been provided")
    key = statements.key_by_hash(ApiKey.hash_key(token.reveal()))
    if key is None:
        raise KeyRefused("the oauth_token is unknown")
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


def spend(key: ApiKey, images: int) -> date:
    """Take `images` from the key's day, all or none, exactly, whoever spends at the same instant.

    The day, for `give_back`. Raises KeyRefused where they do not fit any more.
    """
    today = timezone.now().astimezone(UTC).date()
    if key.daily_images is None or not images:
        return today
    if not statements.spend(key, today, images, key.daily_images):
        raise KeyRefused(f"this oauth_token's {key.daily_images} images of today are used up")
    return today


def give_back(key: ApiKey, images: int, day: date) -> None:
    """For what was not sent after all; to the day that it was taken from."""
    if key.daily_images is not None and images:
        KeyDay.objects.filter(key=key, day=day, images__gte=images).update(
            images=F("images") - images
        )


def touch(key: ApiKey, address: str | None) -> None:
    """Remember when and from where the key was last used."""
    now = timezone.now()
    recent = key.last_used_at and now - key.last_used_at < timedelta(seconds=TOUCH_SECONDS)
    if not recent or key.last_used_address != address:
        ApiKey.objects.filter(pk=key.pk).update(last_used_at=now, last_used_address=address)
