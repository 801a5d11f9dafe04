"""The sweep: recovers what a lost message, a dead worker or an old error left behind."""

from __future__ import annotations

import time
from collections.abc import Collection
from datetime import timedelta

from django.conf import settings
from django.db.models import F
from django.utils import timezone

from persons.access.links import record_visits
from persons.calls import log as call_log
from persons.faces import identity
from persons.files.unfinished import sweep_unfinished
from persons.models import Person, Run
from persons.pipeline.identity.merge_propagation import forget_propagated
from persons.pipeline.privacy.consents import keep_consents
from persons.pipeline.privacy.erasing.replay import replay_erasures
from persons.pipeline.privacy.retention import begin_runs, expire_certificates
from persons.pipeline.recognition.rescan import begin_rescans
from persons.pipeline.recognition.retrying import finish_runs
from persons.work import KINDS, Work, expiry

COUNTED_AT_ONCE = 500
"""People whose faces are counted in one sweep."""


def sweep() -> list[Work]:
    """Release dead workers' claims, close what they left open and begin what is due.

    Returns the kinds that then have work, at one query per kind.
    """
    release_claims()
    replay_erasures()
    identity.resolve_merged()
    count_faces()
    keep_consents()
    expire_certificates()
    forget_propagated()
    record_visits()
    sweep_unfinished()
    begun = Run.objects.filter(finished_at=None, photo_count__gt=0)
    finish_runs(begun.values_list("pk", flat=True))
    begin_rescans(timezone.now())
    begin_runs()
    return kinds_with_work()


def kinds_with_work(among: Collection[Work] = tuple(Work)) -> list[Work]:
    """The kinds that have a row to claim, at one query each."""
    return [work for work in among if KINDS[work].waiting().order_by().exists()]


def count_faces() -> None:
    """Refresh `Person.face_count` for one part of all people, another part each time."""
    parts = max(1, -(-Person.objects.count() // COUNTED_AT_ONCE))
    part = int(time.time() // settings.SWEEP_SECONDS) % parts
    identity.count_faces(Person.objects.alias(part=F("pk") % parts).filter(part=part))


def release_dead(work: Work) -> int:
    """Put work of this kind that dead workers had claimed back in its queue. Returns how many
    rows."""
    return KINDS[work].release(expiry(), blame=True)


def release_claims(*, everything: bool = False) -> int:
    """Put all work that dead workers had claimed back in its queue. Returns how many rows.

    A claim is dead when its lease has expired. With `everything` all claims are: for a supervisor
    that knows that no worker runs. Work that has killed several workers fails, with the reason.
    """
    now = timezone.now()
    until = now if everything else expiry()
    # A supervisor's restart is not the fault of the rows being worked on.
    count = sum(kind.release(until, blame=not everything) for kind in KINDS.values())
    # Calls are not renewed: a client's call may take as long as its answer does.
    call_log.interrupt(now if everything else now - timedelta(seconds=settings.CALL_SECONDS))
    return count
