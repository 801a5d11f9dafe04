"""The history of calls to Vision, and the audit log."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
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
from persons.models import Call
from persons.rest.base import View, answers
from persons.rest.serializers.records import (
    AuditEntrySerializer,
    CallSerializer,
    CallWithAnswerSerializer,
)


class Calls(View):
    """Every request to Vision, by anyone."""

    @extend_schema(responses=answers(CallSerializer(many=True)))
    def get(self, request: Request, team: str) -> Response:
        found = team_for(request.user, team)
        return self.page(Call.objects.filter(team=found).for_list(), CallSerializer)


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
