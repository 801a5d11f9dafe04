"""Writing what a human says of faces, one or hundreds, with a fixed number of queries.

Photos are locked, all their faces, then all people of whom a word on these speaks: in the order of
`persons.locking`. The space is locked, before them, only by who makes, merges or parts people.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from django.utils import timezone

from persons.actions.naming import give_label
from persons.actions.teaching import (
    enrolled_as,
    lock_people,
    queue_syncs,
    teach,
    worth_teaching,
)
from persons.actions.words import Deed, Said, row_of, said_of
from persons.audit import Actor
from persons.errors import Refused
from persons.locking import locked
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
from persons.settling import count_faces, raw_words, roots_of, settle_photos

WORDS = ["decision", "decided_person", "decided_by", "decided_at", "found_by_run"]


@dataclass(frozen=True, slots=True)
class Given:
    """A face and who it is from now on, by pk; nobody where it is ignored, cleared or rejected."""

    face: Face
    person: int | None = None
    not_them: frozenset[int] = frozenset()


def lock_faces(face_pks: Iterable[int], *, trashed: bool = False) -> list[Face]:
    """Those of the faces that are still there, in order, with their photos' other faces locked too.
    Of somebody who was erased no face is there.

    `photo.gallery.space` and `person` come with them.
    """
    wanted = set(face_pks)
    theirs = Face.everything.filter(pk__in=wanted).values("photo")
    rows = Photo.everything.filter(pk__in=theirs).select_related("gallery__space__team")
    photos = {photo.pk: photo for photo in locked(rows)}
    faces = Face.everything.filter(photo__in=photos)
    if len(photos) > 1:
        # Group photos have many more faces than are wanted: locked, but not loaded.
        list(locked(faces).values_list("pk"))
        faces = faces.filter(pk__in=wanted)
    found = [
        face
        for face in locked(faces)
        if face.pk in wanted and (trashed or not face.trashed) and face.decision != Decision.ERASED
    ]
    # One face of a group photo: what belongs to it is not loaded with each of the others.
    people = Person.objects.in_bulk([face.person_id for face in found if face.person_id])
    for face in found:
        face.photo = photos[face.photo_id]
        face.person = people.get(face.person_id) if face.person_id else None
    return found


def decide(
    *,
    actor: Actor,
    kind: ChangeKind,
    given: Sequence[Given],
    person: Person | None = None,
    other: Person | None = None,
    new_label: str = "",
    gets_label: bool = False,
    teach_all: bool = False,
) -> Change:
    """Write a Change, and what it says of each face. `given` has faces from `lock_faces`.

    `new_label` is what `person` is called because of it: they were made for it, or get it now.
    `teach_all` enrols every crop of the named faces, else the best few are (`worth_teaching`).
    Raises Refused where a person is gone, or got another name meanwhile.
    """
    faces = [one.face for one in given]
    space = faces[0].photo.gallery.space
    who = {one.person for one in given if one.person is not None}
    enrolled = enrolled_as(face.pk for face in faces)
    befores = said_of(faces, enrolled)
    people = _lock_everybody(faces, who, enrolled)
    if person is not None and gets_label:
        person = people[person.pk]
        if person.label:
            raise Refused(f"Somebody named them “{person.label}” meanwhile.")
        give_label(actor=actor, person=person, label=new_label)
    change = Change(
        team=space.team,
        space=space,
        kind=kind,
        person=person,
        other=other,
        label=new_label,
        face_count=len(faces),
        actor=actor.user,
        created_at=timezone.now(),
    )
    # Whose face has not followed a merge yet has their pictures where it leads to.
    merged = {pk for pk in who if people[pk].merged_into_id is not None}
    roots = roots_of(merged)
    named = [
        (one.face, roots.get(one.person, one.person)) for one in given if one.person is not None
    ]
    taught: set[int] = set()
    if teach_all:
        taught = {face.pk for face in faces}
    elif named:
        taught = worth_teaching(named, already=enrolled)
    if kind == ChangeKind.SPLIT:
        # Its picture moves with each face that has one.
        taught |= {pk for pk, said in befores.items() if said.taught}
    rows = [row_of(_deed(change, one, taught), one.face, befores[one.face.pk]) for one in given]
    change.save()
    for row in rows:
        row.change = change
    ChangedFace.objects.bulk_create(rows)
    afters = {row.face_id: Said.of_json(row.after) for row in rows}
    put(actor=actor, faces=faces, was=befores, now=afters)
    return change


def _lock_everybody(
    faces: Sequence[Face], who: Collection[int], enrolled: Mapping[int, Collection[int]]
) -> dict[int, Person]:
    """Lock whoever a word on these faces speaks of, so that nobody merges them meanwhile.

    Returns the people by pk. Raises Refused where one of `who` is gone.
    """
    words = {pk for face in faces for pk in raw_words(face)}
    words |= {pk for some in enrolled.values() for pk in some} | set(who)
    people = lock_people(words | set(roots_of(words).values()))
    if set(who) - people.keys():
        raise Refused("That person was removed meanwhile. Type the name again.")
    return people


def _deed(change: Change, one: Given, taught: Collection[int]) -> Deed:
    decision = Decision.NONE
    if one.person is not None:
        decision = Decision.NAMED
    elif change.kind == ChangeKind.IGNORE:
        decision = Decision.IGNORED
    word = Said(
        decision=decision,
        person=one.person,
        by=change.actor_id,
        at=change.created_at.isoformat(),
        taught=one.face.pk in taught,
    )
    return Deed(change.kind, word, one.not_them)


def put(
    *, actor: Actor, faces: Sequence[Face], was: Mapping[int, Said], now: Mapping[int, Said]
) -> None:
    """Bring faces, rejections and enrolments from `was` to `now`, as far as they differ.

    The faces are from `lock_faces`, the people are locked. What nobody said here stays as it is,
    as a picture that was removed by hand.
    """
    changed = [face for face in faces if was[face.pk].word != now[face.pk].word]
    for face in changed:
        _put_word(face, now[face.pk])
    _save_words(changed)
    _put_rejections(actor, faces, was, now)
    roots = roots_of({said.person for said in now.values() if said.person is not None})
    pictures = {face.pk: _pictured(now[face.pk], roots) for face in changed}
    people = teach(pictures, actor=actor) if pictures else set()
    settle_photos({face.photo_id for face in faces})
    # A group that is empty by now is not listed, and one that has faces again is.
    groups = {face.grouped_person_id for face in faces if face.grouped_person_id is not None}
    if groups:
        count_faces(Person.objects.filter(pk__in=groups))
    queue_syncs(people, actor=actor)


def _pictured(said: Said, roots: Mapping[int, int]) -> int | None:
    """Whose picture the crop of such a face is, if anybody's."""
    return roots[said.person] if said.taught and said.person is not None else None


def _put_word(face: Face, said: Said) -> None:
    face.decision = said.decision
    face.decided_person_id = said.person
    face.decided_by_id = said.by
    face.decided_at = said.decided_at
    face.found_by_run = None


def _save_words(faces: Sequence[Face]) -> None:
    """One statement where all have got the same word, which is nearly always."""
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
    actor: Actor, faces: Sequence[Face], was: Mapping[int, Said], now: Mapping[int, Said]
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
    """The one space of all these faces. Raises Refused where there are several."""
    spaces = {face.photo.gallery.space_id for face in faces}
    if len(spaces) > 1:
        raise Refused("These faces are in several spaces. Name those of one space at a time.")
    return faces[0].photo.gallery.space
