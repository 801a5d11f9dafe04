"""One order for everybody who locks several rows: space, photos, faces, people; each by pk.

Two transactions that lock the same rows in different orders end with one of them thrown out.
"""

from __future__ import annotations

from typing import TypeVar

from django.db.models import Model, QuerySet

M = TypeVar("M", bound=Model)


def locked(rows: QuerySet[M]) -> QuerySet[M]:
    """These rows, to be locked by pk where they are read; others may still refer to them."""
    return rows.select_for_update(of=("self",), no_key=True).order_by("pk")


def in_turn(rows: QuerySet[M]) -> QuerySet[M]:
    """The same rows for one UPDATE, which would else lock them as it comes upon them."""
    everything: QuerySet[M] = QuerySet(rows.model, using=rows.db)
    return everything.filter(pk__in=locked(rows).values("pk"))
