"""An erasure as held by the worker that runs it, and what it has done so far."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from django.db.models import QuerySet
from django.utils import timezone

from persons.audit import Actor
from persons.models import Erasure, JobState, Person, Source, Space
from persons.models.canonical import Family
from persons.work import Lease, Leases

SLICE_SECONDS = 3.0
"""How long a worker stays with an erasure before it gives others a turn."""


ERASURES = Leases(
    Erasure,
    waiting=JobState.QUEUED,
    running=JobState.RUNNING,
    failed=JobState.FAILED,
    what="It",
    counter="interruptions",
)
"""`attempts` counts errors of Vision or the storage since the last step. It only sets the pause:
such errors never give an erasure up. `interruptions` do."""


class ErasureFailed(Exception):
    """The erasure needs a human; the text tells them why."""


@dataclass(slots=False)
class HeldErasure:
    """A claimed erasure. Steps store their results together with `renew`, in one transaction.

    `report` keeps until the end: `labels` (their names), `digests` of their pictures, `photos` to
    delete, `doomed` files that nothing refers to any more; and how much was destroyed, by place and
    kind, with the time of the last of it.
    """

    erasure: Erasure
    lease: Lease[Erasure]
    started: float = field(default_factory=time.monotonic)

    @property
    def is_over(self) -> bool:
        """Whether the slice is over."""
        return time.monotonic() - self.started > SLICE_SECONDS

    def renew(self, **columns: Any) -> None:
        """Renew the lease and update the row. Raises LeaseLost."""
        self.lease.renew(**columns)
        self._set(columns)

    def end(self, state: JobState, **columns: Any) -> None:
        """Give the row back with this state and these values. Raises LeaseLost."""
        self.lease.end(state, **columns)
        self._set(columns | {"state": state})

    def _set(self, columns: Mapping[str, Any]) -> None:
        for name, value in columns.items():
            setattr(self.erasure, name, value)

    def note(self, place: str, counts: Mapping[str, int], **more: Any) -> None:
        """Add counts of what was destroyed in a place, in the transaction that destroyed it."""
        report = dict(self.erasure.report) | more
        done = {key: dict(kinds) for key, kinds in report.get("destroyed", {}).items()}
        counted = Counter(done.get(place, {})) + Counter(counts)
        if counted:
            done[place] = dict(counted)
            at = timezone.now().isoformat(timespec="seconds")
            report["times"] = dict(report.get("times", {})) | {place: at}
        report["destroyed"] = done
        self.renew(report=report)

    def keep(self, **values: Any) -> None:
        """Put values into the report."""
        self.renew(report=dict(self.erasure.report) | values)

    # --- The erased people ---

    @cached_property
    def space(self) -> Space:
        found = self.erasure.space
        if found is None:
            raise ErasureFailed("The space is gone.")
        return found

    def people(self) -> QuerySet[Person]:
        """Those of the erased people whose rows still exist."""
        return Person.objects.filter(space=self.space, person_id__in=self.erasure.ids)

    def pks(self) -> set[int]:
        return set(self.people().values_list("pk", flat=True))

    @property
    def labels(self) -> list[str]:
        found: list[str] = self.erasure.report.get("labels", [])
        return found

    @property
    def digests(self) -> set[str]:
        return set(self.erasure.report.get("digests", []))

    @cached_property
    def tags(self) -> frozenset[str]:
        """Their tags in both of Vision's spellings."""
        return frozenset(f"person{mark}{one}" for one in self.erasure.ids for mark in ("", "_"))

    @property
    def actor(self) -> Actor:
        return Actor(self.erasure.requested_by, Source.WORKER, request_id=self.erasure.request_id)

    def mark_for_deletion(self, keys: Iterable[str]) -> dict[str, list[str]]:
        """Values for `note` or `keep` that mark files for deletion, so that they go even if the
        worker dies."""
        known: list[str] = self.erasure.report.get("doomed", [])
        return {"doomed": list(dict.fromkeys([*known, *(key for key in keys if key)]))}


def family_of(people: Iterable[Person]) -> list[Person]:
    """These people and everybody merged into them."""
    pks = {pk for person in people for pk in Family.of(person.pk).subtree(person.pk)}
    return list(Person.objects.filter(pk__in=pks).order_by("pk"))
