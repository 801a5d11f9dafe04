"""Keyset pagination in any order, and keys that were never handed out."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
from django.db import connection
from django.db.models import Case, IntegerField, QuerySet, When
from django.db.models.functions import Lower
from django.test import RequestFactory
from django.test.utils import CaptureQueriesContext

from dashboard.pages.paging import key_of, page_by_keys, rows_beyond
from persons.inputs.params import NotUnderstood
from persons.models import Gallery, Person, Photo, Team
from tests.support import factories

NOON = datetime(2024, 5, 1, 12, 0, 0, 123456, tzinfo=UTC)

PHOTO_ORDERS = [
    ("-shown_at", "-pk"),
    ("shown_at", "pk"),
    ("-face_count", "file_name", "-pk"),
    ("gallery__name", "-shown_at", "pk"),
]


@pytest.fixture
def photos(team: Team) -> QuerySet[Photo]:
    """Thirty, of which many share a moment, a count and a name."""
    chance = Random(7)
    galleries = [factories.GalleryFactory.create(team=team, name=name) for name in "BA"]
    for number in range(30):
        factories.PhotoFactory.create(
            gallery=chance.choice(galleries),
            sha256=f"{number:064x}",
            shown_at=NOON + timedelta(days=chance.randrange(4)),
            face_count=chance.randrange(3),
            file_name=chance.choice(["a.jpg", "b “c”.jpg", "Ä.jpg"]),
        )
    return Photo.objects.select_related("gallery")


def page(rows: QuerySet[Any], order: Sequence[str], **asked: str) -> Any:
    return page_by_keys(rows, RequestFactory().get("/", asked), 4, order)


@pytest.mark.parametrize("order", PHOTO_ORDERS)
def test_pages_follow_each_other_and_lead_back(
    photos: QuerySet[Photo], order: tuple[str, ...]
) -> None:
    expected = list(photos.order_by(*order))
    shown = page(photos, order)
    assert shown.newer is None
    found = list(shown.rows)
    while shown.older:
        shown = page(photos, order, before=shown.older)
        found += shown.rows
    assert found == expected
    back = list(shown.rows)
    while shown.newer:
        shown = page(photos, order, after=shown.newer)
        back = [*shown.rows, *back]
    assert back == expected


def test_annotations_are_keys_too(team: Team) -> None:
    for number, label in [(1, "anna"), (0, ""), (1, ""), (0, "Berta"), (0, "anna"), (1, "Zoë")]:
        factories.PersonFactory.create(space=team.spaces.get(number=number), label=label)
    people = (
        Person.objects.select_related("space")
        .annotate(
            unnamed=Case(When(label="", then=1), default=0, output_field=IntegerField()),
            sort_label=Lower("label"),
        )
        .order_by("space__number", "unnamed", "sort_label", "pk")
    )
    order = ("space__number", "unnamed", "sort_label", "pk")
    expected = list(people)
    assert [person.label for person in expected] == ["anna", "Berta", "", "anna", "Zoë", ""]
    for at, person in enumerate(expected):
        key = key_of(person, order)
        assert list(rows_beyond(people, key, order)) == expected[at + 1 :]
        assert list(rows_beyond(people, key, order, back=True)) == expected[:at][::-1]


def test_a_page_is_one_query_without_offset_and_one_range_of_the_index(
    photos: QuerySet[Photo],
) -> None:
    key = page(photos, ("-shown_at", "-pk")).older
    with CaptureQueriesContext(connection) as queries:
        page(photos, ("-shown_at", "-pk"), before=key)
    [query] = [found["sql"] for found in queries]
    assert "OFFSET" not in query
    assert '("persons_photo"."shown_at", "persons_photo"."id") < (' in query


def test_rows_that_come_or_go_neither_repeat_nor_hide_others(photos: QuerySet[Photo]) -> None:
    order = ("-shown_at", "-pk")
    expected = list(photos.order_by(*order))
    first = page(photos, order)
    expected[3].delete()
    gallery = Gallery.objects.earliest("pk")
    factories.PhotoFactory.create(gallery=gallery, sha256="new", shown_at=NOON + timedelta(days=9))
    assert list(page(photos, order, before=first.older).rows) == expected[4:8]


def made_up(values: object) -> str:
    return urlsafe_b64encode(json.dumps(values).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "key",
    [
        "%",
        "é",
        "17",
        "x" * 5000,
        made_up("ab"),
        made_up([]),
        made_up([1]),
        made_up([1, 2, 3]),
        made_up([1, "2"]),
        made_up([1, 2**63]),
        made_up([10**30, 2]),
        made_up([None, 2]),
        made_up([{}, []]),
        made_up([float("nan"), 2]),
        "W" * 1000,
    ],
)
def test_a_key_that_nobody_was_given_is_an_error(photos: QuerySet[Photo], key: str) -> None:
    order = ("-shown_at", "-pk")
    with pytest.raises(NotUnderstood, match="before"):
        page(photos, order, before=key)


@pytest.mark.parametrize("name", ["a\0b", "\ud800", 7, None])
def test_a_name_in_a_made_up_key_is_text_that_a_database_takes(
    photos: QuerySet[Photo], name: object
) -> None:
    order = ("file_name", "pk")
    with pytest.raises(NotUnderstood, match="before"):
        page(photos, order, before=made_up([name, 1]))
