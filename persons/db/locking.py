"""The lock order: space, photos, faces, people; rows of each table by pk.

Transactions that lock the same rows in different orders deadlock, and the database aborts one.
"""

from __future__ import annotations

from typing import TypeVar

from django.db.models import Model, QuerySet

M = TypeVar("M", bound=Model)


def locked(rows: QuerySet[M]) -> QuerySet[M]:
    """These rows, locked in pk order when read. Foreign keys to them can still be inserted."""
    return rows.select_for_update(of=("self",), no_key=True).order_by("pk")


def in_turn(rows: QuerySet[M]) -> QuerySet[M]:
    """The same rows for one UPDATE, locked in pk order rather than in the order of the scan."""
    everything: QuerySet[M] = QuerySet(rows.model, using=rows.db)
    return everything.filter(pk__in=locked(rows).values("pk"))
