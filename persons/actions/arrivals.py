"""Files that a sender knows again, so that what has arrived is not sent a second time.

A browser can't keep the files of an upload when its tab closes. When they are chosen again it asks
which of them are there, by what it knows of a file without reading it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta

from django.utils import timezone

from persons.models import Arrival, Gallery, User


@dataclass(frozen=True, slots=True)
class SentFile:
    """`path` is the file's name, below the folder that was chosen where one was; `size` is in
    bytes, `modified` in milliseconds since 1970."""

    path: str
    size: int
    modified: int

    def key(self, sender: User) -> str:
        """Nobody else's, and no other file's: 64 hexadecimal digits."""
        told = json.dumps([sender.pk, self.path, self.size, self.modified])
        return hashlib.sha256(told.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Arrived:
    photo: int
    is_trashed: bool


def arrived_already(gallery: Gallery, keys: Collection[str]) -> dict[str, Arrived]:
    """Those of these files whose photos are in this gallery now, or in its trash.

    What left the trash is not told of: sent again, it is a new photo.
    """
    kept_since = timezone.now() - timedelta(days=gallery.team.trash_days)
    found = Arrival.objects.filter(key__in=set(keys), photo__gallery=gallery).order_by("pk")
    arrived: dict[str, Arrived] = {}
    for key, photo, trashed_at in found.values_list("key", "photo", "photo__trashed_at"):
        if trashed_at is None:
            arrived[key] = Arrived(photo, is_trashed=False)
        elif trashed_at > kept_since:
            arrived.setdefault(key, Arrived(photo, is_trashed=True))
    return arrived
