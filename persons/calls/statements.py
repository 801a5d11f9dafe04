"""The statements that write a call with its images and findings, and find stored results.

Why they are written out: persons/proxy/README.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import date, datetime
from typing import Any

from django.db import transaction

from persons.billing.statements import count_call
from persons.billing.tariff import Tariff
from persons.db.tables import Statement, Table, database, places, returning, rows, run
from persons.models import AuditEntry, Call, Finding, Person, Recognition, Space
from persons.vision.types import ImageStatus

CALLS, RECOGNITIONS, FINDINGS = Table(Call), Table(Recognition), Table(Finding)
ENTRIES, PEOPLE = Table(AuditEntry), Table(Person)


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
    their = RECOGNITIONS.insert(images, call_id="(SELECT id FROM new_call)")
    found = rows(returning("id, call_id", their), new_call=insert)
    call.pk = found[0][1]
    _inserted(call, images, [pk for pk, _ in found])


def _inserted(call: Call, images: Sequence[Recognition], pks: Sequence[int]) -> None:
    for row, pk in zip(images, pks, strict=True):
        row.pk, row.call = pk, call
    for made in (call, *images):
        made._state.adding, made._state.db = False, database().alias


def end_call(
    call: Call,
    names: Sequence[str],
    more: Mapping[str, Statement],
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
        steps, cost_is = ({}, "") if month is None else count_call(call, month, tariff)
        last = CALLS.update([call], names, **({"cost": cost_is} if cost_is else {}))
        if cost_is:
            ((call.cost,),) = rows(returning("cost", last), **steps, **more)
        else:
            run(last, **steps, **more)


def _atomic() -> AbstractContextManager[object]:
    """PostgreSQL runs as one statement what `run` is given, which is a transaction by itself."""
    if database().vendor == "postgresql":
        return nullcontext()
    return transaction.atomic(savepoint=False)


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


def insert_findings(space_pk: int | None, found: Sequence[Finding]) -> dict[str, Statement]:
    """Steps for faces of answers, each with the person of its `told_id` where the ledger has
    them."""
    steps: dict[str, Statement] = {}
    for start in range(0, len(found), FINDINGS_AT_ONCE):
        some = found[start : start + FINDINGS_AT_ONCE]
        sql = f"INSERT INTO {FINDINGS.name} ({FINDING_COLUMNS}) VALUES "
        values: list[Any] = []
        for one in some:
            values += [getattr(one, name) for name in FOUND]
            values += [space_pk, one.told_id]
        steps[f"findings_{start}"] = (sql + ", ".join([FINDING] * len(some)), values)
    return steps


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
