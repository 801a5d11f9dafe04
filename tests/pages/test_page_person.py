"""One person's page: faces, photos, enrolled pictures, and changes."""

from __future__ import annotations

from collections.abc import Callable
from secrets import token_hex
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from playwright.sync_api import Browser, Page, expect
from pytest_django import DjangoAssertNumQueries

from dashboard.pages.people.enrolments import hints_of
from persons.models import (
    AuditEntry,
    Call,
    Enrolment,
    EnrolmentState,
    Face,
    Gallery,
    Person,
    Run,
    Space,
    SyncState,
    Team,
    User,
)
from tests.support.factories import (
    PASSWORD,
    FaceFactory,
    GalleryFactory,
    PersonFactory,
    PhotoFactory,
)

SignIn = Callable[[User], Client]


@pytest.fixture
def gallery(team: Team) -> Gallery:
    return GalleryFactory.create(team=team, name="Harbour")


@pytest.fixture
def space(gallery: Gallery) -> Space:
    return gallery.space


@pytest.fixture
def anna(space: Space) -> Person:
    return PersonFactory.create(space=space, label="Anna")


def face_of(person: Person | None, gallery: Gallery, **values: Any) -> Face:
    photo = PhotoFactory.create(gallery=gallery, sha256=token_hex(32))
    return FaceFactory.create(photo=photo, person=person, **values)


def person_url(person: Person, do: str = "person") -> str:
    space = person.space
    return reverse(do, args=[space.team.slug, space.number, person.person_id])


def enrolment_url(enrolment: Enrolment, do: str) -> str:
    return reverse(f"enrolment_{do}", args=[enrolment.person.space.team.slug, enrolment.pk])


def part(client: Client, url: str, target: str) -> Any:
    return client.get(url, headers={"HX-Request": "true", "HX-Target": target})


# --- One person ---


def test_a_person_is_shown_with_tag_faces_and_whether_vision_knows(
    anna: Person, gallery: Gallery, bob: User, vera: User, sign_in: SignIn
) -> None:
    found = face_of(anna, gallery, similarity=0.87)
    named = face_of(anna, gallery, decision="named", decided_person=anna, decided_by=bob)
    Enrolment.objects.create(person=anna, face=named, state=EnrolmentState.DONE, created_by=bob)
    page = sign_in(vera).get(person_url(anna)).text
    for text in ("Anna", anna.tag, "87% similar.", "Named by Bob", "In step with Vision"):
        assert text in page
    for face in (found, named):
        photo = reverse("photo", args=[gallery.team.slug, face.photo_id])
        assert f'href="{photo}#face-{face.pk}"' in page
    for write in ("Rename", "Use as cover", "Not Anna", "data-pick"):
        assert write not in page


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"sync_state": SyncState.RUNNING}, "Being sent to Vision"),
        ({"sync_state": SyncState.QUEUED}, "Waiting to be sent to Vision"),
        ({"sync_state": SyncState.QUEUED, "sync_error": "circuit open"}, "circuit open"),
        ({"sync_error": "no such space"}, "no such space"),
        ({}, "Vision has no picture of them"),
    ],
)
def test_a_person_says_how_far_vision_is_in_step(
    anna: Person, vera: User, sign_in: SignIn, values: dict[str, str], text: str
) -> None:
    Person.objects.filter(pk=anna.pk).update(**values)
    page = sign_in(vera).get(person_url(anna)).text
    assert text in page
    assert ('hx-trigger="every 2s' in page) == ("sync_state" in values)


def test_the_page_follows_the_work_and_looks_again_when_it_is_done(
    anna: Person, vera: User, sign_in: SignIn
) -> None:
    client = sign_in(vera)
    Person.objects.filter(pk=anna.pk).update(sync_state=SyncState.RUNNING)
    busy = part(client, person_url(anna), "person-live")
    assert "every 2s" in busy.text
    assert "HX-Trigger" not in busy.headers
    Person.objects.filter(pk=anna.pk).update(sync_state=SyncState.IDLE)
    run = Run.objects.create(space=anna.space, person=anna, reason="Looking", photo_count=2)
    assert "0 of 2" in part(client, person_url(anna), "person-live").text.replace(
        "2 of 2", "0 of 2"
    )
    Run.objects.filter(pk=run.pk).update(finished_at="2026-01-01T00:00Z")
    done = part(client, person_url(anna), "person-live")
    assert "every 2s" not in done.text
    assert "person-synced" in done.headers["HX-Trigger"]
    assert "<html" not in part(client, person_url(anna), "person-view").text


def test_photos_are_each_shown_once(
    anna: Person, gallery: Gallery, vera: User, sign_in: SignIn
) -> None:
    photo = face_of(anna, gallery).photo
    FaceFactory.create(photo=photo, person=anna, left=40, right=60)
    other = face_of(None, gallery).photo
    page = sign_in(vera).get(person_url(anna), {"view": "photos"}).text
    assert page.count(f'id="photo-{photo.pk}"') == 1
    assert f'id="photo-{other.pk}"' not in page


@pytest.mark.parametrize("view", ["faces", "photos", "enrolments"])
@pytest.mark.parametrize("count", [3, 60])
def test_a_person_asks_the_same_number_of_queries_for_any_number_of_rows(
    anna: Person,
    gallery: Gallery,
    bob: User,
    sign_in: SignIn,
    view: str,
    count: int,
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    for _ in range(count):
        face = face_of(anna, gallery, decided_by=bob)
        Enrolment.objects.create(person=anna, face=face, created_by=bob, image="enrolments/x.jpg")
    client = sign_in(bob)
    with django_assert_num_queries({"faces": 20, "photos": 21, "enrolments": 21}[view]):
        client.get(person_url(anna), {"view": view})


# --- Renaming ---


def test_an_editor_renames_a_person(anna: Person, bob: User, sign_in: SignIn) -> None:
    response = sign_in(bob).post(
        person_url(anna, "person_rename"), {"label": "  Anna   Zimmer "}, follow=True
    )
    anna.refresh_from_db()
    assert anna.label == "Anna Zimmer"
    assert "Anna is Anna Zimmer now." in response.text
    assert AuditEntry.objects.get(action="person.rename").actor == bob


def test_a_name_that_is_taken_is_refused_and_what_was_typed_stays(
    anna: Person, bob: User, sign_in: SignIn
) -> None:
    PersonFactory.create(space=anna.space, label="Berta")
    response = sign_in(bob).post(person_url(anna, "person_rename"), {"label": "berta"})
    assert response.status_code == 422
    assert 'value="berta"' in response.text
    assert "has somebody called" in response.text
    anna.refresh_from_db()
    assert anna.label == "Anna"


def test_an_empty_name_is_refused(anna: Person, bob: User, sign_in: SignIn) -> None:
    response = sign_in(bob).post(person_url(anna, "person_rename"), {"label": "   "})
    assert "Type a name." in response.text


# --- Cover, removal ---


def test_an_editor_chooses_the_cover(
    anna: Person, gallery: Gallery, bob: User, sign_in: SignIn
) -> None:
    face = face_of(anna, gallery)
    sign_in(bob).post(person_url(anna, "person_faces"), {"do": "cover", "face": face.pk})
    anna.refresh_from_db()
    assert anna.cover == face


@pytest.mark.parametrize("face", ["", "x", "99999", "²", "-1"])
@pytest.mark.parametrize("deed", ["cover", "confirm", "reject", "ignore", "enrol", "what"])
def test_what_is_no_face_of_theirs_is_refused(
    anna: Person, gallery: Gallery, bob: User, sign_in: SignIn, face: str, deed: str
) -> None:
    face_of(None, gallery)
    response = sign_in(bob).post(
        person_url(anna, "person_faces"), {"do": deed, "face": face}, follow=True
    )
    known = face in ("", "99999")
    assert response.status_code == (200 if known else 400)
    assert ("Choose a face first." if known else "is no whole number") in response.text


def test_neither_somebody_else_s_face_nor_another_team_s_is_touched(
    anna: Person, gallery: Gallery, charlie: User, bob: User, sign_in: SignIn
) -> None:
    others = face_of(PersonFactory.create(space=anna.space), gallery)
    theirs = face_of(None, GalleryFactory.create(team=charlie.teams.get()))
    client = sign_in(bob)
    for deed in ("cover", "confirm", "reject", "ignore", "enrol"):
        faces = [others.pk, theirs.pk]
        client.post(person_url(anna, "person_faces"), {"do": deed, "face": faces})
    anna.refresh_from_db()
    others.refresh_from_db()
    assert anna.cover is None
    assert (others.decision, theirs.decision) == ("", "")


def test_a_cover_that_turned_out_to_be_somebody_else_is_shown_no_longer(
    anna: Person, gallery: Gallery, vera: User, sign_in: SignIn
) -> None:
    face = face_of(anna, gallery)
    Person.objects.filter(pk=anna.pk).update(cover=face)
    Face.objects.filter(pk=face.pk).update(person=None)
    assert f"/media/face/{face.pk}" not in sign_in(vera).get(person_url(anna)).text


def test_a_person_with_nothing_can_be_removed(anna: Person, bob: User, sign_in: SignIn) -> None:
    client = sign_in(bob)
    assert "Remove Anna?" in client.get(person_url(anna)).text
    response = client.post(person_url(anna, "person_remove"))
    assert response.status_code == 303
    assert response["Location"] == reverse("space", args=[anna.space.team.slug, 0])
    assert not Person.objects.filter(pk=anna.pk).exists()


def test_a_person_with_faces_can_t(
    anna: Person, gallery: Gallery, bob: User, sign_in: SignIn
) -> None:
    face_of(anna, gallery)
    client = sign_in(bob)
    assert "Remove Anna?" not in client.get(person_url(anna)).text
    response = client.post(person_url(anna, "person_remove"), follow=True)
    assert "Anna has faces" in response.text
    assert Person.objects.filter(pk=anna.pk).exists()


# --- Enrolments ---


def test_enrolments_are_shown_with_state_error_and_what_is_weak(
    anna: Person, gallery: Gallery, bob: User, sign_in: SignIn
) -> None:
    call = Call.objects.create(
        team=gallery.team, method="set", source="worker", backend="embedded", space=gallery.space
    )
    face = face_of(anna, gallery)
    Enrolment.objects.create(
        person=anna, face=face, created_by=bob, state=EnrolmentState.FAILED, call=call,
        error="face set required only one face per image",
    )  # fmt: skip
    page = sign_in(bob).get(person_url(anna), {"view": "enrolments"}).text
    for text in ("Refused", "only one face per image", "small (24 pixels)", "Try again", "Bob"):
        assert text in page
    assert reverse("call", args=[gallery.team.slug, call.pk]) in page


@pytest.mark.parametrize(
    ("others", "words"),
    [(0, "It is the only one"), (1, "sets the other 1 picture again"), (2, "other 2 pictures")],
)
def test_removing_one_says_what_happens_at_vision(
    anna: Person, bob: User, sign_in: SignIn, others: int, words: str
) -> None:
    for _ in range(others + 1):
        Enrolment.objects.create(person=anna, state=EnrolmentState.DONE)
    page = sign_in(bob).get(person_url(anna), {"view": "enrolments"}).text
    assert "it deletes whole people" in page
    assert words in page


def test_an_editor_removes_and_retries_enrolments(anna: Person, bob: User, sign_in: SignIn) -> None:
    done = Enrolment.objects.create(person=anna, state=EnrolmentState.DONE)
    failed = Enrolment.objects.create(person=anna, state=EnrolmentState.FAILED, error="no face")
    client = sign_in(bob)
    response = client.post(enrolment_url(done, "remove"))
    assert response["Location"] == f"{person_url(anna)}?view=enrolments"
    client.post(enrolment_url(failed, "retry"))
    done.refresh_from_db()
    failed.refresh_from_db()
    anna.refresh_from_db()
    assert (done.state, failed.state) == (EnrolmentState.REMOVING, EnrolmentState.QUEUED)
    assert anna.sync_state == SyncState.QUEUED


def test_an_editor_sends_again_what_vision_refused(
    anna: Person, bob: User, vera: User, sign_in: SignIn
) -> None:
    Person.objects.filter(pk=anna.pk).update(sync_error="no such space")
    failed = Enrolment.objects.create(person=anna, state=EnrolmentState.FAILED, error="x")
    assert "Try again" in sign_in(bob).get(person_url(anna)).text
    assert "Try again" not in sign_in(vera).get(person_url(anna)).text
    sign_in(bob).post(person_url(anna, "person_sync"))
    failed.refresh_from_db()
    assert failed.state == EnrolmentState.QUEUED


def test_a_viewer_sees_no_button_that_would_be_refused(
    anna: Person, vera: User, sign_in: SignIn
) -> None:
    Enrolment.objects.create(person=anna, state=EnrolmentState.FAILED, error="no face")
    page = sign_in(vera).get(person_url(anna), {"view": "enrolments"}).text
    assert "Try again" not in page
    assert "Remove this one" not in page


@pytest.mark.parametrize(
    ("values", "hint"),
    [
        ({"right": 200, "bottom": 200}, ""),
        ({"right": 50, "bottom": 200}, "small (40 pixels)"),
        ({"right": 200, "bottom": 200, "attributes": {"frontality": -0.2}}, "turned away"),
        ({"right": 200, "bottom": 200, "attributes": {"visibility": 0.5}}, "cut off by the edge"),
        ({"right": 200, "bottom": 200, "quality": 0.2}, "blurred or dark"),
        ({"right": 200, "bottom": 200, "quality": 0.0}, ""),
        ({"right": 200, "bottom": 200, "attributes": {"frontality": "odd"}}, ""),
    ],
)
def test_what_makes_a_picture_weak_is_said(values: dict[str, Any], hint: str) -> None:
    assert ", ".join(hints_of(FaceFactory.build(photo=None, **values))) == hint


# --- In a browser ---


def enter(page: Page, address: str, name: str) -> None:
    page.goto(address)
    page.fill("[name=username]", name)
    page.fill("[name=password]", PASSWORD)
    # What is typed before a page's scripts run is no search yet.
    with page.expect_navigation():
        page.keyboard.press("Enter")


@pytest.mark.django_db(transaction=True)
def test_what_was_found_meanwhile_appears_without_a_reload(
    live: str, page: Page, anna: Person, gallery: Gallery, bob: User
) -> None:
    Person.objects.filter(pk=anna.pk).update(sync_state=SyncState.RUNNING)
    enter(page, f"{live}{person_url(anna)}", "bob")
    expect(page.get_by_text("Being sent to Vision")).to_be_visible()
    expect(page.get_by_text("No faces")).to_be_visible()
    face = face_of(anna, gallery, similarity=0.81)
    Enrolment.objects.create(person=anna, face=face, state=EnrolmentState.DONE)
    Person.objects.filter(pk=anna.pk).update(sync_state=SyncState.IDLE)
    expect(page.get_by_text("In step with Vision")).to_be_visible()
    expect(page.get_by_text("81% ≥ 40%")).to_be_visible()
    expect(page.get_by_role("link", name="Faces 1")).to_be_visible()


@pytest.mark.django_db(transaction=True)
def test_renaming_and_removing_a_picture_work_without_scripts(
    live: str, browser: Browser, anna: Person, bob: User
) -> None:
    Enrolment.objects.create(person=anna, state=EnrolmentState.DONE)
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    enter(page, f"{live}{person_url(anna)}?view=enrolments", "bob")
    page.get_by_text("Rename").click()
    page.get_by_label("Name", exact=True).fill("Anna Zimmer")
    page.locator("details.rename").get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", name="Anna Zimmer")).to_be_visible()
    page.get_by_role("link", name="Enrolled").click()
    expect(page.get_by_text("it deletes whole people")).to_be_hidden()
    page.get_by_role("button", name="Remove this one").click()
    expect(page.get_by_text("it deletes whole people")).to_be_visible()
    page.get_by_role("button", name="Remove this picture").click()
    expect(page.get_by_text("Being removed")).to_be_visible()
    context.close()
