"""Naming faces, and the progress that follows."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from secrets import token_hex
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import Page, expect

from persons import pipeline
from persons.engine.engine import ONE_FACE_ONLY
from persons.models import (
    AuditEntry,
    Decision,
    Enrolment,
    EnrolmentState,
    Face,
    Gallery,
    Person,
    Photo,
    PhotoState,
    Run,
    SyncState,
    User,
)
from persons.models import Team as TeamModel
from tests.support.factories import FaceFactory, GalleryFactory, PersonFactory, PhotoFactory

# What is asked of the database here is asked by tests of actions and of queries as well.
pytestmark = pytest.mark.any_database

SignIn = Callable[[User], Client]
HTMX = {"HX-Request": "true"}


@pytest.fixture
def gallery(team: TeamModel) -> Gallery:
    return GalleryFactory.create(team=team, name="Harbour", slug="harbour")


def photo_of(gallery: Gallery, **values: Any) -> Photo:
    values.setdefault("prepared_at", timezone.now())
    return PhotoFactory.create(gallery=gallery, sha256=token_hex(32), **values)


@pytest.fixture
def photo(gallery: Gallery) -> Photo:
    return photo_of(gallery, file_name="quay.jpg", width=4000, height=3000)


@pytest.fixture
def face(photo: Photo) -> Face:
    return FaceFactory.create(photo=photo, left=100, top=200, right=400, bottom=600)


@pytest.fixture
def anna(gallery: Gallery) -> Person:
    return PersonFactory.create(space=gallery.space, label="Anna")


def url(photo: Photo, name: str = "photo") -> str:
    return reverse(name, args=["trip", photo.pk])


def do(face: Face, action: str) -> str:
    return reverse(f"face_{action}", args=["trip", face.pk])


def part(client: Client, address: str, **data: Any) -> Any:
    return client.post(address, data, headers=HTMX)


# --- Naming ---


def test_a_name_makes_a_person_and_queues_the_face_for_enrolment(
    photo: Photo, face: Face, bob: User, sign_in: SignIn
) -> None:
    response = part(sign_in(bob), do(face, "name"), label="  Anna  Smith ")
    assert response.status_code == 200
    person = Person.objects.get()
    assert (person.label, person.sync_state) == ("Anna Smith", SyncState.QUEUED)
    assert Enrolment.objects.get().face == face
    text = response.text
    assert text.lstrip().startswith('<section id="faces"')
    assert "named by Bob" in text
    assert '<svg id="boxes"' in text
    assert "Enrolling Anna Smith…" in text
    entry = AuditEntry.objects.get(action="face.name")
    assert (entry.actor, entry.source) == (bob, "page")
    assert len(entry.request_id) == 32


def test_the_focus_goes_to_the_next_unknown_face_and_then_around(
    photo: Photo, bob: User, sign_in: SignIn
) -> None:
    left, middle, right = (
        FaceFactory.create(photo=photo, left=x, right=x + 50) for x in (10, 100, 200)
    )
    client = sign_in(bob)

    def focused(face: Face, label: str) -> list[str]:
        text = part(client, do(face, "name"), label=label).text
        assert not re.search(r'aria-controls="names-\d+" autofocus', text)
        return re.findall(r'<li id="face-(\d+)"[^>]* autofocus>', text)

    assert focused(middle, "B") == [str(right.pk)]
    assert focused(right, "C") == [str(left.pk)]
    assert focused(left, "A") == []


def test_an_empty_name_is_refused_and_what_is_typed_elsewhere_stays(
    photo: Photo, face: Face, bob: User, sign_in: SignIn
) -> None:
    response = part(sign_in(bob), do(face, "name"), label=" ")
    assert response.status_code == 422
    assert response["HX-Reswap"] == "none"
    assert "Type a name." in response.text
    assert 'hx-swap-oob="beforeend:#toasts"' in response.text


def test_without_scripts_naming_leads_back_to_the_face(
    photo: Photo, face: Face, bob: User, sign_in: SignIn
) -> None:
    client = sign_in(bob)
    response = client.post(do(face, "name"), {"label": "Anna"})
    assert (response.status_code, response["Location"]) == (303, f"{url(photo)}#face-{face.pk}")
    assert "named by Bob" in client.get(url(photo)).text
    refused = client.post(do(face, "name"), {"label": ""}, follow=True)
    assert "Type a name." in refused.text


def test_a_form_of_another_page_is_answered_by_that_page(
    photo: Photo, face: Face, bob: User, sign_in: SignIn
) -> None:
    review = reverse("review", args=["trip"])
    response = part(sign_in(bob), do(face, "ignore"), next=review)
    assert (response.status_code, response["Location"]) == (303, review)
    elsewhere = part(sign_in(bob), do(face, "clear"), next="//evil.example/")
    assert elsewhere.status_code == 200


def test_a_wrong_name_can_be_rejected_and_is_not_offered_again(
    photo: Photo, anna: Person, bob: User, sign_in: SignIn
) -> None:
    face = FaceFactory.create(photo=photo, person=anna)
    client = sign_in(bob)
    text = part(client, do(face, "reject")).text
    assert "Unknown" in text
    assert "Not Anna" in text
    assert "Perhaps Anna" not in text
    face.refresh_from_db()
    assert face.person is None
    assert part(client, do(face, "reject")).status_code == 422


def test_an_ignored_face_no_longer_waits_and_that_can_be_undone(
    photo: Photo, face: Face, bob: User, sign_in: SignIn
) -> None:
    client = sign_in(bob)
    ignored = part(client, do(face, "ignore")).text
    assert "1 unknown" not in ignored
    assert do(face, "clear") in ignored
    undone = part(client, do(face, "clear")).text
    assert '<span class="num">1</span> unknown' in undone


def test_somebody_vision_was_not_sure_of_is_offered(
    photo: Photo, face: Face, anna: Person, bob: User, sign_in: SignIn
) -> None:
    Face.objects.filter(pk=face.pk).update(tag=anna.tag, similarity=0.379)
    page = sign_in(bob).get(url(photo)).text
    assert "Perhaps Anna, 37%" in page
    assert '<input type="hidden" name="label" value="Anna">' in page


def test_a_face_that_could_not_be_enrolled_says_why(
    photo: Photo, anna: Person, alice: User, vera: User, sign_in: SignIn
) -> None:
    face = FaceFactory.create(
        photo=photo,
        person=anna,
        decision=Decision.NAMED,
        decided_person=anna,
        decided_by=alice,
        decided_at=timezone.now(),
    )
    Enrolment.objects.create(
        person=anna, face=face, state=EnrolmentState.FAILED, error="no face found"
    )
    page = sign_in(vera).get(url(photo)).text
    assert "could not be enrolled: no face found" in page


def test_a_face_whose_picture_waits_for_a_consent_says_so(
    photo: Photo, anna: Person, alice: User, vera: User, sign_in: SignIn
) -> None:
    face = FaceFactory.create(
        photo=photo, person=anna, decision=Decision.NAMED, decided_person=anna, decided_by=alice
    )
    waiting = Enrolment.objects.create(person=anna, face=face, state=EnrolmentState.WAITING)
    client = sign_in(vera)
    assert "this picture waits for" in client.get(url(photo)).text
    waiting.state = EnrolmentState.DONE
    waiting.save(update_fields=["state"])
    assert "this picture waits for" not in client.get(url(photo)).text


def test_a_drawn_box_without_a_face_says_what_to_do_instead_of_the_vendor_s_words(
    photo: Photo, anna: Person, alice: User, vera: User, sign_in: SignIn
) -> None:
    face = FaceFactory.create(
        photo=photo,
        person=anna,
        decision=Decision.NAMED,
        decided_person=anna,
        decided_by=alice,
        decided_at=timezone.now(),
        is_drawn=True,
        drawn_by=alice,
    )
    refused = Enrolment.objects.create(
        person=anna, face=face, state=EnrolmentState.FAILED, error=ONE_FACE_ONLY
    )
    client = sign_in(vera)
    page = client.get(url(photo)).text
    assert "draw it close around one face" in page
    assert ONE_FACE_ONLY not in page
    # Whatever else Vision says, it says itself.
    refused.error = "image is broken"
    refused.save()
    assert "could not be enrolled: image is broken" in client.get(url(photo)).text


# --- Names to choose from ---


def test_names_that_fit_are_offered_as_they_are_typed(
    face: Face, gallery: Gallery, bob: User, sign_in: SignIn
) -> None:
    for label in ("Anna", "Bo Annan", "Hannah", "Bea", ""):
        PersonFactory.create(space=gallery.space, label=label)
    PersonFactory.create(label="Anna of another team")
    PersonFactory.create(space=gallery.team.spaces.get(number=1), label="Anna elsewhere")
    client = sign_in(bob)

    def offered(typed: str) -> list[str]:
        text = client.get(do(face, "names"), {"label": typed}, headers=HTMX).text
        return re.findall(r'data-label="([^"]*)"', text)

    assert offered("ANN") == ["Anna", "Bo Annan"]
    assert offered("zzz") == []
    assert offered("") == ["Bea", "Hannah", "Bo Annan", "Anna"]
    assert offered("%") == []
    assert offered("[") == []


# --- What became of a name ---


@pytest.fixture
def named(photo: Photo, anna: Person, alice: User) -> Face:
    return FaceFactory.create(
        photo=photo,
        person=anna,
        decision=Decision.NAMED,
        decided_person=anna,
        decided_by=alice,
        decided_at=timezone.now(),
    )


def live(client: Client, photo: Photo, **query: str) -> str:
    response = client.get(url(photo, "photo_live"), query, headers=HTMX)
    assert response.status_code == 200
    return " ".join(response.text.split())


def test_an_enrolment_that_waits_for_vision_says_so(
    photo: Photo, named: Face, anna: Person, vera: User, sign_in: SignIn
) -> None:
    Person.objects.filter(pk=anna.pk).update(sync_state=SyncState.QUEUED)
    client = sign_in(vera)
    assert "Enrolling Anna…" in live(client, photo)
    Person.objects.filter(pk=anna.pk).update(sync_error="connection refused")
    assert "it will be tried again. connection refused" in live(client, photo)


def test_the_search_for_a_person_counts_photos_and_finds(
    photo: Photo, gallery: Gallery, named: Face, anna: Person, vera: User, sign_in: SignIn
) -> None:
    run = Run.objects.create(space=gallery.space, person=anna, reason="r", photo_count=4)
    waiting = photo_of(gallery, state=PhotoState.QUEUED, run=run)
    FaceFactory.create(photo=photo_of(gallery, run=run), person=anna, found_by_run=run)
    client = sign_in(vera)
    text = live(client, photo)
    assert 'Looking for Anna in <span class="num">4</span> photos…' in text
    assert 'max="4" value="3"' in text
    assert "1 found so far" in text
    assert "load delay" in text
    Photo.objects.filter(pk=waiting.pk).update(state=PhotoState.DONE)
    FaceFactory.create(photo=waiting, person=anna, found_by_run=run)
    text = live(client, photo)
    assert "2 more faces</strong></a> of Anna" in text
    assert "load delay" not in text


def test_photos_that_a_later_search_took_over_still_count(
    photo: Photo, gallery: Gallery, named: Face, anna: Person, vera: User, sign_in: SignIn
) -> None:
    Run.objects.create(space=gallery.space, person=anna, reason="r", photo_count=1)
    other = PersonFactory.create(space=gallery.space, label="Bea")
    later = Run.objects.create(space=gallery.space, person=other, reason="r", photo_count=1)
    waiting = photo_of(gallery, state=PhotoState.RUNNING, run=later)
    client = sign_in(vera)
    assert "Looking for Anna" in live(client, photo)
    Photo.objects.filter(pk=waiting.pk).update(state=PhotoState.DONE)
    FaceFactory.create(photo=waiting, person=anna, found_by_run=later)
    assert "1 more face</strong></a> of Anna" in live(client, photo)


def test_a_search_without_a_find_says_so_and_is_forgotten_after_a_while(
    photo: Photo, gallery: Gallery, named: Face, anna: Person, vera: User, sign_in: SignIn
) -> None:
    run = Run.objects.create(
        space=gallery.space, person=anna, reason="r", photo_count=2, finished_at=timezone.now()
    )
    client = sign_in(vera)
    assert "No unknown face in 2 other photos is theirs." in live(client, photo)
    Run.objects.filter(pk=run.pk).update(finished_at=timezone.now() - timedelta(minutes=10))
    assert "Anna is enrolled" not in live(client, photo)


# --- In a browser ---


@pytest.mark.django_db(transaction=True)
def test_faces_are_named_by_keyboard_alone(
    page: Page, live: str, gallery: Gallery, bob: User, sign_in: SignIn
) -> None:
    photo = PhotoFactory.create(
        gallery=gallery, with_file=True, width=640, height=480, state=PhotoState.NEW
    )
    pipeline.prepare(photo.pk)
    Photo.objects.filter(pk=photo.pk).update(state=PhotoState.DONE)
    newer = photo_of(gallery)
    newest = photo_of(gallery)
    faces = [FaceFactory.create(photo=photo, left=x, right=x + 80) for x in (10, 200, 400)]
    PersonFactory.create(space=gallery.space, label="Annabel Lee")
    enter(page, live, sign_in(bob))
    page.goto(live + url(photo))
    page.keyboard.press("n")
    expect(page.locator(f"[aria-controls=names-{faces[0].pk}]")).to_be_focused()
    page.keyboard.type("anna")
    expect(page.locator(f"#names-{faces[0].pk} [role=option]")).to_have_count(1)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator(f"#face-{faces[0].pk}")).to_contain_text("Annabel Lee")
    # The next face has the focus, not its field: keys still are keys.
    expect(page.locator(f"#face-{faces[1].pk}")).to_be_focused()
    page.keyboard.press("n")
    expect(page.locator(f"[aria-controls=names-{faces[1].pk}]")).to_be_focused()
    expect(page.locator(f"[aria-controls=names-{faces[1].pk}]")).to_have_value("")
    page.keyboard.type("Bea")
    page.keyboard.press("Enter")
    expect(page.locator(f"#face-{faces[1].pk}")).to_contain_text("Bea")
    expect(page.locator(f"#face-{faces[2].pk}")).to_be_focused()
    expect(page.locator("#live")).to_contain_text("Enrolling Bea")
    # So it does when the list around it is renewed by a poll; and Enter does the same as `n`.
    Face.objects.filter(pk=faces[0].pk).update(confidence=0.7)
    expect(page.locator(f"#face-{faces[0].pk}")).to_contain_text("70%")
    expect(page.locator(f"#face-{faces[2].pk}")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(f"[aria-controls=names-{faces[2].pk}]")).to_be_focused()
    _what_is_typed_outlives_a_poll(page, faces)
    page.keyboard.press("ArrowLeft")
    page.wait_for_url(f"**/photos/{newer.pk}/")
    page.keyboard.press("ArrowLeft")
    page.wait_for_url(f"**/photos/{newest.pk}/")
    page.keyboard.press("Escape")
    page.wait_for_url("**/g/harbour/")


def _what_is_typed_outlives_a_poll(page: Page, faces: list[Face]) -> None:
    page.keyboard.type("Cec")
    Face.objects.filter(pk=faces[0].pk).update(confidence=0.5)
    expect(page.locator(f"#face-{faces[0].pk}")).to_contain_text("50%")
    field = page.locator(f"[aria-controls=names-{faces[2].pk}]")
    expect(field).to_have_value("Cec")
    expect(field).to_be_focused()
    page.keyboard.press("Escape")
    expect(field).not_to_be_focused()


def enter(page: Page, live: str, client: Client) -> None:
    """Sign in. A script or style that the page's policy blocks fails the test as any error does."""
    page.add_init_script(
        "addEventListener('securitypolicyviolation',"
        " (event) => { throw new Error(`${event.violatedDirective} ${event.sourceFile}`); });"
    )
    session = client.cookies["sessionid"].value
    page.context.add_cookies([{"name": "sessionid", "value": session, "url": live}])
