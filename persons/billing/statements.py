"""The statements that count a call's images and set its cost.

Why they are written out: persons/proxy/README.md.
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

from persons.billing.tariff import Tariff
from persons.db.tables import Statement, Table, database, rows
from persons.models import ApiKey, Call, Meter, MonthTotal, Team

TOTALS, METERS = Table(MonthTotal), Table(Meter)

TOTAL = (
    f"INSERT INTO {TOTALS.name} AS old (month, images) VALUES (%s, %s) "
    "ON CONFLICT (month) DO UPDATE SET images = old.images + excluded.images RETURNING images"
)
COUNTED = ("calls", "images", "saved_images", "cost", "saved_cost")
RAISED = ", ".join(f"{name} = old.{name} + excluded.{name}" for name in COUNTED)


def raise_total(month: date, images: int) -> int:
    """The account's images of the month, these included. The row stays locked to the end of the
    transaction: two calls that end at once are priced one after the other."""
    ((total,),) = rows(_total(month, images))
    return int(total)


def meter(
    team: Team, key: ApiKey | None, month: date, cost_is: str = "", **by: int | Decimal
) -> Statement:
    """Raises the meter's columns, or starts it with them; its cost by the expression `cost_is`."""
    row = Meter(team_id=team.pk, key_id=key.pk if key else None, month=month, **by)
    insert, values = METERS.insert([row], **({"cost": cost_is} if cost_is else {}))
    which = "(team_id, key_id, month) WHERE key_id IS NOT NULL"
    if key is None:
        which = "(team_id, month) WHERE key_id IS NULL"
    return f"{insert} ON CONFLICT {which} DO UPDATE SET {RAISED}", values


def count_call(call: Call, month: date, tariff: Tariff | None) -> tuple[dict[str, Statement], str]:
    """The steps that meter a call that is over, and the SQL expression of its cost.

    The expression refers to one of the steps. It is "" where `call.cost` is already set: always on
    SQLite, and without a `tariff`, when the call costs nothing.
    """
    steps: dict[str, Statement] = {}
    cost_is = ""
    call.cost = Decimal(0)
    if tariff is not None and call.image_count:
        if database().vendor == "postgresql":
            steps["total"] = _total(month, call.image_count)
            steps["price"] = _price(call, tariff)
            cost_is = "(SELECT cost FROM price)"
        else:
            after = raise_total(month, call.image_count)
            call.cost = tariff.cost(after - call.image_count, call.image_count)
    by: dict[str, Any] = {"calls": 1, "images": call.image_count, "cost": call.cost}
    steps["metered"] = meter(call.team, call.key, month, cost_is, **by)
    return steps, cost_is


def _price(call: Call, tariff: Tariff) -> Statement:
    """As `Tariff.cost`, of the total that was just raised."""
    parts: list[str] = []
    values: list[Any] = []
    below = 0
    for step in tariff.steps:
        edge = "images" if step.up_to is None else "LEAST(images, %s)"
        parts.append(f"GREATEST({edge} - GREATEST(images - %s, %s), 0) * %s")
        values += [*([] if step.up_to is None else [step.up_to]), call.image_count, below]
        values.append(step.price)
        below = step.up_to or 0
    return f"SELECT {' + '.join(parts)} AS cost FROM total", values


def _total(month: date, images: int) -> Statement:
    return TOTAL, [database().ops.adapt_datefield_value(month), images]
