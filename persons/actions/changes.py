"""Taking back what a human did, exactly, also after others have gone on from there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from django.db import transaction
from django.utils import timezone

from persons import audit
from persons.actions.deciding import lock_faces, put
from persons.actions.merging import part
from persons.actions.naming import give_label
from persons.actions.teaching import enrolled_as, lock_people
from persons.actions.words import Said, without
from persons.audit import Actor
from persons.errors import Refused
from persons.models import Change, ChangedFace, Decision, Face, Person, User
from persons.models.changes import ChangeKind
from persons.settling import raw_words, roots_of
from persons.traces import has_traces, remove_if_unmade


@transaction.atomic
def undo(*, actor: Actor, change: Change) -> Change:
    """As if it had not been done: whatever else was said of the same faces since stays.

    Crops follow their faces. Somebody who was made by it goes, if nothing else speaks of them; a
    name that somebody got by it goes, unless it was changed since. Raises Refused where it is
    undone already, or can't be. What could not be as before stands in the result's `notice`.
    """
    locked = (
        Change.objects.select_for_update(of=("self",), no_key=True)
        .select_related("team", "person", "other")
        .filter(pk=change.pk)
        .first()
    )
    if locked is None:
        raise Refused("That can't be undone any more: its record is gone.")
    change = locked
    if change.undone_at is not None:
        raise Refused("That was undone already.")
    if change.kind == ChangeKind.MERGE:
        part(actor=actor, change=change)
    else:
        _retell(actor, change)
    change.undone_at = timezone.now()
    change.undone_by = actor.user
    change.save(update_fields=["undone_at", "undone_by"])
    if change.kind != ChangeKind.MERGE and change.label:
        _forget_name(actor, change)
    audit.record(
        actor=actor,
        team=change.team,
        action="change.undo",
        target=change,
        before={"kind": change.kind, "faces": change.face_count, **_whom(change)},
    )
    return change


def last_change_of(face: Face, user: User | None) -> Change | None:
    """What this user did last to the face, and has not taken back."""
    rows = ChangedFace.objects.filter(face=face, undone=False, change__actor=user)
    last = rows.select_related("change").order_by("-pk").first()
    return last.change if last is not None else None


def _retell(actor: Actor, change: Change) -> None:
    """Each face's line without this change's word."""
    of_change = ChangedFace.objects.filter(change=change, undone=False)
    faces = lock_faces(of_change.values_list("face", flat=True), trashed=True)
    # Read now that no other undo of the same faces can be under way.
    lines: dict[int, list[ChangedFace]] = defaultdict(list)
    since = ChangedFace.objects.filter(face__in=faces, undone=False, change__gte=change.pk)
    for row in since.select_related("change").order_by("pk"):
        lines[row.face_id].append(row)
    was: dict[int, Said] = {}
    now: dict[int, Said] = {}
    rewritten: list[ChangedFace] = []
    for face in faces:
        row, *later = lines[face.pk]
        told = without(row, later)
        was[face.pk], now[face.pk] = told.was, told.now
        rewritten += told.rewritten
    now = _of_people_still_there(now)
    _lock_everybody(faces, now)
    ChangedFace.objects.bulk_update(rewritten, ["before", "after"], batch_size=500)
    of_change.update(undone=True)
    put(actor=actor, faces=faces, was=was, now=now)


def _of_people_still_there(said: Mapping[int, Said]) -> dict[int, Said]:
    """A person of whom nothing was left may have been removed since: then nobody is named."""
    named = {pk for one in said.values() for pk in (one.person, *one.rejected) if pk is not None}
    there = set(Person.objects.filter(pk__in=named).values_list("pk", flat=True))
    found = {}
    for face_pk, one in said.items():
        if one.person is not None and one.person not in there:
            one = replace(one, decision=Decision.NONE, person=None, taught=False)
        found[face_pk] = replace(one, rejected=one.rejected & there)
    return found


def _lock_everybody(faces: Sequence[Face], now: Mapping[int, Said]) -> None:
    words = {pk for face in faces for pk in raw_words(face)}
    words |= {one.person for one in now.values() if one.person is not None}
    words |= {pk for some in enrolled_as(face.pk for face in faces).values() for pk in some}
    lock_people(words | set(roots_of(words).values()))


def _forget_name(actor: Actor, change: Change) -> None:
    """Whoever was made or named by it is as they were, if nobody has gone on from there."""
    if change.person_id is None:
        return
    person = lock_people([change.person_id]).get(change.person_id)
    if person is None or person.label != change.label or remove_if_unmade(person, actor=actor):
        return
    if person.created_by_id is None and not has_traces(person, of_humans=True):
        give_label(actor=actor, person=person, label="")


def _whom(change: Change) -> dict[str, object]:
    return {"label": change.person.name} if change.person else {}
