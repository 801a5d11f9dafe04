"""The list of a team's people."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import unescape
from secrets import token_hex
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from playwright.sync_api import Page, expect
from pytest_django import DjangoAssertNumQueries

from dashboard.pages.people.people import PEOPLE_PAGE
from persons.models import (
    Face,
    Gallery,
    Person,
    Space,
    Team,
    User,
)
from tests.support.factories import (
    PASSWORD,
    FaceFactory,
    GalleryFactory,
    PersonFactory,
    PhotoFactory,
)

SignIn = Callable[[User], Client]


@pytest.fixture
def gallery(team: Team) -> Gallery:
    return GalleryFactory.create(team=team, name="Harbour")


@pytest.fixture
def space(gallery: Gallery) -> Space:
    return gallery.space


@pytest.fixture
def anna(space: Space) -> Person:
    return PersonFactory.create(space=space, label="Anna")


def face_of(person: Person | None, gallery: Gallery, **values: Any) -> Face:
    photo = PhotoFactory.create(gallery=gallery, sha256=token_hex(32))
    return FaceFactory.create(photo=photo, person=person, **values)


def people_url(team: Team) -> str:
    return reverse("people", args=[team.slug])


def part(client: Client, url: str, target: str) -> Any:
    return client.get(url, headers={"HX-Request": "true", "HX-Target": target})


# --- The list ---


def shown(page: str) -> list[str]:
    """Names, in the order in which the list has them."""
    return [unescape(name) for name in re.findall(r'<strong title="([^"]*)"', page)]


def test_people_of_all_spaces_are_sorted_by_name_without_case_and_accents(
    team: Team, vera: User, sign_in: SignIn
) -> None:
    labels = [(2, "Adam"), (0, "zoe"), (0, "Bea"), (1, "Ådne"), (0, ""), (0, "Élodie")]
    for number, label in labels:
        PersonFactory.create(space=team.spaces.get(number=number), label=label)
    page = sign_in(vera).get(people_url(team)).text
    unnamed = Person.objects.get(label="").name
    assert shown(page) == ["Adam", "Ådne", "Bea", "Élodie", "zoe", unnamed]
    assert "Space 2" in page[page.index('title="Adam"') :]


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        ("", ["Anna", "Bea", "Cid"]),
        ("faces", ["Cid", "Anna", "Bea"]),
        ("new", ["Bea", "Cid", "Anna"]),
    ],
)
def test_the_list_is_sorted_as_asked(
    space: Space, vera: User, sign_in: SignIn, sort: str, order: list[str]
) -> None:
    for label, faces in (("Anna", 3), ("Cid", 7), ("Bea", 1)):
        PersonFactory.create(space=space, label=label, face_count=faces)
    assert shown(sign_in(vera).get(people_url(space.team), {"sort": sort}).text) == order


def test_hidden_and_merged_people_are_left_out_and_the_hidden_can_be_looked_at(
    anna: Person, vera: User, sign_in: SignIn
) -> None:
    space = anna.space
    PersonFactory.create(space=space, label="Ann", merged_into=anna)
    PersonFactory.create(space=space, label="Passer-by", hidden=True)
    unnamed = PersonFactory.create(space=space, label="")
    client = sign_in(vera)
    url = people_url(space.team)
    assert shown(client.get(url).text) == ["Anna", unnamed.name]
    assert shown(client.get(url, {"show": "hidden"}).text) == ["Passer-by"]
    assert shown(client.get(url, {"show": "unnamed"}).text) == [unnamed.name]


def test_the_list_filters_by_space_and_searches_within_it(
    team: Team, vera: User, sign_in: SignIn
) -> None:
    for number, label in [(0, "Anna"), (1, "Annika"), (1, "Bob")]:
        PersonFactory.create(space=team.spaces.get(number=number), label=label)
    page = sign_in(vera).get(people_url(team), {"space": "1", "q": "ann"}).text
    assert shown(page) == ["Annika"]


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("ann", ["Anna Müller"]),
        ("MULL", ["Anna Müller"]),
        ("müll", ["Anna Müller"]),
        ("jean-l", ["Jean-Luc O'Brien"]),
        ("obr", ["Jean-Luc O'Brien"]),
        ("o\u2019brien", ["Jean-Luc O'Brien"]),
        ("luc", ["Jean-Luc O'Brien"]),
        ("анн", ["Анна Ёлкина"]),
        ("елк", ["Анна Ёлкина"]),
        ("太郎", ["山田太郎"]),
        ("ller", ["Anna Müller"]),
        ("zzz", []),
        ("%", []),
        ("_", []),
    ],
)
def test_people_are_found_by_any_word_of_their_name(
    space: Space, vera: User, sign_in: SignIn, typed: str, found: list[str]
) -> None:
    for label in ("Anna Müller", "Jean-Luc O'Brien", "Анна Ёлкина", "山田太郎"):
        PersonFactory.create(space=space, label=label)
    assert shown(sign_in(vera).get(people_url(space.team), {"q": typed}).text) == found


def test_an_old_name_leads_to_whom_its_owner_was_merged_into(
    anna: Person, vera: User, sign_in: SignIn
) -> None:
    PersonFactory.create(space=anna.space, label="Mystery woman", merged_into=anna)
    assert shown(sign_in(vera).get(people_url(anna.space.team), {"q": "myst"}).text) == ["Anna"]


def test_many_who_are_found_are_still_listed_page_by_page(
    space: Space, vera: User, sign_in: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dashboard.pages.people.people.MOST_FOUND", 1)
    for label in ("Ada One", "Bob Ada", "Cid"):
        PersonFactory.create(space=space, label=label)
    assert shown(sign_in(vera).get(people_url(space.team), {"q": "ada"}).text) == [
        "Ada One",
        "Bob Ada",
    ]


def test_a_person_is_found_by_the_number_on_the_wire(
    team: Team, anna: Person, vera: User, sign_in: SignIn
) -> None:
    PersonFactory.create(space=anna.space, label="Somebody")
    client = sign_in(vera)
    for typed in (anna.tag, str(anna.person_id)):
        assert shown(client.get(people_url(team), {"q": typed}).text) == ["Anna"]


def test_another_team_s_people_are_not_in_it(
    team: Team, charlie: User, vera: User, sign_in: SignIn
) -> None:
    PersonFactory.create(space=charlie.teams.get().spaces.get(number=0), label="Stranger")
    client = sign_in(vera)
    for query in ({}, {"q": "stranger"}, {"q": "trange"}):
        assert "Stranger" not in shown(client.get(people_url(team), query).text)


@pytest.mark.parametrize("sort", ["name", "faces", "new"])
def test_paging_reaches_everybody_once_and_back(
    team: Team, vera: User, sign_in: SignIn, sort: str
) -> None:
    space, other = team.spaces.get(number=0), team.spaces.get(number=1)
    everybody = [
        Person(
            space=space if n % 3 else other,
            person_id=n,
            label=f"Name {n % 90:02}.{n}" if n % 7 else "",
            face_count=n % 5,
        )
        for n in range(1, 2 * PEOPLE_PAGE + 20)
    ]
    Person.objects.bulk_create(everybody)
    client = sign_in(vera)

    def walk(way: str, key: str | None) -> list[list[int]]:
        pages = []
        while True:
            query = {"sort": sort} | ({way: key} if key else {})
            page = client.get(people_url(team), query).context["page"]
            pages.append([person.pk for person in page.people])
            last, key = key, page.older if way == "before" else page.newer
            if not key:
                return pages if way == "before" else [*pages, [int(last is not None)]]

    there = walk("before", None)
    assert [len(page) for page in there] == [PEOPLE_PAGE, PEOPLE_PAGE, 19]
    seen = [pk for page in there for pk in page]
    assert len(set(seen)) == len(everybody)
    third = client.get(people_url(team), {"sort": sort}).context["page"]
    second = client.get(people_url(team), {"sort": sort, "before": third.older}).context["page"]
    assert [one.pk for one in second.people] == there[1]
    first = client.get(people_url(team), {"sort": sort, "after": second.newer}).context["page"]
    assert [one.pk for one in first.people] == there[0]
    assert first.newer is None


@pytest.mark.parametrize("key", ["x", "W10", "....", "²...", "0.0.99999999999999999999.a"])
def test_a_key_that_means_nothing_is_an_error(
    team: Team, anna: Person, vera: User, sign_in: SignIn, key: str
) -> None:
    assert sign_in(vera).get(people_url(team), {"before": key}).status_code == 400


@pytest.mark.parametrize("query", [{"sort": "x"}, {"show": "x"}, {"space": "x"}, {"space": "12"}])
def test_what_the_list_does_not_know_is_an_error_that_names_it(
    team: Team, anna: Person, vera: User, sign_in: SignIn, query: dict[str, str]
) -> None:
    response = sign_in(vera).get(people_url(team), query)
    assert response.status_code == 400
    assert f'<code class="mono">{next(iter(query))}</code>' in response.text
    assert "Anna" not in response.text


@pytest.mark.parametrize("count", [3, 46])
@pytest.mark.parametrize(("query", "queries"), [({}, 10), ({"q": "per"}, 13)])
def test_the_list_asks_the_same_number_of_queries_for_any_length(
    gallery: Gallery,
    vera: User,
    sign_in: SignIn,
    count: int,
    query: dict[str, str],
    queries: int,
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    for _ in range(count):
        face_of(PersonFactory.create(space=gallery.space), gallery)
    client = sign_in(vera)
    with django_assert_num_queries(queries):
        client.get(people_url(gallery.team), query)


def test_the_next_page_comes_as_a_part(anna: Person, vera: User, sign_in: SignIn) -> None:
    text = part(sign_in(vera), people_url(anna.space.team), "chunk").text
    assert text.lstrip().startswith('<section class="chunk"')
    assert shown(text) == ["Anna"]


# --- Several at once ---


def test_an_editor_hides_people_and_lists_them_again(
    anna: Person, bob: User, sign_in: SignIn
) -> None:
    bea = PersonFactory.create(space=anna.space, label="Bea")
    client = sign_in(bob)
    url = reverse("people_hide", args=[anna.space.team.slug])
    page = client.post(url, {"person": [anna.pk, bea.pk], "hidden": "1"}, follow=True).text
    assert "2 people are hidden" in page
    assert Person.objects.filter(hidden=True).count() == 2
    client.post(url, {"person": [anna.pk], "hidden": "0"})
    anna.refresh_from_db()
    assert not anna.hidden


@pytest.mark.parametrize("chosen", [[], ["x"], ["²"], ["9" * 5000], ["99999999"]])
def test_nobody_chosen_changes_nothing(
    anna: Person, bob: User, sign_in: SignIn, chosen: list[str]
) -> None:
    client = sign_in(bob)
    for do in ("people_hide", "people_merge"):
        url = reverse(do, args=[anna.space.team.slug])
        known = all(text.isascii() and text.isdigit() and len(text) < 20 for text in chosen)
        assert client.post(url, {"person": chosen}).status_code == (303 if known else 400)
    anna.refresh_from_db()
    assert not anna.hidden


def test_another_team_s_people_can_t_be_chosen(
    anna: Person, charlie: User, bob: User, sign_in: SignIn
) -> None:
    theirs = PersonFactory.create(space=charlie.teams.get().spaces.get(number=0), label="Theirs")
    url = reverse("people_hide", args=[anna.space.team.slug])
    sign_in(bob).post(url, {"person": [theirs.pk], "hidden": "1"})
    theirs.refresh_from_db()
    assert not theirs.hidden


def test_chosen_people_lead_to_the_preview_of_merging_them(
    anna: Person, bob: User, sign_in: SignIn
) -> None:
    unnamed = PersonFactory.create(space=anna.space, label="", face_count=9)
    url = reverse("people_merge", args=[anna.space.team.slug])
    response = sign_in(bob).post(url, {"person": [unnamed.pk, anna.pk]})
    preview = reverse("person_merge", args=[anna.space.team.slug, 0, anna.person_id])
    assert response["Location"] == f"{preview}?with={unnamed.person_id}"


def test_people_of_two_spaces_are_not_merged(
    team: Team, anna: Person, bob: User, sign_in: SignIn
) -> None:
    other = PersonFactory.create(space=team.spaces.get(number=4), label="Anna")
    url = reverse("people_merge", args=[team.slug])
    page = sign_in(bob).post(url, {"person": [other.pk, anna.pk]}, follow=True).text
    assert "Vision keeps them apart" in page


def test_a_viewer_can_choose_nobody(anna: Person, vera: User, sign_in: SignIn) -> None:
    assert "data-pick" not in sign_in(vera).get(people_url(anna.space.team)).text


# --- In a browser ---


def enter(page: Page, address: str, name: str) -> None:
    page.goto(address)
    page.fill("[name=username]", name)
    page.fill("[name=password]", PASSWORD)
    # What is typed before a page's scripts run is no search yet.
    with page.expect_navigation():
        page.keyboard.press("Enter")


@pytest.mark.django_db(transaction=True)
def test_a_person_is_looked_for_while_the_name_is_typed(
    live: str, page: Page, anna: Person, bob: User
) -> None:
    PersonFactory.create(space=anna.space, label="Berta")
    enter(page, f"{live}{people_url(anna.space.team)}", "bob")
    page.get_by_role("searchbox").type("bert")
    expect(page.get_by_role("link", name="Anna")).to_be_hidden()
    expect(page.get_by_role("link", name="Berta")).to_be_visible()
    expect(page).to_have_url(re.compile(r"q=bert"))


@pytest.mark.django_db(transaction=True)
def test_a_page_of_people_takes_few_requests_and_more_come_as_one_scrolls(
    live: str, page: Page, space: Space, gallery: Gallery, bob: User
) -> None:
    people = [Person(space=space, person_id=n, label=f"Name {n:03}") for n in range(1, 301)]
    for person in Person.objects.bulk_create(people):
        face = FaceFactory.build(photo=None, person=person)
        photo = PhotoFactory.create(gallery=gallery, sha256=token_hex(32))
        face.photo, face.gallery, face.space, face.found_person = photo, gallery, space, person
        Face.objects.bulk_create([face])
    asked: list[str] = []
    enter(page, f"{live}{people_url(space.team)}", "bob")
    expect(page.get_by_text("Name 001")).to_be_visible()
    page.wait_for_load_state("networkidle")  # or crops of the first visit would be counted
    page.on("request", lambda request: asked.append(request.url))
    page.reload(wait_until="networkidle")
    # Browsers keep static files for good: their names change with their contents.
    asked = [url for url in asked if "/static/" not in url]
    assert len(asked) <= 16, "\n".join(asked)
    assert sum("/media/face/" in url for url in asked) >= 12
    for _ in range(60):
        page.mouse.wheel(0, 1500)
        page.wait_for_timeout(40)
        if page.get_by_text("Name 300").is_visible():
            break
    expect(page.get_by_text("Name 300")).to_be_visible()
    assert page.locator(".person-card").count() < 250
    expect(page).to_have_url(re.compile("before="))
    page.evaluate("scrollTo(0, 0)")
    expect(page.get_by_text("Name 001")).to_be_visible()


@pytest.mark.django_db(transaction=True)
def test_people_are_chosen_with_shift_and_hidden(
    live: str, page: Page, space: Space, bob: User
) -> None:
    for n in range(1, 7):
        PersonFactory.create(space=space, label=f"Name {n}")
    enter(page, f"{live}{people_url(space.team)}", "bob")
    page.get_by_role("checkbox", name="Choose Name 2").click()
    page.get_by_role("checkbox", name="Choose Name 5").click(modifiers=["Shift"])
    expect(page.get_by_text("4 chosen")).to_be_visible()
    page.get_by_text("Name 3", exact=True).click()
    expect(page.get_by_text("3 chosen")).to_be_visible()
    page.get_by_role("button", name="Hide").click()
    expect(page.get_by_text("3 people are hidden")).to_be_visible()
    assert set(Person.objects.filter(hidden=True).values_list("label", flat=True)) == {
        "Name 2",
        "Name 4",
        "Name 5",
    }
