"""The history of calls to Vision, and the audit log."""

from __future__ import annotations

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from persons.access import (
    Right,
    audit_for,
    call_for,
    rights_of,
    team_for,
)
from persons.access.records import images_closed_to
from persons.calls.filters import FILTERS, NAMES, filters_of
from persons.calls.search import Search
from persons.models import Call
from persons.rest.base import View, answers
from persons.rest.pagination import PAGING
from persons.rest.serializers.records import (
    AuditEntrySerializer,
    CallSerializer,
    CallWithAnswerSerializer,
)


class Calls(View):
    """Every request to Vision, by anyone, with the same filters as the history's page."""

    @extend_schema(
        parameters=[OpenApiParameter(name, str, description=FILTERS[name]) for name in NAMES],
        responses=answers(CallSerializer(many=True)),
    )
    def get(self, request: Request, team: str) -> Response:
        found = team_for(request.user, team)
        asked = request.query_params.dict()
        filters, _ = filters_of(asked, request.user, found, PAGING)
        self.look_up_filtered(found, filters)
        search = Search.by(request.user, found, filters)
        paginator = self.pagination_class()
        paginator.filters = NAMES
        calls = paginator.found(search.ids, Call.objects.for_list(), request)
        shaped = [self.shaped(call, CallSerializer) for call in calls]
        return paginator.get_paginated_response(shaped)


class OneCall(View):
    @extend_schema(responses=answers(CallWithAnswerSerializer))
    def get(self, request: Request, team: str, pk: int) -> Response:
        call = call_for(request.user, team, pk)
        self.open_call(call)
        may_see = Right.GALLERIES in rights_of(request.user, call.team)
        closed = images_closed_to(request.user, call) if may_see else frozenset()
        return self.one(call, CallWithAnswerSerializer, may_see_photos=may_see, closed=closed)


class Audit(View):
    """Who did what to what, when, from where and why."""

    @extend_schema(responses=answers(AuditEntrySerializer(many=True)))
    def get(self, request: Request, team: str) -> Response:
        return self.page(audit_for(request.user, team), AuditEntrySerializer)
