"""Looking at what is on record leaves a trace on record, too."""

from __future__ import annotations

from django.db import models, transaction

from persons import audit
from persons.audit import Actor
from persons.models import Finding, Team


@transaction.atomic
def open_evidence(*, actor: Actor, finding: Finding, reason: str = "") -> None:
    audit.record(
        actor=actor,
        team=finding.team,
        action="evidence.open",
        target=finding.call,
        after={
            "call": finding.call_id,
            "recognition": finding.recognition_id,
            "position": finding.position,
        },
        reason=reason,
    )


@transaction.atomic
def give_reason(
    *, actor: Actor, team: Team, purpose: str, target: models.Model, reason: str
) -> None:
    """Why somebody looks at `target`, said before they do."""
    audit.record(
        actor=actor,
        team=team,
        action="reason.given",
        target=target,
        after={"purpose": purpose},
        reason=reason,
    )
