"""What humans say of people and of their enrolled pictures. Merging is in `merging`."""

from __future__ import annotations

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from persons import audit, holds
from persons.actions.merging import merge_people, split_person
from persons.actions.naming import clean_label, give_label, lock_space, own_label, taken, with_label
from persons.actions.teaching import lock_person, queue_sync, withdraw
from persons.audit import Actor
from persons.errors import Refused
from persons.likeness import in_order
from persons.models import Enrolment, EnrolmentState, Face, Likeness, Person, SpaceJob
from persons.settling import roots_of

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
    """Raises Refused where another person of the space has that name."""
    label = clean_label(label)
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
    """Leave somebody out of lists and suggestions, or show them again. Recognition goes on."""
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
    """What the team wants to remember of somebody; several lines, empty for nothing."""
    notes = notes.replace("\r\n", "\n").strip()
    if len(notes) > NOTES_LENGTH:
        raise Refused(f"Notes have at most {NOTES_LENGTH} characters.")
    if "\0" in notes:
        raise Refused("These notes have invisible control characters in them. Type them by hand.")
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
    roots = roots_of([one.pk, other.pk])
    first, second = in_order(roots[one.pk], roots[other.pk])
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
    # The same moment as `created_at` says that nobody but a human ever thought of the pair.
    likeness.decided_at = now
    likeness.save(update_fields=["decision", "decided_by", "decided_at"])
    audit.record(
        actor=actor,
        team=space.team,
        action="people.differ",
        target=likeness.one,
        after={"other": likeness.other.name},
    )
    return likeness


@transaction.atomic
def forget_difference(*, actor: Actor, likeness: Likeness) -> None:
    """Take "never these two" back. A pair that Vision had found alike is a suggestion again."""
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
        before={"other": found.other.name},
    )


@transaction.atomic
def choose_cover(*, actor: Actor, person: Person, face: Face) -> Person:
    _demand_unmerged(person)
    if face.person_id != person.pk:
        raise Refused("That face is not this person's.")
    before = person.cover_id
    person.cover = face
    person.save(update_fields=["cover"])
    audit.record(
        actor=actor,
        team=person.space.team,
        action="person.cover",
        target=person,
        before={"face": before},
        after={"face": face.pk},
    )
    return person


@transaction.atomic
def remove_empty_person(*, actor: Actor, person: Person) -> None:
    """For a name typed by mistake. Raises Refused where the person has faces or enrolments, a
    consent or a legal hold."""
    holds.lock(person.space.team_id)
    # Not to be referred to by anybody from here on.
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
    audit.record(
        actor=actor,
        team=person.space.team,
        action="person.remove",
        target=person,
        before={"label": person.label, "person_id": person.person_id},
    )
    holds.forget_released(person)
    person.delete()


@transaction.atomic
def remove_enrolment(*, actor: Actor, enrolment: Enrolment) -> Enrolment:
    """Vision forgets this picture: the person is deleted there and the other pictures set again.

    Raises Refused where the person is under legal hold.
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
    """Send again what Vision refused of a person, removals included."""
    person = lock_person(person.pk)
    person.enrolments.filter(state=EnrolmentState.FAILED).update(
        state=EnrolmentState.QUEUED, error=""
    )
    audit.record(actor=actor, team=person.space.team, action="person.sync", target=person)
    queue_sync(person, actor=actor)
    person.refresh_from_db()
    return person


def _demand_unmerged(person: Person) -> None:
    pk = roots_of([person.pk])[person.pk]
    if pk != person.pk:
        root = Person.objects.get(pk=pk)
        raise Refused(f"{person.name} was merged into {root.name}. Change {root.name} instead.")
