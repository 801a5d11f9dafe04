"""Looking at what is on record leaves a trace on record, too."""

from __future__ import annotations

from collections.abc import Mapping

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


@transaction.atomic
def begin_export(
    *, actor: Actor, team: Team, what: str, filters: Mapping[str, str], form: str, reason: str
) -> None:
    """Before the first row is sent: that somebody takes records out, and which."""
    audit.record(
        actor=actor,
        team=team,
        action=f"{what}.export",
        target=team,
        after={"filters": dict(filters), "format": form},
        reason=reason,
    )


@transaction.atomic
def end_export(
    *, actor: Actor, team: Team, what: str, rows: int, complete: bool, reason: str
) -> None:
    """How many rows went out; not `complete` where the reader hung up."""
    audit.record(
        actor=actor,
        team=team,
        action=f"{what}.exported",
        target=team,
        after={"rows": rows, "complete": complete},
        reason=reason,
    )
