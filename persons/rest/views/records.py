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
from persons.discretion import entries_closed_to, photos_closed_to
from persons.filtering import FILTERS, NAMES, filters_of
from persons.models import Call
from persons.rest.base import View, answers
from persons.rest.serializers.records import (
    AuditEntrySerializer,
    CallSerializer,
    CallWithAnswerSerializer,
)
from persons.searching import Search


class Calls(View):
    """Every request to Vision, by anyone; filtered as the history's page is, by the same names."""

    @extend_schema(
        parameters=[OpenApiParameter(name, str, description=FILTERS[name]) for name in NAMES],
        responses=answers(CallSerializer(many=True)),
    )
    def get(self, request: Request, team: str) -> Response:
        found = team_for(request.user, team)
        filters, _ = filters_of(request.query_params.dict(), request.user, found)
        search = Search.by(request.user, found, filters)
        paginator = self.pagination_class()
        calls = paginator.found(search.ids, Call.objects.for_list(), request)
        shaped = [self.shaped(call, CallSerializer) for call in calls]
        return paginator.get_paginated_response(shaped)


class OneCall(View):
    @extend_schema(responses=answers(CallWithAnswerSerializer))
    def get(self, request: Request, team: str, pk: int) -> Response:
        call = call_for(request.user, team, pk)
        may_see = Right.GALLERIES in rights_of(request.user, call.team)
        closed = photos_closed_to(request.user, call) if may_see else frozenset()
        return self.one(call, CallWithAnswerSerializer, may_see_photos=may_see, closed=closed)


class Audit(View):
    """Who did what to what, when, from where and why."""

    @extend_schema(responses=answers(AuditEntrySerializer(many=True)))
    def get(self, request: Request, team: str) -> Response:
        found = team_for(request.user, team)
        paginator = self.pagination_class()
        entries = paginator.rows(audit_for(request.user, team), request)
        closed = entries_closed_to(request.user, found, entries)
        said = [self.shaped(entry, AuditEntrySerializer, closed=closed) for entry in entries]
        return paginator.get_paginated_response(said)
