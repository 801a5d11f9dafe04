"""Likely duplicates: pairs of people reported by Vision's aliases, and pairs ruled out."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from django.db.models import Q

from persons.models import Change, Likeness, Person, Space
from persons.models.changes import ChangeKind
from persons.vision.envelope import person_id_of
from persons.vision.types import ImageResult


def never_these_two(one_pk: int, other_pk: int) -> Likeness | None:
    """A user's decision that these two canonical people are never the same, or that two who were
    merged into them are not."""
    both = Person.objects.filter(canonical__in=[one_pk, other_pk])
    rows = list(both.values_list("pk", "canonical"))
    some = [pk for pk, canonical in rows if canonical == one_pk]
    others = [pk for pk, canonical in rows if canonical == other_pk]
    pairs = Q(one__in=some, other__in=others) | Q(one__in=others, other__in=some)
    kept_apart = Likeness.objects.filter(pairs, decision=Likeness.Decision.DIFFERENT)
    return kept_apart.select_related("one", "other", "decided_by").first()


def kept_apart(space: Space) -> set[tuple[int, int]]:
    """Pairs of canonical people, the lower pk first, that are never suggested as duplicates.

    They were marked as never the same, or one was split off from the other.
    """
    apart = Likeness.objects.filter(space=space, decision=Likeness.Decision.DIFFERENT)
    splits = Change.objects.filter(space=space, kind=ChangeKind.SPLIT, undone_at=None)
    splits = splits.filter(person__isnull=False, other__isnull=False)
    pairs = [
        *apart.values_list("one__canonical", "other__canonical"),
        *splits.values_list("person__canonical", "other__canonical"),
    ]
    return {in_order(one, other) for one, other in pairs}


def in_order(one: int, other: int) -> tuple[int, int]:
    return (one, other) if one < other else (other, one)


def note_aliases(space: Space, results: Iterable[ImageResult]) -> int:
    """Insert open rows for the pairs that an answer reports as alike; returns how many are new.

    Runs in the caller's transaction. Each pair occurs once. Merged pairs and pairs that a human
    ruled out are skipped.
    """
    alike: dict[tuple[int, int], float] = {}
    for result in results:
        for person in result.persons:
            for tag in person.aliases if person.person_id is not None else ():
                other = person_id_of(tag)
                if other is not None and other != person.person_id:
                    alike[in_order(person.person_id or 0, other)] = 0.0
    return suggest(space, alike) if alike else 0


def suggest(space: Space, alike: Mapping[tuple[int, int], float]) -> int:
    """Insert open rows for pairs of `person_id`s with their similarity, 0 if unknown."""
    ids = {person_id for pair in alike for person_id in pair}
    known = Person.objects.filter(space=space, person_id__in=ids)
    people = dict(known.values_list("person_id", "canonical"))
    pairs: dict[tuple[int, int], float] = {}
    for (one_id, other_id), similarity in alike.items():
        if one_id not in people or other_id not in people:
            continue
        one, other = people[one_id], people[other_id]
        if one != other:
            pair = in_order(one, other)
            pairs[pair] = max(similarity, pairs.get(pair, 0.0))
    new = pairs.keys() - _known(pairs)
    if new:
        new -= kept_apart(space)
    Likeness.objects.bulk_create(
        [
            Likeness(space=space, one_id=one, other_id=other, similarity=pairs[one, other])
            for one, other in sorted(new)
        ],
        ignore_conflicts=True,
    )
    return len(new)


def _known(pairs: Collection[tuple[int, int]]) -> set[tuple[int, int]]:
    rows = Likeness.objects.filter(
        one__in={one for one, _ in pairs}, other__in={other for _, other in pairs}
    )
    return set(rows.values_list("one", "other"))
