"""Who may be enrolled and recognised in a space that requires a consent.

Whoever is about to `set` a picture asks `lacking` first, in the transaction that marks it as sent;
what may not go is held back: it waits in the ledger and goes by itself once there is a consent.
What Vision knows already is deleted there by the ordinary sync.

Until Vision has forgotten everybody without a consent, nobody is recognised in the space: `pending`
says so to whoever is about to ask, and `lacking_ids` to whoever has an answer, since a consent may
end while Vision is being asked. Both errors are temporary ones: the caller comes again.

A consent counts for everybody who is merged into one person: they are the same human.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from datetime import timedelta

from django.db import transaction
from django.db.models import Exists, F, Min, OuterRef, Q
from django.utils import timezone

from persons.locking import locked
from persons.models import Consent, Enrolment, EnrolmentState, Person, Space, SyncState
from persons.models.spaces import PersonQuerySet
from persons.settling import roots_of
from persons.vision.envelope import person_id_of
from persons.vision.errors import VisionUnavailable
from persons.vision.types import FoundPerson

LOOK_AGAIN = timedelta(hours=1)
"""However long all consents last, it is looked at least that often."""

AT_ONCE = 200

KNOWN = Q(state__in=[EnrolmentState.DONE, EnrolmentState.REMOVING]) | Q(
    state__in=[EnrolmentState.QUEUED, EnrolmentState.FAILED], call__isnull=False
)
"""Enrolments whose picture Vision has, or may have."""


class ConsentPending(VisionUnavailable):
    """Nothing was sent: Vision still knows somebody who has no consent."""

    pause = 5.0


PENDING = (
    "Somebody's consent has ended, and Vision is being told to forget them. Nobody is recognised "
    "in this space until it has. Try again in a moment."
)


def lacking(space: Space, people: Iterable[int]) -> set[int]:
    """Those of these people of the space, by pk, who need a consent there and have none."""
    asked = set(people)
    if not space.require_consent or not asked:
        return set()
    return without(space, asked)


def lacking_ids(space: Space, person_ids: Iterable[int]) -> set[int]:
    """As `lacking`, by the numbers on the wire. Whom the ledger does not know has none."""
    asked = set(person_ids)
    if not space.require_consent or not asked:
        return set()
    known = Person.objects.filter(space=space, person_id__in=asked)
    people = dict(known.values_list("person_id", "pk"))
    lack = without(space, set(people.values()))
    return {one for one in asked if one not in people or people[one] in lack}


def without(space: Space, people: Collection[int]) -> set[int]:
    """Those of these people who have no consent in force, whether or not they need one."""
    given = Consent.objects.in_force().filter(person__space=space)
    rest = set(people) - set(given.filter(person__in=people).values_list("person", flat=True))
    if not rest:
        return set()
    roots = roots_of(rest)
    same = Q(person__in=set(roots.values())) | Q(person__merged_into__isnull=False)
    consenting = set(roots_of(given.filter(same).values_list("person", flat=True)).values())
    return {pk for pk in rest if roots[pk] not in consenting}


def told(found: Iterable[FoundPerson]) -> set[int]:
    """Everybody of whom an answer speaks, by the numbers on the wire."""
    ids: set[int | None] = set()
    for person in found:
        ids |= {person.person_id, *map(person_id_of, person.aliases)}
    return {one for one in ids if one is not None}


def still_told(person_ids: Iterable[int]) -> str:
    """Why an answer is not handed on."""
    tags = ", ".join(f"person{one}" for one in sorted(person_ids))
    return (
        f"Vision still recognises {tags}, of whom no consent is in force in this space. "
        "The answer was thrown away. Try again in a moment."
    )


# --- What Vision still knows ---


def unsure(space: Space, enrolments: Q = KNOWN) -> PersonQuerySet:
    """People of the space with such enrolments who have given no consent themselves, nor anybody
    who was merged into them: most lack one, the others are for `without` to find."""
    return without_own(Person.objects.filter(space=space), enrolments).order_by("pk")


def without_own(people: PersonQuerySet, enrolments: Q | None = None) -> PersonQuerySet:
    """As `unsure`, of any people; by default of those who are enrolled or wait to be."""
    wanted = enrolments if enrolments is not None else Q(state__in=EnrolmentState.live())
    pictures = Enrolment.objects.filter(wanted, person=OuterRef("pk"))
    own, merged = _given()
    return people.filter(~own, ~merged, Exists(pictures))


def may_go(space: Space) -> PersonQuerySet:
    """People of the space of whom a picture waits for a consent that is there, or that nobody asks
    for any more."""
    waiting = Enrolment.objects.filter(person=OuterRef("pk"), state=EnrolmentState.WAITING)
    people = Person.objects.filter(Exists(waiting), space=space).order_by("pk")
    own, merged = _given()
    return people.filter(Q(own) | Q(merged)) if space.require_consent else people


def _given() -> tuple[Exists, Exists]:
    """Consents of somebody's own, and of those who were merged into them. Two conditions: a
    database joins each of them, but looks an "or" up for each row."""
    given = Consent.objects.in_force()
    merged = given.filter(person__merged_into=OuterRef("pk"))
    return Exists(given.filter(person=OuterRef("pk"))), Exists(merged)


def lacking_of_several(people: Iterable[Person]) -> list[Person]:
    """Those of these people, of any spaces, who need a consent and have none."""
    by_space: dict[Space, list[Person]] = defaultdict(list)
    for person in people:
        by_space[person.space].append(person)
    lack: set[int] = set()
    for space, some in by_space.items():
        lack |= lacking(space, [person.pk for person in some])
    return [person for some in by_space.values() for person in some if person.pk in lack]


def count_lacking(space: Space) -> int:
    """How many enrolled people have no consent, whether or not they need one. One query."""
    return without_own(Person.objects.filter(space=space)).count()


def pending(space: Space) -> bool:
    """Whether Vision may know somebody who has no consent: then it is not to be asked.

    What was found is kept on the space until the first consent ends, so that a call costs no query.
    """
    if not space.require_consent or _is_sure(space):
        return False
    with transaction.atomic():
        now = locked(Space.objects.filter(pk=space.pk)).get()
        if any(without(now, some) for some in in_chunks(unsure(now))):
            return True
        ends = Consent.objects.in_force().filter(person__space=now).aggregate(at=Min("until"))["at"]
        soon = timezone.now() + LOOK_AGAIN
        until = min(ends, soon) if ends is not None else soon
        Space.objects.filter(pk=now.pk).update(consents_until=until)
    return False


def in_chunks(people: PersonQuerySet) -> Iterator[list[int]]:
    """Of people in order, by pk. A database that is asked for a few finds out quickly that there is
    none; asked for all, it first makes a plan for many."""
    after = 0
    while some := list(people.filter(pk__gt=after).values_list("pk", flat=True)[:AT_ONCE]):
        after = some[-1]
        yield some


def _is_sure(space: Space) -> bool:
    return space.consents_until is not None and timezone.now() < space.consents_until


# --- Holding back, and letting go ---


def moved(space_pk: int) -> None:
    """Consents of the space have changed: it has to be looked again, and stored answers count no
    more. Locks the space, so it is the first step of whoever changes more rows than one."""
    Space.objects.filter(pk=space_pk).update(
        consents_until=None, consent_changes=F("consent_changes") + 1
    )


def hold_back(people: Collection[int]) -> int:
    """Nothing of these people is sent, and what Vision may know is deleted there; how many pictures
    wait because of it. In the caller's transaction, which has locked space and people.

    The sync is queued where there is something to delete; the caller rings.
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
    """What waited for a consent is queued; whose sync has work. In the caller's transaction, which
    has locked the people; the caller rings."""
    waiting = Enrolment.objects.filter(person__in=people, state=EnrolmentState.WAITING)
    theirs = set(waiting.values_list("person", flat=True))
    waiting.update(state=EnrolmentState.QUEUED)
    _queue(theirs)
    return theirs


def _queue(people: Collection[int]) -> None:
    """A worker that is at one of them right now looks again before it ends."""
    queued = Person.objects.filter(pk__in=people).exclude(sync_state=SyncState.RUNNING)
    queued.update(
        sync_state=SyncState.QUEUED, sync_attempts=0, sync_after=timezone.now(), sync_error=""
    )
