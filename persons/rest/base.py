"""Base of all REST views: actor, access reasons, parsed bodies, pages and schema responses."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest, JsonResponse
from rest_framework.exceptions import PermissionDenied
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer
from rest_framework.views import APIView

from persons.actions import records
from persons.audit import Actor
from persons.calls.search import Filters
from persons.errors import Refused
from persons.models import Call, Person, Source, Team, User
from persons.privacy import access_reasons
from persons.rest.pagination import ByKey
from persons.rest.serializers.shared import ErrorSerializer

READ = (401, 403, 404)
WRITE = (400, 401, 403, 404, 409)


# Not a docstring: subclasses without one would show it in the OpenAPI schema.
# A method's first line gets its object through `persons.access`, with the team's slug.
class View(APIView):
    pagination_class: type[ByKey] = ByKey

    @property
    def actor(self) -> Actor:
        """The requesting user as an Actor, for actions."""
        request = self.request
        return Actor(
            user=request.user if isinstance(request.user, User) else None,
            source=Source.CLIENT,
            address=getattr(request, "address", None),
            request_id=getattr(request, "id", ""),
        )

    def look_up(self, person: Person) -> None:
        """Audit the access reason, if there is one. Every view of a person calls this.

        Raises PermissionDenied if the team demands a reason and the request has none.
        """
        if reason := self._reason(person.space.team, "person"):
            records.look_up(actor=self.actor, person=person, reason=reason)

    def look_through(self, team: Team) -> None:
        """As `look_up`, for lists of people."""
        if reason := self._reason(team, "person"):
            records.look_through(actor=self.actor, team=team, reason=reason)

    def look_up_filtered(self, team: Team, filters: Filters) -> None:
        """As `look_up`, for lists of calls filtered by a person or a name."""
        if filters.person is not None:
            self.look_up(filters.person)
        if filters.people is not None and filters.text:
            self.look_through(team)

    def open_call(self, call: Call) -> None:
        """As `look_up`, for views of a call's request and answer."""
        if reason := self._reason(call.team, "evidence"):
            records.open_call(actor=self.actor, call=call, reason=reason)

    def _reason(self, team: Team, purpose: str) -> str:
        """The access reason from the request's header, or "".

        Raises PermissionDenied if it is invalid, or missing though the team demands one.
        """
        header = self.request.headers.get(access_reasons.HEADER)
        try:
            reason = access_reasons.of_program(team, purpose, header)
        except Refused as error:
            raise PermissionDenied(str(error)) from None
        if not reason and access_reasons.demanded(team, purpose):
            raise PermissionDenied(f"{team} asks for a reason: send it in {access_reasons.HEADER}.")
        return reason

    def body(self, shape: type[BaseSerializer[Any]], *, partial: bool = False) -> dict[str, Any]:
        """The validated body of the request. Raises ValidationError (400)."""
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
    """A method's `responses` for the schema: success and errors."""
    return {status: shape} | dict.fromkeys(errors, ErrorSerializer)


def nothing_here(request: HttpRequest, anything: str = "") -> JsonResponse:
    """404 for unknown addresses below /rest/, as JSON like all other errors."""
    return JsonResponse({"code": "not_found", "detail": "There is nothing here."}, status=404)
