"""The review in a real browser: keys that are faster than the server's answers."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from playwright.sync_api import Page, expect

from persons.models import Decision, Face, Gallery, Team, User
from tests.factories import FaceFactory, GalleryFactory, PersonFactory, PhotoFactory
from tests.test_page_photos import enter

SignIn = Callable[[User], Client]
ANSWER_SECONDS = 0.4
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
    expect(review.locator("#toasts")).to_contain_text("Taken back: Ignored.", timeout=15_000)
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
    expect(review.get_by_text("nothing of yours left")).to_have_count(0)


def test_a_face_is_named_by_typing_and_the_next_by_one_key(review: Page) -> None:
    review.wait_for_timeout(BOUNCE)
    first = shown(review)
    review.keyboard.type("Boris")
    review.keyboard.press("Enter")
    expect(review.locator("#review-done")).to_contain_text("This is Boris", timeout=15_000)
    second = shown(review)
    review.wait_for_timeout(BOUNCE)
    review.keyboard.press("1")
    named = Face.objects.exclude(person=None).values_list("pk", "person__label")
    wait_for(review, lambda: dict(named.all()) == {first: "Boris", second: "Anna"})
