"""The review in a real browser, with keys pressed faster than the server answers."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from playwright.sync_api import Page, Route, expect

from persons.actions.faces import name_face
from persons.actions.review import decide_face
from persons.models import Decision, Face, Gallery, Person, Team, User
from tests.support.browsing import enter
from tests.support.factories import FaceFactory, GalleryFactory, PersonFactory, PhotoFactory
from tests.support.fakes import by

SignIn = Callable[[User], Client]
ANSWER_SECONDS = 0.4
SLOW_SECONDS = 1.0
BOUNCE = 160
"""Milliseconds after which a key counts for the card that has just come."""

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def gallery(team: Team) -> Gallery:
    return GalleryFactory.create(team=team, name="Harbour", slug="harbour")


@pytest.fixture
def review(page: Page, live: str, gallery: Gallery, bob: User, sign_in: SignIn) -> Page:
    """The review of five unknown faces, at a server that takes its time."""
    PersonFactory.create(space=gallery.space, label="Anna")
    for _ in range(5):
        FaceFactory.create(photo=PhotoFactory.create(gallery=gallery))
    enter(page, live, sign_in(bob))
    page.goto(live + reverse("review", args=[gallery.team.slug]))

    def late(route: Any) -> None:
        time.sleep(ANSWER_SECONDS)
        route.continue_()

    page.route("**/review/", late)
    return page


def shown(page: Page) -> int:
    return int(page.locator("#review-card [data-card]").get_attribute("data-face") or 0)


def ignored() -> set[int]:
    return set(Face.objects.filter(decision=Decision.IGNORED).values_list("pk", flat=True))


def wait_for(page: Page, is_so: Callable[[], bool]) -> None:
    """Ten seconds at most."""
    for _ in range(100):
        if is_so():
            return
        page.wait_for_timeout(100)
    raise AssertionError("It did not come to that.")


def test_undo_takes_back_what_was_done_last_also_before_it_is_answered(review: Page) -> None:
    one = shown(review)
    review.wait_for_timeout(BOUNCE)
    review.keyboard.press("Delete")
    review.wait_for_timeout(BOUNCE)
    other = shown(review)
    assert other != one
    review.keyboard.press("Delete")
    review.keyboard.press("Backspace")
    expect(review.locator("#review-status")).to_have_text("Taken back: Ignored.")
    expect(review.locator(f"[data-card][data-face='{other}']")).to_be_visible()
    assert ignored() == {one}


def test_undo_goes_back_as_often_as_its_key_is_pressed(review: Page) -> None:
    for _ in range(3):
        review.wait_for_timeout(BOUNCE)
        review.keyboard.press("Delete")
    wait_for(review, lambda: len(ignored()) == 3)
    for _ in range(3):
        review.keyboard.press("Backspace")
    wait_for(review, lambda: not ignored())
    expect(review.locator("#review-count .num")).to_have_text("5")
    expect(review.locator("#review-kinds .n").first).to_have_text("5")
    expect(review.get_by_text("nothing of yours left")).to_have_count(0)


def test_a_face_is_named_by_typing_and_the_next_by_one_key(review: Page) -> None:
    review.wait_for_timeout(BOUNCE)
    first = shown(review)
    review.keyboard.type("Boris")
    review.keyboard.press("Enter")
    expect(review.locator("#review-done")).to_contain_text("This is Boris")
    second = shown(review)
    review.wait_for_timeout(BOUNCE)
    review.keyboard.press("1")
    named = Face.objects.exclude(person=None).values_list("pk", "person__label")
    wait_for(review, lambda: dict(named.all()) == {first: "Boris", second: "Anna"})


def test_a_name_keeps_its_key_though_the_list_has_it_no_more(review: Page) -> None:
    """It may be pressed just when the answer comes that leaves it out."""
    one = shown(review)
    chip = review.locator("#review-card [data-recent] > button")
    expect(chip).to_contain_text("Anna")
    Person.objects.all().delete()
    review.wait_for_timeout(BOUNCE)
    review.keyboard.press("Delete")
    expect(review.locator("#review-done")).to_contain_text("Ignored")
    wait_for(review, lambda: ignored() == {one})
    review.wait_for_timeout(1000)
    expect(chip).to_contain_text("Anna")


def test_a_double_click_or_tap_decides_one_face(review: Page) -> None:
    one = shown(review)
    review.wait_for_timeout(BOUNCE)
    review.locator("#review-card [data-key=ignore]").dblclick()
    expect(review.locator("#review-done")).to_contain_text("Ignored")
    other = shown(review)
    assert other != one
    # A double tap is two clicks, and no browser says that they belong together.
    review.wait_for_timeout(2000)
    chip = review.locator("#review-card [data-recent] > button").first
    expect(chip).to_be_visible()
    box = chip.bounding_box()
    assert box
    for _ in range(2):
        review.mouse.click(box["x"] + 20, box["y"] + 20)
    expect(review.locator("#review-done")).to_contain_text("This is Anna")
    third = shown(review)
    wait_for(review, lambda: Face.objects.exclude(decision=Decision.NONE).count() == 2)
    # A click that belongs to this card counts, and no other had been waiting.
    review.wait_for_timeout(1000)
    review.locator("#review-card [data-key=ignore]").click()
    wait_for(review, lambda: ignored() == {one, third})
    assert Face.objects.get(decision=Decision.NAMED).pk == other


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    real = decide_face

    def late(**values: Any) -> Any:
        time.sleep(SLOW_SECONDS)
        return real(**values)

    monkeypatch.setattr("dashboard.pages.review.decisions.decide_face", late)


def decide_three_and_take_one_back(page: Page) -> list[int]:
    faces = []
    for _ in range(3):
        faces.append(shown(page))
        page.wait_for_timeout(BOUNCE)
        page.keyboard.press("Delete")
    page.keyboard.press("Backspace")
    return faces


def test_what_was_decided_is_not_lost_when_the_page_is_left(
    review: Page, live: str, slow: None
) -> None:
    review.unroute("**/review/")
    faces = decide_three_and_take_one_back(review)
    review.locator(".side-nav a", has_text="People").click()
    review.wait_for_url("**/people/**")
    wait_for(review, lambda: ignored() == set(faces[:2]))


@pytest.fixture
def cut_off(review: Page) -> set[int]:
    """Two faces were ignored while nothing was answered, and the review was left."""
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    review.unroute("**/review/")
    review.route("**/review/", hold)
    review.evaluate("navigator.sendBeacon = () => false")
    faces = decide_three_and_take_one_back(review)
    review.goto("about:blank")
    for route in held:
        route.abort()
    review.unroute("**/review/")
    assert not ignored()
    return set(faces[:2])


def nothing_is_kept(page: Page) -> bool:
    keys: list[str] = page.evaluate("Object.keys(localStorage)")
    return not [key for key in keys if key.startswith("rollcall.review.")]


def test_what_could_not_be_sent_is_sent_by_the_next_review(
    review: Page, live: str, gallery: Gallery, cut_off: set[int]
) -> None:
    review.goto(live + reverse("review", args=[gallery.team.slug]))
    wait_for(review, lambda: ignored() == cut_off)
    expect(review.locator("#review-count .num")).to_have_text("3")
    assert nothing_is_kept(review)


def test_so_it_is_by_any_page_of_the_same_user_in_another_tab(
    review: Page, live: str, gallery: Gallery, cut_off: set[int]
) -> None:
    page = review.context.new_page()
    page.goto(live + reverse("galleries", args=[gallery.team.slug]))
    expect(page.locator("#toasts .toast.success")).to_contain_text("It is saved now")
    assert ignored() == cut_off
    assert nothing_is_kept(page)


def test_nobody_else_sends_what_one_of_them_decided(
    review: Page, live: str, gallery: Gallery, alice: User, sign_in: SignIn, cut_off: set[int]
) -> None:
    page = review.context.new_page()
    enter(page, live, sign_in(alice))
    page.goto(live + reverse("galleries", args=[gallery.team.slug]))
    page.wait_for_load_state("networkidle")
    assert not ignored()
    assert not nothing_is_kept(page)


def test_on_a_phone_undo_is_under_the_thumb_and_nothing_covers_it(review: Page) -> None:
    review.set_viewport_size({"width": 390, "height": 844})
    one = shown(review)
    review.wait_for_timeout(BOUNCE)
    review.keyboard.press("Delete")
    undo = review.locator("#review-done [data-key=undo]")
    expect(undo).to_be_in_viewport(ratio=1)
    uncovered = """(button) => { const box = button.getBoundingClientRect();
      const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
      return button.contains(document.elementFromPoint(x, y)); }"""
    assert undo.evaluate(uncovered)
    expect(review.locator("#review-card .review-act [data-key=ignore]")).to_be_in_viewport(ratio=1)
    assert review.locator("#review-card [data-key=ignore]").evaluate(uncovered)
    undo.click()
    expect(review.locator(f"[data-card][data-face='{one}']")).to_be_visible()
    wait_for(review, lambda: not ignored())
    expect(review.locator("#toasts .toast")).to_have_count(0)


LONG = "Wolfeschlegelsteinhausenbergerdorff " * 3


@pytest.fixture
def suggested(gallery: Gallery) -> Face:
    person = PersonFactory.create(space=gallery.space, label=LONG.strip())
    photo = PhotoFactory.create(gallery=gallery)
    return FaceFactory.create(photo=photo, person=person, similarity=0.45)


def is_narrow(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


def test_many_at_once_are_taken_back_by_a_key_and_no_name_widens_a_page(
    page: Page, live: str, gallery: Gallery, suggested: Face, bob: User, sign_in: SignIn
) -> None:
    team, person = gallery.team.slug, suggested.person
    assert person is not None
    where = [team, person.space.number, person.person_id]
    enter(page, live, sign_in(bob))
    page.set_viewport_size({"width": 390, "height": 844})
    other = PersonFactory.create(space=gallery.space, label="Anna")
    page.goto(f"{live}{reverse('person_merge', args=where)}?with={other.person_id}")
    expect(page.get_by_role("button", name="Merge into")).to_be_visible()
    assert is_narrow(page)
    page.goto(live + reverse("review_person", args=where))
    expect(page.locator("[data-key=both]")).to_contain_text("Wolfe")
    assert is_narrow(page)
    page.keyboard.press("Enter")
    # That was the last page: on to the list, where the key takes it back.
    page.wait_for_url("**/review/many/?done=*")
    assert Face.objects.get(pk=suggested.pk).decision == Decision.NAMED
    assert is_narrow(page)
    with page.expect_navigation():
        page.keyboard.press("Backspace")
    wait_for(page, lambda: Face.objects.get(pk=suggested.pk).decision == Decision.NONE)
    change = name_face(actor=by(bob), face=suggested, label="Berta").change
    page.goto(f"{live}{reverse('groups', args=[team])}?done={change.pk}")
    with page.expect_navigation():
        page.keyboard.press("Backspace")
    wait_for(page, lambda: Face.objects.get(pk=suggested.pk).decision == Decision.NONE)
