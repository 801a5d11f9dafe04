"""Counts sent images and their cost by team, key and month, and checks teams' budgets."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

from django.conf import settings
from django.db.models import Sum
from django.utils import timezone

from persons.billing import statements
from persons.billing.tariff import Tariff
from persons.db.tables import Statement
from persons.models import Call, Meter, MonthTotal, Team

FREE = "embedded"
"""Name of the backend that costs nothing."""

WARN_AT = Decimal("0.8")


def this_month(now: datetime | None = None) -> date:
    return (now or timezone.now()).astimezone(UTC).date().replace(day=1)


def saved(call: Call) -> Statement:
    """The statement that counts images answered from stored results, and what they would have
    cost."""
    worth = estimate(call.saved_count) if call.backend != FREE else Decimal(0)
    return statements.meter(
        call.team, call.key, this_month(), saved_images=call.saved_count, saved_cost=worth
    )


def estimate(images: int) -> Decimal:
    """The cost of `images` more images at this month's present total."""
    sent = MonthTotal.objects.filter(month=this_month()).values_list("images", flat=True).first()
    return tariff().cost(sent or 0, images)


def spent(team: Team) -> Decimal:
    """The team's cost this month."""
    total = Meter.objects.filter(team=team, month=this_month()).aggregate(cost=Sum("cost"))
    return total["cost"] or Decimal(0)


def over_budget(team: Team, *, backend: str) -> bool:
    return (
        backend != FREE and team.monthly_budget is not None and spent(team) >= team.monthly_budget
    )


def tariff() -> Tariff:
    return settings.TARIFF


def tariff_for(backend: str) -> Tariff | None:
    """The tariff of calls to this backend; None if they cost nothing."""
    return tariff() if backend != FREE else None
