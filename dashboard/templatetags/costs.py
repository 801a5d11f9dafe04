"""Amounts of money, in the tariff's currency."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal

from django import template

from persons.actions.previews import RescanCost, rescan_cost
from persons.billing import metering
from persons.models import Space

register = template.Library()

CENT = Decimal("0.01")


@register.filter
def money(amount: Decimal | None) -> str:
    """An exact amount: "1,240.50 ₽". Below 1, fractions of a cent are kept: "0.045 ₽".

    "" for None.
    """
    if amount is None:
        return ""
    rounded = amount.quantize(CENT, ROUND_HALF_UP)
    exact = amount if abs(amount) < 1 and amount != rounded else rounded
    text = f"{exact.normalize():f}" if exact is amount else f"{exact:,.2f}"
    return f"{text}\N{NO-BREAK SPACE}{metering.tariff().currency}"


@register.filter
def about(amount: Decimal) -> str:
    """An estimate: "74 ₽". Amounts from ten up are rounded to whole ones."""
    if amount < 10:
        return money(amount.quantize(CENT, ROUND_HALF_UP))
    whole = amount.quantize(Decimal(1), ROUND_HALF_UP)
    return f"{whole:,}\N{NO-BREAK SPACE}{metering.tariff().currency}"


@register.inclusion_tag("parts/rescan_note.html")
def rescan_note(space: Space) -> dict[str, RescanCost | None]:
    """A note on what enrolling somebody in this space will send."""
    return {"rescan": rescan_cost(space)}
