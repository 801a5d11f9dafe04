"""People as cards: who, with which face, on about how many photos. At any size in four queries."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from django.core.cache import cache
from django.db.models import Count

from persons.models import Face, Person

MANY = 1000
"""From here on a number of photos is the one that was counted last."""

KEPT_SECONDS = 120


def cards_of(pks: Sequence[int], hidden: Collection[int] = ()) -> list[Person]:
    """These people in this order, with `cover_id_or_best`, `photo_count` and `is_about`.

    `hidden` galleries give neither covers nor counts: `photo_count` is None where it would take
    too long. Who has gone meanwhile is left out.
    """
    rows: Any = Person.objects.filter(pk__in=pks).select_related("space").with_cover(hidden)
    people = {person.pk: person for person in rows}
    few = [pk for pk, person in people.items() if person.face_count <= MANY]
    faces = Face.objects.filter(person__in=few).outside(hidden).order_by()
    counts = dict(faces.values_list("person").annotate(n=Count("photo", distinct=True)))
    for pk, person in people.items():
        person.is_about = person.face_count > MANY
        person.photo_count = counts.get(pk, 0)
        if person.is_about:
            # How many are on photos that are closed to whoever asks is told to nobody.
            person.photo_count = None if hidden else person.face_count
    return [people[pk] for pk in pks if pk in people]


def counted(key: str, count: Callable[[], int]) -> int:
    """A large number may be two minutes old; a small one is counted each time."""
    kept: int | None = cache.get(f"count:{key}")
    if kept is not None:
        return kept
    found = count()
    if found > MANY:
        cache.set(f"count:{key}", found, KEPT_SECONDS)
    return found
