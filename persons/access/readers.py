"""What one reader sees of a team, as querysets: for lists, counts, covers and previews.

    visible = access.visible(request.user, team)
    faces = visible.faces_of(person).order_by("-pk")

For a single object, use its function (`face_for`); for keys from a request, use `access.faces` and
the like. Pages never filter by galleries themselves (`tests/inputs/test_one_way.py` checks this).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from django.db.models import Exists, OuterRef, QuerySet, Value

from persons.access.calls import entry_is_closed, records_hidden_from
from persons.access.galleries import hidden_from
from persons.access.roles import Asker, Right, rights_of
from persons.models import (
    Enrolment,
    Face,
    Gallery,
    Grouping,
    LegalHold,
    Person,
    Photo,
    Team,
)
from persons.models.enrolments import EnrolmentQuerySet
from persons.models.faces import FaceQuerySet
from persons.models.galleries import PhotoQuerySet
from persons.models.people import PersonQuerySet
from persons.models.privacy import LegalHoldQuerySet

People = Person | int | Collection[int] | OuterRef
"""One or more people of the team, as an object, a pk, pks or an outer query's column."""


@dataclass(frozen=True, slots=True)
class Visible:
    """What one reader sees of a team. `hidden` are pks of the galleries that are closed to them.

    Only `access` and the packages below it filter by `hidden`.

    Arguments of the methods (people, spaces, galleries, photos) must come from `access`, so that
    they belong to the team. This lets index-only queries go without a join to the team.
    """

    team_pk: int
    hidden: frozenset[int] = frozenset()
    gallery_pk: int | None = None
    """Narrows faces to one gallery: see `of_gallery`."""

    @property
    def is_everything(self) -> bool:
        """Whether no gallery is closed to the reader, so that totals reveal nothing hidden."""
        return not self.hidden

    @property
    def key(self) -> str:
        """Part of a cache key: equal for readers of a team who see the same galleries."""
        return ",".join(map(str, sorted(self.hidden)))

    def shows(self, gallery_pk: int | None) -> bool:
        """Whether the reader sees rows of this gallery. Rows without a gallery are visible."""
        return gallery_pk not in self.hidden

    def of_gallery(self, gallery: Gallery) -> Visible:
        """Everything in one gallery, for its own pages. `gallery` must come from `access`."""
        return Visible(self.team_pk, gallery_pk=gallery.pk)

    # --- Galleries and photos ---

    def galleries(self) -> QuerySet[Gallery]:
        return Gallery.objects.filter(team=self.team_pk).exclude(pk__in=self.hidden)

    def photos(self) -> PhotoQuerySet:
        """The team's photos that are not in the trash."""
        return self.photos_among(Photo.objects.filter(gallery__team=self.team_pk))

    def photos_among(self, photos: PhotoQuerySet) -> PhotoQuerySet:
        """The visible ones of these photos of the team. Doesn't filter by trash."""
        return photos.outside(self.hidden)

    # --- Faces ---

    def faces(self) -> FaceQuerySet:
        """The team's faces on photos that are not in the trash."""
        return self.faces_among(Face.objects.filter(space__team=self.team_pk))

    def faces_of(self, people: People) -> FaceQuerySet:
        """Faces of people of the team."""
        return self.faces_among(_of(Face.objects.all(), people))

    def faces_in(self, *, space: int | None = None, gallery: int | None = None) -> FaceQuerySet:
        """Faces of one space or one gallery of the team."""
        whole = Face.objects.filter(space=space) if space else Face.objects.filter(gallery=gallery)
        return self.faces_among(whole)

    def faces_among(self, faces: FaceQuerySet) -> FaceQuerySet:
        """The visible ones of these faces of the team. Doesn't filter by trash."""
        return (faces.filter(gallery=self.gallery_pk) if self.gallery_pk else faces).outside(
            self.hidden
        )

    def withheld(self, faces: FaceQuerySet) -> FaceQuerySet:
        """The faces among these that the reader doesn't see.

        Used to subtract them from results that were computed for everybody.
        """
        return faces.filter(gallery__in=self.hidden)

    # --- People and their pictures ---

    def pictures(self) -> EnrolmentQuerySet:
        """The team's enrolled pictures."""
        whole: EnrolmentQuerySet = Enrolment.objects.filter(person__space__team=self.team_pk)
        return self.pictures_among(whole)

    def pictures_of(self, people: People) -> EnrolmentQuerySet:
        """Enrolled pictures of people of the team."""
        if isinstance(people, Person):
            return self.pictures_among(people.enrolments.all())
        return self.pictures_among(_of(Enrolment.objects.all(), people))

    def pictures_among(self, pictures: EnrolmentQuerySet) -> EnrolmentQuerySet:
        return pictures.outside(self.hidden)

    def with_counts(self, people: PersonQuerySet) -> PersonQuerySet:
        """These people with a cover and their numbers of visible photos and pictures."""
        return people.for_list(self.hidden)

    def with_covers(self, people: PersonQuerySet) -> PersonQuerySet:
        return people.with_cover(self.hidden)

    # --- Work and records ---

    def groupings(self) -> QuerySet[Grouping]:
        """Groupings of the team's spaces and of visible galleries."""
        return Grouping.objects.filter(space__team=self.team_pk).exclude(gallery__in=self.hidden)

    def holds(self) -> LegalHoldQuerySet:
        """The team's legal holds on people and on visible galleries."""
        held: LegalHoldQuerySet = LegalHold.objects.filter(team=self.team_pk)
        return held.exclude(gallery__in=self.hidden) if self.hidden else held

    def closes_entry(self) -> Exists | Value:
        """SQL condition on an audit entry: its words must be withheld from the reader."""
        return entry_is_closed(self.hidden)


def visible(user: Asker, team: Team, *, write: bool = False) -> Visible:
    """What `user` sees; with `write`, the part that they may change."""
    return Visible(team.pk, hidden_from(user, team, write=write))


def visible_to_decide(user: Asker, team: Team) -> Visible:
    """For the review: editors see only what they may decide on, others all that they may see."""
    return visible(user, team, write=Right.EDIT in rights_of(user, team))


def visible_records(user: Asker, team: Team) -> Visible:
    """What `user` sees of the records. Auditors see all of them."""
    return Visible(team.pk, records_hidden_from(user, team))


def _of(rows: Any, people: People) -> Any:
    several = isinstance(people, Collection)
    return rows.filter(person__in=people) if several else rows.filter(person=people)
