"""Grouping of unknown faces into people by their embeddings, on demand: a plan, then the people.

    QUEUED -> RUNNING -> QUEUED … READY     faces get embeddings, some each turn; then the plan
    READY -> QUEUED -> RUNNING -> … DONE    once confirmed, people are created, some each turn

A turn takes a few seconds, so that other work gets its own in between; a worker that is cut off
loses one turn. Embeddings are kept (FaceVector), so a second plan doesn't compute them again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import combinations, product
from time import monotonic

from django.db import transaction
from django.db.models import Exists, F, OuterRef, QuerySet
from django.utils import timezone

from persons import access
from persons.backends.embedded import weights
from persons.db.locking import locked
from persons.decoding import DecodingBusy
from persons.engine.clustering import cluster
from persons.engine.faces import face_reader
from persons.faces.identity import resolve_identities
from persons.models import (
    Face,
    FaceVector,
    Grouping,
    JobState,
    Likeness,
    Person,
    Photo,
    Rejection,
    Space,
)
from persons.models.faces import FaceQuerySet
from persons.pipeline.recognition.describing import as_vectors, described
from persons.work import Lease, LeaseLost, Leases

MOST_FACES = 50_000
"""If there are more, only the newest are grouped: clustering this many takes some two minutes."""

TURN_SECONDS = 5.0
FACES_A_TURN = 200
PEOPLE_AT_ONCE = 20
"""People created in one transaction."""


GROUPINGS = Leases(
    Grouping,
    waiting=JobState.QUEUED,
    running=JobState.RUNNING,
    failed=JobState.FAILED,
    what="The work",
    ends=True,
)


def group_faces(grouping_pk: int) -> bool:
    """One turn of a grouping's work. Returns whether there is more to do."""
    lease = GROUPINGS.claim(Grouping.objects.filter(pk=grouping_pk))
    if lease is None:
        return False
    grouping = Grouping.objects.select_related("space__team", "requested_by").get(pk=grouping_pk)
    turn = _Turn(grouping, lease)
    try:
        with lease.kept_alive():
            return turn.make_people() if grouping.plan else turn.describe_or_plan()
    except LeaseLost:
        return False
    except BaseException as error:
        lease.cut_off(error)
        raise


def faces_of(grouping: Grouping) -> FaceQuerySet:
    """The unknown faces that a grouping is about, unordered: those that its requester may decide
    on."""
    asked_by, team = grouping.requested_by, grouping.space.team
    theirs = access.visible(asked_by, team, write=True) if asked_by else access.Visible(team.pk)
    if grouping.gallery_id is not None:
        faces = theirs.faces_in(gallery=grouping.gallery_id)
    else:
        faces = theirs.faces_in(space=grouping.space_id)
    # Faces whose embeddings the team no longer keeps are not described again.
    return faces.unknown().filter(forgotten_at=None)


class _Turn:
    """One worker's turn at a grouping, while it holds the lease."""

    def __init__(self, grouping: Grouping, lease: Lease[Grouping]) -> None:
        self._grouping = grouping
        self._lease = lease
        self._ends = monotonic() + TURN_SECONDS
        self._told = monotonic()

    # --- The plan ---

    def describe_or_plan(self) -> bool:
        model = weights().recogniser.sha256
        waiting = _undescribed(self._grouping, model)
        left = waiting[:MOST_FACES].count()
        done = faces_of(self._grouping)[:MOST_FACES].count() - left
        self._renew(total=done + left, done=done)
        if left:
            with suppress(DecodingBusy):
                self._describe(waiting, model, done)
            return self._release()
        plan = self._plan(model)
        self._lease.end(JobState.READY, plan=plan, attempts=0, error="")
        return False

    def _describe(self, waiting: QuerySet[Face], model: str, done: int) -> None:
        faces = list(waiting.select_related("photo__gallery").order_by("-pk")[:FACES_A_TURN])
        by_photo: dict[int, list[Face]] = defaultdict(list)
        for face in faces:
            by_photo[face.photo_id].append(face)
        reader = face_reader(weights())
        for some in by_photo.values():
            rows = [
                FaceVector(face=face, model=model, vector=vector)
                for face, vector in zip(some, described(some[0].photo, some, reader), strict=True)
            ]
            with transaction.atomic():
                # A face may have gone meanwhile, with its photo for instance.
                there = set(
                    Face.objects.filter(pk__in=[face.pk for face in some]).values_list(
                        "pk", flat=True
                    )
                )
                FaceVector.objects.bulk_create(
                    [row for row in rows if row.face_id in there],
                    update_conflicts=True,
                    unique_fields=["face"],
                    update_fields=["model", "vector"],
                )
            done += len(some)
            self._renew(done=done)
            if monotonic() > self._ends:
                break

    def _plan(self, model: str) -> list[list[int]]:
        rows = list(
            FaceVector.objects.filter(
                model=model, face__in=faces_of(self._grouping).order_by("-pk")[:MOST_FACES]
            )
            .order_by("face")
            .values_list("face", "face__photo", "vector")
        )
        # An empty vector means that the face's picture could not be read.
        rows = [row for row in rows if row[2]]
        pks = [face_pk for face_pk, _, _ in rows]
        vectors = as_vectors(bytes(vector) for _, _, vector in rows)
        apart = _apart(pks, [photo_pk for _, photo_pk, _ in rows])
        groups = cluster(
            vectors, threshold=self._grouping.threshold, apart=apart, pause=self._pause
        )
        return [[pks[row] for row in group] for group in groups]

    # --- The people ---

    def make_people(self) -> bool:
        plan: list[list[int]] = self._grouping.plan
        while plan:
            now, plan = plan[:PEOPLE_AT_ONCE], plan[PEOPLE_AT_ONCE:]
            self._make(now, plan)
            if monotonic() > self._ends and plan:
                return self._release()
        return False

    @transaction.atomic
    def _make(self, groups: Sequence[Sequence[int]], rest: list[list[int]]) -> None:
        """Create these people and shorten the plan, in one transaction."""
        grouping = self._grouping
        # The space is locked first, as everywhere.
        space = locked(Space.objects.filter(pk=grouping.space_id)).get()
        wanted = [pk for group in groups for pk in group]
        photos = Photo.everything.filter(faces__in=wanted).values("pk")
        photo_pks = [photo.pk for photo in locked(Photo.everything.filter(pk__in=photos))]
        there = set(
            faces_of(grouping)
            .filter(pk__in=wanted, photo__in=photo_pks)
            .values_list("pk", flat=True)
        )
        # Faces named meanwhile are no longer unknown, and a single face is no group.
        left = [[pk for pk in group if pk in there] for group in groups]
        left = [group for group in left if len(group) > 1]
        first = space.next_person_id
        Space.objects.filter(pk=space.pk).update(next_person_id=F("next_person_id") + len(left))
        people = Person.objects.bulk_create(
            Person(
                space=space,
                person_id=first + number,
                grouping=grouping,
                cover_id=group[0],
                face_count=len(group),
            )
            for number, group in enumerate(left)
        )
        for person, group in zip(people, left, strict=True):
            Face.objects.filter(pk__in=group).update(grouped_person=person)
        resolve_identities(photo_pks)
        done = grouping.done + sum(map(len, groups))
        self._renew(plan=rest, done=done)
        if not rest:
            self._lease.end(JobState.DONE, attempts=0, finished_at=timezone.now())

    # --- The lease ---

    def _pause(self) -> None:
        if monotonic() - self._told > 1:
            self._told = monotonic()
            self._renew()

    def _renew(self, **columns: object) -> None:
        """Renew the lease and update its row. Raises LeaseLost."""
        self._lease.renew(**columns)
        for name, value in columns.items():
            setattr(self._grouping, name, value)

    def _release(self) -> bool:
        self._lease.end(JobState.QUEUED, attempts=0)
        return True


def _undescribed(grouping: Grouping, model: str) -> FaceQuerySet:
    known = FaceVector.objects.filter(face=OuterRef("pk"), model=model)
    return faces_of(grouping).filter(~Exists(known))


# --- Faces that must stay apart ---


def _apart(face_pks: Sequence[int], photo_pks: Sequence[int]) -> list[tuple[int, int]]:
    """Pairs of positions that must not share a group: faces of one photo, and faces told apart by a
    human."""
    by_photo: dict[int, list[int]] = defaultdict(list)
    for at, photo_pk in enumerate(photo_pks):
        by_photo[photo_pk].append(at)
    pairs = {pair for some in by_photo.values() for pair in combinations(some, 2)}
    pairs |= {(min(pair), max(pair)) for pair in _kept_apart(face_pks)}
    return sorted(pairs)


def _kept_apart(face_pks: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Pairs told apart by "not this person" or "never these two".

    These faces are unknown now, so their people are those named by the engine or a group before a
    rejection, as canonical persons.
    """
    position = {pk: at for at, pk in enumerate(face_pks)}
    rejections = list(_rejections(face_pks))
    pks = {face_pk for face_pk, _ in rejections}
    pairs: list[tuple[int, int]] = []
    for word in ("found_person", "grouped_person"):
        named = Face.objects.filter(pk__in=pks, **{f"{word}__isnull": False})
        pairs += named.values_list("pk", f"{word}__canonical")
    not_them: dict[int, set[int]] = defaultdict(set)
    for face_pk, person_pk in rejections:
        not_them[person_pk].add(position[face_pk])
    was: dict[int, set[int]] = defaultdict(set)
    for face_pk, person_pk in pairs:
        was[person_pk].add(position[face_pk])
    for person_pk, others in not_them.items():
        # Faces of a group that was rejected as a whole were rejected together: they may share a
        # group again.
        yield from product(others - was[person_pk], was[person_pk])
    people = {person_pk for _, person_pk in [*rejections, *pairs]}
    never = Likeness.objects.filter(
        decision=Likeness.Decision.DIFFERENT,
        one__canonical__in=people,
        other__canonical__in=people,
    )
    for one, other in never.values_list("one__canonical", "other__canonical"):
        both = was[one] & was[other]
        yield from product(was[one] - both, was[other] - both)


def _rejections(face_pks: Sequence[int]) -> Iterator[tuple[int, int]]:
    for start in range(0, len(face_pks), 5000):
        rows = Rejection.objects.filter(face__in=face_pks[start : start + 5000])
        yield from rows.values_list("face", "person__canonical")
