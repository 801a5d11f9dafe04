"""Which photos of a gallery are shown, and in which order: read from an address, written to one."""

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

from persons.models import Face, Gallery, Person, Photo, PhotoState, User
from persons.models.faces import FaceQuerySet
from persons.settling import roots_of

TAKEN, UPLOADED = "taken", "uploaded"
SORTS = {TAKEN: "Taken", UPLOADED: "Uploaded"}
SHOWN = {
    "": "All",
    "unknown": "Unknown faces",
    "failed": "Failed",
    "none": "No faces",
}
MOST_PEOPLE = 8
"""Who are looked for together."""
MOST_FACES = 10_000_000


@dataclass(frozen=True, slots=True)
class GridQuery:
    """What of a gallery is asked for. `people` are person ids of its space: with all of these.

    `since` and `until` are days, both included, of when a photo was taken.
    """

    show: str = ""
    people: tuple[int, ...] = ()
    by: int | None = None
    since: date | None = None
    until: date | None = None
    sort: str = TAKEN

    @classmethod
    def parse(cls, data: QueryDict) -> GridQuery:
        """Whatever is no value of its parameter is left out, as if it had not been asked for."""
        people = (_number(text) for text in data.getlist("person"))
        show, sort = data.get("show", ""), data.get("sort", "")
        since, until = day_of(data.get("from", "")), day_of(data.get("to", ""))
        if since and until and since > until:
            since, until = until, since
        return cls(
            show=show if show in SHOWN else "",
            people=tuple(dict.fromkeys(one for one in people if one is not None))[:MOST_PEOPLE],
            by=_number(data.get("by", "")),
            since=since,
            until=until,
            sort=sort if sort in SORTS else TAKEN,
        )

    @property
    def parameters(self) -> list[tuple[str, str]]:
        """Of its address, always in the same order; what is as usual is not said."""
        said = [
            ("show", self.show),
            *(("person", str(person_id)) for person_id in self.people),
            ("by", "" if self.by is None else str(self.by)),
            ("from", self.since.isoformat() if self.since else ""),
            ("to", self.until.isoformat() if self.until else ""),
            ("sort", "" if self.sort == TAKEN else self.sort),
        ]
        return [(name, value) for name, value in said if value]

    @property
    def string(self) -> str:
        """ "?show=unknown", or nothing."""
        return f"?{urlencode(self.parameters)}" if self.parameters else ""

    def with_more(self, **more: str) -> str:
        return f"?{urlencode([*self.parameters, *more.items()])}"

    @property
    def is_filtered(self) -> bool:
        return replace(self, sort=TAKEN) != GridQuery()

    @property
    def is_narrowed(self) -> bool:
        """By something else than a tab: then what tabs count of the whole gallery says nothing."""
        return replace(self, show="", sort=TAKEN) != GridQuery()

    @property
    def order(self) -> tuple[str, ...]:
        return ("-pk",) if self.sort == UPLOADED else ("-shown_at", "-pk")

    @property
    def moment(self) -> str:
        """The field that headings tell the date of."""
        return "uploaded_at" if self.sort == UPLOADED else "shown_at"


def matching(gallery: Gallery, query: GridQuery) -> QuerySet[Photo]:
    """The gallery's photos that `query` asks for, but for its people: see `with_people`."""
    # A face says itself whether its photo is in the trash: an index alone then answers.
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
    """Whom the query names, or for whom they stand; None for an id that is nobody's."""
    if not query.people:
        return []
    found = Person.objects.filter(space=gallery.space_id, person_id__in=query.people)
    by_id = {person.person_id: person for person in found}
    roots = roots_of([person.pk for person in by_id.values()])
    others = Person.objects.in_bulk({root for pk, root in roots.items() if root != pk})
    return [
        others.get(roots[person.pk], person) if (person := by_id.get(one)) else None
        for one in query.people
    ]


def with_people(
    photos: QuerySet[Photo], gallery: Gallery, people: Sequence[Person | None]
) -> QuerySet[Photo]:
    """Those of a few photos on which all of these people are: each photo is looked at."""
    for person in people:
        photos = photos.filter(Exists(faces_of(person, gallery).filter(photo=OuterRef("pk"))))
    return photos


def among_theirs(
    photos: QuerySet[Photo], gallery: Gallery, people: Sequence[Person | None]
) -> QuerySet[Photo]:
    """Those of many photos on which all of these people are: their faces are looked up once.

    The limit, which nobody reaches, keeps PostgreSQL from looking at each photo all the same: it
    expects the next match soon, and there may be none in a hundred thousand photos.
    """
    for person in people:
        theirs = faces_of(person, gallery).values("photo")[:MOST_FACES]
        photos = photos.filter(pk__in=Subquery(theirs))
    return photos


def faces_of(person: Person | None, gallery: Gallery) -> FaceQuerySet:
    if person is None:
        return Face.objects.none()
    return Face.objects.filter(gallery=gallery, person=person, missing=False).order_by()


# --- What the page says of it ---


@dataclass(frozen=True, slots=True)
class Chip:
    """One filter that is on: `without` is the address of the page without it."""

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
    """`counts` are of the whole gallery: without numbers where other filters are on."""
    if query.is_narrowed:
        counts = {}
    return [
        Tab(key, label, replace(query, show=key).string or "?", counts.get(key))
        for key, label in SHOWN.items()
    ]


@dataclass(frozen=True, slots=True)
class Tab:
    """`count` is None where nobody has counted."""

    key: str
    label: str
    address: str
    count: int | None


def empty_words(query: GridQuery) -> str:
    """What it means that nothing is there."""
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


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def day_of(text: str) -> date | None:
    try:
        found = date.fromisoformat(text)
    except ValueError:
        return None
    # The ends of the calendar can't be moved by a day or to another time zone.
    return found if 1900 <= found.year <= 9000 else None


def start_of(day: date) -> datetime:
    return timezone.make_aware(datetime.combine(day, time.min))
