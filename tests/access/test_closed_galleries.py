"""A closed gallery is visible to its own members and the team's owners only.

Bob, an editor of the team, is no member of it. No page that he opens may show its photos or the
names of its files.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.test import Client

from persons import access, audit
from persons.access import Right
from persons.actions.teams import remove_member
from persons.audit import Actor
from persons.models import (
    Call,
    Enrolment,
    EnrolmentState,
    Face,
    Gallery,
    GalleryMember,
    Membership,
    Person,
    Photo,
    Recognition,
    Role,
    Source,
    Team,
    User,
)
from tests.support.factories import FaceFactory, GalleryFactory, PersonFactory, PhotoFactory, jpeg

SignIn = Callable[[User], Client]
CANARY = "canary-4711.jpg"


@dataclass(frozen=True)
class Closed:
    """One photo with Anna's face in a closed gallery, everything that refers to it, and one open
    gallery with another face of hers."""

    gallery: Gallery
    photo: Photo
    face: Face
    unknown: Face
    person: Person
    enrolment: Enrolment
    call: Call
    opened: Photo


@pytest.fixture
def closed(team: Team, alice: User) -> Closed:
    gallery = GalleryFactory.create(team=team, slug="secret", name="Secret party", is_open=False)
    photo = PhotoFactory.create(gallery=gallery, file_name=CANARY)
    person = PersonFactory.create(space=gallery.space, label="Anna")
    face = FaceFactory.create(photo=photo, person=person, decision="named", decided_by=alice)
    unknown = FaceFactory.create(photo=photo, left=40, right=60)
    enrolment = Enrolment.objects.create(
        person=person, face=face, state=EnrolmentState.DONE, image="enrolments/one.jpg", sha256="e"
    )
    call = Call.objects.create(
        team=team,
        space=gallery.space,
        method="recognize",
        source=Source.WORKER,
        backend="embedded",
        answer='{"canary": "raw-answer"}',
        meta={"images": [{"name": f"photo{photo.pk}", "canary": "was-asked"}]},
    )
    Recognition.objects.create(
        call=call,
        position=0,
        name=f"photo{photo.pk}",
        photo=photo,
        sha256="f" * 64,
        result={"persons": [{"tag": person.tag}], "canary": "one-result"},
        own_width=471_147,
        own_height=471_147,
        status=0,
    )
    actor = Actor(alice, Source.PAGE)
    after = {"gallery": gallery.slug}
    audit.record(actor=actor, team=team, action="photo.upload", target=photo, after=after)
    open_gallery = GalleryFactory.create(team=team, slug="open", name="Open day")
    opened = PhotoFactory.create(gallery=open_gallery, file_name="open.jpg")
    FaceFactory.create(photo=opened, person=person)
    for key in (photo.key("thumb"), photo.key("large"), enrolment.image, photo.original):
        default_storage.save(key, ContentFile(jpeg()))
    return Closed(gallery, photo, face, unknown, person, enrolment, call, opened)


def addresses(closed: Closed) -> list[str]:
    """Each of them is of the closed gallery alone."""
    photo, face = closed.photo.pk, closed.face.pk
    return [
        "/t/trip/g/secret/",
        "/t/trip/g/secret/tiles",
        f"/t/trip/photos/{photo}/",
        f"/t/trip/photos/{photo}/live",
        f"/t/trip/faces/{face}/names",
        *(f"/t/trip/media/photo/{photo}/{what}" for what in ("thumb", "large", "original")),
        f"/t/trip/media/face/{face}",
        f"/t/trip/media/enrolment/{closed.enrolment.pk}",
        "/rest/teams/trip/galleries/secret/",
        "/rest/teams/trip/galleries/secret/photos/",
        f"/rest/teams/trip/photos/{photo}/",
    ]


def writes(closed: Closed) -> list[tuple[str, dict[str, str]]]:
    photo, face = closed.photo.pk, closed.face.pk
    return [
        ("/t/trip/g/secret/upload", {}),
        ("/t/trip/g/secret/rename", {"name": "Mine"}),
        ("/t/trip/g/secret/recognise", {}),
        (f"/t/trip/photos/{photo}/recognise", {}),
        (f"/t/trip/faces/{face}/name", {"label": "Mallory"}),
        (f"/t/trip/faces/{face}/reject", {}),
        (f"/t/trip/faces/{face}/ignore", {}),
        (f"/t/trip/faces/{face}/clear", {}),
        (f"/t/trip/enrolments/{closed.enrolment.pk}/remove", {}),
        ("/rest/teams/trip/galleries/secret/photos/", {}),
        (f"/rest/teams/trip/photos/{photo}/recognise/", {}),
        (f"/rest/teams/trip/faces/{face}/name/", {"label": "Mallory"}),
    ]


def lists(closed: Closed) -> list[str]:
    person = f"spaces/{closed.person.space.number}/people/{closed.person.person_id}/"
    return [
        "/t/trip/",
        "/t/trip/work/",
        "/t/trip/galleries/",
        "/t/trip/people/",
        "/t/trip/review/",
        "/t/trip/spaces/",
        "/t/trip/spaces/0/",
        f"/t/trip/{person}",
        f"/t/trip/{person}?view=photos",
        f"/t/trip/{person}?view=enrolments",
        "/t/trip/history/",
        f"/t/trip/history/{closed.call.pk}/",
        "/t/trip/audit/",
        "/rest/teams/trip/galleries/",
        "/rest/teams/trip/spaces/0/people/",
        f"/rest/teams/trip/{person}",
        f"/rest/teams/trip/{person}enrolments/",
        f"/rest/teams/trip/calls/{closed.call.pk}/",
        "/rest/teams/trip/audit/",
    ]


def leaks(text: str, closed: Closed) -> list[str]:
    """Marks of the closed gallery in a page. Numbers are looked for where addresses have them."""
    marks = [
        CANARY,
        "Secret party",
        "/secret/",
        "raw-answer",
        "was-asked",
        "one-result",
        "471147",
        f"/photos/{closed.photo.pk}/",
        f"/media/photo/{closed.photo.pk}/",
        f"/media/face/{closed.face.pk}",
        f"/media/face/{closed.unknown.pk}",
        f"/media/enrolment/{closed.enrolment.pk}",
    ]
    return [mark for mark in marks if mark in text]


def status(client: Client, address: str) -> int:
    response = client.get(address)
    if response.streaming:
        b"".join(response.streaming_content)  # type: ignore[attr-defined]
    return response.status_code


def join(closed: Closed, user: User, role: Role) -> None:
    GalleryMember.objects.create(gallery=closed.gallery, user=user, role=role)


# --- Reaching it by its address ---


def test_it_is_not_there_for_a_member_of_the_team_who_is_not_one_of_its_own(
    closed: Closed, bob: User, sign_in: SignIn
) -> None:
    client = sign_in(bob)
    for address in addresses(closed):
        assert client.get(address).status_code == 404, address


def test_nobody_outside_it_writes_to_it(closed: Closed, bob: User, sign_in: SignIn) -> None:
    client = sign_in(bob)
    before = Face.objects.values_list("decision", "person").get(pk=closed.face.pk)
    for address, data in writes(closed):
        assert client.post(address, data).status_code == 404, address
    assert Face.objects.values_list("decision", "person").get(pk=closed.face.pk) == before


@pytest.mark.parametrize("who", ["owner", "its editor"])
def test_it_is_there_for_owners_and_its_own_members(
    who: str, closed: Closed, alice: User, bob: User, sign_in: SignIn
) -> None:
    join(closed, bob, Role.EDITOR)
    client = sign_in(alice if who == "owner" else bob)
    for address in addresses(closed):
        assert status(client, address) == 200, address
    assert client.post("/t/trip/g/secret/rename", {"name": "Ours"}).status_code == 303


def test_its_viewer_looks_and_does_not_change(closed: Closed, bob: User, sign_in: SignIn) -> None:
    """Bob may edit in the team, but here his role is less."""
    join(closed, bob, Role.VIEWER)
    client = sign_in(bob)
    page = client.get("/t/trip/g/secret/")
    assert page.status_code == 200
    assert 'id="upload"' not in page.text
    for address, data in writes(closed):
        assert client.post(address, data).status_code == 403, address


def test_a_role_in_a_gallery_is_never_more_than_the_team_s(
    closed: Closed, vera: User, audrey: User, sign_in: SignIn
) -> None:
    join(closed, vera, Role.EDITOR)
    join(closed, audrey, Role.EDITOR)
    assert sign_in(vera).get("/t/trip/g/secret/").status_code == 200
    assert sign_in(vera).post("/t/trip/g/secret/rename", {"name": "Mine"}).status_code == 403
    assert sign_in(audrey).get("/t/trip/g/secret/").status_code == 200
    assert sign_in(audrey).post("/t/trip/g/secret/rename", {"name": "Mine"}).status_code == 403
    assert Right.EDIT not in access.rights_in(vera, closed.gallery)
    assert not {Right.EDIT, Right.MANAGE} & access.rights_in(audrey, closed.gallery)


def test_a_membership_of_a_gallery_does_not_make_a_member_of_the_team(
    closed: Closed, charlie: User, sign_in: SignIn
) -> None:
    join(closed, charlie, Role.EDITOR)
    client = sign_in(charlie)
    for address in [*addresses(closed), *lists(closed)]:
        assert client.get(address).status_code == 404, address


# --- What lists and counts tell of it ---


def test_no_list_shows_its_photos_to_others(closed: Closed, bob: User, sign_in: SignIn) -> None:
    client = sign_in(bob)
    for address in lists(closed):
        response = client.get(address)
        assert response.status_code == 200, address
        assert not leaks(response.text, closed), address


def test_the_marks_that_are_looked_for_are_there_for_who_may_see(
    closed: Closed, alice: User, sign_in: SignIn
) -> None:
    """Else the test above would hold of pages that show nothing at all."""
    client = sign_in(alice)
    seen = {mark for address in lists(closed) for mark in leaks(client.get(address).text, closed)}
    everything = set(leaks(" ".join(_all_marks(closed)), closed))
    assert seen == everything


def _all_marks(closed: Closed) -> list[str]:
    return [
        f"{CANARY} Secret party /secret/ raw-answer one-result /photos/{closed.photo.pk}/",
        "was-asked 471147",
        f"/media/photo/{closed.photo.pk}/ /media/face/{closed.face.pk}",
        f"/media/face/{closed.unknown.pk} /media/enrolment/{closed.enrolment.pk}",
    ]


def test_a_person_counts_the_photos_that_the_reader_sees(
    closed: Closed, alice: User, bob: User, sign_in: SignIn
) -> None:
    address = f"/rest/teams/trip/spaces/0/people/{closed.person.person_id}/"
    assert sign_in(alice).get(address).json()["photo_count"] == 2
    mine = sign_in(bob).get(address).json()
    assert mine["photo_count"] == 1
    assert mine["label"] == "Anna"


def test_the_number_beside_the_review_counts_what_the_reader_sees(
    closed: Closed, alice: User, bob: User, sign_in: SignIn
) -> None:
    def waiting(user: User) -> int:
        shell = sign_in(user).get("/t/trip/galleries/").context["shell"]
        return int(shell.waiting)

    assert waiting(alice) == 1
    assert waiting(bob) == 0


def test_the_review_does_not_decide_on_a_face_that_is_hidden(
    closed: Closed, bob: User, sign_in: SignIn
) -> None:
    face = closed.unknown
    sign_in(bob).post("/t/trip/review/", {"face": face.pk, "label": "Mallory"})
    sign_in(bob).post("/t/trip/review/", {"face": face.pk, "do": "ignore"})
    face.refresh_from_db()
    assert face.decision == ""


def test_an_auditor_reads_the_whole_record_as_ever(
    closed: Closed, audrey: User, sign_in: SignIn
) -> None:
    client = sign_in(audrey)
    assert CANARY in client.get("/t/trip/audit/").text
    assert "raw-answer" in client.get(f"/t/trip/history/{closed.call.pk}/").text
    assert f"/photos/{closed.photo.pk}/" not in client.get("/t/trip/audit/").text


def test_the_address_of_a_new_gallery_does_not_tell_that_a_closed_one_has_its_name(
    closed: Closed, team: Team, alice: User, bob: User, sign_in: SignIn
) -> None:
    join(closed, bob, Role.EDITOR)
    GalleryFactory.create(team=team, slug="other", name="Other", is_open=False)

    def made(user: User, name: str) -> str:
        response = sign_in(user).post("/t/trip/galleries/new", {"name": name, "space": 0})
        address: str = response["Location"]
        return address.removeprefix("/t/trip/g/").removesuffix("/")

    # Whether taken by a gallery that is closed to Bob, by one that he sees, or by none.
    for name in ("Other", "Secret", "Open", "Lake", "Lake"):
        assert re.fullmatch(f"{name.lower()}-[a-z2-9]{{6}}", made(bob, name))
    body = {"name": "Other", "space": 0}
    told = sign_in(bob).post("/rest/teams/trip/galleries/", body, "application/json").json()
    assert re.fullmatch("other-[a-z2-9]{6}", told["slug"])
    assert [made(alice, name) for name in ("Other", "Sea")] == ["other-2", "sea"]


# --- The helpers ---


def test_who_sees_which_galleries(
    closed: Closed, team: Team, alice: User, bob: User, vera: User, audrey: User, charlie: User
) -> None:
    def seen(user: Any) -> set[str]:
        return {gallery.slug for gallery in access.galleries_seen_by(user, team)}

    join(closed, vera, Role.VIEWER)
    assert seen(alice) == seen(vera) == {"open", "secret"}
    assert seen(bob) == {"open"}
    assert seen(audrey) == seen(charlie) == set()


def test_asking_costs_a_query_beside_the_membership_and_nothing_is_filtered_where_nothing_is_closed(
    team: Team, bob: User, django_assert_num_queries: Any
) -> None:
    GalleryFactory.create(team=team)
    with django_assert_num_queries(3):
        photos = access.photos(bob, team)
    assert "NOT" not in str(photos.query)
    with django_assert_num_queries(1):
        list(access.galleries_seen_by(bob, team))


def test_who_leaves_the_team_leaves_its_galleries(
    closed: Closed, team: Team, alice: User, bob: User
) -> None:
    join(closed, bob, Role.EDITOR)
    membership = Membership.objects.get(user=bob)
    remove_member(actor=Actor(alice, Source.PAGE), membership=membership)
    assert not GalleryMember.objects.exists()
