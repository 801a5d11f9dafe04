"""The review: what wants a human, in which order, who looks at what just now, and where they were.

The queue is read from indexes alone: each kind of face of each space, or of one gallery, is a short
list that comes in order, and the lists are merged. It costs the same for ten faces and a million.
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
from django.db.models import BooleanField, F, Q, QuerySet
from django.db.models.expressions import RawSQL
from django.utils import timezone

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
"""How long a face stays with whom it was shown to, unless their page asks for more."""

MOST_COUNTED = 1000
"""Counts go no further than anybody reads."""

FULL_SECONDS = 60
"""How long it is taken for granted that there still are that many."""

RANK_UNIT = 1_000_000


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """Where in the queue a face stands; `rank` in millionths, and 0 where the newest come first."""

    rank: int
    pk: int

    def __str__(self) -> str:
        return f"{self.rank}.{self.pk}"

    @classmethod
    def of(cls, text: str) -> Key | None:
        rank, _, pk = text.partition(".")
        if not all(part.isascii() and part.isdigit() and len(part) < 19 for part in (rank, pk)):
            return None
        return cls(min(int(rank), RANK_UNIT), int(pk))


@dataclass(frozen=True, slots=True)
class Queue:
    """What one person goes through. `gallery` narrows it to one of `spaces`' galleries.

    Nothing of the galleries in `hidden` is in it. `unsure_first` goes by how likely it is that what
    stands there is wrong, else the newest faces come first.
    """

    user: User
    spaces: tuple[int, ...]
    kinds: tuple[Review, ...] = tuple(Review.queue())
    gallery: int | None = None
    hidden: frozenset[int] = frozenset()
    unsure_first: bool = False

    def after(self, key: Key | None, limit: int, *, but: Collection[int] = ()) -> list[int]:
        """The next faces' pks, without those that others look at just now, and those in `but`."""
        taken = {*but, *held_by_others(self.user)}
        return [found.pk for found in self._read(key, limit, taken, back=False)]

    def before(self, key: Key, *, but: Collection[int] = ()) -> int | None:
        """The face that comes last before that place: the way back."""
        taken = {*but, *held_by_others(self.user)}
        return next((found.pk for found in self._read(key, 1, taken, back=True)), None)

    def key_of(self, face: Face) -> Key:
        rank = round(face.review_rank * RANK_UNIT) if self.unsure_first else 0
        return Key(rank, face.pk)

    def counts(self, *, anew: bool = False) -> dict[Review, int]:
        """Of each kind there is in this queue's spaces or gallery; up to MOST_COUNTED.

        A kind of which there were that many is not counted again for a while, unless `anew`.
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
        asked = repr((kind, self.gallery or self.spaces, sorted(self.hidden)))
        return f"review-full-{hashlib.sha256(asked.encode()).hexdigest()}"

    def left(self, key: Key | None) -> int:
        """How many come after that place; up to MOST_COUNTED."""
        lists = self._lists(key, back=False)
        order = ["-review_rank", "-pk"] if self.unsure_first else ["-pk"]
        return min(MOST_COUNTED, sum(count_all([some.order_by(*order) for some in lists])))

    def pairs(self, before: int | None, limit: int) -> list[Likeness]:
        """People who may be one, newest first; a gallery has none of its own."""
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
            return [Face.objects.filter(gallery=self.gallery).outside(self.hidden)]
        return [Face.objects.filter(space=space).outside(self.hidden) for space in self.spaces]

    def _lists(self, key: Key | None, *, back: bool) -> list[FaceQuerySet]:
        """Each is in order in one of the indexes on `review`."""
        lists = [scope.filter(review=kind) for scope in self._scopes() for kind in self.kinds]
        return [faces.filter(self._beyond(key, back=back)) for faces in lists] if key else lists

    def _beyond(self, key: Key, *, back: bool) -> Q:
        pk = Q(pk__gt=key.pk) if back else Q(pk__lt=key.pk)
        if not self.unsure_first:
            return pk
        # As rows are compared: one range of the index, however many faces share a rank.
        table = f'"{Face._meta.db_table}"'
        beyond = f'({table}."review_rank", {table}."id") {">" if back else "<"} (%s, %s)'
        return Q(RawSQL(beyond, [key.rank / RANK_UNIT, key.pk], BooleanField()))  # noqa: S611

    def _read(
        self, key: Key | None, limit: int, taken: Collection[int], *, back: bool
    ) -> list[Key]:
        sign = "" if back else "-"
        order = [f"{sign}review_rank", f"{sign}pk"] if self.unsure_first else [f"{sign}pk"]
        lists = [
            faces.order_by(*order).values_list("review_rank", "pk")[: limit + len(taken)]
            for faces in self._lists(key, back=back)
        ]
        found: list[list[Key]] = [[] for _ in lists]
        for number, rank, pk in _union(lists):
            exact = round(rank * RANK_UNIT) if self.unsure_first else 0
            found[number].append(Key(exact, pk))
        ordered = merge(*(sorted(some, reverse=not back) for some in found), reverse=not back)
        return list(islice((one for one in ordered if one.pk not in taken), limit))


def open_pairs(spaces: Iterable[int]) -> QuerySet[Likeness]:
    """Pairs that wait for a human, newest first, with both people."""
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
    """All their rows, each behind its query's number. Sliced ones too, which the ORM can't join."""
    return _fetch(*_joined(querysets, "{number}, q{number}.*"))


def count_all(querysets: Sequence[QuerySet[Any, Any]]) -> list[int]:
    """How many rows each has, up to MOST_COUNTED, in one query.

    They are in an index's order: else a database that expects to meet so many rows anywhere may
    read through a table in which they are all at the end.
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


# --- Who looks at what ---


def held_by_others(user: User) -> set[int]:
    held = ReviewHold.objects.filter(until__gt=timezone.now()).exclude(user=user)
    return set(held.values_list("face", flat=True))


def hold(user: User, face_pks: Sequence[int]) -> set[int]:
    """Keep these faces for the user for a while; those that somebody else has are left out."""
    if not face_pks:
        return set()
    now = timezone.now()
    try:
        ReviewHold.objects.bulk_create(
            [ReviewHold(face_id=pk, user=user, until=now + LEASE) for pk in face_pks],
            ignore_conflicts=True,
        )
    except IntegrityError:  # One of the faces went this very moment.
        return set()
    mine = ReviewHold.objects.filter(face__in=face_pks)
    mine.filter(Q(user=user) | Q(until__lte=now)).update(user=user, until=now + LEASE)
    return set(mine.filter(user=user).values_list("face", flat=True))


def let_go(user: User, *, but: Collection[int] = ()) -> None:
    ReviewHold.objects.filter(user=user).exclude(face__in=but).delete()


# --- Where somebody was ---


def remember_place(user: User, team: Team, query: str) -> None:
    values = {"query": query[:500], "updated_at": timezone.now()}
    if not ReviewPlace.objects.filter(user=user, team=team).update(**values):
        ReviewPlace.objects.update_or_create(user=user, team=team, defaults=values)


def place_of(user: User, team: Team) -> str:
    """The query of the page where they were last, or nothing."""
    places = ReviewPlace.objects.filter(user=user, team=team).values_list("query", flat=True)
    return places.first() or ""


# --- Pictures of people, to compare with ---

ENROLLED_LOOKED_AT = 4
NEWEST_LOOKED_AT = 16


def best_faces(
    person_pks: Collection[int], *, most: int, hidden: Collection[int] = ()
) -> dict[int, list[Face]]:
    """By person, up to `most` faces that show them best, in two queries.

    Their enrolled ones first, then of the newest those that are surest and clearest. A person's
    50,000 faces are not all looked at, and only those that are shown are loaded.
    """
    pks = sorted(set(person_pks))
    if not pks:
        return {}
    looks, params = _looks(pks)
    best: dict[int, dict[int, tuple[Any, ...]]] = {pk: {} for pk in pks}
    for who, is_newest, face, gallery, review, missing, quality in _fetch(looks, params):
        if gallery not in hidden:
            rank = (is_newest, review != Review.NONE, missing, -quality, -face)
            best[who][face] = min(rank, best[who].get(face, rank))
    shown = {who: sorted(some, key=some.__getitem__)[:most] for who, some in best.items()}
    wanted = [face for some in shown.values() for face in some]
    faces = Face.objects.filter(pk__in=wanted).select_related("photo").in_bulk()
    return {
        who: [faces[pk] for pk in some if pk in faces and faces[pk].person_id == who]
        for who, some in shown.items()
    }


def _looks(person_pks: Sequence[int]) -> tuple[str, list[Any]]:
    """What `best_faces` goes by, of each person's newest faces and pictures.

    Written out: there are two lists for each of them, for each of which the ORM takes a millisecond
    to write it and PostgreSQL one to plan it. PostgreSQL plans two for all of them.
    """
    columns = "f.id, f.gallery_id, f.review, f.missing, f.quality"
    faces, enrolments = f'"{Face._meta.db_table}"', f'"{Enrolment._meta.db_table}"'
    live = ", ".join(f"'{state}'" for state in EnrolmentState.live())
    enrolled = (
        f"SELECT 0 AS newest, {columns} FROM {enrolments} e JOIN {faces} f ON f.id = e.face_id "  # noqa: S608
        f"WHERE e.person_id = {{0}} AND f.person_id = {{0}} AND NOT f.trashed "
        f"AND e.state IN ({live}) ORDER BY e.id DESC LIMIT {ENROLLED_LOOKED_AT}"
    )
    newest = (
        f"SELECT 1 AS newest, {columns} FROM {faces} f WHERE f.person_id = {{0}} "  # noqa: S608
        f"AND NOT f.trashed ORDER BY f.id DESC LIMIT {NEWEST_LOOKED_AT}"
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
    spaces: Collection[int], hidden: Collection[int], *, most: int, looked_at: int = 5_000
) -> list[tuple[int, int]]:
    """Whom most suggestions wait for: (person's pk, how many), the most first.

    Counted among the newest `looked_at` suggestions of each space and kind, so that it never takes
    long; once those are done, the others are the newest.
    """
    lists = [
        Face.objects.filter(space=space, review=kind)
        .outside(hidden)
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
