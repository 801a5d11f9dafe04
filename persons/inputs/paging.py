"""Keyset pagination for all lists, of pages and of REST; none uses offsets.

Page 10,000 is as fast as the first, and rows that are added or deleted meanwhile don't repeat or
hide others.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
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

from persons.inputs.params import NotUnderstood

M = TypeVar("M", bound=Model)
R = TypeVar("R")

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
LONGEST_KEY = 2000
NO_KEY = "This is no place in this list. Begin at its first page."


@dataclass(frozen=True, slots=True)
class KeyPage(Generic[R]):
    """One page. `older` and `newer` are the keys for `?before=` and `?after=`, None at an end.

    In lists that aren't sorted by age, `older` is the next page and `newer` the previous one.
    """

    rows: Sequence[R]
    older: Any
    newer: Any


def page_of(
    ask: Callable[[Any, bool, int], Sequence[R]],
    key: Callable[[R], int | str],
    *,
    before: int | str | None,
    after: int | str | None,
    size: int,
) -> KeyPage[R]:
    """One page of any list.

    `ask(key, back, count)` returns up to `count` rows after `key` in list order, or before it with
    `back`, the nearest first. Without a key it starts at the top. `key(row)` is the row's key.
    """
    goes_on = before not in (None, "")
    back = after not in (None, "") and not goes_on
    found = ask(after if back else before if goes_on else None, back, size + 1)
    more, rows = len(found) > size, found[:size]
    if back:
        rows = rows[::-1]
    return KeyPage(
        rows,
        older=key(rows[-1]) if rows and (more or back) else None,
        newer=key(rows[0]) if rows and (more if back else goes_on) else None,
    )


# --- In any order ---


def neighbours(
    queryset: QuerySet[M], row: Model, order: Sequence[str]
) -> tuple[int | None, int | None]:
    """(pk before, pk after) `row` in that order, None at an end.

    `row` need not be in `queryset`.
    """
    key = key_of(row, order)
    back, on = (rows_beyond(queryset, key, order, back=back) for back in (True, False))
    return back.values_list("pk", flat=True).first(), on.values_list("pk", flat=True).first()


def rows_beyond(
    queryset: QuerySet[M], key: str, order: Sequence[str], *, back: bool = False
) -> QuerySet[M]:
    """The rows after `key` in that order, or before it with `back`, the nearest first.

    All rows if `key` is empty. Raises NotUnderstood if it is invalid.
    """
    columns = [_Column.of(name, back=back) for name in order]
    values = _read(key, [column.field(queryset) for column in columns])
    if key and values is None:
        raise NotUnderstood({"after" if back else "before": NO_KEY})
    if values is not None:
        queryset = queryset.filter(_beyond(list(zip(columns, values, strict=True))))
    return queryset.order_by(*(column.ordering for column in columns))


def key_of(row: Model, order: Sequence[str]) -> str:
    """The row's position in that order, as opaque text for an address."""
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
    """SQL's row comparison `(a, b) < (x, y)`.

    It is a single range of an index on (a, b), unlike the equivalent `a < x OR …`.
    """

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
    """Condition for rows beyond the bounds.

    Consecutive columns of one direction become one row comparison. Runs of different directions are
    combined as "beyond, or equal and beyond in the next run".
    """
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
    """The key's values, each with its column's type. None if the key is empty or invalid."""
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
    """The value converted to the column's type. Raises ValueError."""
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
