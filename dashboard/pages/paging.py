"""Pages by key: as quick on page 10,000 as on the first, and rows that come or go meanwhile neither
repeat others nor hide them. No list of the site has an offset."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from operator import attrgetter
from typing import Any, Generic, Never, TypeVar

from django.db.models import (
    AutoField,
    BooleanField,
    CharField,
    DateTimeField,
    F,
    Field,
    FloatField,
    ForeignKey,
    Func,
    IntegerField,
    Model,
    Q,
    QuerySet,
    TextField,
    Value,
)
from django.http import HttpRequest

M = TypeVar("M", bound=Model)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
LONGEST_KEY = 2000


@dataclass(frozen=True, slots=True)
class KeyPage(Generic[M]):
    """`older` and `newer` are the keys for `?before=` and `?after=`, or None at an end.

    Where a list is sorted by anything but age, `older` goes on and `newer` goes back.
    """

    rows: Sequence[M]
    older: int | str | None
    newer: int | str | None


def page_by_key(queryset: QuerySet[M], request: HttpRequest, size: int) -> KeyPage[M]:
    """One page, newest first, in one query."""
    before, after = _number(request, "before"), _number(request, "after")
    if after is not None and before is None:
        found = list(queryset.filter(pk__gt=after).order_by("pk")[: size + 1])
        rows = found[:size][::-1]
        newer = rows[0].pk if len(found) > size else None
        return KeyPage(rows, rows[-1].pk if rows else None, newer)
    if before is not None:
        queryset = queryset.filter(pk__lt=before)
    found = list(queryset.order_by("-pk")[: size + 1])
    rows = found[:size]
    older = rows[-1].pk if len(found) > size else None
    newer = rows[0].pk if before is not None and rows else None
    return KeyPage(rows, older, newer)


def _number(request: HttpRequest, name: str) -> int | None:
    text = request.GET.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


# --- In any order ---


def page_by_keys(
    queryset: QuerySet[M], request: HttpRequest, size: int, order: Sequence[str]
) -> KeyPage[M]:
    """One page of a list in this order, in one query.

    `order` names columns, columns of related rows that the query selects, or annotations, "-"
    before those that go down, as `order_by` takes them. None of them is ever NULL, and together
    they are unique: end with "pk". An index on them, all in these directions or all against them,
    makes it quick.
    """
    before, after = request.GET.get("before", ""), request.GET.get("after", "")
    if after and not before:
        found = list(rows_beyond(queryset, after, order, back=True)[: size + 1])
        rows = found[:size][::-1]
        newer = key_of(rows[0], order) if len(found) > size else None
        return KeyPage(rows, key_of(rows[-1], order) if rows else None, newer)
    found = list(rows_beyond(queryset, before, order)[: size + 1])
    rows = found[:size]
    older = key_of(rows[-1], order) if len(found) > size else None
    newer = key_of(rows[0], order) if before and rows else None
    return KeyPage(rows, older, newer)


def rows_beyond(
    queryset: QuerySet[M], key: str, order: Sequence[str], *, back: bool = False
) -> QuerySet[M]:
    """The rows that come after the one with this key, the nearest first; `back`: before it.

    All rows where the key says nothing, as one that somebody typed.
    """
    columns = [_Column.of(name, back=back) for name in order]
    values = _read(key, [column.field(queryset) for column in columns])
    if values is not None:
        queryset = queryset.filter(_beyond(list(zip(columns, values, strict=True))))
    return queryset.order_by(*(column.ordering for column in columns))


def key_of(row: Model, order: Sequence[str]) -> str:
    """Where this row stands in that order: for an address, and for nobody to read."""
    names = (name.removeprefix("-").replace("__", ".") for name in order)
    values = [_plain(attrgetter(name)(row)) for name in names]
    text = json.dumps(values, separators=(",", ":"), ensure_ascii=False)
    return urlsafe_b64encode(text.encode()).decode().rstrip("=")


@dataclass(frozen=True, slots=True)
class _Column:
    name: str
    down: bool

    @classmethod
    def of(cls, name: str, *, back: bool) -> _Column:
        return cls(name.removeprefix("-"), name.startswith("-") != back)

    @property
    def ordering(self) -> str:
        return f"-{self.name}" if self.down else self.name

    def field(self, queryset: QuerySet[Any]) -> Field[Any, Any]:
        annotation = queryset.query.annotations.get(self.name)
        if annotation is not None:
            return annotation.output_field
        path = queryset.query.names_to_path(self.name.split("__"), queryset.model._meta)
        field: Field[Any, Any] = path[1]
        return field.target_field if isinstance(field, ForeignKey) else field


class _Further(Func):
    """`(a, b) < (x, y)` of SQL: one range of an index on (a, b), as `a < x OR …` is not."""

    output_field = BooleanField()

    def __init__(self, columns: Sequence[F], values: Sequence[Value], *, down: bool) -> None:
        super().__init__(*columns, *values)
        self.sign = "<" if down else ">"

    def as_sql(  # type: ignore[override]
        self, compiler: Any, connection: Any, **context: Any
    ) -> tuple[str, list[Any]]:
        parts = [compiler.compile(expression) for expression in self.source_expressions]
        sides = parts[: len(parts) // 2], parts[len(parts) // 2 :]
        left, right = (", ".join(sql for sql, _ in side) for side in sides)
        return f"({left}) {self.sign} ({right})", [one for _, some in parts for one in some]


def _beyond(bounds: Sequence[tuple[_Column, Value]]) -> Q:
    """Columns that go the same way are compared as one; where the way changes, "or equal, and"."""
    same = [list(run) for _, run in groupby(bounds, key=lambda bound: bound[0].down)]
    where = Q()
    for run in reversed(same):
        columns = [F(column.name) for column, _ in run]
        further = Q(_Further(columns, [value for _, value in run], down=run[0][0].down))
        equal = Q(**{column.name: value for column, value in run})
        where = further | (equal & where) if where else further
    return where


def _plain(value: object) -> object:
    return (value - EPOCH) // MICROSECOND if isinstance(value, datetime) else value


def _read(key: str, fields: Sequence[Field[Any, Any]]) -> list[Value] | None:
    """A key's values, each of its column's type; None where it is not such a key."""
    if not key or len(key) > LONGEST_KEY:
        return None
    try:
        text = urlsafe_b64decode(key + "=" * (-len(key) % 4)).decode()
        parsed = json.loads(text, parse_constant=_no_number)
        if not isinstance(parsed, list) or len(parsed) != len(fields):
            return None
        return [
            Value(_typed(value, field), output_field=field)
            for value, field in zip(parsed, fields, strict=True)
        ]
    except (ValueError, OverflowError, RecursionError):
        return None


def _no_number(text: str) -> Never:
    raise ValueError(f"{text} is no number")


def _typed(value: object, field: Field[Any, Any]) -> object:
    """The value as a column of that type holds it, or a ValueError."""
    match field, value:
        case BooleanField(), bool():
            return value
        case DateTimeField(), int():
            return EPOCH + value * MICROSECOND
        case (IntegerField() | AutoField(), int()) if -(2**63) <= value < 2**63:
            return value
        case FloatField(), int() | float():
            return float(value)
        case CharField() | TextField(), str() if "\0" not in value:
            value.encode()
            return value
    raise ValueError(f"{value!r} is no value of {field}")
