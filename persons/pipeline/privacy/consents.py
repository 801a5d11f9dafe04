"""Applies consents that began or expired, and spaces that came to require them.

Every sweep finds here what no action could apply, because only time passed or because it would take
too long for a request.
"""

from __future__ import annotations

from django.db import transaction
from django.db.models import Q

from persons.db.locking import locked
from persons.models import Enrolment, EnrolmentState, Person, Space
from persons.privacy import consent

MOST = 1000
"""People in one sweep, roughly."""

STANDING = consent.KNOWN & ~Q(state=EnrolmentState.REMOVING) | Q(state=EnrolmentState.QUEUED)


def keep_consents() -> int:
    """Hold back people who lack a consent and let those go who have one now. Returns how many."""
    return sum(map(_hold_back, Space.objects.filter(require_consent=True))) + _let_go()


def _hold_back(space: Space) -> int:
    done = 0
    for people in consent.in_chunks(consent.enrolled_without(space, STANDING)):
        done += _hold_back_some(space, people)
        if done >= MOST:
            break
    return done


@transaction.atomic
def _hold_back_some(space: Space, people: list[int]) -> int:
    consent.moved(space.pk)
    there = locked(Person.objects.filter(pk__in=people)).values_list("pk", flat=True)
    lacking = consent.without(space, set(there))
    consent.hold_back(lacking)
    return len(lacking)


def _let_go() -> int:
    waiting = Enrolment.objects.filter(state=EnrolmentState.WAITING)
    by_space = waiting.values_list("person__space", flat=True).distinct()
    return sum(_let_go_in(space) for space in Space.objects.filter(pk__in=set(by_space)))


@transaction.atomic
def _let_go_in(space: Space) -> int:
    ready = list(consent.may_go(space).values_list("pk", flat=True)[:MOST])
    if not ready:
        return 0
    consent.moved(space.pk)
    there = locked(Person.objects.filter(pk__in=ready)).values_list("pk", flat=True)
    return len(consent.let_go(set(there) - consent.lacking(space, set(there))))
