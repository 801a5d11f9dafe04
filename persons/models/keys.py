"""API keys, with which programs use the proxy instead of the cloud's token."""

from __future__ import annotations

import hashlib
import secrets
from datetime import UTC, date
from typing import Self

from django.core.validators import MinValueValidator
from django.db import models
from django.db.models.functions import Coalesce
from django.utils import timezone

from persons.models.cloud import Meter
from persons.models.teams import Team, User

PREFIX = "rck_"
SHOWN = 12
"""Characters of a key that stay readable, to tell keys apart: 48 of its 256 bits."""


class Scope(models.TextChoices):
    """Optional effects of a method that a key may request."""

    CREATE = "create", "makes a new person of each unknown face (create_new)"
    LEARN = "learn", "changes what Vision knows of people it recognises (update_embedding)"


class ApiKeyQuerySet(models.QuerySet["ApiKey"]):
    def usable(self) -> Self:
        return self.filter(revoked_at=None).filter(
            models.Q(expires_at=None) | models.Q(expires_at__gt=timezone.now())
        )

    def ended(self) -> Self:
        """Revoked or expired keys: the complement of `usable`."""
        return self.filter(
            models.Q(revoked_at__isnull=False) | models.Q(expires_at__lte=timezone.now())
        )

    def for_list(self, month: date) -> Self:
        """Keys with their creator, `today_images` and `month_images`.

        `today_images` is None for a key without a KeyDay today, such as one without a limit.
        """
        today = timezone.now().astimezone(UTC).date()
        days = KeyDay.objects.filter(key=models.OuterRef("pk"), day=today)
        meters = Meter.objects.filter(key=models.OuterRef("pk"), month=month)
        return self.select_related("created_by").annotate(
            today_images=models.Subquery(days.values("images")[:1]),
            month_images=Coalesce(models.Subquery(meters.values("images")[:1]), 0),
        )


class ApiKey(models.Model):
    """An API key of a team: USABLE -> REVOKED | EXPIRED.

    The key is shown once and stored as a hash. It has 256 random bits, so plain SHA-256 is enough.
    `methods` and `spaces` restrict its use; an empty list means all. `scopes` are the effects that
    it may request; an empty list means none.
    """

    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="api_keys")
    name = models.CharField(max_length=100)
    prefix = models.CharField(max_length=SHOWN)
    key_hash = models.CharField(max_length=64, unique=True)
    methods = models.JSONField(default=list, blank=True)
    spaces = models.JSONField(default=list, blank=True)
    scopes = models.JSONField(default=list, blank=True)
    daily_images = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="Images a day (UTC); empty for no limit.",
    )
    fit = models.BooleanField(
        default=True,
        help_text="A picture that the cloud would refuse for its size or format is sent as a copy, "
        "and the boxes of the answer are mapped back.",
    )
    created_by = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    last_used_address = models.GenericIPAddressField(null=True, blank=True)

    objects = ApiKeyQuerySet.as_manager()

    class Meta:
        ordering = ["-pk"]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"

    @property
    def is_usable(self) -> bool:
        return not self.revoked_at and (not self.expires_at or self.expires_at > timezone.now())

    @staticmethod
    def new_key() -> str:
        return PREFIX + secrets.token_urlsafe(32)

    @staticmethod
    def hash_key(key: str) -> str:
        return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


class KeyDay(models.Model):
    """Images that a key with a daily limit sent on one day (UTC).

    One conditional UPDATE raises it, so the count is exact under concurrency.
    """

    key = models.ForeignKey(ApiKey, on_delete=models.CASCADE, related_name="days")
    day = models.DateField()
    images = models.PositiveIntegerField(default=0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["key", "day"], name="one_key_day")]

    def __str__(self) -> str:
        return f"{self.key} on {self.day}: {self.images}"
