"""Snapshots of all hand-written SQL statements are kept in `tests/statements`, by database.

After an intended change, rewrite the files and review the difference:

    REWRITE_STATEMENTS=1 python -m pytest tests/db/test_statement_snapshots.py

This writes SQLite's; with DATABASE_URL, REDIS_URL and `--services-only` it writes PostgreSQL's.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from persons import access
from persons.backends import circuits as cloud_circuits
from persons.billing import metering
from persons.billing.tariff import parse
from persons.calls import log as call_log
from persons.calls import statements as call_statements
from persons.db import tables
from persons.faces import review_queue
from persons.faces.identity import COUNTED, FACES, PHOTOS, RESOLVED
from persons.models import ApiKey, AuditEntry, Call, Finding, Review, Source, Space, Team, User
from persons.people import statements as people_statements
from persons.pipeline.audit.sealing import ENTRIES
from persons.proxy import statements as proxy_statements
from persons.vision.types import Image, Method
from tests.support import factories, wire
from tests.support.wire import Vision

FOLDER = Path(__file__).resolve().parents[1] / "statements"
CLAUSES = re.compile(
    r" (?=(?:FROM|WHERE|(?:LEFT OUTER |INNER |CROSS )?JOIN|VALUES|SET|ON CONFLICT|RETURNING"
    r"|GROUP BY|ORDER BY|UNION ALL)\b)|(?<=\),) (?=[a-z_0-9]+ AS \()"
)


@dataclass
class Asked:
    """Whoever asks, and a space of theirs."""

    user: User
    key: ApiKey
    space: Space

    def begun(self) -> Call:
        self.space.version = 7
        return call_log.begin(
            space=self.space,
            vision=Vision(),
            method=Method.RECOGNIZE,
            meta={},
            images=[call_log.Sent(Image(f"{n}", b"%d" % n)) for n in range(2)],
            origin=call_log.Origin(Source.CLIENT, key=self.key),
            question="q",
        )

    def queue(self, **more: Any) -> review_queue.Queue:
        kinds = (Review.WEAK, Review.UNKNOWN)
        return review_queue.Queue(
            user=self.user, spaces=(self.space.pk,), visible=self.visible, kinds=kinds, **more
        )

    @property
    def visible(self) -> access.Visible:
        return access.visible(self.user, self.space.team)


Act = Callable[[], object]


@pytest.fixture
def asked(team: Team, alice: User) -> Asked:
    space = team.spaces.get(number=5)
    space.team = team
    return Asked(alice, wire.make_key(team, daily_images=10)[0], space)


# --- What sends the statement of this name, once all that it needs is there ---


def key_by_hash(asked: Asked) -> Act:
    return lambda: proxy_statements.key_by_hash(asked.key.key_hash)


def space_of(asked: Asked) -> Act:
    return lambda: proxy_statements.space_of(asked.space.team, asked.space.number)


def spend(asked: Asked) -> Act:
    return lambda: proxy_statements.spend(asked.key, timezone.now().date(), 1, 10)


def circuits(asked: Asked) -> Act:
    return lambda: cloud_circuits.circuits(["one", "other"])


def stored_results(asked: Asked) -> Act:
    since = timezone.now() - timedelta(hours=1)
    return lambda: call_statements.stored_results(asked.space, "q", ["ab", "cd"], since)


def known_people(asked: Asked) -> Act:
    return lambda: people_statements.known_people(asked.space, [1, 2])


def insert_call(asked: Asked) -> Act:
    return asked.begun


def end_call(asked: Asked) -> Act:
    """Of a call that costs something, with a face on the first of its images."""
    call = asked.begun()
    box = {"left": 1, "top": 2, "right": 3, "bottom": 4}
    face = Finding(
        call=call, team=asked.space.team, recognition=call.rows[0], told_id=7, position=0, **box
    )
    steps = {
        "results": call_statements.RECOGNITIONS.update(call.rows, call_log.RESULT),
        **call_statements.insert_findings(asked.space.pk, [face]),
        "entry": call_statements.ENTRIES.insert(
            [AuditEntry(team=asked.space.team, action="call.x")]
        ),
    }
    month, tariff = metering.this_month(), parse("1000:1, 0.5")
    return lambda: call_statements.end_call(call, call_log.END, steps, month=month, tariff=tariff)


def end_free_call(asked: Asked) -> Act:
    """Of a call for which nobody sends a bill."""
    call, month = asked.begun(), metering.this_month()
    return lambda: call_statements.end_call(call, call_log.END, {}, month=month, tariff=None)


def save_faces(asked: Asked) -> Act:
    """Of photos whose faces are worked out anew."""
    photo = factories.PhotoFactory.create(gallery__team=asked.space.team)
    faces = factories.FaceFactory.create_batch(2, photo=photo)

    def act() -> None:
        tables.save(FACES, faces, RESOLVED)
        tables.save(PHOTOS, [photo], COUNTED)

    return act


def seal_entries(asked: Asked) -> Act:
    entries = [AuditEntry(pk=pk, sequence=pk, previous="a", hash="b") for pk in (1, 2)]
    return lambda: tables.run(ENTRIES.update(entries, ("sequence", "previous", "hash")))


def review_page(asked: Asked) -> Act:
    queue = asked.queue(unsure_first=True)
    return lambda: queue.after(review_queue.QueueKey(500_000, 7), 10)


def review_counts(asked: Asked) -> Act:
    queue = asked.queue()
    return lambda: queue.counts(anew=True)


def best_faces(asked: Asked) -> Act:
    visible = asked.visible
    return lambda: review_queue.best_faces([1, 2], most=3, visible=visible)


def people_with_suggestions(asked: Asked) -> Act:
    visible = asked.visible
    return lambda: review_queue.people_with_suggestions([asked.space.pk], visible, most=10)


STATEMENTS: Sequence[Callable[[Asked], Act]] = [
    key_by_hash,
    space_of,
    spend,
    circuits,
    stored_results,
    known_people,
    insert_call,
    end_call,
    end_free_call,
    save_faces,
    seal_entries,
    review_page,
    review_counts,
    best_faces,
    people_with_suggestions,
]


@pytest.mark.parametrize("prepare", STATEMENTS, ids=lambda prepare: prepare.__name__)
def test_a_statement_is_as_it_was_reviewed(
    asked: Asked, monkeypatch: pytest.MonkeyPatch, prepare: Callable[[Asked], Act]
) -> None:
    act = prepare(asked)
    sent: list[str] = []
    execute, fetch = tables._execute, review_queue._fetch

    def executed(statement: tables.Statement, *, fetch: bool = False) -> list[tables.Row]:
        sent.append(statement[0])
        return execute(statement, fetch=fetch)

    def fetched(sql: str, params: Sequence[Any]) -> list[tuple[Any, ...]]:
        sent.append(sql)
        return fetch(sql, params)

    monkeypatch.setattr(tables, "_execute", executed)
    monkeypatch.setattr(review_queue, "_fetch", fetched)
    act()
    text = ";\n\n".join(CLAUSES.sub("\n", sql) for sql in sent) + "\n"
    path = FOLDER / connection.vendor / f"{prepare.__name__}.sql"
    if os.environ.get("REWRITE_STATEMENTS"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert path.read_text() == text


@pytest.mark.any_database
def test_every_file_is_of_a_statement() -> None:
    wanted = {f"{prepare.__name__}.sql" for prepare in STATEMENTS}
    for vendor in ("postgresql", "sqlite"):
        assert {path.name for path in (FOLDER / vendor).iterdir()} == wanted


@pytest.mark.any_database
def test_no_other_module_writes_sql() -> None:
    """SQL goes to the database by a cursor, or from `persons.db.tables`."""
    root = Path(__file__).resolve().parents[2]
    by_cursor = re.compile(r"\.cursor\(\)|RawSQL|objects\.raw\(|\.extra\(")
    found = {
        str(path.relative_to(root))
        for package in ("persons", "dashboard")
        for path in (root / package).rglob("*.py")
        if "migrations" not in path.parts and by_cursor.search(path.read_text())
    }
    assert found == {
        # Triggers that keep the audit's entries as they are: no ORM makes them.
        "persons/chain/triggers.py",
        # VACUUM and PRAGMA, so that nothing erased is left in the files.
        "persons/pipeline/privacy/erasing/ending.py",
        # Which tables and columns there are, before a migration is complete.
        "persons/audit/redactions.py",
        # The review's lists, several in one: bench/review.md.
        "persons/faces/review_queue.py",
        # What each call of a client runs: bench/statements.md.
        "persons/db/tables.py",
        # SELECT 1: whether the database is there.
        "dashboard/pages/health.py",
    }
