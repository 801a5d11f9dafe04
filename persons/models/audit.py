"""Who did what to what, when, from where and why."""

from __future__ import annotations

from typing import Any, Never

from django.db import models
from django.utils import timezone

from persons.models.calls import Source
from persons.models.teams import Team, User


class AuditEntry(models.Model):
    """Written with the change, in its transaction (`persons.audit.record`). Never changed after."""

    team = models.ForeignKey(
        Team, null=True, blank=True, on_delete=models.PROTECT, related_name="audit_entries"
    )
    at = models.DateTimeField(default=timezone.now, editable=False)
    actor = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.SET_NULL, related_name="+", db_index=False
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

    class Meta:
        ordering = ["-pk"]
        indexes = [
            models.Index(fields=["team", "-id"], name="audit_list"),
            models.Index(fields=["team", "action", "-id"], name="audit_by_action"),
            models.Index(fields=["actor", "team", "-id"], name="audit_by_actor"),
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
