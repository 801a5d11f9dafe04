"""Another look at faces without a name, after clients changed who is enrolled.

A client enrols thousands of people one by one, and each could be on any photo: one look, when it is
done with that. What has to be looked at is a Run that has no photos yet; `sweep` begins it.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import F, Q, QuerySet

from persons.locking import in_turn
from persons.models import Call, Decision, Face, Person, Photo, PhotoState, Run, Source, Space
from persons.vision.types import Method

REASON = "Looking for people whom clients enrolled or removed"

QUIET = timedelta(seconds=15)
"""No client has changed the space for so long: it has probably finished."""

LONGEST = timedelta(minutes=10)
"""A client that never finishes is not waited for any longer."""


def look_later(space: Space, forgotten: QuerySet[Person] | None = None) -> None:
    """A look is due, for faces without a name, and for those whom the engine gave to `forgotten`.

    To be called in the transaction that moved the space's version, and so holds its row: there is
    one look that waits, however many changes come at once.
    """
    if not Photo.objects.filter(gallery__space=space).exists():
        return
    look = Run.objects.waiting().filter(space=space).first()
    if look is None:
        look = Run.objects.create(space=space, reason=REASON)
    if forgotten is not None:
        # Who is at Vision just now, or waits for it, is asked by the space as it is then.
        faces = _undecided().filter(found_person__in=forgotten)
        photos = Photo.objects.filter(state=PhotoState.DONE, pk__in=faces.values("photo"))
        in_turn(photos).update(run=look)


def begin_looks(now: datetime) -> None:
    """Begin the looks that have waited long enough; each in one transaction, or not at all."""
    for look in Run.objects.waiting().select_related("space").order_by("pk"):
        if look.created_at <= now - LONGEST or not _is_changing(look.space, now):
            _begin(look.pk, look.space_id, now)


def _is_changing(space: Space, now: datetime) -> bool:
    """Whether a client is at it, or the last look has not ended."""
    if Run.objects.filter(space=space, reason=REASON, finished_at=None, photo_count__gt=0).exists():
        return True
    changes = Call.objects.filter(
        team=space.team_id,
        space=space,
        source=Source.CLIENT,
        method__in=[Method.SET, Method.DELETE, Method.TRUNCATE],
    )
    last = changes.order_by("-pk").values_list("started_at", flat=True).first()
    return last is not None and last > now - QUIET


@transaction.atomic
def _begin(run_pk: int, space_pk: int, now: datetime) -> None:
    # First the space: a change that is just being written down is in this look, or waits for its
    # end and then for another one.
    Space.objects.select_for_update(no_key=True).get(pk=space_pk)
    run = Run.objects.waiting().filter(pk=run_pk).first()
    if run is None:
        return
    unknown = _undecided().filter(person=None, photo__gallery__space=space_pk)
    photos = Photo.objects.filter(
        Q(pk__in=unknown.values("photo")) | Q(run=run),
        state__in=[PhotoState.DONE, PhotoState.QUEUED],
    )
    run.photo_count = in_turn(photos).update(
        state=PhotoState.QUEUED,
        requested=F("requested") + 1,
        after=now,
        attempts=0,
        request_id="",
        run=run,
    )
    if not run.photo_count:
        run.finished_at = now
    run.save(update_fields=["photo_count", "finished_at"])


def _undecided() -> QuerySet[Face]:
    return Face.objects.filter(missing=False, decision=Decision.NONE)
