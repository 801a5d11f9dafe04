"""Audit entries: who did what, from where."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from django.db.models import Model
from django.utils import timezone

from persons.chain import entries
from persons.models import (
    AuditConcern,
    AuditEntry,
    Call,
    Change,
    ChangedFace,
    Enrolment,
    Face,
    Gallery,
    Grouping,
    Photo,
    ShareLink,
    Source,
    Team,
    User,
)


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts and from where. Every action takes one and every audit entry stores one."""

    user: User | None
    source: Source
    text: str = ""
    address: str | None = None
    request_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    reason: str = ""
    """The reason that a client gave with its call, or ""."""

    @property
    def name(self) -> str:
        return self.text or (str(self.user) if self.user else "Rollcall")

    @classmethod
    def command(cls, name: str, user: User | None = None) -> Actor:
        return cls(user=user, source=Source.COMMAND, text=f"manage.py {name}")

    @classmethod
    def of_call(cls, call: Call) -> Actor:
        """The actor who made this call to Vision."""
        return cls(
            user=call.actor,
            source=Source(call.source),
            text=call.actor_text,
            address=call.address,
            request_id=call.request_id,
        )


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
    """Insert one entry in the caller's transaction. `action` is "object.verb", as in "face.name".

    Users who may not see the target's gallery don't see the entry's words; `concern` adds other
    galleries. The sealer puts the entry into the chain within seconds; no request waits for that.
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
    concern(entry, galleries_of(target))
    return entry


def concern(entry: AuditEntry, galleries: Iterable[int | None]) -> None:
    """Mark the entry as being about these galleries: users who may not see one of them don't see
    its words.

    None stands for a gallery that isn't known any more.
    """
    rows = [AuditConcern(entry=entry, gallery_id=pk) for pk in galleries]
    if rows:
        AuditConcern.objects.bulk_create(rows, ignore_conflicts=True)


def galleries_of(target: Model | None) -> set[int | None]:
    """The galleries that an entry about this target concerns."""
    match target:
        case Gallery():
            return {target.pk}
        case Photo() | Face() | ShareLink():
            return {target.gallery_id}
        case Grouping():
            return {target.gallery_id} - {None}
        case Enrolment():
            return {None} if target.source_lost else {target.gallery_id} - {None}
        case Change():
            return galleries_of_change(target)
    return set()


def galleries_of_change(change: Change) -> set[int | None]:
    """The galleries of the faces that it changed."""
    rows = ChangedFace.objects.filter(change=change).order_by()
    return set(rows.values_list("face__gallery", flat=True).distinct())


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
    """An unsaved entry like that of `record`, for callers that insert it with other rows."""
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
