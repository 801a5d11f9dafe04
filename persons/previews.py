"""What a deed would do, and cost, before anybody does it. Nothing is written here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from django.db.models import Count

from persons import metering
from persons.actions.merging import why_not_merged
from persons.actions.naming import LABEL_LENGTH, with_label
from persons.actions.teaching import ENOUGH_PICTURES, STANDING
from persons.cloud import is_cloud
from persons.models import Enrolment, EnrolmentState, Face, Person, Space
from persons.models.faces import FaceQuerySet
from persons.pipeline.restoring import to_look_at

COVERS = 4

COUNTED = 2000
"""Faces of somebody, up to which their photos are counted."""

LOOKED_AT = 200
"""Newest faces of somebody among which covers are chosen."""


@dataclass(frozen=True, slots=True)
class Look:
    """What looking for somebody who was enrolled sends, at `cost` in the tariff's currency."""

    images: int
    cost: Decimal


def look_in(space: Space) -> Look | None:
    """Whoever is enrolled is looked for in each photo with an unknown face. None where that is
    free, or there is no such photo."""
    images = to_look_at(space).count() if is_cloud() else 0
    return Look(images, metering.estimate(images)) if images else None


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two people. `faces` and `photos` are all of theirs; `covers` their best faces.

    `photos` is None where to count them would take too long.
    """

    person: Person | None
    name: str
    faces: int
    photos: int | None
    pictures: int
    covers: Sequence[Face]


@dataclass(frozen=True, slots=True)
class MergePreview:
    """`faces`, `photos` and `pictures` move from `left` to `right`, who will be called `name`.

    On `together` photos both of them are, of those that are looked at. `images_to_send` is what
    Vision is sent, at `cost` roubles. `refused` says why they can't be merged, or is empty.
    """

    left: Side
    right: Side
    name: str
    faces: int
    photos: int | None
    pictures: int
    together: int
    covers: Sequence[Face]
    images_to_send: int
    cost: Decimal
    refused: str


@dataclass(frozen=True, slots=True)
class SplitPreview:
    """`faces` of `left`, on `photos`, go to `right`, with the `pictures` that were cut from them.

    `is_new` says that `right` is made for it. Otherwise as MergePreview.
    """

    left: Side
    right: Side
    is_new: bool
    faces: int
    photos: int
    pictures: int
    covers: Sequence[Face]
    images_to_send: int
    cost: Decimal
    refused: str


def merge_preview(person: Person, into: Person) -> MergePreview:
    left, right = side_of(person), side_of(into)
    refused = why_not_merged(person, into)
    return MergePreview(
        left=left,
        right=right,
        name=into.label or person.label or into.name,
        faces=left.faces,
        photos=left.photos,
        pictures=left.pictures,
        together=_together(left, right),
        covers=left.covers,
        images_to_send=left.pictures,
        cost=_sent(left.pictures),
        refused=refused,
    )


def split_preview(person: Person, faces: Sequence[Face], label: str) -> SplitPreview:
    """`faces` are some of `person`'s; the best of them come first among the `covers`."""
    label = " ".join(label.split())[:LABEL_LENGTH]
    target = with_label(person.space, label) if label else None
    pks = [face.pk for face in faces]
    theirs = Face.objects.filter(pk__in=pks, person=person)
    counted = theirs.aggregate(faces=Count("pk"), photos=Count("photo", distinct=True))
    moving = Enrolment.objects.filter(face__in=pks, person=person, state__in=STANDING)
    pictures = moving.count()
    left = side_of(person)
    right = side_of(target) if target else Side(None, label, 0, 0, 0, ())
    room = max(0, ENOUGH_PICTURES - right.pictures - pictures)
    more = min(room, counted["faces"] - pictures)
    # Vision deletes whole people: what the first one keeps is sent again.
    again = left.pictures - pictures if moving.exclude(call=None).exists() else 0
    images = pictures + more + again
    return SplitPreview(
        left=left,
        right=right,
        is_new=target is None,
        faces=counted["faces"],
        photos=counted["photos"],
        pictures=pictures,
        covers=_best(theirs),
        images_to_send=images,
        cost=_sent(images),
        refused=_why_not_split(person, target, counted["faces"], label),
    )


def side_of(person: Person) -> Side:
    faces = Face.objects.filter(person=person)
    count = faces.count()
    return Side(
        person=person,
        name=person.name,
        faces=count,
        photos=faces.values("photo").distinct().count() if count <= COUNTED else None,
        pictures=person.enrolments.filter(state__in=EnrolmentState.live()).count(),
        covers=_best(faces),
    )


def _together(one: Side, other: Side) -> int:
    """Photos on which both are, among the newest of whoever has fewer."""
    few, many = sorted((one, other), key=lambda side: side.faces)
    theirs = Face.objects.filter(person=few.person).order_by("-pk").values("photo")[:COUNTED]
    both = Face.objects.filter(
        person=many.person, photo__in=list(theirs.values_list("photo", flat=True))
    )
    return both.values("photo").distinct().count()


def _best(faces: FaceQuerySet) -> Sequence[Face]:
    """A few good faces. Of the newest alone: to sort all of somebody's takes too long."""
    newest = faces.filter(missing=False).order_by("-pk").values("pk")[:LOOKED_AT]
    shown = Face.objects.filter(pk__in=list(newest.values_list("pk", flat=True)))
    return list(shown.select_related("photo__gallery").order_by("-quality", "pk")[:COVERS])


def _sent(images: int) -> Decimal:
    return metering.estimate(images) if images and is_cloud() else Decimal(0)


def _why_not_split(person: Person, target: Person | None, faces: int, label: str) -> str:
    if not faces:
        return f"None of these faces is {person.name}'s any more."
    if not label:
        return "Type whose faces these are."
    if target is not None and target.pk == person.pk:
        return f"These faces are {person.name}'s now. Type somebody else's name."
    return ""
