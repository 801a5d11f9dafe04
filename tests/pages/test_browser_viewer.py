"""The viewer in a real browser: keys, zoom, faces, drawing, and going back to the grid."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from PIL import Image, ImageOps
from playwright.sync_api import Page, Route, expect

from persons import pipeline
from persons.actions.photos import add_photo
from persons.audit import Actor
from persons.models import Face, Gallery, Person, Photo, PhotoState, Source, Team, User
from tests.support.browsing import enter
from tests.support.factories import FaceFactory, GalleryFactory, PersonFactory

SignIn = Callable[[User], Client]
PHOTOS = Path(__file__).resolve().parents[2] / "demo" / "photos"
NAMES = ["ardern_1.jpg", "macron_1.jpg", "group_1.jpg", "obama_1.jpg"]

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def gallery(team: Team) -> Gallery:
    return GalleryFactory.create(team=team, name="Harbour", slug="harbour")


@pytest.fixture
def photos(gallery: Gallery, bob: User) -> list[Photo]:
    """Real photos, prepared, in the order in which the grid shows them."""
    for name in NAMES:
        with (PHOTOS / name).open("rb") as file:
            added = add_photo(
                actor=Actor(bob, Source.PAGE), gallery=gallery, file=file, file_name=name
            )
        pipeline.prepare(added.photo.pk)
    Photo.objects.update(state=PhotoState.DONE)
    return list(Photo.objects.order_by("-shown_at", "-pk"))


@pytest.fixture
def anna(gallery: Gallery) -> Person:
    return PersonFactory.create(space=gallery.space, label="Anna")


def home(live: str) -> str:
    return live + reverse("gallery", args=["trip", "harbour"])


def url(photo: Photo) -> str:
    return reverse("photo", args=["trip", photo.pk])


def shows(page: Page, photo: Photo) -> None:
    expect(page.locator("#photo")).to_have_attribute("data-pk", str(photo.pk))
    page.wait_for_url(f"**{url(photo)}*")


# --- Over the grid ---


def test_photos_are_turned_over_the_grid_and_escape_leads_back_to_the_last_one(
    page: Page, live: str, photos: list[Photo], bob: User, sign_in: SignIn
) -> None:
    enter(page, live, sign_in(bob))
    page.goto(home(live))
    page.evaluate("window.sameDocument = true")
    page.locator(f"#photo-{photos[0].pk} a").click()
    shows(page, photos[0])
    expect(page.locator("#newer")).to_have_count(0)
    page.keyboard.press("ArrowRight")
    shows(page, photos[1])
    page.keyboard.press("ArrowRight")
    shows(page, photos[2])
    page.keyboard.press("ArrowLeft")
    shows(page, photos[1])
    expect(page).to_have_title(re.compile(photos[1].file_name))
    page.keyboard.press("Escape")
    expect(page.locator("#viewer")).to_be_hidden()
    expect(page.locator(f"#photo-{photos[1].pk} a")).to_be_focused()
    page.wait_for_url("**/g/harbour/*")
    assert page.evaluate("window.sameDocument")
    # Enter opens what has the focus; the browser's own way back closes it, and forward opens it.
    page.keyboard.press("Enter")
    shows(page, photos[1])
    page.go_back()
    expect(page.locator("#viewer")).to_be_hidden()
    page.go_forward()
    shows(page, photos[1])
    # Loaded anew it is a page of its own; the grid is still behind it.
    page.reload()
    shows(page, photos[1])
    page.go_back()
    expect(page.locator(f"#photo-{photos[0].pk}")).to_be_visible()
    expect(page.locator("#photo")).to_have_count(0)


def test_turning_stays_under_the_filter_and_its_order(
    page: Page, live: str, photos: list[Photo], anna: Person, bob: User, sign_in: SignIn
) -> None:
    for photo in (photos[0], photos[2]):
        FaceFactory.create(photo=photo, person=anna)
    enter(page, live, sign_in(bob))
    page.goto(f"{home(live)}?person={anna.person_id}")
    page.locator(f"#photo-{photos[0].pk} a").click()
    shows(page, photos[0])
    page.keyboard.press("ArrowRight")
    shows(page, photos[2])
    assert f"person={anna.person_id}" in page.url
    page.locator("#up").click()
    expect(page.locator(".tile")).to_have_count(2)


def test_a_photo_s_own_page_is_the_same_viewer(
    page: Page, live: str, photos: list[Photo], bob: User, sign_in: SignIn
) -> None:
    enter(page, live, sign_in(bob))
    page.goto(live + url(photos[1]))
    page.keyboard.press("ArrowLeft")
    shows(page, photos[0])
    page.keyboard.press("ArrowRight")
    shows(page, photos[1])
    page.keyboard.press("Escape")
    page.wait_for_url("**/g/harbour/?at=*")
    expect(page.locator(f"#photo-{photos[1].pk} a")).to_be_focused()


def test_an_answer_for_another_photo_changes_nothing_of_this_one(
    page: Page, live: str, photos: list[Photo], bob: User, sign_in: SignIn
) -> None:
    """A poll of the photo that was shown before may still be under way."""
    Photo.objects.filter(pk=photos[0].pk).update(state=PhotoState.QUEUED)
    FaceFactory.create(photo=photos[1])
    enter(page, live, sign_in(bob))

    def late(route: Route) -> None:
        page.wait_for_timeout(1200)
        route.continue_()

    page.route(re.compile(rf"/photos/{photos[0].pk}/live"), late)
    page.goto(live + url(photos[0]))
    with page.expect_request(re.compile(r"/live")):
        pass
    FaceFactory.create(photo=photos[0])
    page.keyboard.press("ArrowRight")
    shows(page, photos[1])
    page.wait_for_timeout(2000)
    face = photos[1].faces.get()
    expect(page.locator("#faces .face-row")).to_have_attribute("id", f"face-{face.pk}")


# --- Keys ---


def test_faces_and_file_facts_are_shown_and_hidden_by_keys(
    page: Page, live: str, photos: list[Photo], anna: Person, bob: User, sign_in: SignIn
) -> None:
    FaceFactory.create(photo=photos[0], person=anna, similarity=0.45)
    enter(page, live, sign_in(bob))
    page.goto(live + url(photos[0]))
    box = page.locator("a.box")
    expect(box.locator("text")).to_have_text("Anna?")
    expect(box).to_have_css("opacity", "1")
    page.keyboard.press("f")
    expect(box).to_have_css("opacity", "0")
    # It stays so on the next photo, and on the next visit.
    page.reload()
    expect(box).to_have_css("opacity", "0")
    page.keyboard.press("f")
    expect(box).to_have_css("opacity", "1")
    page.keyboard.press("i")
    expect(page.locator("#camera")).to_contain_text("Camera")
    expect(page.get_by_text(photos[0].sha256[:16])).to_be_visible()
    assert page.url.endswith("#info")
    page.keyboard.press("ArrowRight")
    shows(page, photos[1])
    expect(page.get_by_text(photos[1].sha256[:16])).to_be_visible()
    page.keyboard.press("i")
    expect(page.get_by_text(photos[1].sha256[:16])).to_be_hidden()
    page.keyboard.press("?")
    expect(page.get_by_role("heading", name="Keys")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("heading", name="Keys")).to_be_hidden()
    shows(page, photos[1])


def test_a_suggestion_is_confirmed_by_a_key(
    page: Page, live: str, photos: list[Photo], anna: Person, bob: User, sign_in: SignIn
) -> None:
    face = FaceFactory.create(photo=photos[0], person=anna, similarity=0.45)
    enter(page, live, sign_in(bob))
    page.goto(live + url(photos[0]))
    expect(page.get_by_text("perhaps, 45%")).to_be_visible()
    page.keyboard.press("c")
    expect(page.get_by_text("named by Bob")).to_be_visible()
    face.refresh_from_db()
    assert (face.decision, face.decided_person) == ("named", anna)
    page.keyboard.press("c")
    expect(page.get_by_text("No name on this photo waits to be confirmed.")).to_be_visible()


def test_a_face_is_named_over_the_grid(
    page: Page, live: str, photos: list[Photo], anna: Person, bob: User, sign_in: SignIn
) -> None:
    face = FaceFactory.create(photo=photos[0])
    enter(page, live, sign_in(bob))
    page.goto(home(live))
    page.locator(f"#photo-{photos[0].pk} a").click()
    shows(page, photos[0])
    page.keyboard.press("n")
    expect(page.locator(f"[aria-controls=names-{face.pk}]")).to_be_focused()
    page.keyboard.type("an")
    expect(page.locator(f"#names-{face.pk} [role=option]")).to_have_count(1)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator(f"#face-{face.pk}")).to_contain_text("named by Bob")


def test_a_link_to_a_face_opens_it_and_the_address_keeps_it(
    page: Page, live: str, photos: list[Photo], anna: Person, bob: User, sign_in: SignIn
) -> None:
    photo = photos[0]
    one, two, three = [
        FaceFactory.create(
            photo=photo, left=left, right=left + 40, top=40, bottom=90, person=person
        )
        for left, person in [(20, None), (90, anna), (160, None)]
    ]
    enter(page, live, sign_in(bob))
    page.goto(f"{live}{url(photo)}#face-{two.pk}")
    expect(page.locator(f"#face-{two.pk}")).to_be_focused()
    expect(page.locator(f"a.box[data-face='{two.pk}']")).to_have_class(re.compile("active"))
    assert page.url.endswith(f"#face-{two.pk}")
    # The next one is that after the focus, wherever the mouse rests.
    page.locator(f"#face-{three.pk}").hover()
    page.keyboard.press("n")
    expect(page.locator(f"[aria-controls=names-{three.pk}]")).to_be_focused()
    page.wait_for_url(f"**#face-{three.pk}")
    page.keyboard.press("Escape")
    page.locator("#stage").click(position={"x": 5, "y": 5})
    expect(page.locator(".box.active")).to_have_count(0)
    assert "#" not in page.url
    page.locator(f"#face-{two.pk}").hover()
    page.keyboard.press("n")
    expect(page.locator(f"[aria-controls=names-{one.pk}]")).to_be_focused()
    # Escape may only close the list of names.
    page.locator("#stage").click(position={"x": 5, "y": 5})
    # Turned to, a photo has the focus and is said.
    page.keyboard.press("ArrowRight")
    shows(page, photos[1])
    assert "#" not in page.url
    expect(page.locator("#photo")).to_be_focused()
    expect(page.locator("#photo")).to_have_attribute("aria-label", photos[1].file_name)
    status = page.locator("#viewer > [role=status]")
    expect(status).to_have_text(f"{photos[1].file_name}, no faces")
    page.keyboard.press("ArrowLeft")
    expect(status).to_have_text(f"{photo.file_name}, 3 faces")
    page.keyboard.press("Escape")
    page.wait_for_url("**/g/harbour/*")
    page.locator(f"#photo-{photo.pk} a").click()
    expect(page.get_by_role("dialog", name=photo.file_name)).to_be_visible()
    expect(page.locator("#photo")).to_be_focused()
    expect(status).to_have_text(f"{photo.file_name}, 3 faces")


def test_a_long_name_is_cut_on_the_photo_until_it_is_pointed_at(
    page: Page, live: str, photos: list[Photo], gallery: Gallery, bob: User, sign_in: SignIn
) -> None:
    long = "Wolfeschlegelsteinhausenbergerdorff the Elder of Nordmark"
    hebrew = "בנימין"
    wide, high = photos[0].width, photos[0].height
    for left, name in [(wide // 10, long), (wide * 6 // 10, hebrew)]:
        FaceFactory.create(
            photo=photos[0],
            left=left,
            right=left + wide // 12,
            top=high // 3,
            bottom=high // 2,
            person=PersonFactory.create(space=gallery.space, label=name),
            similarity=0.99,
        )
    enter(page, live, sign_in(bob))
    page.goto(live + url(photos[0]))
    labels = page.locator("a.box text")
    expect(labels.first).to_have_text(re.compile("^Wolf.*…$"))
    box = labels.first.bounding_box()
    assert box
    assert box["width"] < 12 * 13.5 + 20
    page.locator("a.box").first.focus()
    expect(labels.first).to_have_text(long)
    expect(labels.last).to_have_attribute("opacity", "0")
    page.locator("a.box").last.focus()
    expect(labels.first).to_have_text(re.compile("^Wolf.*…$"))
    expect(labels.last).not_to_have_attribute("opacity", "0")
    # What is written from the right begins at the right; the label begins at its box all the same.
    expect(labels.last).to_have_attribute("direction", "rtl")
    label, frame = (
        labels.last.bounding_box(),
        page.locator("a.box .line").last.bounding_box(),
    )
    assert label
    assert frame
    assert label["x"] == pytest.approx(frame["x"], abs=4)


def test_zooming_keeps_the_boxes_on_the_faces(
    page: Page, live: str, photos: list[Photo], bob: User, sign_in: SignIn
) -> None:
    photo = photos[0]
    FaceFactory.create(
        photo=photo, left=photo.width // 4, right=photo.width // 2, top=0, bottom=photo.height // 2
    )
    enter(page, live, sign_in(bob))
    page.goto(live + url(photo))
    image = page.locator(".stage-image")
    image.evaluate("image => image.decode()")
    plain = image.bounding_box()
    page.keyboard.press("+")
    page.keyboard.press("+")
    zoomed = image.bounding_box()
    assert plain
    assert zoomed
    assert zoomed["width"] == pytest.approx(plain["width"] * 2.25, rel=0.01)
    line = page.locator(".box .line").evaluate(
        "rect => { const r = rect.getBoundingClientRect(); return { x: r.x, width: r.width } }"
    )
    scale = min(zoomed["width"] / photo.width, zoomed["height"] / photo.height)
    left = zoomed["x"] + (zoomed["width"] - photo.width * scale) / 2
    assert line["x"] == pytest.approx(left + photo.width // 4 * scale, abs=2)
    assert line["width"] == pytest.approx(photo.width / 4 * scale, abs=2)
    # Escape fits it again before it leaves.
    page.keyboard.press("Escape")
    assert image.bounding_box() == plain
    page.mouse.move(400, 400)
    page.mouse.wheel(0, -400)
    expect(page.locator("#stage")).to_have_class(re.compile("zoomed"))
    before = image.bounding_box()
    page.mouse.down()
    page.mouse.move(350, 380, steps=4)
    page.mouse.up()
    assert image.bounding_box() != before
    page.keyboard.press("0")
    page.mouse.dblclick(400, 400)
    expect(page.locator("#stage")).to_have_class(re.compile("zoomed"))


def test_a_swipe_turns_on_a_touch_screen(
    browser: Any, live: str, photos: list[Photo], bob: User, sign_in: SignIn
) -> None:
    FaceFactory.create(photo=photos[1])
    context = browser.new_context(
        viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True
    )
    page = context.new_page()
    enter(page, live, sign_in(bob))
    page.goto(home(live))
    page.locator(f"#photo-{photos[0].pk} a").tap()
    shows(page, photos[0])
    session = context.new_cdp_session(page)

    def touch(kind: str, *points: tuple[float, float]) -> None:
        at = [{"x": x, "y": y} for x, y in points]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": at})

    touch("touchStart", (320, 400))
    for x in range(300, 40, -40):
        touch("touchMove", (x, 402))
    # Held before it is lifted: while a fling goes on, Chromium takes a tap for its end, no click.
    page.wait_for_timeout(200)
    touch("touchMove", (50, 402))
    touch("touchEnd")
    shows(page, photos[1])
    # The faces lie below and are pushed up.
    expect(page.locator("#h-faces")).to_be_in_viewport()
    overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(overflow) == 0
    page.locator(".sheet-handle").tap()
    expect(page.locator(".name-form [name=label]")).to_be_in_viewport()
    context.close()


# --- Photos that do not come ---


def of_photo(photo: Photo) -> re.Pattern[str]:
    """Requests for the page of a photo, none for its pictures."""
    return re.compile(rf"/photos/{photo.pk}/(\?|$)")


def test_a_photo_that_does_not_come_is_left_at_once(
    page: Page, live: str, photos: list[Photo], bob: User, sign_in: SignIn
) -> None:
    held: list[Route] = []
    enter(page, live, sign_in(bob))
    page.goto(home(live))
    page.evaluate("window.sameDocument = true")
    tile = page.locator(f"#photo-{photos[1].pk} a")

    def hold(route: Route) -> None:
        held.append(route)

    # It is slow.
    page.route(of_photo(photos[1]), hold)
    for leave in (
        lambda: page.keyboard.press("Escape"),
        page.go_back,
        page.get_by_role("link", name="Back", exact=True).click,
    ):
        with page.expect_request(of_photo(photos[1])) if not held else nullcontext():
            tile.click()
        expect(page.get_by_role("link", name="Back", exact=True)).to_be_focused()
        leave()
        expect(page.locator("#viewer")).to_be_hidden()
        expect(tile).to_be_focused()
        page.wait_for_url("**/g/harbour/*")
    # It can't be reached.
    page.route(of_photo(photos[2]), lambda route: route.abort())
    page.locator(f"#photo-{photos[2].pk} a").click()
    expect(page.get_by_text("The server can't be reached.")).to_be_visible()
    expect(page.locator("#viewer")).to_be_hidden()
    # Somebody has deleted it.
    Photo.objects.filter(pk=photos[0].pk).update(trashed_at=timezone.now())
    page.locator(f"#photo-{photos[0].pk} a").click()
    expect(page.get_by_text("That photo is not here any more.")).to_be_visible()
    expect(page.locator("#viewer")).to_be_hidden()
    expect(page.locator(f"#photo-{photos[0].pk}")).to_have_count(0)
    expect(tile).to_be_focused()
    page.wait_for_url("**/g/harbour/*")
    assert page.evaluate("window.sameDocument")
    for route in held:
        route.abort()


def test_turning_goes_past_a_photo_that_somebody_deleted(
    page: Page, live: str, photos: list[Photo], bob: User, sign_in: SignIn
) -> None:
    enter(page, live, sign_in(bob))
    page.goto(home(live))
    # What is fetched ahead would be shown without asking.
    page.route(of_photo(photos[1]), lambda route: route.abort(), times=1)
    with page.expect_event("requestfailed", lambda one: bool(of_photo(photos[1]).search(one.url))):
        page.locator(f"#photo-{photos[0].pk} a").click()
    shows(page, photos[0])
    Photo.objects.filter(pk=photos[1].pk).update(trashed_at=timezone.now())
    with page.expect_request(of_photo(photos[1])) as asked:
        page.keyboard.press("ArrowRight")
    # Who has to sign in meanwhile comes back to here.
    assert asked.value.headers["hx-current-url"] == live + url(photos[0])
    shows(page, photos[2])
    page.keyboard.press("ArrowLeft")
    shows(page, photos[0])
    page.keyboard.press("Escape")
    expect(page.locator(f"#photo-{photos[1].pk}")).to_have_count(0)


# --- Into the trash ---


def test_delete_goes_on_to_the_next_photo_and_takes_the_tile_away(
    page: Page, live: str, photos: list[Photo], bob: User, sign_in: SignIn
) -> None:
    enter(page, live, sign_in(bob))
    page.goto(home(live))
    page.locator(f"#photo-{photos[0].pk} a").click()
    shows(page, photos[0])
    page.keyboard.press("Delete")
    shows(page, photos[1])
    assert Photo.everything.get(pk=photos[0].pk).trashed_at
    page.keyboard.press("Escape")
    expect(page.locator(f"#photo-{photos[1].pk} a")).to_be_focused()
    expect(page.locator(f"#photo-{photos[0].pk}")).to_have_count(0)


class Held:
    """Requests to an address wait until they are let go."""

    def __init__(self, page: Page, address: str) -> None:
        self.page = page
        self.routes: list[Route] = []
        page.route(address, self._hold)

    def _hold(self, route: Route) -> None:
        self.routes.append(route)

    def let_go(self) -> None:
        # The handler runs when the browser is listened to, not when it asks.
        while not self.routes:
            self.page.wait_for_timeout(20)
        self.routes.pop().continue_()


def test_deleting_once_is_enough_and_can_be_undone_over_the_grid(
    page: Page, live: str, photos: list[Photo], bob: User, sign_in: SignIn
) -> None:
    held = Held(page, "**/photos/trash")
    enter(page, live, sign_in(bob))
    page.goto(home(live))
    page.evaluate("window.sameDocument = true")
    undo = page.locator("#toasts").get_by_role("button", name="Undo")
    page.locator(f"#photo-{photos[1].pk} a").click()
    shows(page, photos[1])
    # Twice, while the first one is under way.
    with page.expect_request("**/photos/trash"):
        page.keyboard.press("Delete")
    page.keyboard.press("Delete")
    held.let_go()
    shows(page, photos[2])
    assert not held.routes
    expect(page.locator(f"#photo-{photos[1].pk}")).to_have_count(0)
    undo.click()
    shows(page, photos[1])
    assert Photo.objects.filter(pk=photos[1].pk).exists()
    expect(undo).to_have_count(0)
    # Turned on before the answer: it can still be undone, and nothing leads to the deleted one.
    with page.expect_request("**/photos/trash"):
        page.keyboard.press("Delete")
    page.keyboard.press("ArrowRight")
    shows(page, photos[2])
    expect(page.locator("#newer")).to_have_attribute("href", re.compile(url(photos[1])))
    held.let_go()
    expect(undo).to_be_visible()
    expect(page.locator("#newer")).to_have_attribute("href", re.compile(url(photos[0])))
    page.keyboard.press("Escape")
    expect(page.locator("#viewer")).to_be_hidden()
    the_grids_own_deletions_are_not_undone_over_a_photo(page, photos, held)


def the_grids_own_deletions_are_not_undone_over_a_photo(
    page: Page, photos: list[Photo], held: Held
) -> None:
    undo = page.locator("#toasts").get_by_role("button", name="Undo")
    page.locator(f"#photo-{photos[0].pk} a").click()
    shows(page, photos[0])
    expect(undo).to_have_count(0)
    with page.expect_request("**/photos/trash"):
        page.keyboard.press("Delete")
    held.let_go()
    shows(page, photos[2])
    page.keyboard.press("Escape")
    # Back from the viewer it is undone into it, and the way back is the grid with its tile.
    undo.click()
    shows(page, photos[0])
    page.keyboard.press("Escape")
    expect(page.locator(f"#photo-{photos[0].pk} a")).to_be_focused()
    page.wait_for_url("**/g/harbour/*")
    assert page.evaluate("window.sameDocument")


# --- Drawing ---


def drag(page: Page, start: tuple[float, float], end: tuple[float, float]) -> None:
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
    page.mouse.move(*end)
    page.mouse.up()


def on_screen(page: Page, photo: Photo, x: float, y: float) -> tuple[float, float]:
    """Where a pixel of the photo is drawn, from the picture itself."""
    box = page.locator(".stage-image").bounding_box()
    assert box
    scale = min(box["width"] / photo.width, box["height"] / photo.height)
    left = box["x"] + (box["width"] - photo.width * scale) / 2
    top = box["y"] + (box["height"] - photo.height * scale) / 2
    return left + x * scale, top + y * scale


@pytest.mark.parametrize("view", [(1440, 900, 0), (1440, 900, 2), (760, 900, 0)])
def test_a_box_is_drawn_where_the_pointer_was_and_named(
    page: Page,
    live: str,
    photos: list[Photo],
    anna: Person,
    bob: User,
    sign_in: SignIn,
    view: tuple[int, int, int],
) -> None:
    width, height, zooms = view
    photo = next(photo for photo in photos if photo.file_name == "obama_1.jpg")
    enter(page, live, sign_in(bob))
    page.set_viewport_size({"width": width, "height": height})
    page.goto(live + url(photo))
    page.locator(".stage-image").evaluate("image => image.decode()")
    for _ in range(zooms):
        page.keyboard.press("+")
    page.keyboard.press("d")
    expect(page.get_by_text("Drag a box around the face.")).to_be_visible()
    left, top = photo.width * 0.42, photo.height * 0.4
    right, bottom = photo.width * 0.58, photo.height * 0.6
    drag(page, on_screen(page, photo, left, top), on_screen(page, photo, right, bottom))
    expect(page.locator("#draw [name=label]")).to_be_focused()
    page.keyboard.type("an")
    expect(page.locator("#names-drawn [role=option]")).to_have_count(1)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.get_by_text("named by Bob")).to_be_visible()
    expect(page.locator("#draw")).to_be_hidden()
    face = Face.objects.get()
    pixel = photo.width / page.locator(".stage-image").evaluate("one => one.clientWidth")
    assert (face.person, face.is_drawn, face.drawn_by) == (anna, True, bob)
    for found, wanted in [
        (face.left, left),
        (face.top, top),
        (face.right, right),
        (face.bottom, bottom),
    ]:
        assert found == pytest.approx(wanted, abs=max(2, 2 * pixel))
    expect(page.locator("a.box text")).to_have_text("Anna")


def test_a_box_is_drawn_and_moved_by_keyboard_alone(
    page: Page, live: str, photos: list[Photo], bob: User, sign_in: SignIn
) -> None:
    enter(page, live, sign_in(bob))
    page.goto(live + url(photos[0]))
    page.locator(".stage-image").evaluate("image => image.decode()")
    page.keyboard.press("d")
    page.keyboard.press("Enter")
    before = page.locator("#drawn .line").bounding_box()
    for _ in range(5):
        page.keyboard.press("ArrowLeft")
    page.keyboard.press("Shift+ArrowDown")
    after = page.locator("#drawn .line").bounding_box()
    assert before
    assert after
    assert after["x"] < before["x"]
    assert after["height"] > before["height"]
    page.keyboard.press("Enter")
    expect(page.locator("#draw [name=label]")).to_be_focused()
    # Without a name: it then waits for one like any other.
    page.keyboard.press("Enter")
    expect(page.locator(".face-row.unknown")).to_have_count(1)
    page.get_by_role("button", name="Take this box away").click()
    expect(page.locator(".face-row")).to_have_count(0)
    assert not Face.objects.exists()


def test_a_drawn_box_can_be_changed_by_its_handles_before_it_is_saved(
    page: Page, live: str, photos: list[Photo], bob: User, sign_in: SignIn
) -> None:
    photo = photos[0]
    enter(page, live, sign_in(bob))
    page.goto(live + url(photo))
    page.locator(".stage-image").evaluate("image => image.decode()")
    page.get_by_role("button", name="Draw a face that was missed").click()

    def at(x: float, y: float) -> tuple[float, float]:
        return on_screen(page, photo, photo.width * x, photo.height * y)

    drag(page, at(0.3, 0.3), at(0.5, 0.5))
    drag(page, at(0.5, 0.5), at(0.6, 0.6))
    drag(page, at(0.45, 0.45), at(0.5, 0.5))
    page.locator("#draw .primary").click()
    expect(page.locator(".face-row")).to_have_count(1)
    face = Face.objects.get()
    pixel = photo.width / page.locator(".stage-image").evaluate("one => one.clientWidth")
    near = max(3.0, 3 * pixel)
    assert face.left == pytest.approx(photo.width * 0.35, abs=near)
    assert face.bottom == pytest.approx(photo.height * 0.65, abs=near)


def test_a_box_that_is_too_small_says_so_and_stays(
    page: Page, live: str, photos: list[Photo], bob: User, sign_in: SignIn
) -> None:
    enter(page, live, sign_in(bob))
    page.goto(live + url(photos[0]))
    page.locator(".stage-image").evaluate("image => image.decode()")
    page.keyboard.press("d")
    page.mouse.click(500, 400)
    expect(page.get_by_text("Drag a box around the face.")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#draw")).to_be_hidden()
    shows(page, photos[0])


# --- All pixels ---


@pytest.mark.parametrize("kind", ["jpeg exif", "jpeg xmp", "webp exif", "png exif", "tiff", "heic"])
def test_zoomed_in_a_photo_is_as_upright_as_before(
    page: Page, live: str, gallery: Gallery, bob: User, sign_in: SignIn, kind: str
) -> None:
    """Drawn by the browser before and after all its pixels came in: the same picture, larger."""
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    exif = Image.Exif()
    exif[0x0112] = 6
    files: dict[str, tuple[str, dict[str, Any]]] = {
        "jpeg exif": ("JPEG", {"exif": exif.tobytes()}),
        "jpeg xmp": ("JPEG", {"xmp": xmp}),
        "webp exif": ("WEBP", {"exif": exif.tobytes()}),
        "png exif": ("PNG", {"exif": exif.tobytes()}),
        "tiff": ("TIFF", {"tiffinfo": {0x0112: 6}}),
        "heic": ("HEIF", {"exif": exif.tobytes()}),
    }
    format, options = files[kind]
    with Image.open(PHOTOS / "macron_1.jpg") as portrait:
        upright = ImageOps.fit(portrait.convert("RGB"), (2600, 3900))
    out = io.BytesIO()
    upright.transpose(Image.Transpose.ROTATE_90).save(out, format, **options)
    photo = add_photo(
        actor=Actor(bob, Source.PAGE), gallery=gallery, file=out, file_name="lying"
    ).photo
    pipeline.prepare(photo.pk)
    enter(page, live, sign_in(bob))
    page.goto(live + url(photo))
    drawn = """() => {
        const image = document.querySelector("#stage .stage-image");
        const canvas = document.createElement("canvas");
        [canvas.width, canvas.height] = [24, 36];
        canvas.getContext("2d").drawImage(image, 0, 0, 24, 36);
        const data = [...canvas.getContext("2d").getImageData(0, 0, 24, 36).data];
        return [image.naturalWidth / image.naturalHeight, image.naturalHeight, data];
    }"""
    image = page.locator("#stage .stage-image")
    expect(image).to_have_js_property("complete", True)
    shape, high, before = page.evaluate(drawn)
    with page.expect_response(re.compile(r"/media/photo/\d+/full$")):
        for _ in range(8):
            page.keyboard.press("+")
    expect(image).to_have_attribute("src", re.compile(r"/full$"))
    # In the browser's own measure: it goes on dividing by the density of the one before.
    expect(image).not_to_have_js_property("naturalHeight", high)
    large, higher, after = page.evaluate(drawn)
    assert abs(higher / high - 3900 / 2560) < 0.01
    assert abs(shape - 2 / 3) < 0.01
    assert abs(large - 2 / 3) < 0.001
    assert sum(abs(a - b) for a, b in zip(before, after, strict=True)) / len(before) < 10
