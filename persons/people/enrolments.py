"""Updates the ledger after a client changed Vision through the proxy.

Vision has already made the change when these functions run. They record it as the dashboard's own
work would, and enqueue nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db.models import Count, F
from django.utils import timezone

from persons import audit
from persons.audit import Actor
from persons.db.locking import locked
from persons.models import Call, Enrolment, EnrolmentState, Person, Space
from persons.people.duplicates import note_aliases
from persons.people.statements import known_people
from persons.privacy import consent
from persons.privacy.erased import ids_erased_in
from persons.vision.meta import PersonImage, RecognizeRequest
from persons.vision.types import Image, ImageResult, ImageStatus

GONE_WITH_PERSON = [EnrolmentState.DONE, EnrolmentState.FAILED, EnrolmentState.REMOVING]


def picture_key(team_pk: int, digest: str) -> str:
    """Storage key of a picture that was sent, from its SHA-256."""
    return f"enrolments/{team_pk}/{digest[:2]}/{digest}.jpg"


def keep_pictures(
    space: Space, images: Sequence[Image], results: Sequence[ImageResult]
) -> dict[str, tuple[str, str]]:
    """Store the pictures that Vision accepted; returns (digest, storage key) by image name.

    Call this before inserting rows that refer to them. Refused pictures are not stored.
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
    """Insert people and enrolments for the pictures that Vision accepted; False if there are none.

    Runs in the caller's transaction.
    """
    done = [
        entry
        for entry, result in zip(entries, results, strict=True)
        if result.status == ImageStatus.DONE
    ]
    if not done:
        return False
    # The space is locked first, as the lock order demands.
    _moved(space)
    numbers = {entry.person_id for entry in done}
    people = people_of(space, numbers, call=call, also_erased=True)
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
        # The consent ended during the call: a worker deletes the pictures at Vision.
        locked_people = locked(Person.objects.filter(pk__in=lacking)).values_list("pk", flat=True)
        consent.hold_back(set(locked_people))
    audit.record(
        actor=actor,
        team=space.team,
        action="person.enrol",
        target=space,
        after={"people": sorted(people)} | _by(call),
    )
    return True


def deleted(
    space: Space,
    entries: Sequence[PersonImage],
    results: Sequence[ImageResult],
    *,
    actor: Actor,
) -> set[int]:
    """Remove the enrolments of people whom Vision forgot; returns those people. The people
    themselves stay, with their names and faces."""
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
    """Remove all enrolments of the space `but` these; returns the number of pictures.

    Enrolments that wait for a consent stay, since Vision never had them.
    """
    gone = Enrolment.objects.filter(person__space=space, state__in=GONE_WITH_PERSON)
    removed = gone.exclude(pk__in=but).update(state=EnrolmentState.REMOVED)
    _moved(space)
    return removed


@lru_cache(maxsize=256)
def size_of(space_pk: int, version: int) -> tuple[int, int]:
    """Numbers of enrolled people and pictures in the space, cached by its `version`."""
    there = Enrolment.objects.filter(
        person__space=space_pk, state__in=[EnrolmentState.DONE, EnrolmentState.REMOVING]
    )
    counts = there.aggregate(people=Count("person", distinct=True), pictures=Count("pk"))
    return counts["people"], counts["pictures"]


def is_news(space: Space, request: RecognizeRequest, results: Sequence[ImageResult]) -> bool:
    """Whether `recognised` has anything to record for a recognition; usually not."""
    if _writes(request) or any(person.aliases for result in results for person in result.persons):
        return True
    found = found_in(results)
    return not found <= known_people(space, found)


def recognised(
    space: Space, call: Call, request: RecognizeRequest, results: Sequence[ImageResult]
) -> None:
    """Record the people that Vision created, likely duplicates, and the space's drift if any."""
    found = people_of(space, found_in(results), call=call)
    note_aliases(space, results)
    if request.update_embedding:
        learned(space, call, found)
    if _writes(request):
        drifted(space)


def learned(space: Space, call: Call, person_ids: Collection[int]) -> None:
    """Write the audit entry of a recognition with `update_embedding`, naming the people whose
    embeddings may have changed. Runs in the caller's transaction."""
    if person_ids:
        audit.record(
            actor=Actor.of_call(call),
            team=space.team,
            action="person.learn",
            target=space,
            after={"people": sorted(person_ids)} | _by(call),
            reason=call.reason,
        )


def _by(call: Call) -> dict[str, int]:
    """The call and its API key, as fields of an audit entry."""
    return {"call": call.pk} | ({"key": call.key_id} if call.key_id else {})


def found_in(results: Sequence[ImageResult]) -> set[int]:
    return {
        person.person_id
        for result in results
        for person in result.persons
        if person.person_id is not None
    }


def _writes(request: RecognizeRequest) -> bool:
    return request.create_new or request.update_embedding


def people_of(
    space: Space, person_ids: set[int], *, call: Call, also_erased: bool = False
) -> dict[int, Person]:
    """The people with these ids. Unknown ids get a row without a label, and an audit entry that
    names the `call` whose answer introduced them.

    Erased ids are skipped, so that an answer in flight doesn't bring erased people back, unless
    `also_erased` is set because a client has just assigned these ids. Runs in the caller's
    transaction.
    """
    if not person_ids:
        return {}
    known = {
        person.person_id: person
        for person in Person.objects.filter(space=space, person_id__in=person_ids)
    }
    missing = sorted(person_ids - known.keys())
    if missing and not also_erased:
        gone = ids_erased_in(space, missing)
        missing = [person_id for person_id in missing if person_id not in gone]
    if missing:
        for person_id in missing:
            known[person_id], is_new = Person.objects.get_or_create(
                space=space, person_id=person_id
            )
            if is_new:
                _record_new(known[person_id], call)
        Space.objects.filter(pk=space.pk).go_on_after(missing)
    return known


def _record_new(person: Person, call: Call) -> None:
    space = person.space
    audit.record(
        actor=Actor.of_call(call),
        team=space.team,
        action="person.create",
        target=person,
        after={"space": space.number, "person_id": person.person_id} | _by(call),
        reason=call.reason,
    )


def drifted(space: Space) -> None:
    """Record that a recognition wrote to the space, which invalidates its stored answers."""
    Space.objects.filter(pk=space.pk).update(drift=F("drift") + 1)


def _moved(space: Space) -> None:
    Space.objects.filter(pk=space.pk).update(version=F("version") + 1)
