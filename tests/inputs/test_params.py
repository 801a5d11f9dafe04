"""Each kind of request value is parsed in one place, and invalid values are never ignored."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path

import pytest
from django.http import QueryDict
from django.test import Client
from django.urls import reverse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from persons.inputs import params
from persons.inputs.params import NotUnderstood, Parameters
from persons.models import Gallery, Team, User
from tests.support.factories import GalleryFactory, PersonFactory

pytestmark = pytest.mark.any_database

PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

SignIn = Callable[[User], Client]
ROOT = Path(__file__).resolve().parents[2]
DIGITS = "9" * 5000


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0), ("007", 7), ("9223372036854775807", 2**63 - 1), ("9223372036854775808", None),
        ("0" * 5000 + "5", 5), (DIGITS, None), ("", None), ("-1", None), ("+1", None),
        ("1.0", None), ("1_0", None), (" 1", None), ("²", None), ("٣", None), ("1\n", None),
    ],
)  # fmt: skip
def test_a_whole_number_has_digits_alone(text: str, number: int | None) -> None:
    assert params.whole(text) == number


@PATIENT
@given(st.text(max_size=60) | st.from_regex(r"[0-9.:T+Zz-]{1,40}"))
def test_no_text_breaks_a_reader(text: str) -> None:
    for read in (params.whole, params.pair, params.day_of, params.moment_of):
        read(text)
    given_ = Parameters({"x": text})
    given_.number("x"), given_.day("x"), given_.moment("x"), given_.share("x"), given_.address("x")
    given_.keys("x", 3), given_.decimal("x", least=-9, most=9)
    given_.numbers("x"), given_.choice("x", ["a"]), given_.matching("x", "[a-z]", "word")
    if given_.errors:
        with pytest.raises(NotUnderstood):
            given_.demand()


@pytest.mark.parametrize(
    ("text", "found"),
    [("", []), ("7", [7]), ("7.8.7", [7, 8]), ("7.", None), (".", None), ("1.2.3.4", None)],
)
def test_keys_stand_between_points(text: str, found: list[int] | None) -> None:
    given_ = Parameters({"done": text})
    assert given_.keys("done", 3) == (found or [])
    assert bool(given_.errors) == (found is None)


def test_a_decimal_is_within_its_bounds() -> None:
    given_ = Parameters({"a": "45,5", "b": "101", "c": "nan", "d": "1e999", "e": "-1"})
    found = [given_.decimal(name, least=0, most=100) for name in "abcde"]
    assert found == [45.5, None, None, None, None]
    assert set(given_.errors) == set("bcde")
    assert given_.errors["b"] == "“101” is no number from 0 to 100."


def test_what_is_not_there_is_no_error_and_what_is_wrong_is_named_once() -> None:
    given_ = Parameters(QueryDict("a=&b=x&c=1&c=2&c=1&d=30.11.2026&low=0,5"))
    assert (given_.number("a"), given_.number("gone"), given_.day("gone")) == (None, None, None)
    assert given_.numbers("c") == [1, 2]
    assert given_.share("low") == 0.5
    given_.demand()
    given_.number("b")
    given_.day("d")
    with pytest.raises(NotUnderstood) as caught:
        given_.demand()
    assert list(caught.value.errors) == ["b", "d"]
    assert "“30.11.2026” is no day. Write it as 2026-11-30." in str(caught.value)


def test_a_flag_is_yes_or_no_and_anything_else_is_an_error() -> None:
    given_ = Parameters({"a": "yes", "b": "1", "c": "no", "d": "0", "e": "maybe", "f": ""})
    assert [given_.flag(name) for name in "abcdefg"] == [True, True, *[False] * 5]
    assert given_.flag("f", default=True) and not given_.flag("d", default=True)
    assert given_.errors == {"e": "“maybe” is neither yes nor no."}


def test_a_value_is_repeated_in_short() -> None:
    given_ = Parameters({"x": "y" * 90})
    given_.number("x")
    assert len(given_.errors["x"]) < 80


# --- Nobody reads a number by themselves ---


ALLOWED = {"persons/inputs/params.py", "persons/chain/verify.py"}
TESTS = {"isdigit", "isdecimal", "isnumeric"}


def readers_in(source: str) -> list[int]:
    """Lines that ask a text whether it is a number."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute) and node.attr in TESTS
    ]


def test_numbers_are_read_in_one_place() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for folder in ("persons", "dashboard")
        for path in sorted((ROOT / folder).rglob("*.py"))
        if str(path.relative_to(ROOT)) not in ALLOWED
        for line in readers_in(path.read_text())
    ]
    assert found == []
    assert readers_in("x = text.isascii() and text.isdigit()") == [1]


# --- On every list ---


@pytest.fixture
def gallery(team: Team) -> Gallery:
    found: Gallery = GalleryFactory.create(team=team, slug="lake")
    PersonFactory.create(space=found.space, label="Anna")
    return found


LISTS = [
    ("galleries/", "before"), ("people/", "before"), ("people/", "sort"), ("people/", "space"),
    ("g/lake/", "from"), ("g/lake/", "to"), ("g/lake/", "by"), ("g/lake/", "person"),
    ("g/lake/", "show"), ("g/lake/", "sort"), ("g/lake/", "before"), ("g/lake/dates", "from"),
    ("g/lake/tiles", "by"), ("g/lake/photos/range", "from"), ("history/", "from"),
    ("history/", "gallery"), ("history/", "low"), ("history/", "before"), ("history/chart", "from"),
    ("history/export.csv", "from"), ("history/export.jsonl", "gallery"), ("audit/", "from"),
    ("audit/", "actor"), ("audit/", "before"), ("keys/", "show"), ("keys/", "before"),
    ("usage/", "month"), ("review/", "kind"), ("review/", "space"), ("review/", "at"),
    ("g/lake/tiles", "busy"), ("g/lake/photos/range", "one"), ("review/", "done"),
    ("review/many/", "done"), ("groups/", "before"), ("trash/", "before"),
    ("spaces/0/", "view"), ("spaces/0/", "sort"), ("g/lake/tiles", "came"), ("history/", "chart"),
    ("work/", "busy"),
]  # fmt: skip


@pytest.mark.thorough
@pytest.mark.django_db
@pytest.mark.parametrize("value", ["?", DIGITS, "%00"])
@pytest.mark.parametrize(("address", "name"), LISTS)
def test_every_list_says_what_it_does_not_understand(
    gallery: Gallery, alice: User, sign_in: SignIn, address: str, name: str, value: str
) -> None:
    home = f"/t/{gallery.team.slug}/{address}"
    client = sign_in(alice)
    if address == "galleries/":
        assert client.get(f"{home}?{name}={value}").status_code in (200, 400)
        return
    for headers in ({}, {"HX-Request": "true", "HX-Target": "whatever"}):
        response = client.get(f"{home}?{name}={value}", headers=headers)
        assert response.status_code == 400, (address, name)
        assert name in response.text
        assert "Bad Request (400)" not in response.text
        assert len(response.content) < 100_000


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["limit", "cursor", "from", "nonsense"])
def test_rest_names_what_it_does_not_understand(
    gallery: Gallery, alice: User, sign_in: SignIn, name: str
) -> None:
    home = f"/rest/teams/{gallery.team.slug}"
    client = sign_in(alice)
    for address in ("galleries/", "calls/", "audit/", "spaces/0/people/", "galleries/lake/photos/"):
        response = client.get(f"{home}/{address}?{name}={DIGITS}")
        assert response.status_code == 422, (address, name)
        assert list(response.json()["fields"]) == [name]
        assert client.get(f"{home}/{address}").status_code == 200


@pytest.mark.django_db
def test_the_page_leads_to_itself_without_what_was_wrong(
    gallery: Gallery, alice: User, sign_in: SignIn
) -> None:
    address = reverse("gallery", args=[gallery.team.slug, "lake"])
    page = sign_in(alice).get(f"{address}?sort=uploaded&from=30.11.2026&by=x").text
    assert f'href="{address}?sort=uploaded"' in page
    assert "“30.11.2026” is no day" in page
