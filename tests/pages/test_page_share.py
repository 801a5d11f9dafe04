"""Sharing a gallery: opening and closing it, adding members, creating and revoking links."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.hashers import check_password
from django.test import Client
from django.utils import timezone

from persons.access.links import hash_token
from persons.models import AuditEntry, Gallery, GalleryMember, Role, ShareLink, Team, User
from tests.support.factories import GalleryFactory

# What is asked of the database here is asked by tests of actions and of queries as well.
pytestmark = pytest.mark.any_database

SignIn = Callable[[User], Client]
HOME = "/t/trip/g/lake/share"


@pytest.fixture
def gallery(team: Team) -> Gallery:
    found: Gallery = GalleryFactory.create(team=team, slug="lake", name="Lake")
    return found


@pytest.fixture
def owner(alice: User, sign_in: SignIn) -> Client:
    return sign_in(alice)


def said(client: Client, response: Any) -> str:
    assert response.status_code == 303
    return str(client.get(response["Location"]).text)


def make(client: Client, **data: str) -> Any:
    return client.post(f"{HOME}/links", {"days": "30", **data})


def token_in(response: Any) -> str:
    found = re.search(r'value="http://testserver/s/([^/"]+)/"', response.text)
    assert found
    return found[1]


# --- The team ---


def test_an_owner_closes_and_opens_a_gallery(
    gallery: Gallery, owner: Client, bob: User, sign_in: SignIn
) -> None:
    editor = sign_in(bob)
    page = said(owner, owner.post(f"{HOME}/open", {"open": "no"}))
    assert "Only owners and the members listed here" in page
    assert editor.get("/t/trip/g/lake/").status_code == 404
    owner.post(f"{HOME}/open", {"open": "yes"})
    assert editor.get("/t/trip/g/lake/").status_code == 200
    actions = list(AuditEntry.objects.order_by("pk").values_list("action", flat=True))
    assert actions == ["gallery.close", "gallery.open"]
    owner.post(f"{HOME}/open", {"open": "yes"})
    assert AuditEntry.objects.count() == 2


def test_members_are_let_in_and_get_other_roles_and_leave(
    gallery: Gallery, owner: Client, bob: User, sign_in: SignIn
) -> None:
    Gallery.objects.update(is_open=False)
    editor = sign_in(bob)
    owner.post(f"{HOME}/members", {"user": bob.pk, "role": "viewer"})
    assert editor.get("/t/trip/g/lake/").status_code == 200
    assert editor.post("/t/trip/g/lake/rename", {"name": "Sea"}).status_code == 403
    owner.post(f"{HOME}/members", {"user": bob.pk, "role": "editor"})
    assert editor.post("/t/trip/g/lake/rename", {"name": "Sea"}).status_code == 303
    member = GalleryMember.objects.get()
    assert "Bob" in owner.get(HOME).text
    owner.post(f"{HOME}/members/{member.pk}/remove")
    assert editor.get("/t/trip/g/lake/").status_code == 404
    entry = AuditEntry.objects.filter(action="gallery.member").latest("pk")
    assert (entry.before, entry.after) == ({"role": "viewer"}, {"user": "Bob", "role": "editor"})


@pytest.mark.parametrize(
    ("who", "role", "words"),
    [
        ("alice", "viewer", "sees every gallery already"),
        ("audrey", "editor", "may only look at things"),
        ("vera", "editor", "make them a viewer here"),
        ("bob", "owner", "one is an editor or a viewer"),
        ("bob", "", "one is an editor or a viewer"),
    ],
)
def test_who_can_t_be_let_in_is_told_why(
    who: str,
    role: str,
    words: str,
    gallery: Gallery,
    owner: Client,
    request: pytest.FixtureRequest,
) -> None:
    user: User = request.getfixturevalue(who)
    page = said(owner, owner.post(f"{HOME}/members", {"user": user.pk, "role": role}))
    assert words in page
    assert not GalleryMember.objects.exists()


def test_nobody_from_outside_the_team_is_let_in(
    gallery: Gallery, owner: Client, charlie: User
) -> None:
    for user in (charlie.pk, 10**9):
        response = owner.post(f"{HOME}/members", {"user": user, "role": "viewer"})
        assert response.status_code == 404
    assert "Choose a member" in said(owner, owner.post(f"{HOME}/members", {"user": "x"}))


def test_others_read_who_sees_it_and_change_nothing(
    gallery: Gallery, bob: User, sign_in: SignIn
) -> None:
    ShareLink.objects.create(
        gallery=gallery,
        title="Grandparents",
        hint="wxyz",
        token_hash="0" * 64,
        expires_at=timezone.now() + timedelta(days=1),
    )
    page = sign_in(bob).get(HOME).text
    assert "Grandparents" in page
    assert "/share/open" not in page
    assert "/share/links" not in page
    assert "/revoke" not in page


# --- Links ---


def test_a_link_is_shown_once_and_only_its_hash_is_kept(gallery: Gallery, owner: Client) -> None:
    response = make(owner, title="Grand  parents", password="over the hills")
    token = token_in(response)
    link = ShareLink.objects.get()
    assert len(token) >= 43
    assert link.token_hash == hash_token(token)
    assert link.hint == token[-4:]
    assert link.title == "Grand parents"
    assert check_password("over the hills", link.password)
    assert abs(link.expires_at - timezone.now() - timedelta(days=30)) < timedelta(minutes=1)
    assert not (link.show_names or link.show_details or link.allow_download or link.keep_place)
    assert token not in owner.get(HOME).text
    assert "no-store" in response["Cache-Control"]
    kept = str(AuditEntry.objects.values_list("after", "target_text"))
    assert token not in kept
    assert "over the hills" not in kept


def test_the_place_stays_only_with_details_and_downloads(gallery: Gallery, owner: Client) -> None:
    make(owner, keep_place="yes", show_details="yes")
    assert not ShareLink.objects.get().keep_place
    make(owner, keep_place="yes", show_details="yes", allow_download="yes")
    assert ShareLink.objects.latest("pk").keep_place


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"days": "0"}, "from 1 to 366 days"),
        ({"days": "367"}, "from 1 to 366 days"),
        ({"days": "x"}, "from 1 to 366 days"),
        ({"password": "short"}, "from 6 to 200 characters"),
        ({"title": "x" * 121}, "at most 120 characters"),
    ],
)
def test_what_is_no_link_is_refused(
    data: dict[str, str], words: str, gallery: Gallery, owner: Client
) -> None:
    response = make(owner, **data)
    assert response.status_code == 422
    assert words in response.text
    assert not ShareLink.objects.exists()


def test_a_link_is_revoked_once(gallery: Gallery, owner: Client) -> None:
    token = token_in(make(owner))
    link = ShareLink.objects.get()
    assert Client().get(f"/s/{token}/").status_code == 200
    for _ in range(2):
        owner.post(f"/t/trip/links/{link.pk}/revoke")
    assert Client().get(f"/s/{token}/").status_code == 404
    assert AuditEntry.objects.filter(action="link.revoke").count() == 1
    assert "1 link that ended" in owner.get(HOME).text


def test_an_editor_of_a_closed_gallery_makes_no_link(
    gallery: Gallery, bob: User, sign_in: SignIn
) -> None:
    """Showing photos to the world is an owner's decision."""
    Gallery.objects.update(is_open=False)
    GalleryMember.objects.create(gallery=gallery, user=bob, role=Role.EDITOR)
    assert make(sign_in(bob)).status_code == 403
