"""One photo's page: its picture, its faces, and the decisions on them."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from datetime import timedelta
from secrets import token_hex
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from PIL import ExifTags, Image
from playwright.sync_api import Page, expect
from pytest_django import DjangoAssertNumQueries

from persons import pipeline
from persons.models import (
    Call,
    Decision,
    Face,
    Gallery,
    Person,
    Photo,
    PhotoState,
    Recognition,
    Rejection,
    Source,
    User,
)
from persons.models import Team as TeamModel
from tests.support.browsing import enter
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


# --- Who may ---

READS = ["photo", "photo_live", "photo_facts"]
DECISIONS = ["name", "confirm", "reject", "ignore", "clear", "erase"]


def test_anonymous_visitors_sign_in_first(photo: Photo, face: Face, client: Client) -> None:
    for address in [url(photo, name) for name in READS]:
        assert client.get(address)["Location"] == f"/login/?next={address}"
    for address in [do(face, name) for name in DECISIONS] + [url(photo, "recognise_photo")]:
        assert client.post(address)["Location"] == f"/login/?next={address}"


@pytest.mark.parametrize("who", ["charlie", "audrey"])
def test_strangers_and_auditors_find_no_photo(
    photo: Photo, face: Face, charlie: User, audrey: User, sign_in: SignIn, who: str
) -> None:
    client = sign_in({"charlie": charlie, "audrey": audrey}[who])
    for address in [url(photo, name) for name in READS]:
        assert client.get(address).status_code == 404
    for address in [do(face, name) for name in DECISIONS] + [url(photo, "recognise_photo")]:
        assert client.post(address, {"label": "X"}).status_code == 404
    assert client.get(do(face, "names")).status_code == 404


def test_a_photo_is_not_found_under_another_team(
    photo: Photo, face: Face, charlie: User, sign_in: SignIn
) -> None:
    client = sign_in(charlie)
    assert client.get(url(photo).replace("trip", "others")).status_code == 404
    assert client.post(do(face, "ignore").replace("trip", "others")).status_code == 404


def test_a_viewer_looks_and_is_offered_nothing_to_change(
    photo: Photo, face: Face, anna: Person, vera: User, sign_in: SignIn
) -> None:
    FaceFactory.create(photo=photo, person=anna, left=1000, right=1200)
    client = sign_in(vera)
    page = client.get(url(photo)).text
    assert "Unknown" in page
    for control in ('<input type="text"', "Ignore", "Not Anna", "</svg>Confirm", "Recognise again"):
        assert control not in page
    assert client.get(url(photo, "photo_live")).status_code == 200


def test_a_viewer_changes_nothing(photo: Photo, face: Face, vera: User, sign_in: SignIn) -> None:
    client = sign_in(vera)
    for address in [do(face, name) for name in DECISIONS] + [url(photo, "recognise_photo")]:
        assert client.post(address, {"label": "X"}).status_code == 403
    told = part(client, do(face, "name"), label="X")
    assert told["Content-Type"].startswith("text/plain")
    assert "it can't upload, name and decide" in told.text
    assert client.get(do(face, "names")).status_code == 403
    assert not Person.objects.exists()


def test_the_wrong_method_is_refused(photo: Photo, face: Face, bob: User, sign_in: SignIn) -> None:
    client = sign_in(bob)
    for address in [url(photo, name) for name in READS] + [do(face, "names")]:
        assert client.post(address).status_code == 405
    for address in [do(face, name) for name in DECISIONS] + [url(photo, "recognise_photo")]:
        assert client.get(address).status_code == 405


# --- The page ---


def test_boxes_are_drawn_in_the_original_s_pixels(
    photo: Photo, face: Face, vera: User, sign_in: SignIn
) -> None:
    page = sign_in(vera).get(url(photo)).text
    assert 'viewBox="0 0 4000 3000"' in page
    assert '<rect class="line" x="100" y="200" width="300" height="400"/>' in page
    assert f'href="#face-{face.pk}"' in page
    assert f'<li id="face-{face.pk}"' in page


def test_each_kind_of_face_says_why_it_is_who_it_is(
    photo: Photo, anna: Person, alice: User, vera: User, sign_in: SignIn
) -> None:
    now = timezone.now()
    bea = PersonFactory.create(space=anna.space, label="Bea")
    FaceFactory.create(photo=photo, person=bea, similarity=0.876, confidence=0.93)
    FaceFactory.create(
        photo=photo,
        person=anna,
        decision=Decision.NAMED,
        decided_person=anna,
        decided_by=alice,
        decided_at=now,
        left=500,
        right=600,
    )
    FaceFactory.create(
        photo=photo, decision=Decision.IGNORED, decided_by=alice, left=700, right=800
    )
    FaceFactory.create(photo=photo, person=anna, similarity=0.8, left=900, right=950)
    cleo = PersonFactory.create(space=anna.space, label="Cleo")
    FaceFactory.create(photo=photo, person=cleo, similarity=0.42, left=1000, right=1050)
    page = sign_in(vera).get(url(photo)).text
    assert "recognised 87%" in page
    assert "twice on this photo?" in page
    assert "perhaps, 42%" in page
    assert ">Cleo?</a>" in page
    assert ">Cleo?</text>" in page
    assert "confidence 93%" in page
    assert "named by Alice" in page
    assert "by Alice</span>" in page
    assert reverse("person", args=["trip", 0, anna.person_id]) in page


def test_names_are_text_and_nothing_else(
    photo: Photo, gallery: Gallery, vera: User, sign_in: SignIn
) -> None:
    person = PersonFactory.create(space=gallery.space, label='"><script>x</script>')
    FaceFactory.create(photo=photo, person=person)
    page = sign_in(vera).get(url(photo)).text
    assert "<script>x" not in page
    assert "&lt;script&gt;x" in page


def test_a_face_that_was_not_found_again_is_listed_without_a_box(
    photo: Photo, face: Face, anna: Person, bob: User, sign_in: SignIn
) -> None:
    Face.objects.filter(pk=face.pk).update(missing=True, decision=Decision.NAMED, person=anna)
    page = sign_in(bob).get(url(photo)).text
    assert "Not found again" in page
    assert f'href="#face-{face.pk}" class="box' not in page
    assert do(face, "clear") in page


def test_a_failed_photo_says_why_and_can_be_tried_again(
    photo: Photo, bob: User, vera: User, sign_in: SignIn
) -> None:
    Photo.objects.filter(pk=photo.pk).update(state=PhotoState.FAILED, error="image too small")
    page = sign_in(bob).get(url(photo)).text
    assert "image too small" in page
    assert "Try again" in page
    seen = sign_in(vera).get(url(photo)).text
    assert "image too small" in seen
    assert "Try again" not in seen
    answer = part(sign_in(bob), url(photo, "recognise_photo"))
    photo.refresh_from_db()
    assert photo.state == PhotoState.NEW
    assert "Uploaded…" in answer.text


def test_without_scripts_trying_again_leads_back_to_the_photo(
    photo: Photo, bob: User, sign_in: SignIn
) -> None:
    response = sign_in(bob).post(url(photo, "recognise_photo"))
    assert (response.status_code, response["Location"]) == (303, url(photo))


def test_a_photo_that_waits_says_for_what(photo: Photo, vera: User, sign_in: SignIn) -> None:
    Photo.objects.filter(pk=photo.pk).update(state=PhotoState.QUEUED, error="limit reached")
    page = sign_in(vera).get(url(photo)).text
    assert "Last answer: limit reached" in page
    assert "load delay:1s" in page


def test_neighbours_are_those_of_the_same_filter(
    gallery: Gallery, vera: User, sign_in: SignIn
) -> None:
    photos = [photo_of(gallery) for _ in range(5)]
    for photo in (photos[0], photos[2], photos[4]):
        FaceFactory.create(photo=photo)
    client = sign_in(vera)

    def neighbours(query: str) -> list[str]:
        page = client.get(url(photos[2]) + query).text
        return re.findall(r'<a id="(?:newer|older)"[^>]* href="([^"]+)"', page)

    assert neighbours("") == [url(photos[3]), url(photos[1])]
    assert neighbours("?show=unknown") == [
        f"{url(photos[4])}?show=unknown",
        f"{url(photos[0])}?show=unknown",
    ]


def test_calls_that_touched_the_photo_lead_to_the_history(
    photo: Photo, team: TeamModel, vera: User, sign_in: SignIn
) -> None:
    call = Call.objects.create(
        team=team, method="recognize", source=Source.WORKER, backend="embedded"
    )
    Recognition.objects.create(call=call, position=0, name="photo1", photo=photo)
    assert reverse("call", args=["trip", call.pk]) in sign_in(vera).get(url(photo)).text


@pytest.mark.parametrize("show", [False, True])
def test_sex_and_age_are_shown_where_an_owner_wants_them(
    photo: Photo, gallery: Gallery, face: Face, vera: User, sign_in: SignIn, show: bool
) -> None:
    Face.objects.filter(pk=face.pk).update(attributes={"sex": "female", "age": 31.4})
    gallery.space.show_attributes = show
    gallery.space.save()
    page = sign_in(vera).get(url(photo)).text
    assert ("female · about 31" in page) is show


@pytest.mark.parametrize("count", [1, 30])
def test_a_photo_costs_the_same_for_1_and_for_30_faces(
    photo: Photo,
    anna: Person,
    alice: User,
    vera: User,
    sign_in: SignIn,
    django_assert_num_queries: DjangoAssertNumQueries,
    count: int,
) -> None:
    for number in range(count):
        face = FaceFactory.create(photo=photo, left=number * 50, right=number * 50 + 40)
        FaceFactory.create(photo=photo, person=anna, left=number * 50, top=900)
        Rejection.objects.create(face=face, person=anna, created_by=alice)
    client = sign_in(vera)
    with django_assert_num_queries(12):
        client.get(url(photo))


# --- Over the grid ---


def test_the_viewer_gets_the_photo_without_the_frame_of_a_page(
    photo: Photo, face: Face, vera: User, sign_in: SignIn
) -> None:
    text = sign_in(vera).get(url(photo), {"show": "unknown"}, headers=HTMX).text
    assert text.lstrip().startswith("<article")
    assert "<html" not in text
    assert f'data-address="{url(photo)}?show=unknown"' in text


def test_neighbours_by_date_taken_are_others_than_by_upload(
    gallery: Gallery, vera: User, sign_in: SignIn
) -> None:
    now = timezone.now()
    photos = [photo_of(gallery, taken_at=now - timedelta(days=days)) for days in (3, 1, 2)]
    client = sign_in(vera)

    def neighbours(query: str) -> list[str]:
        page = client.get(url(photos[2]) + query).text
        found = re.findall(r'<a id="(?:newer|older)"[^>]* href="([^"]+)"', page)
        return [one.partition("?")[0] for one in found]

    assert neighbours("") == [url(photos[1]), url(photos[0])]
    assert neighbours("?sort=uploaded") == [url(photos[1])]


def test_the_way_up_leads_to_the_photo_s_place_in_the_grid(
    photo: Photo, vera: User, sign_in: SignIn
) -> None:
    page = sign_in(vera).get(url(photo), {"show": "none", "sort": "uploaded"}).text
    gallery = reverse("gallery", args=["trip", "harbour"])
    address = f"{gallery}?show=none&amp;sort=uploaded&amp;at={photo.pk}#photo-{photo.pk}"
    assert f'href="{address}"' in page


def test_what_the_camera_wrote_is_read_when_somebody_asks(
    gallery: Gallery, vera: User, sign_in: SignIn
) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Model] = "<b>Kodak</b>"
    file = io.BytesIO()
    Image.new("RGB", (64, 48)).save(file, "JPEG", exif=exif)
    photo = PhotoFactory.create(gallery=gallery, with_file=file.getvalue())
    client = sign_in(vera)
    assert "&lt;b&gt;Kodak&lt;/b&gt;" in client.get(url(photo, "photo_facts"), headers=HTMX).text
    gone = photo_of(gallery)
    assert "It wrote nothing" in client.get(url(gone, "photo_facts"), headers=HTMX).text


# --- Drawing a face ---

BOX = {"left": "100.4", "top": "200", "right": "399.6", "bottom": "600"}


def test_a_drawn_face_is_kept_in_the_original_s_pixels(
    photo: Photo, bob: User, sign_in: SignIn
) -> None:
    response = part(sign_in(bob), url(photo, "draw_face"), **BOX)
    face = Face.objects.get()
    assert (face.left, face.top, face.right, face.bottom) == (100, 200, 400, 600)
    assert (face.is_drawn, face.drawn_by) == (True, bob)
    assert f'<li id="face-{face.pk}"' in response.text
    assert "drawn by Bob</p>" in response.text
    photo.refresh_from_db()
    assert (photo.face_count, photo.unknown_count) == (1, 1)


def test_a_drawn_face_may_be_named_at_once(photo: Photo, bob: User, sign_in: SignIn) -> None:
    response = sign_in(bob).post(url(photo, "draw_face"), BOX | {"label": "Anna"})
    face = Face.objects.get()
    assert response["Location"] == f"{url(photo)}#face-{face.pk}"
    assert face.person
    assert face.person.label == "Anna"


@pytest.mark.parametrize(
    "box",
    [
        {},
        {"left": "x"},
        {"left": "nan"},
        {"right": "101"},
        {"left": "-5"},
        {"bottom": "3001"},
        {"left": "9" * 30},
    ],
)
def test_a_box_that_is_none_is_refused_with_the_reason(
    photo: Photo, bob: User, sign_in: SignIn, box: dict[str, str]
) -> None:
    data = BOX | box if box else {}
    response = part(sign_in(bob), url(photo, "draw_face"), **data)
    assert response.status_code == 422
    assert "oast error" in response.text
    assert not Face.objects.exists()


def test_a_drawn_box_goes_away_again_until_somebody_has_decided(
    photo: Photo, bob: User, sign_in: SignIn
) -> None:
    client = sign_in(bob)
    part(client, url(photo, "draw_face"), **BOX)
    face = Face.objects.get()
    part(client, do(face, "name"), label="Anna")
    assert part(client, do(face, "erase")).status_code == 422
    part(client, do(face, "clear"))
    assert part(client, do(face, "erase")).status_code in (200, 422)
    found = FaceFactory.create(photo=photo, left=1000, right=1200)
    assert part(client, do(found, "erase")).status_code == 422


# --- Confirming ---


def test_a_suggestion_is_confirmed_as_whom_the_page_showed(
    photo: Photo, anna: Person, bob: User, sign_in: SignIn
) -> None:
    face = FaceFactory.create(photo=photo, person=anna, similarity=0.42)
    bea = PersonFactory.create(space=anna.space, label="Bea")
    client = sign_in(bob)
    refused = part(client, do(face, "confirm"), person=str(bea.pk))
    assert refused.status_code == 422
    assert "Somebody else is found in this face by now" in refused.text
    text = part(client, do(face, "confirm"), person=str(anna.pk)).text
    assert "named by Bob" in text
    face.refresh_from_db()
    assert face.decision == Decision.NAMED
    assert part(client, do(face, "confirm"), person=str(anna.pk)).status_code == 422


def test_a_rejected_face_s_own_field_gets_the_focus(
    photo: Photo, anna: Person, bob: User, sign_in: SignIn
) -> None:
    FaceFactory.create(photo=photo, left=10, right=40)
    face = FaceFactory.create(photo=photo, person=anna, left=100, right=140)
    text = part(sign_in(bob), do(face, "reject"), person=str(anna.pk)).text
    assert re.findall(r'aria-controls="names-(\d+)" autofocus', text) == [str(face.pk)]


# --- As it changes ---


def live(client: Client, photo: Photo, **query: str) -> str:
    response = client.get(url(photo, "photo_live"), query, headers=HTMX)
    assert response.status_code == 200
    return " ".join(response.text.split())


def test_faces_are_sent_again_only_when_they_changed(
    photo: Photo, face: Face, anna: Person, vera: User, sign_in: SignIn
) -> None:
    client = sign_in(vera)
    page = client.get(url(photo)).text
    found = re.search(r'name="seen" value="([^"]+)"', page)
    assert found
    assert 'id="faces"' not in live(client, photo, seen=found[1])
    Face.objects.filter(pk=face.pk).update(person=anna, similarity=0.9)
    text = live(client, photo, seen=found[1])
    assert 'id="faces"' in text
    assert 'id="boxes"' in text
    assert 'id="stage"' not in text


def test_the_picture_appears_when_it_is_prepared(
    gallery: Gallery, vera: User, sign_in: SignIn
) -> None:
    photo = photo_of(gallery, state=PhotoState.NEW, prepared_at=None)
    client = sign_in(vera)
    page = client.get(url(photo)).text
    assert "/large" not in page
    found = re.search(r'name="seen" value="([^"]+)"', page)
    assert found
    Photo.objects.filter(pk=photo.pk).update(state=PhotoState.QUEUED, prepared_at=timezone.now())
    text = live(client, photo, seen=found[1])
    assert 'id="stage"' in text
    assert "/large" in text


# --- In a browser ---


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("size", [(800, 300), (300, 800), (640, 480)])
def test_boxes_lie_exactly_on_the_photo_at_every_screen_size(
    page: Page,
    live: str,
    gallery: Gallery,
    vera: User,
    sign_in: SignIn,
    size: tuple[int, int],
) -> None:
    width, height = size
    photo = PhotoFactory.create(
        gallery=gallery, with_file=True, width=width, height=height, state=PhotoState.NEW
    )
    pipeline.prepare(photo.pk)
    FaceFactory.create(photo=photo, left=30, top=40, right=width - 50, bottom=height - 20)
    enter(page, live, sign_in(vera))
    page.goto(live + url(photo))
    page.locator(".stage-image").evaluate("image => image.decode()")
    for screen in [(1440, 900), (1000, 500), (390, 844), (844, 390)]:
        page.set_viewport_size({"width": screen[0], "height": screen[1]})
        # Where the browser has drawn the picture inside its frame, from the picture itself; both in
        # one layout, after those that the new size brings.
        image, box = page.locator(".stage-image").evaluate(
            """async (image) => {
                for (const _ of [1, 2]) await new Promise(requestAnimationFrame);
                const frame = image.getBoundingClientRect();
                const scale = Math.min(
                    frame.width / image.naturalWidth, frame.height / image.naturalHeight);
                const width = image.naturalWidth * scale, height = image.naturalHeight * scale;
                return [
                    { x: frame.x + (frame.width - width) / 2,
                      y: frame.y + (frame.height - height) / 2, width, height },
                    document.querySelector(".box .line").getBoundingClientRect().toJSON(),
                ];
            }"""
        )
        scale = image["width"] / width
        assert box["x"] == pytest.approx(image["x"] + 30 * scale, abs=1), screen
        assert box["y"] == pytest.approx(image["y"] + 40 * scale, abs=1), screen
        assert box["width"] == pytest.approx((width - 80) * scale, abs=1), screen
        assert box["height"] == pytest.approx((height - 60) * scale, abs=1), screen


@pytest.mark.django_db(transaction=True)
def test_a_box_and_its_entry_point_at_each_other(
    page: Page, live: str, gallery: Gallery, vera: User, sign_in: SignIn
) -> None:
    photo = PhotoFactory.create(
        gallery=gallery, with_file=True, width=640, height=480, state=PhotoState.NEW
    )
    pipeline.prepare(photo.pk)
    face = FaceFactory.create(photo=photo, left=200, top=100, right=400, bottom=300)
    enter(page, live, sign_in(vera))
    page.goto(live + url(photo))
    page.locator("a.box").hover()
    expect(page.locator(f"#face-{face.pk}")).to_have_class(re.compile(r"\bactive\b"))
    page.mouse.move(0, 0)
    expect(page.locator("a.box")).not_to_have_class(re.compile(r"\bactive\b"))
    page.locator(f"#face-{face.pk}").hover()
    expect(page.locator("a.box")).to_have_class(re.compile(r"\bactive\b"))
