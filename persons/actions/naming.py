"""Names: what a name is, and whose it is in a space."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

from django.db import IntegrityError, transaction
from django.db.models import F

from persons import audit
from persons.audit import Actor
from persons.errors import Refused
from persons.locking import locked
from persons.models import Person, Space
from persons.models.names import KEY_LENGTH, fold
from persons.settling import roots_of

LABEL_LENGTH = 200


def clean_label(label: str) -> str:
    """One line of text, normalised so that the same name typed twice is the same name."""
    label = " ".join(unicodedata.normalize("NFC", label).split())
    if not label:
        raise Refused("Type a name.")
    if len(label) > LABEL_LENGTH:
        raise Refused(f"A name has at most {LABEL_LENGTH} characters.")
    if any(unicodedata.category(letter).startswith("C") for letter in label):
        raise Refused("That name has invisible control characters in it. Type it by hand.")
    return label


def with_label(space: Space, label: str) -> Person | None:
    """The person of that name in the space; case does not matter, in any alphabet.

    The name of somebody who was merged into another finds that other one.
    """
    theirs = _of_label(space, label)
    found = next((person for person in theirs if person.merged_into_id is None), None)
    if found is not None or not theirs:
        return found
    merged = theirs[-1]
    return Person.objects.get(pk=roots_of([merged.pk])[merged.pk])


def own_label(space: Space, label: str) -> Person | None:
    """Who bears that name themselves: nobody who was merged into another."""
    theirs = _of_label(space, label)
    return next((person for person in theirs if person.merged_into_id is None), None)


def _of_label(space: Space, label: str) -> list[Person]:
    """Whoever is called that, oldest first: the index on folded names finds a few, and of those it
    is who has the same letters in any case."""
    if "\0" in label:  # nobody's name, and PostgreSQL takes no such text
        return []
    people = Person.objects.filter(space=space, name_key=fold(label)[:KEY_LENGTH]).order_by("pk")
    return [person for person in people if person.label.casefold() == label.casefold()]


def free_label(space: Space, label: str) -> str:
    """`label` itself, or with the first number behind it that makes it nobody's in the space."""
    number, wanted = 1, label
    while own_label(space, wanted) is not None:
        number += 1
        tail = f" ({number})"
        wanted = label[: LABEL_LENGTH - len(tail)] + tail
    return wanted


@dataclass(frozen=True, slots=True)
class Meant:
    """Whom a typed name means. `is_new`: they were made for it. `gets_label`: they have no name yet
    and get this one, by `give_label` once they are locked."""

    person: Person
    is_new: bool = False
    gets_label: bool = False


def who_is_meant(*, actor: Actor, space: Space, label: str, unnamed: Person | None = None) -> Meant:
    """The person of that name in the space (case does not matter), made if need be.

    A new name goes to `unnamed`, somebody whom Vision or a grouping made and nobody has named yet.
    To be called in a transaction, before anything but the space is locked. Two callers with the
    same new name get the same person.
    """
    found = with_label(space, label)
    if found is not None:
        return Meant(found)
    if unnamed is not None and not unnamed.label and unnamed.space_id == space.pk:
        lock_space(space.pk)
        found = with_label(space, label)
        if found is not None:
            return Meant(found)
        # Whose faces have not followed yet may be somebody else by now.
        root = Person.objects.filter(pk=roots_of([unnamed.pk])[unnamed.pk], label="").first()
        if root is not None:
            return Meant(root, gets_label=True)
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
    """Set the name of somebody who is locked. Raises Refused where it is another's."""
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
    return Refused(
        f"{space.title} has somebody called “{label}” already. Choose a name that tells them apart."
    )


def take_person_id(space: Space) -> int:
    """An id that nobody in the space has or had. To be called in a transaction; locks the space."""
    Space.objects.filter(pk=space.pk).update(next_person_id=F("next_person_id") + 1)
    return Space.objects.values_list("next_person_id", flat=True).get(pk=space.pk) - 1


def lock_space(pk: int) -> Space:
    """Before any other row. Rows that refer to the space may still be written by others."""
    return locked(Space.objects.filter(pk=pk).select_related("team")).get()
