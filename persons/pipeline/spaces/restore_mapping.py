"""Maps a snapshot's people to people of the space that it is restored into.

In the space that the snapshot was taken from, an id always means the same person, whatever their
name is now. In any other space the name decides: its owner gets the pictures, under their own id.
An id that belongs to somebody else is replaced by a new one. Existing people are not changed.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from persons import audit
from persons.audit import Actor
from persons.inputs.texts import folded
from persons.models import AuditEntry, Person, Space
from persons.models.spaces import FAR_OUT
from persons.pipeline.spaces.manifests import Manifest, SavedPerson
from persons.pipeline.spaces.snapshots import key_of
from persons.privacy.erased import ids_erased_in, pictures_erased_of

Kind = Literal["renamed", "name", "id"]


@dataclass(frozen=True, slots=True)
class MappingConflict:
    """A person of the snapshot (`id`, `label`) who has or will have another id or name in the
    space.

    "renamed": the same person has another name by now. "name": the name's owner has another id.
    "id": somebody else has the id, so the person gets a new one.
    """

    kind: Kind
    id: int
    label: str
    now_id: int
    now_label: str


@dataclass(frozen=True, slots=True)
class RestoreMapping:
    """`new` people will be created, each with their id in the space; `known` exist already.

    `next_id` is higher than all ids in use. `erased` people are left out.
    """

    new: Sequence[tuple[SavedPerson, int]]
    known: int
    conflicts: Sequence[MappingConflict]
    next_id: int
    erased: frozenset[int] = frozenset()

    @property
    def moved(self) -> dict[int, int]:
        """By snapshot id, ids that differ in the space."""
        return {one.id: one.now_id for one in self.conflicts if one.id != one.now_id}


def place(manifest: Manifest, space: Space) -> RestoreMapping:
    """Work out the mapping; changes nothing. A caller that acts on it has locked the space."""
    rows = Person.objects.filter(space=space).values_list("person_id", "label", "merged_into")
    labels = {person_id: label for person_id, label, _ in rows}
    by_label = {folded(label): person_id for person_id, label, into in rows if label and not into}
    is_origin = manifest.key == key_of(space)
    ids = [*labels, *(person.id for person in manifest.people)]
    gone = erased_from(manifest, space, labels)
    next_id = max(space.next_person_id, *(1 + one for one in ids if one < FAR_OUT), 1)
    new: list[tuple[SavedPerson, int]] = []
    conflicts: list[MappingConflict] = []
    for person in sorted(manifest.people, key=lambda person: person.id):
        if person.id in gone:
            continue
        if person.merged_into in gone:
            person = replace(person, merged_into=None)
        here = labels.get(person.id)
        namesake = None if person.merged_into else by_label.get(folded(person.label))
        if here is not None and (is_origin or (here and folded(here) == folded(person.label))):
            if person.label and here != person.label:
                conflicts.append(
                    MappingConflict("renamed", person.id, person.label, person.id, here)
                )
        elif namesake is not None:
            conflicts.append(
                MappingConflict("name", person.id, person.label, namesake, labels[namesake])
            )
        elif here is None:
            new.append((person, person.id))
        else:
            conflicts.append(MappingConflict("id", person.id, person.label, next_id, person.label))
            new.append((person, next_id))
            next_id += 1
    known = len(manifest.people) - len(new) - len(gone)
    return RestoreMapping(new, known, conflicts, next_id, frozenset(gone))


def erased_from(manifest: Manifest, space: Space, there: Collection[int]) -> set[int]:
    """Ids in the snapshot of people who were erased since: no snapshot restores them.

    In their own space they are found by number, unless somebody else has that number now; elsewhere
    by having no pictures but erased ones.
    """
    digests = pictures_erased_of(space.team_id, manifest.digests)
    if manifest.key == key_of(space):
        ids = ids_erased_in(space, [person.id for person in manifest.people])
        return ids - set(there)
    by_person: dict[int, set[str]] = {}
    for picture in manifest.pictures:
        by_person.setdefault(picture.person, set()).add(picture.sha256)
    return {person for person, theirs in by_person.items() if theirs <= digests}


def make_people(placing: RestoreMapping, space: Space, actor: Actor) -> None:
    """Create the new people, in the caller's transaction, which has locked the space.

    Each person with a name gets an audit entry.
    """
    pks = dict(Person.objects.filter(space=space).values_list("person_id", "pk"))
    moved = placing.moved
    waiting = [
        (saved, person_id, moved.get(saved.merged_into or 0, saved.merged_into))
        for saved, person_id in placing.new
    ]
    while waiting:
        # People whom others were merged into are created first.
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
                    created_by=actor.user,
                )
                for saved, person_id, into in ready
            ),
            batch_size=1000,
        )
        named = (_entry(person, space, actor) for person in made if person.label)
        AuditEntry.objects.bulk_create(named, batch_size=1000)
        pks.update((person.person_id, person.pk) for person in made)
    Space.objects.filter(pk=space.pk).update(next_person_id=placing.next_id)


def _entry(person: Person, space: Space, actor: Actor) -> AuditEntry:
    return audit.new_entry(
        actor=actor,
        team=space.team,
        action="person.create",
        target=person,
        after={"space": space.number, "person_id": person.person_id, "label": person.label},
    )
