"""Write human decisions on one face or hundreds, with a fixed number of queries.

Locks follow `persons.db.locking`: photos, all their faces, then all people whom the decisions name.
Only actions that create, merge or part people lock the space, and they do so first.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from django.utils import timezone

from persons.actions.decision_events import DecisionEvent, FaceDecision, decisions_of, row_of
from persons.actions.enrolment_selection import (
    best_to_enrol,
    enrol_crops,
    enrolled_as,
    lock_with_canonical,
    queue_syncs,
)
from persons.actions.naming import give_label
from persons.audit import Actor
from persons.chain import facts
from persons.db.locking import locked
from persons.errors import Refused
from persons.faces.identity import count_faces, people_named_by, resolve_identities
from persons.models import (
    Change,
    ChangedFace,
    Decision,
    Face,
    Person,
    Photo,
    Rejection,
    Space,
)
from persons.models.changes import ChangeKind

WORDS = ["decision", "decided_person", "decided_by", "decided_at", "found_by_run"]


@dataclass(frozen=True, slots=True)
class DecidedFace:
    """A face and the pk of its person from now on; None if it is ignored, cleared or rejected.

    `not_them` are the pks of the people whom a rejection rules out.
    """

    face: Face
    person: int | None = None
    not_them: frozenset[int] = frozenset()


def lock_faces(face_pks: Iterable[int], *, trashed: bool = False) -> list[Face]:
    """Lock and return those of the faces that still exist, in pk order.

    The other faces of their photos are locked too. Erased faces are left out, and trashed ones
    unless `trashed`. `photo.gallery.space` and `person` are loaded.
    """
    wanted = set(face_pks)
    theirs = Face.everything.filter(pk__in=wanted).values("photo")
    rows = Photo.everything.filter(pk__in=theirs).select_related("gallery__space__team")
    photos = {photo.pk: photo for photo in locked(rows)}
    faces = Face.everything.filter(photo__in=photos)
    if len(photos) > 1:
        # The other faces of group photos are locked, but not loaded.
        list(locked(faces).values_list("pk"))
        faces = faces.filter(pk__in=wanted)
    found = [
        face
        for face in locked(faces)
        if face.pk in wanted and (trashed or not face.trashed) and face.decision != Decision.ERASED
    ]
    # Photos and people are loaded once and shared, not once per face.
    people = Person.objects.in_bulk([face.person_id for face in found if face.person_id])
    for face in found:
        face.photo = photos[face.photo_id]
        face.person = people.get(face.person_id) if face.person_id else None
    return found


@dataclass(frozen=True, slots=True)
class Subject:
    """The people that a decision is about.

    `label` is the name that `person` has because of it: the person was created for it or, with
    `gets_label`, is named now. `other` is the person from whom a split takes the faces.
    """

    person: Person | None = None
    other: Person | None = None
    label: str = ""
    gets_label: bool = False


NOBODY = Subject()


def decide(
    *,
    actor: Actor,
    kind: ChangeKind,
    given: Sequence[DecidedFace],
    subject: Subject = NOBODY,
    enrols_all: bool = False,
) -> Change:
    """Write a Change and its decision event on each face. `given` has faces from `lock_faces`.

    The best few of the named faces are enrolled (`best_to_enrol`), or all of them with
    `enrols_all`. Raises Refused if a person was removed or renamed meanwhile.
    """
    faces = [one.face for one in given]
    who = {one.person for one in given if one.person is not None}
    enrolled = enrolled_as(face.pk for face in faces)
    befores = decisions_of(faces, enrolled)
    people = _lock_everybody(faces, who, enrolled)
    change = _new_change(actor, kind, faces, _labelled(actor, subject, people))
    # Faces that a merge has not reached yet are enrolled under the canonical person.
    named = [(one.face, people[one.person].canonical_id) for one in given if one.person is not None]
    to_enrol: set[int] = set()
    if enrols_all:
        to_enrol = {face.pk for face in faces}
    elif named:
        to_enrol = best_to_enrol(named, already=enrolled)
    if kind == ChangeKind.SPLIT:
        # A face that has an enrolled picture takes it along.
        to_enrol |= {pk for pk, before in befores.items() if before.enrolled}
    rows = [row_of(_event(change, one, to_enrol), one.face, befores[one.face.pk]) for one in given]
    _save(change, rows)
    afters = {row.face_id: FaceDecision.of_json(row.after) for row in rows}
    put(actor=actor, faces=faces, was=befores, now=afters)
    return change


def _labelled(actor: Actor, subject: Subject, people: Mapping[int, Person]) -> Subject:
    """The subject, with its new name. Raises Refused if it got another name meanwhile."""
    if subject.person is None or not subject.gets_label:
        return subject
    person = people[subject.person.pk]
    if person.label:
        raise Refused(f"Somebody named them “{person.label}” meanwhile.")
    give_label(actor=actor, person=person, label=subject.label)
    return replace(subject, person=person)


def _new_change(actor: Actor, kind: ChangeKind, faces: Sequence[Face], subject: Subject) -> Change:
    space = faces[0].photo.gallery.space
    return Change(
        team=space.team,
        space=space,
        kind=kind,
        person=subject.person,
        other=subject.other,
        label=subject.label,
        face_count=len(faces),
        actor=actor.user,
        created_at=timezone.now(),
    )


def _save(change: Change, rows: Sequence[ChangedFace]) -> None:
    change.save()
    change.said = facts.statement_of(change, [row.face_id for row in rows])
    for row in rows:
        row.change = change
    ChangedFace.objects.bulk_create(rows)


def _lock_everybody(
    faces: Sequence[Face], who: Collection[int], enrolled: Mapping[int, Collection[int]]
) -> dict[int, Person]:
    """Lock everybody named by a decision on these faces, so that nobody can merge them meanwhile.

    Returns the people by pk. Raises Refused if one of `who` is gone.
    """
    words = {pk for face in faces for pk in people_named_by(face)}
    words |= {pk for some in enrolled.values() for pk in some} | set(who)
    people = lock_with_canonical(words)
    if set(who) - people.keys():
        raise Refused("That person was removed meanwhile. Type the name again.")
    return people


def _event(change: Change, one: DecidedFace, to_enrol: Collection[int]) -> DecisionEvent:
    decision = Decision.NONE
    if one.person is not None:
        decision = Decision.NAMED
    elif change.kind == ChangeKind.IGNORE:
        decision = Decision.IGNORED
    word = FaceDecision(
        decision=decision,
        person=one.person,
        by=change.actor_id,
        at=change.created_at.isoformat(),
        enrolled=one.face.pk in to_enrol,
    )
    return DecisionEvent(change.kind, word, one.not_them)


def put(
    *,
    actor: Actor,
    faces: Sequence[Face],
    was: Mapping[int, FaceDecision],
    now: Mapping[int, FaceDecision],
) -> None:
    """Bring faces, rejections and enrolments from `was` to `now`, as far as they differ.

    The faces come from `lock_faces`, and the people are locked. Faces whose decision doesn't differ
    keep their enrolments, so a picture that was removed by hand stays removed.
    """
    changed = [face for face in faces if was[face.pk].word != now[face.pk].word]
    for face in changed:
        _apply_decision(face, now[face.pk])
    _save_decisions(changed)
    _put_rejections(actor, faces, was, now)
    named = Person.objects.filter(pk__in={one.person for one in now.values() if one.person})
    canonical = dict(named.values_list("pk", "canonical"))
    pictures = {face.pk: _pictured(now[face.pk], canonical) for face in changed}
    people = enrol_crops(pictures, actor=actor) if pictures else set()
    resolve_identities({face.photo_id for face in faces})
    # Lists show only groups that have faces.
    groups = {face.grouped_person_id for face in faces if face.grouped_person_id is not None}
    if groups:
        count_faces(Person.objects.filter(pk__in=groups))
    queue_syncs(people, actor=actor)


def _pictured(decision: FaceDecision, canonical: Mapping[int, int]) -> int | None:
    """The pk of the person who gets the face's crop as a picture, or None."""
    return canonical[decision.person] if decision.enrolled and decision.person is not None else None


def _apply_decision(face: Face, decision: FaceDecision) -> None:
    face.decision = decision.decision
    face.decided_person_id = decision.person
    face.decided_by_id = decision.by
    face.decided_at = decision.decided_at
    face.found_by_run = None


def _save_decisions(faces: Sequence[Face]) -> None:
    """One statement if all faces got the same decision, which is nearly always."""
    words = {
        (face.decision, face.decided_person_id, face.decided_by_id, face.decided_at)
        for face in faces
    }
    if len(words) == 1:
        ((decision, person, by, at),) = words
        Face.everything.filter(pk__in=[face.pk for face in faces]).update(
            decision=decision,
            decided_person=person,
            decided_by=by,
            decided_at=at,
            found_by_run=None,
        )
    else:
        Face.everything.bulk_update(faces, WORDS, batch_size=500)


def _put_rejections(
    actor: Actor,
    faces: Sequence[Face],
    was: Mapping[int, FaceDecision],
    now: Mapping[int, FaceDecision],
) -> None:
    more = {
        (face.pk, person_pk)
        for face in faces
        for person_pk in now[face.pk].rejected - was[face.pk].rejected
    }
    fewer = {
        (face.pk, person_pk)
        for face in faces
        for person_pk in was[face.pk].rejected - now[face.pk].rejected
    }
    if fewer:
        rows = Rejection.objects.filter(face__in={face_pk for face_pk, _ in fewer})
        pks = [row.pk for row in rows if (row.face_id, row.person_id) in fewer]
        Rejection.objects.filter(pk__in=pks).delete()
    if more:
        Rejection.objects.bulk_create(
            [
                Rejection(face_id=face_pk, person_id=person_pk, created_by=actor.user)
                for face_pk, person_pk in sorted(more)
            ],
            ignore_conflicts=True,
        )


def space_of(faces: Sequence[Face]) -> Space:
    """The one space of all these faces. Raises Refused if there are several."""
    spaces = {face.photo.gallery.space_id for face in faces}
    if len(spaces) > 1:
        raise Refused("These faces are in several spaces. Name those of one space at a time.")
    return faces[0].photo.gallery.space
