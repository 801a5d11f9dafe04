"""Searches the history: matching calls, newest first, by index for every filter.

Call facts are searched in calls; person, similarity and name in findings; gallery in images. Each
table has indexes in the order of calls. A page is read from one of them until it is full, so no
search counts or sorts everything.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from heapq import merge
from itertools import islice
from typing import Any

from django.db.models import Q, QuerySet

from persons.access import Asker, of_unknown_gallery, records_hidden_from
from persons.models import ApiKey, Call, Finding, Gallery, Person, Recognition, Space, Team, User
from persons.models.people import found_by_name

SLACK = timedelta(minutes=10)
"""By how much calls may stand out of the order of their beginnings: several servers write at once,
and their clocks differ a little."""

MOST_NAMED = 200
"""People whom a text may find."""

FEW = 1000
"""Calls that are named one by one rather than looked for."""

ONE_BY_ONE = 8
"""Up to so many people are each read from their own range of the index."""


@dataclass(frozen=True, slots=True)
class Filters:
    """Parsed filters, whose objects exist and may be read. `people` are the pks of everyone who
    matches the person or text, including people merged with them; None without such a filter."""

    since: datetime | None = None
    until: datetime | None = None
    actor: User | None = None
    key: ApiKey | None = None
    method: str = ""
    source: str = ""
    outcome: str = ""
    address: str = ""
    space: Space | None = None
    gallery: Gallery | None = None
    request: str = ""
    person: Person | None = None
    text: str = ""
    low: float | None = None
    high: float | None = None
    people: frozenset[int] | None = field(default=None, repr=False)

    @property
    def of_faces(self) -> bool:
        """Whether the filters select single faces."""
        return self.people is not None or self.low is not None or self.high is not None


@dataclass(frozen=True, slots=True)
class Search:
    """`hidden` are the galleries closed to the reader."""

    team: Team
    filters: Filters
    hidden: frozenset[int]

    @classmethod
    def by(cls, user: Asker, team: Team, filters: Filters) -> Search:
        return cls(team, filters, records_hidden_from(user, team))

    def ids(self, size: int, *, before: int | None = None, after: int | None = None) -> list[int]:
        """At most `size` calls: the newest below `before`, or with `after` the oldest above it."""
        bounds = self._bounds()
        if before is not None:
            bounds["id__lt"] = min(before, bounds.get("id__lt", before))
        if after is not None:
            bounds["id__gt"] = max(after, bounds.get("id__gt", after))
        back = after is not None
        found = []
        for name, rows in self._sources(bounds):
            pks = rows.order_by(name if back else f"-{name}").values_list(name, flat=True)
            found.append((pks if name == "id" else pks.distinct())[:size])
        return list(islice(_unique(merge(*found, reverse=not back)), size))

    def all_ids(self, size: int) -> Iterator[list[int]]:
        """All matching calls, newest first, in pages of `size`."""
        before: int | None = None
        while page := self.ids(size, before=before):
            yield page
            before = page[-1]

    def findings(self, calls: Collection[int]) -> QuerySet[Finding]:
        """Visible findings of these calls; only matching ones if filters select single faces."""
        found = Finding.objects.filter(call__in=calls)
        if self.filters.of_faces:
            found = found.filter(self._faces())
            if self.filters.people is not None:
                found = found.filter(person__in=self.filters.people)
        return self._open_findings(found)

    def images(self, calls: Collection[int]) -> QuerySet[Recognition]:
        rows = Recognition.objects.filter(call__in=calls)
        if self.filters.gallery is not None:
            rows = rows.filter(gallery=self.filters.gallery)
        return self._open_images(rows)

    def calls(self, prefix: str = "") -> Q:
        """The condition on the call itself, for rows that refer to it by `prefix`."""
        asked = self.filters
        wanted: dict[str, Any] = {
            "method": asked.method,
            "source": asked.source,
            "outcome": asked.outcome,
            "address": asked.address,
            "space": asked.space,
            "actor": asked.actor,
            "key": asked.key,
            "started_at__gte": asked.since,
            "started_at__lte": asked.until,
        }
        return Q(
            **{
                f"{prefix}{name}": value
                for name, value in wanted.items()
                if value not in (None, "")
            }
        )

    def _sources(self, bounds: dict[str, int]) -> list[tuple[str, QuerySet[Any]]]:
        """The querysets in which to find calls, each with the name of its call column."""
        asked = self.filters
        within: dict[str, Any] = {f"call_{name}": value for name, value in bounds.items()}
        if (asked.of_faces or asked.gallery is not None) and (few := self._few(bounds)) is not None:
            within["call__in"] = few
        if asked.of_faces:
            faces = Finding.objects.filter(self.calls("call__"), self._faces(), **within)
            return self._of_faces(self._open_findings(faces), within)
        if asked.gallery is not None:
            theirs = Recognition.objects.filter(
                self.calls("call__"), gallery=asked.gallery, **within
            )
            images = self._open_images(theirs)
            if asked.request:
                images = images.filter(self._request("call__", ""))
            return [("call_id", images)]
        calls = Call.objects.filter(self.calls(), team=self.team, **bounds)
        if not asked.request:
            return [("id", calls)]
        caused = Recognition.objects.filter(
            self.calls("call__"), call__team=self.team, request_id=asked.request, **within
        )
        return [("id", calls.filter(request_id=asked.request)), ("call_id", caused)]

    def _few(self, bounds: dict[str, int]) -> list[int] | None:
        """The calls that match on their own facts, if they are few. This avoids reading a person's
        50,000 findings for the one call from an address."""
        where = self.calls()
        if not where:
            return None
        calls = Call.objects.filter(where, team=self.team, **bounds).order_by("-pk")
        pks = list(calls.values_list("pk", flat=True)[: FEW + 1])
        return pks if len(pks) <= FEW else None

    def _of_faces(
        self, faces: QuerySet[Finding], within: dict[str, Any]
    ) -> list[tuple[str, QuerySet[Any]]]:
        asked = self.filters
        if asked.people is None:
            return [("call_id", faces.filter(team=self.team))]
        people = sorted(asked.people)
        found: list[tuple[str, QuerySet[Any]]]
        if len(people) > ONE_BY_ONE:
            found = [("call_id", faces.filter(person__in=people))]
        else:
            found = [("call_id", faces.filter(person=pk)) for pk in people]
        single = asked.low is not None or asked.high is not None or asked.gallery is not None
        if asked.person is not None and not single:
            # Enrolments and deletions of these people count as well.
            about = Recognition.objects.filter(
                self.calls("call__"),
                person_id=asked.person.person_id,
                call__space=asked.person.space_id,
                **within,
            )
            if asked.request:
                about = about.filter(self._request("call__", ""))
            found.append(("call_id", about))
        return found

    def _faces(self) -> Q:
        """The condition on a face, except for its person."""
        asked = self.filters
        where = Q()
        if asked.low is not None:
            where &= Q(similarity__gte=asked.low)
        if asked.high is not None:
            where &= Q(similarity__lte=asked.high)
        if asked.gallery is not None:
            where &= Q(gallery=asked.gallery)
        if asked.request:
            where &= self._request("call__", "recognition__")
        return where

    def _request(self, call: str, recognition: str) -> Q:
        wanted = self.filters.request
        return Q(**{f"{call}request_id": wanted}) | Q(**{f"{recognition}request_id": wanted})

    def _open_findings(self, rows: QuerySet[Finding]) -> QuerySet[Finding]:
        """Matches the gallery at the time of the call, and the photo's present gallery."""
        if not self.hidden:
            return rows
        rows = rows.exclude(of_unknown_gallery("recognition__")).exclude(gallery__in=self.hidden)
        return rows.exclude(recognition__photo__gallery__in=self.hidden)

    def _open_images(self, rows: QuerySet[Recognition]) -> QuerySet[Recognition]:
        if not self.hidden:
            return rows
        rows = rows.exclude(of_unknown_gallery()).exclude(gallery__in=self.hidden)
        return rows.exclude(photo__gallery__in=self.hidden)

    def _bounds(self) -> dict[str, int]:
        """The range of call ids that contains the requested period, since indexes are ordered by
        id. It extends SLACK beyond the period on both sides."""
        asked, theirs = self.filters, Call.objects.filter(team=self.team)
        bounds: dict[str, int] = {}
        if asked.since is not None:
            earlier = theirs.filter(started_at__lt=asked.since - SLACK).order_by("-started_at")
            for pk in earlier.values_list("pk", flat=True)[:1]:
                bounds["id__gt"] = pk
        if asked.until is not None:
            later = theirs.filter(started_at__gt=asked.until + SLACK).order_by("started_at")
            for pk in later.values_list("pk", flat=True)[:1]:
                bounds["id__lt"] = pk
        return bounds


def called(spaces: Sequence[int], text: str) -> frozenset[int]:
    """Everyone whose name matches a text, and everyone merged with them."""
    return with_merged(found_by_name(spaces, text, MOST_NAMED))


def with_merged(pks: Collection[int]) -> frozenset[int]:
    """These people and all who are one human with them."""
    canonical = Person.objects.filter(pk__in=pks).values("canonical")
    same = Person.objects.filter(canonical__in=canonical)
    return frozenset(same.values_list("pk", flat=True))


def _unique(values: Iterator[int]) -> Iterator[int]:
    last = None
    for value in values:
        if value != last:
            yield value
        last = value
