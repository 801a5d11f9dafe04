"""The history's chart: calls over time by outcome, with each part of a bar linking to its calls."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from django.test import Client
from django.urls import reverse

from persons.calls.chart import BARS, chart_of
from persons.calls.filters import filters_of
from persons.calls.search import Search
from persons.models import Team, User
from tests.support.calls import call_with, make_call
from tests.support.factories import PersonFactory

SignIn = Callable[[User], Client]
NOON = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)


def search(user: User, team: Team, **params: str) -> Search:
    asked = {name.rstrip("_"): value for name, value in params.items()}
    return Search.by(user, team, filters_of(asked, user, team)[0])


def chart_url(team: Team) -> str:
    return reverse("history_chart", args=[team.slug])


def test_it_counts_each_days_calls_by_outcome(team: Team, alice: User) -> None:
    for days, outcome in ((0, "done"), (0, "done"), (0, "rejected"), (3, "done"), (40, "done")):
        make_call(team, outcome=outcome, started_at=NOON - timedelta(days=days))
    made = chart_of(search(alice, team), now=NOON + timedelta(hours=1))
    filled = {bar.since.date(): bar.counts for bar in made.bars if bar.total}
    assert filled == {
        NOON.date(): {"done": 2, "rejected": 1},
        (NOON - timedelta(days=3)).date(): {"done": 1},
    }
    assert made.counts == {"done": 3, "rejected": 1}
    assert len(made.bars) == 31
    assert all(
        one.until == next_.since for one, next_ in zip(made.bars, made.bars[1:], strict=False)
    )


def test_a_short_time_has_hours_and_a_long_one_wider_bars(team: Team, alice: User) -> None:
    make_call(team, started_at=NOON)
    short = chart_of(search(alice, team, from_="2026-03-10", to="2026-03-10"))
    assert len(short.bars) == 24
    assert short.bars[12].counts == {"done": 1}
    long = chart_of(search(alice, team, from_="2024-03-10", to="2026-03-10"))
    assert len(long.bars) <= BARS
    assert long.counts == {"done": 1}


def test_it_is_filtered_as_the_list_is(team: Team, alice: User) -> None:
    person = PersonFactory.create(space=team.spaces.get(number=5))
    call_with(team, (person, 0.8), (person, 0.7), started_at=NOON)
    call_with(team, (None, 0.2), started_at=NOON, method="set")
    day = {"from_": "2026-03-10", "to": "2026-03-10"}
    assert chart_of(search(alice, team, **day)).counts == {"done": 2}
    assert chart_of(search(alice, team, **day, method="set")).counts == {"done": 1}
    assert chart_of(search(alice, team, **day, low="0.6")).counts == {"done": 1}
    assert chart_of(search(alice, team, **day, person=f"5.{person.person_id}")).counts == {
        "done": 1
    }
    assert chart_of(search(alice, team, **day, outcome="rejected")).counts == {}


def test_each_part_leads_to_just_its_calls(team: Team, alice: User, sign_in: SignIn) -> None:
    make_call(team, outcome="rejected", started_at=NOON, actor_text="Somebody")
    make_call(team, started_at=NOON, actor_text="Nobody")
    make_call(team, outcome="rejected", started_at=NOON + timedelta(hours=1), actor_text="Nobody")
    client = sign_in(alice)
    day = {"from": "2026-03-10", "to": "2026-03-10", "source": "worker"}
    page = client.get(chart_url(team), day).text
    links = [html.unescape(link) for link in re.findall(r'<a href="([^"]+)"', page)]
    assert len(links) == 3
    (link,) = [one for one in links if "T12%3A00" in one and "rejected" in one]
    assert "source=worker" in link
    found = client.get(link).text
    assert "Somebody" in found
    assert "Nobody" not in found
    assert "10 March, 12:00: 1 rejected" in page


def test_without_scripts_the_page_has_it_when_asked(
    team: Team, alice: User, sign_in: SignIn
) -> None:
    make_call(team)
    client = sign_in(alice)
    plain = client.get(reverse("history", args=["trip"])).text
    assert 'hx-trigger="load"' in plain
    assert 'href="?chart=1"' in plain
    assert "<svg viewBox" in client.get(reverse("history", args=["trip"]), {"chart": "1"}).text


def test_an_empty_time_is_an_empty_chart(team: Team, alice: User, sign_in: SignIn) -> None:
    page = sign_in(alice).get(chart_url(team), {"to": "2001-01-01"})
    assert page.status_code == 200
    assert "<a href" not in page.text
