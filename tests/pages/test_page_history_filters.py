"""The history's filters and exports."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from persons.access import records_hidden_from
from persons.calls.filters import filters_of
from persons.calls.search import ONE_BY_ONE, Search
from persons.inputs.params import NotUnderstood
from persons.inputs.params import moment_of as moment
from persons.models import (
    AuditEntry,
    Finding,
    Gallery,
    GalleryMember,
    Photo,
    Role,
    Source,
    Space,
    Team,
    User,
)
from persons.models.canonical import set_merged_into
from tests.support import wire
from tests.support.calls import call_with, make_call
from tests.support.factories import GalleryFactory, PersonFactory, PhotoFactory

SignIn = Callable[[User], Client]


@pytest.fixture
def space(team: Team) -> Space:
    return team.spaces.get(number=5)


@pytest.fixture
def gallery(team: Team, space: Space) -> Gallery:
    return GalleryFactory.create(team=team, space=space, slug="harbour")


def asked(user: User, team: Team, **params: str) -> list[int]:
    """What is found, by pages of two, and backwards from the end as well."""
    filters, _ = filters_of({name.rstrip("_"): value for name, value in params.items()}, user, team)
    search = Search.by(user, team, filters)
    forth = [pk for page in search.all_ids(2) for pk in page]
    back: list[int] = []
    while page := search.ids(2, after=back[-1] if back else 0):
        back += page
    assert back == forth[::-1]
    assert search.ids(1000) == forth
    return forth


def test_each_fact_of_a_call_is_a_filter(team: Team, alice: User, bob: User, space: Space) -> None:
    key = wire.make_key(team)[0]
    other = make_call(team)
    same = {
        "method": make_call(team, method="set"),
        "outcome": make_call(team, outcome="rejected"),
        "source": make_call(team, source="client"),
        "space": make_call(team, space=space),
        "actor": make_call(team, actor=bob),
        "key": make_call(team, key=key),
        "address": make_call(team, address="203.0.113.7"),
        "request": make_call(team, request_id="abc123"),
    }
    values = {
        "method": "set",
        "outcome": "rejected",
        "source": "client",
        "space": "5",
        "actor": str(bob.pk),
        "key": str(key.pk),
        "address": "203.0.113.7",
        "request": "abc123",
    }
    for name, value in values.items():
        assert asked(alice, team, **{name: value}) == [same[name].pk], name
    assert len(asked(alice, team)) == 9
    assert asked(alice, team, method="set", outcome="rejected") == []
    assert asked(alice, team, method="recognize")[-1] == other.pk


def test_a_person_is_found_with_all_who_were_merged_into_them(
    team: Team, alice: User, space: Space
) -> None:
    root, old, older, other = (PersonFactory.create(space=space) for _ in range(4))
    set_merged_into(old, root)
    set_merged_into(older, old)
    calls = [call_with(team, (one, 0.8)) for one in (root, other, old, older)]
    theirs = [calls[3].pk, calls[2].pk, calls[0].pk]
    for one in (root, old, older):
        assert asked(alice, team, person=f"5.{one.person_id}") == theirs
    assert asked(alice, team, person=f"person{other.person_id}") == [calls[1].pk]
    with pytest.raises(NotUnderstood, match="no person 999 in space 5"):
        asked(alice, team, person="5.999")


def test_a_person_is_found_in_what_was_set_and_deleted_of_them_as_well(
    team: Team, alice: User, space: Space
) -> None:
    person = PersonFactory.create(space=space)
    recognised = call_with(team, (person, 0.8))
    enrolled = call_with(team, method="set", image={"person_id": person.person_id})
    call_with(
        team,
        method="set",
        space=team.spaces.get(number=1),
        image={"person_id": person.person_id},
    )
    where = f"5.{person.person_id}"
    assert asked(alice, team, person=where) == [enrolled.pk, recognised.pk]
    assert asked(alice, team, person=where, low="0.5") == [recognised.pk]
    assert asked(alice, team, person=where, method="set") == [enrolled.pk]


@pytest.mark.parametrize("people", [1, ONE_BY_ONE + 3])
def test_names_that_were_found_are_searched_by_their_words(
    team: Team, alice: User, space: Space, people: int
) -> None:
    found = []
    for number in range(people):
        person = PersonFactory.create(space=space, label=f"Zoë Łukasz {number}")
        found.append(call_with(team, (person, 0.9), (person, 0.8)).pk)
    call_with(team, (PersonFactory.create(space=space, label="Bea"), 0.9))
    call_with(team, (None, 0.2))
    assert asked(alice, team, q="lukasz") == found[::-1]
    assert asked(alice, team, person="zoe") == found[::-1]
    assert asked(alice, team, q="nobody of that name") == []


def test_similarities_are_a_range_with_both_its_ends(team: Team, alice: User, space: Space) -> None:
    person = PersonFactory.create(space=space)
    low, middle, high = (call_with(team, (person, value)) for value in (0.4, 0.5, 0.6))
    assert asked(alice, team, low="0.5") == [high.pk, middle.pk]
    assert asked(alice, team, high="0.5") == [middle.pk, low.pk]
    assert asked(alice, team, low="0.45", high="0.55") == [middle.pk]
    with pytest.raises(NotUnderstood, match=r"low: .*high: "):
        asked(alice, team, low="much", high="7")


def test_a_gallerys_calls_are_those_of_its_photos_with_and_without_faces(
    team: Team, alice: User, space: Space, gallery: Gallery
) -> None:
    person = PersonFactory.create(space=space)
    empty = call_with(team, gallery=gallery)
    full = call_with(team, (person, 0.7), gallery=gallery)
    elsewhere = call_with(team, (person, 0.7))
    assert asked(alice, team, gallery="harbour") == [full.pk, empty.pk]
    where = f"5.{person.person_id}"
    assert asked(alice, team, gallery="harbour", person=where) == [full.pk]
    assert asked(alice, team, person=where) == [elsewhere.pk, full.pk]
    assert asked(alice, team, gallery="harbour", outcome="rejected") == []


def test_a_time_is_a_day_or_a_minute_with_both_its_ends(team: Team, alice: User) -> None:
    moments = ["2026-03-01T00:00:00", "2026-03-01T12:30:30", "2026-03-01T23:59:59.5"]
    before = make_call(team, started_at=datetime(2026, 2, 28, 23, 59, 59, tzinfo=UTC))
    calls = [
        make_call(team, started_at=datetime.fromisoformat(text).replace(tzinfo=UTC))
        for text in moments
    ]
    after = make_call(team, started_at=datetime(2026, 3, 2, tzinfo=UTC))
    pks = [call.pk for call in calls[::-1]]
    assert asked(alice, team, from_="2026-03-01", to="2026-03-01") == pks
    assert asked(alice, team, from_="2026-03-01T12:30", to="2026-03-01T12:30") == [pks[1]]
    assert asked(alice, team, from_="2026-03-02") == [after.pk]
    assert asked(alice, team, to="2026-02-28") == [before.pk]
    assert asked(alice, team, from_="2027-01-01") == []
    assert asked(alice, team, to="2020-01-01") == []
    assert moment("2026-02-30") is moment("later") is moment("9999-12-31T23:59+00:00") is None


def test_calls_that_were_written_a_little_out_of_order_are_all_found(
    team: Team, alice: User
) -> None:
    at = datetime(2026, 3, 1, 12, tzinfo=UTC)
    late = make_call(team, started_at=at + timedelta(seconds=40))
    early = make_call(team, started_at=at - timedelta(seconds=40))
    last = make_call(team, started_at=at + timedelta(seconds=10))
    assert asked(alice, team, from_="2026-03-01T12:00") == [last.pk, late.pk]
    assert asked(alice, team, to="2026-03-01T11:59") == [early.pk]


def test_what_one_request_caused_is_found_with_the_images_of_shared_calls(
    team: Team, alice: User, space: Space
) -> None:
    person = PersonFactory.create(space=space)
    own = call_with(team, request_id="r1")
    shared = call_with(team, (person, 0.7), image={"request_id": "r1"})
    call_with(team, (person, 0.7), request_id="r2")
    assert asked(alice, team, request="r1") == [shared.pk, own.pk]
    assert asked(alice, team, request="r1", person=f"5.{person.person_id}") == [shared.pk]
    with pytest.raises(NotUnderstood, match="request"):
        asked(alice, team, request="' or 1=1")


def test_another_teams_calls_people_and_galleries_mean_nothing(
    team: Team, alice: User, charlie: User, space: Space, gallery: Gallery
) -> None:
    person = PersonFactory.create(space=space)
    mine = call_with(team, (person, 0.7), gallery=gallery, request_id="r1", actor=alice)
    others = Team.objects.get(slug="others")
    for params in (
        {"low": "0.1"},
        {"request": "r1"},
        {"person": f"5.{person.person_id}"},
        {"gallery": "harbour"},
        {"actor": str(alice.pk)},
        {"q": "Person"},
    ):
        if params.keys() & {"person", "gallery", "actor"}:
            with pytest.raises(NotUnderstood):
                asked(charlie, others, **params)
        else:
            assert asked(charlie, others, **params) == [], params
        assert asked(alice, team, **params) == [mine.pk], params


def test_what_is_in_a_closed_gallery_is_found_only_by_who_sees_it(
    team: Team, alice: User, bob: User, audrey: User, space: Space, gallery: Gallery
) -> None:
    person = PersonFactory.create(space=space, label="Anna")
    photo: Photo = PhotoFactory.create(gallery=gallery)
    now_closed = call_with(team, (person, 0.7), image={"photo": photo})
    closed = call_with(team, (person, 0.7), gallery=gallery)
    lost = call_with(team, (person, 0.7))
    seen = call_with(team, (person, 0.7), gallery=GalleryFactory.create(team=team, space=space))
    gallery.is_open = False
    gallery.save()
    assert gallery.pk in records_hidden_from(bob, team)
    where = f"5.{person.person_id}"
    for params in ({"person": where}, {"low": "0.6"}, {"q": "anna"}):
        assert asked(bob, team, **params) == [seen.pk], params
        for user in (alice, audrey):
            assert asked(user, team, **params) == [seen.pk, lost.pk, closed.pk, now_closed.pk]
    # The gallery itself is none that there is.
    with pytest.raises(NotUnderstood, match="no gallery “harbour”"):
        asked(bob, team, gallery="harbour")
    assert asked(alice, team, gallery="harbour") == [closed.pk]
    GalleryMember.objects.create(gallery=gallery, user=bob, role=Role.VIEWER)
    assert len(asked(bob, team, person=where)) == 4


# --- The page ---


def test_the_page_says_which_filters_are_on_and_how_to_take_each_away(
    team: Team, alice: User, space: Space, sign_in: SignIn
) -> None:
    person = PersonFactory.create(space=space, label="Anna")
    call_with(team, (person, 0.7), address="203.0.113.7")
    where = f"5.{person.person_id}"
    page = (
        sign_in(alice)
        .get(reverse("history", args=["trip"]), {"person": where, "address": "203.0.113.7"})
        .text
    )
    assert "With Anna" in page
    assert 'href="?person=' + where + '"' in page
    assert 'href="?address=203.0.113.7"' in page
    assert '<details class="more-filters" open>' in page
    plain = sign_in(alice).get(reverse("history", args=["trip"])).text
    assert '<details class="more-filters">' in plain
    assert 'class="chips"' not in plain


def test_nothing_that_fits_is_said_and_leads_back(team: Team, alice: User, sign_in: SignIn) -> None:
    make_call(team)
    page = sign_in(alice).get(reverse("history", args=["trip"]), {"low": "0.9"}).text
    assert "Nothing in the history matches these filters." in page


@pytest.mark.parametrize("slip", ["form", "galery", "From", "person_id", "low "])
@pytest.mark.parametrize("name", ["history", "history_chart", "history_export"])
def test_a_slip_in_a_filter_s_name_does_not_ask_for_everything(
    name: str, slip: str, team: Team, alice: User, sign_in: SignIn
) -> None:
    make_call(team)
    address = reverse(name, args=[team.slug, *(["csv"] if name == "history_export" else [])])
    got = sign_in(alice).get(address, {slip: "2026-11-30"})
    assert got.status_code == 400
    assert "There is no such filter, only from, to, person" in got.text
    assert slip.strip() in got.text
    assert not AuditEntry.objects.filter(action__startswith="history.export").exists()


def test_names_are_offered_while_one_is_typed(
    team: Team, alice: User, charlie: User, space: Space, sign_in: SignIn
) -> None:
    person = PersonFactory.create(space=space, label="Anna <b>")
    address = reverse("history_names", args=["trip"])
    page = sign_in(alice).get(address, {"person": "ann"}).text
    assert f'value="Anna &lt;b&gt; (5.{person.person_id})"' in page
    filters, _ = filters_of({"person": f"Anna <b> (5.{person.person_id})"}, alice, team)
    assert filters.person == person
    assert "option" not in sign_in(alice).get(address, {"person": "zz"}).text
    assert sign_in(charlie).get(address, {"person": "ann"}).status_code == 404


# --- Exports ---


def exported(client: Client, form: str, **params: str) -> str:
    response: Any = client.get(reverse("history_export", args=["trip", form]), params)
    assert response.status_code == 200
    return b"".join(response.streaming_content).decode("utf-8-sig")


def test_exactly_what_is_filtered_is_exported_a_row_for_each_face(
    team: Team, alice: User, space: Space, sign_in: SignIn
) -> None:
    anna, bea = (PersonFactory.create(space=space, label=label) for label in ("Anna", "Bea"))
    first = call_with(team, (anna, 0.8), (bea, 0.7), (None, 0.2))
    empty = call_with(team)
    truncated = make_call(team, method="truncate")
    client = sign_in(alice)
    rows = [json.loads(line) for line in exported(client, "jsonl").splitlines()]
    assert [(row["call"], row.get("face"), row.get("name")) for row in rows] == [
        (truncated.pk, None, None),
        (empty.pk, None, None),
        (first.pk, 0, "Anna"),
        (first.pk, 1, "Bea"),
        (first.pk, 2, None),
    ]
    only = exported(client, "jsonl", person=f"5.{bea.person_id}").splitlines()
    assert [json.loads(line)["name"] for line in only] == ["Bea"]
    table = list(csv.DictReader(io.StringIO(exported(client, "csv", low="0.75"))))
    assert [(row["call"], row["name"], row["similarity"]) for row in table] == [
        (str(first.pk), "Anna", "0.8")
    ]


def test_no_cell_is_a_formula_to_a_spreadsheet(
    team: Team, alice: User, space: Space, sign_in: SignIn
) -> None:
    evil = ["=1+1", "+cmd|' /C calc'!A0", "-2", "@SUM(A1)", "\t=1", "\uff1d1"]
    for label in evil:
        call_with(team, (PersonFactory.create(space=space, label=label), 0.5))
    rows = csv.DictReader(io.StringIO(exported(sign_in(alice), "csv")))
    names = [row["name"] for row in rows]
    assert sorted(names) == sorted(f"'{label}" for label in evil)
    lines = exported(sign_in(alice), "jsonl").splitlines()
    assert {json.loads(line)["name"] for line in lines} == set(evil)


def test_an_export_is_audited_with_its_filters_and_how_much_it_was(
    team: Team, alice: User, space: Space, sign_in: SignIn
) -> None:
    for _ in range(3):
        call_with(team, (PersonFactory.create(space=space), 0.8))
    make_call(team, method="set")
    exported(sign_in(alice), "csv", method="recognize")
    began, ended = AuditEntry.objects.filter(action__startswith="history.").order_by("pk")
    assert (began.action, began.after) == (
        "history.export",
        {"filters": {"method": "recognize"}, "format": "csv"},
    )
    assert (ended.action, ended.after) == ("history.exported", {"rows": 3, "complete": True})
    assert began.actor == ended.actor == alice


def test_an_export_that_is_broken_off_is_audited_as_such(
    team: Team, alice: User, sign_in: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("persons.calls.export.CALLS_AT_ONCE", 2)
    for _ in range(5):
        make_call(team)
    response: Any = sign_in(alice).get(reverse("history_export", args=["trip", "jsonl"]))
    next(iter(response.streaming_content))
    for closer in response._resource_closers:
        closer()
    ended = AuditEntry.objects.get(action="history.exported")
    assert ended.after == {"rows": 2, "complete": False}


def test_an_export_is_written_by_pages_and_reads_as_often_for_each(
    team: Team, alice: User, sign_in: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("persons.calls.export.CALLS_AT_ONCE", 2)
    pks = [make_call(team).pk for _ in range(5)]
    lines = exported(sign_in(alice), "jsonl").splitlines()
    assert [json.loads(line)["call"] for line in lines] == pks[::-1]


def test_what_is_closed_to_the_reader_is_in_no_export(
    team: Team, bob: User, audrey: User, space: Space, gallery: Gallery, sign_in: SignIn
) -> None:
    person = PersonFactory.create(space=space, label="Anna")
    closed = call_with(team, (person, 0.716253), gallery=gallery, image={"sha256": "c" * 64})
    gallery.is_open = False
    gallery.save()
    text = exported(sign_in(bob), "jsonl")
    assert [json.loads(line)["call"] for line in text.splitlines()] == [closed.pk]
    for secret in ("Anna", "harbour", "c" * 64, "0.716253"):
        assert secret not in text
    # An auditor has the whole record, without people and photos.
    text = exported(sign_in(audrey), "csv")
    assert "c" * 64 in text
    assert "0.716253" in text
    assert "Anna" not in text


def test_only_the_two_formats_are_exported(team: Team, alice: User, sign_in: SignIn) -> None:
    client = sign_in(alice)
    assert client.get(reverse("history_export", args=["trip", "xlsx"])).status_code == 404
    assert client.post(reverse("history_export", args=["trip", "csv"])).status_code == 405
    assert not AuditEntry.objects.filter(action__startswith="history.").exists()


def test_a_filter_of_the_future_is_no_error(team: Team, alice: User) -> None:
    make_call(team, source=Source.PAGE, started_at=timezone.now())
    assert asked(alice, team, from_="2999-01-01", q="x", low="0.5") == []


def test_rest_has_the_same_filters(team: Team, alice: User, space: Space, sign_in: SignIn) -> None:
    person = PersonFactory.create(space=space)
    calls = [call_with(team, (person, 0.8)) for _ in range(3)]
    make_call(team)
    client = sign_in(alice)
    where = {"person": f"5.{person.person_id}", "limit": "2"}
    first = client.get("/rest/teams/trip/calls/", where).json()
    assert [one["id"] for one in first["results"]] == [calls[2].pk, calls[1].pk]
    second = client.get(first["next"]).json()
    assert [one["id"] for one in second["results"]] == [calls[0].pk]
    assert second["next"] is None
    assert client.get("/rest/teams/trip/calls/", {"low": "0.9"}).json()["results"] == []


def test_a_face_that_was_erased_is_exported_as_erased_and_not_as_nobody(
    team: Team, alice: User, sign_in: SignIn
) -> None:
    call_with(team, (None, 0.0), erased_at=timezone.now())
    call_with(team, (None, 0.2))
    Finding.objects.filter(similarity=0.2).update(right=10, bottom=10)
    client = sign_in(alice)
    unknown, erased = map(json.loads, exported(client, "jsonl").splitlines())
    assert (unknown["erased"], unknown["similarity"]) == (False, 0.2)
    assert (erased["face"], erased["erased"]) == (0, True)
    assert "similarity" not in erased
    _, row = csv.DictReader(io.StringIO(exported(client, "csv")))
    assert (row["erased"], row["person_id"], row["similarity"], row["left"]) == ("True", "", "", "")
