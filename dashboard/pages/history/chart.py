"""The chart above the history: loaded after the page or, without scripts, with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from django.http import HttpResponse
from django.urls import path, reverse
from django.utils import timezone
from django.utils.dateformat import format as formatted
from django.views.decorators.http import require_GET

from dashboard.middleware import PageRequest
from dashboard.pages.privacy.reasons import asking, look_up_filtered
from dashboard.pages.shared import fragment, signed_in
from persons.access import team_for
from persons.calls.chart import MOST_FOUND, Bar, chart_of
from persons.calls.filters import filters_of
from persons.calls.search import Search
from persons.models import Team
from persons.models.calls import Outcome

WIDE = 10
"""Width of a bar and the gap after it, in the chart's units."""

LEAST = 1.5
"""Minimum height of a non-empty bar, in percent, to keep it visible."""

ORDER = [
    Outcome.DONE,
    Outcome.PARTIAL,
    Outcome.TEMPORARY,
    Outcome.UNAVAILABLE,
    Outcome.INTERRUPTED,
    Outcome.REJECTED,
    Outcome.RUNNING,
]
"""Stacking order, from the bottom up."""


@dataclass(frozen=True, slots=True)
class BarPart:
    outcome: str
    x: int
    y: float
    height: float
    href: str
    words: str


@signed_in
@require_GET
@asking
def chart(request: PageRequest, team: str) -> HttpResponse:
    found = team_for(request.user, team)
    filters, chosen = filters_of(request.GET.dict(), request.user, found)
    look_up_filtered(request, found, filters, part=True)
    search = Search.by(request.user, found, filters)
    return fragment(request, "history/_chart.html", context_of(found, search, chosen))


def context_of(team: Team, search: Search, chosen: Mapping[str, str]) -> dict[str, Any]:
    made = chart_of(search)
    home = reverse("history", args=[team.slug])
    asked = search.filters
    parts = [
        part
        for place, bar in enumerate(made.bars)
        for part in _parts(bar, place * WIDE, made.most, home, chosen)
    ]
    return {
        "team": team,
        "chart": made,
        "parts": parts,
        "width": len(made.bars) * WIDE - 2,
        "legend": [
            (_colour(name), Outcome(name).label, made.counts[name])
            for name in ORDER
            if name in made.counts
        ],
        "span": "over time" if asked.since or asked.until else "of the last thirty days",
        "last": made.bars[-1].until - timedelta(seconds=1),
        "most_found": MOST_FOUND,
    }


def _parts(bar: Bar, x: int, most: int, home: str, chosen: Mapping[str, str]) -> list[BarPart]:
    parts, top = [], 100.0
    for outcome in ORDER:
        count = bar.counts.get(outcome, 0)
        if not count:
            continue
        height = max(LEAST, count / most * (100 - LEAST * len(bar.counts)))
        top -= height
        where = {name: value for name, value in chosen.items() if name not in ("from", "to")}
        where |= {
            "from": _minute(bar.since),
            "to": _minute(bar.until - timedelta(minutes=1)),
            "outcome": str(outcome),
        }
        words = f"{_span(bar)}: {count:,} {outcome.label.lower()}"
        href = f"{home}?{urlencode(where)}"
        parts.append(BarPart(str(outcome), x, round(top, 2), round(height, 2), href, words))
    return parts


def _minute(at: datetime) -> str:
    return f"{timezone.localtime(at):%Y-%m-%dT%H:%M}"


def _span(bar: Bar) -> str:
    since, last = (
        timezone.localtime(bar.since),
        timezone.localtime(bar.until - timedelta(seconds=1)),
    )
    if bar.until - bar.since < timedelta(days=1):
        return formatted(since, "j F, H:i")
    if since.date() == last.date():
        return formatted(since, "j F Y")
    return f"{formatted(since, 'j F')} to {formatted(last, 'j F Y')}"


def _colour(outcome: Outcome) -> str:
    plain = (Outcome.DONE, Outcome.REJECTED, Outcome.RUNNING)
    return str(outcome) if outcome in plain else "other"


urlpatterns = [path("history/chart", chart, name="history_chart")]
