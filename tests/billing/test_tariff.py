"""Prices of images by the vendor's tiers, at their edges and across them."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persons.billing.tariff import Step, Tariff, parse

VENDOR = parse("1000000:0.06, 10000000:0.05, 100000000:0.04, 0.03")
MILLION = 1_000_000


@pytest.mark.parametrize(
    ("before", "images", "cost"),
    [
        (0, 0, "0"),
        (0, 1, "0.06"),
        (0, MILLION, "60000"),
        (0, MILLION + 1, "60000.05"),
        (MILLION - 1, 1, "0.06"),
        (MILLION - 1, 2, "0.11"),
        (MILLION, 1, "0.05"),
        (10 * MILLION - 1, 2, "0.09"),
        (10 * MILLION, 1, "0.04"),
        (100 * MILLION - 1, 2, "0.07"),
        (100 * MILLION, 1, "0.03"),
        (10**12, 100, "3"),
        # 60,000 + 450,000 + 3,600,000 and a thousand of the last step: all of it in one go.
        (0, 100 * MILLION + 1000, "4110030"),
        (5, 0, "0"),
    ],
)
def test_the_vendors_ladder(before: int, images: int, cost: str) -> None:
    assert VENDOR.cost(before, images) == Decimal(cost)


@st.composite
def tariffs(draw: st.DrawFn) -> Tariff:
    edges = draw(st.lists(st.integers(1, 5000), unique=True, max_size=5).map(sorted))
    price = st.decimals(0, 10, places=4)
    prices = draw(st.lists(price, min_size=len(edges) + 1, max_size=len(edges) + 1))
    return Tariff(
        tuple(Step(edge, cost) for edge, cost in zip([*edges, None], prices, strict=True))
    )


counts = st.integers(0, 6000)


@given(tariffs(), counts, st.lists(counts, max_size=8))
def test_it_does_not_matter_in_how_many_requests_images_are_sent(
    tariff: Tariff, before: int, parts: list[int]
) -> None:
    sent, cost = before, Decimal(0)
    for part in parts:
        cost += tariff.cost(sent, part)
        sent += part
    assert cost == tariff.cost(before, sum(parts))


@given(tariffs(), counts, counts, counts)
def test_more_images_never_cost_less(tariff: Tariff, before: int, images: int, more: int) -> None:
    assert tariff.cost(before, images) >= 0
    assert tariff.cost(before, images + more) >= tariff.cost(before, images)


@given(counts, counts, counts)
def test_the_vendors_ladder_gets_cheaper_and_never_dearer(
    before: int, later: int, images: int
) -> None:
    near = MILLION - 3000
    assert VENDOR.cost(near + before + later, images) <= VENDOR.cost(near + before, images)


@given(tariffs(), st.integers(0, 200), st.integers(0, 200))
def test_it_is_the_price_of_each_image_added_up(tariff: Tariff, before: int, images: int) -> None:
    def price(number: int) -> Decimal:
        """Of the `number`th image of the month, from 1."""
        return next(
            step.price for step in tariff.steps if step.up_to is None or number <= step.up_to
        )

    wanted = sum((price(before + number + 1) for number in range(images)), Decimal(0))
    assert tariff.cost(before, images) == wanted


def test_a_setting_is_read() -> None:
    assert parse(" 10:1 ,20:0.5,0.25 ", "EUR") == Tariff(
        (Step(10, Decimal(1)), Step(20, Decimal("0.5")), Step(None, Decimal("0.25"))), "EUR"
    )
    assert parse("0").cost(0, 10**9) == 0


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "there is no price"),
        (" , ", "there is no price"),
        ("10:1", "the last step"),
        ("1, 2", "the last step"),
        ("1, 10:2", "the last step"),
        ("10:1, 10:2, 3", "must rise"),
        ("10:1, 5:2, 3", "must rise"),
        ("0:1, 2", "must rise"),
        ("-5:1, 2", "must rise"),
        ("ten:1, 2", "“ten:1” is not of the form"),
        ("10:one, 2", "“10:one” is not of the form"),
        ("10:, 2", "is not of the form"),
        ("1:2:3, 4", "is not of the form"),
        ("-1", "no price from 0 up"),
        ("NaN", "no price from 0 up"),
        ("Infinity", "no price from 0 up"),
    ],
)
def test_a_wrong_setting_says_what_is_wrong(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parse(text)
