"""Deletes photos whose time in the trash is over: rows, and files that nothing else needs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from datetime import timedelta

from django.core.files.storage import default_storage
from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone

from persons import audit
from persons.audit import Actor
from persons.files.storage import delete_folder
from persons.models import Finding, Gallery, Photo, Recognition, Source, Team
from persons.models.galleries import PhotoQuerySet
from persons.privacy import holds

BATCH = 100

RENDITIONS = ("thumb", "medium", "large", "full", "sent")


def purge_trash() -> int:
    """Delete one batch of photos that are due. Returns how many.

    Rows go first, in one transaction with the audit entries. A crash before the files are deleted
    leaves orphan files, never a photo without its bytes. Photos under legal hold stay.
    """
    with transaction.atomic():
        team = expired_trash().values_list("gallery__team", flat=True).first()
        if team is None:
            return 0
        # From here to the end nobody can set a hold on what is being deleted.
        holds.lock(team)
        photos = list(
            expired_trash()
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
        delete_rows([photo.pk for photo in photos])
    for photo in photos:
        forget_files(photo)
    return len(photos)


def expired_trash(team: Team | None = None, *, days: int = 0) -> PhotoQuerySet:
    """Photos that were in the trash for as long as their team keeps trash, except those under legal
    hold.

    With a `team`: its photos only, by that many `days` instead.
    """
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


def delete_rows(pks: Collection[int]) -> None:
    """Delete the photos' rows and what depends on them. Their recognitions stay.

    A recognition is hidden with the gallery of its time. If its photo was moved since, it loses
    that gallery, and only people who see all galleries see it.
    """
    asked = Recognition.objects.filter(photo__in=pks)
    moved = asked.exclude(gallery=F("photo__gallery")).order_by()
    rows = list(moved.values_list("pk", flat=True))
    Finding.objects.filter(recognition__in=rows).update(gallery=None)
    Recognition.objects.filter(pk__in=rows).update(gallery=None)
    Photo.everything.filter(pk__in=pks).delete()


def forget_files(photo: Photo) -> bool:
    """Delete the files of a photo whose row is gone, unless another photo of the team has the same
    bytes.

    `add_photo` checks under the same lock that its bytes exist, so no row ever refers to a file
    that is being deleted. Enrolled pictures are separate files and stay.
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
