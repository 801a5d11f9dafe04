"""Moving photos to another gallery of their team."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from django.db import IntegrityError, transaction

from persons import audit
from persons.actions.trash import lock_spaces
from persons.audit import Actor
from persons.db.locking import in_turn
from persons.errors import Refused
from persons.models import AuditConcern, AuditEntry, Enrolment, Face, Gallery, Photo
from persons.privacy import holds


@dataclass(frozen=True, slots=True)
class MovedPhotos:
    """What happened to the photos: `count` moved, and `gone` were no longer in the gallery.

    `doubles` stay where they are, because the other gallery has the same bytes: `in_trash` of them
    in its trash.
    """

    count: int
    doubles: int
    in_trash: int
    gone: int


@transaction.atomic
def move_photos(
    *, actor: Actor, gallery: Gallery, into: Gallery, pks: Collection[int]
) -> MovedPhotos:
    """Move photos with their faces and all decisions. Both galleries belong to one space.

    Raises Refused, also if `gallery` is under legal hold: photos that leave it could be deleted
    elsewhere. A hold on a person goes along, since it is on the faces.
    """
    if into.team_id != gallery.team_id:
        raise Refused("That gallery belongs to another team.")
    if into.pk == gallery.pk:
        raise Refused("The photos are in that gallery already.")
    if into.space_id != gallery.space_id:
        raise Refused(
            f"{into.name} is recognised against {into.space.title}, these photos against "
            f"{gallery.space.title}: the people in them are not known there. Download the photos "
            f"and upload them to {into.name}, or make a gallery in {gallery.space.title}."
        )
    holds.lock(gallery.team_id)
    if (hold := holds.hold_on_gallery(gallery)) is not None:
        raise Refused(holds.sentence(hold, "Its photos stay in it"))
    lock_spaces([gallery.space_id])
    wanted = set(pks)
    photos = Photo.objects.select_for_update(of=("self",)).filter(gallery=gallery, pk__in=wanted)
    found = dict(photos.order_by("pk").values_list("pk", "sha256"))
    twins = Photo.everything.filter(gallery=into, sha256__in=set(found.values()))
    there = dict(twins.values_list("sha256", "trashed_at"))
    moving = [pk for pk, digest in found.items() if digest not in there]
    try:
        with transaction.atomic():
            _move(moving, into)
    except IntegrityError:
        raise Refused(f"Somebody is adding these photos to {into.name}. Try again.") from None
    if moving:
        entry = audit.record(
            actor=actor,
            team=gallery.team,
            action="photos.move",
            target=into,
            before={"gallery": gallery.slug},
            after={"gallery": into.slug, "photos": len(moving), "ids": sorted(moving)},
        )
        audit.concern(entry, {gallery.pk})
    return MovedPhotos(
        count=len(moving),
        doubles=len(found) - len(moving),
        in_trash=sum(there.get(digest) is not None for digest in found.values()),
        gone=len(wanted) - len(found),
    )


def _move(pks: Collection[int], into: Gallery) -> None:
    """Update the photos, which are locked, and every column and row that names their gallery.

    Calls and findings keep the gallery of their time.
    """
    Photo.objects.filter(pk__in=pks).update(gallery=into)
    faces = Face.everything.filter(photo__in=pks)
    in_turn(faces).update(gallery=into)
    Enrolment.objects.filter(face__in=faces.values("pk")).update(gallery=into)
    _hide_entries_with(into, "photo", [str(pk) for pk in pks])
    _hide_entries_with(
        into, "face", [str(pk) for pk in faces.order_by().values_list("pk", flat=True)]
    )


def _hide_entries_with(into: Gallery, kind: str, targets: Collection[str]) -> None:
    """Audit entries about them are hidden with their new gallery, too."""
    entries = AuditEntry.objects.filter(
        team=into.team_id, target_type=kind, target_id__in=targets
    ).order_by()
    AuditConcern.objects.bulk_create(
        [AuditConcern(entry_id=pk, gallery=into) for pk in entries.values_list("pk", flat=True)],
        ignore_conflicts=True,
        batch_size=500,
    )
