"""What lay in the trash for its time is deleted: rows, and bytes that nothing else needs."""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta

from django.core.files.storage import default_storage
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from persons import audit, holds
from persons.audit import Actor
from persons.models import Gallery, Photo, Source, Team
from persons.models.galleries import PhotoQuerySet
from persons.storage import delete_folder

BATCH = 100

RENDITIONS = ("thumb", "medium", "large", "sent")


def purge_trash() -> int:
    """Delete one batch of photos whose time is over; how many.

    Rows first, in one transaction with the audit entries. A crash before the files are gone leaves
    files that nobody refers to, never a photo without its bytes. What a legal hold is on is left.
    """
    with transaction.atomic():
        team = spent_trash().values_list("gallery__team", flat=True).first()
        if team is None:
            return 0
        # No hold is set from here to the end, on what is being deleted.
        holds.lock(team)
        photos = list(
            spent_trash()
            .filter(gallery__team=team)
            .select_for_update(of=("self",), skip_locked=True)
            .select_related("gallery__team")[:BATCH]
        )
        by_gallery: dict[Gallery, list[Photo]] = defaultdict(list)
        for photo in photos:
            by_gallery[photo.gallery].append(photo)
        for gallery, theirs in by_gallery.items():
            audit.record(
                actor=Actor(user=None, source=Source.WORKER, text="Rollcall"),
                team=gallery.team,
                action="photos.purge",
                target=gallery,
                after={
                    "gallery": gallery.slug,
                    "photos": len(theirs),
                    "ids": sorted(photo.pk for photo in theirs),
                },
            )
        Photo.everything.filter(pk__in=[photo.pk for photo in photos]).delete()
    for photo in photos:
        forget_files(photo)
    return len(photos)


def spent_trash(team: Team | None = None, *, days: int = 0) -> PhotoQuerySet:
    """What has lain in the trash for as long as its team keeps it, and no hold is on. With a team:
    by that many `days` instead."""
    now = timezone.now()
    trashed = Photo.everything.filter(trashed_at__isnull=False)
    if team is not None:
        by_team = {team.pk: days}
    else:
        rows = trashed.order_by().values_list("gallery__team", "gallery__team__trash_days")
        by_team = dict(rows.distinct())
    spent = Q(pk__in=[])
    for team_pk, number in by_team.items():
        spent |= Q(gallery__team=team_pk, trashed_at__lte=now - timedelta(days=number))
    return holds.free_photos(trashed.filter(spent)).order_by("trashed_at", "pk")


def forget_files(photo: Photo) -> bool:
    """Delete the bytes of a photo whose row is gone, unless another one of the team has the same.

    Who adds a photo checks that its bytes are there while holding the same lock (`add_photo`), so
    no row ever comes to rely on a file that is being deleted. Enrolled pictures are files of their
    own and stay.
    """
    team = photo.gallery.team_id
    with transaction.atomic():
        Team.objects.select_for_update(no_key=True).get(pk=team)
        if Photo.everything.filter(gallery__team=team, sha256=photo.sha256).exists():
            return False
        default_storage.delete(photo.original)
        for what in RENDITIONS:
            default_storage.delete(photo.key(what))
        delete_folder(f"crops/{team}/{photo.sha256[:2]}/{photo.sha256}")
    return True
