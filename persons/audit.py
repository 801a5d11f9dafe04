"""Audit entries: who asked, and what they did."""

from __future__ import annotations

import uuid
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db.models import Model, QuerySet
from django.utils import timezone

from persons.chain import entries
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
    target: Model | None = None,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
    reason: str = "",
) -> AuditEntry:
    """Insert one entry, in the caller's transaction. `action` is "object.verb", as "face.name".

    It gets its place in the chain within seconds, by the sealer: no request waits for that.
    """
    entry = new_entry(
        actor=actor,
        team=team,
        action=action,
        target=target,
        before=before,
        after=after,
        reason=reason,
    )
    entry.save(force_insert=True)
    return entry


def new_entry(
    *,
    actor: Actor,
    team: Team | None,
    action: str,
    target: Model | None = None,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
    reason: str = "",
) -> AuditEntry:
    """As `record`, for whoever inserts it together with something else."""
    entry = AuditEntry(
        team=team,
        at=timezone.now(),
        actor_id=actor.user.pk if actor.user else None,
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
        reason=reason[:500],
    )
    return entries.mark(entry, team.slug if team else "")


def erase(pks: Collection[int], *, at: datetime) -> int:
    """Blank what these entries say of their targets; how many still said something.

    Who did what to which row, when, and from where stays, and so does the chain: it covers the
    digest of what is gone, and without its salt nobody can try out what that was.
    """
    # Around AuditEntryQuerySet; the triggers let just this through.
    rows: QuerySet[AuditEntry] = QuerySet(AuditEntry)
    return rows.filter(pk__in=pks, erased_at=None).update(
        target_text="", before={}, after={}, reason="", salt="", erased_at=at
    )
