"""The main workflow in a real browser with a real worker: photos go in, named people come out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from persons.models import Call, Enrolment, EnrolmentState, Face, Gallery, Photo, Team, User
from tests.support import factories
from tests.support.processes import CeleryProcess

PHOTOS = Path(__file__).resolve().parents[2] / "demo" / "photos"

pytestmark = pytest.mark.processes


def test_alice_uploads_three_photos_names_one_face_and_the_other_photo_gets_the_name(
    page: Page,
    live: str,
    alice: User,
    team: Team,
    real_worker: Callable[..., CeleryProcess],
) -> None:
    alice.set_password("correct horse battery")
    alice.save()
    gallery: Gallery = factories.GalleryFactory.create(team=team, name="Summit", slug="summit")
    real_worker(beat=True, ROLLCALL_SWEEP_SECONDS="1")

    page.goto(f"{live}/t/{team.slug}/g/{gallery.slug}/")
    page.get_by_label("User name").fill("alice")
    page.get_by_label("Password").fill("correct horse battery")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Summit")).to_be_visible()

    names = ["ardern_1.jpg", "ardern_2.jpg", "obama_1.jpg"]
    page.locator("#files").set_input_files([PHOTOS / name for name in names])
    tiles = page.locator("li.tile")
    expect(tiles).to_have_count(3)
    # The faces come by themselves: the page is not loaded again.
    expect(page.locator("li.tile .tile-unknown")).to_have_count(3)

    page.get_by_role("link", name="ardern_2.jpg").click()
    name = page.get_by_role("combobox").or_(page.locator("input[name=label]:visible")).first
    name.fill("Jacinda Ardern")
    name.press("Enter")
    expect(page.get_by_text("named by Alice")).to_be_visible()
    expect(page.get_by_text("1 more face")).to_be_visible(timeout=60_000)

    page.goto(f"{live}/t/{team.slug}/g/{gallery.slug}/")
    named = page.locator("li.tile", has_text="Jacinda Ardern")
    expect(named).to_have_count(2)
    expect(page.locator("li.tile .tile-unknown")).to_have_count(1)

    named.filter(has=page.get_by_alt_text("ardern_1.jpg")).get_by_role("link").click()
    expect(page.locator(".face-name", has_text="Jacinda Ardern")).to_be_visible()
    expect(page.get_by_text("recognised ", exact=False).first).to_be_visible()

    assert Photo.objects.count() == 3
    found = Face.objects.filter(person__label="Jacinda Ardern")
    assert {face.photo.file_name for face in found} == {"ardern_1.jpg", "ardern_2.jpg"}
    assert Enrolment.objects.get().state == EnrolmentState.DONE
    assert {call.method for call in Call.objects.all()} == {"recognize", "set"}
