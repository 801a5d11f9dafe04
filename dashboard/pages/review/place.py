"""A place in a review queue, parsed from the review's address and written back to it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from urllib.parse import urlencode

from django.http import QueryDict

from persons.faces.review_queue import QueueKey
from persons.inputs.params import Parameters, whole
from persons.models import Review

ALIKE = "alike"
"""Pairs of people who may be the same: not a kind of face, but queued before the faces."""

KINDS = {
    Review.UNKNOWN.value: "Unknown",
    Review.WEAK.value: "Unsure",
    Review.DOUBLE.value: "Twice on a photo",
    ALIKE: "Same person?",
}


@dataclass(frozen=True, slots=True)
class QueuePlace:
    """A queue, and a place in it.

    `kind` is one of KINDS, `gallery` a slug, `space` a number; "" means all. Items up to `at` are
    decided or skipped: "p12" is a pair of people, "0.345" a face's `QueueKey`, "" the beginning.
    """

    kind: str = ""
    gallery: str = ""
    space: str = ""
    unsure_first: bool = False
    at: str = ""

    @classmethod
    def of(cls, asked: QueryDict) -> QueuePlace:
        """Raises NotUnderstood."""
        given = Parameters(asked)
        space = given.number("space", most=9)
        place = cls(
            kind=given.choice("kind", KINDS),
            gallery=given.raw("gallery")[:80],
            space="" if space is None else str(space),
            unsure_first=given.choice("order", ("new", "unsure")) == "unsure",
        )
        found = place.past(at := asked.get("at", ""))
        if at and not found.at:
            given.refuse("at", "This is no place in the review.")
        given.demand()
        return found

    def past(self, at: str) -> QueuePlace:
        """This queue after item `at`; from its beginning if `at` is no valid key."""
        pair = at[1:] if at.startswith("p") else ""
        usable = QueueKey.of(at) is not None or whole(pair) is not None
        return replace(self, at=at if usable else "")

    @property
    def kinds(self) -> tuple[Review, ...]:
        """The kinds of faces in this queue."""
        return tuple(kind for kind in Review.queue() if self.kind in ("", kind))

    @property
    def has_pairs(self) -> bool:
        return self.kind in ("", ALIKE) and not self.gallery

    @property
    def pair(self) -> int | None:
        return int(self.at[1:]) if self.at.startswith("p") else None

    @property
    def key(self) -> QueueKey | None:
        return None if self.at.startswith("p") else QueueKey.of(self.at)

    @property
    def is_narrow(self) -> bool:
        return bool(self.kind or self.gallery or self.space)

    def query(self, **change: str) -> str:
        """The query string. Never empty: without one the review resumes at the last place."""
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
        """The query string of this queue's beginning."""
        return self.query(at="")
