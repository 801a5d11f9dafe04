"""What a line of the table is, and the team whose pages are asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from random import Random
from typing import Any
from urllib.parse import urlencode

from django.db.models import QuerySet
from django.urls import reverse
from drafts import BIG_TEAM

from persons.models import AuditEntry, Call, Face, Gallery, Person, Photo, Space

PAGE_MS = 150.0
ACTION_MS = 100.0
GALLERY_BYTES = 300_000


@dataclass(frozen=True, slots=True)
class Ask:
    """One request. `data` is a form's, None for a GET; `part` is the element that htmx replaces,
    None for a whole page."""

    path: str
    data: dict[str, Any] | None = None
    part: str | None = None


@dataclass(frozen=True, slots=True)
class Probe:
    """A line of the table: targets of one kind, drawn only when it is measured.

    `limit` is in milliseconds, `most_bytes` of an answer; None is no limit. `fresh` measures what
    is kept for a while as it is when it was not kept.
    """

    name: str
    asks: Callable[[], Iterable[Ask]]
    limit: float | None = PAGE_MS
    most_bytes: int | None = None
    fresh: bool = False


@dataclass
class World:
    """The big team as somebody in it sees it. The same seed draws the same targets."""

    seed: int
    count: int
    who: str
    random: Random = field(init=False)

    def __post_init__(self) -> None:
        self.random = Random(self.seed)
        self.spaces = list(
            Space.objects.filter(team__slug=BIG_TEAM, galleries__isnull=False).distinct()
        )
        self.space = self.spaces[0]

    def url(self, name: str, *args: object, **query: object) -> str:
        address = reverse(name, args=[BIG_TEAM, *args])
        return f"{address}?{urlencode(query, doseq=True)}" if query else address

    def some(self, rows: QuerySet[Any]) -> list[Any]:
        """Rows from all over the table, in no order: those after keys drawn by chance."""
        ordered = rows.order_by("pk")
        first, last = (
            ends.values_list("pk", flat=True).first() for ends in (ordered, ordered.reverse())
        )
        if first is None or last is None:
            return []
        keys = [self.random.randint(first, last) for _ in range(self.count * 2)]
        found = {row.pk: row for key in keys if (row := ordered.filter(pk__gte=key).first())}
        return list(found.values())[: self.count]

    def galleries(self) -> QuerySet[Gallery]:
        return Gallery.objects.filter(team__slug=BIG_TEAM)

    def photos(self) -> QuerySet[Photo]:
        return Photo.objects.filter(gallery__team__slug=BIG_TEAM)

    def archive(self) -> QuerySet[Photo]:
        """The photos of the big gallery."""
        return Photo.objects.filter(gallery=1)

    def faces(self, **kind: object) -> QuerySet[Face]:
        faces = Face.objects.filter(space=self.space, missing=False, **kind)
        return faces.select_related("photo", "person")

    def people(self) -> QuerySet[Person]:
        listed = Person.objects.filter(space=self.space, merged_into=None, hidden=False)
        return listed.exclude(label="")

    def calls(self) -> QuerySet[Call]:
        return Call.objects.filter(team__slug=BIG_TEAM)

    def entries(self) -> QuerySet[AuditEntry]:
        return AuditEntry.objects.filter(team__slug=BIG_TEAM)

    def labels(self) -> list[str]:
        return [person.label for person in self.some(self.people())]

    def words(self) -> list[str]:
        """What somebody types on the way to a name; and what leads to none."""
        return ["zzz", *(one[: self.random.randint(1, len(one))] for one in self.labels())]
