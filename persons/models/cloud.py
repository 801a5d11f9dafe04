"""State of the cloud that all processes share: token, circuit breaker, rate limit and cost."""

from __future__ import annotations

from django.db import models

from persons.models.teams import Team


class CloudToken(models.Model):
    """An account's OAuth tokens, encrypted, and the claim of the process that renews them.

    `account` is a digest of the OAuth server's address and the client id.
    `persons.vision.tokens.TokenVault` defines the rules of the claim.
    """

    account = models.CharField(max_length=64, unique=True)
    sealed = models.BinaryField(default=b"", help_text="Encrypted JSON of a Stored.")
    claimant = models.CharField(max_length=64, blank=True)
    claimed_until = models.FloatField(default=0.0, help_text="Seconds since the epoch.")
    settled_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"token of {self.account[:8]}"


class CloudCircuit(models.Model):
    """Stores the `persons.vision.guards.Circuit` of one upstream."""

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
    """A token bucket that all workers share. It was empty at `empty_at`."""

    name = models.CharField(max_length=250, unique=True)
    empty_at = models.FloatField(default=0.0, help_text="Seconds since the epoch.")

    def __str__(self) -> str:
        return self.name


class MonthTotal(models.Model):
    """Images that the whole installation sent in a month.

    The price tier depends on the account's total, not on a team's.
    """

    month = models.DateField(unique=True, help_text="Its first day, UTC.")
    images = models.PositiveBigIntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.month:%Y-%m}: {self.images}"


class Meter(models.Model):
    """Images that one team sent with one key in one month, and images saved by stored answers.

    `key` is null for Rollcall's own workers. The transaction that ends a call adds to the counts.
    """

    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="meters")
    key = models.ForeignKey(
        "persons.ApiKey", null=True, blank=True, on_delete=models.CASCADE, related_name="meters"
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
