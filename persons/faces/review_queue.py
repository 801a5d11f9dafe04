"""The review queue: which faces need a human, in which order, who has which face, and where they
were.

The queue is read from indexes alone: each kind of face of each space or gallery is a short sorted
list, and the lists are merged. It costs the same for ten faces and a million.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from heapq import merge
from itertools import chain, islice
from typing import Any

from django.core.cache import cache
from django.core.exceptions import EmptyResultSet
from django.db import IntegrityError, connection
from django.db.models import F, Q, QuerySet
from django.db.models.fields.tuple_lookups import TupleGreaterThan, TupleLessThan
from django.utils import timezone

from persons.access import Visible
from persons.inputs.params import pair
from persons.models import (
    Enrolment,
    EnrolmentState,
    Face,
    Likeness,
    Review,
    ReviewHold,
    ReviewPlace,
    Team,
    User,
)
from persons.models.faces import FaceQuerySet

LEASE = timedelta(seconds=60)
"""How long a face is reserved for the user it was shown to, unless their page renews it."""

MOST_COUNTED = 1000
"""Counts stop here."""

FULL_SECONDS = 60
"""How long a count of MOST_COUNTED is cached."""

RANK_UNIT = 1_000_000


@dataclass(frozen=True, slots=True, order=True)
class QueueKey:
    """A face's position in the queue; `rank` in millionths, and 0 if the newest come first."""

    rank: int
    pk: int

    def __str__(self) -> str:
        return f"{self.rank}.{self.pk}"

    @classmethod
    def of(cls, text: str) -> QueueKey | None:
        found = pair(text)
        return None if found is None else cls(min(found[0], RANK_UNIT), found[1])


@dataclass(frozen=True, slots=True)
class Queue:
    """What one user reviews. `gallery` narrows it to one of the spaces' galleries.

    It holds only faces `visible` to the user. `unsure_first` sorts by how likely the current
    identity is wrong; otherwise the newest faces come first.
    """

    user: User
    spaces: tuple[int, ...]
    visible: Visible
    kinds: tuple[Review, ...] = tuple(Review.queue())
    gallery: int | None = None
    unsure_first: bool = False

    def after(self, key: QueueKey | None, limit: int, *, but: Collection[int] = ()) -> list[int]:
        """Pks of the next faces, without those in `but` and those reserved for others."""
        taken = {*but, *held_by_others(self.user)}
        return [found.pk for found in self._read(key, limit, taken, back=False)]

    def before(self, key: QueueKey, *, but: Collection[int] = ()) -> int | None:
        """The last face before that position, for going back; None if there is none."""
        taken = {*but, *held_by_others(self.user)}
        return next((found.pk for found in self._read(key, 1, taken, back=True)), None)

    def faces_among(self, pks: Collection[int]) -> FaceQuerySet:
        """Those of these faces that are in the queue's spaces and visible, whether or not they need
        review."""
        faces: FaceQuerySet = Face.objects.filter(pk__in=pks, space__in=self.spaces)
        return self.visible.faces_among(faces)

    def key_of(self, face: Face) -> QueueKey:
        rank = round(face.review_rank * RANK_UNIT) if self.unsure_first else 0
        return QueueKey(rank, face.pk)

    def counts(self, *, anew: bool = False) -> dict[Review, int]:
        """Faces of each kind in the queue's spaces or gallery, up to MOST_COUNTED.

        A count of MOST_COUNTED is cached, unless `anew`.
        """
        kinds = Review.queue()
        full = {kind for kind in kinds if not anew and cache.get(self._full(kind))}
        counted_now = [kind for kind in kinds if kind not in full]
        scopes = self._scopes() if counted_now else []
        counted = count_all(
            [scope.filter(review=kind).order_by("-pk") for kind in counted_now for scope in scopes]
        )
        found = dict.fromkeys(full, MOST_COUNTED)
        for number, kind in enumerate(counted_now):
            count = sum(counted[number * len(scopes) :][: len(scopes)])
            found[kind] = min(MOST_COUNTED, count)
            if count >= MOST_COUNTED:
                cache.set(self._full(kind), True, FULL_SECONDS)
        return {kind: found[kind] for kind in kinds}

    def _full(self, kind: Review) -> str:
        asked = repr((kind, self.gallery or self.spaces, self.visible.key))
        return f"review-full-{hashlib.sha256(asked.encode()).hexdigest()}"

    def left(self, key: QueueKey | None) -> int:
        """How many faces come after that position, up to MOST_COUNTED."""
        lists = self._lists(key, back=False)
        order = ["-review_rank", "-pk"] if self.unsure_first else ["-pk"]
        return min(MOST_COUNTED, sum(count_all([some.order_by(*order) for some in lists])))

    def pairs(self, before: int | None, limit: int) -> list[Likeness]:
        """Pairs of people who may be one, newest first; none if the queue is of a gallery."""
        if self.gallery is not None:
            return []
        pairs = open_pairs(self.spaces)
        if before is not None:
            pairs = pairs.filter(pk__lt=before)
        return list(pairs[:limit])

    def count_pairs(self) -> int:
        if self.gallery is not None:
            return 0
        return open_pairs(self.spaces).order_by()[:MOST_COUNTED].count()

    def _scopes(self) -> list[FaceQuerySet]:
        if self.gallery is not None:
            return [self.visible.faces_in(gallery=self.gallery)]
        return [self.visible.faces_in(space=space) for space in self.spaces]

    def _lists(self, key: QueueKey | None, *, back: bool) -> list[FaceQuerySet]:
        """One sorted query per scope and kind, each served by an index on `review`."""
        lists = [scope.filter(review=kind) for scope in self._scopes() for kind in self.kinds]
        return [faces.filter(self._beyond(key, back=back)) for faces in lists] if key else lists

    def _beyond(self, key: QueueKey, *, back: bool) -> Q:
        pk = Q(pk__gt=key.pk) if back else Q(pk__lt=key.pk)
        if not self.unsure_first:
            return pk
        # A row comparison: one index range on PostgreSQL, however many faces share a rank.
        beyond = TupleGreaterThan if back else TupleLessThan
        return Q(beyond((F("review_rank"), F("pk")), (key.rank / RANK_UNIT, key.pk)))

    def _read(
        self, key: QueueKey | None, limit: int, taken: Collection[int], *, back: bool
    ) -> list[QueueKey]:
        sign = "" if back else "-"
        order = [f"{sign}review_rank", f"{sign}pk"] if self.unsure_first else [f"{sign}pk"]
        lists = [
            faces.order_by(*order).values_list("review_rank", "pk")[: limit + len(taken)]
            for faces in self._lists(key, back=back)
        ]
        found: list[list[QueueKey]] = [[] for _ in lists]
        for number, rank, pk in _union(lists):
            exact = round(rank * RANK_UNIT) if self.unsure_first else 0
            found[number].append(QueueKey(exact, pk))
        ordered = merge(*(sorted(some, reverse=not back) for some in found), reverse=not back)
        return list(islice((one for one in ordered if one.pk not in taken), limit))


def open_pairs(spaces: Iterable[int]) -> QuerySet[Likeness]:
    """Undecided pairs, newest first, with both people."""
    return (
        Likeness.objects.filter(
            space__in=list(spaces),
            decision=Likeness.Decision.NONE,
            one__merged_into=None,
            other__merged_into=None,
        )
        .select_related("one__space", "other__space")
        .order_by("-pk")
    )


# --- Several queries in one ---


def _union(querysets: Sequence[QuerySet[Any, Any]]) -> list[tuple[Any, ...]]:
    """Rows of all queries, each after its query's number. Unlike the ORM's union, takes sliced
    ones."""
    return _fetch(*_joined(querysets, "{number}, q{number}.*"))


def count_all(querysets: Sequence[QuerySet[Any, Any]]) -> list[int]:
    """How many rows each query has, up to MOST_COUNTED, in one query.

    Callers order them by an index: otherwise a database may scan a table whose matching rows are
    all at its end.
    """
    capped = [queryset.values("pk")[:MOST_COUNTED] for queryset in querysets]
    counts = dict(_fetch(*_joined(capped, "{number}, COUNT(*)")))
    return [counts.get(number, 0) for number in range(len(querysets))]


def _joined(querysets: Sequence[QuerySet[Any, Any]], columns: str) -> tuple[str, list[Any]]:
    parts: list[str] = []
    params: list[Any] = []
    for number, queryset in enumerate(querysets):
        try:
            sql, values = queryset.query.sql_with_params()
        except EmptyResultSet:  # `x IN ()` finds nothing, and is not asked.
            continue
        parts.append(f"SELECT {columns.format(number=number)} FROM ({sql}) q{number}")  # noqa: S608
        params += values
    return " UNION ALL ".join(parts), params


def _fetch(sql: str, params: Sequence[Any]) -> list[tuple[Any, ...]]:
    if not sql:
        return []
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return list(cursor.fetchall())


# --- Reserved faces ---


def held_by_others(user: User) -> set[int]:
    """Pks of faces reserved for other users."""
    held = ReviewHold.objects.filter(until__gt=timezone.now()).exclude(user=user)
    return set(held.values_list("face", flat=True))


def hold(user: User, face_pks: Sequence[int]) -> set[int]:
    """Reserve these faces for the user for a while; returns those that nobody else has."""
    if not face_pks:
        return set()
    now = timezone.now()
    try:
        ReviewHold.objects.bulk_create(
            [ReviewHold(face_id=pk, user=user, until=now + LEASE) for pk in face_pks],
            ignore_conflicts=True,
        )
    except IntegrityError:  # A face was deleted this moment.
        return set()
    mine = ReviewHold.objects.filter(face__in=face_pks)
    mine.filter(Q(user=user) | Q(until__lte=now)).update(user=user, until=now + LEASE)
    return set(mine.filter(user=user).values_list("face", flat=True))


def let_go(user: User, *, but: Collection[int] = ()) -> None:
    """Release the user's faces, except `but`."""
    ReviewHold.objects.filter(user=user).exclude(face__in=but).delete()


# --- Where somebody was ---


def remember_place(user: User, team: Team, query: str) -> None:
    """Save the query string of the user's page in the review."""
    values = {"query": query[:500], "updated_at": timezone.now()}
    if not ReviewPlace.objects.filter(user=user, team=team).update(**values):
        ReviewPlace.objects.update_or_create(user=user, team=team, defaults=values)


def place_of(user: User, team: Team) -> str:
    """The query string of the page where they were last, or ""."""
    places = ReviewPlace.objects.filter(user=user, team=team).values_list("query", flat=True)
    return places.first() or ""


# --- Pictures of people, to compare with ---

ENROLLED_COMPARED = 4
NEWEST_COMPARED = 16


def best_faces(
    person_pks: Collection[int], *, most: int, visible: Visible
) -> dict[int, list[Face]]:
    """By person, up to `most` faces that show them best, in two queries.

    Enrolled faces come first, then the surest and clearest of the newest. It reads only a few rows
    per person, even for one with 50,000 faces.
    """
    pks = sorted(set(person_pks))
    if not pks:
        return {}
    sql, params = _ranked_faces(pks)
    best: dict[int, dict[int, tuple[Any, ...]]] = {pk: {} for pk in pks}
    for who, is_newest, face, gallery, review, missing, quality in _fetch(sql, params):
        if visible.shows(gallery):
            rank = (is_newest, review != Review.NONE, missing, -quality, -face)
            best[who][face] = min(rank, best[who].get(face, rank))
    shown = {who: sorted(some, key=some.__getitem__)[:most] for who, some in best.items()}
    wanted = [face for some in shown.values() for face in some]
    faces = Face.objects.filter(pk__in=wanted).select_related("photo").in_bulk()
    return {
        who: [faces[pk] for pk in some if pk in faces and faces[pk].person_id == who]
        for who, some in shown.items()
    }


def _ranked_faces(person_pks: Sequence[int]) -> tuple[str, list[Any]]:
    """SQL for `best_faces`: rank columns of each person's newest faces and enrolments.

    Handwritten: the ORM and PostgreSQL each take a millisecond per list, and there are two lists
    per person. Here PostgreSQL plans two lists for all people.
    """
    columns = "f.id, f.gallery_id, f.review, f.missing, f.quality"
    faces, enrolments = f'"{Face._meta.db_table}"', f'"{Enrolment._meta.db_table}"'
    live = ", ".join(f"'{state}'" for state in EnrolmentState.live())
    enrolled = (
        f"SELECT 0 AS newest, {columns} FROM {enrolments} e JOIN {faces} f ON f.id = e.face_id "  # noqa: S608
        f"WHERE e.person_id = {{0}} AND f.person_id = {{0}} AND NOT f.trashed "
        f"AND e.state IN ({live}) ORDER BY e.id DESC LIMIT {ENROLLED_COMPARED}"
    )
    newest = (
        f"SELECT 1 AS newest, {columns} FROM {faces} f WHERE f.person_id = {{0}} "  # noqa: S608
        f"AND NOT f.trashed ORDER BY f.id DESC LIMIT {NEWEST_COMPARED}"
    )
    lists = [enrolled, newest]
    if connection.vendor == "postgresql":
        people = "(SELECT unnest(%s::bigint[]) AS who) p"
        every = [
            f"SELECT p.who, x.* FROM {people} CROSS JOIN LATERAL ({one.format('p.who')}) x"  # noqa: S608
            for one in lists
        ]
        return " UNION ALL ".join(every), [list(person_pks)] * len(lists)
    parts = [f"SELECT %s AS who, * FROM ({one.format('%s')})" for _ in person_pks for one in lists]  # noqa: S608
    params = [[pk] * sum(part.count("%s") for part in parts[: len(lists)]) for pk in person_pks]
    return " UNION ALL ".join(parts), list(chain.from_iterable(params))


def people_with_suggestions(
    spaces: Collection[int], visible: Visible, *, most: int, looked_at: int = 5_000
) -> list[tuple[int, int]]:
    """The people with the most suggestions: (person's pk, how many), most first.

    Counts among the newest `looked_at` suggestions of each space and kind, to bound its time.
    """
    lists = [
        visible.faces_in(space=space)
        .filter(review=kind)
        .order_by("-pk")
        .annotate(who=F("person"))
        .values("who")[:looked_at]
        for space in spaces
        for kind in (Review.WEAK, Review.DOUBLE)
    ]
    together, params = _joined(lists, "q{number}.who")
    if not together:
        return []
    rows = _fetch(
        f"SELECT who, COUNT(*) AS n FROM ({together}) every "  # noqa: S608
        "GROUP BY who ORDER BY n DESC, who LIMIT %s",
        [*params, most],
    )
    return [(int(pk), int(n)) for pk, n in rows if pk is not None]
