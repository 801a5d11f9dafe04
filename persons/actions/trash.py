"""Photos that are thrown away, and those that are taken back. See also `pipeline.purging`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Max, Q, QuerySet
from django.utils import timezone

from persons import audit, holds, tasks
from persons.audit import Actor
from persons.errors import Refused
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
from persons.settling import settle_photos

MOST_AT_ONCE = 5000
"""Photos that one form may name."""


@dataclass(frozen=True, slots=True)
class Trashed:
    """`at` is the moment that these photos share: what takes back exactly them."""

    count: int
    at: datetime


@dataclass(frozen=True, slots=True)
class Emptied:
    """`count` photos are deleted for good, `held` stay because of a legal hold."""

    count: int
    held: int


def in_trash(team: Team) -> PhotoQuerySet:
    """What can still be taken back, last thrown away first: what a legal hold is on, however long
    it has been there."""
    kept = Q(trashed_at__gt=timezone.now() - timedelta(days=team.trash_days))
    held = holds.held_condition()
    if held is not None:
        kept |= Q(trashed_at__isnull=False) & held
    photos = Photo.everything.filter(kept, gallery__team=team)
    return photos.order_by("-trashed_at", "-pk")


@transaction.atomic
def trash_photos(*, actor: Actor, gallery: Gallery, pks: Collection[int]) -> Trashed:
    """Those of these photos that are in the gallery; for `trash_days` they can be taken back.

    A worker that has one in hand loses its claim, so that what it found is not stored.
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
    photos.filter(state=PhotoState.PREPARING).update(state=PhotoState.NEW, claim="")
    photos.filter(state=PhotoState.RUNNING).update(state=PhotoState.QUEUED, claim="")
    # A run does not wait for what was thrown away.
    photos.unfinished().update(run=None)
    photos.update(trashed_at=now, trashed_by=actor.user)
    Face.everything.filter(photo__in=found).update(trashed=True)
    settle_photos(found)
    _record(actor, "trash", gallery, found)
    return Trashed(len(found), now)


@transaction.atomic
def restore_photos(*, actor: Actor, photos: QuerySet[Photo]) -> int:
    """Those of these photos that are in the trash come back, with all that was decided; how many.

    What was not finished goes on. One whose unknown faces could be known by now is recognised
    again: whoever was enrolled meanwhile was looked for in the other photos alone.
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
    settle_photos(found)
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
    for pk, _, _, state in rows:
        if state == PhotoState.NEW:
            tasks.ring(tasks.prepare_photo, pk)
    for space in spaces:
        tasks.ring(tasks.recognise_space, space)
    return len(rows)


@transaction.atomic
def empty_trash(*, actor: Actor, team: Team) -> Emptied:
    """Nothing of what is in the trash can be taken back any more; a worker deletes it. How many.

    What a legal hold is on stays where it is.
    """
    holds.lock(team.pk)
    spent = timezone.now() - timedelta(days=team.trash_days)
    waiting = in_trash(team).order_by()
    count = holds.free_photos(waiting).update(trashed_at=spent)
    held = in_trash(team).count()
    if not count:
        raise Refused(
            "Everything in the trash is under legal hold: nothing was deleted."
            if held
            else "The trash is empty already."
        )
    after = {"photos": count, "held": held} if held else {"photos": count}
    audit.record(actor=actor, team=team, action="trash.empty", target=team, after=after)
    tasks.ring(tasks.purge_trash)
    return Emptied(count, held)


def lock_spaces(pks: Collection[int] | QuerySet[Photo, int]) -> None:
    """First the spaces, in order, as everybody does who locks more than one row."""
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
