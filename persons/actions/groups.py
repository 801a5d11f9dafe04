"""Grouping of unknown faces into people: start it, adjust the plan, then carry it out or cancel
it."""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone

from persons import audit, tasks
from persons.audit import Actor
from persons.errors import Refused
from persons.models import Gallery, Grouping, JobState, Space
from persons.pipeline.identity.grouping import faces_of
from persons.work import Work

THRESHOLD = 0.45
"""Mean cosine from which faces count as one person.

No wrong pair from 0.25 to 0.6 in the photos it was measured on; the higher, the more groups fall
apart. See tests/engine/test_engine_clustering.py.
"""

LOWEST, HIGHEST = 0.3, 0.7
UNDER_WAY = [JobState.QUEUED, JobState.RUNNING]


@transaction.atomic
def start_grouping(
    *, actor: Actor, space: Space, gallery: Gallery | None = None, threshold: float = THRESHOLD
) -> Grouping:
    """Enqueue a plan of which unknown faces of a space, or of one of its galleries, look alike.

    It changes no face: `make_groups` does. A plan that is ready for the same faces is cancelled.
    Raises Refused if one is under way.
    """
    _check(threshold)
    if gallery is not None and gallery.space_id != space.pk:
        raise Refused("That gallery is recognised against another space.")
    space = (
        Space.objects.select_for_update(of=("self",), no_key=True)
        .select_related("team")
        .get(pk=space.pk)
    )
    same = Grouping.objects.filter(space=space, gallery=gallery)
    if same.filter(state__in=UNDER_WAY).exists():
        raise Refused("These faces are being sorted already.")
    grouping = Grouping(
        space=space,
        gallery=gallery,
        threshold=threshold,
        requested_by=actor.user,
        request_id=actor.request_id,
    )
    grouping.total = faces_of(grouping).count()
    if grouping.total < 2:
        raise Refused("There are no unknown faces to sort here.")
    same.filter(state=JobState.READY).update(
        state=JobState.CANCELLED, plan=[], finished_at=timezone.now()
    )
    grouping.save()
    audit.record(
        actor=actor,
        team=space.team,
        action="grouping.start",
        target=grouping,
        after={
            "space": space.number,
            "gallery": gallery.slug if gallery else None,
            "faces": grouping.total,
            "threshold": threshold,
        },
    )
    tasks.enqueue(Work.GROUP)
    return grouping


@transaction.atomic
def change_threshold(*, actor: Actor, grouping: Grouping, threshold: float) -> Grouping:
    """Enqueue another plan at this threshold. The embeddings are kept."""
    _check(threshold)
    grouping = _locked(grouping)
    if grouping.state != JobState.READY:
        raise Refused("There is no plan to change.")
    before = grouping.threshold
    grouping.threshold = threshold
    grouping.plan = []
    grouping.state = JobState.QUEUED
    grouping.save(update_fields=["threshold", "plan", "state"])
    audit.record(
        actor=actor,
        team=grouping.space.team,
        action="grouping.threshold",
        target=grouping,
        before={"threshold": before},
        after={"threshold": threshold},
    )
    tasks.enqueue(Work.GROUP)
    return grouping


@transaction.atomic
def make_groups(*, actor: Actor, grouping: Grouping) -> Grouping:
    """Have a worker carry the plan out: it creates people without names and gives them the
    faces."""
    grouping = _locked(grouping)
    if grouping.state != JobState.READY or not grouping.plan:
        raise Refused("There is no plan to carry out.")
    people, faces = len(grouping.plan), sum(map(len, grouping.plan))
    grouping.requested_by, grouping.request_id = actor.user, actor.request_id
    grouping.state = JobState.QUEUED
    grouping.total, grouping.done = faces, 0
    grouping.save(update_fields=["requested_by", "request_id", "state", "total", "done"])
    audit.record(
        actor=actor,
        team=grouping.space.team,
        action="grouping.make",
        target=grouping,
        after={"people": people, "faces": faces},
    )
    tasks.enqueue(Work.GROUP)
    return grouping


@transaction.atomic
def cancel_grouping(*, actor: Actor, grouping: Grouping) -> Grouping:
    """Stop a grouping where it is. People it has created already stay."""
    grouping = _locked(grouping)
    if grouping.state not in [*UNDER_WAY, JobState.READY]:
        raise Refused("That is over already.")
    before = grouping.state
    grouping.state = JobState.CANCELLED
    grouping.plan = []
    grouping.finished_at = timezone.now()
    grouping.save(update_fields=["state", "plan", "finished_at"])
    audit.record(
        actor=actor,
        team=grouping.space.team,
        action="grouping.cancel",
        target=grouping,
        before={"state": before},
    )
    return grouping


def _check(threshold: float) -> None:
    if not LOWEST <= threshold <= HIGHEST:
        raise Refused(f"How alike faces have to be is a number from {LOWEST} to {HIGHEST}.")


def _locked(grouping: Grouping) -> Grouping:
    return (
        Grouping.objects.select_for_update(of=("self",))
        .select_related("space__team", "gallery")
        .get(pk=grouping.pk)
    )
