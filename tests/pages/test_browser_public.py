"""Public links in a real browser: created, opened, browsed, and revoked."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import Browser, Page, expect

from persons.actions.faces import name_face
from persons.actions.sharing import LinkOptions, make_link
from persons.audit import Actor
from persons.models import Face, Photo, Source, Team, User
from tests.support.browsing import enter
from tests.support.factories import GalleryFactory, PhotoFactory, jpeg
from tests.support.portraits import upload_portraits

SignIn = Callable[[User], Client]

pytestmark = pytest.mark.django_db(transaction=True)


def test_turning_photos_leads_back_to_the_last_of_them(
    page: Page, live: str, team: Team, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = GalleryFactory.create(team=team, slug="lake", name="Lake")
    for what in ("thumb", "medium", "large"):
        default_storage.save(f"renditions/shared/{what}.webp", ContentFile(jpeg()))
    monkeypatch.setattr(Photo, "key", lambda _, what: f"renditions/shared/{what}.webp")
    now = timezone.now()
    photos = [
        PhotoFactory.create(
            gallery=gallery, prepared_at=now, shown_at=now - timedelta(days=n), width=40, height=30
        )
        for n in range(130)
    ]
    _, token = make_link(
        actor=Actor(alice, Source.PAGE), gallery=gallery, options=LinkOptions(days=7)
    )
    home = f"{live}/s/{token}/"
    page.goto(home)
    page.locator(f"#photo-{photos[5].pk} a").click()
    for number in (5, 6, 7):
        page.wait_for_url(f"**/photo/{photos[number].pk}/")
        page.keyboard.press("Escape" if number == 7 else "ArrowRight")
    page.wait_for_url(home)
    expect(page.locator(f"#photo-{photos[7].pk} a")).to_be_focused()

    # By link, and beyond what the first page has.
    page.goto(f"{home}photo/{photos[100].pk}/")
    page.keyboard.press("ArrowRight")
    page.wait_for_url(f"**/photo/{photos[101].pk}/")
    page.keyboard.press("Escape")
    page.wait_for_url("**/?at=*")
    expect(page.locator(f"#photo-{photos[101].pk}")).to_be_in_viewport()
    page.go_back()
    page.wait_for_url(home)


def test_a_link_is_made_and_a_stranger_sees_photos_and_nothing_of_the_people_on_them(
    page: Page, browser: Browser, live: str, team: Team, alice: User, sign_in: SignIn
) -> None:
    gallery = GalleryFactory.create(team=team, slug="lake", name="Lake")
    upload_portraits(alice, gallery, ["ardern_1", "obama_1"])
    face = Face.objects.select_related("photo__gallery__space").earliest("pk")
    name_face(actor=Actor(alice, Source.PAGE), face=face, label="Jacinda Ardern")
    enter(page, live, sign_in(alice))
    page.goto(live + reverse("share", args=[team.slug, gallery.slug]))
    page.get_by_label("For whom").fill("Grandparents")
    page.get_by_label("Password").fill("open sesame")
    page.get_by_role("button", name="Make the link").click()
    address = page.get_by_role("textbox", name="The link").input_value()

    stranger = browser.new_context(viewport={"width": 390, "height": 844}).new_page()
    stranger.goto(address)
    stranger.get_by_label("Password").fill("open says me")
    stranger.get_by_role("button", name="Show the photos").click()
    expect(stranger.get_by_role("alert")).to_contain_text("not the password")
    stranger.get_by_label("Password").fill("open sesame")
    stranger.get_by_role("button", name="Show the photos").click()
    expect(stranger.get_by_role("heading", name="Lake")).to_be_visible()
    stranger.locator(f"#photo-{face.photo_id} a").click()
    picture = stranger.locator("main img, .stage img").first
    expect(picture).to_be_visible()
    wait = "(image) => image.decode().then(() => image.naturalWidth)"
    assert picture.evaluate(wait) > 100
    for word in ("Jacinda", "ardern_1", "box"):
        assert word not in stranger.content()

    # Every view is counted, and a link that is taken back is gone at once.
    page.goto(live + reverse("share", args=[team.slug, gallery.slug]))
    expect(page.get_by_text(re.compile(r"[1-9]\d* views?,"))).to_be_visible()
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Revoke").click()
    expect(page.get_by_text("1 link that ended")).to_be_visible()
    assert stranger.goto(address).status == 404  # type: ignore[union-attr]
    expect(stranger.locator("img")).to_have_count(0)
    stranger.context.close()
