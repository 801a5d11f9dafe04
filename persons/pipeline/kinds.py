"""The kinds of work, and the order in which each takes its rows: see `persons.work`.

Photos, spaces and people alternate between teams, then galleries or spaces, so that a single photo
doesn't wait behind another team's album. Long work takes the row whose turn was longest ago.
"""

from __future__ import annotations

import random

from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from persons.faces import identity
from persons.models import (
    AuditChain,
    Erasure,
    Grouping,
    JobState,
    Person,
    Photo,
    PhotoState,
    RetentionRun,
    Space,
    SpaceJob,
)
from persons.pipeline.audit.verifying import VERIFYING, verify_chain, waiting_chains
from persons.pipeline.enrolment import people
from persons.pipeline.identity.grouping import GROUPINGS, group_faces
from persons.pipeline.privacy.erasing import erase
from persons.pipeline.privacy.erasing.claims import ERASURES
from persons.pipeline.privacy.purging import expired_trash, purge_trash
from persons.pipeline.privacy.retention import RUNS, keep_rules
from persons.pipeline.recognition.preparing import prepare
from persons.pipeline.recognition.recognising import galleries_waiting, next_photos, recognise_batch
from persons.pipeline.recognition.retrying import PREPARING, RECOGNISING
from persons.pipeline.spaces.job_claims import JOBS
from persons.pipeline.spaces.jobs import jobs_to_clean_up, work
from persons.work import Kind, LongWork, Work, alternating, by_owner, register

AT_ONCE = 16
"""Keys looked up at once: few, since other workers take from the same rows meanwhile."""


@register
class Preparing(Kind):
    """Uploads without renditions. A key is a photo."""

    name = Work.PREPARE
    wakes = (Work.RECOGNISE,)
    leases = (PREPARING,)

    def waiting(self) -> QuerySet[Photo]:
        return Photo.objects.waiting(PhotoState.NEW)

    def next(self) -> list[int]:
        galleries = galleries_waiting(PhotoState.NEW).values_list("team", "pk")
        teams = by_owner(galleries)[:AT_ONCE]
        each = -(-AT_ONCE // max(1, len(teams)))
        return alternating([self._of_team(theirs, each) for theirs in teams])

    def _of_team(self, galleries: list[int], most: int) -> list[int]:
        found = next_photos(PhotoState.NEW, galleries, most)
        return [pk for pk, _, _ in found]

    def do(self, key: int) -> bool:
        prepare(key)
        return False


@register
class Recognising(Kind):
    """Photos that wait for Vision. A key is a space, since a call has photos of one space."""

    name = Work.RECOGNISE
    wakes = (Work.PREPARE,)
    leases = (RECOGNISING,)

    def waiting(self) -> QuerySet[Photo]:
        return Photo.objects.waiting(PhotoState.QUEUED)

    def next(self) -> list[int]:
        spaces = galleries_waiting(PhotoState.QUEUED).values_list("team", "space")
        teams = by_owner(spaces.order_by().distinct())
        for theirs in teams:
            random.shuffle(theirs)
        return alternating(teams)

    def do(self, key: int) -> bool:
        return recognise_batch(key)


@register
class Syncing(Kind):
    """People whose enrolments at Vision differ from the ledger. A key is a person."""

    name = Work.SYNC
    wakes = (Work.RECOGNISE,)
    leases = (people.SYNCING,)

    def waiting(self) -> QuerySet[Person]:
        return people.waiting_people()

    def next(self) -> list[int]:
        theirs = self.waiting().filter(space=OuterRef("pk"))
        spaces = Space.objects.filter(Exists(theirs)).values_list("team", "pk")
        chosen = alternating(by_owner(spaces.order_by()))[:AT_ONCE]
        each = -(-AT_ONCE // max(1, len(chosen)))
        return alternating([self._of_space(space, each) for space in chosen])

    def _of_space(self, space: int, most: int) -> list[int]:
        theirs = self.waiting().filter(space=space).order_by("after", "pk")
        return list(theirs.values_list("pk", flat=True)[:most])

    def do(self, key: int) -> bool:
        people.sync(key)
        return True


@register
class Identity(Kind):
    """People whose faces a decision may have left behind during a merge. A key is a person."""

    name = Work.IDENTITY

    def waiting(self) -> QuerySet[Person]:
        return Person.objects.filter(identity_due_at__lte=timezone.now())

    def next(self) -> list[int]:
        due = self.waiting().order_by("identity_due_at", "pk")
        return list(due.values_list("pk", flat=True)[:AT_ONCE])

    def do(self, key: int) -> bool:
        identity.resolve_due(key)
        return False


@register
class Jobs(LongWork):
    """Long work on spaces, and the clean-up of cancelled jobs."""

    name = Work.JOBS
    wakes = (Work.RECOGNISE, Work.SYNC)
    leases = (JOBS,)

    def waiting(self) -> QuerySet[SpaceJob]:
        ready = Q(state=JobState.QUEUED, after__lte=timezone.now())
        return SpaceJob.objects.filter(ready | jobs_to_clean_up())

    def do(self, key: int) -> bool:
        return bool(work(key).jobs)


@register
class Erasing(LongWork):
    """Erasures that are not done. A key is an erasure."""

    name = Work.ERASE
    wakes = (Work.SYNC, Work.JOBS)
    leases = (ERASURES,)

    def waiting(self) -> QuerySet[Erasure]:
        return Erasure.objects.filter(state=JobState.QUEUED, after__lte=timezone.now())

    def do(self, key: int) -> bool:
        return erase(key)


@register
class Groups(LongWork):
    """Groupings to plan or to carry out. A key is a grouping."""

    name = Work.GROUP
    leases = (GROUPINGS,)

    def waiting(self) -> QuerySet[Grouping]:
        return Grouping.objects.filter(state=JobState.QUEUED, after__lte=timezone.now())

    def do(self, key: int) -> bool:
        return group_faces(key)


@register
class Retention(LongWork):
    """Retention runs. A key is a run."""

    name = Work.RETENTION
    leases = (RUNS,)

    def waiting(self) -> QuerySet[RetentionRun]:
        return RetentionRun.objects.filter(state=JobState.QUEUED, after__lte=timezone.now())

    def do(self, key: int) -> bool:
        return keep_rules(key)


@register
class Trash(Kind):
    """Photos that are due for deletion. The one key stands for all of them."""

    name = Work.TRASH

    def waiting(self) -> QuerySet[Photo]:
        return expired_trash()

    def next(self) -> list[int]:
        return [0] if self.waiting().exists() else []

    def do(self, key: int) -> bool:
        return bool(purge_trash())


@register
class Verifying(Kind):
    """Chains whose verification was requested. A key is a chain."""

    name = Work.VERIFY
    leases = (VERIFYING,)

    def waiting(self) -> QuerySet[AuditChain]:
        return waiting_chains()

    def next(self) -> list[int]:
        rows = self.waiting().order_by("after", "pk")
        return list(rows.values_list("pk", flat=True)[:AT_ONCE])

    def do(self, key: int) -> bool:
        verify_chain(key)
        return False
