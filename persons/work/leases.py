"""A thread that renews leases for as long as their work goes on.

Leases are short, so that a dead worker's rows are taken over soon. The thread belongs to the
worker's process and dies with it; a step may take up to LONGEST.
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from django.conf import settings
from django.db import DatabaseError, connections
from django.db.models import QuerySet
from django.utils import timezone

LONGEST = 900.0
"""Seconds. A step that takes longer is taken to hang: its lease expires and can be taken over."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Claim:
    rows: QuerySet[Any]
    since: float = field(default_factory=monotonic)
    renewed: float = field(default_factory=monotonic)


_claims: dict[int, _Claim] = {}
_keys = itertools.count()
_lock = threading.Lock()
_thread: threading.Thread | None = None


@contextmanager
def renewed(rows: QuerySet[Any]) -> Iterator[None]:
    """Keep `claimed_at` of these rows current while the block runs.

    The query runs at each renewal, so rows that were given back or taken over are left alone.
    """
    key = next(_keys)
    with _lock:
        _claims[key] = _Claim(rows)
        _start()
    try:
        yield
    finally:
        with _lock:
            del _claims[key]


def renew_due() -> int:
    """Renew what was last renewed a third of the lease ago or more. Returns how many rows."""
    now = monotonic()
    with _lock:
        due = [one for one in _claims.values() if now - one.renewed >= settings.LEASE_SECONDS / 3]
    count = 0
    for claim in due:
        if now - claim.since < LONGEST:
            count += claim.rows.update(claimed_at=timezone.now())
            claim.renewed = now
    return count


def _start() -> None:
    """Start the thread unless it runs; a forked process has none."""
    global _thread  # noqa: PLW0603
    if _thread is None or not _thread.is_alive():
        _thread = threading.Thread(target=_keep, name="leases", daemon=True)
        _thread.start()


def _keep() -> None:
    pause = threading.Event()
    while True:
        pause.wait(max(1.0, settings.LEASE_SECONDS / 6))
        try:
            renew_due()
        except DatabaseError as error:
            log.warning("Leases could not be renewed: %s", type(error).__name__)
        finally:
            connections.close_all()
