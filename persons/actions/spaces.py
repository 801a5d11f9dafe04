"""Changing a space's policy."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace

from django.db import transaction

from persons import audit, tasks
from persons.audit import Actor
from persons.errors import Refused
from persons.inputs import texts
from persons.models import Space
from persons.pipeline.identity.rebuild_identities import enqueue_rebuild
from persons.privacy import consent
from persons.work import Work


@dataclass(frozen=True, slots=True)
class Policy:
    """How a space is asked and how its answers are used.

    Thresholds are similarities, 0 to 1: a match is suggested from `threshold`, and counts without a
    human from `confirm_threshold`.
    """

    name: str
    threshold: float
    confirm_threshold: float
    update_embedding: bool
    create_new: bool
    show_attributes: bool
    searcher: int
    require_consent: bool | None = None
    """None: unchanged."""


THRESHOLDS = {"threshold", "confirm_threshold"}


@transaction.atomic
def change_policy(*, actor: Actor, space: Space, policy: Policy) -> Space:
    """Change the policy. A changed threshold enqueues a rebuild of the space's identities."""
    space = (
        Space.objects.select_for_update(of=("self",), no_key=True)
        .select_related("team")
        .get(pk=space.pk)
    )
    if policy.require_consent is None:
        policy = replace(policy, require_consent=space.require_consent)
    policy = replace(policy, name=texts.line(policy.name))
    _check(policy)
    before = {key: getattr(space, key) for key in asdict(policy)}
    after = asdict(policy)
    if before == after:
        return space
    for key, value in after.items():
        setattr(space, key, value)
    space.save(update_fields=list(after))
    changed = [key for key in after if before[key] != after[key]]
    audit.record(
        actor=actor,
        team=space.team,
        action="space.policy",
        target=space,
        before={key: before[key] for key in changed},
        after={key: after[key] for key in changed},
    )
    if "require_consent" in changed:
        # The sweep goes through its people, many at a time: see `pipeline.privacy.consents`.
        consent.moved(space.pk)
        tasks.enqueue_sweep()
    if THRESHOLDS & set(changed):
        enqueue_rebuild(space, actor.user, actor.request_id)
        tasks.enqueue(Work.JOBS)
    return space


def _check(policy: Policy) -> None:
    for value in (policy.threshold, policy.confirm_threshold):
        if not (math.isfinite(value) and 0 <= value <= 1):
            raise Refused("The threshold is a number from 0 to 1.")
    if policy.confirm_threshold < policy.threshold:
        raise Refused(
            "A match can't count for certain before it is even suggested: the second bar is at "
            "least as high as the first."
        )
    if policy.create_new and policy.require_consent:
        raise Refused(
            "A space that requires a consent can't make new people of unknown faces: nobody has "
            "asked them. Turn one of the two off."
        )
    if policy.searcher not in (0, 1):
        raise Refused("The searcher is 0 or 1.")
    if len(policy.name) > 100:
        raise Refused("A space's name has at most 100 characters.")
