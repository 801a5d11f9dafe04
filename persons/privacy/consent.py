"""Who may be enrolled and recognised in a space that requires a consent.

Code that sends a picture by `set` checks `lacking` first, in the transaction that marks the picture
as sent. Pictures without a consent are held back: they wait in the ledger, and a consent queues
them. The ordinary sync deletes the pictures that Vision already has.

    QUEUED -> WAITING -> QUEUED             not sent yet
    DONE -> REMOVING, and a new WAITING     Vision has the picture, or may have it

Until Vision has forgotten everybody without a consent, nobody is recognised in the space. Callers
check `pending` before a call and `lacking_ids` on its answer, since a consent may end during the
call. Both lead to temporary errors, which callers retry.

A consent covers everybody with the same canonical person.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from datetime import timedelta

from django.db import transaction
from django.db.models import Exists, F, Min, OuterRef, Q
from django.utils import timezone

from persons.db.locking import locked
from persons.models import Consent, Enrolment, EnrolmentState, Person, Space, SyncState
from persons.models.people import PersonQuerySet
from persons.vision.envelope import person_id_of
from persons.vision.errors import VisionUnavailable
from persons.vision.types import FoundPerson

RECHECKED_EVERY = timedelta(hours=1)
"""The longest time for which the result of `pending` is stored on a space."""

AT_ONCE = 200

KNOWN = Q(state__in=[EnrolmentState.DONE, EnrolmentState.REMOVING]) | Q(
    state__in=[EnrolmentState.QUEUED, EnrolmentState.FAILED], call__isnull=False
)
"""Enrolments whose picture Vision has or may have."""


class ConsentPending(VisionUnavailable):
    """Retry later: nothing was sent, since Vision still knows somebody without a consent."""

    pause = 5.0


PENDING = (
    "Somebody's consent has ended, and Vision is being told to forget them. Nobody is recognised "
    "in this space until it has. Try again in a moment."
)


def lacking(space: Space, people: Iterable[int]) -> set[int]:
    """The pks of those of these people of the space who need a consent and have none."""
    asked = set(people)
    if not space.require_consent or not asked:
        return set()
    return without(space, asked)


def lacking_ids(space: Space, person_ids: Iterable[int]) -> set[int]:
    """Like `lacking`, by `person_id`. Ids that the ledger doesn't know count as lacking."""
    asked = set(person_ids)
    if not space.require_consent or not asked:
        return set()
    known = Person.objects.filter(space=space, person_id__in=asked)
    people = dict(known.values_list("person_id", "pk"))
    lack = without(space, set(people.values()))
    return {one for one in asked if one not in people or people[one] in lack}


def without(space: Space, people: Collection[int]) -> set[int]:
    """The pks of those of these people without a consent in force, needed or not."""
    lack = Person.objects.filter(~_given(), space=space, pk__in=people)
    return set(lack.values_list("pk", flat=True))


def ids_in(found: Iterable[FoundPerson]) -> set[int]:
    """The `person_id`s of all people and aliases in an answer."""
    ids: set[int | None] = set()
    for person in found:
        ids |= {person.person_id, *map(person_id_of, person.aliases)}
    return {one for one in ids if one is not None}


def withheld_because_of(person_ids: Iterable[int]) -> str:
    """The error message for an answer that is withheld because of these people."""
    tags = ", ".join(f"person{one}" for one in sorted(person_ids))
    return (
        f"Vision still recognises {tags}, of whom no consent is in force in this space. "
        "The answer was thrown away. Try again in a moment."
    )


# --- What Vision still knows ---


def enrolled_without(space: Space, enrolments: Q = KNOWN) -> PersonQuerySet:
    """People of the space with such enrolments and without a consent in force, ordered by pk."""
    return with_pictures_without(Person.objects.filter(space=space), enrolments).order_by("pk")


def with_pictures_without(people: PersonQuerySet, enrolments: Q | None = None) -> PersonQuerySet:
    """Like `enrolled_without` for any people. `enrolments` defaults to all live ones, including
    those that wait."""
    wanted = enrolments if enrolments is not None else Q(state__in=EnrolmentState.live())
    pictures = Enrolment.objects.filter(wanted, person=OuterRef("pk"))
    return people.filter(~_given(), Exists(pictures))


def may_go(space: Space) -> PersonQuerySet:
    """People of the space with a WAITING picture that may be sent: a consent is in force, or the
    space no longer requires one."""
    waiting = Enrolment.objects.filter(person=OuterRef("pk"), state=EnrolmentState.WAITING)
    people = Person.objects.filter(Exists(waiting), space=space).order_by("pk")
    return people.filter(_given()) if space.require_consent else people


def _given() -> Exists:
    """Condition: the person, or anybody with the same canonical person, has a consent in force."""
    return Exists(Consent.objects.in_force().filter(person__canonical=OuterRef("canonical")))


def lacking_of_several(people: Iterable[Person]) -> list[Person]:
    """Those of these people, who may be of different spaces, who need a consent and have none."""
    by_space: dict[Space, list[Person]] = defaultdict(list)
    for person in people:
        by_space[person.space].append(person)
    lack: set[int] = set()
    for space, some in by_space.items():
        lack |= lacking(space, [person.pk for person in some])
    return [person for some in by_space.values() for person in some if person.pk in lack]


def count_lacking(space: Space) -> int:
    """Number of people with live enrolments and without a consent, needed or not. One query."""
    return with_pictures_without(Person.objects.filter(space=space)).count()


def pending(space: Space) -> bool:
    """Whether Vision may know somebody without a consent, and so must not be called.

    A negative result is stored on the space until the first consent ends, for LOOK_AGAIN at most,
    so that later calls cost no query.
    """
    if not space.require_consent or _is_sure(space):
        return False
    with transaction.atomic():
        now = locked(Space.objects.filter(pk=space.pk)).get()
        if enrolled_without(now).exists():
            return True
        ends = Consent.objects.in_force().filter(person__space=now).aggregate(at=Min("until"))["at"]
        soon = timezone.now() + RECHECKED_EVERY
        until = min(ends, soon) if ends is not None else soon
        Space.objects.filter(pk=now.pk).update(consents_until=until)
    return False


def in_chunks(people: PersonQuerySet) -> Iterator[list[int]]:
    """The pks of `people`, which are ordered by pk, in lists of at most AT_ONCE.

    With a limit, the database finds out quickly that there are none; without one, it plans for
    many rows.
    """
    after = 0
    while some := list(people.filter(pk__gt=after).values_list("pk", flat=True)[:AT_ONCE]):
        after = some[-1]
        yield some


def _is_sure(space: Space) -> bool:
    return space.consents_until is not None and timezone.now() < space.consents_until


# --- Holding back, and letting go ---


def moved(space_pk: int) -> None:
    """Note that consents of the space have changed: invalidates the stored result of `pending` and
    stored answers. Locks the space's row, so call it before other rows are locked."""
    Space.objects.filter(pk=space_pk).update(
        consents_until=None, consent_changes=F("consent_changes") + 1
    )


def hold_back(people: Collection[int]) -> int:
    """Hold back all pictures of these people, and mark those that Vision may have for removal.

    Returns the number of pictures that wait because of it. The sync of people with a picture to
    delete becomes QUEUED; the caller enqueues the task. Runs in the caller's transaction, which has
    locked the space and the people.
    """
    rows = Enrolment.objects.filter(person__in=people)
    count = rows.filter(state=EnrolmentState.QUEUED, call=None).update(state=EnrolmentState.WAITING)
    known = rows.filter(KNOWN).exclude(state=EnrolmentState.REMOVING)
    there = list(known.select_related("created_by").order_by("pk"))
    rows.filter(pk__in=[row.pk for row in there]).update(state=EnrolmentState.REMOVING)
    Enrolment.objects.bulk_create(
        row.once_more(row.created_by, state=EnrolmentState.WAITING, request_id=row.request_id)
        for row in there
    )
    _queue({row.person_id for row in there})
    return count + len(there)


def let_go(people: Collection[int]) -> set[int]:
    """Queue the WAITING pictures of these people; returns the pks of people whose sync has work.

    The caller enqueues the task. Runs in the caller's transaction, which has locked the people.
    """
    waiting = Enrolment.objects.filter(person__in=people, state=EnrolmentState.WAITING)
    theirs = set(waiting.values_list("person", flat=True))
    waiting.update(state=EnrolmentState.QUEUED)
    _queue(theirs)
    return theirs


def _queue(people: Collection[int]) -> None:
    """Queue the sync of these people. A running sync is left alone: it checks for new work before
    it ends."""
    queued = Person.objects.filter(pk__in=people).exclude(sync_state=SyncState.RUNNING)
    queued.update(sync_state=SyncState.QUEUED, attempts=0, after=timezone.now(), sync_error="")
