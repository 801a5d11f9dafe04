"""Merged people: `Person.merged_into` and `Person.canonical`.

Inserts set both columns (`PersonQuerySet`, `Person.save`). After that, only `set_merged_into`
changes them.

`merged_into` is the person that a human merged this one into. `canonical` is the end of that chain:
the person whom the faces, consents and holds count for. An unmerged person is their own canonical
person. All rows of one human have the same `canonical`, which is one of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from django.db import models
from django.db.models import Case, F, Value, When

from persons.db.locking import in_turn
from persons.models.people import Person


@dataclass(frozen=True, slots=True)
class Family:
    """All people who are one human. `pointers` maps each pk to the pk they were merged into."""

    pointers: Mapping[int, int | None]

    @classmethod
    def of(cls, person_pk: int) -> Family:
        """Load the family in one query. It is empty if the person no longer exists."""
        same = Person.objects.filter(canonical__family=person_pk)
        return cls(dict(same.values_list("pk", "merged_into")))

    @property
    def canonical(self) -> int:
        return next(pk for pk, into in self.pointers.items() if into is None)

    def subtree(self, person_pk: int) -> set[int]:
        """The person and everybody merged into them, directly or indirectly."""
        merged: dict[int | None, list[int]] = defaultdict(list)
        for pk, into in self.pointers.items():
            merged[into].append(pk)
        found, newest = {person_pk}, [person_pk]
        while newest:
            newest = [pk for into in newest for pk in merged[into] if pk not in found]
            found.update(newest)
        return found


def set_merged_into(
    person: Person, into: Person | None, *, subtree: Collection[int] | None = None
) -> None:
    """Set `merged_into` of `person`, or clear it, and update `canonical` of their whole subtree.

    The caller's transaction must have locked the space, so that nobody else in it is merged or
    split meanwhile, and must have read `into` after that. A caller that also locks other people
    must lock the subtree together with them and pass it as `subtree`.
    """
    if subtree is None:
        subtree = Family.of(person.pk).subtree(person.pk)
    target = person.pk if into is None else into.canonical_id
    pointer = Value(None if into is None else into.pk)
    in_turn(Person.objects.filter(pk__in=subtree)).update(
        canonical=target,
        merged_into=Case(
            When(pk=person.pk, then=pointer),
            default=F("merged_into"),
            output_field=models.BigIntegerField(),
        ),
    )
    person.merged_into_id = None if into is None else into.pk
    person.canonical_id = target
