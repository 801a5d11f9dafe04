"""Begins an erasure: creates its row, and removes the people's names at once."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Q
from django.utils import timezone

from persons.backends.select import vision_for
from persons.models import (
    AuditEntry,
    Change,
    Enrolment,
    EnrolmentState,
    ErasedPicture,
    Erasure,
    Face,
    JobState,
    Person,
    Space,
    SyncState,
    User,
)
from persons.pipeline.privacy.erasing.mentions import count_mentions
from persons.privacy import erased
from persons.work import withdraw

RENAMED = ("person.rename", "person.create")


def new_reference() -> str:
    """Sixteen letters and digits, without ones that are easily confused."""
    letters = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
    return "-".join("".join(secrets.choice(letters) for _ in range(4)) for _ in range(4))


@dataclass(frozen=True, slots=True)
class ErasureRequest:
    """Whom an erasure is about, and who asked for it.

    `ids` are the numbers of the person and everybody merged into them. `photos` says what happens
    to their photos. `asked_by` is the requester's name for people to read.
    """

    person_id: int
    ids: Sequence[int]
    photos: str
    asked_by: str
    reason: str = ""
    user: User | None = None
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class FormerErasure:
    """An erasure that is repeated after an older backup was restored.

    `at` is when it was requested; `pictures` are keyed digests.
    """

    reference: str
    at: datetime
    pictures: Sequence[str]


def begin(
    space: Space,
    people: Sequence[Person],
    request: ErasureRequest,
    former: FormerErasure | None = None,
) -> Erasure:
    """Create the erasure and store in its report what later steps need.

    Call it in a transaction that has locked the space. `people` are the erased people that still
    exist.
    """
    pks = [person.pk for person in people]
    digests = digests_of(pks)
    erasure = Erasure.objects.create(
        team_id=space.team_id,
        space=space,
        number=space.number,
        person_id=request.person_id,
        ids=sorted({request.person_id, *request.ids, *(person.person_id for person in people)}),
        reference=former.reference if former else new_reference(),
        photos=request.photos,
        reason=request.reason,
        replayed=former is not None,
        requested_by=request.user,
        request_id=request.request_id,
        created_at=former.at if former else timezone.now(),
        report=_first_report(space, people, request, digests),
    )
    pictures = former.pictures if former else ()
    keys = dict.fromkeys([*map(erased.keyed, digests), *pictures])
    ErasedPicture.objects.bulk_create(ErasedPicture(erasure=erasure, digest=key) for key in keys)
    withdraw(
        Person.objects.filter(pk__in=pks),
        label="",
        notes="",
        hidden=True,
        erasing=True,
        sync_state=SyncState.IDLE,
        sync_error="",
    )
    return erasure


def _first_report(
    space: Space, people: Sequence[Person], request: ErasureRequest, digests: Sequence[str]
) -> dict[str, Any]:
    pks = [person.pk for person in people]
    labels = labels_of(space, people)
    return {
        "labels": labels,
        "digests": digests,
        "asked_by": request.asked_by,
        "mentions": count_mentions(space, labels, people),
        "shared": len(shared_with(space, pks)),
        "elsewhere": _sent_elsewhere(space, pks),
        "kept_photos": _photos_kept(pks, request.photos),
    }


def labels_of(space: Space, people: Sequence[Person]) -> list[str]:
    """Their current and former names, without names that somebody else of the team has now."""
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
    """SHA-256 digests of these people's pictures, each once."""
    rows = Enrolment.objects.filter(person__in=pks).exclude(sha256="")
    return sorted(set(rows.values_list("sha256", flat=True)))


def shared_with(space: Space, pks: Sequence[int]) -> list[Person]:
    """Other people of the team who have one of the same pictures enrolled."""
    digests = digests_of(pks)
    rows = Enrolment.objects.filter(
        sha256__in=digests, state__in=EnrolmentState.live(), person__space__team=space.team_id
    ).exclude(person__in=pks)
    people = Person.objects.filter(pk__in=rows.values("person"), erasing=False)
    return list(people.select_related("space").order_by("space__number", "person_id"))


def photos_of(pks: Sequence[int]) -> set[int]:
    """Pks of the photos that show them, trashed ones too."""
    return set(Face.everything.filter(person__in=pks).values_list("photo", flat=True))


def photos_alone(pks: Sequence[int]) -> set[int]:
    """Pks of the photos that show them and no other known person."""
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
    """How many pictures each backend took that the space no longer uses."""
    now = vision_for(space)
    rows = Enrolment.objects.filter(person__in=pks, done_at__isnull=False, call__isnull=False)
    backends = rows.values_list("call__backend", flat=True)
    return dict(Counter(one for one in backends if one != now.name))


def under_way(space: Space, ids: Sequence[int]) -> Erasure | None:
    """An unfinished erasure in the space of anybody with one of these numbers."""
    rows = Erasure.objects.filter(
        Q(space=space), state__in=[JobState.QUEUED, JobState.RUNNING, JobState.FAILED]
    )
    return next((row for row in rows if set(row.ids) & set(ids)), None)
