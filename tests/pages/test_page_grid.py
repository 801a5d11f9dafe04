"""A gallery's grid: filters, sort orders, and places to start from."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from secrets import token_hex
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from pytest_django import Settings

from persons.faces.identity import resolve_identities
from persons.models import Decision, Face, Gallery, Person, Photo, PhotoState, Team, User
from persons.models.canonical import set_merged_into
from tests.support.factories import FaceFactory, GalleryFactory, PersonFactory, PhotoFactory

SignIn = Callable[[User], Client]
HTMX = {"HX-Request": "true"}
NOON = datetime(2024, 5, 12, 12, tzinfo=UTC)
PLACE = "/t/trip/g/harbour/?show=unknown&at=1700000000.7"


@pytest.fixture
def gallery(team: Team) -> Gallery:
    return GalleryFactory.create(team=team, name="Harbour", slug="harbour")


def url(name: str = "gallery") -> str:
    return reverse(name, args=["trip", "harbour"])


def photo_of(gallery: Gallery, **values: Any) -> Photo:
    values.setdefault("prepared_at", timezone.now())
    return PhotoFactory.create(gallery=gallery, sha256=token_hex(32), **values)


def shown(text: str) -> list[int]:
    return [int(pk) for pk in re.findall(r'<li id="photo-(\d+)"', text)]


def key_of(photo: Photo) -> str:
    since = photo.shown_at - datetime(1970, 1, 1, tzinfo=UTC)
    return f"{since // timedelta(microseconds=1)}.{photo.pk}"


# --- Sheets by key ---


def walk(client: Client, way: str, start: dict[str, str], **query: str) -> list[list[int]]:
    """Sheet after sheet, as the grid asks for them."""
    sheets: list[list[int]] = []
    place = start
    while True:
        text = client.get(url(), {**query, **place}, headers=HTMX).text
        found = re.search(rf'data-{way}="([^"]*)"', text)
        if found is None:
            return sheets
        sheets.append(shown(text))
        if not found[1]:
            return sheets
        place = {"before" if way == "older" else "after": found[1]}


@pytest.mark.parametrize("sort", ["taken", "uploaded"])
def test_every_photo_is_shown_once_in_either_order_also_with_equal_dates(
    gallery: Gallery, vera: User, sign_in: SignIn, monkeypatch: pytest.MonkeyPatch, sort: str
) -> None:
    monkeypatch.setattr("dashboard.pages.galleries.sheets.SHEET", 4)
    moments = [NOON, NOON, NOON, NOON, NOON, NOON, NOON - timedelta(days=400), NOON, None, NOON]
    photos = [photo_of(gallery, taken_at=moment) for moment in moments]
    wanted = sorted(photos, key=lambda photo: (photo.shown_at, photo.pk), reverse=True)
    if sort == "uploaded":
        wanted = photos[::-1]
    client = sign_in(vera)
    down = walk(client, "older", {}, sort=sort)
    assert [pk for sheet in down for pk in sheet] == [photo.pk for photo in wanted]
    assert max(map(len, down)) <= 4
    # And back up from the last one.
    last = wanted[-1]
    start = {"after": str(last.pk) if sort == "uploaded" else key_of(last)}
    up = walk(client, "newer", start, sort=sort)
    assert [pk for sheet in up[::-1] for pk in sheet] == [photo.pk for photo in wanted[:-1]]


def test_photos_that_come_meanwhile_neither_repeat_nor_hide_any(
    gallery: Gallery, vera: User, sign_in: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dashboard.pages.galleries.sheets.SHEET", 3)
    photos = [photo_of(gallery) for _ in range(9)]
    client = sign_in(vera)
    seen: list[int] = []
    place: dict[str, str] = {}
    while True:
        text = client.get(url(), place, headers=HTMX).text
        seen += shown(text)
        photo_of(gallery)
        older = re.search(r'data-older="([^"]+)"', text)
        if not older:
            break
        place = {"before": older[1]}
    assert seen == [photo.pk for photo in photos[::-1]]


def test_a_sheet_that_was_dropped_comes_back_by_its_two_ends(
    gallery: Gallery, vera: User, sign_in: SignIn
) -> None:
    photos = [photo_of(gallery) for _ in range(6)]
    ends = {"first": key_of(photos[4]), "last": key_of(photos[1])}
    text = sign_in(vera).get(url(), ends, headers=HTMX).text
    assert shown(text) == [photo.pk for photo in photos[4:0:-1]]
    text = sign_in(vera).get(url(), {"before": key_of(photos[4]), "last": key_of(photos[1])}).text
    assert shown(text) == [photo.pk for photo in photos[3:0:-1]]


def test_a_place_begins_with_its_photo_and_knows_the_way_up(
    gallery: Gallery, vera: User, sign_in: SignIn
) -> None:
    photos = [photo_of(gallery) for _ in range(5)]
    page = sign_in(vera).get(url(), {"at": key_of(photos[2])}).text
    assert shown(page) == [photo.pk for photo in photos[2::-1]]
    assert "Newer photos" in page
    assert "Older photos" not in page
    assert "<h1>Harbour</h1>" in page


def test_without_scripts_older_and_newer_pages_are_links(
    gallery: Gallery, vera: User, sign_in: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dashboard.pages.galleries.sheets.SHEET", 2)
    photos = [photo_of(gallery) for _ in range(5)]
    client = sign_in(vera)
    first = client.get(url(), {"show": "none"}).text
    older = re.search(r'rel="next" href="([^"]+)"', first)
    assert older
    assert "show=none" in older[1]
    second = client.get(url() + older[1].replace("&amp;", "&")).text
    assert shown(second) == [photos[2].pk, photos[1].pk]
    newer = re.search(r'rel="prev" href="([^"]+)"', second)
    assert newer
    assert shown(client.get(url() + newer[1].replace("&amp;", "&")).text) == shown(first)


KEYS = ["x", "-1", "\uff19", "9" * 30, "1.", ".1", "1.1.1", "-" + "9" * 17 + ".1"]


@pytest.mark.parametrize("sort", ["taken", "uploaded"])
@pytest.mark.parametrize("key", KEYS)
def test_a_key_that_is_none_is_an_error_that_names_it(
    gallery: Gallery, vera: User, sign_in: SignIn, key: str, sort: str
) -> None:
    photo_of(gallery)
    for name in ("before", "at", "after"):
        response = sign_in(vera).get(url(), {name: key, "sort": sort})
        assert response.status_code == 400
        assert f'<code class="mono">{name}</code>' in response.text
        assert shown(response.text) == []


# --- Headings ---


def headings(client: Client, **query: str) -> list[str]:
    return re.findall(r'<h2 class="day"[^>]*>([^<]+)<', client.get(url(), query).text)


def test_headings_are_days_and_months_where_days_have_few(
    gallery: Gallery, vera: User, sign_in: SignIn
) -> None:
    for _ in range(5):
        photo_of(gallery, taken_at=NOON)
    for day in range(4):
        photo_of(gallery, taken_at=datetime(2023, 3, 2 + day * 5, tzinfo=UTC))
    photo_of(gallery)
    assert headings(sign_in(vera)) == ["Today", "12 May 2024", "March 2023"]
    assert headings(sign_in(vera), sort="uploaded") == ["Today"]


def test_a_day_is_not_cut_for_a_scrap_at_a_sheet_s_end(
    gallery: Gallery, vera: User, sign_in: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dashboard.pages.galleries.sheets.SHEET", 6)
    monkeypatch.setattr("dashboard.pages.galleries.sheets.SHORT", 3)
    monkeypatch.setattr("dashboard.pages.galleries.sheets.DENSE", 1)
    for _ in range(4):
        photo_of(gallery, taken_at=NOON)
    for _ in range(4):
        photo_of(gallery, taken_at=NOON - timedelta(days=1))
    sheets = walk(sign_in(vera), "older", {})
    assert [len(sheet) for sheet in sheets] == [4, 4]


def test_a_day_that_goes_on_says_so(
    gallery: Gallery, vera: User, sign_in: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dashboard.pages.galleries.sheets.SHEET", 4)
    for _ in range(6):
        photo_of(gallery, taken_at=NOON)
    assert 'class="tiles is-continued"' in sign_in(vera).get(url()).text


# --- Filters ---


@pytest.fixture
def anna(gallery: Gallery) -> Person:
    return PersonFactory.create(space=gallery.space, label="Anna")


@pytest.fixture
def bea(gallery: Gallery) -> Person:
    return PersonFactory.create(space=gallery.space, label="Bea")


def test_the_old_filters_show_what_they_say(gallery: Gallery, vera: User, sign_in: SignIn) -> None:
    unknown, failed, empty = photo_of(gallery), photo_of(gallery, state="failed"), photo_of(gallery)
    FaceFactory.create(photo=unknown)
    client = sign_in(vera)

    def under(show: str) -> list[int]:
        return shown(client.get(url(), {"show": show}).text)

    assert under("unknown") == [unknown.pk]
    assert under("failed") == [failed.pk]
    assert under("none") == [empty.pk]
    assert len(under("")) == 3
    assert under("nonsense") == []
    dates = client.get(url("gallery_dates"), headers=HTMX).text
    assert re.findall(r'<span class="n">(\d+)', dates) == ["3", "1", "1"]


def test_with_all_of_these_people(
    gallery: Gallery, anna: Person, bea: Person, vera: User, sign_in: SignIn
) -> None:
    both, one = photo_of(gallery), photo_of(gallery)
    photo_of(gallery)
    FaceFactory.create(photo=both, person=anna)
    FaceFactory.create(photo=both, person=bea, left=40, right=60)
    FaceFactory.create(photo=one, person=anna)
    gone = FaceFactory.create(photo=one, person=bea, decision=Decision.NAMED, left=40, right=60)
    Face.objects.filter(pk=gone.pk).update(missing=True)
    elsewhere = photo_of(GalleryFactory.create(team=gallery.team))
    FaceFactory.create(photo=elsewhere, person=anna)
    client = sign_in(vera)
    assert shown(client.get(url(), {"person": anna.person_id}).text) == [one.pk, both.pk]
    together = {"person": [anna.person_id, bea.person_id]}
    page = client.get(url(), together).text
    assert shown(page) == [both.pk]
    assert ">With Anna<" in page
    assert f'href="?person={bea.person_id}"' in page


def test_people_are_found_beyond_the_photos_that_are_looked_at_first(
    gallery: Gallery,
    anna: Person,
    vera: User,
    sign_in: SignIn,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dashboard.pages.galleries.sheets.WINDOW", 3)
    photos = [photo_of(gallery) for _ in range(12)]
    for photo in photos[::4]:
        FaceFactory.create(photo=photo, person=anna)
    page = sign_in(vera).get(url(), {"person": anna.person_id}).text
    assert shown(page) == [photo.pk for photo in photos[::4]][::-1]


def test_a_merged_person_s_link_shows_whom_they_turned_out_to_be(
    gallery: Gallery, anna: Person, bea: Person, vera: User, sign_in: SignIn
) -> None:
    photo = photo_of(gallery)
    FaceFactory.create(photo=photo, person=anna)
    set_merged_into(bea, anna)
    page = sign_in(vera).get(url(), {"person": bea.person_id}).text
    assert shown(page) == [photo.pk]
    assert ">With Anna<" in page


def test_photos_in_the_trash_are_in_no_filter(
    gallery: Gallery, anna: Person, vera: User, sign_in: SignIn
) -> None:
    kept, gone = photo_of(gallery), photo_of(gallery)
    for photo in (kept, gone):
        FaceFactory.create(photo=photo, person=anna)
        FaceFactory.create(photo=photo, left=40, right=60)
    Photo.objects.filter(pk=gone.pk).update(trashed_at=timezone.now())
    Face.objects.filter(photo=gone).update(trashed=True)
    client = sign_in(vera)
    for query in ({}, {"person": anna.person_id}, {"show": "unknown"}, {"sort": "uploaded"}):
        assert shown(client.get(url(), query).text) == [kept.pk], query
    dates = client.get(url("gallery_dates"), headers=HTMX).text
    assert re.findall(r'<span class="n">(\d+)', dates) == ["1", "1", "0"]
    assert 'data-total="1"' in dates


def test_filters_combine_and_go_one_by_one(
    gallery: Gallery, anna: Person, bob: User, alice: User, vera: User, sign_in: SignIn
) -> None:
    wanted = photo_of(gallery, uploaded_by=bob, taken_at=NOON)
    others = [
        photo_of(gallery, uploaded_by=alice, taken_at=NOON),
        photo_of(gallery, uploaded_by=bob, taken_at=NOON + timedelta(days=1)),
        photo_of(gallery, uploaded_by=bob, taken_at=NOON - timedelta(days=1)),
    ]
    for photo in (wanted, *others):
        FaceFactory.create(photo=photo, person=anna)
    query = {
        "person": str(anna.person_id),
        "by": str(bob.pk),
        "from": "2024-05-12",
        "to": "2024-05-12",
        "sort": "uploaded",
    }
    page = sign_in(vera).get(url(), query).text
    assert shown(page) == [wanted.pk]
    assert (
        f'href="{reverse("photo", args=["trip", wanted.pk])}?{urlencode(query)}"'.replace(
            "&", "&amp;"
        )
        in page
    )
    for text, gone in [
        ("With Anna", "person"),
        ("Uploaded by Bob", "by"),
        ("From 12 May 2024", "from"),
        ("To 12 May 2024", "to"),
    ]:
        rest = urlencode({name: value for name, value in query.items() if name != gone})
        assert f'href="?{rest}"'.replace("&", "&amp;") in page, text
        assert text in page
    assert 'href="?sort=uploaded">Clear all' in page


NONSENSE = [
    {"person": "x"},
    {"person": "9" * 40},
    {"by": "-1"},
    {"from": "2024-13-01", "to": "yesterday"},
    {"from": "0001-01-01", "to": "9999-12-31"},
    {"sort": "size", "show": "all"},
]


@pytest.mark.parametrize("query", NONSENSE, ids=str)
def test_a_filter_that_makes_no_sense_is_an_error_that_names_it(
    gallery: Gallery, vera: User, sign_in: SignIn, query: dict[str, str]
) -> None:
    photo_of(gallery)
    response = sign_in(vera).get(url(), query)
    assert response.status_code == 400
    assert shown(response.text) == []
    for name in query:
        assert f'<code class="mono">{name}</code>' in response.text
    for part in ("gallery_tiles", "gallery_dates", "gallery_range"):
        told = sign_in(vera).get(url(part), query, headers=HTMX)
        assert told.status_code == 400
        assert next(iter(query)) in told.text


def test_somebody_who_is_not_there_is_a_filter_that_shows_nothing(
    gallery: Gallery, vera: User, sign_in: SignIn
) -> None:
    photo_of(gallery)
    page = sign_in(vera).get(url(), {"person": "77", "by": "123456"}).text
    assert shown(page) == []
    assert "With nobody (person77)" in page
    assert "Uploaded by somebody who is gone" in page
    assert "No photo fits all of these filters" in page


def test_a_typed_name_becomes_a_filter(
    gallery: Gallery, anna: Person, bea: Person, vera: User, sign_in: SignIn
) -> None:
    client = sign_in(vera)
    query = {"with": " aNNa ", "person": str(bea.person_id), "by": "", "from": "", "to": ""}
    response = client.get(url(), query)
    assert response["Location"] == f"{url()}?person={bea.person_id}&person={anna.person_id}"
    # The beginning of a name will do where only one person has it.
    response = client.get(url(), {"with": "be"})
    assert response["Location"] == f"{url()}?person={bea.person_id}"
    response = client.get(url(), {"with": "Zoe", "show": "unknown"}, follow=True)
    assert response.redirect_chain == [(f"{url()}?show=unknown", 302)]
    assert "Nobody in Space 0 is called “Zoe”." in response.text
    assert client.get(url(), {"with": "", "by": "7"})["Location"] == f"{url()}?by=7"


def test_names_are_offered_as_they_are_typed(
    gallery: Gallery, anna: Person, bea: Person, vera: User, sign_in: SignIn
) -> None:
    PersonFactory.create(label="Annabel elsewhere")
    Person.objects.filter(pk=bea.pk).update(hidden=True)
    client = sign_in(vera)

    def offered(typed: str) -> list[str]:
        text = client.get(url("gallery_people"), {"with": typed}, headers=HTMX).text
        return re.findall(r'data-label="([^"]*)"', text)

    assert offered("ann") == ["Anna"]
    assert offered("") == ["Anna"]
    assert offered("zz") == []


EMPTY = [
    ({"show": "unknown"}, "Every face here has a name"),
    ({"show": "failed"}, "Nothing failed"),
    ({"show": "none"}, "Every photo has a face"),
    ({"person": "1"}, "No photo here shows this person"),
    ({"person": ["1", "2"]}, "They are on no photo together"),
    ({"person": "1", "show": "unknown"}, "No photo fits all of these filters"),
    ({"from": "2020-01-01"}, "No photo fits all of these filters"),
]


@pytest.mark.parametrize(("query", "words"), EMPTY, ids=str)
def test_each_filter_says_what_it_means_that_nothing_is_there(
    gallery: Gallery, vera: User, sign_in: SignIn, query: dict[str, Any], words: str
) -> None:
    page = sign_in(vera).get(url(), query).text
    assert words in page
    assert "Show all photos" in page


# --- Dates and counts ---


def test_months_lead_to_their_first_photo(gallery: Gallery, vera: User, sign_in: SignIn) -> None:
    may = [photo_of(gallery, taken_at=NOON) for _ in range(3)]
    march = [photo_of(gallery, taken_at=datetime(2023, 3, 31, 23, 59, 59, 999999, UTC))]
    client = sign_in(vera)
    for sort in ("taken", "uploaded"):
        text = client.get(url("gallery_dates"), {"sort": sort}, headers=HTMX).text
        links = re.findall(r'data-before="([^"]+)" data-month="([^"]+)" data-count="(\d+)"', text)
        months = {month: (key, int(count)) for key, month, count in links}
        if sort == "taken":
            assert [(month, count) for month, (_, count) in months.items()] == [
                ("2024-05", 3),
                ("2023-03", 1),
            ]
            page = client.get(url(), {"before": months["2023-03"][0]}).text
            assert shown(page) == [march[0].pk]
            page = client.get(url(), {"before": months["2024-05"][0]}).text
            assert shown(page) == [photo.pk for photo in [*may[::-1], *march]]
        else:
            ((key, count),) = months.values()
            assert count == 4
            page = client.get(url(), {"before": key, "sort": sort}).text
            assert len(shown(page)) == 4


def test_months_of_a_filter_count_that_filter(
    gallery: Gallery, vera: User, sign_in: SignIn
) -> None:
    FaceFactory.create(photo=photo_of(gallery))
    photo_of(gallery)
    text = sign_in(vera).get(url("gallery_dates"), {"show": "unknown"}, headers=HTMX).text
    assert 'data-total="1"' in text
    assert "?show=unknown&amp;before=" in text


def test_a_large_gallery_s_months_are_counted_once_in_a_while(
    gallery: Gallery, vera: User, sign_in: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dashboard.pages.galleries.grid.COUNTED_AT_ONCE", 1)
    for _ in range(2):
        photo_of(gallery)
    client = sign_in(vera)
    assert 'data-total="2"' in client.get(url("gallery_dates"), headers=HTMX).text
    photo_of(gallery)
    text = client.get(url("gallery_dates"), headers=HTMX).text
    assert 'data-total="2"' in text
    assert '<span class="n">3</span>' in text


# --- What it costs ---


def queries(client: Client, address: str, **query: Any) -> int:
    with CaptureQueriesContext(connection) as captured:
        assert client.get(address, query).status_code == 200
    return len(captured)


def test_queries_are_as_many_for_few_photos_as_for_many(
    gallery: Gallery, anna: Person, bea: Person, vera: User, sign_in: SignIn
) -> None:
    client = sign_in(vera)
    both = {"person": [anna.person_id, bea.person_id]}

    def costs() -> list[int]:
        return [
            queries(client, url()),
            queries(client, url(), sort="uploaded"),
            queries(client, url(), show="unknown"),
            queries(client, url(), **both),
            queries(client, url("gallery_dates")),
            queries(client, url("gallery_range")),
            queries(client, url("gallery_people"), **{"with": "a"}),
        ]

    def fill(count: int) -> None:
        for _ in range(count):
            photo = photo_of(gallery)
            FaceFactory.create(photo=photo, person=anna, resolved__skip=True)
            FaceFactory.create(photo=photo, person=bea, left=40, right=60, resolved__skip=True)
            FaceFactory.create(photo=photo, left=1, right=9, resolved__skip=True)
        resolve_identities(Photo.objects.values_list("pk", flat=True))

    fill(2)
    few = costs()
    fill(70)
    # With a full sheet nothing is looked up beyond the photos that are looked at first.
    many = costs()
    assert many == [few[0], few[1], few[2], few[3] - 1, few[4], few[5], few[6]]


def test_a_full_page_stays_small(gallery: Gallery, vera: User, sign_in: SignIn) -> None:
    anna = PersonFactory.create(space=gallery.space, label="Anastasia-Wilhelmina Featherstone")
    for _ in range(61):
        FaceFactory.create(photo=photo_of(gallery), person=anna, resolved__skip=True)
    resolve_identities(Photo.objects.values_list("pk", flat=True))
    assert len(sign_in(vera).get(url()).content) < 300_000 / 2


# --- Ranges for the selection ---


def ranged(client: Client, **query: str) -> dict[str, Any]:
    response = client.get(url("gallery_range"), query)
    assert response.status_code == 200
    return dict(response.json())


def test_a_range_is_what_stands_between_two_keys_under_the_same_filter(
    gallery: Gallery, vera: User, sign_in: SignIn
) -> None:
    photos = [photo_of(gallery) for _ in range(8)]
    for photo in photos[::2]:
        FaceFactory.create(photo=photo)
    client = sign_in(vera)
    ends = {"one": key_of(photos[6]), "other": key_of(photos[2])}
    wanted = [photo.pk for photo in photos[6:1:-1]]
    assert ranged(client, **ends) == {"photos": wanted, "more": False}
    turned = {"one": ends["other"], "other": ends["one"]}
    assert ranged(client, **turned)["photos"] == wanted
    assert ranged(client, **ends, show="unknown")["photos"] == wanted[::2]
    by_upload = {"one": str(photos[6].pk), "other": str(photos[2].pk), "sort": "uploaded"}
    assert ranged(client, **by_upload)["photos"] == wanted
    assert len(ranged(client)["photos"]) == 8


def test_what_stands_under_a_heading_is_a_range(
    gallery: Gallery, vera: User, sign_in: SignIn, settings: Settings
) -> None:
    settings.TIME_ZONE = "Europe/Moscow"
    # In Moscow it is the 13th already from nine in the evening on.
    times = [NOON - timedelta(days=40), NOON, NOON + timedelta(hours=8), NOON + timedelta(hours=9)]
    photos = [photo_of(gallery, taken_at=at, shown_at=at) for at in times]
    FaceFactory.create(photo=photos[2])
    client = sign_in(vera)
    day = f"{NOON:%Y-%m-%d}"
    assert ranged(client, day=day)["photos"] == [photos[2].pk, photos[1].pk]
    assert ranged(client, day=day[:7])["photos"] == [one.pk for one in photos[:0:-1]]
    assert ranged(client, day=day, show="unknown")["photos"] == [photos[2].pk]
    today = f"{timezone.localdate():%Y-%m-%d}"
    assert len(ranged(client, day=today, sort="uploaded")["photos"]) == 4
    for nonsense in ("", "tomorrow", "0001-01-01", "9999-12-31", "2024-13", "2024\0"):
        assert client.get(url("gallery_range"), {"day": nonsense}).status_code == 400


def test_a_range_is_bounded_and_says_so(
    gallery: Gallery, vera: User, sign_in: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dashboard.pages.galleries.sheets.MOST_SELECTED", 3)
    photos = [photo_of(gallery) for _ in range(5)]
    answer = ranged(sign_in(vera))
    assert answer == {"photos": [photo.pk for photo in photos[:1:-1]], "more": True}


def test_a_range_with_one_end_is_refused(gallery: Gallery, vera: User, sign_in: SignIn) -> None:
    photo = photo_of(gallery)
    client = sign_in(vera)
    for query in ({"one": key_of(photo)}, {"one": key_of(photo), "other": "x"}):
        assert client.get(url("gallery_range"), query).status_code == 400


# --- Recognising again, and what that costs ---


def test_what_recognising_again_costs_is_counted_when_it_is_asked(
    gallery: Gallery, bob: User, sign_in: SignIn
) -> None:
    photo_of(gallery, sent_sha256="1" * 64)
    photo_of(gallery, state=PhotoState.NEW)
    client = sign_in(bob)
    text = client.get(url("gallery_again"), headers=HTMX).text
    assert "That is 1 image, recognised here, free of charge." in text
    words = client.get(url("gallery_again"), {"photos": "37"})
    assert words.text == "That is 37 images, recognised here, free of charge."


# --- What the tabs count, and where somebody comes back to ---


def test_tabs_have_no_numbers_of_the_whole_gallery_where_other_filters_are_on(
    gallery: Gallery, bob: User, vera: User, sign_in: SignIn
) -> None:
    photo_of(gallery, uploaded_by=bob)
    photo_of(gallery)
    client = sign_in(vera)
    text = client.get(url("gallery_dates")).text
    assert 'All <span class="n">2</span>' in text
    assert 'id="fitting"' not in text
    text = client.get(url("gallery_dates"), {"by": bob.pk}).text
    assert '<span class="n">' not in text
    assert '<li id="fitting" class="muted small num" hx-swap-oob="true">1 photo</li>' in text
    assert 'id="fitting"' in client.get(url(), {"by": bob.pk}).text


def test_days_that_are_the_wrong_way_round_are_turned(
    gallery: Gallery, vera: User, sign_in: SignIn
) -> None:
    photo = photo_of(gallery, shown_at=datetime(2024, 5, 12, 12, tzinfo=UTC))
    text = sign_in(vera).get(url(), {"from": "2024-06-01", "to": "2024-05-01"}).text
    assert shown(text) == [photo.pk]
    assert "From 1 May 2024" in text
    assert "To 1 Jun 2024" in text


def test_the_tabs_count_photos_that_have_just_come(
    gallery: Gallery, vera: User, sign_in: SignIn
) -> None:
    photo_of(gallery)
    client = sign_in(vera)
    assert 'id="filters"' not in client.get(url("gallery_tiles")).text
    assert 'All <span class="n">1</span>' in client.get(url("gallery_tiles"), {"came": "1"}).text


@pytest.mark.parametrize(
    ("page", "back"),
    [
        (f"http://testserver{PLACE}", PLACE),
        (f"https://elsewhere.example{PLACE}", PLACE),
        ("http://testserver//elsewhere.example/g", "/"),
        ("javascript:alert(1)", "/"),
        ("", "/"),
    ],
)
def test_whoever_was_signed_out_comes_back_to_the_same_place(
    page: str, back: str, gallery: Gallery, client: Client
) -> None:
    headers = {"HX-Request": "true", "HX-Current-URL": page}
    away = urlsplit(client.get(url(), headers=headers)["HX-Redirect"])
    assert parse_qs(away.query)["next"] == [back]
