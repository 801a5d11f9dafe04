"""Pages of REST's lists by the key `cursor`; `persons.inputs.paging` does the paging."""

from __future__ import annotations

from collections.abc import Callable, Collection
from operator import attrgetter
from typing import Any, TypeVar

from django.db.models import QuerySet
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.settings import api_settings
from rest_framework.utils.urls import replace_query_param
from rest_framework.views import APIView

from persons.inputs.paging import page_of
from persons.inputs.params import Parameters

R = TypeVar("R")

MAX_LIMIT = 200
OTHERS = ("format", "oauth_token", "oauth_provider")
"""Parameters allowed in every address: the response format and OAuth parameters of clients."""
PAGING = ("cursor", "limit", *OTHERS)
"""Parameters of every list."""


class ByKey(BasePagination):
    """Newest first. `next` is the address of the next page, null on the last page."""

    order = "-pk"
    filters: Collection[str] = ()
    """Further parameters, which the view reads itself."""

    def paginate_queryset(
        self, queryset: Any, request: Request, view: APIView | None = None
    ) -> list[Any]:
        return self.rows(queryset, request)

    def _page(self, request: Request) -> tuple[int, int | None]:
        """(number of rows, key to continue after or None)

        Raises NotUnderstood. It refuses unknown parameters, because a typo in a filter's name would
        select everything.
        """
        given = Parameters(request.query_params.dict())
        given.known([*self.filters, *PAGING])
        limit = given.number("limit", least=1, most=MAX_LIMIT)
        cursor = given.number("cursor")
        given.demand()
        return limit or int(api_settings.PAGE_SIZE or MAX_LIMIT), cursor

    def found(
        self, ids: Callable[..., list[int]], queryset: QuerySet[Any], request: Request
    ) -> list[Any]:
        """One page of a search, newest first.

        `ids(count, before=pk)` returns up to `count` pks below `before`, newest first.
        """
        pks = self._next(lambda key, back, count: ids(count, before=key), lambda pk: pk, request)
        return list(queryset.filter(pk__in=pks).order_by("-pk"))

    def rows(self, queryset: QuerySet[Any], request: Request) -> list[Any]:
        """One page of `queryset`, in one query. Sets `next`."""
        name = self.order.removeprefix("-")
        beyond = f"{name}__lt" if self.order.startswith("-") else f"{name}__gt"

        def ask(key: int | None, back: bool, count: int) -> list[Any]:
            rows = queryset if key is None else queryset.filter(**{beyond: key})
            return list(rows.order_by(self.order)[:count])

        return self._next(ask, attrgetter(name), request)

    def _next(
        self,
        ask: Callable[[Any, bool, int], list[R]],
        key: Callable[[R], int],
        request: Request,
    ) -> list[R]:
        """The rows of the page that the request names. Sets `next`."""
        limit, cursor = self._page(request)
        page = page_of(ask, key, before=cursor, after=None, size=limit)
        self.next = None
        if page.older is not None:
            here = request.build_absolute_uri()
            self.next = replace_query_param(here, "cursor", page.older)
        return list(page.rows)

    def get_paginated_response(self, data: Any) -> Response:
        return Response({"next": self.next, "results": data})

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        return {
            "type": "object",
            "required": ["next", "results"],
            "properties": {
                "next": {
                    "type": "string",
                    "format": "uri",
                    "nullable": True,
                    "description": "The address of the next page.",
                },
                "results": schema,
            },
        }

    def get_schema_operation_parameters(self, view: APIView) -> list[dict[str, Any]]:
        return [
            {
                "name": "cursor",
                "in": "query",
                "description": "Where the page begins: take it from `next`, as it is.",
                "schema": {"type": "string"},
            },
            {
                "name": "limit",
                "in": "query",
                "description": "Rows on a page.",
                "schema": {
                    "type": "integer",
                    "minimum": 1,
                    "maximum": MAX_LIMIT,
                    "default": api_settings.PAGE_SIZE,
                },
            },
        ]


class OldestFirst(ByKey):
    order = "pk"


class ByNumber(ByKey):
    """Order of a team's spaces."""

    order = "number"
