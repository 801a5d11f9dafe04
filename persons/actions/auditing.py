"""What people ask of the audit itself: an export, and to have it verified."""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone

from persons import audit, tasks
from persons.audit import Actor
from persons.exporting import Export
from persons.models import AuditChain, Team
from persons.pipeline.sealing import SEALED_AT_ONCE, seal_batch

BATCHES = 20
"""That are sealed before an export; where more wait, it ends where the chain does."""


def export_audit(*, actor: Actor, team: Team, reason: str = "", with_calls: bool = True) -> Export:
    """The chain as it is now, this export's own entry included, and the records of its calls."""
    with transaction.atomic():
        audit.record(actor=actor, team=team, action="audit.export", target=team, reason=reason)
    return Export.of(team, seal=lambda: _seal(team), with_calls=with_calls)


def _seal(team: Team) -> None:
    for _ in range(BATCHES):
        if seal_batch(team.pk) < SEALED_AT_ONCE:
            break


@transaction.atomic
def verify_audit(*, actor: Actor, team: Team) -> None:
    """Have the chain verified in the background, unless it is being verified already."""
    chain, _ = AuditChain.objects.get_or_create(team=team)
    if AuditChain.objects.filter(pk=chain.pk, asked_at=None).update(asked_at=timezone.now()):
        audit.record(actor=actor, team=team, action="audit.verify", target=team)
        tasks.ring(tasks.verify_chain, chain.pk)
