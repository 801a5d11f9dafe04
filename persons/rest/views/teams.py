"""Teams, their members, and invitations."""

from __future__ import annotations

from django.db.models import F, QuerySet
from django.urls import reverse
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from persons.access import Asker, Right, invitation_for, membership_for, team_for, teams_for
from persons.actions.teams import change_role, invite_member, remove_member, revoke_invitation
from persons.models import Invitation, Membership, Team
from persons.rest.base import WRITE, View, answers
from persons.rest.pagination import OldestFirst
from persons.rest.serializers.teams import (
    ChangeRoleSerializer,
    InvitationSerializer,
    InvitedSerializer,
    InviteSerializer,
    MemberSerializer,
    TeamSerializer,
)


def _with_role(user: Asker) -> QuerySet[Team]:
    """The user's teams, annotated with the user's `role`."""
    return teams_for(user).annotate(role=F("memberships__role"))


class Teams(View):
    """The teams that you are a member of."""

    pagination_class = OldestFirst

    @extend_schema(responses=answers(TeamSerializer(many=True), (401,)))
    def get(self, request: Request) -> Response:
        return self.page(_with_role(request.user), TeamSerializer)


class OneTeam(View):
    @extend_schema(responses=answers(TeamSerializer))
    def get(self, request: Request, team: str) -> Response:
        found = team_for(request.user, team)
        return self.one(_with_role(request.user).get(pk=found.pk), TeamSerializer)


class Members(View):
    pagination_class = OldestFirst

    @extend_schema(responses=answers(MemberSerializer(many=True)))
    def get(self, request: Request, team: str) -> Response:
        found = team_for(request.user, team)
        members = Membership.objects.filter(team=found).select_related("user")
        return self.page(members, MemberSerializer)


class OneMember(View):
    """For owners."""

    @extend_schema(request=ChangeRoleSerializer, responses=answers(MemberSerializer, WRITE))
    def patch(self, request: Request, team: str, pk: int) -> Response:
        membership = membership_for(request.user, team, pk)
        body = self.body(ChangeRoleSerializer)
        changed = change_role(actor=self.actor, membership=membership, role=body["role"])
        return self.one(changed, MemberSerializer)

    @extend_schema(responses=answers(None, WRITE, status=204))
    def delete(self, request: Request, team: str, pk: int) -> Response:
        membership = membership_for(request.user, team, pk)
        remove_member(actor=self.actor, membership=membership)
        return Response(status=204)


class Invitations(View):
    """For owners."""

    @extend_schema(responses=answers(InvitationSerializer(many=True)))
    def get(self, request: Request, team: str) -> Response:
        found = team_for(request.user, team, right=Right.MANAGE)
        invitations = Invitation.objects.filter(team=found).select_related("created_by")
        return self.page(invitations, InvitationSerializer)

    @extend_schema(
        request=InviteSerializer, responses=answers(InvitedSerializer, WRITE, status=201)
    )
    def post(self, request: Request, team: str) -> Response:
        found = team_for(request.user, team, right=Right.MANAGE)
        invitation, token = invite_member(
            actor=self.actor, team=found, **self.body(InviteSerializer)
        )
        link = request.build_absolute_uri(reverse("join", args=[token]))
        return self.one({"invitation": invitation, "link": link}, InvitedSerializer, 201)


class RevokeInvitation(View):
    """For owners. The link stops working."""

    @extend_schema(request=None, responses=answers(InvitationSerializer, WRITE))
    def post(self, request: Request, team: str, pk: int) -> Response:
        invitation = invitation_for(request.user, team, pk)
        revoke_invitation(actor=self.actor, invitation=invitation)
        invitation.refresh_from_db()
        return self.one(invitation, InvitationSerializer)
