"""What somebody who owns the database can do to the audit, past its triggers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection
from django.db.models import Model, QuerySet

from persons.chain import triggers
from persons.models import AuditEntry


@contextmanager
def by_hand() -> Iterator[None]:
    """The triggers are off, as a superuser can have it, and on again after."""
    if connection.vendor == "postgresql":
        execute("SET session_replication_role = replica")
        yield
        execute("SET session_replication_role = origin")
    else:
        triggers.remove()
        yield
        triggers.install()


def execute(sql: str, values: Any = ()) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql, list(values))


def rewrite(row: Model, **columns: object) -> None:
    with by_hand():
        QuerySet(type(row)).filter(pk=row.pk).update(**columns)


def remove(rows: QuerySet[Any]) -> None:
    with by_hand():
        execute(
            f"DELETE FROM {rows.model._meta.db_table} WHERE id IN "
            f"({', '.join(str(pk) for pk in rows.values_list('pk', flat=True))})"
        )


def swap(one: AuditEntry, other: AuditEntry) -> None:
    """They change places: what each says is now where the other was."""
    with by_hand():
        rows: QuerySet[AuditEntry] = QuerySet(AuditEntry)
        rows.filter(pk=one.pk).update(sequence=None)
        rows.filter(pk=other.pk).update(sequence=one.sequence)
        rows.filter(pk=one.pk).update(sequence=other.sequence)
