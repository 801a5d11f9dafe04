"""A person's faces and photos: filters, sort orders, counts, and the ticked faces of a form."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.db.models import Exists, F, OuterRef, Q
from django.http import HttpRequest, QueryDict

from dashboard.middleware import PageRequest
from dashboard.pages.galleries.sheets import tiles_of
from dashboard.pages.paging import KeyPage, page_by_key, page_by_keys
from dashboard.pages.people.cards import counted
from persons import access
from persons.access import Visible
from persons.inputs.params import Parameters
from persons.models import AuditEntry, Decision, Face, Person, Photo, Review, Space
from persons.models.faces import FaceQuerySet

FACES_PAGE = 48
PHOTOS_PAGE = 48
MOST_CHOSEN = 1000
"""Faces that one form may name."""

WHICH = {
    "": Q(),
    "named": Q(decision=Decision.NAMED),
    "found": Q(decision=Decision.NONE, review=Review.NONE),
    "suggested": ~Q(review=Review.NONE),
    "missing": Q(missing=True),
}
SORTS = ("new", "old", "unsure")


@dataclass(frozen=True, slots=True)
class FaceListRequest:
    """The filter and sort order of a person's faces, from the address."""

    which: str = ""
    sort: str = "new"

    @classmethod
    def of(cls, asked: QueryDict) -> FaceListRequest:
        """Raises NotUnderstood."""
        given = Parameters(asked)
        found = cls(given.choice("which", WHICH), given.choice("sort", SORTS, "new"))
        given.demand()
        return found

    @property
    def query(self) -> str:
        values = {"which": self.which, "sort": "" if self.sort == "new" else self.sort}
        return urlencode({key: value for key, value in values.items() if value})


@dataclass(frozen=True, slots=True)
class PersonFaceRow:
    """A face as the grid shows it. `kind` is named, found, suggested or missing.

    `threshold` is the space's at the time of the recognition. `then` is False where that time is
    not known, and `threshold` is the current one. `may_decide` is False in a gallery that the
    reader may only view.
    """

    face: Face
    kind: str
    threshold: float
    then: bool
    may_decide: bool = True


def page_of_faces(person: Person, request: HttpRequest, visible: Visible) -> KeyPage[Face]:
    asked = FaceListRequest.of(request.GET)
    faces = visible.faces_of(person).filter(WHICH[asked.which])
    shown = faces.select_related("photo", "decided_by").annotate(
        recognised_at=F("recognition__call__started_at")
    )
    if asked.sort == "new":
        return page_by_key(shown, request, FACES_PAGE)
    order = ("pk",) if asked.sort == "old" else ("decision", "similarity", "pk")
    return page_by_keys(shown, request, FACES_PAGE, order)


def rows_of(
    faces: Sequence[Any], space: Space, *, writable: Visible | None = None
) -> list[PersonFaceRow]:
    """The rows for these faces, which need `recognised_at`.

    `writable` is what the reader may change; None allows decisions on all of them.
    """
    line = Thresholds.of(space)
    return [
        PersonFaceRow(
            face,
            kind_of(face),
            *line.at(face.recognised_at),
            may_decide=writable is None or writable.shows(face.gallery_id),
        )
        for face in faces
    ]


def kind_of(face: Face) -> str:
    if face.missing:
        return "missing"
    if face.decision == Decision.NAMED:
        return "named"
    return "suggested" if face.review else "found"


@dataclass(frozen=True, slots=True)
class Thresholds:
    """A space's threshold over time, from the audit entries of its policy."""

    now: float
    moments: Sequence[datetime]
    before: Sequence[float]
    """The threshold until each of the `moments`."""

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


def counts_of(person: Person, visible: Visible) -> dict[str, int]:
    """Numbers of a person's visible faces by `which`, and of "all". Each comes from an index."""
    key = f"{person.pk}:{visible.key}"

    def count(name: str, faces: FaceQuerySet) -> int:
        return counted(f"{name}:{key}", faces.order_by().count)

    theirs = visible.faces_of(person)
    # Faces in review are never in the trash, so an index alone answers.
    suggested = visible.faces_among(Face.everything.filter(person=person))
    suggested = suggested.exclude(review=Review.NONE)
    counts = {
        "all": count("faces", theirs),
        "named": count("named", theirs.filter(decision=Decision.NAMED)),
        "suggested": count("suggested", suggested),
        "missing": count("missing", theirs.filter(missing=True)),
    }
    counts["found"] = max(0, counts["all"] - counts["named"] - counts["suggested"])
    return counts


# --- Photos ---


def page_of_photos(person: Person, request: HttpRequest, visible: Visible) -> KeyPage[Photo]:
    """A page of the person's photos, each once, ordered by their newest face on it."""
    newer = Face.objects.filter(person=person, photo=OuterRef("photo"), pk__gt=OuterRef("pk"))
    faces = visible.faces_of(person).filter(~Exists(newer))
    page = page_by_key(faces, request, PHOTOS_PAGE)
    photos = tiles_of(Photo.objects.filter(pk__in=[face.photo_id for face in page.rows])).in_bulk()
    rows = [photos[face.photo_id] for face in page.rows if face.photo_id in photos]
    return KeyPage(rows, page.older, page.newer)


# --- Choosing ---


def chosen(request: PageRequest, person: Person) -> list[Face]:
    """The person's ticked faces that the user may change."""
    given = Parameters(request.POST)
    numbers = given.numbers("face", most=MOST_CHOSEN)
    given.demand()
    faces = access.faces(request.user, person.space.team, numbers, write=True)
    return list(
        faces.filter(person=person)
        .select_related("photo__gallery__space__team", "person")
        .order_by("-pk")
    )


def renewed(person: Person, pks: Sequence[int], visible: Visible) -> dict[str, Any]:
    """Context for faces after a decision. `gone` are pks that are no longer this person's."""
    faces: Any = visible.faces_of(person).filter(pk__in=pks)
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
        "counts": counts_of(person, visible),
    }
