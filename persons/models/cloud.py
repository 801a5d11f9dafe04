"""What all processes share about the cloud: its token, its circuit, its rate, what it cost."""

from __future__ import annotations

from django.db import models

from persons.models.keys import ApiKey
from persons.models.teams import Team


class CloudToken(models.Model):
    """An account's OAuth tokens, encrypted, and the claim of the process that renews them.

    `account` is a digest of the OAuth server's address and the client id. Source of the claim's
    rules: `persons.vision.tokens.TokenVault`.
    """

    account = models.CharField(max_length=64, unique=True)
    sealed = models.BinaryField(default=b"", help_text="Encrypted JSON of a Stored.")
    claimant = models.CharField(max_length=64, blank=True)
    claimed_until = models.FloatField(default=0.0, help_text="Seconds since the epoch.")
    settled_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"token of {self.account[:8]}"


class CloudCircuit(models.Model):
    """`persons.vision.guards.Circuit` of one upstream."""

    upstream = models.CharField(max_length=200, unique=True)
    phase = models.CharField(max_length=10, default="closed")
    failures = models.PositiveIntegerField(default=0)
    opened = models.PositiveIntegerField(default=0)
    until = models.FloatField(default=0.0, help_text="Seconds since the epoch.")
    generation = models.PositiveBigIntegerField(default=0)
    revision = models.PositiveBigIntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.upstream}: {self.phase}"


class CloudBucket(models.Model):
    """A token bucket for all workers: at `empty_at` it held nothing."""

    name = models.CharField(max_length=250, unique=True)
    empty_at = models.FloatField(default=0.0, help_text="Seconds since the epoch.")

    def __str__(self) -> str:
        return self.name


class MonthTotal(models.Model):
    """Images that the whole installation sent in a month: the ladder's step is the account's."""

    month = models.DateField(unique=True, help_text="Its first day, UTC.")
    images = models.PositiveBigIntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.month:%Y-%m}: {self.images}"


class Meter(models.Model):
    """Images sent, and saved by an answer that was there, in one month by one team and key.

    `key` is null for what Rollcall's own workers send. Raised in the transaction that ends a call.
    """

    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="meters")
    key = models.ForeignKey(
        ApiKey, null=True, blank=True, on_delete=models.CASCADE, related_name="meters"
    )
    month = models.DateField(help_text="Its first day, UTC.")
    calls = models.PositiveIntegerField(default=0)
    images = models.PositiveIntegerField(default=0)
    saved_images = models.PositiveIntegerField(default=0)
    cost = models.DecimalField(max_digits=14, decimal_places=4, default=0)
    saved_cost = models.DecimalField(max_digits=14, decimal_places=4, default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["team", "key", "month"],
                condition=models.Q(key__isnull=False),
                name="one_meter_a_key_and_month",
            ),
            models.UniqueConstraint(
                fields=["team", "month"],
                condition=models.Q(key=None),
                name="one_own_meter_a_month",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.team} {self.month:%Y-%m}: {self.images}"
