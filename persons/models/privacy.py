"""Consents, legal holds, retention runs, and erasures with their certificates."""

from __future__ import annotations

from typing import Any, Self

from django.db import models
from django.db.models import Q
from django.utils import timezone

from persons.models.galleries import Gallery
from persons.models.people import Person
from persons.models.spaces import Space
from persons.models.teams import Team, User
from persons.models.work import Job, JobState


class ConsentQuerySet(models.QuerySet["Consent"]):
    def in_force(self) -> Self:
        """Consents that have begun and are neither expired nor withdrawn."""
        now = timezone.now()
        return self.filter(Q(until=None) | Q(until__gt=now), given_at__lte=now, withdrawn_at=None)


class Consent(models.Model):
    """A person's consent to be recognised: purpose, document and period.

    IN FORCE -> WITHDRAWN | EXPIRED. A withdrawal is final; a new consent is a new row.
    """

    person = models.ForeignKey(Person, on_delete=models.CASCADE, related_name="consents")
    purpose = models.CharField(max_length=300, help_text="What they agreed to.")
    document = models.CharField(
        max_length=300, blank=True, help_text="The document: its title, number or address."
    )
    given_at = models.DateTimeField(default=timezone.now)
    until = models.DateTimeField(null=True, blank=True)
    recorded_by = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    withdrawn_at = models.DateTimeField(null=True, blank=True)
    withdrawn_by = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )

    objects = ConsentQuerySet.as_manager()

    class Meta:
        ordering = ["-pk"]
        constraints = [
            models.CheckConstraint(
                condition=Q(until=None) | Q(until__gt=models.F("given_at")),
                name="consent_ends_after_it_begins",
            ),
        ]

    def __str__(self) -> str:
        return f"consent of {self.person}"

    @property
    def is_in_force(self) -> bool:
        now = timezone.now()
        over = self.until is not None and self.until <= now
        return self.given_at <= now and not over and self.withdrawn_at is None


class LegalHoldQuerySet(models.QuerySet["LegalHold"]):
    def in_force(self) -> Self:
        return self.filter(released_at=None)


class LegalHold(models.Model):
    """Prevents deletion of data of one person or gallery, by users, rules and erasures.

    IN FORCE -> RELEASED.
    """

    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="legal_holds")
    person = models.ForeignKey(
        Person, null=True, blank=True, on_delete=models.PROTECT, related_name="legal_holds"
    )
    gallery = models.ForeignKey(
        Gallery, null=True, blank=True, on_delete=models.PROTECT, related_name="legal_holds"
    )
    reason = models.CharField(max_length=500)
    created_by = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    released_by = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    released_at = models.DateTimeField(null=True, blank=True)

    objects = LegalHoldQuerySet.as_manager()

    class Meta:
        ordering = ["-pk"]
        constraints = [
            models.CheckConstraint(
                condition=Q(person=None, gallery__isnull=False)
                | Q(person__isnull=False, gallery=None),
                name="hold_on_one_thing",
            ),
        ]

    def __str__(self) -> str:
        return f"hold on {self.person or self.gallery}"


class RetentionRun(Job):
    """One retention run over a team's data. Workers resume it after an interruption.

    `rules` are the days to keep each kind, copied from the team when the run began. `done` counts
    removed items, `report` counts them by kind. `step` and `position` are the progress.
    """

    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="retention_runs")
    rules: models.JSONField[dict[str, int], dict[str, int]] = models.JSONField(default=dict)
    report: models.JSONField[dict[str, int], dict[str, int]] = models.JSONField(
        default=dict, blank=True
    )
    step = models.CharField(max_length=20, blank=True)
    position = models.PositiveBigIntegerField(default=0)

    class Meta:
        ordering = ["-pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["team"],
                condition=Q(finished_at=None),
                name="one_retention_run_a_team",
            ),
        ]

    def __str__(self) -> str:
        return f"retention of {self.team}"


class Erasure(Job):
    """Erasure of one person in the database, the storage and Vision. Resumed if interrupted.

    QUEUED -> RUNNING -> QUEUED … DONE | FAILED. `total` and `done` count steps.

    The row identifies the person by space and `person_id` only, because the name is erased. `ids`
    are that number and those of everybody merged into the person. `report` is the state of the
    steps and is emptied at the end. `certificate` is the result, without personal data, and
    `signature` is the hexadecimal signature of its canonical JSON by the audit's key.

    The certificate is deleted at `keep_until`. The row stays, so that the erasure can be replayed
    after an older backup was restored.
    """

    class Photos(models.TextChoices):
        KEEP = "keep", "Keep all of them"
        ALONE = "alone", "Delete those on which nobody else is known"
        ALL = "all", "Delete all of them"

    team = models.ForeignKey(Team, on_delete=models.PROTECT, related_name="erasures")
    space = models.ForeignKey(
        Space, null=True, blank=True, on_delete=models.SET_NULL, related_name="erasures"
    )
    number = models.PositiveSmallIntegerField(help_text="The space's number.")
    person_id = models.PositiveBigIntegerField()
    ids: models.JSONField[list[int], list[int]] = models.JSONField(default=list, blank=True)
    reference = models.CharField(
        max_length=32, unique=True, help_text="The certificate's reference."
    )
    photos = models.CharField(max_length=5, choices=Photos.choices, default=Photos.KEEP)
    reason = models.CharField(max_length=500, blank=True)
    replayed = models.BooleanField(
        default=False, help_text="Repeated because an older backup was restored."
    )
    step = models.CharField(max_length=20, blank=True)
    interruptions = models.PositiveSmallIntegerField(
        default=0, help_text="How many workers died or were cut off since the last step."
    )
    report: models.JSONField[Any, Any] = models.JSONField(default=dict, blank=True)
    certificate: models.JSONField[Any, Any] = models.JSONField(default=dict, blank=True)
    signature = models.CharField(max_length=128, blank=True)
    key = models.CharField(max_length=64, blank=True, help_text="Fingerprint of the signer's key.")
    keep_until = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-pk"]
        indexes = [
            models.Index(fields=["team", "number", "person_id"], name="erasure_of_person"),
        ]

    def __str__(self) -> str:
        return f"erasure {self.reference}"

    @property
    def is_under_way(self) -> bool:
        return self.state in (JobState.QUEUED, JobState.RUNNING)


class ErasedPicture(models.Model):
    """A picture that must never be enrolled again. `digest` is a keyed digest of its SHA-256."""

    erasure = models.ForeignKey(Erasure, on_delete=models.CASCADE, related_name="pictures")
    digest = models.CharField(max_length=64, db_index=True)

    def __str__(self) -> str:
        return self.digest[:12]
