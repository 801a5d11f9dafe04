"""What an action would do, and cost, before anybody does it. Nothing is written here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from django.db.models import Count

from persons.access import Visible
from persons.actions.enrolment_selection import ENOUGH_PICTURES, STANDING
from persons.actions.merging import why_not_merged
from persons.actions.naming import LABEL_LENGTH, with_label
from persons.backends.cloud import is_cloud
from persons.billing import metering
from persons.inputs import texts
from persons.models import Enrolment, EnrolmentState, Face, Person, Space
from persons.models.faces import FaceQuerySet
from persons.pipeline.spaces.restoring import photos_to_rescan

COVERS = 4

COUNTED = 2000
"""Photos of a person are counted only up to this many faces."""

READ_COLUMNS = 200
"""Covers are chosen among this many of a person's newest faces."""


@dataclass(frozen=True, slots=True)
class RescanCost:
    """Images that a rescan for an enrolled person sends, and their `cost` in the tariff's
    currency."""

    images: int
    cost: Decimal


def rescan_cost(space: Space) -> RescanCost | None:
    """What a rescan would send: every photo with an unknown face.

    None if the rescan costs nothing or there is no such photo.
    """
    images = photos_to_rescan(space).count() if is_cloud() else 0
    return RescanCost(images, metering.estimate(images)) if images else None


@dataclass(frozen=True, slots=True)
class MergeSide:
    """One of the two people: how many faces, photos and pictures of theirs the reader may see.

    `covers` are their best faces. `photos` is None if counting them would take too long.
    """

    person: Person | None
    name: str
    faces: int
    photos: int | None
    pictures: int
    covers: Sequence[Face]


@dataclass(frozen=True, slots=True)
class MergePreview:
    """`faces`, `photos` and `pictures` move from `left` to `right`, whose name will be `name`.

    `together` counts photos that show both, among a limited number. `images_to_send` go to Vision,
    at `cost` in the tariff's currency. `refused` is why they can't be merged, or "".
    """

    left: MergeSide
    right: MergeSide
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
    """`faces` of `left`, on `photos`, go to `right`, with the `pictures` cut from them.

    `is_new` says that `right` will be created. Otherwise as MergePreview.
    """

    left: MergeSide
    right: MergeSide
    is_new: bool
    faces: int
    photos: int
    pictures: int
    covers: Sequence[Face]
    images_to_send: int
    cost: Decimal
    refused: str


def merge_preview(person: Person, into: Person, visible: Visible) -> MergePreview:
    """Counts and shows only what is `visible` to the reader."""
    left, right = side_of(person, visible), side_of(into, visible)
    refused = why_not_merged(person, into)
    return MergePreview(
        left=left,
        right=right,
        name=into.label or person.label or into.name,
        faces=left.faces,
        photos=left.photos,
        pictures=left.pictures,
        together=_together(left, right, visible),
        covers=left.covers,
        images_to_send=left.pictures,
        cost=_sent(left.pictures),
        refused=refused,
    )


def split_preview(
    person: Person, faces: Sequence[Face], label: str, visible: Visible
) -> SplitPreview:
    """Preview of giving `faces` of `person` to the person named `label`.

    The best faces come first among the `covers`. Counts and shows only what is `visible` to the
    reader.
    """
    label = texts.line(label)[:LABEL_LENGTH]
    target = with_label(person.space, label) if label else None
    pks = [face.pk for face in faces]
    theirs = Face.objects.filter(pk__in=pks, person=person)
    counted = theirs.aggregate(faces=Count("pk"), photos=Count("photo", distinct=True))
    moving = Enrolment.objects.filter(face__in=pks, person=person, state__in=STANDING)
    pictures = moving.count()
    left = side_of(person, visible)
    right = side_of(target, visible) if target else MergeSide(None, label, 0, 0, 0, ())
    room = max(0, ENOUGH_PICTURES - right.pictures - pictures)
    more = min(room, counted["faces"] - pictures)
    # Vision deletes whole people: pictures that `person` keeps are sent again.
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


def side_of(person: Person, visible: Visible) -> MergeSide:
    faces = visible.faces_of(person)
    pictures = visible.pictures_of(person).filter(state__in=EnrolmentState.live())
    count = faces.count()
    return MergeSide(
        person=person,
        name=person.name,
        faces=count,
        photos=faces.values("photo").distinct().count() if count <= COUNTED else None,
        pictures=pictures.count(),
        covers=_best(faces),
    )


def _together(one: MergeSide, other: MergeSide, visible: Visible) -> int:
    """How many photos show both, among the newest faces of the one with fewer faces."""
    few, many = sorted((one, other), key=lambda side: side.faces)
    theirs = Face.objects.filter(person=few.person).order_by("-pk").values("photo")[:COUNTED]
    assert many.person is not None
    both = visible.faces_of(many.person).filter(
        photo__in=list(theirs.values_list("photo", flat=True))
    )
    return both.values("photo").distinct().count()


def _best(faces: FaceQuerySet) -> Sequence[Face]:
    """A few good faces among the newest: sorting all of a person's faces takes too long."""
    newest = faces.filter(missing=False).order_by("-pk").values("pk")[:READ_COLUMNS]
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
