"""People as cards: name, cover face and number of photos, in a fixed number of queries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from django.core.cache import cache
from django.db.models import Count

from persons.access import Visible
from persons.models import Person

MANY = 1000
"""People with more faces than this show `face_count` instead of an exact count of photos."""

KEPT_SECONDS = 120


def cards_of(pks: Sequence[int], visible: Visible) -> list[Person]:
    """These people in this order, with `cover_id_or_best`, `photo_count` and `is_about`.

    Covers and counts come only from what is `visible` to the reader. With `is_about` the count is
    approximate, and `photo_count` is None if the reader may not see everything. People who no
    longer exist are left out.
    """
    rows: Any = visible.with_covers(Person.objects.filter(pk__in=pks).select_related("space"))
    people = {person.pk: person for person in rows}
    few = [pk for pk, person in people.items() if person.face_count <= MANY]
    faces = visible.faces_of(few).order_by()
    counts = dict(faces.values_list("person").annotate(n=Count("photo", distinct=True)))
    for pk, person in people.items():
        person.is_about = person.face_count > MANY
        person.photo_count = counts.get(pk, 0)
        if person.is_about:
            # `face_count` includes photos that are closed to the reader, so it must not show.
            person.photo_count = person.face_count if visible.is_everything else None
    return [people[pk] for pk in pks if pk in people]


def counted(key: str, count: Callable[[], int]) -> int:
    """The count under `key`: cached for KEPT_SECONDS above MANY, else counted each time."""
    kept: int | None = cache.get(f"count:{key}")
    if kept is not None:
        return kept
    found = count()
    if found > MANY:
        cache.set(f"count:{key}", found, KEPT_SECONDS)
    return found
