"""A team's usage and cost of Vision by month and key, its budget and settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import messages
from django.db.models import Sum
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import path, reverse
from django.views.decorators.http import require_GET, require_POST

from dashboard.middleware import PageRequest
from dashboard.pages.shared import actor_of, go_back, signed_in
from persons.access import Right, rights_of, team_for
from persons.actions.teams import change_settings
from persons.backends.cloud import is_cloud
from persons.billing import metering
from persons.errors import Refused
from persons.inputs.params import Parameters
from persons.models import ApiKey, Meter, MonthTotal, Team

MONTHS = 12
MOST_KEYS = 100
COUNTED = ("calls", "images", "saved_images", "cost", "saved_cost")


class SettingsForm(forms.Form):
    """Parses an owner's choices; `change_settings` saves them."""

    monthly_budget = forms.DecimalField(
        max_digits=12,
        decimal_places=2,
        min_value=Decimal(0),
        required=False,
        error_messages={"min_value": "A budget is an amount from 0 up, or empty for no limit."},
    )
    keep_probes = forms.BooleanField(required=False)


@dataclass(frozen=True, slots=True)
class Used:
    """Images sent and saved in a month, by a team or one of its keys."""

    calls: int = 0
    images: int = 0
    saved_images: int = 0
    cost: Decimal = Decimal(0)
    saved_cost: Decimal = Decimal(0)

    def __sub__(self, other: Used) -> Used:
        return Used(*(getattr(self, name) - getattr(other, name) for name in COUNTED))

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Used:
        return cls(*(row[name] for name in COUNTED))


@dataclass(frozen=True, slots=True)
class MonthBar:
    """A month of the chart. `sent` and `saved` are heights in percent of the chart's."""

    month: date
    used: Used
    sent: float
    saved: float

    @property
    def sent_top(self) -> float:
        return 100 - self.sent

    @property
    def saved_top(self) -> float:
        return 100 - self.sent - self.saved


@dataclass(frozen=True, slots=True)
class KeyUsage:
    """Usage of one key; `key` is None for Rollcall's own workers."""

    key: ApiKey | None
    used: Used


@dataclass(frozen=True, slots=True)
class StepRow:
    """A tier of the tariff; `since` is the first image of the month at its price."""

    since: int
    up_to: int | None
    price: Decimal
    is_current: bool


@dataclass(frozen=True, slots=True)
class Budget:
    """A team's limit for this month, and how much of it is spent."""

    limit: Decimal
    spent: Decimal

    @property
    def level(self) -> str:
        """Returns "ok", "warn" or "stopped", which means that nothing billable is sent any more."""
        if self.spent >= self.limit:
            return "stopped"
        return "warn" if self.spent >= self.limit * metering.WARN_AT else "ok"

    @property
    def percent(self) -> int:
        return int(self.spent / self.limit * 100) if self.limit else 100

    @property
    def left(self) -> Decimal:
        return max(Decimal(0), self.limit - self.spent)


def budget_of(team: Team, spent: Decimal | None = None) -> Budget | None:
    """The team's budget. Queries the database only if there is a limit that can be reached."""
    if team.monthly_budget is None or not is_cloud():
        return None
    return Budget(team.monthly_budget, metering.spent(team) if spent is None else spent)


def budget_starts_again() -> datetime:
    return datetime.combine(later(metering.this_month(), 1), time.min, UTC)


def later(month: date, by: int) -> date:
    """The first day of the month `by` months later, or earlier if `by` is negative."""
    years, index = divmod(month.month - 1 + by, 12)
    return date(month.year + years, index + 1, 1)


@signed_in
@require_GET
def usage(request: PageRequest, team: str) -> HttpResponse:
    found = team_for(request.user, team)
    return render(request, "team/usage/usage.html", _context(request, found, _form_of(found)))


def _form_of(team: Team) -> SettingsForm:
    return SettingsForm(
        initial={"monthly_budget": team.monthly_budget, "keep_probes": team.keep_probes}
    )


def _context(request: PageRequest, found: Team, form: SettingsForm) -> dict[str, Any]:
    now = metering.this_month()
    months = [later(now, -back) for back in reversed(range(MONTHS))]
    used = _by_month(found, months[0])
    chosen = _chosen(request, months)
    current = used.get(now, Used())
    keys, rest = _by_key(found, chosen, used.get(chosen, Used()))
    bars, top = chart(months, used)
    return {
        "team": found,
        "can_manage": Right.MANAGE in rights_of(request.user, found),
        "is_cloud": is_cloud(),
        "with_costs": is_cloud() or any(month.cost for month in used.values()),
        "now": now,
        "current": current,
        "budget": budget_of(found, current.cost),
        "starts_again": budget_starts_again(),
        "months": months[::-1],
        "chosen": chosen,
        "chosen_total": used.get(chosen, Used()),
        "bars": bars,
        "scale": [compact(top), compact(top // 2), "0"],
        "keys": keys,
        "rest": rest,
        "ladder": ladder(),
        "currency": metering.tariff().currency,
        "form": form,
    }


def _by_month(team: Team, since: date) -> dict[date, Used]:
    rows = Meter.objects.filter(team=team, month__gte=since).order_by().values_list("month")
    return {month: Used(*sums) for month, *sums in rows.annotate(*map(Sum, COUNTED))}


def _by_key(team: Team, month: date, total: Used) -> tuple[list[KeyUsage], Used | None]:
    """The keys that sent most in a month, and the total of the others."""
    meters = Meter.objects.filter(team=team, month=month).select_related("key")
    found = list(meters.order_by("-images", "-saved_images", "pk")[: MOST_KEYS + 1])
    rows = [KeyUsage(meter.key, Used.of(vars(meter))) for meter in found[:MOST_KEYS]]
    if len(found) <= MOST_KEYS:
        return rows, None
    rest = total
    for row in rows:
        rest = rest - row.used
    return rows, rest


def _chosen(request: PageRequest, months: Sequence[date]) -> date:
    by_name = {f"{month:%Y-%m}": month for month in months}
    given = Parameters(request.GET)
    name = given.choice("month", by_name, f"{months[-1]:%Y-%m}")
    given.demand()
    return by_name[name]


def chart(months: Sequence[date], used: dict[date, Used]) -> tuple[list[MonthBar], int]:
    """A bar for each month, and the number of images at the chart's full height."""
    rows = [(month, used.get(month, Used())) for month in months]
    top = nice(max(row.images + row.saved_images for _, row in rows))
    return [
        MonthBar(month, row, height(row.images, top), height(row.saved_images, top))
        for month, row in rows
    ], top


def height(count: int, top: int) -> float:
    """Height of a bar, with a minimum that keeps a month with one image visible."""
    return max(1.0, round(100 * count / top, 2)) if count else 0.0


def nice(count: int) -> int:
    """The next round number that can be halved: 10, 20, 30, 40, 60, 80, 100, 150, 200…"""
    power = 1
    while power * 100 < count:
        power *= 10
    steps = (power * step for step in (10, 15, 20, 30, 40, 60, 80, 100))
    return next(step for step in steps if step >= count and step % 2 == 0)


def compact(count: int) -> str:
    """Short numbers for the chart's scale: "1.5M", "750k", "80"."""
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= size:
            return f"{count / size:g}{unit}"
    return str(count)


def ladder() -> list[StepRow]:
    """The tariff's tiers, marking the one of the account's next image.

    The number of images is not shown, since it includes other teams'.
    """
    steps = metering.tariff().steps
    if not is_cloud():
        return []
    month = MonthTotal.objects.filter(month=metering.this_month())
    sent = month.values_list("images", flat=True).first() or 0
    edges = [0, *(step.up_to or 0 for step in steps)]
    return [
        StepRow(
            since=edges[position] + 1,
            up_to=step.up_to,
            price=step.price,
            is_current=edges[position] <= sent and (step.up_to is None or sent < step.up_to),
        )
        for position, step in enumerate(steps)
    ]


@signed_in
@require_POST
def change(request: PageRequest, team: str) -> HttpResponse:
    found = team_for(request.user, team, right=Right.MANAGE)
    form = SettingsForm(request.POST)
    if form.is_valid():
        try:
            change_settings(actor=actor_of(request), team=found, **form.cleaned_data)
        except Refused as error:
            form.add_error("monthly_budget", str(error))
        else:
            messages.success(request, f"The settings of {found} are saved.")
            return go_back(request, reverse("usage", args=[team]))
    return render(request, "team/usage/usage.html", _context(request, found, form), status=422)


urlpatterns = [
    path("usage/", usage, name="usage"),
    path("usage/settings", change, name="team_settings"),
]
