"""Audit entries (who did what to what, when, from where, why) and the hash chain over them."""

from __future__ import annotations

from typing import Any, Never

from django.db import models
from django.utils import timezone

from persons.models.calls import Source
from persons.models.leased import Leased
from persons.models.teams import Team, User

FRAME_VERSION = 2
"""Frame version of new entries. `persons.chain.verify` has the same constant."""


class AuditEntryQuerySet(models.QuerySet["AuditEntry"]):
    """Allows reading and inserting only; everything else raises TypeError.

    The sealer and `persons.audit.redactions` bypass this class. Database triggers check them too.
    """

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
    """One audited action. `persons.audit.record` writes it in the transaction of the change.

    RECORDED -> SEALED, then possibly REDACTED. The sealer sets `sequence`, `previous` and `hash`
    once. Nothing else changes except through a redaction.

    `target_text`, `before`, `after` and `reason` are the payload, which may contain personal data.
    The chain covers `digest`, the salted SHA-256 of the payload. A redaction can therefore remove
    parts of the payload without breaking the chain: it sets `erased_at` and a new salt, so that
    nobody can guess the removed text. A later entry, "audit.redact", lists what was redacted and
    vouches for what is left.

    `version` is the frame's version; entries of version 1 predate signed redactions. `stamp` is the
    server's HMAC over a new entry: the sealer refuses entries that something else inserted.
    Entries without a team are the installation's own, for example a failed sign-in under an unknown
    user name.
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
    # No constraint: the id is a historical fact and stays when the account is deleted.
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

    version = models.PositiveSmallIntegerField(default=FRAME_VERSION, editable=False)
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
            # Entries about one object, such as a call or a person.
            models.Index(fields=["team", "target_type", "target_id", "-id"], name="audit_of"),
            models.Index(fields=["team", "target_type", "-id"], name="audit_by_kind"),
            # People's actions; there can be a thousand times as many entries about calls.
            models.Index(
                fields=["team", "-id"],
                name="audit_but_calls",
                condition=~models.Q(action__startswith="call."),
            ),
            # Finds the position of a point in time in the list.
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
            # Past thresholds of a space, which the pages of people look up.
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


class AuditConcern(models.Model):
    """Marks an entry as being about a gallery. Users who can't see it don't see the entry's words.

    A null `gallery` means that the gallery is no longer known, for example because its photo was
    deleted long ago. Rows are written with the entry; moving a photo adds more
    (`persons.actions.moving`). The chain doesn't cover them: they control who reads an entry, not
    what it records.
    """

    entry = models.ForeignKey(AuditEntry, on_delete=models.PROTECT, related_name="concerns")
    gallery = models.ForeignKey(
        "persons.Gallery", null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["entry", "gallery"],
                name="one_concern_a_gallery",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.entry} tells of {self.gallery or 'a gallery that is gone'}"


class AuditChain(Leased):
    """A team's chain, or the installation's (no team): its head, and how far it was verified.

    The sealer locks the row. The head is signed like a seal (`key`, `signature`), so that only a
    server can move it. `problem` is what the last verification found, or empty.

    A verification is leased: IDLE -> QUEUED -> RUNNING -> IDLE | FAILED. FAILED means that it was
    cut off too often; `verification_error` says so. The next request queues it again.
    """

    class Verification(models.TextChoices):
        IDLE = "idle", "Not requested"
        QUEUED = "queued", "Waiting"
        RUNNING = "running", "Running"
        FAILED = "failed", "Failed"

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
    verification = models.CharField(
        max_length=7, choices=Verification.choices, default=Verification.IDLE
    )
    verification_error = models.TextField(
        blank=True, help_text="Why the last verification was cut off."
    )
    verifying_sequence = models.PositiveBigIntegerField(
        default=0, help_text="Entries verified so far."
    )
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

    @property
    def is_being_verified(self) -> bool:
        """Whether a verification waits or runs."""
        return self.verification in (self.Verification.QUEUED, self.Verification.RUNNING)


class AuditSeal(models.Model):
    """A signed checkpoint: the chain of `team` had `hash` at `sequence`.

    Only `copied_at` changes later: when the seal was copied to the external store, if there is one.
    `key` is the fingerprint of the Ed25519 key, `signature` is hexadecimal.
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
