"""The statements that every call of a client runs, written out.

The ORM compiles a query anew each time it is run, which takes several times what a database takes
to answer it. These few are run by every call, so they are plain SQL, the same for PostgreSQL and
SQLite; everything else in Rollcall is the ORM's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from django.db import InterfaceError, OperationalError, transaction

from persons.models import (
    ApiKey,
    Call,
    CloudCircuit,
    KeyDay,
    Meter,
    MonthTotal,
    Person,
    Recognition,
    Space,
    Team,
)
from persons.tables import Statement, Table, database, places, returning, rows
from persons.vision.types import ImageStatus

KEYS, TEAMS, SPACES = Table(ApiKey), Table(Team), Table(Space)
CALLS, RECOGNITIONS = Table(Call), Table(Recognition)
DAYS, TOTALS, METERS = Table(KeyDay), Table(MonthTotal), Table(Meter)
CIRCUITS, PEOPLE = Table(CloudCircuit), Table(Person)

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


@contextmanager
def piped() -> Iterator[None]:
    """A transaction of statements of this module, which PostgreSQL is sent as they come: waited for
    are rows that are asked for, and the end."""
    db = database()
    if db.vendor != "postgresql" or db.in_atomic_block:
        with transaction.atomic(savepoint=False):
            yield
        return
    db.ensure_connection()
    with db.wrap_database_errors, db.connection.pipeline(), transaction.atomic():
        yield


def stored_results(
    space: Space, question: str, digests: Sequence[str], since: datetime
) -> list[Recognition]:
    """Of these pictures in answer to `question`, oldest first."""
    sql = (
        f"SELECT {RECOGNITIONS.columns('r')} FROM {RECOGNITIONS.name} r "
        f"JOIN {CALLS.name} c ON c.id = r.call_id WHERE r.status = {int(ImageStatus.DONE)} "
        f"AND r.sha256 <> '' AND r.sha256 IN ({places(digests)}) AND c.question = %s "
        "AND c.space_id = %s AND c.started_at >= %s ORDER BY r.id"
    )
    moment = database().ops.adapt_datetimefield_value(since)
    found = rows((sql, [*digests, question, space.pk, moment]))
    return [RECOGNITIONS.load(row) for row in found]


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
    """The account's images of the month, these included. The row stays locked: see `metering`."""
    ((total,),) = rows((TOTAL, [_date(month), images]))
    return int(total)


def meter(team: Team, key: ApiKey | None, month: date, **by: int | Decimal) -> Statement:
    """Raises the meter's columns, or starts it with them."""
    row = Meter(team_id=team.pk, key_id=key.pk if key else None, month=month, **by)
    insert, values = METERS.insert([row])
    which = "(team_id, key_id, month) WHERE key_id IS NOT NULL"
    if key is None:
        which = "(team_id, month) WHERE key_id IS NULL"
    return f"{insert} ON CONFLICT {which} DO UPDATE SET {RAISED}", values


def _date(day: date) -> Any:
    return database().ops.adapt_datefield_value(day)
