"""Setting a legal hold on somebody or on a gallery, and releasing it: see `persons.holds`."""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone

from persons import audit, holds
from persons.audit import Actor
from persons.errors import Refused
from persons.models import Gallery, LegalHold, Person

REASON_LENGTH = 500


@transaction.atomic
def hold_person(*, actor: Actor, person: Person, reason: str) -> LegalHold:
    """Nothing of them is deleted until it is released. Raises Refused where there is one."""
    reason = clean_reason(reason)
    team = person.space.team
    holds.lock(team.pk)
    if not Person.objects.filter(pk=person.pk).exists():
        raise Refused(f"{person.name} was removed meanwhile.")
    holds.demand_free(person=person)
    hold = LegalHold.objects.create(team=team, person=person, reason=reason, created_by=actor.user)
    audit.record(
        actor=actor,
        team=team,
        action="hold.set",
        target=person,
        after={"hold": hold.pk},
        reason=reason,
    )
    return hold


@transaction.atomic
def hold_gallery(*, actor: Actor, gallery: Gallery, reason: str) -> LegalHold:
    """No photo of it is deleted until it is released. Raises Refused where there is one."""
    reason = clean_reason(reason)
    holds.lock(gallery.team_id)
    holds.demand_free(gallery=gallery)
    hold = LegalHold.objects.create(
        team=gallery.team, gallery=gallery, reason=reason, created_by=actor.user
    )
    audit.record(
        actor=actor,
        team=gallery.team,
        action="hold.set",
        target=gallery,
        after={"hold": hold.pk},
        reason=reason,
    )
    return hold


@transaction.atomic
def release_hold(*, actor: Actor, hold: LegalHold, reason: str) -> LegalHold:
    """What is over its time goes with the next run. A hold that is released stays so."""
    reason = clean_reason(reason)
    holds.lock(hold.team_id)
    hold = LegalHold.objects.select_related("team", "person", "gallery").get(pk=hold.pk)
    if hold.released_at is not None:
        raise Refused("That hold was released already.")
    hold.released_at, hold.released_by = timezone.now(), actor.user
    hold.save(update_fields=["released_at", "released_by"])
    audit.record(
        actor=actor,
        team=hold.team,
        action="hold.release",
        target=hold.person or hold.gallery,
        before={"hold": hold.pk, "reason": hold.reason},
        reason=reason,
    )
    return hold


def clean_reason(text: str) -> str:
    reason = " ".join(text.split())
    if not reason:
        raise Refused("Say why: the reason is kept with the hold and in the audit.")
    if len(reason) > REASON_LENGTH or "\0" in reason:
        raise Refused(f"A reason has at most {REASON_LENGTH} letters.")
    return reason
