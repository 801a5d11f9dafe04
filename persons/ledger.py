"""The ledger kept in step with what a client did at Vision through the proxy.

Vision has done it already when these run: they write down what is so, as the dashboard's own work
would have, and ask nothing of a worker.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db.models import Count, F
from django.utils import timezone

from persons import audit, consent, statements
from persons.audit import Actor
from persons.likeness import note_aliases
from persons.locking import locked
from persons.models import Call, Enrolment, EnrolmentState, Person, Space
from persons.vision.meta import PersonImage, RecognizeRequest
from persons.vision.types import Image, ImageResult, ImageStatus

GONE_WITH_PERSON = [EnrolmentState.DONE, EnrolmentState.FAILED, EnrolmentState.REMOVING]


def picture_key(team_pk: int, digest: str) -> str:
    """Where the storage keeps a picture that was sent, by its SHA-256."""
    return f"enrolments/{team_pk}/{digest[:2]}/{digest}.jpg"


def keep_pictures(
    space: Space, images: Sequence[Image], results: Sequence[ImageResult]
) -> dict[str, tuple[str, str]]:
    """Store what Vision took; (digest, storage key) by image name. Before the rows that name them.

    What it refused is nobody's enrolment, and is not kept.
    """
    kept = {}
    for image, result in zip(images, results, strict=True):
        if result.status != ImageStatus.DONE:
            continue
        digest = hashlib.sha256(image.data).hexdigest()
        key = picture_key(space.team_id, digest)
        if not default_storage.exists(key):
            default_storage.save(key, ContentFile(image.data))
        kept[image.name] = (digest, key)
    return kept


def enrolled(
    space: Space,
    call: Call,
    entries: Sequence[PersonImage],
    results: Sequence[ImageResult],
    pictures: Mapping[str, tuple[str, str]],
    *,
    actor: Actor,
) -> bool:
    """People and enrolments for each picture that Vision took; whether it took any.

    In the caller's transaction.
    """
    done = [
        entry
        for entry, result in zip(entries, results, strict=True)
        if result.status == ImageStatus.DONE
    ]
    if not done:
        return False
    # First the space, as everybody does who locks more than one row.
    _moved(space)
    people = people_of(space, {entry.person_id for entry in done})
    known = set(
        Enrolment.objects.filter(person__in=people.values(), state=EnrolmentState.DONE).values_list(
            "person_id", "sha256"
        )
    )
    now = timezone.now()
    for entry in done:
        person, (digest, key) = people[entry.person_id], pictures[entry.name]
        if (person.pk, digest) not in known:
            known.add((person.pk, digest))
            Enrolment.objects.create(
                person=person,
                sha256=digest,
                image=key,
                state=EnrolmentState.DONE,
                call=call,
                created_by=actor.user,
                request_id=actor.request_id,
                done_at=now,
            )
    if lacking := consent.lacking(space, [person.pk for person in people.values()]):
        # It ended while Vision was asked: a worker deletes them there.
        locked_people = locked(Person.objects.filter(pk__in=lacking)).values_list("pk", flat=True)
        consent.hold_back(set(locked_people))
    audit.record(
        actor=actor,
        team=space.team,
        action="person.enrol",
        target=space,
        after={"people": sorted(people), "call": call.pk},
    )
    return True


def deleted(
    space: Space,
    entries: Sequence[PersonImage],
    results: Sequence[ImageResult],
    *,
    actor: Actor,
) -> set[int]:
    """The enrolments of people whom Vision forgot, and who these are. The people stay, with their
    names and faces."""
    gone = {
        entry.person_id
        for entry, result in zip(entries, results, strict=True)
        if result.status == ImageStatus.DONE
    }
    if not gone:
        return gone
    people = list(Person.objects.filter(space=space, person_id__in=gone))
    gone_too = [*GONE_WITH_PERSON, EnrolmentState.WAITING]
    removed = Enrolment.objects.filter(person__in=people, state__in=gone_too).update(
        state=EnrolmentState.REMOVED
    )
    _moved(space)
    audit.record(
        actor=actor,
        team=space.team,
        action="person.delete",
        target=space,
        before={"people": sorted(gone), "enrolments": removed},
    )
    return gone


def truncated(space: Space, *, but: Collection[int] = ()) -> int:
    """Nobody is enrolled any more, `but` for these enrolments; how many pictures were.

    What waits for a consent waits on: Vision did not know of it.
    """
    gone = Enrolment.objects.filter(person__space=space, state__in=GONE_WITH_PERSON)
    removed = gone.exclude(pk__in=but).update(state=EnrolmentState.REMOVED)
    _moved(space)
    return removed


@lru_cache(maxsize=256)
def size_of(space_pk: int, version: int) -> tuple[int, int]:
    """How many people and pictures are enrolled in a space that is at `version`; counted once."""
    there = Enrolment.objects.filter(
        person__space=space_pk, state__in=[EnrolmentState.DONE, EnrolmentState.REMOVING]
    )
    counts = there.aggregate(people=Count("person", distinct=True), pictures=Count("pk"))
    return counts["people"], counts["pictures"]


def is_news(space: Space, request: RecognizeRequest, results: Sequence[ImageResult]) -> bool:
    """Whether a recognition is anything to `recognised`; most are not."""
    if _writes(request) or any(person.aliases for result in results for person in result.persons):
        return True
    found = found_in(results)
    return not found <= statements.known_people(space, found)


def recognised(space: Space, request: RecognizeRequest, results: Sequence[ImageResult]) -> None:
    """People whom Vision made, people who look alike, and that the space drifted, where it did."""
    people_of(space, found_in(results))
    note_aliases(space, results)
    if _writes(request):
        drifted(space)


def found_in(results: Sequence[ImageResult]) -> set[int]:
    return {
        person.person_id
        for result in results
        for person in result.persons
        if person.person_id is not None
    }


def _writes(request: RecognizeRequest) -> bool:
    return request.create_new or request.update_embedding


def people_of(space: Space, person_ids: set[int]) -> dict[int, Person]:
    """The people with these ids; one that the ledger does not know yet gets a row without a label.

    In the caller's transaction.
    """
    if not person_ids:
        return {}
    known = {
        person.person_id: person
        for person in Person.objects.filter(space=space, person_id__in=person_ids)
    }
    missing = sorted(person_ids - known.keys())
    if missing:
        for person_id in missing:
            known[person_id], _ = Person.objects.get_or_create(space=space, person_id=person_id)
        Space.objects.filter(pk=space.pk).go_on_after(missing)
    return known


def drifted(space: Space) -> None:
    """A recognition wrote: stored answers of the space count no more."""
    Space.objects.filter(pk=space.pk).update(drift=F("drift") + 1)


def _moved(space: Space) -> None:
    Space.objects.filter(pk=space.pk).update(version=F("version") + 1)
