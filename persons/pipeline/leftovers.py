"""What a lost message, a dead worker or an old error left behind."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db.models import F
from django.utils import timezone

from persons import calls, settling
from persons.models import Gallery, Person, Photo, PhotoState, Run, SyncState
from persons.pipeline.consents import keep_consents
from persons.pipeline.erasing import release_erasures, waiting_erasures
from persons.pipeline.erasing.replay import replay_erasures
from persons.pipeline.following import forget_followed
from persons.pipeline.grouping import release_groupings, waiting_groupings
from persons.pipeline.jobs import release_jobs, waiting_jobs
from persons.pipeline.looking import begin_looks
from persons.pipeline.people import give_up
from persons.pipeline.purging import spent_trash
from persons.pipeline.retention import begin_runs, expire_certificates, release_runs
from persons.pipeline.retrying import MAX_INTERRUPTIONS, finish_runs

SWEEP_LIMIT = 100

COUNTED_AT_ONCE = 500
"""People whose faces are counted in one sweep."""


@dataclass(frozen=True, slots=True)
class Left:
    """Primary keys to ring for."""

    photos: list[int]
    spaces: list[int]
    people: list[int]
    jobs: list[int]
    groupings: list[int]
    erasures: list[int]
    retention: list[int]
    has_spent_trash: bool = False


def sweep() -> Left:
    """Free the claims of dead workers, close what they left open, begin what is due, and list what
    waits."""
    release_claims()
    replay_erasures()
    settling.settle_merged()
    count_faces()
    keep_consents()
    expire_certificates()
    forget_followed()
    now = timezone.now()
    begun = Run.objects.filter(finished_at=None, photo_count__gt=0)
    finish_runs(begun.values_list("pk", flat=True))
    begin_looks(now)
    waiting = Photo.objects.filter(after__lte=now)
    photos = waiting.filter(
        # A moment's grace for the bell that the upload itself rang.
        state=PhotoState.NEW,
        uploaded_at__lt=now - timedelta(seconds=5),
    ).order_by("pk")
    spaces = Gallery.objects.filter(
        pk__in=waiting.filter(state=PhotoState.QUEUED).values("gallery")
    ).values_list("space", flat=True)
    people = Person.objects.filter(sync_state=SyncState.QUEUED, sync_after__lte=now).order_by("pk")
    return Left(
        photos=list(photos.values_list("pk", flat=True)[:SWEEP_LIMIT]),
        spaces=sorted(set(spaces)),
        people=list(people.values_list("pk", flat=True)[:SWEEP_LIMIT]),
        jobs=waiting_jobs(now),
        groupings=waiting_groupings(),
        erasures=waiting_erasures(now),
        retention=begin_runs(),
        has_spent_trash=spent_trash().exists(),
    )


def count_faces() -> None:
    """Refresh `Person.face_count` of one part of all people, another one each time."""
    parts = max(1, -(-Person.objects.count() // COUNTED_AT_ONCE))
    part = int(time.time() // settings.SWEEP_SECONDS) % parts
    settling.count_faces(Person.objects.alias(part=F("pk") % parts).filter(part=part))


def release_claims(*, everything: bool = False) -> int:
    """Put work that dead workers had claimed back in its queue; how many rows.

    A claim is dead when its lease is over, or always with `everything`, which is for a supervisor
    that knows that no worker runs. A photo that killed several workers is failed, with the reason.
    """
    now = timezone.now()
    until = now if everything else now - timedelta(seconds=settings.LEASE_SECONDS)
    claimed = Photo.objects.filter(claimed_at__lte=until)
    held = [
        (PhotoState.PREPARING, PhotoState.NEW, "Preparing"),
        (PhotoState.RUNNING, PhotoState.QUEUED, "Recognising"),
    ]
    count = 0
    for running, waiting, what in held:
        count += claimed.filter(state=running, interruptions__gte=MAX_INTERRUPTIONS).update(
            state=PhotoState.FAILED,
            claim="",
            error=f"{what} this photo was cut off {MAX_INTERRUPTIONS + 1} times.",
        )
        # A supervisor's restart says nothing against the photos that were being worked on.
        blame = 0 if everything else 1
        count += claimed.filter(state=running).update(
            state=waiting, claim="", after=now, interruptions=F("interruptions") + blame
        )
    people = Person.objects.filter(sync_state=SyncState.RUNNING, claimed_at__lte=until)
    count += give_up(
        people.filter(sync_attempts__gte=settings.MAX_ATTEMPTS),
        f"Sending this person's pictures was cut off {settings.MAX_ATTEMPTS} times.",
    )
    count += people.update(
        sync_state=SyncState.QUEUED,
        claim="",
        sync_after=now,
        sync_attempts=F("sync_attempts") + (0 if everything else 1),
    )
    count += release_jobs(until, blame=not everything)
    count += release_groupings(until, blame=0 if everything else 1)
    count += release_erasures(until, blame=not everything)
    count += release_runs(until, blame=0 if everything else 1)
    calls.interrupt(until)
    return count
