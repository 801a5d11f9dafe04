"""What every view shares: the actor, pages, the body, and the errors that its schema lists."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest, JsonResponse
from rest_framework.exceptions import PermissionDenied
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer
from rest_framework.views import APIView

from persons import reasons
from persons.audit import Actor
from persons.models import Source, Team, User
from persons.rest.pagination import ByKey
from persons.rest.serializers.shared import ErrorSerializer

READ = (401, 403, 404)
WRITE = (400, 401, 403, 404, 409)


class View(APIView):
    """A method's first line gets its object through `persons.access`, with the team's slug."""

    pagination_class: type[ByKey] = ByKey

    @property
    def actor(self) -> Actor:
        """For actions: who asks, through REST."""
        request = self.request
        return Actor(
            user=request.user if isinstance(request.user, User) else None,
            source=Source.CLIENT,
            address=getattr(request, "address", None),
            request_id=getattr(request, "id", ""),
        )

    def reason(self, team: Team, purpose: str) -> str:
        """Why, as the request's header says; 403 where the team asks for it and nothing is said."""
        said = reasons.of_header(self.request.headers.get(reasons.HEADER))
        if not said and reasons.demanded(team, purpose):
            raise PermissionDenied(f"{team} asks for a reason: send it in {reasons.HEADER}.")
        return said

    def body(self, shape: type[BaseSerializer[Any]], *, partial: bool = False) -> dict[str, Any]:
        """The request's body in that shape, or a 400 that says what is wrong with it."""
        parsed = shape(data=self.request.data, partial=partial)
        parsed.is_valid(raise_exception=True)
        return dict(parsed.validated_data)

    def page(self, rows: QuerySet[Any], shape: type[BaseSerializer[Any]], **more: Any) -> Response:
        paginator = self.pagination_class()
        found = paginator.rows(rows, self.request)
        shaped = shape(found, many=True, context=self._context(more))
        return paginator.get_paginated_response(shaped.data)

    def one(
        self, row: Any, shape: type[BaseSerializer[Any]], status: int = 200, **more: Any
    ) -> Response:
        return Response(self.shaped(row, shape, **more), status=status)

    def shaped(self, row: Any, shape: type[BaseSerializer[Any]], **more: Any) -> Any:
        return shape(row, context=self._context(more)).data

    def _context(self, more: dict[str, Any]) -> dict[str, Any]:
        return {"request": self.request, "team": self.kwargs.get("team"), **more}


def answers(shape: Any, errors: tuple[int, ...] = READ, *, status: int = 200) -> dict[int, Any]:
    """A method's `responses` for the schema."""
    return {status: shape} | dict.fromkeys(errors, ErrorSerializer)


def nothing_here(request: HttpRequest, anything: str = "") -> JsonResponse:
    """For an address below /rest/ that leads nowhere: JSON, as all the other errors."""
    return JsonResponse({"code": "not_found", "detail": "There is nothing here."}, status=404)
