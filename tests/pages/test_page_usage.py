"""A team's usage, budget and settings, and estimates of what sending many images would cost."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from dashboard.pages.team.usage import Used, chart, compact, height, later, nice
from dashboard.templatetags.costs import about, money
from persons.actions.keys import create_key
from persons.actions.photos import recognise_gallery_again
from persons.audit import Actor
from persons.billing import metering
from persons.billing.tariff import parse
from persons.models import (
    ApiKey,
    AuditEntry,
    Face,
    Gallery,
    Meter,
    MonthTotal,
    Person,
    Photo,
    PhotoState,
    Review,
    Source,
    Team,
    User,
)
from persons.pipeline.enrolment.rescan import rescan_for
from tests.support.factories import FaceFactory, GalleryFactory, PersonFactory, PhotoFactory, jpeg
from tests.support.groups import make_group
from tests.support.reading import read_text

SignIn = Callable[[User], Client]


@pytest.fixture
def cloud(settings: Settings) -> None:
    settings.VISION_URL = "https://smarty.mail.ru"
    settings.TARIFF = parse("1000:0.06, 0.05")


def usage_url(team: Team, query: str = "") -> str:
    return reverse("usage", args=[team.slug]) + query


def make_key(team: Team, name: str = "Door camera") -> ApiKey:
    return create_key(actor=Actor.command("test"), team=team, name=name)[0]


def used(team: Team, key: ApiKey | None = None, *, month: date | None = None, **by: Any) -> Meter:
    return Meter.objects.create(team=team, key=key, month=month or metering.this_month(), **by)


# --- The month ---


def test_the_month_is_the_sum_of_its_keys_and_our_own_workers(
    cloud: None, team: Team, vera: User, sign_in: SignIn
) -> None:
    used(team, calls=3, images=1200, cost="72", saved_images=40, saved_cost="2.4")
    used(team, make_key(team), calls=1, images=34, cost="2.04")
    page = read_text(sign_in(vera).get(usage_url(team)).text)
    for words in (
        "1,234 images sent",
        "4 calls",
        "74.04 ₽ spent",
        "40 images saved, 2.40 ₽",
        "Rollcall's own workers 3 1,200 40 72.00 ₽",
        "1 34 0 2.04 ₽",
        "In all 4 1,234 40 74.04 ₽",
    ):
        assert words in page


def test_another_teams_use_is_not_in_it(
    cloud: None, team: Team, alice: User, charlie: User, sign_in: SignIn
) -> None:
    others = charlie.teams.get()
    used(others, make_key(others, "Theirs"), images=777)
    page = sign_in(alice).get(usage_url(team)).text
    assert "777" not in read_text(page)
    assert "Theirs" not in page


def test_an_earlier_month_is_chosen_by_its_address(
    cloud: None, team: Team, alice: User, sign_in: SignIn
) -> None:
    before = later(metering.this_month(), -2)
    used(team, make_key(team, "Back then"), month=before, images=55)
    client = sign_in(alice)
    assert "Back then" not in client.get(usage_url(team)).text
    page = read_text(client.get(usage_url(team, f"?month={before:%Y-%m}")).text)
    assert f"Who sent it in {before:%B %Y}" in page
    assert "Back then" in page


@pytest.mark.parametrize("asked", ["x", "1999-01", "2026-13", "%00"])
def test_a_month_that_is_none_is_an_error(
    team: Team, alice: User, sign_in: SignIn, asked: str
) -> None:
    response = sign_in(alice).get(usage_url(team, f"?month={asked}"))
    assert response.status_code == 400
    assert "month" in response.text


@pytest.mark.parametrize("count", [2, 130])
def test_the_page_asks_the_same_number_of_queries_for_any_number_of_keys(
    cloud: None,
    team: Team,
    alice: User,
    sign_in: SignIn,
    count: int,
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    for number in range(count):
        used(team, make_key(team, f"Key {number}"), images=1000 - number, calls=1)
    client = sign_in(alice)
    with django_assert_num_queries(7):
        page = read_text(client.get(usage_url(team)).text)
    rest = sum(1000 - number for number in range(100, count))
    assert (f"All other keys {count - 100} {rest:,}" in page) == (count > 100)


def test_rollcalls_own_recogniser_costs_nothing(team: Team, alice: User, sign_in: SignIn) -> None:
    used(team, calls=1, images=8)
    page = read_text(sign_in(alice).get(usage_url(team)).text)
    assert "costs nothing" in page
    assert "8 images recognised" in page
    assert "Tariff" not in page
    assert "₽ spent" not in page


def test_what_the_cloud_cost_earlier_stays_in_sight(
    team: Team, alice: User, sign_in: SignIn
) -> None:
    used(team, month=later(metering.this_month(), -1), images=100, cost="6")
    assert "6.00 ₽" in read_text(sign_in(alice).get(usage_url(team)).text)


# --- The chart and the ladder ---


def test_twelve_months_are_there_as_bars_and_as_a_table(
    cloud: None, team: Team, alice: User, sign_in: SignIn
) -> None:
    used(team, month=later(metering.this_month(), -11), images=60, saved_images=20)
    used(team, month=later(metering.this_month(), -12), images=4321)
    page = sign_in(alice).get(usage_url(team)).text
    assert page.count("<svg viewBox=") == 12
    assert page.count('<td class="main">') >= 12
    assert '<rect class="sent" x="0" width="10" y="25.0" height="75.0"/>' in page
    assert '<rect class="saved" x="0" width="10" y="0.0" height="25.0"/>' in page
    assert "4,321" not in read_text(page)
    assert " style=" not in page


@pytest.mark.parametrize(
    ("count", "top"),
    [
        (0, 10),
        (1, 10),
        (10, 10),
        (11, 20),
        (81, 100),
        (101, 150),
        (160, 200),
        (1_401_186, 1_500_000),
    ],
)
def test_the_scale_is_round(count: int, top: int) -> None:
    assert nice(count) == top
    assert top % 2 == 0


def test_a_single_image_is_seen_and_none_is_not() -> None:
    assert height(1, 1_000_000) == 1.0
    assert height(0, 10) == 0.0
    bars, _ = chart([date(2026, 1, 1)], {date(2026, 1, 1): Used(images=80, saved_images=20)})
    assert (bars[0].sent_top, bars[0].saved_top) == (20, 0)


def test_large_counts_are_short_on_the_scale() -> None:
    assert [compact(n) for n in (0, 75, 750, 1500, 750_000, 1_500_000)] == [
        *("0", "75", "750", "1.5k", "750k", "1.5M"),
    ]


def test_months_go_over_the_year() -> None:
    assert later(date(2026, 1, 1), -1) == date(2025, 12, 1)
    assert later(date(2026, 12, 1), 1) == date(2027, 1, 1)


@pytest.mark.parametrize(("sent", "current"), [(0, 0), (999, 0), (1000, 1), (5000, 1)])
def test_the_step_of_the_next_image_is_marked(
    cloud: None, team: Team, alice: User, sign_in: SignIn, sent: int, current: int
) -> None:
    MonthTotal.objects.create(month=metering.this_month(), images=sent)
    page = sign_in(alice).get(usage_url(team)).text
    steps = re.findall(r"<li( class=\"is-current\")?[^>]*><span class=\"num\">(?:up to|from)", page)
    assert [bool(mark) for mark in steps] == [number == current for number in range(2)]


@pytest.mark.parametrize(
    ("amount", "shown", "expected"),
    [
        ("0", "0.00 ₽", "0.00 ₽"),
        ("0.06", "0.06 ₽", "0.06 ₽"),
        ("0.0450", "0.045 ₽", "0.05 ₽"),
        ("74.4", "74.40 ₽", "74 ₽"),
        ("1240.505", "1,240.51 ₽", "1,241 ₽"),
    ],
)
def test_amounts_are_readable(amount: str, shown: str, expected: str) -> None:
    assert money(Decimal(amount)).replace("\xa0", " ") == shown
    assert about(Decimal(amount)).replace("\xa0", " ") == expected


# --- The budget ---


@pytest.mark.parametrize(
    ("spent", "words"),
    [
        ("79.99", None),
        ("80", "80% of this month's budget is spent. 20.00 ₽ of 100.00 ₽ is left."),
        ("99.99", "99% of this month's budget is spent."),
        ("100", "This month's budget of 100.00 ₽ is used up."),
        ("130", "This month's budget of 100.00 ₽ is used up."),
    ],
)
def test_a_budget_warns_at_80_percent_and_says_when_it_stops(
    cloud: None, team: Team, alice: User, sign_in: SignIn, spent: str, words: str | None
) -> None:
    Team.objects.filter(pk=team.pk).update(monthly_budget=100)
    used(team, images=1, cost=spent)
    client = sign_in(alice)
    for address in (usage_url(team), reverse("overview", args=[team.slug])):
        page = read_text(client.get(address).text)
        if words is None:
            assert "budget is" not in page
        else:
            assert words in page
    team.refresh_from_db()
    stopped = metering.over_budget(team, backend="cloud")
    assert stopped == (words is not None and "used up" in words)


def test_a_budget_of_nothing_is_used_up(
    cloud: None, team: Team, alice: User, sign_in: SignIn
) -> None:
    Team.objects.filter(pk=team.pk).update(monthly_budget=0)
    assert "is used up" in read_text(sign_in(alice).get(usage_url(team)).text)


def test_a_budget_does_not_concern_what_is_free(team: Team, alice: User, sign_in: SignIn) -> None:
    Team.objects.filter(pk=team.pk).update(monthly_budget=0)
    client = sign_in(alice)
    page = read_text(client.get(usage_url(team)).text)
    assert "used up" not in page
    assert "Has no effect" in page
    assert "used up" not in client.get(reverse("overview", args=[team.slug])).text


# --- Settings ---


def save(client: Client, team: Team, **values: str) -> Any:
    return client.post(reverse("team_settings", args=[team.slug]), values, follow=True)


def test_an_owner_sets_the_budget_and_what_is_kept(
    team: Team, alice: User, sign_in: SignIn
) -> None:
    response = save(sign_in(alice), team, monthly_budget="1500.5", keep_probes="on")
    assert "are saved" in response.text
    team.refresh_from_db()
    assert (team.monthly_budget, team.keep_probes) == (Decimal("1500.50"), True)
    entry = AuditEntry.objects.get(action="team.settings")
    assert entry.before == {"monthly_budget": None, "keep_probes": False}
    assert entry.after == {"monthly_budget": "1500.50", "keep_probes": True}


def test_only_what_changed_is_in_the_log_and_nothing_is_no_entry(
    team: Team, alice: User, sign_in: SignIn
) -> None:
    client = sign_in(alice)
    save(client, team, monthly_budget="10")
    save(client, team, monthly_budget="10.00")
    save(client, team)
    entries = list(AuditEntry.objects.filter(action="team.settings").order_by("pk"))
    assert [entry.after for entry in entries] == [
        {"monthly_budget": "10.00"},
        {"monthly_budget": None},
    ]
    team.refresh_from_db()
    assert team.monthly_budget is None


@pytest.mark.parametrize("typed", ["-1", "much", "1.234", "99999999999", "NaN", "Infinity"])
def test_a_wrong_budget_changes_nothing(
    team: Team, alice: User, sign_in: SignIn, typed: str
) -> None:
    response = save(sign_in(alice), team, monthly_budget=typed, keep_probes="on")
    assert response.status_code == 422
    assert 'aria-invalid="true"' in response.text
    team.refresh_from_db()
    assert (team.monthly_budget, team.keep_probes) == (None, False)


@pytest.mark.parametrize("who", ["bob", "vera", "audrey"])
def test_the_others_see_the_settings_and_can_not_change_them(
    team: Team, sign_in: SignIn, who: str, request: pytest.FixtureRequest
) -> None:
    Team.objects.filter(pk=team.pk).update(monthly_budget=500)
    client = sign_in(request.getfixturevalue(who))
    page = read_text(client.get(usage_url(team)).text)
    assert "500.00 ₽" in page
    assert "not kept: digest and result only" in page
    assert "Budget and privacy" in page
    assert "Empty for no limit" not in page
    assert save(client, team, monthly_budget="1").status_code == 403


def test_strangers_find_nothing_and_wrong_methods_are_refused(
    team: Team, alice: User, charlie: User, sign_in: SignIn
) -> None:
    stranger, owner = sign_in(charlie), sign_in(alice)
    assert stranger.get(usage_url(team)).status_code == 404
    assert save(stranger, team).status_code == 404
    assert owner.post(usage_url(team)).status_code == 405
    assert owner.get(reverse("team_settings", args=[team.slug])).status_code == 405


# --- The estimate before a gallery is recognised again ---


@pytest.fixture
def gallery(team: Team) -> Gallery:
    """Photos in every state; some were never prepared."""
    found: Gallery = GalleryFactory.create(team=team, slug="lake")
    photos = itertools.product(PhotoState.values, ("", "0" * 64))
    for number, (state, sent) in enumerate(photos):
        PhotoFactory.create(
            gallery=found,
            sha256=f"{number:064}",
            state=state,
            sent_sha256=sent,
            claimed_at=timezone.now(),
        )
    return found


def test_the_estimate_counts_exactly_what_the_action_counts(
    cloud: None, team: Team, bob: User, sign_in: SignIn, gallery: Gallery
) -> None:
    page = read_text(sign_in(bob).get(reverse("gallery_again", args=[team.slug, "lake"])).text)
    run = recognise_gallery_again(actor=Actor(bob, Source.PAGE), gallery=gallery)
    assert run.photo_count
    cost = about(metering.estimate(run.photo_count)).replace("\xa0", " ")
    assert f"That is {run.photo_count} images, about {cost}." in page


def test_the_estimate_is_across_the_tariffs_edge(
    cloud: None, team: Team, bob: User, sign_in: SignIn, gallery: Gallery, settings: Settings
) -> None:
    settings.TARIFF = parse("11:100, 10")
    MonthTotal.objects.create(month=metering.this_month(), images=10)
    page = read_text(sign_in(bob).get(reverse("gallery_again", args=[team.slug, "lake"])).text)
    run = recognise_gallery_again(actor=Actor(bob, Source.PAGE), gallery=gallery)
    assert f"about {100 + 10 * (run.photo_count - 1)} ₽" in page


def test_the_estimate_reads_as_a_sentence(
    cloud: None, team: Team, bob: User, sign_in: SignIn, gallery: Gallery, settings: Settings
) -> None:
    settings.TARIFF = parse("1000000:0.06, 10000000:0.05, 100000000:0.04, 0.03")
    gallery.photos.all().delete()
    size = {"size": 1, "width": 1, "height": 1, "shown_at": timezone.now()}
    photo = {"gallery": gallery, "state": PhotoState.DONE, "sent_sha256": "0" * 64, **size}
    Photo.objects.bulk_create(Photo(**photo, sha256=f"{number:064}") for number in range(1240))
    page = read_text(sign_in(bob).get(reverse("gallery_again", args=[team.slug, "lake"])).text)
    assert "That is 1,240 images, about 74 ₽." in page


def test_at_home_it_is_free_and_viewers_are_told_nothing(
    team: Team, bob: User, vera: User, sign_in: SignIn, gallery: Gallery
) -> None:
    address = reverse("gallery_again", args=[team.slug, "lake"])
    assert "recognised here, free of charge" in sign_in(bob).get(address).text
    assert sign_in(vera).get(address).status_code == 403


def test_where_nothing_can_be_sent_the_button_says_so(
    team: Team, bob: User, sign_in: SignIn
) -> None:
    GalleryFactory.create(team=team, slug="empty")
    page = sign_in(bob).get(reverse("gallery_again", args=[team.slug, "empty"])).text
    assert "No photo is ready for it yet." in page


# --- The estimate before somebody is looked for, and before photos are sent ---


@pytest.fixture
def unknowns(gallery: Gallery) -> list[Face]:
    """Two done photos with unknown faces, one of them with two; and one of somebody known."""
    photos = [
        PhotoFactory.create(
            gallery=gallery,
            sha256=f"{number:064x}",
            state=PhotoState.DONE,
            sent_sha256="0" * 64,
            prepared_at=timezone.now(),
        )
        for number in range(10**6, 10**6 + 3)
    ]
    known = PersonFactory.create(space=gallery.space, label="Somebody")
    FaceFactory.create(photo=photos[2], person=known)
    boxes = [(photos[0], 0), (photos[1], 0), (photos[0], 40)]
    return [FaceFactory.create(photo=photo, left=left, right=left + 30) for photo, left in boxes]


def look_words(images: int) -> str:
    cost = about(metering.estimate(images)).replace("\xa0", " ")
    return f"is looked for in the {images} photos with unknown faces: about {cost} each time."


def test_the_price_of_looking_for_somebody_stands_where_faces_are_named(
    cloud: None, team: Team, bob: User, sign_in: SignIn, unknowns: list[Face]
) -> None:
    """And it is what the look then sends: the worker's own count of photos to ask again."""
    client, words = sign_in(bob), look_words(2)
    assert words in read_text(
        client.get(reverse("photo", args=[team.slug, unknowns[0].photo_id])).text
    )
    assert words in read_text(client.get(reverse("review", args=[team.slug])).text)
    asking = {"label": "Anna"}
    client.post(reverse("face_name", args=[team.slug, unknowns[2].pk]), asking)
    anna = Person.objects.get(label="Anna")
    assert rescan_for(anna, found_too=False).photo_count == 2
    address = reverse("person", args=[team.slug, anna.space.number, anna.person_id])
    page = read_text(client.get(f"{address}?view=enrolments").text)
    assert "Then the 2 photos with unknown faces are looked at once more, for about 0.12 ₽." in page


def test_the_price_of_looking_stands_at_groups_and_at_many_at_once(
    cloud: None, team: Team, bob: User, sign_in: SignIn, unknowns: list[Face]
) -> None:
    person = PersonFactory.create(space=unknowns[0].photo.gallery.space, label="Perhaps")
    unsure = FaceFactory.create(photo=unknowns[0].photo, left=80, right=100)
    Face.objects.filter(pk=unsure.pk).update(person=person, review=Review.WEAK)
    group = make_group(unknowns[0].photo.gallery, size=3)
    for name, who in (("review_person", person), ("group", group)):
        address = reverse(name, args=[team.slug, who.space.number, who.person_id])
        assert look_words(2) in read_text(sign_in(bob).get(address).text), name


def test_looking_has_no_price_at_home_or_for_who_may_not_name(
    team: Team, bob: User, vera: User, sign_in: SignIn, unknowns: list[Face], settings: Settings
) -> None:
    addresses = [
        reverse("photo", args=[team.slug, unknowns[0].photo_id]),
        reverse("review", args=[team.slug]),
    ]
    for address in addresses:
        assert "is looked for" not in read_text(sign_in(bob).get(address).text)
    settings.VISION_URL = "https://smarty.mail.ru"
    for address in addresses:
        assert "is looked for" not in read_text(sign_in(vera).get(address).text)


def test_an_upload_says_what_it_costs_before_it_begins(
    cloud: None, team: Team, bob: User, sign_in: SignIn, gallery: Gallery, settings: Settings
) -> None:
    address = reverse("gallery", args=[team.slug, "lake"])
    asking = reverse("gallery_again", args=[team.slug, "lake"])
    page = sign_in(bob).get(address)
    assert "Recognising a new photo costs 0.06 ₽." in read_text(page.text)
    assert f'data-known="{reverse("upload_known", args=[team.slug, "lake"])}"' in page.text
    assert page.text.count(f'data-estimate="{asking}"') == 2  # of what is selected, and of uploads
    told = sign_in(bob).get(f"{asking}?new=12").text.replace("\xa0", " ")
    assert told == "To recognise: 12 images, about 0.72 ₽ at most."
    settings.VISION_URL = ""
    page = sign_in(bob).get(address)
    assert (
        "Recognising a new" not in read_text(page.text)
        and page.text.count(f'data-estimate="{asking}"') == 1
    )


def test_an_import_says_what_it_costs_before_it_begins(
    cloud: None, team: Team, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(3):
        (tmp_path / f"{number}.jpg").write_bytes(jpeg((number, 9, 9)))
    where = ("--team", team.slug, "--gallery", "lake", str(tmp_path))
    call_command("import_photos", *where)
    assert capsys.readouterr().err.startswith("3 files; to recognise them costs 0.18 ₽ at most.\n")
