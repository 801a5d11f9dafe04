"""The grid in a real browser: scrolling, dropping sheets, coming back, selecting."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from PIL import Image
from playwright.sync_api import Page, expect

from persons import images
from persons.models import Gallery, Photo, PhotoState, Team, User
from tests.support.browsing import enter
from tests.support.factories import GalleryFactory
from tests.support.processes import PATIENCE

SignIn = Callable[[User], Client]
PHOTOS = Path(__file__).resolve().parents[2] / "demo" / "photos"
SHAPES = [(4000, 3000), (3000, 4000), (4000, 2250), (3000, 3000), (6000, 2000)]
NOON = datetime(2024, 5, 12, 12, tzinfo=UTC)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def gallery(team: Team) -> Gallery:
    return GalleryFactory.create(team=team, name="Harbour", slug="harbour")


@pytest.fixture
def fill(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[Photo]]:
    """`fill(2000)` puts so many photos into the gallery, newest first, all with one picture."""
    with Image.open(PHOTOS / "obama_1.jpg") as picture:
        for name, data in images.renditions(picture.convert("RGB")).items():
            default_storage.save(f"renditions/shared/{name}.webp", ContentFile(data))
    monkeypatch.setattr(Photo, "key", lambda _, what: f"renditions/shared/{what}.webp")

    def fill(count: int) -> list[Photo]:
        rows = [
            Photo(
                gallery=gallery,
                sha256=f"{number:064}",
                original=f"originals/{number}",
                file_name=f"photo-{number}.jpg",
                size=1000,
                format="JPEG",
                width=SHAPES[number % 5][0],
                height=SHAPES[number % 5][1],
                taken_at=NOON - timedelta(hours=number),
                shown_at=NOON - timedelta(hours=number),
                state=PhotoState.DONE,
                prepared_at=timezone.now(),
            )
            for number in range(count)
        ]
        return Photo.objects.bulk_create(rows)

    return fill


def address(live: str) -> str:
    return live + reverse("gallery", args=["trip", "harbour"])


def scroll_until(
    page: Page, condition: str, *, step: int = 2500, seconds: float = PATIENCE
) -> None:
    """Like somebody who scrolls down, waiting for nothing in particular."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if page.evaluate(condition):
            return
        page.mouse.wheel(0, step)
        page.wait_for_timeout(60)
    raise AssertionError(f"scrolled for {seconds} s, and still not {condition}")


TILES = "document.querySelectorAll('#tiles .tile').length"
SHOWN = """() => [...document.querySelectorAll('#tiles .tile')]
    .filter((tile) => tile.getBoundingClientRect().bottom > 80)[0]?.id"""


def first_seen(page: Page) -> str:
    return str(page.evaluate(SHOWN))


def test_a_long_gallery_is_scrolled_with_few_tiles_in_memory_and_back_up_again(
    page: Page, live: str, fill: Callable[[int], list[Photo]], vera: User, sign_in: SignIn
) -> None:
    photos = fill(900)
    enter(page, live, sign_in(vera))
    page.goto(address(live))
    expect(page.locator(".tile").first).to_be_visible()
    page.mouse.move(700, 600)
    most = 0
    for _ in range(600):
        page.mouse.wheel(0, 4000)
        page.wait_for_timeout(40)
        most = max(most, page.evaluate(TILES))
        if page.locator(f"#photo-{photos[-1].pk}").count():
            break
    expect(page.locator(f"#photo-{photos[-1].pk}")).to_be_attached()
    assert most < 600
    assert page.locator(".sheet.dropped").count() > 5
    # Nothing moves while what is above comes back, and all of it comes back.
    for _ in range(600):
        page.mouse.wheel(0, -4000)
        page.wait_for_timeout(30)
        if page.evaluate("scrollY") == 0 and page.locator(f"#photo-{photos[0].pk}").count():
            break
    expect(page.locator(f"#photo-{photos[0].pk}")).to_be_visible()
    assert page.evaluate(TILES) < 600
    page.wait_for_timeout(400)
    ids = page.evaluate("[...document.querySelectorAll('#tiles .tile')].map((tile) => tile.id)")
    wanted = [f"photo-{photo.pk}" for photo in photos]
    assert ids[:60] == wanted[:60]


def test_a_sheet_comes_back_at_the_height_it_had(
    page: Page, live: str, fill: Callable[[int], list[Photo]], vera: User, sign_in: SignIn
) -> None:
    fill(600)
    enter(page, live, sign_in(vera))
    page.goto(address(live))
    high = "document.querySelector('.sheet').getBoundingClientRect().height"
    expect(page.locator(".tile").first).to_be_visible()
    before = page.evaluate(high)
    page.mouse.move(700, 600)
    scroll_until(page, "document.querySelector('.sheet').classList.contains('dropped')")
    assert page.evaluate(high) == pytest.approx(before, abs=1)
    page.evaluate("scrollTo(0, 0)")
    expect(page.locator(".sheet").first.locator(".tile").first).to_be_visible()
    assert page.evaluate(high) == pytest.approx(before, abs=1)


def test_rows_end_where_the_grid_does(
    page: Page, live: str, fill: Callable[[int], list[Photo]], vera: User, sign_in: SignIn
) -> None:
    fill(60)
    enter(page, live, sign_in(vera))
    for width, height in [(1440, 900), (390, 844), (820, 1180)]:
        page.set_viewport_size({"width": width, "height": height})
        page.goto(address(live))
        expect(page.locator(".tile").first).to_be_visible()
        rows = page.evaluate(
            """() => [...document.querySelectorAll('#tiles .tiles')].flatMap((list) => {
                const rows = new Map();
                for (const tile of list.children) {
                    const box = tile.getBoundingClientRect();
                    const row = rows.get(Math.round(box.top)) || { right: 0, heights: [] };
                    row.right = Math.max(row.right, box.right);
                    row.heights.push(box.height);
                    rows.set(Math.round(box.top), row);
                }
                // The last row of a day may be shorter.
                return [...rows.values()].slice(0, -1);
            })"""
        )
        right = page.evaluate("document.getElementById('tiles').getBoundingClientRect().right")
        assert len(rows) > 4
        for row in rows:
            assert row["right"] == pytest.approx(right, abs=2)
            assert max(row["heights"]) == pytest.approx(min(row["heights"]), abs=1)
        overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert page.evaluate(overflow) == 0


def test_the_place_survives_a_reload_and_going_to_a_photo_and_back(
    page: Page, live: str, fill: Callable[[int], list[Photo]], vera: User, sign_in: SignIn
) -> None:
    fill(900)
    enter(page, live, sign_in(vera))
    page.goto(address(live))
    expect(page.locator(".tile").first).to_be_visible()
    page.mouse.move(700, 600)
    scroll_until(page, "scrollY > 9000")
    page.wait_for_timeout(700)
    assert "at=" in page.url
    seen = first_seen(page)
    page.reload()
    expect(page.locator(f"#{seen}")).to_be_in_viewport()
    page.wait_for_timeout(700)
    assert first_seen(page) == seen
    # Over the grid: nothing of it is lost.
    page.locator(f"#{seen} a").click()
    expect(page.locator("#photo")).to_be_visible()
    assert "/photos/" in page.url
    page.keyboard.press("Escape")
    expect(page.locator("#photo")).to_have_count(0)
    expect(page.locator(f"#{seen}")).to_be_in_viewport()
    assert "at=" in page.url
    # As a page of its own, and by the browser's own way back.
    page.goto(live + reverse("galleries", args=["trip"]))
    page.go_back()
    expect(page.locator(f"#{seen}")).to_be_in_viewport()


def test_a_month_is_jumped_to_and_back(
    page: Page, live: str, fill: Callable[[int], list[Photo]], vera: User, sign_in: SignIn
) -> None:
    photos = fill(1500)
    enter(page, live, sign_in(vera))
    page.goto(address(live))
    page.get_by_text("Dates", exact=True).click()
    page.locator("[data-month='2024-03']").click()
    march = next(photo for photo in photos if photo.shown_at.month == 3)
    expect(page.locator(f"#photo-{march.pk}")).to_be_in_viewport()
    # What stands above is loaded, too.
    page.mouse.move(700, 600)
    page.mouse.wheel(0, -1500)
    april = photos[photos.index(march) - 1]
    expect(page.locator(f"#photo-{april.pk}")).to_be_attached()
    page.go_back()
    expect(page.locator(f"#photo-{photos[0].pk}")).to_be_in_viewport()


def test_filters_work_as_links_and_the_form_by_keyboard(
    page: Page,
    live: str,
    gallery: Gallery,
    fill: Callable[[int], list[Photo]],
    vera: User,
    sign_in: SignIn,
) -> None:
    from tests.support.factories import FaceFactory, PersonFactory

    photos = fill(30)
    anna = PersonFactory.create(space=gallery.space, label="Anna")
    bea = PersonFactory.create(space=gallery.space, label="Bea")
    FaceFactory.create(photo=photos[3], person=anna)
    FaceFactory.create(photo=photos[5], person=anna)
    FaceFactory.create(photo=photos[5], person=bea, left=40, right=60)
    enter(page, live, sign_in(vera))
    page.goto(address(live))
    page.get_by_text("Filter", exact=True).click()
    page.get_by_label("With", exact=True).fill("ann")
    expect(page.locator("#names-with [role=option]")).to_have_count(1)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator(".chip", has_text="With Anna")).to_be_visible()
    expect(page.locator(".tile")).to_have_count(2)
    page.get_by_text("Filter", exact=True).click()
    page.get_by_label("And together with").fill("Bea")
    page.keyboard.press("Enter")
    expect(page.locator(".tile")).to_have_count(1)
    page.locator(".chip", has_text="With Anna").click()
    expect(page.locator(".chip", has_text="With Bea")).to_be_visible()
    page.get_by_role("link", name=re.compile("No faces")).click()
    expect(page.get_by_text("No photo fits all of these filters")).to_be_visible()
    page.get_by_role("link", name="Show all photos").click()
    expect(page.locator(".tile")).to_have_count(30)


# --- Selecting ---


@pytest.fixture
def sent(page: Page) -> Callable[[], dict[str, Any]]:
    """What the last form of the selection sent; it goes nowhere."""
    seen: dict[str, Any] = {}

    def catch(route: Any) -> None:
        seen["url"] = route.request.url
        seen["photos"] = re.findall(r'name="photo"\s+(\d+)', route.request.post_data or "") or (
            re.findall(r"photo=(\d+)", route.request.post_data or "")
        )
        route.fulfill(status=204)

    page.route(re.compile(r"/photos/(trash|move|recognise|zip)$"), catch)
    return lambda: seen


def count_is(page: Page, number: str) -> None:
    expect(page.locator("#selection [data-role=count]")).to_have_text(number)


def test_photos_are_selected_by_mark_by_shift_and_by_keyboard(
    page: Page,
    live: str,
    fill: Callable[[int], list[Photo]],
    bob: User,
    sign_in: SignIn,
    sent: Callable[[], dict[str, Any]],
) -> None:
    photos = fill(50)
    enter(page, live, sign_in(bob))
    page.goto(address(live))

    def tile(number: int) -> Any:
        return page.locator(f"#photo-{photos[number].pk}")

    def mark(number: int) -> Any:
        return tile(number).locator(".tile-check")

    tile(2).hover()
    mark(2).click()
    expect(page.locator("#selection")).to_be_visible()
    count_is(page, "1")
    mark(6).click(modifiers=["Shift"])
    count_is(page, "5")
    expect(mark(4)).to_be_checked()
    # A shorter range takes back what the longer one had taken.
    mark(4).click(modifiers=["Shift"])
    count_is(page, "3")
    # While something is selected, a click selects.
    tile(9).locator("a").click()
    count_is(page, "4")
    page.keyboard.press("Escape")
    expect(page.locator("#selection")).to_be_hidden()

    tile(0).locator("a").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("x")
    count_is(page, "1")
    expect(mark(1)).to_be_checked()
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    count_is(page, "3")
    page.keyboard.press("Shift+ArrowLeft")
    count_is(page, "2")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    count_is(page, "3")
    page.keyboard.press("Delete")
    page.wait_for_timeout(300)
    assert sent()["url"].endswith("/photos/trash")
    assert len(sent()["photos"]) == 3
    assert {str(photos[1].pk), str(photos[2].pk)} < set(sent()["photos"])


def test_a_range_reaches_over_what_the_page_has_dropped(
    page: Page,
    live: str,
    fill: Callable[[int], list[Photo]],
    bob: User,
    sign_in: SignIn,
    sent: Callable[[], dict[str, Any]],
) -> None:
    photos = fill(600)
    enter(page, live, sign_in(bob))
    page.goto(address(live))
    page.locator(f"#photo-{photos[1].pk} .tile-check").check(force=True)
    page.mouse.move(700, 600)
    last = photos[500]
    scroll_until(page, f"Boolean(document.getElementById('photo-{last.pk}'))")
    assert page.locator(".sheet").first.evaluate("one => one.classList.contains('dropped')")
    page.locator(f"#photo-{last.pk} .tile-check").click(modifiers=["Shift"], force=True)
    count_is(page, "500")
    page.locator("#selection [formaction$=zip]").click()
    page.wait_for_timeout(300)
    assert sent()["photos"] == [str(photo.pk) for photo in photos[1:501]]
    # What was dropped is still selected when it comes back.
    page.evaluate("scrollTo(0, 0)")
    expect(page.locator(f"#photo-{photos[5].pk} .tile-check")).to_be_checked()
    expect(page.locator(f"#photo-{photos[0].pk} .tile-check")).not_to_be_checked()


def test_a_day_is_selected_by_its_heading_whole(
    page: Page,
    live: str,
    fill: Callable[[int], list[Photo]],
    bob: User,
    sign_in: SignIn,
    sent: Callable[[], dict[str, Any]],
) -> None:
    photos = fill(100)
    enter(page, live, sign_in(bob))
    page.goto(address(live))
    heads = page.locator(".day")
    day = timezone.localtime(photos[20].shown_at).date()
    own = [photo for photo in photos if timezone.localtime(photo.shown_at).date() == day]
    first = timezone.localtime(photos[0].shown_at).date()
    assert day != first
    heads.nth(1).hover()
    heads.nth(1).locator(".day-check").check()
    count_is(page, str(len(own)))
    expect(page.locator(f"#photo-{own[0].pk} .tile-check")).to_be_checked()
    # One of them taken out again: some of the day, and by a key the whole day and none.
    page.locator(f"#photo-{own[0].pk} .tile-check").click()
    count_is(page, str(len(own) - 1))
    box = heads.nth(1).locator(".day-check")
    assert box.evaluate("one => one.indeterminate")
    page.locator(f"#photo-{own[0].pk} a").focus()
    page.keyboard.press("Shift+Tab")
    expect(box).to_be_focused()
    page.keyboard.press("Space")
    count_is(page, str(len(own)))
    page.keyboard.press("Space")
    expect(page.locator("#selection")).to_be_hidden()


def test_a_day_that_goes_on_beyond_what_is_loaded_is_selected_whole(
    page: Page,
    live: str,
    fill: Callable[[int], list[Photo]],
    gallery: Gallery,
    bob: User,
    sign_in: SignIn,
) -> None:
    fill(300)
    Photo.objects.update(shown_at=NOON, taken_at=NOON)
    enter(page, live, sign_in(bob))
    page.goto(address(live))
    expect(page.locator(".tile").first).to_be_visible()
    page.locator(".day-check").first.check(force=True)
    count_is(page, "300")


def test_all_that_match_are_selected_and_no_more_than_go_at_once(
    page: Page,
    live: str,
    fill: Callable[[int], list[Photo]],
    bob: User,
    sign_in: SignIn,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fill(200)
    enter(page, live, sign_in(bob))
    page.goto(address(live))
    expect(page.locator(".tile").first).to_be_visible()
    page.keyboard.press("Control+a")
    count_is(page, "200")
    page.keyboard.press("Escape")
    monkeypatch.setattr("dashboard.pages.galleries.sheets.MOST_SELECTED", 150)
    monkeypatch.setattr("dashboard.pages.galleries.grid.MOST_SELECTED", 150)
    page.reload()
    page.keyboard.press("Control+a")
    count_is(page, "150")
    expect(page.get_by_text("The first 150 photos are selected")).to_be_visible()


def test_recognising_the_selection_again_says_what_it_costs_first(
    page: Page,
    live: str,
    fill: Callable[[int], list[Photo]],
    bob: User,
    sign_in: SignIn,
    sent: Callable[[], dict[str, Any]],
) -> None:
    fill(20)
    enter(page, live, sign_in(bob))
    page.goto(address(live))
    expect(page.locator(".tile").first).to_be_visible()
    page.keyboard.press("Control+a")
    count_is(page, "20")
    page.locator("#selection [data-ask=recognise]").click()
    expect(page.get_by_role("heading", name="Recognise 20 photos again?")).to_be_visible()
    expect(page.get_by_text("That is 20 images, recognised here, free of charge.")).to_be_visible()
    page.locator("#ask-recognise .primary").click()
    page.wait_for_timeout(300)
    assert len(sent()["photos"]) == 20


def test_a_long_press_selects_on_a_touch_screen(
    browser: Any, live: str, fill: Callable[[int], list[Photo]], bob: User, sign_in: SignIn
) -> None:
    photos = fill(12)
    context = browser.new_context(
        viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True
    )
    page = context.new_page()
    enter(page, live, sign_in(bob))
    page.goto(address(live))
    tile = page.locator(f"#photo-{photos[0].pk} a")
    expect(tile).to_be_visible()
    box = tile.bounding_box()
    assert box
    at = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
    session = context.new_cdp_session(page)
    session.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [at]})
    page.wait_for_timeout(700)
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    count_is(page, "1")
    page.locator(f"#photo-{photos[3].pk} a").tap()
    count_is(page, "2")
    page.get_by_label("Clear the selection").tap()
    expect(page.locator("#selection")).to_be_hidden()
    context.close()


# --- As photos come in ---


def test_a_photo_that_arrives_takes_its_place(
    page: Page, live: str, fill: Callable[[int], list[Photo]], bob: User, sign_in: SignIn
) -> None:
    fill(20)
    enter(page, live, sign_in(bob))
    for sort in ("taken", "uploaded"):
        page.goto(f"{address(live)}?sort={sort}")
        before = page.locator(".tile").count()
        name = "collins_1.jpg" if sort == "taken" else "macron_2.jpg"
        page.locator("#files").set_input_files([PHOTOS / name])
        expect(page.locator(".tile")).to_have_count(before + 1)
        new = Photo.objects.get(file_name=name)
        expect(page.locator(f"#photo-{new.pk}")).to_be_attached()
        order = page.evaluate(
            "[...document.querySelectorAll('#tiles .tile')].map((tile) => tile.id.slice(6))"
        )
        by = "-shown_at" if sort == "taken" else "-pk"
        wanted = Photo.objects.order_by(by, "-pk").values_list("pk", flat=True)
        assert order == [str(pk) for pk in wanted]


# --- What is done with photos leaves the page where it is ---


def nothing_is_lost_where_the_server_cant_be_reached(page: Page) -> None:
    page.route("**/photos/trash", lambda route: route.abort())
    page.keyboard.press("Delete")
    expect(page.locator(".toast.error")).to_contain_text("can't be reached")
    count_is(page, "1")
    page.unroute("**/photos/trash")


def move_to_the_sea(page: Page) -> None:
    """What is selected stays so until it has really moved."""
    move = page.locator("#selection").get_by_role("button", name="Move to")
    move.click()
    page.locator("#ask-move").get_by_role("button", name="Cancel").click()
    count_is(page, "1")
    move.click()
    page.get_by_role("radio", name="Sea").check()
    page.locator("#ask-move").get_by_role("button", name="Move", exact=True).click()


def test_deleting_undoing_and_moving_keep_the_place_the_focus_and_the_history(
    page: Page,
    live: str,
    fill: Callable[[int], list[Photo]],
    bob: User,
    sign_in: SignIn,
    team: Team,
) -> None:
    photos = fill(90)
    space = Gallery.objects.get().space
    GalleryFactory.create(team=team, space=space, name="Sea", slug="sea")
    Photo.objects.update(taken_at=NOON, shown_at=NOON)
    photos.reverse()
    enter(page, live, sign_in(bob))
    page.goto(address(live))

    def tile(number: int) -> Any:
        return page.locator(f"#photo-{photos[number].pk}")

    def top(number: int) -> float:
        return float(tile(number).evaluate("(one) => one.getBoundingClientRect().top"))

    expect(page.locator("#filters .n").first).to_have_text("90")
    page.mouse.move(700, 600)
    page.mouse.wheel(0, 700)
    expect(page).to_have_url(re.compile(r"[?&]at="))
    number = next(one for one in range(90) if 350 < top(one) < 700)
    entries = page.evaluate("history.length")

    tile(number).locator("a").focus()
    page.keyboard.press("x")
    nothing_is_lost_where_the_server_cant_be_reached(page)

    seen = next(one for one in range(90) if top(one) > 60)
    before = top(seen)
    assert seen < number
    tile(number).locator("a").focus()
    page.keyboard.press("Delete")
    expect(tile(number)).to_have_count(0)
    expect(page.locator("#selection")).to_be_hidden()
    expect(page.locator("#filters .n").first).to_have_text("89")
    expect(tile(number + 1).locator("a")).to_be_focused()
    assert top(seen) == pytest.approx(before, abs=2)
    page.locator(".toast", has_text="in the trash now").get_by_role("button", name="Undo").click()
    expect(tile(number)).to_be_attached()
    expect(page.locator("#filters .n").first).to_have_text("90")
    assert top(seen) == pytest.approx(before, abs=40)

    tile(number).locator("a").focus()
    page.keyboard.press("x")
    move_to_the_sea(page)
    expect(tile(number)).to_have_count(0)
    expect(page.locator(".toast", has_text="1 photo is in Sea now.")).to_be_visible()
    expect(page.locator("#ask-move")).to_be_hidden()
    assert page.evaluate("history.length") == entries
    assert page.evaluate("document.activeElement.closest('.tile') !== null")


def test_the_end_is_the_oldest_photo_and_home_the_newest(
    page: Page, live: str, fill: Callable[[int], list[Photo]], vera: User, sign_in: SignIn
) -> None:
    photos = fill(400)
    enter(page, live, sign_in(vera))
    for sort in ("taken", "uploaded"):
        page.goto(f"{address(live)}?sort={sort}")
        newest, oldest = (photos[0], photos[-1])[:: 1 if sort == "taken" else -1]
        page.locator(f"#photo-{newest.pk} a").focus()
        page.keyboard.press("End")
        expect(page.locator(f"#photo-{oldest.pk} a")).to_be_focused()
        page.keyboard.press("Home")
        expect(page.locator(f"#photo-{newest.pk} a")).to_be_focused()


def test_photos_of_many_days_stand_under_the_headings_of_a_reload(
    page: Page,
    live: str,
    fill: Callable[[int], list[Photo]],
    bob: User,
    sign_in: SignIn,
    tmp_path: Path,
) -> None:
    files = []
    for number in range(3):
        path = tmp_path / f"day-{number}.jpg"
        exif = Image.Exif()
        exif.get_ifd(0x8769)[0x9003] = f"2022:07:{10 + number} 12:00:00"
        Image.new("RGB", (300, 200), (40 * number, 90, 90)).save(path, exif=exif)
        files.append(path)
    fill(3)
    enter(page, live, sign_in(bob))
    errors: list[str] = []
    page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    page.goto(address(live))
    expect(page.locator("#filters .n").first).to_have_text("3")
    page.locator("#files").set_input_files(files)
    expect(page.locator(".day")).to_have_text(["12 May 2024", "July 2022"])
    expect(page.locator(".tile")).to_have_count(6)
    expect(page.locator("#filters .n").first).to_have_text("6")

    # Tiles that scrolling has dropped since they were asked after are no error.
    gone = "<li id='photo-999999' class='tile' hx-swap-oob='true'></li>"
    page.route("**/tiles?*", lambda route: route.fulfill(body=gone, content_type="text/html"))
    with page.expect_response("**/tiles?*"):
        page.evaluate("htmx.trigger(document.body, 'busy')")
    expect(page.locator("#poller")).to_have_count(0)
    assert errors == []
