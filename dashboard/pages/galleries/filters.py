"""A gallery's filters and sort order: parsed from the query string, and written back to one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from typing import Any
from urllib.parse import urlencode

from django.db.models import Exists, OuterRef, QuerySet, Subquery
from django.http import QueryDict
from django.template.defaultfilters import date as formatted
from django.utils import timezone

from persons.inputs.params import Parameters
from persons.models import Face, Gallery, Person, Photo, PhotoState, User
from persons.models.faces import FaceQuerySet

TAKEN, UPLOADED = "taken", "uploaded"
SORTS = {TAKEN: "Taken", UPLOADED: "Uploaded"}
SHOWN = {
    "": "All",
    "unknown": "Unknown faces",
    "failed": "Failed",
    "none": "No faces",
}
MOST_PEOPLE = 8
"""People that one query may filter by together."""
MOST_FACES = 10_000_000


@dataclass(frozen=True, slots=True)
class GridQuery:
    """The filters and sort order of a gallery's page.

    `people` are person ids in the gallery's space; a photo must show all of them. `since` and
    `until` bound the day on which a photo was taken, both days included.
    """

    show: str = ""
    people: tuple[int, ...] = ()
    by: int | None = None
    since: date | None = None
    until: date | None = None
    sort: str = TAKEN

    @classmethod
    def parse(cls, data: QueryDict) -> GridQuery:
        """Raises NotUnderstood."""
        given = Parameters(data)
        since, until = given.day("from"), given.day("to")
        if since and until and since > until:
            since, until = until, since
        query = cls(
            show=given.choice("show", SHOWN),
            people=tuple(given.numbers("person", most=MOST_PEOPLE)),
            by=given.number("by"),
            since=since,
            until=until,
            sort=given.choice("sort", SORTS, TAKEN),
        )
        given.demand()
        return query

    @property
    def parameters(self) -> list[tuple[str, str]]:
        """The query string's parameters, always in the same order, without default values."""
        pairs = [
            ("show", self.show),
            *(("person", str(person_id)) for person_id in self.people),
            ("by", "" if self.by is None else str(self.by)),
            ("from", self.since.isoformat() if self.since else ""),
            ("to", self.until.isoformat() if self.until else ""),
            ("sort", "" if self.sort == TAKEN else self.sort),
        ]
        return [(name, value) for name, value in pairs if value]

    @property
    def string(self) -> str:
        """The query string, such as "?show=unknown"; "" where everything is at its default."""
        return f"?{urlencode(self.parameters)}" if self.parameters else ""

    def with_more(self, **more: str) -> str:
        return f"?{urlencode([*self.parameters, *more.items()])}"

    @property
    def is_filtered(self) -> bool:
        return replace(self, sort=TAKEN) != GridQuery()

    @property
    def is_narrowed(self) -> bool:
        """Whether a filter besides the tab is on, so that the tabs' counts don't apply."""
        return replace(self, show="", sort=TAKEN) != GridQuery()

    @property
    def order(self) -> tuple[str, ...]:
        return ("-pk",) if self.sort == UPLOADED else ("-shown_at", "-pk")

    @property
    def moment(self) -> str:
        """The field whose date the headings show."""
        return "uploaded_at" if self.sort == UPLOADED else "shown_at"


def matching(gallery: Gallery, query: GridQuery) -> QuerySet[Photo]:
    """The gallery's photos that match `query`, except for its people: see `with_people`."""
    # A face knows whether its photo is in the trash, so a query by people needs no photo row for
    # that: an index alone answers it.
    photos: QuerySet[Photo] = Photo.everything if query.people else Photo.objects  # type: ignore[assignment]
    photos = photos.filter(gallery=gallery)
    if query.show == "unknown":
        photos = photos.filter(unknown_count__gt=0)
    elif query.show == "failed":
        photos = photos.filter(state=PhotoState.FAILED)
    elif query.show == "none":
        photos = photos.filter(state=PhotoState.DONE, face_count=0)
    if query.by is not None:
        photos = photos.filter(uploaded_by=query.by)
    if query.since:
        photos = photos.filter(shown_at__gte=start_of(query.since))
    if query.until:
        photos = photos.filter(shown_at__lt=start_of(query.until + timedelta(days=1)))
    return photos


def asked_people(gallery: Gallery, query: GridQuery) -> list[Person | None]:
    """The canonical person for each of the query's person ids; None for an unknown id."""
    if not query.people:
        return []
    found = Person.objects.filter(space=gallery.space_id, person_id__in=query.people, erasing=False)
    by_id = {person.person_id: person.canonical for person in found.select_related("canonical")}
    return [by_id.get(one) for one in query.people]


def with_people(
    photos: QuerySet[Photo], gallery: Gallery, people: Sequence[Person | None]
) -> QuerySet[Photo]:
    """The photos that show all of these people. Checks photo by photo: for a small set."""
    for person in people:
        photos = photos.filter(Exists(faces_of(person, gallery).filter(photo=OuterRef("pk"))))
    return photos


def among_theirs(
    photos: QuerySet[Photo], gallery: Gallery, people: Sequence[Person | None]
) -> QuerySet[Photo]:
    """The photos that show all of these people. Looks up their faces once: for a large set.

    The limit, which nobody reaches, keeps PostgreSQL from checking photo by photo anyway: it
    expects the next match soon, though a hundred thousand photos may hold none.
    """
    for person in people:
        theirs = faces_of(person, gallery).values("photo")[:MOST_FACES]
        photos = photos.filter(pk__in=Subquery(theirs))
    return photos


def faces_of(person: Person | None, gallery: Gallery) -> FaceQuerySet:
    if person is None:
        return Face.objects.none()
    return Face.objects.filter(gallery=gallery, person=person, missing=False).order_by()


# --- Words and links for the page ---


@dataclass(frozen=True, slots=True)
class Chip:
    """An active filter. `without` is the page's address without it."""

    text: str
    without: str
    face: int | None = None


def chips_of(
    query: GridQuery, people: Sequence[Person | None], uploader: User | None
) -> list[Chip]:
    chips = []
    for person_id, person in zip(query.people, people, strict=True):
        rest = tuple(one for one in query.people if one != person_id)
        name = person.name if person else f"nobody (person{person_id})"
        chips.append(Chip(f"With {name}", _address(query, people=rest)))
    if query.by is not None:
        name = str(uploader) if uploader else "somebody who is gone"
        chips.append(Chip(f"Uploaded by {name}", _address(query, by=None)))
    if query.since:
        chips.append(Chip(f"From {formatted(query.since, 'j M Y')}", _address(query, since=None)))
    if query.until:
        chips.append(Chip(f"To {formatted(query.until, 'j M Y')}", _address(query, until=None)))
    return chips


def _address(query: GridQuery, **changes: Any) -> str:
    return replace(query, **changes).string or "?"


def tabs_of(query: GridQuery, counts: Mapping[str, int]) -> list[Tab]:
    """The tabs. `counts` describe the whole gallery, so they are dropped under other filters."""
    if query.is_narrowed:
        counts = {}
    return [
        Tab(key, label, replace(query, show=key).string or "?", counts.get(key))
        for key, label in SHOWN.items()
    ]


@dataclass(frozen=True, slots=True)
class Tab:
    """A tab of the grid. `count` is None where it isn't known."""

    key: str
    label: str
    address: str
    count: int | None


def empty_words(query: GridQuery) -> str:
    """The empty state's text for this query."""
    if replace(query, show="", people=(), sort=TAKEN) != GridQuery() or (
        query.show and query.people
    ):
        return "No photo fits all of these filters"
    if query.people:
        together = len(query.people) > 1
        return "They are on no photo together" if together else "No photo here shows this person"
    return {
        "unknown": "Every face here has a name",
        "failed": "Nothing failed",
        "none": "Every photo has a face",
    }.get(query.show, "No photos yet")


def start_of(day: date) -> datetime:
    return timezone.make_aware(datetime.combine(day, time.min))
