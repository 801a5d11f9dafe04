"""Who did what to what, when, from where and why; and the chain that shows it unaltered."""

from __future__ import annotations

from typing import Any, Never

from django.db import models
from django.utils import timezone

from persons.models.calls import Source
from persons.models.teams import Team, User


class AuditEntryQuerySet(models.QuerySet["AuditEntry"]):
    """Entries are read and added. What else there is to do to them is the sealer's and
    `persons.audit.erase`'s, which go around this; the database's triggers watch both."""

    def update(self, **values: Any) -> Never:
        raise TypeError("Audit entries are never changed.")

    async def aupdate(self, **values: Any) -> Never:
        raise TypeError("Audit entries are never changed.")

    def bulk_update(self, *args: Any, **options: Any) -> Never:
        raise TypeError("Audit entries are never changed.")

    def bulk_create(self, *args: Any, **options: Any) -> list[AuditEntry]:
        if options.get("update_conflicts") or options.get("ignore_conflicts"):
            raise TypeError("Audit entries are never changed.")
        return super().bulk_create(*args, **options)

    def delete(self) -> Never:
        raise TypeError("Audit entries are never deleted.")

    async def adelete(self) -> Never:
        raise TypeError("Audit entries are never deleted.")


class AuditEntry(models.Model):
    """Written with the change, in its transaction (`persons.audit.record`). Never changed after.

    `target_text`, `before`, `after` and `reason` are the payload: what may speak of the person whom
    it is about. The chain covers `digest`, salted SHA-256 of the payload, so that an erasure can
    blank it (`erased_at`, with the salt, so that nobody can guess what stood there) and the chain
    still verifies. `stamp` is the server's own mark on a new entry, by which the sealer knows one
    that was slipped in by other hands. The sealer sets `sequence`, `previous` and `hash`, once.

    No team: the installation's own entries, as a failed sign-in under an unknown name.
    """

    team = models.ForeignKey(
        Team,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="audit_entries",
        db_index=False,
    )
    at = models.DateTimeField(default=timezone.now, editable=False)
    # The number is a fact of the past: it stays when the account is deleted.
    actor = models.ForeignKey(
        User,
        null=True,
        blank=True,
        on_delete=models.DO_NOTHING,
        related_name="+",
        db_index=False,
        db_constraint=False,
    )
    actor_text = models.CharField(max_length=200, blank=True)
    source = models.CharField(max_length=8, choices=Source.choices)
    address = models.GenericIPAddressField(null=True, blank=True)
    request_id = models.CharField(max_length=36, blank=True)
    action = models.CharField(max_length=60)
    target_type = models.CharField(max_length=40, blank=True)
    target_id = models.CharField(max_length=60, blank=True)
    target_text = models.CharField(max_length=300, blank=True)
    before = models.JSONField(default=dict, blank=True)
    after = models.JSONField(default=dict, blank=True)
    reason = models.CharField(max_length=500, blank=True)

    salt = models.CharField(max_length=32, blank=True)
    digest = models.CharField(max_length=64, blank=True)
    stamp = models.CharField(max_length=64, blank=True)
    erased_at = models.DateTimeField(null=True, blank=True)
    sequence = models.PositiveBigIntegerField(null=True, blank=True, help_text="From 1, by team.")
    previous = models.CharField(max_length=64, blank=True)
    hash = models.CharField(max_length=64, blank=True)

    objects = AuditEntryQuerySet.as_manager()

    class Meta:
        ordering = ["-pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["team", "sequence"],
                name="one_entry_a_sequence",
            ),
        ]
        indexes = [
            models.Index(fields=["id"], name="audit_unsealed", condition=models.Q(sequence=None)),
            models.Index(fields=["team", "-id"], name="audit_list"),
            models.Index(fields=["team", "action", "-id"], name="audit_by_action"),
            models.Index(fields=["actor", "team", "-id"], name="audit_by_actor"),
            # What was said of one thing: of a call, of a person.
            models.Index(fields=["team", "target_type", "target_id", "-id"], name="audit_of"),
            models.Index(fields=["team", "target_type", "-id"], name="audit_by_kind"),
            # What people did, among a thousand times as many calls.
            models.Index(
                fields=["team", "-id"],
                name="audit_but_calls",
                condition=~models.Q(action__startswith="call."),
            ),
            # Where in the list a moment is.
            models.Index(fields=["team", "at"], name="audit_moments"),
            models.Index(
                fields=["team", "request_id", "-id"],
                name="audit_by_request",
                condition=~models.Q(request_id=""),
            ),
            models.Index(
                fields=["team", "address", "-id"],
                name="audit_by_address",
                condition=models.Q(address__isnull=False),
            ),
            # Which thresholds a space had: pages of people look it up.
            models.Index(
                fields=["team", "target_id"],
                name="audit_policies",
                condition=models.Q(action="space.policy"),
            ),
        ]
        verbose_name_plural = "audit entries"

    def __str__(self) -> str:
        return f"{self.action} {self.target_text}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise TypeError("An audit entry is never changed.")
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> Never:
        raise TypeError("An audit entry is never deleted.")


class AuditChain(models.Model):
    """A team's chain, or the installation's (no team): its head, and how far it was verified.

    Whoever seals locks the row. The head is signed as a seal is (`key`, `signature`), so that
    nobody but a server moves it. `problem` says what the last verification found, if anything.
    """

    team = models.OneToOneField(
        Team, null=True, blank=True, on_delete=models.PROTECT, related_name="audit_chain"
    )
    sequence = models.PositiveBigIntegerField(default=0)
    hash = models.CharField(max_length=64, blank=True)
    sealed_at = models.DateTimeField(null=True, blank=True)
    key = models.CharField(max_length=64, blank=True)
    signature = models.CharField(max_length=128, blank=True)
    signed_sequence = models.PositiveBigIntegerField(default=0, help_text="The last seal's.")
    signed_at = models.DateTimeField(null=True, blank=True)
    verified_sequence = models.PositiveBigIntegerField(default=0)
    verified_at = models.DateTimeField(null=True, blank=True)
    asked_at = models.DateTimeField(
        null=True, blank=True, help_text="When a verification that is not done yet was asked for."
    )
    verifying_at = models.DateTimeField(
        null=True, blank=True, help_text="When a verification that is under way last gave a sign."
    )
    verifying_sequence = models.PositiveBigIntegerField(default=0, help_text="How far it has come.")
    problem = models.TextField(blank=True)
    sealing_problem = models.TextField(blank=True, help_text="Why an entry is not sealed.")
    copy_problem = models.TextField(blank=True, help_text="Why seals are not copied outside.")

    class Meta:
        constraints = [
            models.UniqueConstraint(
                models.Value(1), condition=models.Q(team=None), name="one_chain_without_team"
            ),
        ]

    def __str__(self) -> str:
        return f"chain of {self.team or 'the installation'}"


class AuditSeal(models.Model):
    """A signed checkpoint: the chain of `team` had `hash` at `sequence`. Never changed.

    `key` is the fingerprint of the Ed25519 key, `signature` hexadecimal. `copied_at` is when it was
    written to where seals are kept outside, if they are.
    """

    team = models.ForeignKey(
        Team, null=True, blank=True, on_delete=models.PROTECT, related_name="audit_seals"
    )
    sequence = models.PositiveBigIntegerField()
    hash = models.CharField(max_length=64)
    at = models.DateTimeField(default=timezone.now, editable=False)
    key = models.CharField(max_length=64)
    signature = models.CharField(max_length=128)
    copied_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-pk"]
        indexes = [models.Index(fields=["team", "-sequence"], name="seal_by_sequence")]

    def __str__(self) -> str:
        return f"seal of {self.team or 'the installation'} at {self.sequence}"
