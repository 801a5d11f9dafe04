"""How many photos a gallery has, by tab and by month."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta

from django.core.cache import cache
from django.db.models import Count, IntegerField, Max, OuterRef, Q, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce, TruncMonth
from django.template.defaultfilters import date as formatted
from django.utils import timezone

from dashboard.pages.galleries.filters import UPLOADED, GridQuery, among_theirs, matching
from dashboard.pages.galleries.sheets import Key, SheetRequest
from persons.models import Gallery, Photo, PhotoState

COUNTED_AT_ONCE = 5000
KEPT_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Month:
    """A month with photos. `key` is for `?before=`: the month's photos begin below it."""

    start: date
    count: int
    key: str

    @property
    def label(self) -> str:
        return formatted(self.start, "F")


def counts_of(gallery: Gallery) -> dict[str, int]:
    """Counts for the tabs that indexes can count: all, unknown and failed. One query.

    Trashed photos are counted by an index of their own and subtracted; excluding them directly
    would read each photo's row.
    """
    photos = Photo.everything.filter(gallery=OuterRef("pk")).order_by()
    trashed = photos.exclude(trashed_at=None)
    unknown = Q(unknown_count__gt=0)
    rows = Gallery.objects.filter(pk=gallery.pk).values_list(
        _number_of(photos) - _number_of(trashed),
        _number_of(photos.filter(unknown)) - _number_of(trashed.filter(unknown)),
        _number_of(photos.filter(state=PhotoState.FAILED, trashed_at=None)),
    )
    return dict(zip(("", "unknown", "failed"), rows[0], strict=True))


def _number_of(photos: QuerySet[Photo]) -> Coalesce:
    counts = photos.values("gallery").annotate(n=Count("pk")).values("n")
    return Coalesce(Subquery(counts), Value(0), output_field=IntegerField())


def months_of(asked: SheetRequest, *, keep: bool) -> list[Month]:
    """How many photos each month has, newest first. With `keep` it is cached for five minutes."""
    name = f"months:{asked.gallery.pk}:{timezone.get_current_timezone_name()}:{asked.query.string}"
    kept: list[tuple[str, int, str]] | None = cache.get(name) if keep else None
    if kept is not None:
        return [Month(date.fromisoformat(start), count, key) for start, count, key in kept]
    months = _months(asked)
    if keep:
        plain = [(month.start.isoformat(), month.count, month.key) for month in months]
        cache.set(name, plain, KEPT_SECONDS)
    return months


def _months(asked: SheetRequest) -> list[Month]:
    if asked.query.is_filtered:
        photos = among_theirs(matching(asked.gallery, asked.query), asked.gallery, asked.people)
        counts = _by_month(asked.query, photos)
    else:
        # As in `counts_of`: an index counts everything, and the trash is subtracted.
        photos = Photo.everything.filter(gallery=asked.gallery)
        counts = _by_month(asked.query, photos)
        for start, (count, _) in _by_month(asked.query, photos.exclude(trashed_at=None)).items():
            counts[start] = counts[start][0] - count, counts[start][1]
    return [
        Month(start.date(), count, str(_below(start, newest)))
        for start, (count, newest) in sorted(counts.items(), reverse=True)
        if count
    ]


def _by_month(query: GridQuery, photos: QuerySet[Photo]) -> dict[datetime, tuple[int, int | None]]:
    by_month = photos.order_by().annotate(month=TruncMonth(query.moment)).values("month")
    if query.sort == UPLOADED:
        rows = by_month.annotate(n=Count("pk"), newest=Max("pk"))
        return {row["month"]: (row["n"], row["newest"]) for row in rows}
    return {row["month"]: (row["n"], None) for row in by_month.annotate(n=Count("pk"))}


def _below(start: datetime, newest: int | None) -> Key:
    """A key just above the month's newest photo."""
    if newest is not None:
        return Key(newest + 1)
    month_after = (start.replace(day=1) + timedelta(days=32)).replace(day=1)
    return Key(0, timezone.make_aware(month_after.replace(tzinfo=None)))
