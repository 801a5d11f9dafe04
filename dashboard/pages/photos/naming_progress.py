"""Progress after a face is named: it is enrolled, then other photos are searched for the person."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, IntegerField, Max, OuterRef, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce
from django.utils import timezone

from persons.models import (
    Change,
    Decision,
    Face,
    Person,
    Photo,
    Review,
    Run,
    SyncState,
    Team,
    User,
)
from persons.models.changes import ChangeKind

LASTING = timedelta(minutes=3)
"""How long a finished search is still shown."""
MOST_PEOPLE = 5
LATELY = timedelta(hours=1)
"""A review shows progress for people who were named this recently, in the last LAST_NAMES."""
LAST_NAMES = 100
MOST_LINES = 2


@dataclass(frozen=True, slots=True)
class NamingProgress:
    """One person's progress: `enrolling -> looking -> done`, or `late` while Vision fails.

    `total` and `left` count photos of the search, `found` counts faces.
    """

    person: Person
    state: str
    total: int = 0
    left: int = 0
    found: int = 0
    unsure: int = 0
    """How many of the found faces a human should confirm."""
    error: str = ""

    @property
    def is_busy(self) -> bool:
        return self.state != "done"

    @property
    def searched(self) -> int:
        return self.total - self.left


def naming_progress_of(faces: Iterable[Face]) -> list[NamingProgress]:
    """One line for each person who was named on these faces, the latest first.

    At most MOST_PEOPLE people are considered. At most one query.
    """
    named = [face for face in faces if face.decision == Decision.NAMED and face.person]
    named.sort(key=_decided, reverse=True)
    last: dict[Person, datetime] = {}
    for face in named:
        if face.person:
            last.setdefault(face.person, _decided(face))
    lately = dict(list(last.items())[:MOST_PEOPLE])
    return _lines(lately)


def naming_progress_of_user(user: User, team: Team) -> list[NamingProgress]:
    """One line for each person whom this user named or confirmed within LATELY, the latest first.

    At most MOST_LINES. Three queries.
    """
    given = (
        Change.objects.filter(
            team=team,
            actor=user,
            kind__in=[ChangeKind.NAME, ChangeKind.CONFIRM],
            undone_at=None,
            person__isnull=False,
            created_at__gte=timezone.now() - LATELY,
        )
        .order_by("-pk")
        .values_list("person", "created_at")[:LAST_NAMES]
    )
    # A person's first decision counts: later ones start no search of their own.
    first = dict(given)
    pks = list(first)[:MOST_PEOPLE]
    people = Person.objects.select_related("space").filter(merged_into=None).in_bulk(pks)
    return _lines({people[pk]: first[pk] for pk in pks if pk in people})[:MOST_LINES]


def _lines(lately: dict[Person, datetime]) -> list[NamingProgress]:
    runs = _newest_runs(lately)
    lines = [_line(person, runs.get(person.pk)) for person in lately]
    return [line for line in lines if line]


def _decided(face: Face) -> datetime:
    return face.decided_at or face.created_at


def _newest_runs(lately: dict[Person, datetime]) -> dict[int, Any]:
    """The newest run since each person was named, by the person's pk.

    Annotated with `left` (photos), `found` (faces) and `unsure` (found faces in review).
    """
    idle = [person.pk for person in lately if person.sync_state == SyncState.IDLE]
    if not idle:
        return {}
    runs = Run.objects.filter(person__in=idle, created_at__gte=min(lately.values()))
    newest = runs.order_by().values("person").annotate(newest=Max("pk")).values("newest")
    # A later run for somebody else may have taken over photos of this run. They still count as
    # waiting, and faces found in them count here.
    waiting = Photo.objects.unfinished().filter(
        run__space=OuterRef("space"), run__created_at__gte=OuterRef("created_at")
    )
    theirs = Face.objects.filter(
        person=OuterRef("person"),
        decision=Decision.NONE,
        found_by_run__created_at__gte=OuterRef("created_at"),
    )
    found = Run.objects.filter(pk__in=newest).annotate(
        left=_counted(waiting, "run__space"),
        found=_counted(theirs, "person"),
        unsure=_counted(theirs.exclude(review=Review.NONE), "person"),
    )
    named_at = {person.pk: moment for person, moment in lately.items()}
    return {
        run.person_id: run
        for run in found
        if run.person_id is not None and run.created_at >= named_at[run.person_id]
    }


def _counted(rows: QuerySet[Any], by: str) -> Coalesce:
    counts = rows.order_by().values(by).annotate(n=Count("*")).values("n")
    return Coalesce(Subquery(counts), Value(0), output_field=IntegerField())


def _line(person: Person, run: Any) -> NamingProgress | None:
    if person.sync_state != SyncState.IDLE:
        late = bool(person.sync_error)
        return NamingProgress(person, "late" if late else "enrolling", error=person.sync_error)
    if run is None:
        return None
    left = min(run.left, run.photo_count)
    if left:
        return NamingProgress(person, "looking", run.photo_count, left, run.found, run.unsure)
    if (run.finished_at or run.created_at) < timezone.now() - LASTING:
        return None
    return NamingProgress(person, "done", run.photo_count, 0, run.found, run.unsure)
