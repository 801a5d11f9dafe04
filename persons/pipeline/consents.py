"""Consents that ran out, or that a space has come to require, take effect; so do those that began.

What an action did not catch, because time did it or because it is too much for a request, is found
here by every sweep.
"""

from __future__ import annotations

from django.db import transaction
from django.db.models import Q

from persons import consent
from persons.locking import locked
from persons.models import Enrolment, EnrolmentState, Person, Space

MOST = 1000
"""People in one sweep."""

STANDING = consent.KNOWN & ~Q(state=EnrolmentState.REMOVING) | Q(state=EnrolmentState.QUEUED)


def keep_consents() -> int:
    """Hold back who lacks a consent, let go who does not any more; how many people it was."""
    return sum(map(_hold_back, Space.objects.filter(require_consent=True))) + _let_go()


def _hold_back(space: Space) -> int:
    done = 0
    for people in consent.in_chunks(consent.unsure(space, STANDING)):
        if consent.without(space, people):
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
