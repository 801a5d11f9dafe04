"""The registry of kinds of work. A new kind is a member of `Work` and a short class."""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar

from django.db.models import QuerySet

from persons.work.lease import LONGEST_AGO, Leases


class Work(StrEnum):
    """The kinds of work that a message can announce."""

    PREPARE = "prepare"
    RECOGNISE = "recognise"
    SYNC = "sync"
    IDENTITY = "identity"
    JOBS = "jobs"
    ERASE = "erase"
    GROUP = "group"
    TRASH = "trash"
    RETENTION = "retention"
    VERIFY = "verify"

    @property
    def queue(self) -> str:
        """The Celery queue of this kind. Albums have their own, so that nothing else waits behind
        them; workers take from both in turn."""
        return "photos" if self in _OF_ALBUMS else "celery"


_OF_ALBUMS = {Work.PREPARE, Work.RECOGNISE, Work.TRASH, Work.RETENTION}


class Kind(ABC):
    """How rows of one kind of work are found and processed."""

    name: ClassVar[Work]
    wakes: ClassVar[tuple[Work, ...]] = ()
    """Kinds that this one creates work for."""
    leases: ClassVar[tuple[Leases[Any], ...]] = ()
    """How its rows are claimed. The sweep releases the claims of dead workers by these."""

    @abstractmethod
    def waiting(self) -> QuerySet[Any]:
        """Rows that can be claimed now, unordered. An index answers whether there is any."""

    @abstractmethod
    def next(self) -> list[int]:
        """The next keys in a fair order: some, not all. Empty only if nothing waits."""

    @abstractmethod
    def do(self, key: int) -> bool:
        """Claim the key's row and work for a few seconds at most.

        Returns whether to come back to the same key in this turn, if it still waits.
        """

    def release(self, until: datetime, *, blame: bool) -> int:
        """Put back rows that were claimed and not renewed after `until`. Returns how many."""
        return sum(one.release(until, blame=blame) for one in self.leases)


class LongWork(Kind):
    """Work that takes many slices; rows whose turn was longest ago come first. A key is a row."""

    AT_ONCE: ClassVar = 16

    def next(self) -> list[int]:
        rows = self.waiting().order_by(LONGEST_AGO, "pk")
        return list(rows.values_list("pk", flat=True)[: self.AT_ONCE])


KINDS: dict[Work, Kind] = {}


def register(kind: type[Kind]) -> type[Kind]:
    KINDS[kind.name] = kind()
    return kind
