"""Merging two people, parting them again, and splitting one person into two.

Merging sets a pointer: the merged person's row, name and decisions on faces stay, so that parting
them again is exact. Their faces belong to the canonical person (`persons.faces.identity`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q

from persons import audit, tasks
from persons.actions.apply_decisions import DecidedFace, Subject, decide, lock_faces, space_of
from persons.actions.enrolment_selection import lock_people, queue_syncs
from persons.actions.naming import (
    clean_label,
    free_label,
    give_label,
    lock_space,
    who_is_meant,
)
from persons.actions.pictures import move_pictures, return_to_origin
from persons.audit import Actor
from persons.chain import facts
from persons.db.locking import in_turn, locked
from persons.errors import Refused
from persons.faces.identity import (
    enqueue_resolution,
    of_one,
    photos_with_several,
    resolve_in_batches,
)
from persons.models import Change, Decision, Face, Person, Photo, Rejection
from persons.models.canonical import Family, set_merged_into
from persons.models.changes import ChangeKind
from persons.models.faces import FaceQuerySet
from persons.people.duplicates import never_these_two
from persons.pipeline.identity.merge_propagation import enqueue_merge_propagation
from persons.privacy import consent
from persons.work import Work

MOST_MOVED = 20
MOST_RESOLVED = 10
"""The most faces moved, and photos resolved, within a request.

A row of a big table takes up to a millisecond, and a key press in the review has to be answered at
once. If there are more, a worker goes through them: until then some still show the old name.
"""


@transaction.atomic
def merge_people(*, actor: Actor, person: Person, into: Person) -> Change:
    """Merge `person` into `into`, with their faces and their enrolled pictures.

    `into` keeps its name, or takes the other's if it has none. If `into` was merged itself, its
    canonical person is meant. Raises Refused with the reason.
    """
    space = lock_space(person.space_id)
    person, into = _fresh(person, into)
    refused = why_not_merged(person, into)
    if refused:
        raise Refused(refused)
    pk, into_pk = person.pk, into.canonical_id
    theirs = set(Person.objects.filter(canonical=pk).values_list("pk", flat=True))
    moved = _move(
        Face.everything.filter(person=pk),
        into_pk,
        lambda: _photos_of_both(pk, into_pk) | _photos_rejected(pk, into_pk),
    )
    people = lock_people({*theirs, into_pk})
    person, into = people[pk], people[into_pk]
    set_merged_into(person, into, subtree=theirs)
    label = person.label if person.label and not into.label else ""
    if label:
        give_label(actor=actor, person=into, label=label)
    Person.objects.filter(pk=into.pk).update(face_count=F("face_count") + moved.count)
    _resolve_moved(moved, actor=actor, people=theirs, canonical=into)
    queue_syncs(move_pictures(person, into, actor=actor), actor=actor)
    change = Change.objects.create(
        team=space.team,
        space=space,
        kind=ChangeKind.MERGE,
        person=person,
        other=into,
        label=label,
        face_count=moved.count,
        actor=actor.user,
    )
    audit.record(
        actor=actor,
        team=space.team,
        action="person.merge",
        target=person,
        after={
            "into": into.name,
            "faces": moved.count,
            "change": change.pk,
            "said": facts.statement_of(change, ()),
        },
    )
    return change


def why_not_merged(person: Person, into: Person) -> str:
    """Why the two can't be merged, for the user; "" if they can."""
    if person.space_id != into.space_id:
        return "They are in different spaces: only people of one space can be merged."
    if person.merged_into_id is not None:
        return f"{person.name} was merged into {person.canonical.name} already."
    if into.pk == person.pk:
        return "That is the same person. Choose another one."
    if into.canonical_id == person.pk:
        return f"{into.name} was merged into {person.name} already."
    likeness = never_these_two(person.pk, into.canonical_id)
    if likeness is not None:
        who = f" by {likeness.decided_by}" if likeness.decided_by else ""
        return (
            f"{likeness.one.name} and {likeness.other.name} were marked as never the same"
            f" person{who}. Take that back first: it stands on the page of either."
        )
    return ""


def part(*, actor: Actor, change: Change) -> None:
    """Undo a merge: decisions made for the merged person are theirs again, and later ones stay.

    Call it in a transaction that has locked the change. Sets its `notice`. Raises Refused.
    """
    lock_space(change.space_id)
    # Each of the two needs a consent of their own again.
    consent.moved(change.space_id)
    if change.person is None:
        raise Refused("That can't be undone any more: the merged person is gone.")
    pk, family = change.person.pk, Family.of(change.person.pk)
    if not family.pointers.get(pk):
        [person] = _fresh(change.person)
        raise Refused(f"{person.name} is not merged any more.")
    from_pk, theirs = family.canonical, family.subtree(pk)
    faces = faces_named_as(from_pk, theirs)
    moved = _move(
        faces,
        pk,
        lambda: photos_with_several(from_pk, among=faces) | _photos_rejected(from_pk),
    )
    # Includes faces that the merge had not moved yet.
    count = Face.everything.filter(person=pk).count() + (moved.count if moved.is_left else 0)
    people = lock_people({*theirs, from_pk, change.other_id or from_pk})
    if pk not in people:
        raise _removed(change.person)
    person, canonical = people[pk], people[from_pk]
    into = people.get(change.other_id or 0)
    change.notice = _labels_apart(actor, change, person, into)
    set_merged_into(person, None, subtree=theirs)
    person.face_count = count
    person.save(update_fields=["face_count"])
    _resolve_moved(moved, actor=actor, people=theirs, canonical=canonical)
    queue_syncs(return_to_origin(person, canonical, theirs, actor=actor), actor=actor)


def _labels_apart(actor: Actor, change: Change, person: Person, into: Person | None) -> str:
    """Give both their names from before the merge, if still free; returns what had to differ."""
    if (
        into is not None
        and change.label
        and into.label == change.label
        and not _was_named_since(into, change)
    ):
        give_label(actor=actor, person=into, label="")
    if not person.label:
        return ""
    wanted = free_label(person.space, person.label)
    if wanted == person.label:
        return ""
    notice = (
        f"Somebody else is called “{person.label}” by now, so this one is “{wanted}” until "
        "you rename them."
    )
    give_label(actor=actor, person=person, label=wanted)
    return notice


def _was_named_since(into: Person, change: Change) -> bool:
    """Whether a human has named a face as the survivor since the merge."""
    theirs = Face.everything.filter(decision=Decision.NAMED, decided_person=into)
    return theirs.filter(decided_at__gt=change.created_at).exists()


def faces_named_as(canonical: int, people: Collection[int]) -> FaceQuerySet:
    """Faces of `canonical` because a decision or result names one of `people`, merged into them.

    It ignores rejections of `people`: `resolve_identities` decides about those.
    """
    undecided = Q(decision=Decision.NONE)
    not_found = Rejection.objects.filter(face=OuterRef("pk"), person=OuterRef("found_person"))
    return Face.everything.filter(
        Q(decision=Decision.NAMED, decided_person__in=people)
        | undecided & Q(found_person__in=people)
        | undecided & Q(grouped_person__in=people) & (Q(found_person=None) | Exists(not_found)),
        person=canonical,
    )


@transaction.atomic
def split_person(*, actor: Actor, person: Person, faces: Sequence[Face], label: str) -> Change:
    """Give some of a person's faces to somebody else, new or known: a human decision on each face.

    Their enrolled pictures move with them. Faces that are no longer the person's are left out.
    Raises Refused.
    """
    label = clean_label(label)
    if not faces:
        raise Refused("Choose the faces that are somebody else's.")
    [whole] = _fresh(person)
    if whole.merged_into_id is not None:
        whole = whole.canonical
    space = space_of(faces)
    if space.pk != whole.space_id:
        raise Refused(f"These faces are not in the space of {whole.name}.")
    meant = who_is_meant(actor=actor, space=space, label=label)
    if meant.person.pk == whole.pk:
        raise Refused(f"These faces are {whole.name}'s now. Type somebody else's name.")
    # Includes faces that a merge has not moved yet.
    theirs = of_one(lock_faces(face.pk for face in faces), whole.pk)
    if not theirs:
        raise Refused(f"None of these faces is {whole.name}'s any more. Reload the page.")
    change = decide(
        actor=actor,
        kind=ChangeKind.SPLIT,
        given=[DecidedFace(face, meant.person.pk) for face in theirs],
        subject=Subject(meant.person, other=whole, label=label if meant.is_new else ""),
    )
    entry = audit.record(
        actor=actor,
        team=space.team,
        action="person.split",
        target=whole,
        after={
            "to": meant.person.name,
            "faces": len(theirs),
            "change": change.pk,
            "said": change.said,
        },
    )
    audit.concern(entry, {face.gallery_id for face in theirs})
    return change


def _fresh(*people: Person) -> list[Person]:
    """Reload these people. While the space is locked, nobody can merge them."""
    there = Person.objects.select_related("space__team").filter(erasing=False)
    found = there.in_bulk([person.pk for person in people])
    for person in people:
        if person.pk not in found:
            raise _removed(person)
    return [found[person.pk] for person in people]


def _removed(person: Person) -> Refused:
    return Refused(f"{person.name} was removed meanwhile.")


@dataclass(frozen=True, slots=True)
class MovedFaces:
    """`count` faces got another person; `photos`, which are locked, have yet to be resolved.

    With `is_left` nothing was moved: `count` faces are too many for a request.
    """

    count: int
    photos: frozenset[int] = frozenset()
    is_left: bool = False


def _move(faces: FaceQuerySet, to: int, affected: Callable[[], set[int]]) -> MovedFaces:
    """Give these faces to a person, if they and the `affected` photos are few.

    Call it before people are locked. It takes one statement, however many faces, and locks them in
    the common order.
    """
    count = faces.count()
    if count > MOST_MOVED:
        return MovedFaces(count, is_left=True)
    photos = affected()
    if len(photos) > MOST_RESOLVED:
        return MovedFaces(count, is_left=True)
    there = _lock_photos(photos)
    return MovedFaces(in_turn(faces).update(person=to), frozenset(there))


def _resolve_moved(
    moved: MovedFaces, *, actor: Actor, people: Collection[int], canonical: Person
) -> None:
    """Resolve the moved faces, now that `people` were merged into `canonical` or parted from them.
    If nothing was moved, a worker goes through the photos instead."""
    if moved.is_left:
        enqueue_merge_propagation(
            canonical.space, actor.user, people=people, canonical=canonical.pk
        )
        tasks.enqueue(Work.JOBS)
        return
    resolve_in_batches(moved.photos)
    enqueue_resolution(canonical.pk)
    tasks.enqueue(Work.IDENTITY)


def _photos_of_both(one: int, other: int) -> set[int]:
    """Photos that show both: after a merge, one person is on them twice."""
    with_other = Face.everything.filter(person=other).values("photo")
    both = Face.everything.filter(person=one, photo__in=with_other)
    return set(both.values_list("photo", flat=True))


def _photos_rejected(*canonical: int) -> set[int]:
    """Photos with a rejection of one of these people or of anybody merged into them."""
    rejections = Rejection.objects.filter(person__canonical__in=canonical)
    return set(rejections.values_list("face__photo", flat=True))


def _lock_photos(pks: Collection[int]) -> set[int]:
    return set(locked(Photo.everything.filter(pk__in=pks)).values_list("pk", flat=True))
