"""People's rights: consent, legal hold, and erasure with its certificate."""

from __future__ import annotations

from typing import Any, Self

from django.db import models
from django.db.models import Q
from django.utils import timezone

from persons.models.galleries import Gallery
from persons.models.spaces import Person, Space
from persons.models.teams import Team, User
from persons.models.work import Job


class ConsentQuerySet(models.QuerySet["Consent"]):
    def in_force(self) -> Self:
        """Given, not over, not withdrawn."""
        now = timezone.now()
        return self.filter(Q(until=None) | Q(until__gt=now), given_at__lte=now, withdrawn_at=None)


class Consent(models.Model):
    """That somebody agreed to be recognised: to what, when, by which document, until when.

    in force -> withdrawn | over. A withdrawal is never taken back: a new consent is a new row.
    """

    person = models.ForeignKey(Person, on_delete=models.CASCADE, related_name="consents")
    purpose = models.CharField(max_length=300, help_text="What they agreed to.")
    document = models.CharField(
        max_length=300, blank=True, help_text="By which document: its title, number or address."
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
    """Nothing of this person or gallery is deleted, by nobody and by no rule, until released."""

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


class Erasure(Job):
    """Somebody is forgotten: in the database, the storage, and at Vision. Resumed if cut off.

    It names them by space and number alone, since the name goes. `report` is what the steps have
    done so far, `certificate` what is shown of it in the end, without anything personal, and
    `signature` that of the audit's key over its canonical JSON, hexadecimal. The certificate goes
    at `keep_until`; the row stays, so that a backup that is older can be told again.
    """

    team = models.ForeignKey(Team, on_delete=models.PROTECT, related_name="erasures")
    space = models.ForeignKey(
        Space, null=True, blank=True, on_delete=models.SET_NULL, related_name="erasures"
    )
    number = models.PositiveSmallIntegerField(help_text="Of the space.")
    person_id = models.PositiveBigIntegerField()
    reference = models.CharField(max_length=32, unique=True, help_text="Names the certificate.")
    delete_photos = models.BooleanField(default=False)
    reason = models.CharField(max_length=500, blank=True)
    step = models.CharField(max_length=20, blank=True)
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


class ErasedPicture(models.Model):
    """An enrolled picture that may never be enrolled again, by a keyed digest of its SHA-256."""

    erasure = models.ForeignKey(Erasure, on_delete=models.CASCADE, related_name="pictures")
    digest = models.CharField(max_length=64, db_index=True)

    def __str__(self) -> str:
        return self.digest[:12]
