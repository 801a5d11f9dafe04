"""Moving photos to another gallery also moves everything that is stored about where they are."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from importlib import import_module
from typing import Any

import pytest
from django.apps import apps
from django.core.exceptions import PermissionDenied
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.http import Http404
from django.test import Client
from django.utils import timezone

from persons import access, audit
from persons.actions.faces import ignore_face, name_face
from persons.actions.holds import hold_gallery, hold_person, release_hold
from persons.actions.moving import move_photos
from persons.actions.people import choose_cover
from persons.audit import Actor
from persons.errors import Refused
from persons.models import (
    AuditConcern,
    AuditEntry,
    Change,
    Enrolment,
    EnrolmentState,
    Face,
    Finding,
    Gallery,
    GalleryMember,
    Grouping,
    JobState,
    Photo,
    Recognition,
    Role,
    Source,
    Team,
    User,
)
from persons.pipeline.privacy.purging import purge_trash
from persons.privacy import holds
from tests.support.factories import FaceFactory, GalleryFactory, PersonFactory, PhotoFactory, jpeg
from tests.support.invariants import violations
from tests.support.reading import read_text

SignIn = Callable[[User], Client]
MIGRATION = import_module("persons.migrations.0010_galleries_of_records")


@pytest.fixture
def opened(team: Team) -> Gallery:
    return GalleryFactory.create(team=team, slug="open", name="Open day")


@pytest.fixture
def secret(team: Team) -> Gallery:
    return GalleryFactory.create(team=team, slug="secret", name="Secret party", is_open=False)


def by(user: User) -> Actor:
    return Actor(user, Source.PAGE)


def move(user: User, photo: Photo, gallery: Gallery, into: Gallery) -> None:
    move_photos(actor=by(user), gallery=gallery, into=into, pks=[photo.pk])


# --- What follows ---


def test_faces_pictures_and_audit_follow_their_photo(
    opened: Gallery, secret: Gallery, alice: User, bob: User, sign_in: SignIn
) -> None:
    photo = PhotoFactory.create(gallery=opened)
    face = FaceFactory.create(photo=photo)
    gone = FaceFactory.create(photo=photo, left=40, right=60, trashed=True)
    Face.everything.filter(pk=gone.pk).update(trashed=False)
    name_face(actor=by(alice), face=face, label="Anna")
    move(alice, photo, opened, secret)
    assert set(Face.everything.values_list("gallery", flat=True)) == {secret.pk}
    assert Enrolment.objects.get().gallery == secret
    assert violations() == []
    client = sign_in(bob)
    named = AuditEntry.objects.get(action="face.name")
    said = {one["id"]: one for one in client.get("/rest/teams/trip/audit/").json()["results"]}
    assert said[named.pk]["after"] == {} and said[named.pk]["target_id"] == ""
    move(alice, photo, secret, opened)
    # It was in there once: what was said of it then stays closed.
    said = {one["id"]: one for one in client.get("/rest/teams/trip/audit/").json()["results"]}
    assert said[named.pk]["after"] == {}


def test_the_review_of_a_stranger_and_the_filters_of_the_target_see_where_faces_are(
    team: Team, opened: Gallery, secret: Gallery, alice: User, bob: User, sign_in: SignIn
) -> None:
    photo = PhotoFactory.create(gallery=opened)
    anna = PersonFactory.create(space=opened.space, label="Anna")
    FaceFactory.create(photo=photo)
    FaceFactory.create(photo=photo, left=40, right=60, person=anna)
    assert access.faces(bob, team).count() == 2
    move(alice, photo, opened, secret)
    assert access.faces(bob, team).count() == 0
    page = sign_in(alice).get("/t/trip/g/secret/", {"person": anna.person_id}).text
    assert f"/photos/{photo.pk}/" in page
    assert f"/media/face/{Face.objects.first()}" not in sign_in(bob).get("/t/trip/review/").text


def test_a_picture_that_is_made_knows_its_gallery(opened: Gallery, alice: User) -> None:
    face = FaceFactory.create(photo__gallery=opened)
    name_face(actor=by(alice), face=face, label="Anna")
    assert Enrolment.objects.get().gallery == opened
    again = Enrolment.objects.get().once_more(alice)
    assert again.gallery_id == opened.pk


# --- Legal hold ---


def test_a_photo_does_not_leave_a_gallery_under_legal_hold(
    opened: Gallery, secret: Gallery, alice: User, sign_in: SignIn
) -> None:
    """In the other gallery anybody could delete it."""
    photo = PhotoFactory.create(gallery=opened)
    hold = hold_gallery(actor=by(alice), gallery=opened, reason="Case 12/2026")
    with pytest.raises(Refused, match=r"Open day is under legal hold since .* until an owner"):
        move(alice, photo, opened, secret)
    form = {"photo": photo.pk, "to": "secret"}
    response = sign_in(alice).post("/t/trip/g/open/photos/move", form)
    assert response.status_code == 422 and "Case 12/2026" in response.text
    photo.refresh_from_db()
    assert photo.gallery == opened
    release_hold(actor=by(alice), hold=hold, reason="Closed")
    move(alice, photo, opened, secret)
    assert secret.photos.get() == photo


def test_a_hold_goes_along_that_is_on_a_person_or_on_the_gallery_a_photo_comes_to(
    opened: Gallery, secret: Gallery, alice: User
) -> None:
    ada = PersonFactory.create(space=opened.space, label="Ada")
    photo = FaceFactory.create(photo__gallery=opened, person=ada).photo
    hold = hold_person(actor=by(alice), person=ada, reason="Case 12/2026")
    move(alice, photo, opened, secret)
    assert holds.held_photos(Photo.objects.all()).get() == photo
    release_hold(actor=by(alice), hold=hold, reason="Closed")
    assert not holds.held_photos(Photo.objects.all()).exists()
    other = PhotoFactory.create(gallery=opened)
    hold_gallery(actor=by(alice), gallery=secret, reason="Case 13/2026")
    move(alice, other, opened, secret)
    assert set(holds.held_photos(Photo.objects.all())) == {photo, other}


# --- Who takes back ---


def test_a_change_on_a_photo_that_is_not_there_for_somebody_is_not_theirs_to_undo(
    opened: Gallery, secret: Gallery, alice: User, bob: User, sign_in: SignIn
) -> None:
    face = FaceFactory.create(photo__gallery=secret)
    ignore_face(actor=by(alice), face=face)
    change = Change.objects.get()
    client = sign_in(bob)
    assert client.post(f"/t/trip/changes/{change.pk}/undo").status_code == 404
    member = GalleryMember.objects.create(gallery=secret, user=bob, role=Role.VIEWER)
    assert client.post(f"/t/trip/changes/{change.pk}/undo").status_code == 403
    face.refresh_from_db()
    assert face.decision == "ignored"
    GalleryMember.objects.filter(pk=member.pk).update(role=Role.EDITOR)
    assert client.post(f"/t/trip/changes/{change.pk}/undo").status_code == 303
    face.refresh_from_db()
    assert face.decision == ""


def test_bulk_access_returns_what_may_be_used(
    team: Team, opened: Gallery, secret: Gallery, alice: User, bob: User, vera: User, charlie: User
) -> None:
    one, other = (FaceFactory.create(photo__gallery=some) for some in (opened, secret))
    both = [one.pk, other.pk]
    assert set(access.faces(alice, team, both, write=True)) == {one, other}
    assert set(access.faces(bob, team, both, write=True)) == {one}
    assert set(access.photos(bob, team)) == {one.photo}
    with pytest.raises(PermissionDenied):
        access.faces(vera, team, both, write=True)
    with pytest.raises(Http404):
        access.faces(charlie, team, both)
    with pytest.raises(Http404):
        access.calls(charlie, team)
    GalleryMember.objects.create(gallery=secret, user=bob, role=Role.VIEWER)
    assert set(access.faces(bob, team, both)) == {one, other}
    assert set(access.faces(bob, team, write=True)) == {one}
    with pytest.raises(PermissionDenied, match="look at, not change"):
        access.faces(bob, team, both, write=True)
    with pytest.raises(PermissionDenied, match="look at, not change"):
        access.photos(bob, team, [one.photo_id, other.photo_id], write=True)


# --- What is told ---


def closed_entries(client: Client) -> list[dict[str, Any]]:
    rows = client.get("/rest/teams/trip/audit/").json()["results"]
    return [row for row in rows if not row["target_id"]]


def test_an_entry_about_something_else_does_not_name_a_closed_gallery(
    opened: Gallery, secret: Gallery, alice: User, bob: User, sign_in: SignIn
) -> None:
    photo = PhotoFactory.create(gallery=secret)
    move(alice, photo, secret, opened)
    anna = PersonFactory.create(space=secret.space, label="Anna")
    face = FaceFactory.create(photo__gallery=secret, person=anna)
    choose_cover(actor=by(alice), person=anna, face=face)
    grouping = Grouping.objects.create(space=secret.space, gallery=secret)
    audit.record(
        actor=by(alice),
        team=secret.team,
        action="grouping.start",
        target=grouping,
        after={"gallery": "secret"},
    )
    sign_in(alice).get("/t/trip/history/export.csv", {"gallery": "secret"}).getvalue()
    client = sign_in(bob)
    for text in (client.get("/t/trip/audit/").text, client.get("/rest/teams/trip/audit/").text):
        assert "secret" not in text.casefold()
        assert f">{face.pk}<" not in text
    assert len(closed_entries(client)) == 4
    assert "secret" in sign_in(alice).get("/rest/teams/trip/audit/").text


def test_words_of_closed_entries_make_no_pages(
    secret: Gallery, team: Team, alice: User, bob: User, sign_in: SignIn
) -> None:
    """The pager must not say that there was something, either."""
    for number in range(120):
        audit.record(
            actor=by(alice), team=team, action="gallery.rename", target=secret, after={"n": number}
        )
    client = sign_in(bob)
    for words in ("party", "parrot"):
        page = client.get("/t/trip/audit/", {"q": words}).text
        assert "Nothing in the log matches" in page and "before=" not in page
    assert "before=" in sign_in(alice).get("/t/trip/audit/", {"q": "party"}).text


def test_pictures_of_photos_that_were_purged_stay_closed(
    secret: Gallery, opened: Gallery, alice: User, bob: User, sign_in: SignIn
) -> None:
    photo = PhotoFactory.create(gallery=secret)
    anna = PersonFactory.create(space=secret.space, label="Anna")
    face = FaceFactory.create(photo=photo, person=anna)
    picture = Enrolment.objects.create(
        person=anna, face=face, state=EnrolmentState.DONE, image="enrolments/1.jpg", sha256="e"
    )
    asked = Recognition.objects.create(
        call=secret.team.calls.create(
            space=secret.space, method="recognize", source=Source.WORKER, backend="embedded"
        ),
        position=0,
        name="photo",
        photo=photo,
        gallery=secret,
        image="probes/1.jpg",
        result={"persons": [{"tag": anna.tag}]},
        face_count=1,
        status=0,
    )
    for key in (picture.image, asked.image):
        default_storage.save(key, ContentFile(jpeg()))
    Photo.everything.filter(pk=photo.pk).delete()
    picture.refresh_from_db()
    assert picture.face is None and picture.gallery == secret
    client, owner = sign_in(bob), sign_in(alice)
    person = f"/rest/teams/trip/spaces/0/people/{anna.person_id}/"
    for address in (
        f"/t/trip/media/enrolment/{picture.pk}",
        f"/t/trip/media/recognition/{asked.pk}",
    ):
        assert client.get(address).status_code == 404, address
        assert owner.get(address).getvalue(), address
    assert client.post(f"/t/trip/enrolments/{picture.pk}/remove").status_code == 404
    assert client.get(f"{person}enrolments/").json()["results"] == []
    assert client.get(person).json()["enrolment_count"] == 0
    assert owner.get(person).json()["enrolment_count"] == 1
    call = client.get(f"/rest/teams/trip/calls/{asked.call_id}/").json()
    assert call["recognitions"][0]["face_count"] == 0 and not call["recognitions"][0]["result"]
    assert anna.tag not in client.get(f"/t/trip/history/{asked.call_id}/").text


def test_records_of_a_photo_stay_closed_that_was_moved_and_purged(
    secret: Gallery, opened: Gallery, alice: User, bob: User, sign_in: SignIn
) -> None:
    """Asked about in the open gallery, and closed with the one where it was moved, for good."""
    photo = PhotoFactory.create(gallery=opened)
    anna = PersonFactory.create(space=opened.space, label="Anna")
    call = opened.team.calls.create(
        space=opened.space, method="recognize", source=Source.WORKER, backend="embedded"
    )
    asked = Recognition.objects.create(
        call=call,
        position=0,
        name="canary",
        photo=photo,
        gallery=opened,
        image="probes/1.jpg",
        result={"persons": [{"tag": anna.tag}]},
        face_count=1,
        status=0,
    )
    box = {"left": 0, "top": 0, "right": 9, "bottom": 9}
    finding = Finding.objects.create(
        team=opened.team,
        call=call,
        recognition=asked,
        position=0,
        gallery=opened,
        person=anna,
        told_id=anna.person_id,
        similarity=0.9,
        confidence=0.9,
        **box,
    )
    default_storage.save(asked.image, ContentFile(jpeg()))
    move(alice, photo, opened, secret)
    Photo.objects.filter(pk=photo.pk).update(trashed_at=timezone.now() - timedelta(days=400))
    assert purge_trash() == 1
    client, owner = sign_in(bob), sign_in(alice)
    person = f"{anna.space.number}.{anna.person_id}"
    for address in (
        f"/t/trip/media/recognition/{asked.pk}",
        f"/t/trip/history/{call.pk}/evidence/{asked.pk}/0/",
        f"/t/trip/media/evidence/{finding.pk}/asked",
    ):
        assert client.get(address).status_code == 404, address
    for address in (
        f"/t/trip/history/{call.pk}/",
        "/t/trip/history/",
        "/t/trip/history/export.jsonl",
        f"/rest/teams/trip/calls/{call.pk}/",
    ):
        response = client.get(address)
        text = response.getvalue().decode()
        assert "canary" not in text and f"/history/{call.pk}/evidence" not in text, address
        assert f'"{anna.tag}"' not in text and "Anna" not in text.partition("<main")[2], address
    assert f"/history/{call.pk}/" in owner.get(f"/t/trip/history/?person={person}").text
    assert f"/history/{call.pk}/" not in client.get(f"/t/trip/history/?person={person}").text


def test_a_merge_counts_what_the_reader_sees(
    secret: Gallery, opened: Gallery, alice: User, bob: User, sign_in: SignIn
) -> None:
    anna, bea = (PersonFactory.create(space=secret.space, label=name) for name in ("Anna", "Bea"))
    FaceFactory.create(photo__gallery=opened, person=anna)
    for _ in range(3):
        face = FaceFactory.create(photo__gallery=secret, person=anna)
        Enrolment.objects.create(person=anna, face=face, state=EnrolmentState.DONE, image="x")
    address = f"/t/trip/spaces/0/people/{bea.person_id}/merge?with={anna.person_id}&keep="
    mine = sign_in(bob).get(f"{address}{bea.person_id}")
    assert mine.context["sums"].faces == 1 and mine.context["sums"].pictures == 0
    assert "closed to you" in mine.text
    theirs = sign_in(alice).get(f"{address}{bea.person_id}")
    assert theirs.context["sums"].faces == 4 and theirs.context["sums"].pictures == 3
    assert "closed to you" not in theirs.text


def test_a_plan_of_groups_counts_what_the_reader_sees(
    secret: Gallery, opened: Gallery, alice: User, bob: User, sign_in: SignIn
) -> None:
    mine = [FaceFactory.create(photo__gallery=opened) for _ in range(2)]
    theirs = [FaceFactory.create(photo__gallery=secret) for _ in range(5)]
    plan = [[face.pk for face in theirs[:4]], [face.pk for face in [*mine, theirs[4]]]]
    grouping = Grouping.objects.create(
        space=secret.space, state=JobState.READY, plan=plan, total=77, requested_by=alice
    )
    address = f"/t/trip/groups/{grouping.pk}/"
    page = sign_in(bob).get(address)
    assert (page.context["preview"].people, page.context["preview"].faces) == (1, 2)
    assert "77" not in read_text(page.text.split('id="grouping"')[1])
    assert sign_in(alice).get(address).context["preview"].people == 2


# --- Rows of an earlier version ---


def test_rows_of_an_earlier_version_are_put_right(
    opened: Gallery, secret: Gallery, team: Team, alice: User, bob: User, sign_in: SignIn
) -> None:
    photo = PhotoFactory.create(gallery=secret, file_name="canary.jpg")
    face = FaceFactory.create(photo=photo)
    name_face(actor=by(alice), face=face, label="Anna")
    audit.record(actor=by(alice), team=team, action="photo.upload", target=photo)
    gone = PhotoFactory.create(gallery=secret, file_name="gone.jpg")
    audit.record(actor=by(alice), team=team, action="photo.download", target=gone)
    move(alice, PhotoFactory.create(gallery=secret), secret, opened)
    lost = Enrolment.objects.create(person=face.decided_person or Enrolment.objects.get().person)
    # As it was before: nothing followed, and nobody knew which entry tells of what.
    Face.everything.filter(pk=face.pk).update(gallery=opened)
    Enrolment.objects.update(gallery=None)
    AuditConcern.objects.all().delete()
    Photo.everything.filter(pk=gone.pk).delete()
    for step in ("faces_follow", "pictures_get_theirs", "entries_get_theirs"):
        getattr(MIGRATION, step)(apps, None)
    assert violations() == []
    assert Enrolment.objects.exclude(face=None).get().gallery == secret
    lost.refresh_from_db()
    assert lost.source_lost
    told = json.dumps(sign_in(bob).get("/rest/teams/trip/audit/").json())
    assert "canary" not in told and "gone.jpg" not in told and '"secret"' not in told
    assert "canary" in sign_in(alice).get("/rest/teams/trip/audit/").text
