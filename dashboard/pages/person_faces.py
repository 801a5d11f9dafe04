"""The faces of one person: which of them, in what order, and what is decided of many at once."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.db.models import Exists, F, OuterRef, Q
from django.http import HttpRequest, QueryDict

from dashboard.pages.cards import counted
from dashboard.pages.paging import KeyPage, page_by_key, page_by_keys
from dashboard.pages.sheets import tiles_of
from persons.models import AuditEntry, Decision, Face, Person, Photo, Review, Space
from persons.models.faces import FaceQuerySet

FACES_PAGE = 48
PHOTOS_PAGE = 48
MOST_CHOSEN = 1000
"""Faces that one form may be about."""

WHICH = {
    "": Q(),
    "named": Q(decision=Decision.NAMED),
    "found": Q(decision=Decision.NONE, review=Review.NONE),
    "suggested": ~Q(review=Review.NONE),
    "missing": Q(missing=True),
}
SORTS = ("new", "old", "unsure")


@dataclass(frozen=True, slots=True)
class Asked:
    """Which of a person's faces the address wants, and in what order."""

    which: str = ""
    sort: str = "new"

    @classmethod
    def of(cls, asked: QueryDict) -> Asked:
        which, sort = asked.get("which", ""), asked.get("sort", "")
        return cls(which if which in WHICH else "", sort if sort in SORTS else "new")

    @property
    def query(self) -> str:
        values = {"which": self.which, "sort": "" if self.sort == "new" else self.sort}
        return urlencode({key: value for key, value in values.items() if value})


@dataclass(frozen=True, slots=True)
class FaceRow:
    """A face as the grid shows it. `kind` is named, found, suggested or missing.

    `threshold` is from where a match counted then; `then` is False where that is not known, and
    it is the space's as it is now.
    """

    face: Face
    kind: str
    threshold: float
    then: bool


def page_of_faces(person: Person, request: HttpRequest, hidden: Collection[int]) -> KeyPage[Face]:
    asked = Asked.of(request.GET)
    faces = Face.objects.filter(person=person).filter(WHICH[asked.which]).outside(hidden)
    shown = faces.select_related("photo", "decided_by").annotate(
        recognised_at=F("recognition__call__started_at")
    )
    if asked.sort == "new":
        return page_by_key(shown, request, FACES_PAGE)
    order = ("pk",) if asked.sort == "old" else ("decision", "similarity", "pk")
    return page_by_keys(shown, request, FACES_PAGE, order)


def rows_of(faces: Sequence[Any], space: Space) -> list[FaceRow]:
    line = Thresholds.of(space)
    return [FaceRow(face, kind_of(face), *line.at(face.recognised_at)) for face in faces]


def kind_of(face: Face) -> str:
    if face.missing:
        return "missing"
    if face.decision == Decision.NAMED:
        return "named"
    return "suggested" if face.review else "found"


@dataclass(frozen=True, slots=True)
class Thresholds:
    """A space's threshold as it was over time, from the log of its policy."""

    now: float
    moments: Sequence[datetime]
    before: Sequence[float]
    """What it was until each moment."""

    @classmethod
    def of(cls, space: Space) -> Thresholds:
        entries = AuditEntry.objects.filter(
            team=space.team_id, action="space.policy", target_id=str(space.pk)
        )
        changes = [
            (at, before["threshold"])
            for at, before in entries.order_by("pk").values_list("at", "before")
            if "threshold" in before
        ]
        return cls(space.threshold, [at for at, _ in changes], [value for _, value in changes])

    def at(self, moment: datetime | None) -> tuple[float, bool]:
        """The threshold at that moment, and whether that is known."""
        if moment is None:
            return self.now, False
        place = bisect_right(self.moments, moment)
        return (self.before[place] if place < len(self.before) else self.now), True


# --- Counts ---


def counts_of(person: Person, hidden: Collection[int]) -> dict[str, int]:
    """Of a person's faces, by `which`; "all" for all of them. Each from an index of its own."""
    key = f"{person.pk}:{','.join(map(str, sorted(hidden)))}"

    def count(name: str, faces: FaceQuerySet) -> int:
        return counted(f"{name}:{key}", lambda: faces.outside(hidden).order_by().count())

    theirs = Face.objects.filter(person=person)
    # What waits for a human is never in the trash: with that the index alone can tell.
    suggested = Face.everything.filter(person=person).exclude(review=Review.NONE)
    counts = {
        "all": count("faces", theirs),
        "named": count("named", theirs.filter(decision=Decision.NAMED)),
        "suggested": count("suggested", suggested),
        "missing": count("missing", theirs.filter(missing=True)),
    }
    counts["found"] = max(0, counts["all"] - counts["named"] - counts["suggested"])
    return counts


# --- Photos ---


def page_of_photos(person: Person, request: HttpRequest, hidden: Collection[int]) -> KeyPage[Photo]:
    """Each photo once, by the person's newest face on it."""
    newer = Face.objects.filter(person=person, photo=OuterRef("photo"), pk__gt=OuterRef("pk"))
    faces = Face.objects.filter(~Exists(newer), person=person).outside(hidden)
    page = page_by_key(faces, request, PHOTOS_PAGE)
    photos = tiles_of(Photo.objects.filter(pk__in=[face.photo_id for face in page.rows])).in_bulk()
    rows = [photos[face.photo_id] for face in page.rows if face.photo_id in photos]
    return KeyPage(rows, page.older, page.newer)


# --- Choosing ---


def chosen(request: HttpRequest, person: Person, hidden: Collection[int]) -> list[Face]:
    """The person's faces that were ticked and that may be seen."""
    numbers = {
        int(text)
        for text in request.POST.getlist("face")[:MOST_CHOSEN]
        if text.isascii() and text.isdigit() and len(text) < 19
    }
    faces = Face.objects.filter(person=person, pk__in=numbers).outside(hidden)
    return list(faces.select_related("photo__gallery__space__team", "person").order_by("-pk"))


def renewed(person: Person, pks: Sequence[int], hidden: Collection[int]) -> dict[str, Any]:
    """These faces as they are now, `gone` those that are not the person's any more."""
    faces: Any = Face.objects.filter(person=person, pk__in=pks)
    shown = list(
        faces.select_related("photo", "decided_by").annotate(
            recognised_at=F("recognition__call__started_at")
        )
    )
    left = {face.pk for face in shown}
    return {
        "team": person.space.team,
        "view": "faces",
        "person": person,
        "cover_pk": person.cover_id,
        "rows": rows_of(shown, person.space),
        "gone": [pk for pk in pks if pk not in left],
        "counts": counts_of(person, hidden),
    }
