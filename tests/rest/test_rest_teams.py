"""Teams, galleries, spaces, people and records through REST: answers and refusals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from persons.audit import Actor, record
from persons.models import (
    Call,
    Enrolment,
    EnrolmentState,
    Gallery,
    Invitation,
    Membership,
    Person,
    Recognition,
    Role,
    Source,
    Space,
    SyncState,
    Team,
    User,
)
from tests.support import factories

ROOT = "/rest/teams/trip/"
JSON = "application/json"


@pytest.fixture
def owner(alice: User, sign_in: Callable[[User], Client]) -> Client:
    return sign_in(alice)


@pytest.fixture
def editor(bob: User, sign_in: Callable[[User], Client]) -> Client:
    return sign_in(bob)


@pytest.fixture
def mia(team: Team) -> Person:
    return factories.PersonFactory.create(space=team.spaces.get(number=3), label="Mia")


def post(client: Client, path: str, body: object = None) -> Any:
    return client.post(ROOT + path, body, content_type=JSON)


def patch(client: Client, path: str, body: object) -> Any:
    return client.patch(ROOT + path, body, content_type=JSON)


# --- Members and invitations ---


def test_an_owner_changes_a_role(owner: Client, bob: User, team: Team) -> None:
    membership = Membership.objects.get(user=bob)
    said = patch(owner, f"members/{membership.pk}/", {"role": "auditor"}).json()
    assert (said["username"], said["name"], said["role"]) == ("bob", "Bob", "auditor")
    assert Membership.objects.get(user=bob).role == Role.AUDITOR


def test_the_last_owner_stays(owner: Client, alice: User) -> None:
    membership = Membership.objects.get(user=alice)
    address = f"members/{membership.pk}/"
    for response in (patch(owner, address, {"role": "viewer"}), owner.delete(ROOT + address)):
        assert response.status_code == 409
        assert response.json()["detail"].startswith("A team needs an owner.")
    assert Membership.objects.get(user=alice).role == Role.OWNER


def test_a_role_that_there_is_not_is_refused(owner: Client, bob: User) -> None:
    membership = Membership.objects.get(user=bob)
    bodies: list[object] = [{"role": "king"}, {}, []]
    for body in bodies:
        assert patch(owner, f"members/{membership.pk}/", body).status_code == 400


def test_an_invitation_tells_its_link_once(owner: Client, team: Team) -> None:
    response = post(owner, "invitations/", {"email": "dora@example.org", "role": "viewer"})
    assert response.status_code == 201
    link = response.json()["link"]
    token = link.rstrip("/").rsplit("/", 1)[1]
    invitation = Invitation.objects.get()
    assert Invitation.hash_token(token) == invitation.token_hash
    listed = owner.get(ROOT + "invitations/")
    assert token not in listed.content.decode()
    (row,) = listed.json()["results"]
    assert (row["email"], row["role"], row["is_open"]) == ("dora@example.org", "viewer", True)


def test_a_revoked_invitation_is_closed_and_is_revoked_once(owner: Client, team: Team) -> None:
    pk = post(owner, "invitations/", {"email": "d@example.org", "role": "viewer"}).json()[
        "invitation"
    ]["id"]
    assert post(owner, f"invitations/{pk}/revoke/").json()["is_open"] is False
    assert post(owner, f"invitations/{pk}/revoke/").status_code == 409


# --- Galleries ---


def test_a_gallery_is_made_in_the_space_that_was_asked_for(editor: Client, team: Team) -> None:
    response = post(editor, "galleries/", {"name": "Summer trip", "space": 4})
    assert response.status_code == 201
    said = response.json()
    assert (said["slug"], said["name"], said["space"]) == ("summer-trip", "Summer trip", 4)
    assert Gallery.objects.get().space == team.spaces.get(number=4)
    assert said["photo_count"] == 0


def test_a_gallery_of_a_slug_that_is_taken_is_a_conflict(editor: Client, team: Team) -> None:
    body = {"name": "Trip", "slug": "walk"}
    assert post(editor, "galleries/", body).status_code == 201
    response = post(editor, "galleries/", body)
    assert (response.status_code, response.json()["code"]) == (409, "refused")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": "x" * 121}, "name"),
        ({"name": "x", "space": -1}, "space"),
        ({"name": "x", "space": "first"}, "space"),
        ({"name": "x", "slug": "No Slug"}, "slug"),
        ([], "non_field_errors"),
    ],
)
def test_a_gallery_that_is_badly_described_is_refused_by_field(
    editor: Client, body: object, field: str
) -> None:
    response = post(editor, "galleries/", body)
    assert (response.status_code, response.json()["code"]) == (400, "invalid")
    assert set(response.json()["fields"]) == {field}


def test_a_gallery_in_a_space_that_there_is_not_is_not_made(editor: Client, team: Team) -> None:
    assert post(editor, "galleries/", {"name": "x", "space": 10}).status_code == 404


def test_a_renamed_gallery_keeps_its_address(editor: Client, team: Team) -> None:
    gallery = factories.GalleryFactory.create(team=team, slug="walk")
    for digest in ("a", "b"):
        factories.PhotoFactory.create(gallery=gallery, sha256=digest)
    said = patch(editor, "galleries/walk/", {"name": "Long walk"}).json()
    assert (said["name"], said["slug"], said["photo_count"]) == ("Long walk", "walk", 2)


# --- Spaces ---


def test_there_are_ten_spaces_in_the_order_of_their_numbers(editor: Client, team: Team) -> None:
    said = editor.get(ROOT + "spaces/").json()
    assert [row["number"] for row in said["results"]] == list(range(10))
    assert said["results"][0]["capacity"] == 75_000


def test_a_policy_keeps_what_was_not_sent(owner: Client, team: Team) -> None:
    Space.objects.filter(team=team, number=2).update(name="Staff", create_new=True)
    said = patch(owner, "spaces/2/", {"threshold": 0.45, "searcher": 1}).json()
    kept = Space.objects.get(team=team, number=2)
    assert (kept.threshold, kept.searcher, kept.name, kept.create_new) == (0.45, 1, "Staff", True)
    assert (said["threshold"], said["name"], said["create_new"]) == (0.45, "Staff", True)


@pytest.mark.parametrize(
    ("field", "value"),
    [("threshold", 1.5), ("threshold", "much"), ("searcher", 2), ("name", "x" * 101)],
)
def test_a_policy_out_of_range_is_refused(
    owner: Client, team: Team, field: str, value: object
) -> None:
    response = patch(owner, "spaces/2/", {field: value})
    assert response.status_code == 400
    assert set(response.json()["fields"]) == {field}


def test_a_threshold_that_is_no_number_is_refused(owner: Client, team: Team) -> None:
    assert patch(owner, "spaces/2/", {"threshold": "nan"}).status_code in (400, 409)
    assert Space.objects.get(team=team, number=2).threshold == 0.4


# --- People ---


def test_a_person_is_told_with_counts_and_cover(editor: Client, mia: Person, team: Team) -> None:
    gallery = factories.GalleryFactory.create(team=team, space=mia.space)
    photo = factories.PhotoFactory.create(gallery=gallery)
    face = factories.FaceFactory.create(photo=photo, person=mia)
    Enrolment.objects.create(person=mia, face=face, state=EnrolmentState.DONE)
    said = editor.get(f"{ROOT}spaces/3/people/{mia.person_id}/").json()
    assert (said["label"], said["tag"], said["photo_count"], said["enrolment_count"]) == (
        "Mia",
        mia.tag,
        1,
        1,
    )
    assert said["cover"] == f"http://testserver/t/trip/media/face/{face.pk}"
    assert editor.get(f"{ROOT}spaces/3/people/").json()["results"] == [said]
    assert editor.get(f"{ROOT}spaces/4/people/").json()["results"] == []


def test_a_name_that_somebody_else_has_is_a_conflict(editor: Client, mia: Person) -> None:
    factories.PersonFactory.create(space=mia.space, label="Nora")
    response = patch(editor, f"spaces/3/people/{mia.person_id}/", {"label": "nora"})
    assert response.status_code == 409
    assert Person.objects.get(pk=mia.pk).label == "Mia"


def test_a_refused_enrolment_is_tried_again_and_a_removed_one_is_withdrawn(
    editor: Client, mia: Person, team: Team
) -> None:
    photo = factories.PhotoFactory.create(gallery__team=team)
    face = factories.FaceFactory.create(photo=photo)
    enrolment = Enrolment.objects.create(
        person=mia, face=face, state=EnrolmentState.FAILED, error="no face", image="enrolments/x"
    )
    address = f"enrolments/{enrolment.pk}/"
    retried = post(editor, address + "retry/").json()
    assert (retried["state"], retried["error"], retried["photo"]) == ("queued", "", photo.pk)
    assert retried["image"] == f"http://testserver/t/trip/media/enrolment/{enrolment.pk}"
    assert post(editor, address + "remove/").json()["state"] == "removing"
    (row,) = editor.get(f"{ROOT}spaces/3/people/{mia.person_id}/enrolments/").json()["results"]
    assert (row["id"], row["state"]) == (enrolment.pk, "removing")
    mia.refresh_from_db()
    assert mia.sync_state == SyncState.QUEUED


# --- History and audit ---


def test_a_call_opens_to_its_images_and_its_raw_answer(
    editor: Client, team: Team, bob: User
) -> None:
    call = Call.objects.create(
        team=team,
        space=team.spaces.get(number=0),
        method="recognize",
        source=Source.WORKER,
        actor=bob,
        backend="embedded",
        meta={"space": "0"},
        answer='{"status": 200}',
        status=200,
        image_count=2,
    )
    for position in (1, 0):
        Recognition.objects.create(
            call=call, position=position, name=f"image{position}", result={"persons": []}, status=0
        )
    (row,) = editor.get(ROOT + "calls/").json()["results"]
    assert (row["method"], row["actor"], row["space"]) == ("recognize", "Bob", 0)
    assert "answer" not in row
    said = editor.get(f"{ROOT}calls/{call.pk}/").json()
    assert (said["answer"], said["meta"]) == ('{"status": 200}', {"space": "0"})
    assert [image["name"] for image in said["recognitions"]] == ["image0", "image1"]
    assert said["recognitions"][0]["result"] == {"persons": []}


def test_the_audit_log_tells_who_did_what(editor: Client, team: Team, bob: User) -> None:
    actor = Actor(bob, Source.PAGE, address="192.0.2.7", request_id="r1")
    entry = record(
        actor=actor, team=team, action="team.test", target=team, after={"x": 1}, reason="because"
    )
    factories.TeamFactory.create(name="Else")
    (row,) = editor.get(ROOT + "audit/").json()["results"]
    assert row == {
        "id": entry.pk,
        "at": entry.at.isoformat().replace("+00:00", "Z"),
        "actor": "Bob",
        "actor_text": "Bob",
        "source": "page",
        "address": "192.0.2.7",
        "request_id": "r1",
        "action": "team.test",
        "target_type": "team",
        "target_id": str(team.pk),
        "target_text": "Trip",
        "before": {},
        "after": {"x": 1},
        "reason": "because",
    }


# --- Bodies ---


def test_a_body_that_is_no_json_is_refused(editor: Client, team: Team) -> None:
    response = editor.post(ROOT + "galleries/", "{", content_type=JSON)
    assert (response.status_code, response.json()["code"]) == (400, "parse_error")


def test_a_body_nested_too_deeply_is_refused(editor: Client, team: Team) -> None:
    response = editor.post(ROOT + "galleries/", "[" * 200_000, content_type=JSON)
    assert (response.status_code, response.json()["code"]) == (400, "parse_error")


@pytest.mark.parametrize("size", [1_000_000, 5_000_000])
def test_a_body_that_is_too_large_is_refused(editor: Client, team: Team, size: int) -> None:
    body = '{"name": "' + "x" * size + '"}'
    response = editor.post(ROOT + "galleries/", body, content_type=JSON)
    assert (response.status_code, response.json()["code"]) == (413, "too_large")


def test_a_form_where_json_belongs_is_refused(editor: Client, team: Team) -> None:
    response = editor.post(ROOT + "galleries/", {"name": "x"})
    assert (response.status_code, response.json()["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize("path", ["", "teams/trip/nothing/", "teams/trip/photos/x/", "nothing"])
def test_an_address_that_leads_nowhere_is_answered_in_json(editor: Client, path: str) -> None:
    response = editor.get("/rest/" + path)
    assert response.status_code == 404
    assert response.json() == {"code": "not_found", "detail": "There is nothing here."}
