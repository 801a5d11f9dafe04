"""Photos go to another gallery of their team."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from django.db import IntegrityError, transaction

from persons import audit
from persons.actions.trash import lock_spaces
from persons.audit import Actor
from persons.errors import Refused
from persons.models import Gallery, Photo


@dataclass(frozen=True, slots=True)
class Moved:
    """`doubles` stay where they are: the other gallery has the same bytes, `in_trash` of them among
    what it threw away."""

    count: int
    doubles: int
    in_trash: int
    gone: int


@transaction.atomic
def move_photos(*, actor: Actor, gallery: Gallery, into: Gallery, pks: Collection[int]) -> Moved:
    """With their faces and all that was decided: the people of a space are the same in both."""
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
    lock_spaces([gallery.space_id])
    wanted = set(pks)
    photos = Photo.objects.select_for_update(of=("self",)).filter(gallery=gallery, pk__in=wanted)
    found = dict(photos.order_by("pk").values_list("pk", "sha256"))
    twins = Photo.everything.filter(gallery=into, sha256__in=set(found.values()))
    there = dict(twins.values_list("sha256", "trashed_at"))
    moving = [pk for pk, digest in found.items() if digest not in there]
    try:
        with transaction.atomic():
            Photo.objects.filter(pk__in=moving).update(gallery=into)
    except IntegrityError:
        raise Refused(f"Somebody is adding these photos to {into.name}. Try again.") from None
    if moving:
        audit.record(
            actor=actor,
            team=gallery.team,
            action="photos.move",
            target=into,
            before={"gallery": gallery.slug},
            after={"gallery": into.slug, "photos": len(moving), "ids": sorted(moving)},
        )
    return Moved(
        count=len(moving),
        doubles=len(found) - len(moving),
        in_trash=sum(there.get(digest) is not None for digest in found.values()),
        gone=len(wanted) - len(found),
    )
