"""Export and verification of a team's audit chain."""

from __future__ import annotations

from django.db import transaction

from persons import audit, tasks
from persons.audit import Actor
from persons.audit.export import Export
from persons.models import AuditChain, Team
from persons.pipeline.audit.sealing import SEALED_AT_ONCE, seal_batch
from persons.pipeline.audit.verifying import request_verification
from persons.work import Work

BATCHES = 20
"""Batches sealed before an export, at most. Entries still unsealed after that are not exported."""


def export_audit(*, actor: Actor, team: Team, reason: str = "", with_calls: bool = True) -> Export:
    """The sealed chain, this export's own entry included, and the records of its calls."""
    with transaction.atomic():
        audit.record(actor=actor, team=team, action="audit.export", target=team, reason=reason)
    return Export.of(team, seal=lambda: _seal(team), with_calls=with_calls)


def _seal(team: Team) -> None:
    for _ in range(BATCHES):
        if seal_batch(team.pk) < SEALED_AT_ONCE:
            break


@transaction.atomic
def verify_audit(*, actor: Actor, team: Team) -> None:
    """Enqueue verification of the chain, unless it is requested already."""
    chain, _ = AuditChain.objects.get_or_create(team=team)
    if request_verification(AuditChain.objects.filter(pk=chain.pk)):
        audit.record(actor=actor, team=team, action="audit.verify", target=team)
        tasks.enqueue(Work.VERIFY)
