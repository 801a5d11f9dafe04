"""Where in which queue somebody is: what the address of the review says."""

from __future__ import annotations

from dataclasses import dataclass, replace
from urllib.parse import urlencode

from django.http import QueryDict

from persons.models import Review
from persons.reviewing import Key

ALIKE = "alike"
"""People who may be one: not a kind of face, but they wait in the same queue, before the faces."""

KINDS = {
    Review.UNKNOWN.value: "Unknown",
    Review.WEAK.value: "Unsure",
    Review.DOUBLE.value: "Twice on a photo",
    ALIKE: "Same person?",
}


@dataclass(frozen=True, slots=True)
class Place:
    """`kind` is one of KINDS, or "" for all; `gallery` is a slug, `space` a number, "" for all.

    All that comes up to `at` was decided or skipped: "p12" is a pair of people, "0.345" a face's
    `reviewing.Key`, "" the beginning.
    """

    kind: str = ""
    gallery: str = ""
    space: str = ""
    unsure_first: bool = False
    at: str = ""

    @classmethod
    def of(cls, asked: QueryDict) -> Place:
        kind, space = asked.get("kind", ""), asked.get("space", "")
        place = cls(
            kind=kind if kind in KINDS else "",
            gallery=asked.get("gallery", "").replace("\0", "")[:80],
            space=space if space.isascii() and space.isdigit() and len(space) == 1 else "",
            unsure_first=asked.get("order") == "unsure",
        )
        return place.past(asked.get("at", ""))

    def past(self, at: str) -> Place:
        """Behind that item."""
        pair = at[1:] if at.startswith("p") else ""
        usable = Key.of(at) is not None or (
            pair.isascii() and pair.isdigit() and 0 < len(pair) < 19
        )
        return replace(self, at=at if usable else "")

    @property
    def kinds(self) -> tuple[Review, ...]:
        """Of faces."""
        return tuple(kind for kind in Review.queue() if self.kind in ("", kind))

    @property
    def has_pairs(self) -> bool:
        return self.kind in ("", ALIKE) and not self.gallery

    @property
    def pair(self) -> int | None:
        return int(self.at[1:]) if self.at.startswith("p") else None

    @property
    def key(self) -> Key | None:
        return None if self.at.startswith("p") else Key.of(self.at)

    @property
    def is_narrow(self) -> bool:
        return bool(self.kind or self.gallery or self.space)

    def query(self, **change: str) -> str:
        """Never empty: an address without a query goes on where one was last."""
        values = {
            "kind": self.kind,
            "gallery": self.gallery,
            "space": self.space,
            "order": "unsure" if self.unsure_first else "new",
            "at": self.at,
        } | change
        return urlencode({key: value for key, value in values.items() if value})

    @property
    def beginning(self) -> str:
        """The query of this queue's own beginning."""
        return self.query(at="")
