"""The vendor's tariff: the more images an account sends in a month, the less each one costs.

Source: VK Cloud Vision documentation, price list. Prices are a setting (ROLLCALL_TARIFF).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

PLACES = 4
"""Decimals of prices and of stored costs."""


@dataclass(frozen=True, slots=True)
class Step:
    """The `price` per image up to the month's `up_to`th image; None on the last step, no limit."""

    up_to: int | None
    price: Decimal


@dataclass(frozen=True, slots=True)
class Tariff:
    steps: tuple[Step, ...]
    currency: str = "₽"

    def cost(self, before: int, images: int) -> Decimal:
        """Cost of `images` more in a month in which `before` were sent; may span several steps."""
        total = Decimal(0)
        start, end = before, before + images
        for step in self.steps:
            edge = end if step.up_to is None else min(end, step.up_to)
            if edge > start:
                total += (edge - start) * step.price
                start = edge
            if start >= end:
                break
        return total


def parse(text: str, currency: str = "₽") -> Tariff:
    """Parse "1000000:0.06, 10000000:0.05, 0.03": prices up to these numbers, then for the rest.

    "0" is a tariff without cost. Raises ValueError with a message that says what is wrong.
    """
    steps: list[Step] = []
    parts: Sequence[str] = [part.strip() for part in text.split(",") if part.strip()]
    for position, part in enumerate(parts):
        edge, colon, price = part.rpartition(":")
        last = position == len(parts) - 1
        try:
            step = Step(int(edge) if colon else None, Decimal(price))
        except (ValueError, InvalidOperation):
            raise ValueError(f"“{part}” is not of the form images:price") from None
        if not step.price.is_finite() or step.price < 0:
            raise ValueError(f"“{part}” has no price from 0 up")
        if step.price != round(step.price, PLACES):
            raise ValueError(f"“{part}” has a price of more than {PLACES} decimals")
        if (step.up_to is None) != last:
            raise ValueError("the last step, and it alone, has a price without a number of images")
        if step.up_to is not None and step.up_to <= (steps[-1].up_to or 0 if steps else 0):
            raise ValueError("the numbers of images must rise")
        steps.append(step)
    if not steps:
        raise ValueError("there is no price")
    return Tariff(tuple(steps), currency)
