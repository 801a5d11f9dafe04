"""Chart of the filtered history: numbers of calls over time, by outcome."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from django.db.models import Count, QuerySet
from django.db.models.functions import TruncDay, TruncHour
from django.utils import timezone

from persons.calls.search import Search
from persons.models import Call
from persons.models.calls import Outcome

USUAL = timedelta(days=30)
BARS = 60
MOST_FOUND = 5_000
"""When filters concern faces, a gallery or a request, only this many newest calls are counted."""

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
HOURS_UP_TO = timedelta(days=2, hours=12)


@dataclass(frozen=True, slots=True)
class Bar:
    """Calls from `since` until just before `until`, counted by outcome; zero counts are absent."""

    since: datetime
    until: datetime
    counts: dict[str, int]

    @property
    def total(self) -> int:
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True)
class Chart:
    bars: list[Bar]
    counts: dict[str, int]
    is_bounded: bool

    @property
    def most(self) -> int:
        return max((bar.total for bar in self.bars), default=0)


def chart_of(search: Search, now: datetime | None = None) -> Chart:
    """The chart for the filters' period; without a start, for its last thirty days."""
    asked = search.filters
    until = asked.until or now or timezone.now()
    since = asked.since or until - USUAL
    step = HOUR if until - since <= HOURS_UP_TO else DAY
    rows, is_bounded = _rows(search, since, until)
    trunc = TruncHour("started_at") if step is HOUR else TruncDay("started_at")
    counted = rows.annotate(moment=trunc).values_list("moment", "outcome").annotate(n=Count("pk"))
    found: dict[datetime, dict[str, int]] = defaultdict(dict)
    for moment, outcome, count in counted.order_by():
        found[moment][outcome] = count
    bars = _bars(found, since, until, step)
    totals = {name: sum(bar.counts.get(name, 0) for bar in bars) for name in Outcome.values}
    return Chart(bars, {name: count for name, count in totals.items() if count}, is_bounded)


def _rows(search: Search, since: datetime, until: datetime) -> tuple[QuerySet[Call], bool]:
    asked = search.filters
    rows = Call.objects.filter(team=search.team, started_at__gte=since, started_at__lte=until)
    if not (asked.of_faces or asked.gallery or asked.request):
        return rows.filter(search.calls()), False
    within = replace(search, filters=replace(asked, since=since, until=until))
    pks = within.ids(MOST_FOUND)
    return rows.filter(pk__in=pks), len(pks) == MOST_FOUND


def _bars(
    found: dict[datetime, dict[str, int]], since: datetime, until: datetime, step: timedelta
) -> list[Bar]:
    """Bars without gaps, at most BARS of them: over longer periods a bar spans several steps."""
    first = timezone.localtime(since).replace(minute=0, second=0, microsecond=0)
    if step is DAY:
        first = first.replace(hour=0)
    spans = max(1, -((first - until) // step))
    each = -(-spans // BARS)
    bars: list[Bar] = []
    for at in range(0, spans, each):
        begin, end = first + at * step, first + (at + each) * step
        counts: dict[str, int] = {}
        for moment, outcomes in found.items():
            if begin <= moment < end:
                for outcome, count in outcomes.items():
                    counts[outcome] = counts.get(outcome, 0) + count
        bars.append(Bar(begin, end, counts))
    return bars
