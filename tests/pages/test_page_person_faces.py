"""A person's faces: filters, sort orders, thresholds, and bulk actions."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import timedelta
from secrets import token_hex
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import Page, expect

from dashboard.pages.people.person_faces import FACES_PAGE
from persons.actions.spaces import Policy, change_policy
from persons.faces.identity import resolve_identities
from persons.models import (
    AuditEntry,
    Call,
    Change,
    Decision,
    Enrolment,
    Face,
    Gallery,
    Person,
    Photo,
    Recognition,
    Source,
    Team,
    User,
)
from tests.support import tampering
from tests.support.factories import FaceFactory, GalleryFactory, PersonFactory, PhotoFactory
from tests.support.fakes import by
from tests.support.portraits import upload_portraits

SignIn = Callable[[User], Client]


@pytest.fixture
def gallery(team: Team) -> Gallery:
    return GalleryFactory.create(team=team, name="Harbour")


@pytest.fixture
def anna(gallery: Gallery) -> Person:
    return PersonFactory.create(space=gallery.space, label="Anna")


def face_of(person: Person | None, gallery: Gallery, **values: Any) -> Face:
    photo = PhotoFactory.create(gallery=gallery, sha256=token_hex(32))
    return FaceFactory.create(photo=photo, person=person, **values)


def url_of(person: Person, do: str = "person") -> str:
    return reverse(do, args=[person.space.team.slug, person.space.number, person.person_id])


def shown(text: str) -> list[int]:
    return [int(pk) for pk in re.findall(r'id="crop-(\d+)"', text)]


@pytest.fixture
def kinds(anna: Person, gallery: Gallery) -> dict[str, Face]:
    """One face of each kind."""
    return {
        "found": face_of(anna, gallery, similarity=0.9),
        "suggested": face_of(anna, gallery, similarity=0.42),
        "named": face_of(anna, gallery, similarity=0.6, decision=Decision.NAMED),
        "missing": face_of(anna, gallery, decision=Decision.NAMED, missing=True, similarity=0.5),
    }


@pytest.mark.parametrize(
    ("which", "expected"),
    [
        ("", ["missing", "named", "suggested", "found"]),
        ("found", ["found"]),
        ("suggested", ["suggested"]),
        ("named", ["missing", "named"]),
        ("missing", ["missing"]),
    ],
)
def test_faces_are_filtered_by_how_they_got_their_name(
    anna: Person,
    kinds: dict[str, Face],
    vera: User,
    sign_in: SignIn,
    which: str,
    expected: list[str],
) -> None:
    page = sign_in(vera).get(url_of(anna), {"which": which}).text
    assert shown(page) == [kinds[kind].pk for kind in expected]
    counts = dict(re.findall(r'id="count-(\w+)">(\d+)<', page))
    assert counts == {
        "faces": "4",
        "all": "4",
        "found": "1",
        "suggested": "1",
        "named": "2",
        "missing": "1",
        "shown": "0",
    }


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("new", ["missing", "named", "suggested", "found"]),
        ("old", ["found", "suggested", "named", "missing"]),
        # What a human has said is sure.
        ("unsure", ["suggested", "found", "missing", "named"]),
    ],
)
def test_faces_are_sorted_as_asked(
    anna: Person,
    kinds: dict[str, Face],
    vera: User,
    sign_in: SignIn,
    sort: str,
    expected: list[str],
) -> None:
    page = sign_in(vera).get(url_of(anna), {"sort": sort}).text
    assert shown(page) == [kinds[kind].pk for kind in expected]


@pytest.mark.parametrize("sort", ["new", "old", "unsure"])
def test_paging_reaches_every_face_once(
    anna: Person, gallery: Gallery, vera: User, sign_in: SignIn, sort: str
) -> None:
    photo = PhotoFactory.create(gallery=gallery)
    Face.objects.bulk_create(
        Face(
            photo=photo,
            space=gallery.space,
            gallery=gallery,
            person=anna,
            left=n,
            top=0,
            right=n + 9,
            bottom=9,
            similarity=(n % 7) / 10,
            decision=Decision.NAMED if n % 5 == 0 else "",
        )
        for n in range(FACES_PAGE + 15)
    )
    client, seen, before = sign_in(vera), [], ""
    for _ in range(2):
        response = client.get(url_of(anna), {"sort": sort, "before": before})
        seen += shown(response.text)
        before = response.context["page"].older
    assert before is None
    assert len(seen) == len(set(seen)) == FACES_PAGE + 15


def test_a_suggestion_says_so_and_can_be_confirmed_by_editors_alone(
    anna: Person, kinds: dict[str, Face], bob: User, vera: User, sign_in: SignIn
) -> None:
    question = "Anna?</span>"
    page = sign_in(bob).get(url_of(anna)).text
    assert page.count(question) == 1
    assert page.count('value="confirm" title="Yes, Anna"') == 1
    page = sign_in(vera).get(url_of(anna)).text
    assert question in page
    assert "Yes, Anna" not in page


def test_each_face_says_the_threshold_of_its_time(
    anna: Person, gallery: Gallery, alice: User, sign_in: SignIn
) -> None:
    space, now = gallery.space, timezone.now()

    def face(days_ago: int) -> Face:
        call = Call.objects.create(
            team=gallery.team, space=space, method="recognize", source=Source.WORKER,
            backend="embedded", started_at=now - timedelta(days=days_ago),
        )  # fmt: skip
        asked = Recognition.objects.create(call=call, position=0, name="x")
        return face_of(anna, gallery, similarity=0.7, recognition=asked)

    first, second, third = face(9), face(5), face(1)
    unknown_when = face_of(anna, gallery, similarity=0.7)
    for threshold, days_ago in ((0.45, 7), (0.6, 3)):
        policy = Policy(
            **{
                name: getattr(space, name)
                for name in Policy.__dataclass_fields__
                if name not in ("threshold", "confirm_threshold")
            },
            threshold=threshold,
            confirm_threshold=0.65,
        )
        space = change_policy(actor=by(alice), space=space, policy=policy)
        newest = AuditEntry.objects.filter(action="space.policy").latest("pk")
        tampering.rewrite(newest, at=now - timedelta(days=days_ago))
    page = " ".join(sign_in(alice).get(url_of(anna)).text.split())

    def said(face: Face) -> str:
        part = page[page.index(f'id="crop-{face.pk}"') :]
        found = re.search(r'class="bar-then">(.*?)</span>', part)
        return found[1] if found else ""

    assert [said(one) for one in (first, second, third)] == ["≥ 40%", "≥ 45%", "≥ 60%"]
    assert said(unknown_when) == "≥ 60% now"


def test_a_photo_with_two_faces_is_shown_once_over_all_pages(
    anna: Person, gallery: Gallery, vera: User, sign_in: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dashboard.pages.people.person_faces.PHOTOS_PAGE", 2)
    photos = [face_of(anna, gallery).photo for _ in range(3)]
    FaceFactory.create(photo=photos[0], person=anna, left=40, right=60)
    client, seen, before = sign_in(vera), [], ""
    while before is not None:
        page = client.get(url_of(anna), {"view": "photos", "before": before}).context["page"]
        seen += [photo.pk for photo in page.rows]
        before = page.older
    assert seen == [photos[0].pk, photos[2].pk, photos[1].pk]


def test_company_and_when_they_were_seen_come_later(
    anna: Person, gallery: Gallery, vera: User, sign_in: SignIn
) -> None:
    bea = PersonFactory.create(space=gallery.space, label="Bea")
    hidden = PersonFactory.create(space=gallery.space, label="Passer-by", hidden=True)
    for day in (3, 9):
        face = face_of(anna, gallery)
        moment = timezone.now().replace(year=2021, month=5, day=day)
        Photo.objects.filter(pk=face.photo_id).update(shown_at=moment)
        for person in (bea, hidden):
            FaceFactory.create(photo=face.photo, person=person, left=40, right=60)
    client = sign_in(vera)
    assert "Bea" not in client.get(url_of(anna)).text
    text = " ".join(client.get(url_of(anna, "person_company")).text.split())
    assert "3 May 2021" in text
    assert "9 May 2021" in text
    assert '<span class="grow cut">Bea</span><span class="num muted small">2<' in text
    assert "Passer-by" not in text


def test_of_thousands_of_photos_when_they_were_seen_is_asked_for_apart(
    anna: Person, gallery: Gallery, vera: User, sign_in: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dashboard.pages.people.person.COMPANY_PHOTOS", 1)
    for day in (3, 9):
        moment = timezone.now().replace(year=2021, month=5, day=day)
        Photo.objects.filter(pk=face_of(anna, gallery).photo_id).update(shown_at=moment)
    client, address = sign_in(vera), url_of(anna, "person_company")
    text = client.get(address).text
    assert f'hx-get="{address}?seen=1"' in text
    assert "May 2021" not in text
    seen = client.get(address, {"seen": "1"}).text
    assert "3 May 2021" in seen
    assert "9 May 2021" in seen


# --- Deciding ---


def test_many_are_confirmed_at_once_and_the_page_gets_what_changed(
    anna: Person, gallery: Gallery, bob: User, sign_in: SignIn
) -> None:
    faces = [face_of(anna, gallery, similarity=0.44) for _ in range(3)]
    response = sign_in(bob).post(
        url_of(anna, "person_faces"),
        {"do": "confirm", "face": [face.pk for face in faces[:2]]},
        headers={"HX-Request": "true"},
    )
    assert response["HX-Reswap"] == "none"
    assert json.loads(response["HX-Trigger-After-Swap"]) == {"faces-decided": {"gone": []}}
    assert sorted(shown(response.text)) == [face.pk for face in faces[:2]]
    assert 'id="count-suggested" hx-swap-oob="true">1<' in response.text
    assert "2 faces are Anna: confirmed." in response.text
    assert reverse("change_undo", args=["trip", Change.objects.get().pk]) in response.text


def test_what_a_human_has_decided_needs_no_confirming(
    anna: Person, gallery: Gallery, bob: User, sign_in: SignIn
) -> None:
    face = face_of(anna, gallery, decision=Decision.NAMED)
    page = sign_in(bob).post(
        url_of(anna, "person_faces"), {"do": "confirm", "face": face.pk}, follow=True
    )
    assert "Nothing to confirm" in page.text


@pytest.mark.parametrize(("deed", "decision"), [("reject", ""), ("ignore", Decision.IGNORED)])
def test_faces_that_are_not_theirs_leave_the_page(
    anna: Person, gallery: Gallery, bob: User, sign_in: SignIn, deed: str, decision: str
) -> None:
    faces = [face_of(anna, gallery) for _ in range(2)]
    response = sign_in(bob).post(
        url_of(anna, "person_faces"),
        {"do": deed, "face": [face.pk for face in faces]},
        headers={"HX-Request": "true"},
    )
    gone = json.loads(response["HX-Trigger-After-Swap"])["faces-decided"]["gone"]
    assert sorted(gone) == [face.pk for face in faces]
    for face in faces:
        face.refresh_from_db()
        assert (face.person, face.decision) == (None, decision)


def test_a_face_is_used_as_a_picture(
    anna: Person, gallery: Gallery, bob: User, sign_in: SignIn
) -> None:
    face = face_of(anna, gallery)
    page = sign_in(bob).post(
        url_of(anna, "person_faces"), {"do": "enrol", "face": face.pk}, follow=True
    )
    assert "Vision gets a picture of Anna" in page.text
    assert Enrolment.objects.get().face == face


def test_pictures_want_a_name_and_are_few(
    anna: Person,
    gallery: Gallery,
    bob: User,
    sign_in: SignIn,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dashboard.pages.people.bulk_face_actions.MOST_PICTURES", 1)
    client = sign_in(bob)
    faces = [face_of(anna, gallery).pk for _ in range(2)]
    page = client.post(url_of(anna, "person_faces"), {"do": "enrol", "face": faces}, follow=True)
    assert "Choose at most 1 faces" in page.text
    unnamed = PersonFactory.create(space=gallery.space, label="")
    face = face_of(unnamed, gallery)
    page = client.post(
        url_of(unnamed, "person_faces"), {"do": "enrol", "face": face.pk}, follow=True
    )
    assert "Give a name first" in page.text
    assert not Enrolment.objects.exists()


# --- Hidden, notes ---


def test_notes_are_kept_and_saved_while_one_types(
    anna: Person, bob: User, vera: User, sign_in: SignIn
) -> None:
    client = sign_in(bob)
    saved = client.post(
        url_of(anna, "person_notes"), {"notes": "Met in Oslo"}, headers={"HX-Request": "true"}
    )
    assert "Saved" in saved.text
    assert "Met in Oslo" in sign_in(vera).get(url_of(anna)).text
    page = client.post(url_of(anna, "person_notes"), {"notes": ""}, follow=True)
    assert "The notes are saved." in page.text
    anna.refresh_from_db()
    assert anna.notes == ""


def test_a_hidden_person_says_so_and_can_be_listed_again(
    anna: Person, bob: User, sign_in: SignIn
) -> None:
    client = sign_in(bob)
    page = client.post(url_of(anna, "person_hide"), {"hidden": "1"}, follow=True)
    assert "Anna is hidden" in page.text
    assert "List again" in page.text
    page = client.post(url_of(anna, "person_hide"), {"hidden": "0"}, follow=True)
    assert "Anna is listed again." in page.text


# --- Closed galleries ---


def test_nothing_of_a_closed_gallery_is_on_the_page(
    team: Team, anna: Person, gallery: Gallery, vera: User, alice: User, sign_in: SignIn
) -> None:
    closed = GalleryFactory.create(team=team, is_open=False)
    bea = PersonFactory.create(space=gallery.space, label="Bea")
    secret = face_of(anna, closed, quality=0.99)
    FaceFactory.create(photo=secret.photo, person=bea, left=40, right=60)
    open_one = face_of(anna, gallery, quality=0.2)
    client = sign_in(vera)
    page = client.get(url_of(anna)).text
    assert shown(page) == [open_one.pk]
    assert f"/media/face/{secret.pk}" not in page
    assert 'id="count-all">1<' in page
    assert "Bea" not in client.get(url_of(anna, "person_company")).text
    people = client.get(reverse("people", args=[team.slug])).text
    assert f"/media/face/{secret.pk}" not in people
    assert len(shown(sign_in(alice).get(url_of(anna)).text)) == 2


# --- In a browser, with real photos ---


def sign_in_page(page: Page, live: str, client: Client) -> None:
    """A script or style that the page's policy blocks fails the test as any error does."""
    page.add_init_script(
        "addEventListener('securitypolicyviolation',"
        " (event) => { throw new Error(`${event.violatedDirective} ${event.sourceFile}`); });"
    )
    session = client.cookies["sessionid"].value
    page.context.add_cookies([{"name": "sessionid", "value": session, "url": live}])


@pytest.fixture
def jacinda(transactional_db: None, gallery: Gallery, bob: User) -> Person:
    """With four real faces, each a suggestion."""
    person = PersonFactory.create(space=gallery.space, label="Jacinda")
    upload_portraits(bob, gallery, ["ardern_1", "ardern_2"], versions=2)
    Face.objects.update(found_person=person, tag=person.tag, similarity=0.45)
    resolve_identities(Photo.objects.values_list("pk", flat=True))
    assert Face.objects.filter(person=person, review="weak").count() == 4
    return person


@pytest.mark.django_db(transaction=True)
def test_faces_are_confirmed_and_rejected_by_click_and_keyboard(
    page: Page, live: str, jacinda: Person, bob: User, sign_in: SignIn
) -> None:
    sign_in_page(page, live, sign_in(bob))
    page.goto(live + url_of(jacinda))
    crops = page.locator(".crop")
    expect(crops).to_have_count(4)
    expect(page.locator("#count-suggested")).to_have_text("4")
    crops.nth(0).get_by_role("button", name="Yes, this is Jacinda").click()
    expect(crops.nth(0)).to_contain_text("Bob")
    expect(page.locator("#count-suggested")).to_have_text("3")
    crops.nth(1).get_by_role("button", name="This is not Jacinda").click()
    expect(crops).to_have_count(3)
    expect(page.locator("#count-all")).to_have_text("3")
    # The rest by keyboard: to the next one, tick, extend with Shift, confirm.
    crops.nth(0).locator("> a").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("x")
    page.keyboard.press("Shift+ArrowRight")
    expect(page.get_by_text("2 chosen")).to_be_visible()
    page.keyboard.press("y")
    expect(page.locator("#count-suggested")).to_have_text("0")
    expect(page.locator(".pick-bar")).to_be_hidden()
    assert Face.objects.filter(person=jacinda, decision=Decision.NAMED).count() == 3


@pytest.mark.django_db(transaction=True)
def test_the_cover_is_chosen_and_notes_are_saved_by_themselves(
    page: Page, live: str, jacinda: Person, bob: User, sign_in: SignIn
) -> None:
    sign_in_page(page, live, sign_in(bob))
    page.goto(live + url_of(jacinda))
    face = Face.objects.filter(person=jacinda).earliest("pk")
    page.locator(f"#crop-{face.pk}").get_by_role("checkbox").click(force=True)
    page.get_by_label("More", exact=True).locator("visible=true").last.click()
    page.get_by_role("button", name="Use as cover").click()
    expect(page.get_by_text("That is the cover of Jacinda now.")).to_be_visible()
    expect(page.locator("img.person-cover")).to_have_attribute(
        "src", re.compile(f"/media/face/{face.pk}\\?")
    )
    page.get_by_role("textbox", name="Notes").type("Prime minister")
    expect(page.locator("#notes-saved")).to_have_text("Saved")
    page.get_by_role("button", name="Hide").click()
    expect(page.get_by_text("Jacinda is hidden")).to_be_visible()
    jacinda.refresh_from_db()
    assert (jacinda.cover, jacinda.notes, jacinda.hidden) == (face, "Prime minister", True)


@pytest.mark.django_db(transaction=True)
def test_thousands_of_faces_are_scrolled_with_few_of_them_in_the_page(
    page: Page, live: str, anna: Person, gallery: Gallery, bob: User, sign_in: SignIn
) -> None:
    photo = PhotoFactory.create(gallery=gallery)
    Face.objects.bulk_create(
        Face(
            photo=photo,
            space=gallery.space,
            gallery=gallery,
            person=anna,
            left=n,
            top=0,
            right=n + 9,
            bottom=9,
            similarity=0.8,
        )
        for n in range(1500)
    )
    newest, oldest = Face.objects.latest("pk"), Face.objects.earliest("pk")
    page.route("**/media/face/*", lambda route: route.abort())
    sign_in_page(page, live, sign_in(bob))
    page.goto(live + url_of(anna))
    page.locator(f"#crop-{newest.pk}").get_by_role("checkbox").click(force=True)
    most = 0
    for _ in range(150):
        page.mouse.wheel(0, 2500)
        page.wait_for_timeout(60)
        most = max(most, page.locator(".crop").count())
        if page.locator(f"#crop-{oldest.pk}").count():
            break
    expect(page.locator(f"#crop-{oldest.pk}")).to_have_count(1)
    assert most < 600
    # What was ticked before is ticked still, and when one comes back it shows.
    expect(page.get_by_text("1 chosen")).to_be_visible()
    page.evaluate("scrollTo(0, 0)")
    expect(page.locator(f"#crop-{newest.pk}").get_by_role("checkbox")).to_be_checked()
