"""A gallery's photos in sheets, by keyset pagination: the last sheet is as quick as the first.

A sheet is what a page without scripts shows, and the unit that the scrolled grid loads and drops.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from typing import Self

from django.db.models import Prefetch, Q, QuerySet
from django.http import QueryDict
from django.template.defaultfilters import date as formatted
from django.utils import timezone

from dashboard.pages.galleries.filters import (
    UPLOADED,
    GridQuery,
    among_theirs,
    matching,
    start_of,
    with_people,
)
from persons.inputs.params import NotUnderstood, day_of
from persons.models import Face, Gallery, Person, Photo

SHEET = 60
LARGEST_SHEET = 240
"""Most photos of a sheet that is loaded again, whatever was added to its stretch meanwhile."""
SHORT = 12
"""A day isn't split between sheets if the first part would have fewer photos than this."""
DENSE = 4
"""A month with fewer photos a day than this, on average, gets one heading, not one a day."""
WINDOW = 3000
"""Photos that are checked one by one for somebody's face before all faces are looked up."""
MOST_SELECTED = 5000

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_KEY = re.compile(r"(?:(-?[0-9]{1,17})\.)?([0-9]{1,18})")


@dataclass(frozen=True, slots=True)
class Key:
    """A photo's place in the grid: its moment, then its pk. `at` is None where the pk orders.

    As text `<microseconds since 1970>.<pk>`, or `<pk>`.
    """

    pk: int
    at: datetime | None = None

    @classmethod
    def of(cls, photo: Photo, query: GridQuery) -> Self:
        return cls(photo.pk, None if query.sort == UPLOADED else photo.shown_at)

    @classmethod
    def parse(cls, text: str, query: GridQuery) -> Self | None:
        """None for a text that is no key of this sort order."""
        found = _KEY.fullmatch(text)
        if not found or (found[1] is None) != (query.sort == UPLOADED):
            return None
        try:
            at = None if found[1] is None else EPOCH + int(found[1]) * _MICROSECOND
        except OverflowError:
            return None
        return cls(int(found[2]), at)

    @classmethod
    def given(cls, data: QueryDict, name: str, query: GridQuery) -> Self | None:
        """The parameter `name`; None where it is missing. Raises NotUnderstood."""
        text = data.get(name, "")
        key = cls.parse(text, query)
        if text and key is None:
            raise NotUnderstood({name: "This is no place in this gallery."})
        return key

    def __str__(self) -> str:
        return str(self.pk) if self.at is None else f"{(self.at - EPOCH) // _MICROSECOND}.{self.pk}"

    def older(self, *, included: bool = False) -> Q:
        """The condition for the photos below this key in the grid."""
        by_pk = Q(pk__lte=self.pk) if included else Q(pk__lt=self.pk)
        # The first condition is implied by the second, but an index can use it.
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
    """A stretch of the grid between `top` and `end`, read downwards, or upwards with `up`."""

    top: Key | None = None
    end: Key | None = None
    top_included: bool = True
    end_included: bool = True
    up: bool = False
    within: Q = field(default_factory=Q)
    """A further condition on the stretch, such as one day."""

    @classmethod
    def parse(cls, data: QueryDict, query: GridQuery) -> Self:
        """The place from the address. Raises NotUnderstood.

        `at` starts with that photo, `before` starts below it, and `after` ends above it. With
        `last` it is a sheet that is loaded again: from `first`, or from below `before`.
        """
        names = ("at", "before", "after", "first", "last")
        keys = {name: Key.given(data, name, query) for name in names}
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
class SheetRequest:
    """A gallery, the query, and the canonical person for each of `query.people`, or None."""

    gallery: Gallery
    query: GridQuery
    people: Sequence[Person | None] = ()


def found(asked: SheetRequest, place: Place, size: int) -> list[Photo]:
    """The next `size` photos of a place, newest first, with only the columns of their key.

    One query; with people at most two, neither of which checks the whole gallery photo by photo.
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
    """The photos under one heading: a day, or a month whose days have few photos.

    With `goes_on` it continues on the next sheet.
    """

    key: str
    label: str
    photos: list[Photo]
    goes_on: bool = False


@dataclass(frozen=True, slots=True)
class Sheet:
    """`newer` and `older` are the keys for `?after=` and `?before=`; "" at an end of the grid."""

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


def sheet_of(asked: SheetRequest, place: Place) -> Sheet:
    """One sheet: first the photos' keys, then their tiles. The number of queries is fixed."""
    is_stretch = place.top is not None and place.end is not None
    size = LARGEST_SHEET if is_stretch else SHEET
    rows = found(asked, place, size + 1)
    has_more = len(rows) > size
    # The photo beyond the sheet only tells whether the day at the cut ends there.
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
    """A sheet beyond an end of the grid: it has no photos, but a way back."""
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
    # The whole day moves to the next sheet.
    if len(days) > 1 and len(cut.photos) < SHORT:
        return days[1:] if up else days[:-1]
    if not up:
        days[-1] = replace(cut, goes_on=True)
    return days


@dataclass(slots=True)
class _Labels:
    """Headings: by day where a month's days have enough photos (see DENSE), else by month."""

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
"""The columns of a face that a tile shows. Others stay unread: a sheet may have many faces."""


def tiles_of(photos: QuerySet[Photo]) -> QuerySet[Photo]:
    """The photos with all that a tile shows: counts, and the people on it."""
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


def neighbours(asked: SheetRequest, photo: Photo) -> tuple[int | None, int | None]:
    """The pks of the next newer and next older photo in the grid.

    `photo` itself need not match the query.
    """
    key = Key.of(photo, asked.query)
    newer = found(asked, Place(end=key, end_included=False, up=True), 1)
    older = found(asked, Place(top=key, top_included=False), 1)
    return newer[0].pk if newer else None, older[0].pk if older else None


def range_of(
    asked: SheetRequest, one: Key | None, other: Key | None, within: Q | None = None
) -> tuple[list[Photo], bool]:
    """Up to MOST_SELECTED photos, and whether there are more.

    They lie between two keys, given in either order; without keys it is the whole grid.
    """
    if one and other and _is_above(other, one):
        one, other = other, one
    rows = found(asked, Place(one, other, within=within or Q()), MOST_SELECTED + 1)
    return rows[:MOST_SELECTED], len(rows) > MOST_SELECTED


def under_heading(query: GridQuery, text: str) -> Q | None:
    """The condition for a day, "2026-11-21", or a month, "2026-11"; None for anything else."""
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
