"""Amounts of money, in the tariff's currency."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal

from django import template

from persons import metering
from persons.models import Space
from persons.previews import Look, look_in

register = template.Library()

CENT = Decimal("0.01")


@register.filter
def money(amount: Decimal | None) -> str:
    """ "1,240.50 ₽". Prices of single images keep what is below a cent: "0.0450" is "0.045 ₽"."""
    if amount is None:
        return ""
    rounded = amount.quantize(CENT, ROUND_HALF_UP)
    exact = amount if abs(amount) < 1 and amount != rounded else rounded
    text = f"{exact.normalize():f}" if exact is amount else f"{exact:,.2f}"
    return f"{text}\N{NO-BREAK SPACE}{metering.tariff().currency}"


@register.filter
def about(amount: Decimal) -> str:
    """ "74 ₽": for what is only expected, whole amounts from ten up."""
    if amount < 10:
        return money(amount.quantize(CENT, ROUND_HALF_UP))
    whole = amount.quantize(Decimal(1), ROUND_HALF_UP)
    return f"{whole:,}\N{NO-BREAK SPACE}{metering.tariff().currency}"


@register.inclusion_tag("parts/look_note.html")
def look_note(space: Space) -> dict[str, Look | None]:
    """What enrolling somebody in this space will send, beside the ways to do it."""
    return {"look": look_in(space)}
