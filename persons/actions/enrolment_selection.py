"""Which crops are enrolled as pictures of whom: enrolments follow the human decisions on faces."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping

from django.db.models import Case, Count, F, Field, QuerySet, Value, When
from django.utils import timezone

from persons import tasks
from persons.audit import Actor
from persons.db.locking import in_turn, locked
from persons.models import Enrolment, EnrolmentState, Face, Person, SyncState
from persons.work import Work

ENOUGH_PICTURES = 5
"""Bulk decisions and confirmations never enrol more than this many pictures per person.

More pictures cost money and teach Vision little. Naming one face by hand has no such limit.
"""

STANDING = [
    EnrolmentState.QUEUED,
    EnrolmentState.WAITING,
    EnrolmentState.DONE,
    EnrolmentState.FAILED,
]
"""States of a picture that Vision should know, also if Vision refused it or a consent is
missing."""


def lock_people(pks: Iterable[int]) -> dict[int, Person]:
    """Lock people until the transaction ends, so that their sync state can't change; rows by pk.

    Call it after photos and faces are locked, and once per transaction: two callers that lock
    people one by one could deadlock. People who are gone or are being erased are left out.
    """
    people = Person.objects.filter(pk__in=set(pks), erasing=False).select_related("space__team")
    return {person.pk: person for person in locked(people)}


def lock_with_canonical(pks: Collection[int]) -> dict[int, Person]:
    """`lock_people` for these people and their canonical persons."""
    canonical = Person.objects.filter(pk__in=pks).values_list("canonical", flat=True)
    return lock_people({*pks, *canonical})


def lock_person(pk: int) -> Person:
    """Lock one person's row. Raises Person.DoesNotExist."""
    return locked(Person.objects.filter(pk=pk).select_related("space__team")).get()


def withdraw(enrolments: QuerySet[Enrolment]) -> int:
    """Mark those that are not removed yet for removal; returns how many."""
    return enrolments.filter(state__in=STANDING).update(state=EnrolmentState.REMOVING)


def queue_sync(person: Person, *, actor: Actor) -> None:
    """Enqueue a sync of the person's pictures to Vision. `person` is locked by the caller.

    If a worker is syncing them now, their state is left alone: it checks again before it ends.
    """
    queue_syncs([person.pk], actor=actor)


def queue_syncs(person_pks: Collection[int], *, actor: Actor) -> None:
    """`queue_sync` for many, in one query."""
    if not person_pks:
        return
    afresh = {
        "sync_state": SyncState.QUEUED,
        "attempts": 0,
        "after": timezone.now(),
        "sync_error": "",
    }
    in_turn(Person.objects.filter(pk__in=person_pks)).update(
        sync_by=actor.user,
        sync_request_id=actor.request_id,
        **{name: _unless_running(name, to) for name, to in afresh.items()},
    )
    tasks.enqueue(Work.SYNC)


def _unless_running(name: str, to: object) -> Case:
    """A column's new value, or its old one while a worker is syncing the person."""
    field = Person._meta.get_field(name)
    assert isinstance(field, Field)
    as_it_is = When(sync_state=SyncState.RUNNING, then=F(name))
    return Case(as_it_is, default=Value(to, output_field=field), output_field=field)


def enrolled_as(face_pks: Iterable[int]) -> dict[int, set[int]]:
    """By face, the people under whom its crop is enrolled or about to be."""
    found: dict[int, set[int]] = defaultdict(set)
    rows = Enrolment.objects.filter(face__in=list(face_pks), state__in=STANDING)
    for face_pk, person_pk in rows.values_list("face", "person"):
        found[face_pk].add(person_pk)
    return found


def enrol_crops(faces: Mapping[int, int | None], *, actor: Actor) -> set[int]:
    """Make each face's crop a picture of its person in `faces` alone, or of nobody.

    `faces` maps a face's pk to a person's pk or None. The caller has locked these people and those
    under whom the faces are enrolled. Returns the pks of the people whose pictures changed.
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
    galleries = dict(Face.everything.filter(pk__in=wanted).values_list("pk", "gallery"))
    Enrolment.objects.bulk_create(
        before[face_pk].once_more(actor.user, request_id=actor.request_id)
        if face_pk in before
        else Enrolment(
            person_id=person_pk,
            face_id=face_pk,
            gallery_id=galleries.get(face_pk),
            created_by=actor.user,
            request_id=actor.request_id,
        )
        for face_pk, person_pk in wanted.items()
    )
    return changed | set(wanted.values())


def _face_of(row: Enrolment) -> int:
    assert row.face_id is not None
    return row.face_id


def best_to_enrol(
    faces: Iterable[tuple[Face, int]], *, already: Mapping[int, Collection[int]]
) -> set[int]:
    """Choose which of these (face, person) pairs to enrol. Returns pks of faces.

    The best faces by quality are chosen until their person has ENOUGH_PICTURES. `already` maps each
    face to the people under whom its crop is enrolled now; crops under the right person stay.
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
