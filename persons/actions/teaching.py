"""Which crops are pictures of whom: enrolments follow what humans say of faces."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping

from django.db.models import Case, Count, F, Field, QuerySet, Value, When
from django.utils import timezone

from persons import tasks
from persons.audit import Actor
from persons.locking import locked
from persons.models import Enrolment, EnrolmentState, Face, Person, SyncState

ENOUGH_PICTURES = 5
"""Who has that many pictures enrolled gets no more from faces that are decided many at once, or
confirmed: more of them cost money and teach Vision little. Who names one face by hand means it."""

STANDING = [
    EnrolmentState.QUEUED,
    EnrolmentState.WAITING,
    EnrolmentState.DONE,
    EnrolmentState.FAILED,
]
"""Of a picture that is to be known to Vision, also where Vision refused it or a consent lacks."""


def lock_people(pks: Iterable[int]) -> dict[int, Person]:
    """The rows by pk, locked until the transaction ends: their sync state can't move meanwhile.

    After photos and faces, and once in a transaction: two who lock people one by one would wait for
    each other. Who is gone, or is being erased, is left out.
    """
    people = Person.objects.filter(pk__in=set(pks), erasing=False).select_related("space__team")
    return {person.pk: person for person in locked(people)}


def lock_person(pk: int) -> Person:
    """One person's row. Raises Person.DoesNotExist."""
    return locked(Person.objects.filter(pk=pk).select_related("space__team")).get()


def withdraw(enrolments: QuerySet[Enrolment]) -> int:
    """Mark those that are not yet gone for removal; how many there were."""
    return enrolments.filter(state__in=STANDING).update(state=EnrolmentState.REMOVING)


def queue_sync(person: Person, *, actor: Actor) -> None:
    """Ask a worker to bring Vision in step. `person` is locked by the caller.

    A worker that is at it right now looks again before it ends: its state is left alone.
    """
    queue_syncs([person.pk], actor=actor)


def queue_syncs(person_pks: Collection[int], *, actor: Actor) -> None:
    """`queue_sync` for many, in one query."""
    if not person_pks:
        return
    afresh = {
        "sync_state": SyncState.QUEUED,
        "sync_attempts": 0,
        "sync_after": timezone.now(),
        "sync_error": "",
    }
    Person.objects.filter(pk__in=person_pks).update(
        sync_by=actor.user,
        sync_request_id=actor.request_id,
        **{name: _unless_running(name, to) for name, to in afresh.items()},
    )
    for pk in sorted(person_pks):
        tasks.ring(tasks.sync_person, pk)


def _unless_running(name: str, to: object) -> Case:
    """A column's new value, or what it is where a worker is at that person right now."""
    field = Person._meta.get_field(name)
    assert isinstance(field, Field)
    as_it_is = When(sync_state=SyncState.RUNNING, then=F(name))
    return Case(as_it_is, default=Value(to, output_field=field), output_field=field)


def enrolled_as(face_pks: Iterable[int]) -> dict[int, set[int]]:
    """By face, the people as whom its crop is enrolled or about to be."""
    found: dict[int, set[int]] = defaultdict(set)
    rows = Enrolment.objects.filter(face__in=list(face_pks), state__in=STANDING)
    for face_pk, person_pk in rows.values_list("face", "person"):
        found[face_pk].add(person_pk)
    return found


def teach(faces: Mapping[int, int | None], *, actor: Actor) -> set[int]:
    """Make each face's crop a picture of that person alone, or of nobody; whose pictures changed.

    `faces` gives a person's pk to a face's; the people, and those as whom the faces are enrolled,
    are locked by the caller.
    """
    changed: set[int] = set()
    rows = list(Enrolment.objects.filter(face__in=faces).order_by("pk"))
    wrong = [row for row in rows if row.state in STANDING and row.person_id != faces[_face_of(row)]]
    if wrong:
        withdraw(Enrolment.objects.filter(pk__in=[row.pk for row in wrong]))
        changed |= {row.person_id for row in wrong}
    right = [row for row in rows if row.person_id == faces[_face_of(row)]]
    standing = {row.face_id for row in right if row.state in STANDING}
    before = {row.face_id: row for row in right if row.done_at is not None}
    wanted = {
        face_pk: person_pk
        for face_pk, person_pk in faces.items()
        if person_pk is not None and face_pk not in standing
    }
    Enrolment.objects.bulk_create(
        before[face_pk].once_more(actor.user, request_id=actor.request_id)
        if face_pk in before
        else Enrolment(
            person_id=person_pk,
            face_id=face_pk,
            created_by=actor.user,
            request_id=actor.request_id,
        )
        for face_pk, person_pk in wanted.items()
    )
    return changed | set(wanted.values())


def _face_of(row: Enrolment) -> int:
    assert row.face_id is not None
    return row.face_id


def worth_teaching(
    faces: Iterable[tuple[Face, int]], *, already: Mapping[int, Collection[int]]
) -> set[int]:
    """Of faces that were given to people, those whose crops shall be enrolled, by pk.

    The best by quality, as long as their person has fewer than ENOUGH_PICTURES. `already` says by
    face who has its crop now.
    """
    by_person: dict[int, list[Face]] = defaultdict(list)
    kept: set[int] = set()
    for face, person_pk in faces:
        if person_pk in already.get(face.pk, ()):
            kept.add(face.pk)
        elif not face.missing:
            by_person[person_pk].append(face)
    live = Enrolment.objects.filter(person__in=by_person, state__in=EnrolmentState.live())
    counted = live.order_by().values("person").annotate(n=Count("pk"))
    had = dict(counted.values_list("person", "n"))
    for person_pk, some in by_person.items():
        best = sorted(some, key=lambda face: (-face.quality, face.pk))
        room = max(0, ENOUGH_PICTURES - had.get(person_pk, 0))
        kept |= {face.pk for face in best[:room]}
    return kept
