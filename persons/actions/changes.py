"""Undo of a human's decision, exactly, also when later decisions build on it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from django.db import transaction
from django.utils import timezone

from persons import audit
from persons.actions.apply_decisions import lock_faces, put
from persons.actions.decision_events import FaceDecision, without
from persons.actions.enrolment_selection import enrolled_as, lock_people, lock_with_canonical
from persons.actions.merging import part
from persons.actions.naming import give_label
from persons.audit import Actor
from persons.chain.entries import moment
from persons.errors import Refused
from persons.faces.identity import people_named_by
from persons.models import Change, ChangedFace, Decision, Face, Person
from persons.models.changes import ChangeKind
from persons.people.orphans import has_traces, remove_if_unmade


@transaction.atomic
def undo(*, actor: Actor, change: Change) -> Change:
    """Take a change back as if it had never been made; later decisions on the same faces stay.

    Crops follow their faces. A person whom it created is removed if nothing else refers to them; a
    name that it gave is removed unless it was changed since. The result's `notice` says what could
    not be restored as it was. Raises Refused if it is undone already or can't be undone.
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
        _replay_events(actor, change)
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
        after={"undone_at": moment(change.undone_at)},
    )
    return change


def _replay_events(actor: Actor, change: Change) -> None:
    """Replay the events on each face without this change's event."""
    of_change = ChangedFace.objects.filter(change=change, undone=False)
    faces = lock_faces(of_change.values_list("face", flat=True), trashed=True)
    # Read under the lock, so that no other undo of the same faces is under way.
    lines: dict[int, list[ChangedFace]] = defaultdict(list)
    since = ChangedFace.objects.filter(face__in=faces, undone=False, change__gte=change.pk)
    for row in since.select_related("change").order_by("pk"):
        lines[row.face_id].append(row)
    was: dict[int, FaceDecision] = {}
    now: dict[int, FaceDecision] = {}
    rewritten: list[ChangedFace] = []
    for face in faces:
        row, *later = lines[face.pk]
        replayed = without(row, later)
        was[face.pk], now[face.pk] = replayed.was, replayed.now
        rewritten += replayed.rewritten
    now = _of_people_still_there(now)
    _lock_everybody(faces, now)
    ChangedFace.objects.bulk_update(rewritten, ["before", "after"], batch_size=500)
    of_change.update(undone=True)
    put(actor=actor, faces=faces, was=was, now=now)


def _of_people_still_there(decisions: Mapping[int, FaceDecision]) -> dict[int, FaceDecision]:
    """Clear decisions that name people who were removed since."""
    named = {
        pk for one in decisions.values() for pk in (one.person, *one.rejected) if pk is not None
    }
    there = set(Person.objects.filter(pk__in=named).values_list("pk", flat=True))
    found = {}
    for face_pk, one in decisions.items():
        if one.person is not None and one.person not in there:
            one = replace(one, decision=Decision.NONE, person=None, enrolled=False)
        found[face_pk] = replace(one, rejected=one.rejected & there)
    return found


def _lock_everybody(faces: Sequence[Face], now: Mapping[int, FaceDecision]) -> None:
    words = {pk for face in faces for pk in people_named_by(face)}
    words |= {one.person for one in now.values() if one.person is not None}
    words |= {pk for some in enrolled_as(face.pk for face in faces).values() for pk in some}
    lock_with_canonical(words)


def _forget_name(actor: Actor, change: Change) -> None:
    """Remove the person or the name that the change created, unless anything else depends on it."""
    if change.person_id is None:
        return
    person = lock_people([change.person_id]).get(change.person_id)
    if person is None or person.label != change.label or remove_if_unmade(person, actor=actor):
        return
    if person.created_by_id is None and not has_traces(person, of_humans=True):
        give_label(actor=actor, person=person, label="")


def _whom(change: Change) -> dict[str, object]:
    return {"label": change.person.name} if change.person else {}
