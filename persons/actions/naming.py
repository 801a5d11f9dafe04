"""Names of people: what a valid name is, and who has it in a space."""

from __future__ import annotations

from dataclasses import dataclass

from django.db import IntegrityError, transaction
from django.db.models import F

from persons import audit
from persons.audit import Actor
from persons.db.locking import locked
from persons.errors import Refused
from persons.inputs import texts
from persons.models import Person, Space
from persons.models.names import KEY_LENGTH, fold, looks_like_tag, tagged

LABEL_LENGTH = 200


def clean_label(label: str) -> str:
    """One line of text, normalised so that the same name typed twice is equal. Raises Refused."""
    label = texts.line(label)
    if not label:
        raise Refused("Type a name.")
    if len(label) > LABEL_LENGTH:
        raise Refused(f"A name has at most {LABEL_LENGTH} characters.")
    return label


def clean_name(label: str) -> str:
    """As `clean_label`, for a person's new name: a tag such as "person77" is refused."""
    label = clean_label(label)
    if looks_like_tag(label):
        raise Refused(
            f"“{label}” can't be a name: typed on a face it means the person of that number. "
            "Choose another one."
        )
    return label


def with_label(space: Space, label: str) -> Person | None:
    """The canonical person of that name in the space, or None. Case does not matter, in any
    alphabet.

    A tag such as "person77" finds the person of that number. The name of a merged person finds
    their canonical person.
    """
    if looks_like_tag(label) and (found := _of_tag(space, label)) is not None:
        return found
    theirs = _of_label(space, label)
    found = next((person for person in theirs if person.merged_into_id is None), None)
    if found is not None or not theirs:
        return found
    return theirs[-1].canonical


def _of_tag(space: Space, label: str) -> Person | None:
    person_id = tagged(label)
    if person_id is None:
        return None
    people = Person.objects.select_related("canonical")
    person = people.filter(space=space, person_id=person_id, erasing=False).first()
    return person.canonical if person is not None else None


def nobody(space: Space, label: str) -> Refused:
    """The error for a name or number that nobody in the space has."""
    label = texts.line(label)[:LABEL_LENGTH]
    if not looks_like_tag(label):
        return Refused(f"Nobody in {space.title} is called “{label}”.")
    return Refused(
        f"There is no person {_number(label)} in {space.title}. Type a name, or the number of "
        "somebody who is there."
    )


def _number(label: str) -> str:
    return label.lower().rpartition("person")[2].strip()[:24]


def own_label(space: Space, label: str) -> Person | None:
    """The person who has that name and was not merged into another."""
    theirs = _of_label(space, label)
    return next((person for person in theirs if person.merged_into_id is None), None)


def _of_label(space: Space, label: str) -> list[Person]:
    """Everybody of that name, oldest first.

    The index on folded names finds a few candidates. Of those, names count that are equal but for
    case and invisible joiners.
    """
    label = texts.line(label)
    people = Person.objects.filter(space=space, name_key=fold(label)[:KEY_LENGTH]).order_by("pk")
    same = texts.folded(label)
    return [person for person in people if texts.folded(person.label) == same]


def free_label(space: Space, label: str) -> str:
    """`label`, with the first number appended that makes it unused in the space, if it is taken."""
    number, wanted = 1, label
    while own_label(space, wanted) is not None:
        number += 1
        tail = f" ({number})"
        wanted = label[: LABEL_LENGTH - len(tail)] + tail
    return wanted


@dataclass(frozen=True, slots=True)
class Meant:
    """The person that a typed name means.

    `is_new` says that the person was just created. `gets_label` says that they have no name yet:
    `give_label` gives them this one once they are locked.
    """

    person: Person
    is_new: bool = False
    gets_label: bool = False


def who_is_meant(*, actor: Actor, space: Space, label: str, unnamed: Person | None = None) -> Meant:
    """The person whom a typed name or number means, created if need be.

    A new name goes to `unnamed`, a person whom Vision or a grouping made and nobody has named yet.
    Two callers with the same new name get the same person. Call it in a transaction, before
    anything but the space is locked. Raises Refused if nobody has the typed number.
    """
    found = with_label(space, label)
    if found is not None:
        return Meant(found)
    if looks_like_tag(label):
        raise nobody(space, label)
    # No constraint knows names that differ in invisible characters only, so this takes a lock.
    lock_space(space.pk)
    found = with_label(space, label)
    if found is not None:
        return Meant(found)
    if unnamed is not None and not unnamed.label and unnamed.space_id == space.pk:
        # If the group was merged and its faces have not been moved yet, its canonical person is
        # meant.
        canonical = Person.objects.filter(family=unnamed.pk, label="").first()
        if canonical is not None:
            return Meant(canonical, gets_label=True)
    try:
        with transaction.atomic():
            person = Person.objects.create(
                space=space,
                person_id=take_person_id(space),
                label=label,
                created_by=actor.user,
            )
    except IntegrityError:
        found = with_label(space, label)
        if found is None:
            raise
        return Meant(found)
    audit.record(
        actor=actor,
        team=space.team,
        action="person.create",
        target=person,
        after={"space": space.number, "person_id": person.person_id, "label": label},
    )
    return Meant(person, is_new=True)


def give_label(*, actor: Actor, person: Person, label: str) -> None:
    """Set the name of a locked person. Raises Refused if somebody else has it."""
    before = person.label
    try:
        with transaction.atomic():
            person.label = label
            person.save(update_fields=["label"])
    except IntegrityError:
        person.label = before
        raise taken(person.space, label) from None
    audit.record(
        actor=actor,
        team=person.space.team,
        action="person.rename",
        target=person,
        before={"label": before},
        after={"label": label},
    )


def taken(space: Space, label: str) -> Refused:
    """The error for a name that somebody else in the space has."""
    return Refused(
        f"{space.title} has somebody called “{label}” already. Choose a name that tells them apart."
    )


def take_person_id(space: Space) -> int:
    """An id that nobody in the space has or had. Call it in a transaction; it locks the space."""
    Space.objects.filter(pk=space.pk).update(next_person_id=F("next_person_id") + 1)
    return Space.objects.values_list("next_person_id", flat=True).get(pk=space.pk) - 1


def lock_space(pk: int) -> Space:
    """Lock the space, before any other row. Others may still write rows that refer to it."""
    return locked(Space.objects.filter(pk=pk).select_related("team")).get()
