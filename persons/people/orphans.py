"""Finds and removes orphaned people, to whom nothing refers any more."""

from __future__ import annotations

from django.db.models import Q

from persons import audit
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
from persons.privacy import holds


def has_traces(person: Person, *, of_humans: bool = False) -> bool:
    """Whether a face, a picture, another person or a change in force refers to the person.

    With `of_humans`, results of Vision and of groupings don't count.
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
    # A bulk confirmation names nobody in the change itself.
    return ChangedFace.objects.filter(
        change__in=standing.filter(space=person.space_id, person=None, kind=ChangeKind.CONFIRM),
        after__person=person.pk,
    ).exists()


def remove_if_unmade(person: Person, *, actor: Actor) -> bool:
    """Remove a person who was created by an undone change, if nothing else refers to them.

    `person` is locked. Returns False if they stay, for example because Vision still has a picture
    of them; removing that picture calls this again. People whom a user has edited stay.
    """
    made = Change.objects.filter(person=person, undone_at__isnull=False, label=person.label)
    edited = person.notes or person.hidden or person.cover_id or not person.label
    if edited or person.created_by_id is None or not made.exists() or has_traces(person):
        return False
    if holds.on_person(person):
        return False
    remove(person, actor=actor)
    return True


def remove(person: Person, *, actor: Actor) -> None:
    """Delete a person's row, with its audit entry. The caller has checked that nothing refers to
    them."""
    audit.record(
        actor=actor,
        team=person.space.team,
        action="person.remove",
        target=person,
        before={"label": person.label, "person_id": person.person_id},
    )
    holds.forget_released(person)
    person.delete()
