"""The statements that find a client's key and space, and take images from the key's day.

Why they are written out: persons/proxy/README.md.
"""

from __future__ import annotations

from datetime import date

from django.db import InterfaceError, OperationalError

from persons.db.tables import Table, database, rows
from persons.models import ApiKey, KeyDay, Space, Team

KEYS, TEAMS, SPACES, DAYS = Table(ApiKey), Table(Team), Table(Space), Table(KeyDay)

KEY = (
    f"SELECT {KEYS.columns('k')}, {TEAMS.columns('t')} FROM {KEYS.name} k "
    f"JOIN {TEAMS.name} t ON t.id = k.team_id WHERE k.key_hash = %s"
)
SPACE = f"SELECT {SPACES.columns('s')} FROM {SPACES.name} s WHERE s.team_id = %s AND s.number = %s"
SPEND = (
    f"INSERT INTO {DAYS.name} AS old (key_id, day, images) VALUES (%s, %s, %s) "
    "ON CONFLICT (key_id, day) DO UPDATE SET images = old.images + excluded.images "
    "WHERE old.images + excluded.images <= %s RETURNING images"
)


def key_by_hash(key_hash: str) -> ApiKey | None:
    """With its team. What a call asks first: if the connection has died since the last call, this
    is where that is found, instead of by a question of its own before each call."""
    db = database()
    db.health_check_done = True  # type: ignore[attr-defined]
    try:
        found = rows((KEY, [key_hash]))
    except (InterfaceError, OperationalError):
        if db.in_atomic_block:
            raise
        db.close()
        found = rows((KEY, [key_hash]))
    for row in found:
        key = KEYS.load(row[: KEYS.width])
        key.team = TEAMS.load(row[KEYS.width :])
        return key
    return None


def space_of(team: Team, number: int) -> Space:
    (row,) = rows((SPACE, [team.pk, number]))
    space = SPACES.load(row)
    space.team = team
    return space


def spend(key: ApiKey, day: date, images: int, most: int) -> bool:
    """Raise the key's day by `images` where it then is at most `most`; exactly, at any instant."""
    if images > most:
        return False
    stored_day = database().ops.adapt_datefield_value(day)
    return bool(rows((SPEND, [key.pk, stored_day, images, most])))
