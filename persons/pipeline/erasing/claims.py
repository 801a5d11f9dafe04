"""An erasure, held by the one worker that goes on with it, and what it has done so far."""

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
from persons.settling import subtree_of

SLICE_SECONDS = 10.0
"""How long a worker stays with it before it lets others have a turn."""


class ClaimLost(Exception):
    """Another worker holds it now: stop, and store nothing."""


class ErasureFailed(Exception):
    """It can't go on without somebody; the text tells them why."""


@dataclass(slots=False)
class Held:
    """A claim. Whatever a step stores, it stores with `renew` in one transaction.

    `report` has what is needed until the end: `labels` they had, `digests` of their pictures,
    `photos` to be deleted, `doomed` files that nobody refers to any more; and what was destroyed,
    by place and kind, with the time of the last of it.
    """

    erasure: Erasure
    token: str
    started: float = field(default_factory=time.monotonic)

    @property
    def is_over(self) -> bool:
        """Whether it is others' turn."""
        return time.monotonic() - self.started > SLICE_SECONDS

    def renew(self, **columns: Any) -> None:
        """The lease starts anew, and the row gets these values. Raises ClaimLost."""
        rows = Erasure.objects.filter(pk=self.erasure.pk, claim=self.token, state=JobState.RUNNING)
        if not rows.update(claimed_at=timezone.now(), **columns):
            raise ClaimLost
        for name, value in columns.items():
            setattr(self.erasure, name, value)

    def note(self, place: str, counts: Mapping[str, int], **more: Any) -> None:
        """So many of each kind were destroyed there, by what the caller's transaction stores."""
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
        self.renew(report=dict(self.erasure.report) | values)

    # --- Whom it is about ---

    @cached_property
    def space(self) -> Space:
        found = self.erasure.space
        if found is None:
            raise ErasureFailed("The space is gone.")
        return found

    def people(self) -> QuerySet[Person]:
        """Those of them who are still there."""
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
        """As Vision writes them, in either way."""
        return frozenset(f"person{mark}{one}" for one in self.erasure.ids for mark in ("", "_"))

    @property
    def actor(self) -> Actor:
        return Actor(self.erasure.requested_by, Source.WORKER, request_id=self.erasure.request_id)

    def doom(self, keys: Iterable[str]) -> dict[str, list[str]]:
        """What `note` or `keep` is given, so that these files go even if the worker dies now."""
        known: list[str] = self.erasure.report.get("doomed", [])
        return {"doomed": list(dict.fromkeys([*known, *(key for key in keys if key)]))}


def family_of(people: Iterable[Person]) -> list[Person]:
    """With all who were merged into them."""
    pks = {pk for person in people for pk in subtree_of(person.pk)}
    return list(Person.objects.filter(pk__in=pks).order_by("pk"))
