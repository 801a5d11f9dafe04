"""Replays the journal's erasures after an older backup was restored."""

from __future__ import annotations

import logging

from django.core.files.storage import default_storage
from django.db import transaction
from django.db.models import Count, Max

from persons import audit
from persons.audit import Actor
from persons.db.locking import locked
from persons.models import Enrolment, EnrolmentState, ErasedPicture, Erasure, Person, Source, Space
from persons.pipeline.privacy.erasing.beginning import (
    ErasureRequest,
    FormerErasure,
    begin,
    under_way,
)
from persons.pipeline.privacy.erasing.claims import family_of
from persons.privacy import erased, erasure_journal

log = logging.getLogger(__name__)

_seen: dict[str, object] = {}
"""The state of journal and database when they last agreed, in this process."""


def replay_erasures() -> list[int]:
    """Begin the erasures that the journal has and the database lacks. Returns their pks.

    Erasures that the journal lacks are written there. Costs one small query while neither has
    changed.
    """
    if _seen.get("state") == _state():
        return []
    lines = erasure_journal.lines()
    known = set(Erasure.objects.values_list("reference", flat=True))
    begun = [pk for line in lines.values() if line.reference not in known if (pk := _again(line))]
    rows = Erasure.objects.select_related("team").order_by("pk")
    try:
        erasure_journal.write(erasure_journal.Line.of(row) for row in rows)
    except OSError as error:
        # An erasure does not start without its line in the journal; the sweep's other work goes on.
        log.warning("The journal of erasures can't be written: %s", error)
        return begun
    _seen["state"] = _state()
    return begun


def _state() -> tuple[object, ...]:
    rows = Erasure.objects.aggregate(n=Count("pk"), last=Max("pk"))
    return (erasure_journal.state(), rows["n"], rows["last"])


@transaction.atomic
def _again(line: erasure_journal.Line) -> int | None:
    found = Space.objects.select_related("team").filter(team__slug=line.team, number=line.number)
    space = locked(found).first()
    if space is None:
        log.warning("An erasure of team %s can't be done again: it is gone.", line.team)
        return None
    # Anybody who got the number later is somebody else.
    there = Person.objects.filter(
        space=space, person_id__in=line.ids, created_at__lte=line.at, erasing=False
    )
    people = family_of(there)
    if (other := under_way(space, line.ids)) is not None:
        log.warning("Erasure %s waits for %s.", line.reference, other.reference)
        return None
    request = ErasureRequest(
        person_id=line.person_id,
        ids=line.ids,
        photos=line.photos,
        asked_by="the journal of erasures",
    )
    former = FormerErasure(line.reference, line.at, line.pictures)
    erasure = begin(space, people, request, former)
    actor = Actor(user=None, source=Source.WORKER, text="Rollcall")
    audit.record(
        actor=actor,
        team=space.team,
        action="person.erase",
        target=erasure,
        after={
            "space": space.number,
            "person_id": line.person_id,
            "reference": line.reference,
            "photos": line.photos,
            "replayed": True,
        },
    )
    return erasure.pk


def delete_leftover_pictures() -> int:
    """Delete erased people's enrolled pictures that an older copy of the files brought back.

    File names are digests, and the keyed digests of erased pictures are known. Returns how many.
    """
    teams = ErasedPicture.objects.order_by().values_list("erasure__team", flat=True).distinct()
    return sum(_leftover_of(team) for team in teams)


def _leftover_of(team_pk: int) -> int:
    root = f"enrolments/{team_pk}"
    count = 0
    try:
        folders, _ = default_storage.listdir(root)
    except FileNotFoundError:
        return 0
    for folder in folders:
        _, names = default_storage.listdir(f"{root}/{folder}")
        digests = {name.partition(".")[0]: name for name in names}
        for digest in erased.pictures_erased_of(team_pk, digests):
            key = f"{root}/{folder}/{digests[digest]}"
            live = Enrolment.objects.filter(image=key, state__in=EnrolmentState.live())
            if not live.exists():
                default_storage.delete(key)
                count += 1
    return count
