"""For whom people on a page stand: while a merge is under way, faces are under the old name."""

from __future__ import annotations

from collections.abc import Iterable

from persons.models import Person
from persons.settling import roots_of


def standing_for(people: Iterable[Person | None]) -> dict[int, Person]:
    """By pk, the person or whom they were merged into. Where nobody was, it asks nothing."""
    known = {person.pk: person for person in people if person is not None}
    merged = [pk for pk, person in known.items() if person.merged_into_id is not None]
    if not merged:
        return known
    roots = roots_of(merged)
    found = Person.objects.select_related("space").in_bulk(set(roots.values()))
    return known | {pk: found[root] for pk, root in roots.items() if root in found}
