"""The one lease: how any row of work is claimed, renewed, given back, cut off and taken over.

    waiting -> running (`Leases.claim`) -> any state (`Lease.give_back`)
                                        -> waiting | failed (`Lease.cut_off`, `Leases.release`)

A leased row has the columns of `models.leased.Leased`. Nothing outside this package reads or writes
`claim` and `claimed_at`. Commit the claim before the work begins. Store results together with
`renew` or `give_back`, so that a worker that lost the lease stores nothing.

A kind of work declares its leases once:

    PREPARING = Leases(
        Photo, waiting=PhotoState.NEW, running=PhotoState.PREPARING, failed=PhotoState.FAILED,
        what="Preparing this photo",
    )

    lease = PREPARING.claim(Photo.objects.filter(pk=pk))
    if lease is None:
        return
    try:
        with lease.kept_alive():
            ...
    except BaseException as error:
        lease.cut_off(error)
        raise
    lease.give_back(PhotoState.QUEUED)

and lists them in its `Kind.leases`, by which the sweep releases the claims of dead workers.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

from django.conf import settings
from django.db.models import Model, OrderBy, Q, QuerySet
from django.db.models.expressions import F
from django.utils import timezone

from persons.work.leases import renewed
from persons.work.retries import count_failure, most_failures

M = TypeVar("M", bound=Model)

LONGEST_AGO: OrderBy = F("claimed_at").asc(nulls_first=True)
"""Orders rows by their last turn, longest ago first."""


class LeaseLost(Exception):
    """Another worker holds the row now, or it was cancelled: stop and store nothing."""


def expiry() -> datetime:
    """Leases not renewed since this moment are dead workers'."""
    return timezone.now() - timedelta(seconds=settings.LEASE_SECONDS)


def unheld(token: str = "") -> Q:
    """Rows that no living worker holds, in any state; with `token`, also the row that it holds."""
    return Q(claim__in={"", token}) | Q(claimed_at=None) | Q(claimed_at__lte=expiry())


def claimed_since(moment: datetime) -> Q:
    """Rows that were claimed or renewed since then."""
    return Q(claimed_at__gte=moment)


def withdraw(rows: QuerySet[Any], **columns: Any) -> int:
    """Update these rows and take the lease from whoever holds them. Returns how many rows."""
    return rows.update(claim="", **columns)


@dataclass(frozen=True, slots=True)
class Leases(Generic[M]):
    """How rows of one model are leased for one kind of work.

    `what` begins the error text of a row that was cut off too often. `state` and `error` name the
    columns for state and text; `counter` the one that counts cut-offs, up to `most`. A failed row
    gets `finished_at` if `ends`. `give_up` replaces the plain update of failed rows.

    A lease is lost when its row leaves the running state, and when another worker claims it.
    """

    model: type[M]
    waiting: str
    running: str
    failed: str
    what: str
    state: str = "state"
    error: str = "error"
    counter: str = "attempts"
    most: int | None = None
    ends: bool = False
    explains: bool = True
    """Whether a row that is retried gets a text saying why its worker was cut off."""
    give_up: Callable[[QuerySet[M], str], int] | None = None

    def claim(self, rows: QuerySet[M]) -> Lease[M] | None:
        """Claim those of these rows that wait. None if there are none, as when another worker was
        quicker.

        A caller that claims several rows passes them `in_turn`.
        """
        token = uuid.uuid4().hex
        now = timezone.now()
        waiting = rows.filter(**{self.state: self.waiting, "after__lte": now})
        columns: dict[str, Any] = {self.state: self.running}
        claimed = waiting.update(claim=token, claimed_at=now, **columns)
        return Lease(self, token) if claimed else None

    def release(self, until: datetime, *, blame: bool) -> int:
        """Release the rows of dead workers: those not renewed after `until`. Returns how many.

        Rows over which workers die repeatedly fail. Without `blame` no interruption is counted.
        """
        rows = self.model._default_manager.filter(
            claimed_at__lte=until, **{self.state: self.running}
        )
        return self.count_interruption(rows, self.cut_off_text(), blame=blame)

    def cut_off_text(self) -> str:
        return f"{self.what} was cut off {most_failures(self.most)} times."

    def count_interruption(
        self,
        rows: QuerySet[M],
        text: str,
        *,
        pause: timedelta = timedelta(0),
        blame: bool = True,
        **again: Any,
    ) -> int:
        """Count an interruption of these rows: they wait again, with the columns of `again`, or
        fail."""
        waits = {self.state: self.waiting, "claim": "", "after": timezone.now() + pause}
        give_up = self.give_up
        return count_failure(
            rows,
            give_up=self.failure(text) if give_up is None else lambda spent: give_up(spent, text),
            again=waits | again,
            counter=self.counter,
            most=self.most,
            blame=blame,
        )

    def failure(self, text: str) -> dict[str, Any]:
        """The columns of a failed row."""
        columns: dict[str, Any] = {self.state: self.failed, "claim": "", self.error: text}
        return columns | ({"finished_at": timezone.now()} if self.ends else {})


@dataclass(frozen=True, slots=True)
class Lease(Generic[M]):
    """One worker's hold on some rows. It is short, and has to be renewed while the work goes on."""

    of: Leases[M]
    token: str

    @property
    def held(self) -> QuerySet[M]:
        """The rows that this worker still holds."""
        running = {self.of.state: self.of.running}
        rows: QuerySet[M] = self.of.model._default_manager.filter(claim=self.token, **running)
        return rows

    def among(self, rows: Iterable[M]) -> QuerySet[M]:
        """Those of these rows that this worker still holds."""
        return self.held.filter(pk__in=[row.pk for row in rows])

    def kept_alive(self) -> AbstractContextManager[None]:
        """A thread renews the lease while the block runs: see `leases`."""
        return renewed(self.held)

    def renew(self, **columns: Any) -> None:
        """Renew the lease and update its rows. Raises LeaseLost."""
        if not self.held.update(claimed_at=timezone.now(), **columns):
            raise LeaseLost

    def renewed(self, rows: QuerySet[M]) -> int:
        """`renew` for some of several rows. Returns how many of them are still held."""
        return rows.update(claimed_at=timezone.now())

    def give_back(self, state: str, rows: QuerySet[M] | None = None, **columns: Any) -> int:
        """Give the rows, or those of `rows`, back with this state and these values.

        Returns how many: 0 if the lease was lost.
        """
        columns[self.of.state] = state
        rows = self.held if rows is None else rows
        return rows.update(claim="", claimed_at=timezone.now(), **columns)

    def end(self, state: str, **columns: Any) -> None:
        """`give_back` of a row that must still be held. Raises LeaseLost."""
        if not self.give_back(state, **columns):
            raise LeaseLost

    def put_back(
        self, text: str, pause: timedelta, rows: QuerySet[M] | None = None, **columns: Any
    ) -> int:
        """Retry the rows after the pause; `text` says why. Returns how many."""
        columns |= {self.of.error: text, "after": timezone.now() + pause}
        return self.give_back(self.of.waiting, rows, **columns)

    def fail(self, text: str) -> int:
        """Fail the rows for good; `text` says why. Returns how many."""
        if self.of.give_up is not None:
            return self.of.give_up(self.held, text)
        return self.held.update(**self.of.failure(text))

    def cut_off(self, error: BaseException, pause: timedelta = timedelta(0)) -> int:
        """Give the rows back at once after an unexpected error, instead of when the lease expires.

        Rows that cause such errors repeatedly fail. Returns how many.
        """
        last = type(error).__name__
        reason: dict[str, Any] = {}
        if self.of.explains:
            reason[self.of.error] = f"The worker was cut off: {last}"
        text = f"{self.of.cut_off_text()} Last: {last}"
        return self.of.count_interruption(self.held, text, pause=pause, **reason)
