"""Whether anything speaks of a person: whom somebody or Vision knows is not forgotten."""

from __future__ import annotations

from django.db.models import Q

from persons import audit, holds
from persons.audit import Actor
from persons.models import (
    Change,
    ChangedFace,
    EnrolmentState,
    Face,
    Likeness,
    Person,
    Rejection,
)
from persons.models.changes import ChangeKind


def has_traces(person: Person, *, of_humans: bool = False) -> bool:
    """Whether a face, a picture, another person or a change that stands has to do with them.

    With `of_humans` what Vision and groupings alone say does not count.
    """
    if person.merged_into_id is not None or person.merged.exists():
        return True
    words = Q(decided_person=person)
    if not of_humans:
        words |= Q(found_person=person) | Q(grouped_person=person) | Q(person=person)
    if Face.everything.filter(words).exists() or Rejection.objects.filter(person=person).exists():
        return True
    if not of_humans and person.enrolments.exclude(state=EnrolmentState.REMOVED).exists():
        return True
    if person.consents.exists():
        return True
    if Likeness.objects.filter(Q(one=person) | Q(other=person)).exclude(decision="").exists():
        return True
    standing = Change.objects.filter(undone_at=None)
    if standing.filter(Q(person=person) | Q(other=person)).exists():
        return True
    # Confirmed among others: then the change itself names nobody.
    return ChangedFace.objects.filter(
        change__in=standing.filter(space=person.space_id, person=None, kind=ChangeKind.CONFIRM),
        after__person=person.pk,
    ).exists()


def remove_if_unmade(person: Person, *, actor: Actor) -> bool:
    """Remove somebody who was made by a change that is undone, if nothing else is left of them.

    `person` is locked. False also where Vision still has a picture of them: then whoever takes that
    one back calls this again. Whom somebody has edited stays.
    """
    made = Change.objects.filter(person=person, undone_at__isnull=False, label=person.label)
    edited = person.notes or person.hidden or person.cover_id or not person.label
    if edited or person.created_by_id is None or not made.exists() or has_traces(person):
        return False
    if holds.on_person(person):
        return False
    audit.record(
        actor=actor,
        team=person.space.team,
        action="person.remove",
        target=person,
        before={"label": person.label, "person_id": person.person_id},
    )
    holds.forget_released(person)
    person.delete()
    return True
