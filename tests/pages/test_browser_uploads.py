"""Large uploads in a real browser, with interruptions of every kind."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import Page, Route, expect
from pytest_django import Settings

from dashboard.pages.galleries import uploads
from persons.actions.photos import Added, add_photo
from persons.billing.tariff import parse
from persons.models import Gallery, Membership, Photo, PhotoState, Role, Team, User
from tests.support.browsing import enter, turn_until
from tests.support.factories import GalleryFactory, jpeg

SignIn = Callable[[User], Client]

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def gallery(team: Team) -> Gallery:
    return GalleryFactory.create(team=team, name="Harbour", slug="harbour")


@pytest.fixture
def folder(tmp_path: Path) -> Callable[[int], list[Path]]:
    """`folder(60)` is that many photos on a disk, no two the same."""

    def folder(count: int) -> list[Path]:
        paths = [tmp_path / f"photo-{number:03}.jpg" for number in range(count)]
        for path in paths:
            path.write_bytes(jpeg(comment=path.name))
        return paths

    return folder


class Taken:
    """What the server has taken in full, by name, and how many it had in hand at once."""

    def __init__(self) -> None:
        self.names: Counter[str] = Counter()
        self.most_at_once = 0
        self.seconds = 0.0
        self.broken: set[str] = set()
        self.unanswered = 0
        self._at_once = 0
        self._lock = threading.Lock()

    def __call__(self, **given: Any) -> Added:
        with self._lock:
            self.names[given["file_name"]] += 1
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            time.sleep(self.seconds)
            if given["file_name"] in self.broken:
                raise OSError("no room")
            added = add_photo(**given)
            if sum(self.names.values()) <= self.unanswered:
                raise OSError("the answer is lost")
            return added
        finally:
            with self._lock:
                self._at_once -= 1

    @property
    def is_idle(self) -> bool:
        return self._at_once == 0

    @property
    def twice(self) -> dict[str, int]:
        return {name: count for name, count in self.names.items() if count > 1}


@pytest.fixture
def taken(page: Page, monkeypatch: pytest.MonkeyPatch) -> Iterator[Taken]:
    taken = Taken()
    monkeypatch.setattr(uploads, "add_photo", taken)
    yield taken
    # What is under way must not meet the next test's database.
    for one in page.context.pages:
        one.close()
    while not taken.is_idle:
        time.sleep(0.02)


@pytest.fixture
def at_gallery(page: Page, live: str, gallery: Gallery, bob: User, sign_in: SignIn) -> Page:
    enter(page, live, sign_in(bob))
    page.goto(address(live))
    return page


def address(live: str) -> str:
    return live + reverse("gallery", args=["trip", "harbour"])


def choose(page: Page, paths: list[Path]) -> None:
    page.set_input_files("#files", paths)


def part(page: Page, role: str) -> Any:
    return page.locator(f"#uploads > * [data-role={role}], #uploads > [data-role={role}]").first


def wait_for(page: Page, taken: Taken, count: int) -> None:
    turn_until(page, lambda: len(taken.names) >= count)


def told(page: Page) -> str:
    over = re.compile("^Upload (finished|not complete)")
    expect(part(page, "title")).to_have_text(over)
    return str(part(page, "words").inner_text())


@pytest.fixture
def costly(settings: Settings) -> None:
    """The cloud recognises, for four images at a price and more at another."""
    settings.VISION_URL = "https://vision.invalid"
    settings.TARIFF = parse("4:0.06, 0.05")


@pytest.mark.usefixtures("costly")
def test_what_recognising_them_costs_is_said_while_they_go_up(
    page: Page,
    live: str,
    gallery: Gallery,
    bob: User,
    sign_in: SignIn,
    taken: Taken,
    folder: Callable[[int], list[Path]],
) -> None:
    enter(page, live, sign_in(bob))
    page.goto(address(live))
    taken.seconds = 0.3
    choose(page, folder(9))
    # Four at the first price, five at the second.
    expect(part(page, "cost")).to_have_text("To recognise: 9 images, about 0.49\xa0₽ at most.")
    assert told(page) == "9 new"
    expect(part(page, "cost")).to_be_hidden()


def test_the_same_files_again_on_the_same_page_are_asked_about_and_not_sent(
    at_gallery: Page, taken: Taken, folder: Callable[[int], list[Path]]
) -> None:
    paths = folder(3)
    choose(at_gallery, paths)
    told(at_gallery)
    # One has left the gallery meanwhile, which this page does not know.
    Photo.objects.get(file_name=paths[0].name).delete()
    with at_gallery.expect_response(lambda answer: answer.url.endswith("/upload")):
        choose(at_gallery, paths)
    told(at_gallery)
    assert taken.names == {paths[0].name: 2, paths[1].name: 1, paths[2].name: 1}


def test_sixty_photos_in_one_drop(
    at_gallery: Page, folder: Callable[[int], list[Path]], taken: Taken
) -> None:
    page, paths = at_gallery, folder(60)
    paths[7].write_bytes(b"text")
    paths[8].write_bytes(paths[9].read_bytes())
    choose(page, paths)
    expect(part(page, "title")).to_have_text(re.compile(r"^Uploading \d+ of 60$"))
    assert page.locator("#uploads .upload-row").count() <= 5
    assert told(page) == "58 new, 1 was here already, 1 refused"
    assert 2 <= taken.most_at_once <= 3
    assert Photo.objects.count() == 58
    expect(page.locator("#tiles .tile")).to_have_count(58)
    refused = page.locator("#uploads .refused")
    expect(refused.locator("summary")).to_have_text("1 refused")
    expect(refused.locator(".upload-row")).to_contain_text("photo-007.jpg")
    expect(refused.locator(".upload-reason")).to_contain_text("This is not a picture")
    # The double leads to the photo that it is.
    double = page.locator("#uploads .present")
    double.locator("summary").click()
    href = double.get_by_role("link", name="Show").get_attribute("href")
    same = Photo.objects.get(file_name__in=["photo-008.jpg", "photo-009.jpg"])
    assert href == reverse("photo", args=["trip", same.pk])
    bar = page.locator("#uploads > progress")
    assert bar.get_attribute("aria-valuetext") == "60 of 60 photos"
    # All of it is there now: nothing is left to be said on the next visit.
    page.reload()
    page.wait_for_timeout(1300)
    expect(page.locator("#upload-rest")).to_be_hidden()


def test_a_connection_that_drops_costs_no_place_and_nothing_is_sent_twice(
    at_gallery: Page, folder: Callable[[int], list[Path]], taken: Taken
) -> None:
    page, paths = at_gallery, folder(24)
    taken.seconds = 0.1
    choose(page, paths)
    wait_for(page, taken, 6)
    page.context.set_offline(True)
    expect(part(page, "title")).to_have_text(re.compile(r"^Connection lost at \d+ of 24$"))
    page.wait_for_timeout(1200)
    during = len(taken.names)
    page.wait_for_timeout(600)
    assert len(taken.names) == during < 24
    page.context.set_offline(False)
    assert told(page) == "24 new"
    assert not taken.twice
    assert Photo.objects.count() == 24


def test_a_file_whose_answer_was_lost_is_not_sent_again(
    at_gallery: Page, folder: Callable[[int], list[Path]], taken: Taken
) -> None:
    page = at_gallery
    taken.unanswered = 2
    choose(page, folder(6))
    assert told(page) == "6 new"
    assert not taken.twice


def test_a_tab_that_was_closed_leaves_only_the_rest_to_send(
    at_gallery: Page,
    live: str,
    folder: Callable[[int], list[Path]],
    taken: Taken,
    gallery: Gallery,
) -> None:
    page, paths = at_gallery, folder(30)
    taken.seconds = 0.3
    choose(page, paths)
    wait_for(page, taken, 6)
    other = page.context.new_page()
    other.goto(address(live))
    other.wait_for_timeout(1300)
    # While the first tab is at it, nothing has stopped.
    expect(other.locator("#upload-rest")).to_be_hidden()
    page.close()
    other.wait_for_timeout(500)
    while not taken.is_idle:
        other.wait_for_timeout(50)
    arrived = Photo.objects.count()
    taken.seconds = 0
    other.reload()
    note = other.locator("#upload-rest")
    expect(note).to_contain_text(re.compile(r"The upload of 30 photos stopped at \d+\."))
    # Other photos meanwhile are another matter.
    choose(other, [_one_more(paths[0].parent)])
    assert told(other) == "1 new"
    expect(note).to_be_visible()
    choose(other, paths)
    expect(note).to_be_hidden()
    assert told(other) == f"{31 - arrived} new, {arrived} were here already"
    assert not taken.twice
    assert Photo.objects.count() == 31
    other.reload()
    other.wait_for_timeout(1300)
    expect(note).to_be_hidden()


def _one_more(folder: Path) -> Path:
    path = folder / "another.jpg"
    path.write_bytes(jpeg(comment="another"))
    return path


def test_pause_cancel_and_sending_the_rest_after_all(
    at_gallery: Page, folder: Callable[[int], list[Path]], taken: Taken
) -> None:
    page = at_gallery
    taken.seconds = 0.1
    choose(page, folder(20))
    wait_for(page, taken, 4)
    # By the keyboard alone.
    part(page, "pause").press("Enter")
    expect(part(page, "title")).to_have_text(re.compile(r"^Paused at \d+ of 20$"))
    page.wait_for_timeout(400)
    during = len(taken.names)
    page.wait_for_timeout(400)
    assert len(taken.names) == during < 20
    expect(part(page, "pause")).to_have_text("Go on")
    part(page, "pause").press("Enter")
    wait_for(page, taken, during + 3)
    part(page, "cancel").click()
    expect(part(page, "title")).to_have_text("Upload cancelled")
    expect(part(page, "words")).to_have_text(re.compile(r"^\d+ new, \d+ not sent$"))
    unsent = page.locator("#uploads .unsent")
    unsent.locator("summary").click()
    unsent.get_by_role("button", name="Try again").click()
    assert told(page) == "20 new"
    assert not taken.twice


def test_whoever_is_signed_out_signs_in_and_it_goes_on(
    at_gallery: Page,
    live: str,
    folder: Callable[[int], list[Path]],
    taken: Taken,
    bob: User,
    sign_in: SignIn,
) -> None:
    page = at_gallery
    taken.seconds = 0.1
    choose(page, folder(20))
    wait_for(page, taken, 4)
    Session.objects.all().delete()
    expect(part(page, "title")).to_have_text(re.compile(r"^Upload stopped at \d+ of 20$"))
    expect(part(page, "why")).to_contain_text("You are signed out")
    expect(part(page, "sign-in")).to_have_attribute("target", "_blank")
    # Too early: it says so still.
    part(page, "go-on").click()
    expect(part(page, "why")).to_be_visible()
    # As signing in does, with another secret against forgery too.
    page.context.clear_cookies()
    session = sign_in(bob).cookies["sessionid"].value
    page.context.add_cookies([{"name": "sessionid", "value": session, "url": live}])
    # Where the tab in which somebody signs in arrives.
    page.context.new_page().goto(address(live))
    assert told(page) == "20 new"
    assert not taken.twice


def test_who_signs_in_before_the_page_knows_that_they_are_signed_out_is_noticed(
    at_gallery: Page,
    live: str,
    folder: Callable[[int], list[Path]],
    taken: Taken,
    bob: User,
    sign_in: SignIn,
) -> None:
    page = at_gallery
    taken.seconds = 0.1
    choose(page, folder(6))
    wait_for(page, taken, 1)
    Session.objects.all().delete()
    expect(part(page, "why")).to_contain_text("You are signed out")
    held: list[Route] = []

    def hold_the_first(route: Route) -> None:
        if held:
            route.continue_()
        else:
            held.append(route)

    page.route(address(live), hold_the_first)
    # A poll of the tiles may have found it out, and asked for the page, just before.
    part(page, "go-on").click()
    turn_until(page, lambda: bool(held))
    signed_out = held[0].fetch(max_redirects=0)
    assert signed_out.status == 302
    page.context.clear_cookies()
    session = sign_in(bob).cookies["sessionid"].value
    page.context.add_cookies([{"name": "sessionid", "value": session, "url": live}])
    # Heard after the page itself has heard it: its channel is the older one.
    page.evaluate(
        """() => {
          const { sender, gallery } = document.querySelector("#upload").dataset;
          const channel = new BroadcastChannel(`rollcall.upload.${sender}.${gallery}`);
          window.asked = new Promise((done) => { channel.addEventListener("message", done); });
        }"""
    )
    page.context.new_page().goto(address(live))
    page.evaluate("() => window.asked.then(() => {})")
    held[0].fulfill(response=signed_out)
    assert told(page) == "6 new"


def test_a_right_that_is_gone_stops_it(
    at_gallery: Page, folder: Callable[[int], list[Path]], taken: Taken, bob: User
) -> None:
    page = at_gallery
    taken.seconds = 0.1
    choose(page, folder(20))
    wait_for(page, taken, 4)
    Membership.objects.filter(user=bob).update(role=Role.VIEWER)
    expect(part(page, "why")).to_contain_text("You can't add photos to this gallery any more.")
    expect(part(page, "title")).to_have_text(re.compile(r"^Upload stopped at \d+ of 20$"))


def test_what_was_thrown_away_is_not_sent_unasked(
    at_gallery: Page, live: str, folder: Callable[[int], list[Path]], taken: Taken
) -> None:
    page, paths = at_gallery, folder(4)
    choose(page, paths)
    assert told(page) == "4 new"
    # Finished, so that nobody polls for them while they are thrown away.
    Photo.objects.update(state=PhotoState.DONE)
    Photo.objects.filter(file_name=paths[1].name).update(trashed_at=timezone.now())
    page.reload()
    choose(page, paths)
    assert told(page) == "3 were here already, 1 in the trash"
    assert not taken.twice
    trashed = page.locator("#uploads .trashed")
    trashed.locator("summary").click()
    trashed.get_by_role("button", name="Bring them back").click()
    expect(part(page, "words")).to_have_text("3 were here already, 1 back from the trash")
    assert Photo.objects.count() == 4


def test_a_file_that_breaks_the_server_holds_up_no_other_and_can_be_sent_again(
    at_gallery: Page,
    folder: Callable[[int], list[Path]],
    taken: Taken,
) -> None:
    page, paths = at_gallery, folder(5)
    taken.broken = {paths[2].name}
    choose(page, paths)
    assert told(page) == "4 new, 1 not sent"
    assert part(page, "title").inner_text() == "Upload not complete"
    unsent = page.locator("#uploads .unsent")
    unsent.locator("summary").click()
    expect(unsent.locator(".upload-row")).to_contain_text("could not take it (500)")
    taken.broken = set()
    unsent.get_by_role("button", name="Try again").click()
    assert told(page) == "5 new"


def test_a_file_that_is_gone_from_the_disk_is_refused_with_a_word(
    at_gallery: Page, folder: Callable[[int], list[Path]], taken: Taken
) -> None:
    page, paths = at_gallery, folder(12)
    taken.seconds = 0.1
    choose(page, paths)
    wait_for(page, taken, 2)
    paths[11].unlink()
    assert told(page) == "11 new, 1 refused"
    expect(page.locator("#uploads .refused")).to_contain_text("can't be read any more")


def test_two_files_that_look_the_same_from_outside_are_both_sent(
    at_gallery: Page, taken: Taken
) -> None:
    page = at_gallery
    for _ in range(2):
        page.evaluate(
            """async (contents) => {
                const { upload } = await import("/static/js/galleries/upload.js");
                const files = contents.map(([content, path]) => ({
                  path,
                  file: new File([new Uint8Array(content)], "one.jpg", { lastModified: 1 }),
                }));
                upload.add(files, 0);
            }""",
            [
                [list(jpeg(comment="a")), "one.jpg"],
                [list(jpeg(comment="b")), "one.jpg"],
                [list(jpeg(comment="c")), "other/one.jpg"],
            ],
        )
        told(page)
        assert Photo.objects.count() == 3
        part(page, "close").click()
    assert taken.names == {"one.jpg": 5}
