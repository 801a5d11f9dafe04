"""After an older backup was restored: what the journal says was erased is erased again."""

from __future__ import annotations

import logging

from django.core.files.storage import default_storage
from django.db import transaction
from django.db.models import Count, Max

from persons import audit, erasures, journal
from persons.audit import Actor
from persons.locking import locked
from persons.models import Enrolment, EnrolmentState, ErasedPicture, Erasure, Person, Source, Space
from persons.pipeline.erasing.beginning import begin, under_way
from persons.pipeline.erasing.claims import family_of

log = logging.getLogger(__name__)

_seen: dict[str, object] = {}
"""What files and database were like when they last agreed, in this process."""


def replay_erasures() -> list[int]:
    """Compare the journal with the database, and begin what is missing here; which, by key.

    What the database knows and a file does not is written there. While neither has changed, this
    costs one small query.
    """
    if _seen.get("state") == _state():
        return []
    told = journal.lines()
    known = set(Erasure.objects.values_list("reference", flat=True))
    begun = [pk for line in told.values() if line.reference not in known if (pk := _again(line))]
    rows = Erasure.objects.select_related("team").order_by("pk")
    try:
        journal.write(journal.Line.of(row) for row in rows)
    except OSError as error:
        # An erasure does not begin without its line; the other work of a sweep goes on.
        log.warning("The journal of erasures can't be written: %s", error)
        return begun
    _seen["state"] = _state()
    return begun


def _state() -> tuple[object, ...]:
    rows = Erasure.objects.aggregate(n=Count("pk"), last=Max("pk"))
    return (journal.state(), rows["n"], rows["last"])


@transaction.atomic
def _again(line: journal.Line) -> int | None:
    found = Space.objects.select_related("team").filter(team__slug=line.team, number=line.number)
    space = locked(found).first()
    if space is None:
        log.warning("An erasure of team %s can't be done again: it is gone.", line.team)
        return None
    # Whoever got such a number since is somebody else.
    there = Person.objects.filter(
        space=space, person_id__in=line.ids, created_at__lte=line.at, erasing=False
    )
    people = family_of(there)
    if (other := under_way(space, line.ids)) is not None:
        log.warning("Erasure %s waits for %s.", line.reference, other.reference)
        return None
    erasure = begin(
        space=space,
        people=people,
        person_id=line.person_id,
        ids=line.ids,
        photos=line.photos,
        reason="",
        user=None,
        request_id="",
        asked_by="the journal of erasures",
        reference=line.reference,
        at=line.at,
        replayed=True,
        pictures=line.pictures,
    )
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
    """Enrolled pictures that came back with an older copy of the files: their names are digests,
    and the keyed digests of these are known. How many were deleted."""
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
        for digest in erasures.pictures_erased_of(team_pk, digests):
            key = f"{root}/{folder}/{digests[digest]}"
            live = Enrolment.objects.filter(image=key, state__in=EnrolmentState.live())
            if not live.exists():
                default_storage.delete(key)
                count += 1
    return count
