"""Pages of lists by the keys `?before=` and `?after=`; `persons.inputs.paging` does the paging."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from operator import attrgetter
from typing import TypeVar

from django.db.models import Model, QuerySet
from django.http import HttpRequest

from persons.inputs.paging import NO_KEY, KeyPage, key_of, neighbours, page_of, rows_beyond
from persons.inputs.params import Parameters

__all__ = [
    "NO_KEY",
    "KeyPage",
    "key_of",
    "keys_of",
    "neighbours",
    "page_by_key",
    "page_by_keys",
    "page_of",
    "rows_beyond",
]

M = TypeVar("M", bound=Model)


def page_by_key(queryset: QuerySet[M], request: HttpRequest, size: int) -> KeyPage[M]:
    """One page of `queryset`, newest first, in one query."""

    def ask(key: int | None, back: bool, count: int) -> list[M]:
        rows = queryset
        if key is not None:
            rows = rows.filter(pk__gt=key) if back else rows.filter(pk__lt=key)
        return list(rows.order_by("pk" if back else "-pk")[:count])

    before, after = keys_of(request)
    return page_of(ask, attrgetter("pk"), before=before, after=after, size=size)


def keys_of(request: HttpRequest) -> tuple[int | None, int | None]:
    """(`?before=`, `?after=`) of a list in pk order. Raises NotUnderstood."""
    given = Parameters(request.GET.dict())
    before, after = given.number("before"), given.number("after")
    given.demand()
    return before, after


def page_by_keys(
    queryset: QuerySet[M], request: HttpRequest, size: int, order: Sequence[str]
) -> KeyPage[M]:
    """One page of a list in this order, in one query. Raises NotUnderstood for an invalid key.

    `order` has the form of `order_by`: columns, columns of selected related rows, or annotations,
    with "-" for descending. They must not be NULL and must be unique together: end with "pk". For
    speed, have an index on them with all of these directions, or all of them reversed.
    """

    def ask(key: str | None, back: bool, count: int) -> list[M]:
        return list(rows_beyond(queryset, key or "", order, back=back)[:count])

    before, after = request.GET.get("before", ""), request.GET.get("after", "")
    return page_of(ask, partial(key_of, order=order), before=before, after=after, size=size)
