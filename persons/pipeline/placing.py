"""Who of a snapshot is who in the space that it is restored into.

The rule, where somebody is there already. In the space that the snapshot was taken from an id is a
person for good: whoever has it is meant, under the name that they have now. In any other space the
name says who is meant: who has it gets the pictures, under their own id. An id that belongs to
somebody else is replaced by a new one. Nobody who is there is changed.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from persons.erasures import ids_erased_in, pictures_erased_of
from persons.models import Person, Space, User
from persons.models.spaces import FAR_OUT
from persons.pipeline.manifests import Manifest, SavedPerson
from persons.pipeline.snapshots import key_of

Kind = Literal["renamed", "name", "id"]


@dataclass(frozen=True, slots=True)
class Conflict:
    """Somebody of the snapshot (`id`, `label`) who is there, or will be, as another id or name.

    "renamed": the same person has another name by now. "name": somebody else's id has the name.
    "id": somebody else has the id, so it is a new one.
    """

    kind: Kind
    id: int
    label: str
    now_id: int
    now_label: str


@dataclass(frozen=True, slots=True)
class Placing:
    """`new` are to be made, each with their id in the space; `known` are there. `next_id` comes
    after everybody's. `erased` are left out."""

    new: Sequence[tuple[SavedPerson, int]]
    known: int
    conflicts: Sequence[Conflict]
    next_id: int
    erased: frozenset[int] = frozenset()

    @property
    def moved(self) -> dict[int, int]:
        """The ids that are others in the space."""
        return {one.id: one.now_id for one in self.conflicts if one.id != one.now_id}


def place(manifest: Manifest, space: Space) -> Placing:
    """Changes nothing. The caller has locked the space if it is going to act on it."""
    rows = Person.objects.filter(space=space).values_list("person_id", "label", "merged_into")
    labels = {person_id: label for person_id, label, _ in rows}
    by_label = {label.lower(): person_id for person_id, label, into in rows if label and not into}
    is_origin = manifest.key == key_of(space)
    ids = [*labels, *(person.id for person in manifest.people)]
    gone = erased_from(manifest, space, labels)
    next_id = max(space.next_person_id, *(1 + one for one in ids if one < FAR_OUT), 1)
    new: list[tuple[SavedPerson, int]] = []
    conflicts: list[Conflict] = []
    for person in sorted(manifest.people, key=lambda person: person.id):
        if person.id in gone:
            continue
        if person.merged_into in gone:
            person = replace(person, merged_into=None)
        here = labels.get(person.id)
        namesake = None if person.merged_into else by_label.get(person.label.lower())
        if here is not None and (is_origin or (here and here.lower() == person.label.lower())):
            if person.label and here != person.label:
                conflicts.append(Conflict("renamed", person.id, person.label, person.id, here))
        elif namesake is not None:
            conflicts.append(Conflict("name", person.id, person.label, namesake, labels[namesake]))
        elif here is None:
            new.append((person, person.id))
        else:
            conflicts.append(Conflict("id", person.id, person.label, next_id, person.label))
            new.append((person, next_id))
            next_id += 1
    known = len(manifest.people) - len(new) - len(gone)
    return Placing(new, known, conflicts, next_id, frozenset(gone))


def erased_from(manifest: Manifest, space: Space, there: Collection[int]) -> set[int]:
    """The snapshot's ids of people who were erased since, and come back by no snapshot.

    Of the space that it was taken from they are known by their number, unless somebody else has
    that one by now; of another one by their pictures alone.
    """
    digests = pictures_erased_of(space.team_id, manifest.digests)
    if manifest.key == key_of(space):
        ids = ids_erased_in(space, [person.id for person in manifest.people])
        return ids - set(there)
    by_person: dict[int, set[str]] = {}
    for picture in manifest.pictures:
        by_person.setdefault(picture.person, set()).add(picture.sha256)
    return {person for person, theirs in by_person.items() if theirs <= digests}


def make_people(placing: Placing, space: Space, user: User | None) -> None:
    """In the caller's transaction, which has locked the space."""
    pks = dict(Person.objects.filter(space=space).values_list("person_id", "pk"))
    moved = placing.moved
    waiting = [
        (saved, person_id, moved.get(saved.merged_into or 0, saved.merged_into))
        for saved, person_id in placing.new
    ]
    while waiting:
        # Whom others were merged into has to be there before them.
        ready = [one for one in waiting if one[2] is None or one[2] in pks]
        waiting = [one for one in waiting if one[2] is not None and one[2] not in pks]
        made = Person.objects.bulk_create(
            (
                Person(
                    space=space,
                    person_id=person_id,
                    label=saved.label,
                    hidden=saved.hidden,
                    notes=saved.notes,
                    merged_into_id=pks[into] if into is not None else None,
                    created_by=user,
                )
                for saved, person_id, into in ready
            ),
            batch_size=1000,
        )
        pks.update((person.person_id, person.pk) for person in made)
    Space.objects.filter(pk=space.pk).update(next_person_id=placing.next_id)
