"""Recognises files that a sender has uploaded before, so that they are not sent twice.

A browser loses the files of an upload when its tab closes. When a user chooses them again, the page
asks which of them have arrived. It identifies a file by path, size and time, without reading it.
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
    """A file as a browser describes it without reading it.

    `path` is its name, below the chosen folder if there is one; `size` is in bytes, `modified` in
    milliseconds since 1970.
    """

    path: str
    size: int
    modified: int

    def key(self, sender: User) -> str:
        """64 hexadecimal digits, unique to this sender and file."""
        text = json.dumps([sender.pk, self.path, self.size, self.modified])
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Arrived:
    photo: int
    is_trashed: bool


def arrived_already(gallery: Gallery, keys: Collection[str]) -> dict[str, Arrived]:
    """By key, those of these files whose photos are in this gallery or in its trash.

    Photos that are due for deletion are left out: sent again, the file becomes a new photo.
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
