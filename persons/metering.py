"""What was sent and what it cost, by team, key and month; and whether more may be sent."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal

from django.conf import settings
from django.db.models import Sum
from django.utils import timezone

from persons import statements
from persons.models import Call, Meter, MonthTotal, Team
from persons.tables import Statement
from persons.tariff import Tariff

FREE = "embedded"
"""The backend that nobody sends a bill for."""

WARN_AT = Decimal("0.8")


def this_month(now: datetime | None = None) -> date:
    return (now or timezone.now()).astimezone(UTC).date().replace(day=1)


def sent(call: Call, names: Sequence[str], more: Sequence[Statement]) -> None:
    """A call that was sent is over: `names` of it and `more` are written, its cost is set, and its
    payer's meter is raised.

    The account's month is one row, so that two calls that end at once are priced one after the
    other and the ladder's edge is crossed exactly once.
    """
    ladder = tariff() if call.backend != FREE else None
    statements.end_call(call, names, more, month=this_month(), tariff=ladder)


def saved(call: Call) -> Statement:
    """As `sent`, of images that were answered from what was stored: what they would have cost."""
    worth = estimate(call.saved_count) if call.backend != FREE else Decimal(0)
    return statements.meter(
        call.team, call.key, this_month(), saved_images=call.saved_count, saved_cost=worth
    )


def estimate(images: int) -> Decimal:
    """What `images` more would cost now."""
    sent = MonthTotal.objects.filter(month=this_month()).values_list("images", flat=True).first()
    return tariff().cost(sent or 0, images)


def spent(team: Team) -> Decimal:
    """This month, by the team."""
    total = Meter.objects.filter(team=team, month=this_month()).aggregate(cost=Sum("cost"))
    return total["cost"] or Decimal(0)


def over_budget(team: Team, *, backend: str) -> bool:
    return (
        backend != FREE and team.monthly_budget is not None and spent(team) >= team.monthly_budget
    )


def tariff() -> Tariff:
    return settings.TARIFF
