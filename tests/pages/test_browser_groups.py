"""Groups of unknown faces in a real browser, with real photos: made, named, merged, dissolved."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client
from django.urls import reverse
from playwright.sync_api import Locator, Page, expect

from persons.models import Decision, Enrolment, EnrolmentState, Face, Gallery, Photo, Team, User
from tests.support.browsing import enter
from tests.support.factories import GalleryFactory
from tests.support.portraits import upload_group, upload_portraits
from tests.support.processes import CeleryProcess

SignIn = Callable[[User], Client]
NAMES = ["ardern_1", "ardern_2", "macron_1", "macron_2", "obama_1"]

pytestmark = pytest.mark.processes


@pytest.fixture
def gallery(transactional_db: None, team: Team) -> Gallery:
    return GalleryFactory.create(team=team, name="Summit", slug="summit")


@pytest.fixture
def group_photo(gallery: Gallery, bob: User) -> Photo:
    """Of four people, three of whom have portraits beside it."""
    upload_portraits(bob, gallery, NAMES)
    return upload_group(bob, gallery)


def group_of(page: Page, face: Face) -> Locator:
    """The card of the group that this face is in."""
    face.refresh_from_db()
    assert face.person is not None
    return page.locator("li.group").filter(
        has=page.locator(f"[value='{face.person.space.number}.{face.person.person_id}']")
    )


def portrait(name: str) -> Face:
    return Face.objects.get(photo__file_name=f"{name}-0.jpg")


def test_unknown_faces_are_sorted_named_whole_merged_and_thrown_away(
    page: Page,
    live: str,
    team: Team,
    group_photo: Photo,
    bob: User,
    sign_in: SignIn,
    real_worker: Callable[..., CeleryProcess],
) -> None:
    real_worker(beat=True, ROLLCALL_SWEEP_SECONDS="1")
    enter(page, live, sign_in(bob))
    page.goto(live + reverse("groups", args=[team.slug]))
    page.get_by_role("button", name="Sort into people").click()
    # Nothing is changed before somebody says so.
    expect(page.locator(".group-words")).to_contain_text("would become 3 people")
    assert not Face.objects.exclude(person=None).exists()
    page.get_by_role("button", name="Make 3 groups").click()
    page.get_by_role("link", name="Go through the groups").click()
    expect(page.locator("li.group")).to_have_count(3)

    # A name for a group is a name for all of its faces, and Vision learns it.
    ardern = portrait("ardern_1")
    name = group_of(page, ardern).get_by_role("combobox")
    name.fill("Jacinda Ardern")
    name.press("Enter")
    expect(page.locator("li.group")).to_have_count(2)
    named = Face.objects.filter(decision=Decision.NAMED, person__label="Jacinda Ardern")
    assert {face.photo.file_name for face in named} == {
        "ardern_1-0.jpg",
        "ardern_2-0.jpg",
        group_photo.file_name,
    }

    # Thrown away whole: unknown again, and back by one key.
    obama = portrait("obama_1")
    card = group_of(page, obama)
    card.get_by_label("More about this group").click()
    card.get_by_role("button", name="Throw away: unknown again").click()
    expect(page.locator("li.group")).to_have_count(1)
    obama.refresh_from_db()
    assert obama.person is None
    page.get_by_role("button", name="Undo").first.click()
    expect(page.locator("li.group")).to_have_count(2)

    # Two that are chosen are one; that is undone as well.
    for one in (obama, portrait("macron_1")):
        group_of(page, one).locator("[data-group]").check()
    page.locator("[data-groups-bar] button").click()
    expect(page.locator("li.group")).to_have_count(1)
    page.get_by_role("button", name="Undo").first.click()
    expect(page.locator("li.group")).to_have_count(2)
    assert portrait("macron_1").person != portrait("obama_1").person

    # Of the group photo's faces three are somebody now, one of them by name.
    page.goto(live + reverse("photo", args=[team.slug, group_photo.pk]))
    expect(page.locator(".face-name", has_text="Jacinda Ardern")).to_be_visible()
    expect(page.locator("#boxes .box")).to_have_count(4)
    page.wait_for_timeout(1000)
    for _ in range(100):
        if not Enrolment.objects.exclude(state=EnrolmentState.DONE).exists():
            break
        page.wait_for_timeout(200)
    assert Enrolment.objects.filter(state=EnrolmentState.DONE).count() == 3
