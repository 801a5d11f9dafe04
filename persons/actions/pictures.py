"""Enrolled pictures move with the person whom a merge, or its undoing, makes them pictures of.

Vision has no way to move one: it is set for the one and the other is deleted, by two syncs.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from persons.actions.teaching import STANDING, teach, withdraw
from persons.audit import Actor
from persons.models import Decision, Enrolment, EnrolmentState, Person


def move_pictures(person: Person, into: Person, *, actor: Actor) -> set[int]:
    """Copies of `person`'s pictures for `into`, and the originals go; whose sync has work.

    Both are locked. What `into` has already is not doubled.
    """
    standing = list(person.enrolments.filter(state__in=STANDING).order_by("pk"))
    if not standing:
        return set()
    theirs = list(into.enrolments.filter(state__in=STANDING).only("person", "face", "sha256"))
    faces = {row.face_id for row in theirs}
    digests = {row.sha256 for row in theirs if row.face_id is None}
    Enrolment.objects.bulk_create(
        Enrolment(
            person=into,
            face_id=row.face_id,
            sha256=row.sha256,
            image=row.image,
            margin=row.margin,
            state=row.state if row.state == EnrolmentState.FAILED else EnrolmentState.QUEUED,
            error=row.error if row.state == EnrolmentState.FAILED else "",
            origin=row,
            created_by_id=row.created_by_id or (actor.user.pk if actor.user else None),
            request_id=actor.request_id,
        )
        for row in standing
        if (row.sha256 not in digests if row.face_id is None else row.face_id not in faces)
    )
    withdraw(person.enrolments.all())
    return {person.pk, into.pk}


def bring_home(person: Person, root: Person, theirs: Collection[int], *, actor: Actor) -> set[int]:
    """Pictures that `root` has only because `person` was merged into it; whose sync has work.

    A named face's picture goes where the name says: `theirs` are the pks of `person` and all who
    were merged into them. Any other goes back to the one that it is a copy of. What was removed at
    the root meanwhile stays removed. Both people are locked.
    """
    rows = list(root.enrolments.filter(state__in=STANDING).select_related("face").order_by("pk"))
    origins = _origins(rows, person)
    faces: dict[int, int | None] = {}
    others: list[Enrolment] = []
    for row in rows:
        face = row.face
        if face is not None and face.decision == Decision.NAMED:
            if face.decided_person_id in theirs:
                faces[face.pk] = person.pk
        elif row.pk in origins:
            others.append(row)
    changed = teach(faces, actor=actor) if faces else set()
    if others:
        withdraw(Enrolment.objects.filter(pk__in=[row.pk for row in others]))
        Enrolment.objects.bulk_create(
            origins[row.pk].once_more(actor.user, request_id=actor.request_id) for row in others
        )
        changed |= {person.pk, root.pk}
    return changed


def _origins(rows: Sequence[Enrolment], person: Person) -> dict[int, Enrolment]:
    """By the pk of each of `rows` that goes back to a picture of `person`, that picture."""
    found: dict[int, Enrolment] = {}
    ahead = {row.pk: row.origin_id for row in rows if row.origin_id is not None}
    while ahead:
        parents = Enrolment.objects.in_bulk(set(ahead.values()))
        following: dict[int, int] = {}
        for pk, origin_pk in ahead.items():
            parent = parents.get(origin_pk)
            if parent is None:
                continue
            if parent.person_id == person.pk:
                found[pk] = parent
            elif parent.origin_id is not None:
                following[pk] = parent.origin_id
        ahead = following
    return found
