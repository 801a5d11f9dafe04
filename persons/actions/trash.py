"""Moving photos to the trash, restoring them, and emptying it. See also
`pipeline.privacy.purging`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Max, Q, QuerySet
from django.utils import timezone

from persons import audit, tasks
from persons.audit import Actor
from persons.db.locking import in_turn
from persons.errors import Refused
from persons.faces.identity import resolve_identities
from persons.models import (
    Enrolment,
    EnrolmentState,
    Face,
    Gallery,
    Photo,
    PhotoState,
    Space,
    Team,
)
from persons.models.galleries import PhotoQuerySet
from persons.pipeline.recognition.retrying import take_back
from persons.privacy import holds
from persons.work import Work

MOST_AT_ONCE = 5000
"""The most photos that one form may name."""


@dataclass(frozen=True, slots=True)
class Trashed:
    """`at` is the moment that these photos share: restoring by it restores exactly them."""

    count: int
    at: datetime


@dataclass(frozen=True, slots=True)
class Emptied:
    """`count` photos will be deleted for good; `held` stay because of a legal hold."""

    count: int
    held: int


def in_trash(team: Team) -> PhotoQuerySet:
    """Photos that can still be restored, last trashed first.

    A photo under legal hold stays, however long it has been in the trash.
    """
    kept = Q(trashed_at__gt=timezone.now() - timedelta(days=team.trash_days))
    held = holds.held_condition()
    if held is not None:
        kept |= Q(trashed_at__isnull=False) & held
    photos = Photo.everything.filter(kept, gallery__team=team)
    return photos.order_by("-trashed_at", "-pk")


@transaction.atomic
def trash_photos(*, actor: Actor, gallery: Gallery, pks: Collection[int]) -> Trashed:
    """Move those of these photos that are in the gallery to the trash, for `trash_days`.

    A worker that is processing one loses its lease, so that its result is not stored. Raises
    Refused.
    """
    lock_spaces([gallery.space_id])
    found = list(
        Photo.objects.select_for_update(of=("self",))
        .filter(gallery=gallery, pk__in=set(pks))
        .order_by("pk")
        .values_list("pk", flat=True)
    )
    if not found:
        raise Refused("Those photos are not in this gallery any more.")
    now = timezone.now()
    photos = Photo.objects.filter(pk__in=found)
    take_back(photos)
    # A run does not wait for trashed photos.
    photos.unfinished().update(run=None)
    photos.update(trashed_at=now, trashed_by=actor.user)
    Face.everything.filter(photo__in=found).update(trashed=True)
    resolve_identities(found)
    _record(actor, "trash", gallery, found)
    return Trashed(len(found), now)


@transaction.atomic
def restore_photos(*, actor: Actor, photos: QuerySet[Photo]) -> int:
    """Restore those of these photos that are in the trash, with all decisions. Returns how many.

    Unfinished work goes on. A photo is recognised again if it has unknown faces and somebody was
    enrolled since: rescans leave out the trash.
    """
    trashed = Photo.everything.exclude(trashed_at=None)
    asked = trashed.filter(pk__in=photos.order_by().values("pk"))
    lock_spaces(asked.order_by().values_list("gallery__space", flat=True).distinct())
    rows = list(
        asked.select_for_update(of=("self",))
        .order_by("pk")
        .values_list("pk", "gallery", "gallery__space", "state")[:MOST_AT_ONCE]
    )
    if not rows:
        return 0
    found = [pk for pk, *_ in rows]
    now = timezone.now()
    back = Photo.everything.filter(pk__in=found)
    back.update(trashed_at=None, trashed_by=None, after=now, interruptions=0)
    Face.everything.filter(photo__in=found).update(trashed=False)
    resolve_identities(found)
    spaces = sorted({space for _, _, space, _ in rows})
    for space, enrolled_at in _last_enrolments(spaces):
        back.filter(
            gallery__space=space,
            state=PhotoState.DONE,
            unknown_count__gt=0,
            recognised_at__lt=enrolled_at,
        ).update(state=PhotoState.QUEUED, attempts=0)
    by_gallery = Counter(gallery for _, gallery, _, _ in rows)
    for gallery in Gallery.objects.select_related("team").filter(pk__in=by_gallery):
        theirs = [pk for pk, its_gallery, _, _ in rows if its_gallery == gallery.pk]
        _record(actor, "restore", gallery, theirs)
    tasks.enqueue(Work.PREPARE)
    tasks.enqueue(Work.RECOGNISE)
    return len(rows)


@transaction.atomic
def empty_trash(*, actor: Actor, team: Team) -> Emptied:
    """Make everything in the trash due for deletion by a worker, except what is under legal hold.

    Raises Refused if nothing can be deleted.
    """
    holds.lock(team.pk)
    spent = timezone.now() - timedelta(days=team.trash_days)
    waiting = in_trash(team).order_by()
    count = in_turn(holds.free_photos(waiting)).update(trashed_at=spent)
    held = in_trash(team).count()
    if not count:
        raise Refused(
            "Everything in the trash is under legal hold: nothing was deleted."
            if held
            else "The trash is empty already."
        )
    after = {"photos": count, "held": held} if held else {"photos": count}
    audit.record(actor=actor, team=team, action="trash.empty", target=team, after=after)
    tasks.enqueue(Work.TRASH)
    return Emptied(count, held)


def lock_spaces(pks: Collection[int] | QuerySet[Photo, int]) -> None:
    """Lock spaces in pk order, before any other row."""
    wanted = sorted(set(pks))
    list(Space.objects.select_for_update(no_key=True).filter(pk__in=wanted).order_by("pk"))


def _last_enrolments(spaces: Collection[int]) -> list[tuple[int, datetime]]:
    done = Enrolment.objects.filter(person__space__in=spaces, state=EnrolmentState.DONE)
    last = done.order_by().values_list("person__space").annotate(at=Max("done_at"))
    return [(space, at) for space, at in last if at is not None]


def _record(actor: Actor, verb: str, gallery: Gallery, pks: Collection[int]) -> None:
    photo = Photo.everything.filter(pk__in=pks).first() if len(pks) == 1 else None
    audit.record(
        actor=actor,
        team=gallery.team,
        action=f"photo.{verb}" if photo else f"photos.{verb}",
        target=photo or gallery,
        after={"gallery": gallery.slug, "photos": len(pks), "ids": sorted(pks)},
    )
