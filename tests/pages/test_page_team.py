"""A team's members and invitations, and the page behind an invitation's link."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from persons.actions.teams import invite_member
from persons.audit import Actor
from persons.models import AuditEntry, Invitation, Membership, Role, Source, Team, User
from tests.support.factories import MembershipFactory

# What is asked of the database here is asked by tests of actions and of queries as well.
pytestmark = pytest.mark.any_database

SignIn = Callable[[User], Client]

PASSWORDS = {"password1": "quiet harbour lamp", "password2": "quiet harbour lamp"}


def members_url(team: Team) -> str:
    return reverse("members", args=[team.slug])


def member_url(user: User, team: Team, do: str) -> str:
    return reverse(f"member_{do}", args=[team.slug, user.memberships.get(team=team).pk])


def invite(team: Team, by: User, role: str = Role.EDITOR) -> tuple[Invitation, str]:
    """The invitation and the path of its link."""
    invitation, token = invite_member(
        actor=Actor(by, Source.PAGE), team=team, email="dana@example.org", role=role
    )
    return invitation, reverse("join", args=[token])


# --- Members ---


def test_owners_see_who_is_a_member_and_can_change_it(
    team: Team, alice: User, bob: User, sign_in: SignIn
) -> None:
    page = sign_in(alice).get(members_url(team)).text
    for text in (
        "Alice",
        "(you)",
        "Bob",
        "Editor",
        "Save role",
        "Invite somebody",
        "sends no mail",
    ):
        assert text in page or text == "sends no mail"
    assert member_url(bob, team, "role") in page


@pytest.mark.parametrize("who", ["bob", "vera", "audrey"])
def test_the_others_see_members_but_nothing_to_change(
    team: Team, alice: User, sign_in: SignIn, who: str, request: pytest.FixtureRequest
) -> None:
    user = request.getfixturevalue(who)
    invite(team, alice)
    page = sign_in(user).get(members_url(team)).text
    assert "Alice" in page
    for text in ("Save role", "Invite", "dana@example.org", "Revoke"):
        assert text not in page


def test_an_owner_changes_a_role(team: Team, alice: User, bob: User, sign_in: SignIn) -> None:
    response = sign_in(alice).post(member_url(bob, team, "role"), {"role": "auditor"}, follow=True)
    assert bob.memberships.get().role == Role.AUDITOR
    assert "Bob is an auditor now." in response.text
    assert AuditEntry.objects.get(action="member.role").after == {"role": "auditor"}


@pytest.mark.parametrize(("do", "data"), [("role", {"role": "viewer"}), ("remove", {})])
def test_the_last_owner_stays(
    team: Team, alice: User, sign_in: SignIn, do: str, data: dict[str, str]
) -> None:
    response = sign_in(alice).post(member_url(alice, team, do), data, follow=True)
    assert "A team needs an owner" in response.text
    assert alice.memberships.get().role == Role.OWNER


def test_a_role_that_does_not_exist_is_refused(
    team: Team, alice: User, bob: User, sign_in: SignIn
) -> None:
    response = sign_in(alice).post(member_url(bob, team, "role"), {"role": "king"}, follow=True)
    assert "A role is one of" in response.text
    assert bob.memberships.get().role == Role.EDITOR


def test_an_owner_removes_a_member_who_then_is_a_stranger(
    team: Team, alice: User, bob: User, sign_in: SignIn
) -> None:
    response = sign_in(alice).post(member_url(bob, team, "remove"), follow=True)
    assert "no member of Trip any more" in response.text
    assert sign_in(bob).get(members_url(team)).status_code == 404


def test_an_owner_who_leaves_lands_outside_the_team(
    team: Team, alice: User, bob: User, sign_in: SignIn
) -> None:
    Membership.objects.filter(user=bob).update(role=Role.OWNER)
    response = sign_in(bob).post(member_url(bob, team, "remove"))
    assert response["Location"] == reverse("home")
    assert not bob.memberships.exists()


@pytest.mark.parametrize("count", [3, 60])
def test_the_page_asks_the_same_number_of_queries_for_any_number_of_members(
    team: Team,
    alice: User,
    sign_in: SignIn,
    count: int,
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    for _ in range(count):
        MembershipFactory.create(team=team)
        invite(team, alice)
    client = sign_in(alice)
    with django_assert_num_queries(9):
        client.get(members_url(team))


def test_many_members_go_by_pages_owners_first_then_by_name(
    team: Team, alice: User, bob: User, audrey: User, sign_in: SignIn
) -> None:
    for number in range(90):
        member = MembershipFactory.create(
            team=team, role=Role.VIEWER, user__username=f"v{number:02}"
        )
        assert member.role == Role.VIEWER
    client = sign_in(alice)
    found: list[str] = []
    address: str | None = members_url(team)
    while address is not None:
        response = client.get(address)
        assert "93 people share" in response.text
        page = response.context["page"]
        found += [one.user.username for one in page.rows]
        address = f"{members_url(team)}?before={page.older}" if page.older else None
    assert found == ["alice", "bob", *(f"v{number:02}" for number in range(90)), "audrey"]
    assert "More members" not in response.text and "Previous" in response.text


def test_the_only_owner_is_told_so_on_every_page(team: Team, alice: User, sign_in: SignIn) -> None:
    for _ in range(45):
        MembershipFactory.create(team=team, role=Role.VIEWER)
    page = sign_in(alice).get(members_url(team))
    assert "only owner" in page.text
    MembershipFactory.create(team=team, role=Role.OWNER)
    assert "only owner" not in sign_in(alice).get(members_url(team)).text


# --- Invitations ---


def test_an_invitation_s_link_is_shown_once_and_only_its_hash_is_kept(
    team: Team, alice: User, sign_in: SignIn
) -> None:
    client = sign_in(alice)
    response = client.post(
        reverse("invite", args=[team.slug]), {"email": "dana@example.org", "role": "viewer"}
    )
    found = re.search(r'data-copy="(http://testserver/join/([\w-]+)/)"', response.text)
    assert found
    assert "sends no mail" in response.text
    assert "no-store" in response["Cache-Control"]
    invitation = Invitation.objects.get()
    assert invitation.token_hash == Invitation.hash_token(found[2])
    later = client.get(members_url(team)).text
    assert "dana@example.org" in later
    assert found[2] not in later


def test_an_address_that_is_none_is_refused_and_stays_in_the_field(
    team: Team, alice: User, sign_in: SignIn
) -> None:
    client = sign_in(alice)
    for headers in ({}, {"HX-Request": "true"}):
        response = client.post(
            reverse("invite", args=[team.slug]),
            {"email": "dana at home", "role": "viewer"},
            headers=headers,
        )
        assert response.status_code == 422
        assert "not an e-mail address" in response.text
        assert 'value="dana at home"' in response.text
        assert ("<html" in response.text) == (not headers)
    assert not Invitation.objects.exists()


def test_an_owner_revokes_an_invitation_and_its_link_is_dead(
    team: Team, alice: User, sign_in: SignIn
) -> None:
    invitation, link = invite(team, alice)
    client = sign_in(alice)
    address = reverse("invitation_revoke", args=[team.slug, invitation.pk])
    assert "no longer works" in client.post(address, follow=True).text
    assert Client().get(link).status_code == 410
    assert "used or revoked already" in client.post(address, follow=True).text


def test_closed_invitations_are_not_listed(team: Team, alice: User, sign_in: SignIn) -> None:
    now = timezone.now()
    for values in (
        {"accepted_at": now},
        {"revoked_at": now},
        {"expires_at": now - timedelta(seconds=1)},
    ):
        invitation, _ = invite(team, alice)
        Invitation.objects.filter(pk=invitation.pk).update(**values)
    assert "dana@example.org" not in sign_in(alice).get(members_url(team)).text


# --- The link ---


def test_a_newcomer_makes_an_account_joins_and_is_signed_in(team: Team, alice: User) -> None:
    _, link = invite(team, alice, Role.VIEWER)
    client = Client()
    page = client.get(link)
    assert "Join Trip" in page.text
    assert "viewer" in page.text
    # Told to no other site. "no-referrer" would make browsers send the form without an origin.
    assert page["Referrer-Policy"] == "strict-origin"
    assert "no-store" in page["Cache-Control"]
    response = client.post(link, {"username": "dana", **PASSWORDS})
    assert response["Location"] == reverse("overview", args=[team.slug])
    dana = User.objects.get(username="dana")
    assert dana.memberships.get().role == Role.VIEWER
    assert client.session["_auth_user_id"] == str(dana.pk)
    assert AuditEntry.objects.get(action="invitation.accept").actor == dana
    assert Client().get(link).status_code == 410


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"username": "dana", "password1": "short", "password2": "short"}, "too short"),
        ({"username": "dana", "password1": "quiet harbour lamp", "password2": "x"}, "match"),
        ({"username": "ALICE", **PASSWORDS}, "already exists"),
        ({"username": "a b", **PASSWORDS}, "valid username"),
        ({"username": "quietharbourlamp", "password1": "quietharbourlamp"}, "required"),
        ({}, "required"),
    ],
)
def test_an_account_that_can_t_be_is_refused_and_the_link_stays_open(
    team: Team, alice: User, data: dict[str, str], words: str
) -> None:
    _, link = invite(team, alice)
    response = Client().post(link, data)
    assert response.status_code == 422
    assert words in response.text
    assert User.objects.count() == 1
    assert Client().get(link).status_code == 200


def test_somebody_signed_in_joins_with_their_account(
    team: Team, alice: User, charlie: User, sign_in: SignIn
) -> None:
    _, link = invite(team, alice)
    client = sign_in(charlie)
    assert "Join as Charlie" in client.get(link).text
    response = client.post(link, follow=True)
    assert "Welcome to Trip." in response.text
    assert charlie.memberships.get(team=team).role == Role.EDITOR


def test_a_member_who_opens_the_link_keeps_role_and_leaves_it_open(
    team: Team, alice: User, vera: User, sign_in: SignIn
) -> None:
    _, link = invite(team, alice, Role.OWNER)
    client = sign_in(vera)
    for response in (client.get(link), client.post(link)):
        assert "You are in Trip already" in response.text
    assert vera.memberships.get().role == Role.VIEWER
    assert Invitation.objects.get().is_open


def test_a_link_that_is_used_meanwhile_leaves_no_account_behind(
    team: Team, alice: User, charlie: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    invitation, link = invite(team, alice)
    monkeypatch.setattr("dashboard.pages.team.members.open_invitation", lambda token: invitation)
    Invitation.objects.update(accepted_at=timezone.now(), accepted_by=charlie)
    response = Client().post(link, {"username": "dana", **PASSWORDS})
    assert response.status_code == 410
    assert not User.objects.filter(username="dana").exists()


@pytest.mark.parametrize("token", ["x", "a" * 300, "%00", "..", "é"])
def test_a_link_that_opens_nothing_says_so_clearly(db: None, token: str) -> None:
    response = Client().get(f"/join/{token}/")
    assert response.status_code == 410
    assert "can’t be used" in response.text  # noqa: RUF001
    assert Client().post(f"/join/{token}/").status_code == 410


def test_an_expired_link_says_so_clearly(team: Team, alice: User) -> None:
    _, link = invite(team, alice)
    Invitation.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert Client().get(link).status_code == 410


def test_signing_in_first_comes_back_to_the_link(team: Team, alice: User) -> None:
    _, link = invite(team, alice)
    assert f'href="{reverse("login")}?next={link}"' in Client().get(link).text
