"""An erasure's row, and what goes at once: the name, and that anybody finds them by it."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db.models import Q
from django.utils import timezone

from persons import erasures
from persons.backends import vision_for
from persons.models import (
    AuditEntry,
    Change,
    Enrolment,
    EnrolmentState,
    ErasedPicture,
    Erasure,
    Face,
    Gallery,
    JobState,
    Person,
    Photo,
    ShareLink,
    Space,
    SyncState,
    User,
)
from persons.pipeline.erasing.texts import Names

RENAMED = ("person.rename", "person.create")


def new_reference() -> str:
    """Without letters that are taken for others."""
    letters = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
    return "-".join("".join(secrets.choice(letters) for _ in range(4)) for _ in range(4))


def begin(
    *,
    space: Space,
    people: Sequence[Person],
    person_id: int,
    ids: Sequence[int],
    photos: str,
    reason: str,
    user: User | None,
    request_id: str,
    asked_by: str,
    reference: str = "",
    at: datetime | None = None,
    replayed: bool = False,
    pictures: Sequence[str] = (),
) -> Erasure:
    """The row, with all that later steps need of what is taken away here. In the caller's
    transaction, which has locked the space. `people` are all who are erased, as far as they are
    there; `pictures` are keyed digests that are known from elsewhere."""
    pks = [person.pk for person in people]
    labels = labels_of(space, people)
    digests = digests_of(pks)
    erasure = Erasure.objects.create(
        team_id=space.team_id,
        space=space,
        number=space.number,
        person_id=person_id,
        ids=sorted({person_id, *ids, *(person.person_id for person in people)}),
        reference=reference or new_reference(),
        photos=photos,
        reason=reason,
        replayed=replayed,
        requested_by=user,
        request_id=request_id,
        created_at=at or timezone.now(),
        report={
            "labels": labels,
            "digests": digests,
            "asked_by": asked_by,
            "mentions": count_mentions(space, labels, pks),
            "shared": len(shared_with(space, pks)),
            "elsewhere": _sent_elsewhere(space, pks),
            "kept_photos": _photos_kept(pks, photos),
        },
    )
    keys = dict.fromkeys([*map(erasures.keyed, digests), *pictures])
    ErasedPicture.objects.bulk_create(ErasedPicture(erasure=erasure, digest=key) for key in keys)
    Person.objects.filter(pk__in=pks).update(
        label="",
        notes="",
        hidden=True,
        erasing=True,
        sync_state=SyncState.IDLE,
        sync_error="",
        claim="",
    )
    return erasure


def labels_of(space: Space, people: Sequence[Person]) -> list[str]:
    """What they are called, and were; but for what somebody else of the team is called now."""
    pks = [person.pk for person in people]
    found = {person.label for person in people}
    changes = Change.objects.filter(person__in=pks).exclude(label="")
    found |= set(changes.values_list("label", flat=True))
    renamed = AuditEntry.objects.filter(
        team=space.team_id,
        action__in=RENAMED,
        target_type="person",
        target_id__in=[str(pk) for pk in pks],
    )
    for before, after in renamed.values_list("before", "after"):
        found |= {str(part.get("label") or "") for part in (before, after)}
    own = {person.label.casefold() for person in people}
    others = set(
        Person.objects.filter(space__team=space.team_id)
        .exclude(pk__in=pks)
        .exclude(label="")
        .filter(label__in=found)
        .values_list("label", flat=True)
    )
    taken = {label.casefold() for label in others} - own
    return sorted(label for label in found if label and label.casefold() not in taken)


def digests_of(pks: Sequence[int]) -> list[str]:
    rows = Enrolment.objects.filter(person__in=pks).exclude(sha256="")
    return sorted(set(rows.values_list("sha256", flat=True)))


def shared_with(space: Space, pks: Sequence[int]) -> list[Person]:
    """Others of the team who have one of the same pictures enrolled."""
    digests = digests_of(pks)
    rows = Enrolment.objects.filter(
        sha256__in=digests, state__in=EnrolmentState.live(), person__space__team=space.team_id
    ).exclude(person__in=pks)
    people = Person.objects.filter(pk__in=rows.values("person"), erasing=False)
    return list(people.select_related("space").order_by("space__number", "person_id"))


def count_mentions(space: Space, labels: Sequence[str], pks: Sequence[int]) -> int:
    """Texts that belong to something else, and have one of the names in them."""
    names = Names([label for label in labels if len(label) > 2])
    team = space.team_id
    texts: list[Any] = [
        Gallery.objects.filter(names.may_be_in("name"), team=team).values_list("name"),
        ShareLink.objects.filter(names.may_be_in("title"), gallery__team=team).values_list("title"),
        Photo.everything.filter(names.may_be_in("file_name"), gallery__team=team).values_list(
            "file_name"
        ),
        Person.objects.filter(names.may_be_in("notes"), space__team=team)
        .exclude(pk__in=pks)
        .values_list("notes"),
    ]
    return sum(names.are_in(text.replace("_", " ")) for rows in texts for (text,) in rows)


def photos_of(pks: Sequence[int]) -> set[int]:
    """Photos on which they are, trashed ones too."""
    return set(Face.everything.filter(person__in=pks).values_list("photo", flat=True))


def photos_alone(pks: Sequence[int]) -> set[int]:
    """Those on which nobody else is known."""
    photos = photos_of(pks)
    others = Face.everything.filter(photo__in=photos, person__isnull=False, missing=False)
    return photos - set(others.exclude(person__in=pks).values_list("photo", flat=True))


def _photos_kept(pks: Sequence[int], photos: str) -> int:
    match photos:
        case Erasure.Photos.ALL:
            return 0
        case Erasure.Photos.ALONE:
            return len(photos_of(pks) - photos_alone(pks))
    return len(photos_of(pks))


def _sent_elsewhere(space: Space, pks: Sequence[int]) -> dict[str, int]:
    """Pictures that a backend took which is not asked any more, by its name."""
    now = vision_for(space)
    rows = Enrolment.objects.filter(person__in=pks, done_at__isnull=False, call__isnull=False)
    backends = rows.values_list("call__backend", flat=True)
    return dict(Counter(one for one in backends if one != now.name))


def under_way(space: Space, ids: Sequence[int]) -> Erasure | None:
    """One that has begun, of anybody with one of these numbers."""
    rows = Erasure.objects.filter(
        Q(space=space), state__in=[JobState.QUEUED, JobState.RUNNING, JobState.FAILED]
    )
    return next((row for row in rows if set(row.ids) & set(ids)), None)
