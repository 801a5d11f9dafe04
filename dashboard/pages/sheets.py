"""A gallery's photos sheet by sheet, found by key: as quick at the end of a gallery as at its top.

A sheet is what a page shows and what the grid loads, drops and loads again as somebody scrolls.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from typing import Self

from django.core.cache import cache
from django.db.models import (
    Count,
    IntegerField,
    Max,
    OuterRef,
    Prefetch,
    Q,
    QuerySet,
    Subquery,
    Value,
)
from django.db.models.functions import Coalesce, TruncMonth
from django.http import QueryDict
from django.template.defaultfilters import date as formatted
from django.utils import timezone

from dashboard.pages.filters import (
    UPLOADED,
    GridQuery,
    among_theirs,
    day_of,
    matching,
    start_of,
    with_people,
)
from persons.models import Face, Gallery, Person, Photo, PhotoState

SHEET = 60
LARGEST_SHEET = 240
"""What is loaded again at most in the place of a sheet, whatever came into it meanwhile."""
SHORT = 12
"""A day is not cut where less than this of it would stand at a sheet's end."""
DENSE = 4
"""Photos a day, on average, that make a heading for each day worth its room."""
WINDOW = 3000
"""So many photos are looked at one by one for somebody's face before all their faces are asked."""
MOST_SELECTED = 5000

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_KEY = re.compile(r"(?:(-?[0-9]{1,17})\.)?([0-9]{1,18})")


@dataclass(frozen=True, slots=True)
class Key:
    """Where a photo stands: by its moment, then its pk; `at` is None where the pk alone orders."""

    pk: int
    at: datetime | None = None

    @classmethod
    def of(cls, photo: Photo, query: GridQuery) -> Self:
        return cls(photo.pk, None if query.sort == UPLOADED else photo.shown_at)

    @classmethod
    def parse(cls, text: str, query: GridQuery) -> Self | None:
        """None for what is no key of this order."""
        found = _KEY.fullmatch(text)
        if not found or (found[1] is None) != (query.sort == UPLOADED):
            return None
        try:
            at = None if found[1] is None else EPOCH + int(found[1]) * _MICROSECOND
        except OverflowError:
            return None
        return cls(int(found[2]), at)

    def __str__(self) -> str:
        return str(self.pk) if self.at is None else f"{(self.at - EPOCH) // _MICROSECOND}.{self.pk}"

    def older(self, *, included: bool = False) -> Q:
        """What comes after it in the grid."""
        by_pk = Q(pk__lte=self.pk) if included else Q(pk__lt=self.pk)
        # The first condition says no more than the second, but an index can use it.
        return (
            by_pk
            if self.at is None
            else Q(shown_at__lte=self.at) & (Q(shown_at__lt=self.at) | by_pk)
        )

    def newer(self, *, included: bool = False) -> Q:
        by_pk = Q(pk__gte=self.pk) if included else Q(pk__gt=self.pk)
        return (
            by_pk
            if self.at is None
            else Q(shown_at__gte=self.at) & (Q(shown_at__gt=self.at) | by_pk)
        )


@dataclass(frozen=True, slots=True)
class Place:
    """Which stretch of the grid: all between `top` and `end`, read from the end that `up` says."""

    top: Key | None = None
    end: Key | None = None
    top_included: bool = True
    end_included: bool = True
    up: bool = False
    within: Q = field(default_factory=Q)
    """What of the stretch counts, such as one day."""

    @classmethod
    def parse(cls, data: QueryDict, query: GridQuery) -> Self:
        """`at` begins with that photo, `before` below it, `after` ends above it; with `last`, it is
        a sheet that was there before, from `first` on or what is `before`."""
        keys = {
            name: Key.parse(data.get(name, ""), query)
            for name in ("at", "before", "after", "first", "last")
        }
        if keys["last"] and (keys["first"] or keys["before"]):
            top = keys["first"] or keys["before"]
            return cls(top, keys["last"], top_included=keys["first"] is not None)
        if keys["at"]:
            return cls(top=keys["at"])
        if keys["before"]:
            return cls(top=keys["before"], top_included=False)
        if keys["after"]:
            return cls(end=keys["after"], end_included=False, up=True)
        return cls()

    @property
    def condition(self) -> Q:
        condition = self.within
        if self.top:
            condition &= self.top.older(included=self.top_included)
        if self.end:
            condition &= self.end.newer(included=self.end_included)
        return condition


@dataclass(frozen=True, slots=True)
class Asked:
    """A gallery, what of it is asked for, and whom `query.people` turned out to be."""

    gallery: Gallery
    query: GridQuery
    people: Sequence[Person | None] = ()


def found(asked: Asked, place: Place, size: int) -> list[Photo]:
    """The next photos from a place on, newest first, with no more than their key.

    One query; with people up to two, neither of which looks at the whole gallery photo by photo.
    """
    order = asked.query.order
    if place.up:
        order = tuple(name.removeprefix("-") for name in order)
    photos = matching(asked.gallery, asked.query).filter(place.condition).order_by(*order)
    photos = photos.only("pk", asked.query.moment, "shown_at")
    if asked.people:
        window = (
            Photo.everything.filter(place.condition, gallery=asked.gallery)
            .order_by(*order)
            .values("pk")[:WINDOW]
        )
        nearby = with_people(photos.filter(pk__in=window), asked.gallery, asked.people)
        rows = list(nearby[:size])
        if len(rows) < size:
            rows = list(among_theirs(photos, asked.gallery, asked.people)[:size])
    else:
        rows = list(photos[:size])
    return rows[::-1] if place.up else rows


# --- Sheets ---


@dataclass(frozen=True, slots=True)
class Day:
    """Photos of a day, or of a month where days have few. `goes_on` on the next sheet."""

    key: str
    label: str
    photos: list[Photo]
    goes_on: bool = False


@dataclass(frozen=True, slots=True)
class Sheet:
    """`newer` and `older` are the keys for `?after=` and `?before=`, "" at an end."""

    days: list[Day]
    first: str = ""
    last: str = ""
    newer: str = ""
    older: str = ""

    @property
    def photos(self) -> Iterator[Photo]:
        return (photo for day in self.days for photo in day.photos)

    @property
    def is_busy(self) -> bool:
        return any(photo.is_busy for photo in self.photos)


def sheet_of(asked: Asked, place: Place) -> Sheet:
    """First which photos, then what their tiles show: in as many queries for any gallery."""
    is_stretch = place.top is not None and place.end is not None
    size = LARGEST_SHEET if is_stretch else SHEET
    rows = found(asked, place, size + 1)
    has_more = len(rows) > size
    # What is beyond the sheet is looked at only to know whether its last day ends with it.
    beyond = (rows.pop(0) if place.up else rows.pop()) if has_more else None
    if not rows:
        return _empty(place)
    days = _days(asked.query, rows, beyond, up=place.up)
    rows = [photo for day in days for photo in day.photos]
    first, last = (str(Key.of(photo, asked.query)) for photo in (rows[0], rows[-1]))
    full = _with_tiles(rows)
    return Sheet(
        [
            replace(day, photos=[full[one.pk] for one in day.photos if one.pk in full])
            for day in days
        ],
        first,
        last,
        newer=first if (has_more if place.up else place.top is not None) else "",
        older=last if (place.up or has_more) else "",
    )


def _empty(place: Place) -> Sheet:
    """Beyond an end there is still a way back."""
    newer = str(place.top) if place.top and not place.end else ""
    return Sheet([], newer=newer, older=str(place.end) if place.up else "")


def _days(query: GridQuery, rows: list[Photo], beyond: Photo | None, *, up: bool) -> list[Day]:
    labels = _Labels(query, rows)
    days = [
        Day(key, labels.words[key], list(photos)) for key, photos in groupby(rows, key=labels.key)
    ]
    if beyond is None:
        return days
    cut = days[0] if up else days[-1]
    if labels.key(beyond) != cut.key:
        return days
    # Rather the whole day on the next sheet than a scrap of it here.
    if len(days) > 1 and len(cut.photos) < SHORT:
        return days[1:] if up else days[:-1]
    if not up:
        days[-1] = replace(cut, goes_on=True)
    return days


@dataclass(slots=True)
class _Labels:
    """By day where the days of a month have photos enough, else by month."""

    query: GridQuery
    rows: list[Photo]
    words: dict[str, str] = field(default_factory=dict)
    _by_month: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        days = Counter(self._day(photo) for photo in self.rows)
        months: dict[str, list[int]] = {}
        for day, count in days.items():
            months.setdefault(f"{day:%Y-%m}", []).append(count)
        self._by_month = {
            month
            for month, counts in months.items()
            if len(counts) > 1 and sum(counts) < DENSE * len(counts)
        }

    def key(self, photo: Photo) -> str:
        day = self._day(photo)
        month = f"{day:%Y-%m}"
        if month in self._by_month:
            self.words.setdefault(month, formatted(day, "F Y"))
            return month
        self.words.setdefault(day.isoformat(), day_words(day))
        return day.isoformat()

    def _day(self, photo: Photo) -> date:
        moment: datetime = getattr(photo, self.query.moment)
        return timezone.localtime(moment).date()


def day_words(day: date) -> str:
    today = timezone.localdate()
    if day == today:
        return "Today"
    if day == today - timedelta(days=1):
        return "Yesterday"
    return formatted(day, "l, j F" if day.year == today.year else "j F Y")


TILE_FACE = ("photo", "review", "decision", "missing", "person__label", "person__person_id")
"""All of a face that a tile shows: a group photo has many, and a sheet has many photos."""


def tiles_of(photos: QuerySet[Photo]) -> QuerySet[Photo]:
    """With what a tile shows: counts, and the people on it."""
    named = (
        Face.objects.filter(missing=False, person__isnull=False)
        .select_related("person")
        .only(*TILE_FACE)
    )
    return photos.for_grid().prefetch_related(Prefetch("faces", queryset=named))  # type: ignore[attr-defined, no-any-return]


def _with_tiles(rows: list[Photo]) -> dict[int, Photo]:
    shown = tiles_of(Photo.objects.filter(pk__in=[photo.pk for photo in rows]))
    return {photo.pk: photo for photo in shown}


# --- Neighbours and ranges ---


def neighbours(asked: Asked, photo: Photo) -> tuple[int | None, int | None]:
    """The photos before and after this one in the grid, by pk; it need not be in it itself."""
    key = Key.of(photo, asked.query)
    newer = found(asked, Place(end=key, end_included=False, up=True), 1)
    older = found(asked, Place(top=key, top_included=False), 1)
    return newer[0].pk if newer else None, older[0].pk if older else None


def range_of(
    asked: Asked, one: Key | None, other: Key | None, within: Q | None = None
) -> tuple[list[Photo], bool]:
    """All between two keys in whichever order, or all there are; and whether there are more."""
    if one and other and _is_above(other, one):
        one, other = other, one
    rows = found(asked, Place(one, other, within=within or Q()), MOST_SELECTED + 1)
    return rows[:MOST_SELECTED], len(rows) > MOST_SELECTED


def under_heading(query: GridQuery, text: str) -> Q | None:
    """The photos of a day, "2026-11-21", or of a month, "2026-11"; None for anything else."""
    start = day_of(text if len(text) > 7 else f"{text}-01")
    if start is None:
        return None
    month_after = (start.replace(day=1) + timedelta(days=32)).replace(day=1)
    end = start + timedelta(days=1) if len(text) > 7 else month_after
    moment = query.moment
    return Q((f"{moment}__gte", start_of(start)), (f"{moment}__lt", start_of(end)))


def _is_above(one: Key, other: Key) -> bool:
    if one.at is None or other.at is None:
        return one.pk > other.pk
    return (one.at, one.pk) > (other.at, other.pk)


# --- Counts and dates ---

COUNTED_AT_ONCE = 5000
KEPT_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Month:
    """`key` is for `?before=`: the month begins below it."""

    start: date
    count: int
    key: str

    @property
    def label(self) -> str:
        return formatted(self.start, "F")


def counts_of(gallery: Gallery) -> dict[str, int]:
    """Of the filter tabs that indexes can count: all, unknown and failed; in one query.

    What is in the trash is counted by an index of its own and taken off: to leave it out from the
    start, each photo's row would be read.
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


def months_of(asked: Asked, *, keep: bool) -> list[Month]:
    """How many photos each month has, newest first. With `keep`, up to five minutes old."""
    name = f"months:{asked.gallery.pk}:{timezone.get_current_timezone_name()}:{asked.query.string}"
    months: list[Month] | None = cache.get(name) if keep else None
    if months is None:
        months = _months(asked)
        if keep:
            cache.set(name, months, KEPT_SECONDS)
    return months


def _months(asked: Asked) -> list[Month]:
    if asked.query.is_filtered:
        photos = among_theirs(matching(asked.gallery, asked.query), asked.gallery, asked.people)
        counts = _by_month(asked.query, photos)
    else:
        # As in `counts_of`: an index has all of it but the trash.
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
    """The key above which nothing of that month stands."""
    if newest is not None:
        return Key(newest + 1)
    month_after = (start.replace(day=1) + timedelta(days=32)).replace(day=1)
    return Key(0, timezone.make_aware(month_after.replace(tzinfo=None)))
