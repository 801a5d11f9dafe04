"""Users, teams, memberships with their roles, and invitations."""

from __future__ import annotations

import hashlib
import secrets
from datetime import timedelta

from django.contrib.auth.models import AbstractUser
from django.db import models
from django.utils import timezone

INVITATION_DAYS = 14


class User(AbstractUser):
    """A person who signs in. Their rights come from their memberships alone."""

    def __str__(self) -> str:
        return self.get_full_name() or self.username


class Role(models.TextChoices):
    """A member's role. `persons.access` maps roles to rights.

    Owners may do everything. Editors upload, name and decide. Viewers only look. Auditors read
    history and audit, and only those galleries that an owner shares with them.
    """

    OWNER = "owner", "Owner"
    EDITOR = "editor", "Editor"
    VIEWER = "viewer", "Viewer"
    AUDITOR = "auditor", "Auditor"


class Team(models.Model):
    name = models.CharField(max_length=100)
    slug = models.SlugField(max_length=60, unique=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    keep_probes = models.BooleanField(
        default=False,
        help_text="Keep the pictures that clients of the proxy send. Off: digest and result only.",
    )
    monthly_budget = models.DecimalField(
        max_digits=12,
        decimal_places=2,
        null=True,
        blank=True,
        help_text="Nothing is sent any more in a month that has cost this much. Empty: no limit.",
    )
    require_reasons: models.JSONField[list[str], list[str]] = models.JSONField(
        default=list,
        blank=True,
        help_text='For what a reason is asked: "person", "evidence", "export".',
    )
    reason_choices: models.JSONField[list[str], list[str]] = models.JSONField(
        default=list, blank=True, help_text="Reasons to choose from. Empty: free text."
    )
    # Retention in days; null: kept until somebody deletes it.
    probe_days = models.PositiveIntegerField(
        null=True, blank=True, help_text="Pictures that clients of the proxy sent."
    )
    unknown_days = models.PositiveIntegerField(
        null=True, blank=True, help_text="What is known of the looks of faces without a name."
    )
    history_days = models.PositiveIntegerField(
        null=True, blank=True, help_text="What was asked of Vision and what it answered."
    )
    trash_days = models.PositiveIntegerField(
        default=30, help_text="How long what was thrown away can be taken back."
    )
    members = models.ManyToManyField(User, through="Membership", related_name="teams")

    def __str__(self) -> str:
        return self.name


class Membership(models.Model):
    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=10, choices=Role.choices)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["team", "user"], name="one_membership_a_team"),
        ]

    def __str__(self) -> str:
        return f"{self.user} ({self.role})"


class Invitation(models.Model):
    """A single-use link that makes its bearer a member. Only the hash of its token is stored.

    OPEN -> ACCEPTED | REVOKED | EXPIRED
    """

    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="invitations")
    email = models.EmailField(help_text="For whom it is meant; shown to owners.")
    role = models.CharField(max_length=10, choices=Role.choices)
    token_hash = models.CharField(max_length=64, unique=True)
    created_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField()
    accepted_by = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    accepted_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return f"{self.email} to {self.team}"

    @property
    def is_open(self) -> bool:
        return not self.accepted_at and not self.revoked_at and self.expires_at > timezone.now()

    @staticmethod
    def new_token() -> tuple[str, str]:
        """(token for the link, hash for the row)"""
        token = secrets.token_urlsafe(32)
        return token, Invitation.hash_token(token)

    @staticmethod
    def hash_token(token: str) -> str:
        return hashlib.sha256(token.encode()).hexdigest()

    @staticmethod
    def default_expiry() -> object:
        return timezone.now() + timedelta(days=INVITATION_DAYS)
