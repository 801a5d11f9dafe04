"""Two people who are one, one person who is two, and pairs that are never one.

Merging is a pointer: the merged person's row, name and words on faces stay, so that parting them
again is exact. Faces that say so count for the one merged into (`persons.settling`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q

from persons import audit, consent, tasks
from persons.actions.deciding import Given, decide, lock_faces, space_of
from persons.actions.naming import (
    clean_label,
    free_label,
    give_label,
    lock_space,
    who_is_meant,
)
from persons.actions.pictures import bring_home, move_pictures
from persons.actions.teaching import lock_people, queue_syncs
from persons.audit import Actor
from persons.errors import Refused
from persons.likeness import never_these_two
from persons.locking import in_turn, locked
from persons.models import Change, Decision, Face, Person, Photo, Rejection, Space
from persons.models.changes import ChangeKind
from persons.models.faces import FaceQuerySet
from persons.pipeline.following import queue_following
from persons.settling import of_one, photos_with_several, roots_of, settle_in_turn, subtree_of

MOST_MOVED = 20
MOST_SETTLED = 10
"""Faces that are moved, and photos that are settled, while somebody waits for it: a row of a big
table takes up to a millisecond, and a review's key is to be answered at once. Where there are more,
a worker goes through them: until it is done, some still stand under the old name."""


@transaction.atomic
def merge_people(*, actor: Actor, person: Person, into: Person) -> Change:
    """`person` turned out to be `into`: whose faces they have, and whose pictures at Vision.

    `into` keeps its name, or gets the other's where it has none. Where `into` was merged itself,
    the one it was merged into is meant. Raises Refused with the reason.
    """
    space = lock_space(person.space_id)
    person, into = _fresh(person, into)
    refused = why_not_merged(person, into)
    if refused:
        raise Refused(refused)
    into = _root(into)
    theirs = subtree_of(person.pk)
    faces = Face.everything.filter(person=person)
    count, photos = faces.count(), set[int]()
    if count <= MOST_MOVED:
        photos = _photos_of_both(person, into) | _photos_rejected(theirs | subtree_of(into.pk))
    is_long = count > MOST_MOVED or len(photos) > MOST_SETTLED
    if not is_long:
        photos = _lock_photos(photos)
        count = _move(faces, into.pk)
    people = lock_people([person.pk, into.pk])
    person, into = people[person.pk], people[into.pk]
    person.merged_into = into
    person.save(update_fields=["merged_into"])
    label = person.label if person.label and not into.label else ""
    if label:
        give_label(actor=actor, person=into, label=label)
    Person.objects.filter(pk=into.pk).update(face_count=F("face_count") + count)
    if is_long:
        _follow(actor, space, theirs, into)
    else:
        settle_in_turn(photos)
        tasks.ring(tasks.settle_person, into.pk)
    queue_syncs(move_pictures(person, into, actor=actor), actor=actor)
    change = Change.objects.create(
        team=space.team,
        space=space,
        kind=ChangeKind.MERGE,
        person=person,
        other=into,
        label=label,
        face_count=count,
        actor=actor.user,
    )
    audit.record(
        actor=actor,
        team=space.team,
        action="person.merge",
        target=person,
        after={"into": into.name, "faces": count, "change": change.pk},
    )
    return change


def why_not_merged(person: Person, into: Person) -> str:
    """Why the two can't be merged, for the user; empty where they can."""
    if person.space_id != into.space_id:
        return "They are in different spaces: only people of one space can be merged."
    if person.merged_into_id is not None:
        root = _root(person)
        return f"{person.name} was merged into {root.name} already."
    root = _root(into)
    if root.pk == person.pk:
        if into.pk == person.pk:
            return "That is the same person. Choose another one."
        return f"{into.name} was merged into {person.name} already."
    likeness = never_these_two(person.pk, root.pk)
    if likeness is not None:
        who = f" by {likeness.decided_by}" if likeness.decided_by else ""
        return (
            f"{likeness.one.name} and {likeness.other.name} were marked as never the same"
            f" person{who}. Take that back first: it stands on the page of either."
        )
    return ""


def part(*, actor: Actor, change: Change) -> None:
    """Undo a merge: what was said for the merged person is theirs again, what was said since stays.

    To be called in a transaction that has locked the change. Sets its `notice`.
    """
    lock_space(change.space_id)
    # Each needs a consent of their own again.
    consent.moved(change.space_id)
    if change.person is None:
        raise Refused("That can't be undone any more: the merged person is gone.")
    pk = change.person.pk
    root_pk = roots_of([pk])[pk]
    if root_pk == pk:
        [person] = _fresh(change.person)
        raise Refused(f"{person.name} is not merged any more.")
    theirs = subtree_of(pk)
    moved = said_for(root_pk, theirs)
    count, photos = moved.count(), set[int]()
    if count <= MOST_MOVED:
        photos = photos_with_several(root_pk, among=moved)
        photos |= _photos_rejected(theirs | subtree_of(root_pk))
    is_long = count > MOST_MOVED or len(photos) > MOST_SETTLED
    if not is_long:
        photos = _lock_photos(photos)
        count = _move(moved, pk)
    # With those that had not followed yet.
    count = Face.everything.filter(person=pk).count() + (count if is_long else 0)
    others = [change.other_id] if change.other_id else []
    people = lock_people([pk, root_pk, *others])
    if pk not in people:
        raise _removed(change.person)
    person, root = people[pk], people[root_pk]
    into = people.get(change.other_id or 0)
    change.notice = _labels_apart(actor, change, person, into)
    person.merged_into, person.face_count = None, count
    person.save(update_fields=["merged_into", "face_count", *(["label"] if change.notice else [])])
    if is_long:
        _follow(actor, person.space, theirs, root)
    else:
        settle_in_turn(photos)
        tasks.ring(tasks.settle_person, root.pk)
    queue_syncs(bring_home(person, root, theirs, actor=actor), actor=actor)


def _labels_apart(actor: Actor, change: Change, person: Person, into: Person | None) -> str:
    """Each has the name from before, where nobody else has got it; what had to be otherwise."""
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
    person.label = wanted
    return notice


def _was_named_since(into: Person, change: Change) -> bool:
    """Whether humans have given faces to the survivor, by the name that it got."""
    theirs = Face.everything.filter(decision=Decision.NAMED, decided_person=into)
    return theirs.filter(decided_at__gt=change.created_at).exists()


def said_for(root_pk: int, people: Collection[int]) -> FaceQuerySet:
    """Faces of `root_pk` because of a word for one of `people`, who were merged into it.

    As if none of these had been rejected: where one was, `settle_photos` has the last word.
    """
    undecided = Q(decision=Decision.NONE)
    not_found = Rejection.objects.filter(face=OuterRef("pk"), person=OuterRef("found_person"))
    return Face.everything.filter(
        Q(decision=Decision.NAMED, decided_person__in=people)
        | undecided & Q(found_person__in=people)
        | undecided & Q(grouped_person__in=people) & (Q(found_person=None) | Exists(not_found)),
        person=root_pk,
    )


@transaction.atomic
def split_person(*, actor: Actor, person: Person, faces: Sequence[Face], label: str) -> Change:
    """These faces of one person are somebody else's, new or known: a human's word for each.

    Their pictures at Vision move with them. Faces that aren't the person's any more are left out.
    """
    label = clean_label(label)
    if not faces:
        raise Refused("Choose the faces that are somebody else's.")
    root = _root(*_fresh(person))
    space = space_of(faces)
    if space.pk != root.space_id:
        raise Refused(f"These faces are not in the space of {root.name}.")
    meant = who_is_meant(actor=actor, space=space, label=label)
    if meant.person.pk == root.pk:
        raise Refused(f"These faces are {root.name}'s now. Type somebody else's name.")
    # With those that have not followed yet, if somebody was merged into them just now.
    theirs = of_one(lock_faces(face.pk for face in faces), root.pk)
    if not theirs:
        raise Refused(f"None of these faces is {root.name}'s any more. Reload the page.")
    change = decide(
        actor=actor,
        kind=ChangeKind.SPLIT,
        given=[Given(face, meant.person.pk) for face in theirs],
        person=meant.person,
        other=root,
        new_label=label if meant.is_new else "",
    )
    audit.record(
        actor=actor,
        team=space.team,
        action="person.split",
        target=root,
        after={"to": meant.person.name, "faces": len(theirs), "change": change.pk},
    )
    return change


def _fresh(*people: Person) -> list[Person]:
    """As they are now; whether they are merged can't change while the space is locked."""
    there = Person.objects.select_related("space__team").filter(erasing=False)
    found = there.in_bulk([person.pk for person in people])
    for person in people:
        if person.pk not in found:
            raise _removed(person)
    return [found[person.pk] for person in people]


def _removed(person: Person) -> Refused:
    return Refused(f"{person.name} was removed meanwhile.")


def _root(person: Person) -> Person:
    """Of somebody who was read under the space's lock, or where nothing depends on a stale one."""
    if person.merged_into_id is None:
        return person
    return Person.objects.select_related("space").get(pk=roots_of([person.pk])[person.pk])


def _photos_of_both(person: Person, into: Person) -> set[int]:
    """Where the two are together: then one of them is there twice."""
    with_into = Face.everything.filter(person=into).values("photo")
    both = Face.everything.filter(person=person, photo__in=with_into)
    return set(both.values_list("photo", flat=True))


def _photos_rejected(people: Collection[int]) -> set[int]:
    """Where somebody said of a face that it is not one of these people."""
    rejections = Rejection.objects.filter(person__in=people)
    return set(rejections.values_list("face__photo", flat=True))


def _lock_photos(pks: Collection[int]) -> set[int]:
    return set(locked(Photo.everything.filter(pk__in=pks)).values_list("pk", flat=True))


def _follow(actor: Actor, space: Space, people: Collection[int], root: Person) -> None:
    """The faces, some thousands, are moved by a worker, photo by photo; the words on them stay."""
    job = queue_following(space, actor.user, people=people, root=root.pk)
    tasks.ring(tasks.space_job, job.pk)


def _move(faces: FaceQuerySet, person_pk: int) -> int:
    """One statement, however many faces; they are locked in the order in which all lock them."""
    return in_turn(faces).update(person=person_pk)
