"""Pairs of people who may be one, as Vision's aliases say, and pairs who never are."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from django.db.models import Q

from persons.models import Change, Likeness, Person, Space
from persons.models.changes import ChangeKind
from persons.settling import roots_of, subtree_of
from persons.vision.envelope import person_id_of
from persons.vision.types import ImageResult


def never_these_two(one_pk: int, other_pk: int) -> Likeness | None:
    """A human's word that keeps these two apart, or two of those who were merged into them."""
    some, others = subtree_of(one_pk), subtree_of(other_pk)
    pairs = Q(one__in=some, other__in=others) | Q(one__in=others, other__in=some)
    kept_apart = Likeness.objects.filter(pairs, decision=Likeness.Decision.DIFFERENT)
    return kept_apart.select_related("one", "other", "decided_by").first()


def kept_apart(space: Space) -> set[tuple[int, int]]:
    """All pairs of the space that are never suggested: by pk, the lower first, and as the people
    for whom they stand now. Never these two, and who was split off whom."""
    apart = Likeness.objects.filter(space=space, decision=Likeness.Decision.DIFFERENT)
    splits = Change.objects.filter(space=space, kind=ChangeKind.SPLIT, undone_at=None)
    splits = splits.filter(person__isnull=False, other__isnull=False)
    pairs = [*apart.values_list("one", "other"), *splits.values_list("person", "other")]
    roots = roots_of(pk for pair in pairs for pk in pair)
    return {in_order(roots[one], roots[other]) for one, other in pairs}


def in_order(one: int, other: int) -> tuple[int, int]:
    return (one, other) if one < other else (other, one)


def note_aliases(space: Space, results: Iterable[ImageResult]) -> int:
    """Open rows for the pairs whom an answer says to be alike; how many were new.

    In the caller's transaction. Each pair once; those who are merged, or who a human said are never
    the same, are left out.
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
    """Open rows for pairs of `person_id`s with their similarity, 0 where nobody knows it."""
    ids = {person_id for pair in alike for person_id in pair}
    known = Person.objects.filter(space=space, person_id__in=ids)
    people = dict(known.values_list("person_id", "pk"))
    roots = roots_of(people.values())
    pairs: dict[tuple[int, int], float] = {}
    for (one_id, other_id), similarity in alike.items():
        if one_id not in people or other_id not in people:
            continue
        one, other = roots[people[one_id]], roots[people[other_id]]
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
