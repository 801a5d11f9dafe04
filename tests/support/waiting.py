"""Waiting work in the database, by kind."""

from __future__ import annotations

from persons import pipeline
from persons.work import KINDS, Work


def waiting(work: Work) -> list[int]:
    """Keys of what can be claimed now: pks of spaces for RECOGNISE, else of rows."""
    column = "gallery__space" if work == Work.RECOGNISE else "pk"
    rows = KINDS[work].waiting().order_by()
    return sorted(set(rows.values_list(column, flat=True)))


def nothing_waits_for(*works: Work) -> bool:
    """Whether no work of these kinds is waiting after a sweep."""
    return not {*works} & {*pipeline.sweep()} and not any(map(waiting, works))


def swept(work: Work) -> list[int]:
    """Like `waiting`, after a sweep, which must enqueue the kind exactly if there is any."""
    kinds = pipeline.sweep()
    found = waiting(work)
    assert (work in kinds) == bool(found)
    return found
