"""Teams, their members and invitations; spaces and their policy; galleries."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from persons.actions.galleries import create_gallery, rename_gallery
from persons.actions.spaces import Policy, change_policy
from persons.actions.teams import (
    accept_invitation,
    change_role,
    create_team,
    invite_member,
    open_invitation,
    remove_member,
    revoke_invitation,
)
from persons.errors import Refused
from persons.models import Invitation, Membership, Role, Space, Team, User
from tests.support.factories import UserFactory
from tests.support.fakes import by, entries


def roles(team: Team) -> dict[str, str]:
    return {row.user.username: row.role for row in team.memberships.select_related("user")}


class TestCreatingATeam:
    def test_it_has_an_owner_and_ten_spaces(self, charlie: User) -> None:
        team = create_team(actor=by(charlie), name="  Summer   camp ", owner=charlie)
        assert (team.name, team.slug) == ("Summer camp", "summer-camp")
        assert roles(team) == {"charlie": "owner"}
        assert [space.number for space in team.spaces.all()] == list(range(10))

    def test_its_spaces_start_with_the_safe_policy(self, charlie: User) -> None:
        team = create_team(actor=by(charlie), name="Camp", owner=charlie)
        for space in team.spaces.all():
            assert not space.update_embedding, "a recognition stays a read"
            assert not space.create_new
            assert not space.show_attributes
            assert 0.363 <= space.threshold <= 0.5


class TestInvitations:
    @pytest.fixture
    def newcomer(self, db: None) -> User:
        return UserFactory.create(username="newcomer")

    def invite(self, alice: User, team: Team, role: Role = Role.VIEWER) -> tuple[Invitation, str]:
        return invite_member(actor=by(alice), team=team, email=" new@example.org ", role=role)

    def test_its_link_makes_a_member_once(
        self, alice: User, team: Team, newcomer: User, charlie: User
    ) -> None:
        invitation, token = self.invite(alice, team)
        assert invitation.email == "new@example.org"
        assert open_invitation(token) == invitation
        accept_invitation(actor=by(newcomer), invitation=invitation, user=newcomer)
        assert roles(team) == {"alice": "owner", "newcomer": "viewer"}
        assert open_invitation(token) is None
        with pytest.raises(Refused, match="Ask for a new one"):
            accept_invitation(actor=by(charlie), invitation=invitation, user=charlie)
        assert "charlie" not in roles(team)

    def test_only_the_hash_of_the_token_is_kept(self, alice: User, team: Team) -> None:
        invitation, token = self.invite(alice, team)
        assert len(token) >= 40
        assert token not in str(vars(invitation))
        assert all(token not in str(vars(entry)) for entry in entries(team))

    @pytest.mark.parametrize("token", ["", "x", "0" * 64, "\0", "é"])
    def test_no_other_token_opens_it(self, alice: User, team: Team, token: str) -> None:
        invitation, _ = self.invite(alice, team)
        assert open_invitation(token) is None
        assert open_invitation(invitation.token_hash) is None

    def test_a_revoked_one_opens_nothing(self, alice: User, team: Team, newcomer: User) -> None:
        invitation, token = self.invite(alice, team)
        revoke_invitation(actor=by(alice), invitation=invitation)
        assert open_invitation(token) is None
        with pytest.raises(Refused, match="used, revoked or has expired"):
            accept_invitation(actor=by(newcomer), invitation=invitation, user=newcomer)
        with pytest.raises(Refused, match="used or revoked already"):
            revoke_invitation(actor=by(alice), invitation=invitation)

    def test_it_expires(self, alice: User, team: Team, newcomer: User) -> None:
        invitation, token = self.invite(alice, team)
        Invitation.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
        assert open_invitation(token) is None
        with pytest.raises(Refused, match="has expired"):
            accept_invitation(actor=by(newcomer), invitation=invitation, user=newcomer)

    def test_who_is_a_member_already_keeps_their_role(
        self, alice: User, bob: User, team: Team
    ) -> None:
        invitation, _ = self.invite(alice, team, Role.VIEWER)
        accept_invitation(actor=by(bob), invitation=invitation, user=bob)
        assert roles(team)["bob"] == "editor"
        (entry,) = entries(team, "invitation.accept")
        assert entry.after == {"user": "bob", "role": "editor", "new": False}

    def test_an_owner_does_not_lose_the_team_by_their_own_invitation(
        self, alice: User, team: Team
    ) -> None:
        invitation, _ = self.invite(alice, team, Role.AUDITOR)
        accept_invitation(actor=by(alice), invitation=invitation, user=alice)
        assert roles(team) == {"alice": "owner"}


class TestRoles:
    def membership(self, team: Team, user: User) -> Membership:
        return Membership.objects.get(team=team, user=user)

    @pytest.mark.parametrize("role", [role for role in Role if role != Role.EDITOR])
    def test_a_role_changes(self, alice: User, bob: User, team: Team, role: Role) -> None:
        change_role(actor=by(alice), membership=self.membership(team, bob), role=role)
        assert roles(team)["bob"] == role
        (entry,) = entries(team)
        assert (entry.before, entry.after) == ({"role": "editor"}, {"role": role.value})
        assert entry.target_text == "Bob"

    def test_the_last_owner_stays_one(self, alice: User, bob: User, team: Team) -> None:
        hers = self.membership(team, alice)
        for role in (Role.EDITOR, Role.VIEWER, Role.AUDITOR):
            with pytest.raises(Refused, match="Make somebody else an owner first"):
                change_role(actor=by(alice), membership=hers, role=role)
        with pytest.raises(Refused, match="Make somebody else an owner first"):
            remove_member(actor=by(alice), membership=hers)
        assert roles(team)["alice"] == "owner"

    def test_of_two_owners_one_may_go(self, alice: User, bob: User, team: Team) -> None:
        change_role(actor=by(alice), membership=self.membership(team, bob), role=Role.OWNER)
        remove_member(actor=by(bob), membership=self.membership(team, alice))
        assert roles(team) == {"bob": "owner"}
        with pytest.raises(Refused, match="needs an owner"):
            remove_member(actor=by(bob), membership=self.membership(team, bob))

    def test_an_owner_of_another_team_does_not_count(
        self, alice: User, charlie: User, team: Team
    ) -> None:
        with pytest.raises(Refused, match="needs an owner"):
            remove_member(actor=by(alice), membership=self.membership(team, alice))

    def test_somebody_who_has_left_is_said_to_have_left(
        self, alice: User, bob: User, team: Team
    ) -> None:
        his = self.membership(team, bob)
        remove_member(actor=by(alice), membership=his)
        his.pk = his.pk or 10**9
        with pytest.raises(Refused, match="has left the team"):
            change_role(actor=by(alice), membership=his, role=Role.OWNER)


class TestPolicy:
    POLICY = Policy("", 0.4, 0.5, False, False, False, 0)

    def space(self, team: Team) -> Space:
        return team.spaces.get(number=4)

    def test_each_part_of_it_changes(self, alice: User, team: Team) -> None:
        policy = Policy("  Crew  2024 ", 0.55, 0.6, True, True, True, 1)
        change_policy(actor=by(alice), space=self.space(team), policy=policy)
        space = self.space(team)
        assert (space.name, space.threshold, space.searcher) == ("Crew 2024", 0.55, 1)
        assert space.update_embedding
        assert space.create_new
        assert space.show_attributes
        assert team.spaces.get(number=5).threshold == 0.4

    def test_the_audit_tells_what_was_changed_and_only_that(self, alice: User, team: Team) -> None:
        policy = Policy("", 0.5, 0.5, False, True, False, 0)
        change_policy(actor=by(alice), space=self.space(team), policy=policy)
        (entry,) = entries(team)
        assert entry.before == {"threshold": 0.4, "create_new": False}
        assert entry.after == {"threshold": 0.5, "create_new": True}

    def test_the_same_policy_again_is_no_change(self, alice: User, team: Team) -> None:
        change_policy(actor=by(alice), space=self.space(team), policy=self.POLICY)
        assert not entries(team)

    def test_what_workers_count_is_left_alone(self, alice: User, team: Team) -> None:
        stale = self.space(team)
        Space.objects.filter(pk=stale.pk).update(version=7, next_person_id=9)
        change_policy(
            actor=by(alice), space=stale, policy=Policy("A", 0.4, 0.5, False, False, False, 0)
        )
        space = self.space(team)
        assert (space.version, space.next_person_id) == (7, 9)

    @pytest.mark.parametrize("threshold", [-0.01, 1.01, float("nan"), float("inf")])
    def test_a_threshold_is_a_similarity(self, alice: User, team: Team, threshold: float) -> None:
        policy = Policy("", threshold, 0.5, False, False, False, 0)
        with pytest.raises(Refused, match="from 0 to 1"):
            change_policy(actor=by(alice), space=self.space(team), policy=policy)


class TestGalleries:
    def test_its_address_is_made_from_its_name(self, bob: User, team: Team) -> None:
        space = team.spaces.get(number=0)
        slugs = [
            create_gallery(actor=by(bob), team=team, name=name, space=space).slug
            for name in ("The  lake!", "The lake", "the lake", "湖", "湖")
        ]
        assert slugs == ["the-lake", "the-lake-2", "the-lake-3", "gallery", "gallery-2"]

    def test_its_address_survives_a_new_name(self, bob: User, team: Team) -> None:
        gallery = create_gallery(
            actor=by(bob), team=team, name="Lake", space=team.spaces.get(number=0)
        )
        rename_gallery(actor=by(bob), gallery=gallery, name=" The   sea ")
        gallery.refresh_from_db()
        assert (gallery.name, gallery.slug) == ("The sea", "lake")

    def test_two_teams_may_use_the_same_address(self, bob: User, team: Team, charlie: User) -> None:
        theirs = charlie.memberships.get().team
        for one in (team, theirs):
            create_gallery(
                actor=by(bob), team=one, name="Lake", space=one.spaces.get(number=0), slug="lake"
            )
