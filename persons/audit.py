"""Audit entries: who asked, and what they did."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import Any

from django.db import models

from persons.models import AuditEntry, Source, Team, User


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks, from where: what every action takes and every audit entry keeps."""

    user: User | None
    source: Source
    text: str = ""
    address: str | None = None
    request_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    reason: str = ""
    """Why, where a client says so with its call."""

    @property
    def name(self) -> str:
        return self.text or (str(self.user) if self.user else "Rollcall")

    @classmethod
    def command(cls, name: str, user: User | None = None) -> Actor:
        return cls(user=user, source=Source.COMMAND, text=f"manage.py {name}")


def record(
    *,
    actor: Actor,
    team: Team | None,
    action: str,
    target: models.Model | None = None,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
    reason: str = "",
) -> AuditEntry:
    """Insert one entry, in the caller's transaction. `action` is "object.verb", as "face.name"."""
    return AuditEntry.objects.create(
        team=team,
        actor=actor.user,
        actor_text=actor.name[:200],
        source=actor.source,
        address=actor.address,
        request_id=actor.request_id,
        action=action,
        target_type=(target._meta.model_name or "") if target is not None else "",
        target_id=str(target.pk) if target is not None else "",
        target_text=str(target)[:300] if target is not None else "",
        before=before or {},
        after=after or {},
        reason=reason,
    )
