"""Setting a legal hold on a person or a gallery, and releasing it: see `persons.privacy.holds`."""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone

from persons import audit
from persons.audit import Actor
from persons.errors import Refused
from persons.inputs import texts
from persons.models import Gallery, LegalHold, Person
from persons.privacy import holds

REASON_LENGTH = 500


@transaction.atomic
def hold_person(*, actor: Actor, person: Person, reason: str) -> LegalHold:
    """Nothing of the person is deleted until the hold is released. Raises Refused if they have
    one."""
    reason = clean_reason(reason)
    team = person.space.team
    holds.lock(team.pk)
    if not Person.objects.filter(pk=person.pk).exists():
        raise Refused(f"{person.name} was removed meanwhile.")
    holds.demand_free(person=person)
    return _hold(actor, person, LegalHold(team=team, person=person, reason=reason))


@transaction.atomic
def hold_gallery(*, actor: Actor, gallery: Gallery, reason: str) -> LegalHold:
    """No photo of the gallery is deleted until the hold is released. Raises Refused if it has
    one."""
    reason = clean_reason(reason)
    holds.lock(gallery.team_id)
    holds.demand_free(gallery=gallery)
    return _hold(actor, gallery, LegalHold(team=gallery.team, gallery=gallery, reason=reason))


def _hold(actor: Actor, target: Person | Gallery, hold: LegalHold) -> LegalHold:
    hold.created_by = actor.user
    hold.save(force_insert=True)
    audit.record(
        actor=actor,
        team=hold.team,
        action="hold.set",
        target=target,
        after={"hold": hold.pk},
        reason=hold.reason,
    )
    return hold


@transaction.atomic
def release_hold(*, actor: Actor, hold: LegalHold, reason: str) -> LegalHold:
    """Release a hold for good. The next retention run deletes what is past its time."""
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
    """One line of text. Raises Refused if it is empty or too long."""
    reason = texts.line(text)
    if not reason:
        raise Refused("Say why: the reason is kept with the hold and in the audit.")
    if len(reason) > REASON_LENGTH:
        raise Refused(f"A reason has at most {REASON_LENGTH} letters.")
    return reason
