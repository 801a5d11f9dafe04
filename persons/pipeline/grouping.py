"""Unknown faces are sorted into people by their looks, on demand: first a plan, then the people.

    QUEUED -> RUNNING -> QUEUED … READY     faces are described, some a turn; then the plan is made
    READY -> QUEUED -> RUNNING -> … DONE    with somebody's word: people are made, some a turn

A turn takes a few seconds, so that other work gets its own in between; whoever is cut off loses one
turn. What a face looks like is kept (FaceVector): a second plan costs no second look.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import timedelta
from itertools import combinations, product
from time import monotonic

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, F, OuterRef, QuerySet
from django.utils import timezone

from persons.access import hidden_from
from persons.backends import weights
from persons.engine.clustering import cluster
from persons.engine.faces import face_reader
from persons.locking import locked
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
from persons.pipeline.describing import as_vectors, described
from persons.settling import roots_of, settle_photos

MOST_FACES = 50_000
"""The newest ones, where there are more: sorting them takes some two minutes."""

TURN_SECONDS = 5.0
FACES_A_TURN = 200
PEOPLE_AT_ONCE = 20
"""Made in one transaction."""


class ClaimLost(Exception):
    """It was cancelled, or another worker holds it: stop, and store nothing."""


def group_faces(grouping_pk: int) -> bool:
    """One turn of a grouping's work. Whether there is more to do."""
    token = uuid.uuid4().hex
    now = timezone.now()
    if not Grouping.objects.filter(pk=grouping_pk, state=JobState.QUEUED).update(
        state=JobState.RUNNING, claim=token, claimed_at=now
    ):
        return False
    grouping = Grouping.objects.select_related("space__team", "requested_by").get(pk=grouping_pk)
    turn = _Turn(grouping, token)
    try:
        return turn.make_people() if grouping.plan else turn.describe_or_plan()
    except ClaimLost:
        return False
    except BaseException as error:
        turn.cut_off(error)
        raise


def faces_of(grouping: Grouping) -> FaceQuerySet:
    """The unknown faces that it is about, in no order: those whoever asked may decide on."""
    # Whose looks the team keeps no longer is not looked at again.
    kept = Face.objects.unknown().filter(forgotten_at=None)
    if grouping.gallery_id is not None:
        faces = kept.filter(gallery=grouping.gallery_id)
    else:
        faces = kept.filter(space=grouping.space_id)
    asked_by = grouping.requested_by
    hidden = hidden_from(asked_by, grouping.space.team, write=True) if asked_by else frozenset()
    return faces.outside(hidden)


class _Turn:
    """What one worker does of a grouping while it holds the claim."""

    def __init__(self, grouping: Grouping, token: str) -> None:
        self._grouping = grouping
        self._mine = Grouping.objects.filter(pk=grouping.pk, claim=token, state=JobState.RUNNING)
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
            self._describe(waiting, model, done)
            return self._release()
        plan = self._plan(model)
        self._renew(
            plan=plan,
            state=JobState.READY,
            claim="",
            attempts=0,
            error="",
        )
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
        # Whose picture could not be read has none.
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
        """These people, and the plan without them: both or nothing."""
        grouping = self._grouping
        # First the space, as everybody does who locks more than one row.
        space = locked(Space.objects.filter(pk=grouping.space_id)).get()
        wanted = [pk for group in groups for pk in group]
        photos = Photo.everything.filter(faces__in=wanted).values("pk")
        photo_pks = [photo.pk for photo in locked(Photo.everything.filter(pk__in=photos))]
        there = set(
            faces_of(grouping)
            .filter(pk__in=wanted, photo__in=photo_pks)
            .values_list("pk", flat=True)
        )
        # What was named meanwhile is not unknown any more, and one face alone is no group.
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
        settle_photos(photo_pks)
        done = grouping.done + sum(map(len, groups))
        self._renew(plan=rest, done=done)
        if not rest:
            self._renew(state=JobState.DONE, claim="", attempts=0, finished_at=timezone.now())

    # --- The claim ---

    def _pause(self) -> None:
        if monotonic() - self._told > 1:
            self._told = monotonic()
            self._renew()

    def _renew(self, **columns: object) -> None:
        """The lease starts anew. Raises ClaimLost where it is not ours any more."""
        if not self._mine.update(claimed_at=timezone.now(), **columns):
            raise ClaimLost
        for name, value in columns.items():
            setattr(self._grouping, name, value)

    def _release(self) -> bool:
        self._renew(state=JobState.QUEUED, claim="", attempts=0)
        return True

    def cut_off(self, error: BaseException) -> None:
        """Given back at once; failed in the end if workers stumble over it again and again."""
        text = f"The worker was cut off: {type(error).__name__}"
        self._mine.filter(attempts__gte=settings.MAX_ATTEMPTS - 1).update(
            state=JobState.FAILED, claim="", error=text, finished_at=timezone.now()
        )
        self._mine.update(state=JobState.QUEUED, claim="", attempts=F("attempts") + 1, error=text)


def release_groupings(until: object, *, blame: int) -> int:
    """Those whose worker died wait again, or fail where that has happened too often."""
    dead = Grouping.objects.filter(state=JobState.RUNNING, claimed_at__lte=until)
    count = dead.filter(attempts__gte=settings.MAX_ATTEMPTS - 1).update(
        state=JobState.FAILED,
        claim="",
        error=f"The work was cut off {settings.MAX_ATTEMPTS} times.",
        finished_at=timezone.now(),
    )
    return count + dead.update(state=JobState.QUEUED, claim="", attempts=F("attempts") + blame)


def waiting_groupings() -> list[int]:
    """Those to ring for; the bell that asking for one rang has a moment's grace."""
    asked = timezone.now() - timedelta(seconds=5)
    waiting = Grouping.objects.filter(state=JobState.QUEUED, created_at__lt=asked)
    return list(waiting.order_by("pk").values_list("pk", flat=True))


def _undescribed(grouping: Grouping, model: str) -> FaceQuerySet:
    known = FaceVector.objects.filter(face=OuterRef("pk"), model=model)
    return faces_of(grouping).filter(~Exists(known))


# --- Who can't be one person ---


def _apart(face_pks: Sequence[int], photo_pks: Sequence[int]) -> list[tuple[int, int]]:
    """Pairs of positions that must not come into one group: two faces of one photo never, nor
    those of whom somebody said that they are two."""
    by_photo: dict[int, list[int]] = defaultdict(list)
    for at, photo_pk in enumerate(photo_pks):
        by_photo[photo_pk].append(at)
    pairs = {pair for some in by_photo.values() for pair in combinations(some, 2)}
    pairs |= {(min(pair), max(pair)) for pair in _told_apart(face_pks)}
    return sorted(pairs)


def _told_apart(face_pks: Sequence[int]) -> Iterator[tuple[int, int]]:
    """By "not this person" and "never these two". As all these faces are unknown now, the people
    are those whom the engine or a group had named, until somebody rejected that."""
    position = {pk: at for at, pk in enumerate(face_pks)}
    rejections = list(_rejections(face_pks))
    pks = {face_pk for face_pk, _ in rejections}
    said: list[tuple[int, int]] = []
    for word in ("found_person", "grouped_person"):
        named = Face.objects.filter(pk__in=pks, **{f"{word}__isnull": False})
        said += named.values_list("pk", f"{word}_id")
    roots = roots_of({person_pk for _, person_pk in [*rejections, *said]})
    not_them: dict[int, set[int]] = defaultdict(set)
    for face_pk, person_pk in rejections:
        not_them[roots[person_pk]].add(position[face_pk])
    was: dict[int, set[int]] = defaultdict(set)
    for face_pk, person_pk in said:
        was[roots[person_pk]].add(position[face_pk])
    for root, others in not_them.items():
        # Those of a group that was thrown away whole were rejected together: they may meet again.
        yield from product(others - was[root], was[root])
    never = Likeness.objects.filter(
        decision=Likeness.Decision.DIFFERENT, one__in=list(roots), other__in=list(roots)
    )
    for one, other in never.values_list("one", "other"):
        both = was[roots[one]] & was[roots[other]]
        yield from product(was[roots[one]] - both, was[roots[other]] - both)


def _rejections(face_pks: Sequence[int]) -> Iterator[tuple[int, int]]:
    for start in range(0, len(face_pks), 5000):
        rows = Rejection.objects.filter(face__in=face_pks[start : start + 5000])
        yield from rows.values_list("face", "person")
