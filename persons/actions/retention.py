"""How long a team keeps things. `pipeline.privacy.retention` and `purging` apply it."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from django.db import transaction

from persons import audit
from persons.audit import Actor
from persons.db.locking import locked
from persons.errors import Refused
from persons.models import Team

MOST_DAYS = 36_500


@dataclass(frozen=True, slots=True)
class Rules:
    """Days to keep each kind of thing; None: until somebody deletes it."""

    probe_days: int | None
    unknown_days: int | None
    history_days: int | None
    trash_days: int


@transaction.atomic
def change_retention(*, actor: Actor, team: Team, rules: Rules) -> Team:
    """Change the team's rules. Raises Refused for a number of days outside 1 to MOST_DAYS."""
    for days in asdict(rules).values():
        if days is not None and not 1 <= days <= MOST_DAYS:
            raise Refused(f"Days are a number from 1 to {MOST_DAYS:,}.")
    team = locked(Team.objects.filter(pk=team.pk)).get()
    before = {name: getattr(team, name) for name in asdict(rules)}
    changed = [name for name, days in asdict(rules).items() if before[name] != days]
    if not changed:
        return team
    for name in changed:
        setattr(team, name, getattr(rules, name))
    team.save(update_fields=changed)
    audit.record(
        actor=actor,
        team=team,
        action="team.retention",
        target=team,
        before={name: before[name] for name in changed},
        after={name: getattr(rules, name) for name in changed},
    )
    return team
