"""Public pages in a real browser: turning photos, and coming back to their place."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.utils import timezone
from playwright.sync_api import Page, expect

from persons.actions.sharing import make_link
from persons.audit import Actor
from persons.models import Photo, Source, Team, User
from tests.factories import GalleryFactory, PhotoFactory, jpeg

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
    _, token = make_link(actor=Actor(alice, Source.PAGE), gallery=gallery, days=7)
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
