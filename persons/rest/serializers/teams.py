"""Teams, members and invitations."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from persons.models import Invitation, Membership, Role, Team


class TeamSerializer(serializers.ModelSerializer[Team]):
    role = serializers.ChoiceField(Role.choices, read_only=True, help_text="Yours.")

    class Meta:
        model = Team
        fields = ["slug", "name", "role", "created_at"]
        read_only_fields = fields


class MemberSerializer(serializers.ModelSerializer[Membership]):
    username = serializers.CharField(source="user.username", read_only=True)
    name = serializers.CharField(source="user", read_only=True)

    class Meta:
        model = Membership
        fields = ["id", "username", "name", "role", "created_at"]
        read_only_fields = fields


class ChangeRoleSerializer(serializers.Serializer[Any]):
    role = serializers.ChoiceField(Role.choices)


class InvitationSerializer(serializers.ModelSerializer[Invitation]):
    """Without the token, which is returned only when the invitation is created."""

    created_by = serializers.StringRelatedField[Any](allow_null=True)
    is_open = serializers.BooleanField(read_only=True)

    class Meta:
        model = Invitation
        fields = [
            "id",
            "email",
            "role",
            "is_open",
            "created_by",
            "created_at",
            "expires_at",
            "accepted_at",
            "revoked_at",
        ]
        read_only_fields = fields


class InviteSerializer(serializers.Serializer[Any]):
    email = serializers.EmailField(max_length=254)
    role = serializers.ChoiceField(Role.choices)


class InvitedSerializer(serializers.Serializer[Any]):
    invitation = InvitationSerializer()
    link = serializers.URLField(help_text="Opens the team to its bearer, once. Shown only here.")
