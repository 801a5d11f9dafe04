"""The statement that looks up which people of an answer the ledger has.

Why it is written out: persons/proxy/README.md.
"""

from __future__ import annotations

from collections.abc import Collection

from persons.db.tables import Table, places, rows
from persons.models import Person, Space

PEOPLE = Table(Person)


def known_people(space: Space, person_ids: Collection[int]) -> set[int]:
    """Those of these ids that the ledger has."""
    if not person_ids:
        return set()
    sql = (
        f"SELECT person_id FROM {PEOPLE.name} WHERE space_id = %s "
        f"AND person_id IN ({places(person_ids)})"
    )
    return {person_id for (person_id,) in rows((sql, [space.pk, *person_ids]))}
