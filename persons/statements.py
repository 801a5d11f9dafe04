"""The statements that every call of a client runs, written out.

The ORM compiles a query anew each time it is run, which takes several times what a database takes
to answer it. These few are run by every call, so they are plain SQL, the same for PostgreSQL and
SQLite; everything else in Rollcall is the ORM's.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from django.db import InterfaceError, OperationalError, transaction

from persons.models import (
    ApiKey,
    AuditEntry,
    Call,
    CloudCircuit,
    Finding,
    KeyDay,
    Meter,
    MonthTotal,
    Person,
    Recognition,
    Space,
    Team,
)
from persons.tables import Statement, Table, database, places, returning, rows, run
from persons.tariff import Tariff
from persons.vision.types import ImageStatus

KEYS, TEAMS, SPACES = Table(ApiKey), Table(Team), Table(Space)
CALLS, RECOGNITIONS, ENTRIES = Table(Call), Table(Recognition), Table(AuditEntry)
DAYS, TOTALS, METERS = Table(KeyDay), Table(MonthTotal), Table(Meter)
CIRCUITS, PEOPLE = Table(CloudCircuit), Table(Person)
FINDINGS = Table(Finding)

# --- Who asks ------------------------------------------------------------------------------------

KEY = (
    f"SELECT {KEYS.columns('k')}, {TEAMS.columns('t')} FROM {KEYS.name} k "
    f"JOIN {TEAMS.name} t ON t.id = k.team_id WHERE k.key_hash = %s"
)
SPACE = f"SELECT {SPACES.columns('s')} FROM {SPACES.name} s WHERE s.team_id = %s AND s.number = %s"
SPEND = (
    f"INSERT INTO {DAYS.name} AS old (key_id, day, images) VALUES (%s, %s, %s) "
    "ON CONFLICT (key_id, day) DO UPDATE SET images = old.images + excluded.images "
    "WHERE old.images + excluded.images <= %s RETURNING images"
)


def key_by_hash(key_hash: str) -> ApiKey | None:
    """With its team. What a call asks first: if the connection has died since the last call, this
    is where that is found, instead of by a question of its own before each call."""
    db = database()
    db.health_check_done = True  # type: ignore[attr-defined]
    try:
        found = rows((KEY, [key_hash]))
    except (InterfaceError, OperationalError):
        if db.in_atomic_block:
            raise
        db.close()
        found = rows((KEY, [key_hash]))
    for row in found:
        key = KEYS.load(row[: KEYS.width])
        key.team = TEAMS.load(row[KEYS.width :])
        return key
    return None


def space_of(team: Team, number: int) -> Space:
    (row,) = rows((SPACE, [team.pk, number]))
    space = SPACES.load(row)
    space.team = team
    return space


def spend(key: ApiKey, day: date, images: int, most: int) -> bool:
    """Raise the key's day by `images` where it then is at most `most`; exactly, at any instant."""
    return images <= most and bool(rows((SPEND, [key.pk, _date(day), images, most])))


# --- The circuit ---------------------------------------------------------------------------------


def circuits(upstreams: Sequence[str]) -> dict[str, CloudCircuit]:
    """Those that are stored, by name."""
    sql = (
        f"SELECT {CIRCUITS.columns('c')} FROM {CIRCUITS.name} c "
        f"WHERE c.upstream IN ({places(upstreams)})"
    )
    return {row.upstream: row for row in map(CIRCUITS.load, rows((sql, upstreams)))}


# --- A call --------------------------------------------------------------------------------------


def insert_call(call: Call, images: Sequence[Recognition]) -> None:
    """A new call and its images, in a transaction of their own unless there is one already."""
    if database().vendor == "postgresql":
        _insert_at_once(call, images)
        return
    with transaction.atomic():
        ((call.pk,),) = rows(returning("id", CALLS.insert([call])))
        for row in images:
            row.call_id = call.pk
        found = rows(returning("id", RECOGNITIONS.insert(images))) if images else []
    _inserted(call, images, [pk for (pk,) in found])


def _insert_at_once(call: Call, images: Sequence[Recognition]) -> None:
    returned = "id"
    if not database().in_atomic_block:
        # What a worker's death must not undo is written; only the machine's could lose it, and with
        # it goes the call that is about to be made. One wait for the disk less in every call.
        returned += ", set_config('synchronous_commit', 'off', true)"
    insert = returning(returned, CALLS.insert([call]))
    if not images:
        ((call.pk, *_),) = rows(insert)
        _inserted(call, images, [])
        return
    their = RECOGNITIONS.insert(images, call_id="(SELECT id FROM step0)")
    found = rows(insert, returning("id, call_id", their))
    call.pk = found[0][1]
    _inserted(call, images, [pk for pk, _ in found])


def _inserted(call: Call, images: Sequence[Recognition], pks: Sequence[int]) -> None:
    for row, pk in zip(images, pks, strict=True):
        row.pk, row.call = pk, call
    for made in (call, *images):
        made._state.adding, made._state.db = False, database().alias


FOUND = (
    "team_id",
    "call_id",
    "recognition_id",
    "gallery_id",
    "position",
    "told_id",
    "similarity",
    "confidence",
    "left",
    "top",
    "right",
    "bottom",
    "runner_up",
    "runner_up_similarity",
    "matched_sha256",
)
FINDING_COLUMNS = ", ".join(f'"{name}"' for name in (*FOUND, "person_id"))
FINDING = (
    f"({places(FOUND)}, "
    f"(SELECT p.id FROM {PEOPLE.name} p WHERE p.space_id = %s AND p.person_id = %s))"
)
FINDINGS_AT_ONCE = 1000
"""SQLite takes 32,766 values in one statement."""


def insert_findings(space_pk: int | None, found: Sequence[Finding]) -> list[Statement]:
    """Faces of answers, each with the person of its `told_id` where the ledger has them."""
    statements: list[Statement] = []
    for start in range(0, len(found), FINDINGS_AT_ONCE):
        some = found[start : start + FINDINGS_AT_ONCE]
        sql = f"INSERT INTO {FINDINGS.name} ({FINDING_COLUMNS}) VALUES "
        values: list[Any] = []
        for one in some:
            values += [getattr(one, name) for name in FOUND]
            values += [space_pk, one.told_id]
        statements.append((sql + ", ".join([FINDING] * len(some)), values))
    return statements


def findings_of(recognitions: Sequence[Recognition]) -> list[Finding]:
    """In the order of each one's faces."""
    sql = (
        f"SELECT {FINDINGS.columns('f')} FROM {FINDINGS.name} f "
        f"WHERE f.recognition_id IN ({places(recognitions)}) ORDER BY f.position"
    )
    return [FINDINGS.load(row) for row in rows((sql, [one.pk for one in recognitions]))]


def stored_results(
    space: Space, question: str, digests: Sequence[str], since: datetime
) -> list[Recognition]:
    """Of these pictures in answer to `question`, oldest first; each with what its call knew of the
    space's size, as `enrolled`."""
    sql = (
        f"SELECT c.enrolled_people, c.enrolled_pictures, {RECOGNITIONS.columns('r')} "
        f"FROM {RECOGNITIONS.name} r "
        f"JOIN {CALLS.name} c ON c.id = r.call_id WHERE r.status = {int(ImageStatus.DONE)} "
        f"AND r.sha256 <> '' AND r.sha256 IN ({places(digests)}) AND c.question = %s "
        "AND c.space_id = %s AND c.started_at >= %s ORDER BY r.id"
    )
    moment = database().ops.adapt_datetimefield_value(since)
    found = rows((sql, [*digests, question, space.pk, moment]))
    results = []
    for people, pictures, *row in found:
        result = RECOGNITIONS.load(row)
        result.enrolled = people, pictures
        results.append(result)
    return results


def known_people(space: Space, person_ids: Collection[int]) -> set[int]:
    """Those of these ids that the ledger has."""
    if not person_ids:
        return set()
    sql = (
        f"SELECT person_id FROM {PEOPLE.name} WHERE space_id = %s "
        f"AND person_id IN ({places(person_ids)})"
    )
    return {person_id for (person_id,) in rows((sql, [space.pk, *person_ids]))}


# --- What it cost --------------------------------------------------------------------------------

TOTAL = (
    f"INSERT INTO {TOTALS.name} AS old (month, images) VALUES (%s, %s) "
    "ON CONFLICT (month) DO UPDATE SET images = old.images + excluded.images RETURNING images"
)
COUNTED = ("calls", "images", "saved_images", "cost", "saved_cost")
RAISED = ", ".join(f"{name} = old.{name} + excluded.{name}" for name in COUNTED)


def raise_total(month: date, images: int) -> int:
    """The account's images of the month, these included. The row stays locked to the end of the
    transaction: two calls that end at once are priced one after the other."""
    ((total,),) = rows((TOTAL, [_date(month), images]))
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


def end_call(
    call: Call,
    names: Sequence[str],
    more: Sequence[Statement],
    *,
    month: date | None,
    tariff: Tariff | None,
) -> None:
    """`more`, and the attributes `names` of a call that is over; its cost, which is set, is its
    images' by the account's ladder, or nothing without a `tariff`. Metered, unless `month` is None.

    All or nothing: on PostgreSQL it is one statement, so that the account's row of the month is
    locked for as short as can be, and there is one trip there and back.
    """
    with _atomic():
        steps, cost_is = ([], "") if month is None else _counted(call, month, tariff)
        last = CALLS.update([call], names, **({"cost": cost_is} if cost_is else {}))
        if cost_is:
            ((call.cost,),) = rows(*steps, *more, returning("cost", last))
        else:
            run(*steps, *more, last)


def _counted(call: Call, month: date, tariff: Tariff | None) -> tuple[list[Statement], str]:
    """The steps that count a call, whose cost is set; or what its cost is, in PostgreSQL's words,
    where that works it out on the way."""
    steps: list[Statement] = []
    cost_is = ""
    call.cost = Decimal(0)
    if tariff is not None and call.image_count:
        if database().vendor == "postgresql":
            steps = [(TOTAL, [_date(month), call.image_count]), _cost(call, tariff)]
            cost_is = "(SELECT cost FROM step1)"
        else:
            after = raise_total(month, call.image_count)
            call.cost = tariff.cost(after - call.image_count, call.image_count)
    by: dict[str, Any] = {"calls": 1, "images": call.image_count, "cost": call.cost}
    return [*steps, meter(call.team, call.key, month, cost_is, **by)], cost_is


def _atomic() -> AbstractContextManager[object]:
    """PostgreSQL runs as one statement what `run` is given, which is a transaction by itself."""
    if database().vendor == "postgresql":
        return nullcontext()
    return transaction.atomic(savepoint=False)


def _cost(call: Call, tariff: Tariff) -> Statement:
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
    return f"SELECT {' + '.join(parts)} AS cost FROM step0", values


def _date(day: date) -> Any:
    return database().ops.adapt_datefield_value(day)
