"""Access to what only owners change: members, invitations, keys, holds and links."""

from __future__ import annotations

from persons.access.galleries import gallery_for
from persons.access.roles import Asker, Right, one_of, team_for
from persons.models import ApiKey, GalleryMember, Invitation, LegalHold, Membership, ShareLink


def membership_for(user: Asker, team: str, pk: int) -> Membership:
    """A membership that `user`, an owner, may change."""
    return one_of(
        Membership.objects.select_related("user", "team"),
        team=team_for(user, team, right=Right.MANAGE),
        pk=pk,
    )


def invitation_for(user: Asker, team: str, pk: int) -> Invitation:
    return one_of(
        Invitation.objects.select_related("team"),
        team=team_for(user, team, right=Right.MANAGE),
        pk=pk,
    )


def key_for(user: Asker, team: str, pk: int) -> ApiKey:
    """An API key that `user`, an owner, may revoke. Lists show keys to other members too."""
    return one_of(
        ApiKey.objects.select_related("team"),
        team=team_for(user, team, right=Right.MANAGE),
        pk=pk,
    )


def hold_for(user: Asker, team: str, pk: int) -> LegalHold:
    """A legal hold that `user`, an owner, may release. Lists show holds to others too."""
    return one_of(
        LegalHold.objects.select_related("team", "person", "gallery"),
        team=team_for(user, team, right=Right.MANAGE),
        pk=pk,
    )


def gallery_member_for(user: Asker, team: str, slug: str, pk: int) -> GalleryMember:
    """A gallery membership that `user`, an owner, may change."""
    gallery = gallery_for(user, team, slug, right=Right.MANAGE)
    return one_of(
        GalleryMember.objects.select_related("gallery__team", "user"), gallery=gallery, pk=pk
    )


def link_for(user: Asker, team: str, pk: int) -> ShareLink:
    """A public link that `user`, an owner, may revoke."""
    return one_of(
        ShareLink.objects.select_related("gallery__team"),
        gallery__team=team_for(user, team, right=Right.MANAGE),
        pk=pk,
    )
