"""Writes on people and their enrolled pictures. Merging is in `merging`."""

from __future__ import annotations

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from persons import audit
from persons.actions.enrolment_selection import lock_person, queue_sync, withdraw
from persons.actions.merging import merge_people, split_person
from persons.actions.naming import (
    clean_label,
    clean_name,
    give_label,
    lock_space,
    own_label,
    taken,
    with_label,
)
from persons.audit import Actor
from persons.errors import Refused
from persons.inputs import texts
from persons.models import Enrolment, EnrolmentState, Face, Likeness, Person, SpaceJob
from persons.people import orphans
from persons.people.duplicates import in_order
from persons.privacy import holds

__all__ = [
    "choose_cover",
    "clean_label",
    "different_people",
    "forget_difference",
    "hide_person",
    "lock_person",
    "merge_people",
    "queue_sync",
    "remove_empty_person",
    "remove_enrolment",
    "rename_person",
    "retry_enrolment",
    "retry_sync",
    "set_notes",
    "split_person",
    "with_label",
    "withdraw",
]

NOTES_LENGTH = 5000


@transaction.atomic
def rename_person(*, actor: Actor, person: Person, label: str) -> Person:
    """Raises Refused if another person of the space has that name, or if the person was merged."""
    label = clean_name(label)
    if label == person.label:
        return person
    lock_space(person.space_id)
    _demand_unmerged(person)
    if own_label(person.space, label) not in (None, person):
        raise taken(person.space, label)
    give_label(actor=actor, person=person, label=label)
    return person


@transaction.atomic
def hide_person(*, actor: Actor, person: Person, hidden: bool) -> Person:
    """Hide somebody from lists and suggestions, or show them again. Recognition goes on."""
    if person.hidden == hidden:
        return person
    person.hidden = hidden
    person.save(update_fields=["hidden"])
    audit.record(
        actor=actor,
        team=person.space.team,
        action="person.hide",
        target=person,
        before={"hidden": not hidden},
        after={"hidden": hidden},
    )
    return person


@transaction.atomic
def set_notes(*, actor: Actor, person: Person, notes: str) -> Person:
    """The team's notes on somebody: several lines, or "" for none."""
    notes = texts.block(notes)
    if len(notes) > NOTES_LENGTH:
        raise Refused(f"Notes have at most {NOTES_LENGTH} characters.")
    before = person.notes
    if notes == before:
        return person
    person.notes = notes
    person.save(update_fields=["notes"])
    audit.record(
        actor=actor,
        team=person.space.team,
        action="person.notes",
        target=person,
        before={"notes": before},
        after={"notes": notes},
    )
    return person


@transaction.atomic
def different_people(*, actor: Actor, one: Person, other: Person) -> Likeness:
    """ "Never these two": neither suggested nor merged, until somebody takes it back."""
    space = lock_space(one.space_id)
    if one.space_id != other.space_id:
        raise Refused("They are in different spaces: nobody takes them for one person.")
    both = Person.objects.filter(pk__in=[one.pk, other.pk])
    canonical = dict(both.values_list("pk", "canonical"))
    first, second = in_order(canonical[one.pk], canonical[other.pk])
    if first == second:
        raise Refused(
            f"{one.name} and {other.name} are merged. Undo that first."
            if one.pk != other.pk
            else "That is the same person. Choose another one."
        )
    now = timezone.now()
    likeness, _ = Likeness.objects.get_or_create(
        one_id=first, other_id=second, defaults={"space": space, "created_at": now}
    )
    if likeness.decision == Likeness.Decision.DIFFERENT:
        return likeness
    likeness.decision = Likeness.Decision.DIFFERENT
    likeness.decided_by = actor.user
    # Equal to `created_at` only if a human made the pair: `forget_difference` then deletes it.
    likeness.decided_at = now
    likeness.save(update_fields=["decision", "decided_by", "decided_at"])
    audit.record(
        actor=actor,
        team=space.team,
        action="people.differ",
        target=likeness.one,
        after={"other": likeness.other.name, "other_pk": likeness.other.pk},
    )
    return likeness


@transaction.atomic
def forget_difference(*, actor: Actor, likeness: Likeness) -> None:
    """Take "never these two" back. A pair that Vision had suggested is a suggestion again."""
    space = lock_space(likeness.space_id)
    kept_apart = Likeness.objects.filter(pk=likeness.pk, decision=Likeness.Decision.DIFFERENT)
    found = kept_apart.select_related("one", "other").first()
    if found is None:
        return
    if found.created_at == found.decided_at:
        found.delete()
    else:
        found.decision, found.decided_by, found.decided_at = Likeness.Decision.NONE, None, None
        found.save(update_fields=["decision", "decided_by", "decided_at"])
    audit.record(
        actor=actor,
        team=space.team,
        action="people.same",
        target=found.one,
        before={"other": found.other.name, "other_pk": found.other.pk},
    )


@transaction.atomic
def choose_cover(*, actor: Actor, person: Person, face: Face) -> Person:
    """Raises Refused if the face is not the person's, or if the person was merged."""
    _demand_unmerged(person)
    if face.person_id != person.pk:
        raise Refused("That face is not this person's.")
    before = person.cover_id
    person.cover = face
    person.save(update_fields=["cover"])
    entry = audit.record(
        actor=actor,
        team=person.space.team,
        action="person.cover",
        target=person,
        before={"face": before},
        after={"face": face.pk},
    )
    audit.concern(entry, {face.gallery_id})
    return person


@transaction.atomic
def remove_empty_person(*, actor: Actor, person: Person) -> None:
    """Delete a person, such as a name typed by mistake.

    Raises Refused if they have faces, enrolments, a consent, a legal hold or anybody merged into
    them.
    """
    holds.lock(person.space.team_id)
    # From here on no row can refer to them.
    person = Person.objects.select_for_update(of=("self",)).get(pk=person.pk)
    _demand_unmerged(person)
    enrolled = person.enrolments.exclude(state=EnrolmentState.REMOVED).exists()
    theirs = Q(person=person) | Q(decided_person=person)
    if enrolled or Face.everything.filter(theirs).exists():
        raise Refused(f"{person.name} has faces. Correct those first.")
    if person.pk in SpaceJob.objects.filter(space=person.space_id).people_on_the_way():
        raise Refused(f"Faces are on their way to {person.name}. Try again when they are there.")
    merged = person.merged.first()
    if merged is not None:
        raise Refused(f"{merged.name} was merged into {person.name}. Undo that first.")
    holds.demand_free(person=person)
    if person.consents.in_force().exists():
        raise Refused(f"{person.name} has given a consent. Withdraw it first.")
    orphans.remove(person, actor=actor)


@transaction.atomic
def remove_enrolment(*, actor: Actor, enrolment: Enrolment) -> Enrolment:
    """Vision forgets this picture: the person is deleted there, and their other pictures are set
    again.

    Raises Refused if the person is under legal hold.
    """
    holds.lock(enrolment.person.space.team_id)
    holds.demand_free(person=enrolment.person)
    person = lock_person(enrolment.person_id)
    changed = withdraw(Enrolment.objects.filter(pk=enrolment.pk))
    enrolment.refresh_from_db()
    if changed:
        audit.record(
            actor=actor,
            team=person.space.team,
            action="enrolment.remove",
            target=enrolment,
            before={"person_id": person.person_id, "sha256": enrolment.sha256},
        )
        queue_sync(person, actor=actor)
    return enrolment


@transaction.atomic
def retry_enrolment(*, actor: Actor, enrolment: Enrolment) -> Enrolment:
    """Send a picture again that Vision refused."""
    person = lock_person(enrolment.person_id)
    changed = Enrolment.objects.filter(pk=enrolment.pk, state=EnrolmentState.FAILED).update(
        state=EnrolmentState.QUEUED, error=""
    )
    enrolment.refresh_from_db()
    if changed:
        audit.record(
            actor=actor, team=person.space.team, action="enrolment.retry", target=enrolment
        )
        queue_sync(person, actor=actor)
    return enrolment


@transaction.atomic
def retry_sync(*, actor: Actor, person: Person) -> Person:
    """Send everything of a person again that Vision refused, removals included."""
    person = lock_person(person.pk)
    person.enrolments.filter(state=EnrolmentState.FAILED).update(
        state=EnrolmentState.QUEUED, error=""
    )
    audit.record(actor=actor, team=person.space.team, action="person.sync", target=person)
    queue_sync(person, actor=actor)
    person.refresh_from_db()
    return person


def _demand_unmerged(person: Person) -> None:
    found = Person.objects.filter(family=person.pk).first()
    if found is not None and found.pk != person.pk:
        raise Refused(f"{person.name} was merged into {found.name}. Change {found.name} instead.")
