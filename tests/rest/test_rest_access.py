"""Every endpoint of the REST API, tried by every kind of user."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import transaction
from django.test import Client

from persons.actions.teams import invite_member
from persons.audit import Actor
from persons.models import (
    AuditEntry,
    Call,
    Enrolment,
    EnrolmentState,
    Membership,
    Recognition,
    Role,
    Source,
    Team,
    User,
)
from tests.support import factories

# The same queries run on PostgreSQL in the tests of each endpoint.
pytestmark = pytest.mark.any_database

SignIn = Callable[[User], Client]
ROLES = ["anonymous", "stranger", "auditor", "viewer", "editor", "owner"]


@dataclass(frozen=True)
class Endpoint:
    """What each of ROLES, in that order, gets for it."""

    method: str
    path: str
    statuses: tuple[int, int, int, int, int, int]
    body: dict[str, Any] | None = None

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def records(path: str) -> Endpoint:
    return Endpoint("GET", path, (401, 404, 200, 200, 200, 200))


def gallery_list(path: str) -> Endpoint:
    return Endpoint("GET", path, (401, 404, 403, 200, 200, 200))


def in_gallery(path: str) -> Endpoint:
    return Endpoint("GET", path, (401, 404, 404, 200, 200, 200))


def edit(
    method: str, path: str, done: int, body: dict[str, Any] | None = None, auditor: int = 404
) -> Endpoint:
    return Endpoint(method, path, (401, 404, auditor, 403, done, done), body)


def manage(method: str, path: str, done: int, body: dict[str, Any] | None = None) -> Endpoint:
    return Endpoint(method, path, (401, 404, 403, 403, 403, done), body)


ENDPOINTS = [
    records(""),
    records("members/"),
    manage("PATCH", "members/{member}/", 200, {"role": "viewer"}),
    manage("DELETE", "members/{member}/", 204),
    manage("GET", "invitations/", 200),
    manage("POST", "invitations/", 201, {"email": "dora@example.org", "role": "viewer"}),
    manage("POST", "invitations/{invitation}/revoke/", 200),
    gallery_list("galleries/"),
    edit("POST", "galleries/", 201, {"name": "Harbour"}, auditor=403),
    in_gallery("galleries/walk/"),
    edit("PATCH", "galleries/walk/", 200, {"name": "Long walk"}),
    in_gallery("galleries/walk/photos/"),
    edit("POST", "galleries/walk/photos/", 201),
    in_gallery("photos/{photo}/"),
    edit("POST", "photos/{photo}/recognise/", 202),
    edit("POST", "faces/{face}/name/", 200, {"label": "Nora"}),
    edit("POST", "faces/{face}/reject/", 200),
    edit("POST", "faces/{face}/ignore/", 200),
    edit("POST", "faces/{face}/clear/", 200),
    records("spaces/"),
    records("spaces/0/"),
    manage("PATCH", "spaces/0/", 200, {"threshold": 0.5}),
    gallery_list("spaces/0/people/"),
    in_gallery("spaces/0/people/{person_id}/"),
    edit("PATCH", "spaces/0/people/{person_id}/", 200, {"label": "Mia Holm"}),
    in_gallery("spaces/0/people/{person_id}/enrolments/"),
    edit("POST", "enrolments/{enrolment}/remove/", 200),
    edit("POST", "enrolments/{enrolment}/retry/", 200),
    records("calls/"),
    records("calls/{call}/"),
    records("audit/"),
]
ABOUT_ONE_THING = [one for one in ENDPOINTS if "{" in one.path or "walk" in one.path]
WRITES = [endpoint for endpoint in ENDPOINTS if endpoint.method != "GET"]


@pytest.fixture
def ids(team: Team) -> dict[str, int]:
    """One of everything."""
    gallery = factories.GalleryFactory.create(team=team, name="Walk", slug="walk")
    person = factories.PersonFactory.create(space=gallery.space, label="Mia")
    photo = factories.PhotoFactory.create(gallery=gallery)
    face = factories.FaceFactory.create(photo=photo, person=person)
    enrolment = Enrolment.objects.create(person=person, face=face, state=EnrolmentState.FAILED)
    call = Call.objects.create(
        team=team, space=gallery.space, method="recognize", source=Source.WORKER, backend="embedded"
    )
    Recognition.objects.create(call=call, position=0, name=f"photo{photo.pk}", photo=photo)
    actor = Actor.command("test")
    invitation, _ = invite_member(actor=actor, team=team, email="ed@example.org", role="viewer")
    member = Membership.objects.create(
        team=team, user=factories.UserFactory.create(), role=Role.EDITOR
    )
    return {
        "person_id": person.person_id,
        "photo": photo.pk,
        "face": face.pk,
        "enrolment": enrolment.pk,
        "call": call.pk,
        "invitation": invitation.pk,
        "member": member.pk,
    }


@pytest.fixture
def clients(
    sign_in: SignIn, charlie: User, audrey: User, vera: User, bob: User, alice: User
) -> dict[str, Client]:
    signed_in = [sign_in(user) for user in (charlie, audrey, vera, bob, alice)]
    return dict(zip(ROLES, [Client(), *signed_in], strict=True))


def ask(client: Client, endpoint: Endpoint, ids: dict[str, int], team: str = "trip") -> Any:
    address = f"/rest/teams/{team}/{endpoint.path.format(**ids)}"
    if endpoint.method == "POST" and endpoint.path.endswith("photos/"):
        upload = SimpleUploadedFile("new.jpg", factories.jpeg((1, 2, 3)))
        return client.post(address, {"file": upload})
    return client.generic(
        endpoint.method,
        address,
        "" if endpoint.body is None else json.dumps(endpoint.body),
        content_type="application/json",
    )


@pytest.mark.thorough
@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=str)
def test_everybody_gets_what_their_role_allows(
    endpoint: Endpoint, ids: dict[str, int], clients: dict[str, Client]
) -> None:
    before = AuditEntry.objects.count()
    for role, expected in zip(ROLES, endpoint.statuses, strict=True):
        with transaction.atomic():
            response = ask(clients[role], endpoint, ids)
            assert response.status_code == expected, (role, response.content)
            if expected == 204:
                assert not response.content
            else:
                assert response["Content-Type"] == "application/json", role
            if expected >= 400:
                assert set(response.json()) == {"code", "detail"}, role
                assert AuditEntry.objects.count() == before, (
                    f"{role}: what was refused left a trace"
                )
            # The next one finds everything as it was.
            transaction.set_rollback(True)


@pytest.mark.parametrize("endpoint", WRITES, ids=str)
def test_a_write_is_audited_as_a_clients_with_who_and_whence(
    endpoint: Endpoint, ids: dict[str, int], alice: User, clients: dict[str, Client]
) -> None:
    last = AuditEntry.objects.first()
    response = ask(clients["owner"], endpoint, ids)
    entries = AuditEntry.objects.filter(pk__gt=last.pk if last else 0)
    assert entries.exists()
    for entry in entries:
        assert (entry.source, entry.actor, entry.address) == (Source.CLIENT, alice, "127.0.0.1")
        assert entry.request_id == response["X-Request-ID"]


def test_a_wrong_method_is_refused_with_those_that_are_right(
    ids: dict[str, int], clients: dict[str, Client]
) -> None:
    for path in sorted({endpoint.path for endpoint in ENDPOINTS}):
        right = {endpoint.method for endpoint in ENDPOINTS if endpoint.path == path}
        for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} - right:
            response = ask(clients["owner"], Endpoint(method, path, (0,) * 6), ids)
            assert response.status_code == 405, (method, path)
            assert response.json()["code"] == "method_not_allowed", (method, path)
            allowed = {name.strip() for name in response["Allow"].split(",")}
            assert right <= allowed, (method, path)


def test_what_is_another_teams_is_not_there_for_an_owner_of_ones_own(
    ids: dict[str, int], clients: dict[str, Client]
) -> None:
    """Charlie owns the team `others`, and knows the numbers of things of `trip`."""
    for endpoint in ABOUT_ONE_THING:
        response = ask(clients["stranger"], endpoint, ids, team="others")
        assert response.status_code == 404, str(endpoint)


def test_the_list_of_teams_has_ones_own_alone_with_ones_role(
    clients: dict[str, Client], alice: User
) -> None:
    third = factories.TeamFactory.create(name="Third", slug="third")
    Membership.objects.create(team=third, user=alice, role=Role.VIEWER)

    def teams(role: str) -> list[tuple[str, str]]:
        rows = clients[role].get("/rest/teams/").json()["results"]
        return [(row["slug"], row["role"]) for row in rows]

    assert teams("owner") == [("trip", "owner"), ("third", "viewer")]
    assert teams("auditor") == [("trip", "auditor")]
    assert teams("stranger") == [("others", "owner")]
    assert clients["owner"].get("/rest/teams/third/").json()["role"] == "viewer"
    assert clients["anonymous"].get("/rest/teams/").status_code == 401


def test_an_auditor_sees_a_call_without_the_way_to_its_photos(
    ids: dict[str, int], clients: dict[str, Client]
) -> None:
    address = f"/rest/teams/trip/calls/{ids['call']}/"
    (seen,) = clients["viewer"].get(address).json()["recognitions"]
    (hidden,) = clients["auditor"].get(address).json()["recognitions"]
    assert (seen["photo"], hidden["photo"]) == (ids["photo"], None)


def test_no_answer_holds_a_hash_of_a_token_or_a_password(
    ids: dict[str, int], clients: dict[str, Client], team: Team, alice: User
) -> None:
    secrets = {team.invitations.get().token_hash, alice.password}
    for endpoint in ENDPOINTS:
        if endpoint.method != "DELETE":
            text = ask(clients["owner"], endpoint, ids).content.decode()
            assert not any(secret in text for secret in secrets), str(endpoint)
            assert "token" not in text and "password" not in text, str(endpoint)


# --- Forged requests ---


def was_read(response: Any) -> bool:
    """Whether anybody read the body of the request."""
    return bool(response.wsgi_request._read_started)


def test_a_write_without_the_csrf_token_is_refused_before_its_body_is_read(
    bob: User, team: Team
) -> None:
    factories.GalleryFactory.create(team=team, slug="walk")
    client = Client(enforce_csrf_checks=True)
    client.force_login(bob)
    upload = SimpleUploadedFile("new.jpg", factories.jpeg())
    response = client.post("/rest/teams/trip/galleries/walk/photos/", {"file": upload})
    assert response.status_code == 403
    assert response.json()["detail"].startswith("CSRF Failed")
    assert not was_read(response)


def test_a_write_with_the_csrf_token_in_its_header_goes_through(bob: User, team: Team) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(bob)
    token = "a" * 32
    client.cookies["csrftoken"] = token
    response = client.post(
        "/rest/teams/trip/galleries/",
        {"name": "Walk"},
        content_type="application/json",
        headers={"X-CSRFToken": token},
    )
    assert response.status_code == 201


def test_a_stranger_is_turned_away_before_an_upload_is_read(charlie: User, team: Team) -> None:
    factories.GalleryFactory.create(team=team, slug="walk")
    client = Client()
    client.force_login(charlie)
    upload = SimpleUploadedFile("new.jpg", factories.jpeg())
    response = client.post("/rest/teams/trip/galleries/walk/photos/", {"file": upload})
    assert response.status_code == 404
    assert not was_read(response)
