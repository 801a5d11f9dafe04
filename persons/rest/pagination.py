"""Pages by key: as quick on the last page as on the first, and rows that come or go meanwhile
neither repeat others nor hide them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db.models import Model, QuerySet
from rest_framework.exceptions import ValidationError
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.settings import api_settings
from rest_framework.utils.urls import replace_query_param
from rest_framework.views import APIView

MAX_LIMIT = 200
MAX_KEY = 2**63 - 1


class ByKey(BasePagination):
    """Newest first. `next` is the address of the page after this one, null on the last."""

    order = "-pk"

    def paginate_queryset(
        self, queryset: Any, request: Request, view: APIView | None = None
    ) -> list[Any]:
        return self.rows(queryset, request)

    def found(
        self, ids: Callable[..., list[int]], queryset: QuerySet[Any], request: Request
    ) -> list[Any]:
        """As `rows`, of what `ids` finds, newest first, below its `before`."""
        limit = _number(request, "limit", 1, MAX_LIMIT) or int(api_settings.PAGE_SIZE or MAX_LIMIT)
        pks = ids(limit + 1, before=_number(request, "cursor", 0, MAX_KEY))
        self.next = None
        if len(pks) > limit:
            here = request.build_absolute_uri()
            self.next = replace_query_param(here, "cursor", pks[limit - 1])
        return list(queryset.filter(pk__in=pks[:limit]).order_by("-pk"))

    def rows(self, queryset: QuerySet[Any], request: Request) -> list[Any]:
        """One page, in one query."""
        limit = _number(request, "limit", 1, MAX_LIMIT) or int(api_settings.PAGE_SIZE or MAX_LIMIT)
        cursor = _number(request, "cursor", 0, MAX_KEY)
        key = self.order.removeprefix("-")
        if cursor is not None:
            side = "lt" if self.order.startswith("-") else "gt"
            queryset = queryset.filter(**{f"{key}__{side}": cursor})
        found = list(queryset.order_by(self.order)[: limit + 1])
        self.next = None
        if len(found) > limit:
            here = request.build_absolute_uri()
            self.next = replace_query_param(here, "cursor", _key(found[limit - 1], key))
        return found[:limit]

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
    """For a team's spaces."""

    order = "number"


def _key(row: Model, key: str) -> int:
    return int(getattr(row, key))


def _number(request: Request, name: str, least: int, most: int) -> int | None:
    """A number of the query string; None where it is not there."""
    text = request.query_params.get(name, "")
    if not text:
        return None
    if text.isascii() and text.isdigit() and len(text) < 20 and least <= int(text) <= most:
        return int(text)
    raise ValidationError({name: [f"A whole number from {least} to {most}."]})
