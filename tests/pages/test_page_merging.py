"""Merging people, splitting one, keeping two apart, and undoing each of these."""

from __future__ import annotations

from collections.abc import Callable
from secrets import token_hex
from typing import Any
from urllib.parse import urlencode

import pytest
from django.core.cache import cache
from django.test import Client
from django.urls import reverse
from playwright.sync_api import Page, expect
from pytest_django import DjangoAssertNumQueries

from persons.actions.merging import merge_people
from persons.models import (
    Change,
    Decision,
    Enrolment,
    EnrolmentState,
    Face,
    Gallery,
    Likeness,
    Person,
    Team,
    User,
)
from tests.support.factories import FaceFactory, GalleryFactory, PersonFactory, PhotoFactory
from tests.support.fakes import by
from tests.support.portraits import upload_portraits, work
from tests.support.processes import wait_until

SignIn = Callable[[User], Client]


@pytest.fixture
def gallery(team: Team) -> Gallery:
    return GalleryFactory.create(team=team, name="Harbour")


@pytest.fixture
def anna(gallery: Gallery) -> Person:
    return PersonFactory.create(space=gallery.space, label="Anna", face_count=3)


@pytest.fixture
def smith(gallery: Gallery) -> Person:
    return PersonFactory.create(space=gallery.space, label="Anna Smith", face_count=1)


def face_of(person: Person | None, gallery: Gallery, **values: Any) -> Face:
    photo = PhotoFactory.create(gallery=gallery, sha256=token_hex(32))
    return FaceFactory.create(photo=photo, person=person, **values)


def url_of(person: Person, do: str = "person") -> str:
    return reverse(do, args=[person.space.team.slug, person.space.number, person.person_id])


def words(response: Any) -> str:
    return " ".join(response.text.split())


# --- Merging ---


def test_the_preview_says_what_will_happen_and_changes_nothing(
    anna: Person, smith: Person, gallery: Gallery, bob: User, sign_in: SignIn
) -> None:
    faces = [face_of(smith, gallery) for _ in range(2)]
    face_of(anna, gallery)
    Enrolment.objects.create(person=smith, face=faces[0], state=EnrolmentState.DONE)
    page = words(sign_in(bob).get(url_of(anna, "person_merge"), {"with": smith.person_id}))
    assert "Are these one and the same?" in page
    assert '<b class="num">2</b> faces are <b>Anna</b>' in page
    assert '<b class="num">1</b> picture moves to Anna at Vision: 1 image is sent' in page
    assert "Merge into Anna" in page
    assert not Change.objects.exists()
    assert Person.objects.filter(merged_into=None).count() == 2


def test_either_name_can_stay(
    anna: Person, smith: Person, gallery: Gallery, bob: User, sign_in: SignIn
) -> None:
    face_of(anna, gallery)
    query = {"with": smith.person_id, "keep": smith.person_id}
    page = words(sign_in(bob).get(url_of(anna, "person_merge"), query))
    assert "Merge into Anna Smith" in page


def test_the_other_one_is_chosen_by_name_or_number(
    anna: Person, smith: Person, bob: User, sign_in: SignIn
) -> None:
    client = sign_in(bob)
    for typed in ("anna smith", smith.tag):
        page = words(client.get(url_of(anna, "person_merge"), {"label": typed}))
        assert "Are these one and the same?" in page
    for typed, error in (("Nobody at all", "Nobody in"), ("anna", "That is Anna.")):
        response = client.get(url_of(anna, "person_merge"), {"label": typed})
        assert response.status_code == 422
        assert error in response.text


def test_merged_people_lead_to_whom_they_are_and_undo_parts_them(
    anna: Person, smith: Person, gallery: Gallery, bob: User, sign_in: SignIn
) -> None:
    theirs, others = face_of(smith, gallery), face_of(anna, gallery)
    client = sign_in(bob)
    sent = {"with": smith.person_id, "keep": anna.person_id}
    response = client.post(url_of(anna, "person_merge"), sent, follow=True)
    assert "Anna Smith is Anna now." in response.text
    change = Change.objects.get()
    undo = reverse("change_undo", args=[gallery.team.slug, change.pk])
    assert f'action="{undo}"' in response.text
    theirs.refresh_from_db()
    assert theirs.person == anna

    moved = client.get(url_of(smith), follow=True)
    assert moved.redirect_chain == [(url_of(anna), 303)]
    assert "Anna Smith was merged into Anna. This is their page now." in moved.text
    assert "merged" in words(client.get(url_of(anna), {"view": "changes"}))

    undone = client.post(undo, follow=True)
    assert "Undone" in undone.text
    theirs.refresh_from_db()
    others.refresh_from_db()
    assert (theirs.person, others.person) == (smith, anna)
    assert client.get(url_of(smith)).status_code == 200
    again = client.post(undo, follow=True)
    assert "Undone: it is" not in again.text


def test_several_are_merged_at_once(
    anna: Person, smith: Person, gallery: Gallery, bob: User, sign_in: SignIn
) -> None:
    unnamed = PersonFactory.create(space=gallery.space, label="")
    for person in (anna, smith, unnamed):
        face_of(person, gallery)
    with_all: Any = [smith.person_id, unnamed.person_id]
    client = sign_in(bob)
    page = words(client.get(url_of(anna, "person_merge"), {"with": with_all}))
    assert '<b class="num">2</b> faces are <b>Anna</b>' in page
    left = client.get(
        url_of(anna, "person_merge"), {"with": with_all, "leave": smith.person_id}
    ).context["everybody"]
    assert left == [anna, unnamed]
    client.post(url_of(anna, "person_merge"), {"with": with_all, "keep": anna.person_id})
    assert Face.objects.filter(person=anna).count() == 3
    assert Change.objects.count() == 2


def test_a_name_that_is_taken_offers_to_merge(
    anna: Person, smith: Person, bob: User, sign_in: SignIn
) -> None:
    response = sign_in(bob).post(url_of(anna, "person_rename"), {"label": "Anna Smith"})
    assert f"{url_of(anna, 'person_merge')}?label=Anna%20Smith" in response.text


def test_a_merge_of_somebody_who_is_merged_already_is_of_whom_they_are(
    anna: Person, smith: Person, gallery: Gallery, bob: User, sign_in: SignIn
) -> None:
    merge_people(actor=by(bob), person=smith, into=anna)
    other = PersonFactory.create(space=gallery.space, label="Zoe")
    client = sign_in(bob)
    page = client.get(url_of(other, "person_merge"), {"with": smith.person_id})
    assert page.context["everybody"] == [other, anna]
    assert client.get(url_of(smith, "person_merge"))["Location"] == url_of(smith)


@pytest.mark.parametrize("count", [1, 30])
def test_the_preview_asks_the_same_number_of_queries_for_any_number_of_faces(
    anna: Person,
    smith: Person,
    gallery: Gallery,
    bob: User,
    sign_in: SignIn,
    count: int,
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    for _ in range(count):
        face_of(smith, gallery)
        face_of(anna, gallery)
    client = sign_in(bob)
    with django_assert_num_queries(PREVIEW_QUERIES):
        client.get(url_of(anna, "person_merge"), {"with": smith.person_id})


PREVIEW_QUERIES = 22


# --- Never these two ---


def test_two_who_are_kept_apart_are_not_merged_until_that_is_taken_back(
    anna: Person, smith: Person, bob: User, sign_in: SignIn
) -> None:
    client = sign_in(bob)
    page = client.post(url_of(anna, "person_different"), {"with": smith.person_id}, follow=True)
    assert "are kept apart" in page.text
    assert "Never the same as" in page.text
    preview = client.get(url_of(anna, "person_merge"), {"with": smith.person_id}).text
    assert "Merge into" not in preview
    likeness = Likeness.objects.get()
    forget = reverse("likeness_forget", args=[anna.space.team.slug, likeness.pk])
    page = client.post(forget, follow=True)
    assert "may be suggested and merged again" in page.text
    assert "Never the same as" not in page.text
    preview = client.get(url_of(anna, "person_merge"), {"with": smith.person_id}).text
    assert "Merge into" in preview


@pytest.mark.parametrize(("other", "status"), [("", 404), ("99", 404), ("x", 400), ("²", 400)])
def test_nobody_is_kept_apart_from_nobody(
    anna: Person, bob: User, sign_in: SignIn, other: str, status: int
) -> None:
    response = sign_in(bob).post(url_of(anna, "person_different"), {"with": other})
    assert response.status_code == status


def test_no_more_are_merged_than_the_preview_takes(
    anna: Person, bob: User, sign_in: SignIn
) -> None:
    client = sign_in(bob)
    others = [("with", str(number)) for number in range(1000, 1101)]
    response = client.get(f"{url_of(anna, 'person_merge')}?{urlencode(others)}")
    assert response.status_code == 400 and "At most 100 of them" in response.text


def test_who_may_be_the_same_is_asked_on_the_page_of_each(
    anna: Person, smith: Person, bob: User, vera: User, sign_in: SignIn
) -> None:
    Likeness.objects.create(space=anna.space, one=anna, other=smith, similarity=0.71)
    for one, other in ((anna, smith), (smith, anna)):
        page = words(sign_in(bob).get(url_of(one)))
        assert f'May be the same as <a href="{url_of(other)}">{other.name}</a>' in page
        assert f"{url_of(one, 'person_merge')}?with={other.person_id}" in page
    assert "Never these two" not in sign_in(vera).get(url_of(anna)).text


# --- Splitting ---


@pytest.mark.parametrize("known", [True, False])
def test_faces_are_split_off_after_a_look_and_undo_gives_them_back(
    anna: Person, gallery: Gallery, bob: User, sign_in: SignIn, known: bool
) -> None:
    if known:
        PersonFactory.create(space=gallery.space, label="Berta")
    wrong = [face_of(anna, gallery) for _ in range(2)]
    right = face_of(anna, gallery)
    client = sign_in(bob)
    sent = {"face": [face.pk for face in wrong], "label": " berta "}
    page = words(client.post(url_of(anna, "person_split"), sent))
    assert "Are these berta?" in page
    assert '<b class="num">2</b> faces on 2 photos are' in page
    assert ("whom the space knows already" in page) == known
    assert Face.objects.filter(person=anna).count() == 3

    page = words(client.post(url_of(anna, "person_split"), sent | {"sure": "1"}, follow=True))
    assert "2 faces are" in page
    berta = Person.objects.get(label__iexact="berta")
    assert set(Face.objects.filter(person=berta)) == set(wrong)
    right.refresh_from_db()
    assert right.person == anna
    undo = reverse("change_undo", args=[gallery.team.slug, Change.objects.get().pk])
    client.post(undo)
    assert Face.objects.filter(person=anna).count() == 3


@pytest.mark.parametrize(
    ("label", "error"),
    [
        ("", "Whose"),
        ("Anna", "faces are Anna&#x27;s now"),
        ("person987654", "There is no person 987654 in"),
    ],
)
def test_a_split_wants_somebody_else_s_name(
    anna: Person, gallery: Gallery, bob: User, sign_in: SignIn, label: str, error: str
) -> None:
    face = face_of(anna, gallery)
    response = sign_in(bob).post(
        url_of(anna, "person_split"), {"face": face.pk, "label": label, "sure": "1"}
    )
    assert error in response.text
    assert f'name="face" value="{face.pk}"' in response.text
    face.refresh_from_db()
    assert face.person == anna


def test_the_address_of_a_split_leads_to_the_person(
    anna: Person, bob: User, sign_in: SignIn
) -> None:
    response = sign_in(bob).get(url_of(anna, "person_split"))
    assert response["Location"] == url_of(anna)


def test_a_split_without_faces_is_refused(anna: Person, bob: User, sign_in: SignIn) -> None:
    page = sign_in(bob).post(url_of(anna, "person_split"), {"label": "B"}, follow=True)
    assert "Choose a face first." in page.text


# --- Undo ---


def test_another_team_s_change_is_not_found(
    anna: Person, charlie: User, bob: User, sign_in: SignIn
) -> None:
    theirs = charlie.teams.get()
    change = Change.objects.create(team=theirs, space=theirs.spaces.get(number=0), kind="merge")
    undo = reverse("change_undo", args=[anna.space.team.slug, change.pk])
    assert sign_in(bob).post(undo).status_code == 404


def test_the_toast_s_undo_leads_back_to_the_page_it_came_from(
    anna: Person, gallery: Gallery, bob: User, sign_in: SignIn
) -> None:
    face = face_of(anna, gallery, similarity=0.45)
    client = sign_in(bob)
    client.post(url_of(anna, "person_faces"), {"do": "confirm", "face": face.pk})
    face.refresh_from_db()
    assert face.decision == Decision.NAMED
    undo = reverse("change_undo", args=[gallery.team.slug, Change.objects.get().pk])
    response = client.post(undo, {"next": f"{url_of(anna)}?which=suggested"})
    assert response["Location"] == f"{url_of(anna)}?which=suggested"
    face.refresh_from_db()
    assert face.decision == Decision.NONE


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
def portraits(transactional_db: None, gallery: Gallery, bob: User) -> dict[str, Person]:
    """Two people of the demo: one named twice by mistake, with real photos of each."""
    upload_portraits(bob, gallery, ["ardern_1", "macron_1"], versions=2)
    people = {}
    for stem, label in (("ardern_1-0", "Jacinda"), ("ardern_1-1", "Ms Ardern"), ("macron", "E M")):
        person = PersonFactory.create(space=gallery.space, label=label)
        for face in Face.objects.filter(photo__file_name__startswith=stem):
            Face.objects.filter(pk=face.pk).update(
                found_person=person, person=person, tag=person.tag, similarity=0.8, review=""
            )
        people[label] = person
    cache.clear()
    return people


@pytest.mark.django_db(transaction=True)
def test_two_are_compared_merged_and_parted_again(
    page: Page, live: str, portraits: dict[str, Person], bob: User, sign_in: SignIn
) -> None:
    jacinda, ardern = portraits["Jacinda"], portraits["Ms Ardern"]
    sign_in_page(page, live, sign_in(bob))
    page.goto(live + url_of(ardern))
    page.get_by_role("link", name="Merge…").click()
    page.get_by_role("combobox").type("jac")
    page.get_by_role("option", name="Jacinda").click()
    expect(page.get_by_role("heading", name="Are these one and the same?")).to_be_visible()
    keep = page.get_by_role("button", name="Keep this name")
    if page.get_by_role("button", name="Merge into Ms Ardern").is_visible():
        keep.click()
    page.get_by_role("button", name="Merge into Jacinda").click()
    expect(page.get_by_role("heading", name="Jacinda")).to_be_visible()
    toast = page.locator(".toast", has_text="Ms Ardern is Jacinda now.")
    expect(toast).to_be_visible()
    expect(page.locator("#count-all")).to_have_text("2")
    toast.get_by_role("button", name="Undo").click()
    expect(page.get_by_text("Undone: it is as it was before.")).to_be_visible()
    expect(page.locator("#count-all")).to_have_text("1")
    page.get_by_role("link", name="Changes").click()
    expect(page.get_by_text("undone by Bob")).to_be_visible()
    page.goto(live + url_of(ardern))
    expect(page.get_by_role("heading", name="Ms Ardern")).to_be_visible()
    assert Face.objects.filter(person__in=[ardern, jacinda]).count() == 2


@pytest.mark.django_db(transaction=True)
def test_faces_are_ticked_split_off_and_given_back(
    page: Page,
    live: str,
    portraits: dict[str, Person],
    gallery: Gallery,
    bob: User,
    sign_in: SignIn,
) -> None:
    macron = portraits["E M"]
    strange = Face.objects.filter(person=macron).earliest("pk")
    sign_in_page(page, live, sign_in(bob))
    page.goto(live + url_of(macron))
    tick = page.locator(f"#crop-{strange.pk}").get_by_role("checkbox")
    tick.click(force=True)
    expect(page.get_by_text("1 chosen")).to_be_visible()
    name = page.get_by_role("combobox")
    name.type("Somebody New")
    name.press("Enter")
    expect(page.get_by_role("heading", name="Is this Somebody New?")).to_be_visible()
    page.get_by_role("button", name="Yes, it is Somebody New").click()
    toast = page.locator(".toast", has_text="1 face is Somebody New now.")
    expect(toast).to_be_visible()
    expect(page.locator(f"#crop-{strange.pk}")).to_have_count(0)
    strange.refresh_from_db()
    assert strange.person is not None and strange.person.label == "Somebody New"
    toast.get_by_role("button", name="Undo").click()
    expect(page.locator(f"#crop-{strange.pk}")).to_be_visible()
    work(gallery)
    strange.refresh_from_db()
    assert strange.person == macron


@pytest.mark.django_db(transaction=True)
def test_notes_that_were_typed_just_before_leaving_are_saved(
    page: Page, live: str, anna: Person, bob: User, sign_in: SignIn
) -> None:
    sign_in_page(page, live, sign_in(bob))
    page.goto(live + url_of(anna))
    page.get_by_role("textbox", name="Notes").press_sequentially("Left-handed")
    page.goto(live + reverse("people", args=[anna.space.team.slug]))

    def is_saved() -> bool:
        anna.refresh_from_db()
        return anna.notes == "Left-handed"

    wait_until(is_saved, what="the notes")
