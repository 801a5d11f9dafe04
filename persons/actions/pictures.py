"""Enrolled pictures follow their person through a merge and its undoing.

Vision can't move a picture: one sync sets it for the new person, another deletes it for the old.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from persons.actions.enrolment_selection import STANDING, enrol_crops, withdraw
from persons.audit import Actor
from persons.models import Decision, Enrolment, EnrolmentState, Person


def move_pictures(person: Person, into: Person, *, actor: Actor) -> set[int]:
    """Copy `person`'s pictures to `into`, without those it has already, and withdraw the originals.

    Both people are locked. Returns the pks of the people who need a sync.
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
            gallery_id=row.gallery_id,
            source_lost=row.source_lost,
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


def return_to_origin(
    person: Person, into: Person, theirs: Collection[int], *, actor: Actor
) -> set[int]:
    """Give back the pictures that `into` has only because `person` was merged into them.

    A named face's picture goes to the named person: `theirs` are the pks of `person` and everybody
    merged into them. Any other goes back to the person it was copied from. Pictures removed from
    `into` meanwhile stay removed. Both people are locked. Returns the pks of the people who need a
    sync.
    """
    rows = list(into.enrolments.filter(state__in=STANDING).select_related("face").order_by("pk"))
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
    changed = enrol_crops(faces, actor=actor) if faces else set()
    if others:
        withdraw(Enrolment.objects.filter(pk__in=[row.pk for row in others]))
        Enrolment.objects.bulk_create(
            origins[row.pk].once_more(actor.user, request_id=actor.request_id) for row in others
        )
        changed |= {person.pk, into.pk}
    return changed


def _origins(rows: Sequence[Enrolment], person: Person) -> dict[int, Enrolment]:
    """By pk of `rows`, the picture of `person` that a row is a copy of, directly or through
    others."""
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
