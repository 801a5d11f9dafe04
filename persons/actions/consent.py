"""Recording and withdrawing consents. `persons.privacy.consent` knows what follows from them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.utils import timezone

from persons import audit, tasks
from persons.actions.enrolment_selection import lock_people
from persons.actions.naming import lock_space
from persons.audit import Actor
from persons.db.locking import in_turn
from persons.errors import Refused
from persons.inputs import texts
from persons.models import Consent, Person, Space
from persons.privacy import consent
from persons.work import Work

TEXT_LENGTH = 300


@dataclass(frozen=True, slots=True)
class ConsentTerms:
    """What somebody agreed to, when, by which document, and until when (None: without an end)."""

    purpose: str
    document: str
    given_at: datetime
    until: datetime | None = None


@transaction.atomic
def record_consent(*, actor: Actor, person: Person, given: ConsentTerms) -> Consent:
    """Record a consent. Pictures that waited for it are enrolled. Raises Refused with the
    reason."""
    purpose, document = _clean(given.purpose), _clean(given.document)
    if not purpose:
        raise Refused("Say what they agreed to.")
    if given.given_at > timezone.now():
        raise Refused("They can't have agreed in the future.")
    if given.until is not None and given.until <= given.given_at:
        raise Refused("A consent ends after it begins.")
    space, family = _lock(person)
    row = Consent.objects.create(
        person=person,
        purpose=purpose,
        document=document,
        given_at=given.given_at,
        until=given.until,
        recorded_by=actor.user,
    )
    audit.record(
        actor=actor,
        team=space.team,
        action="consent.record",
        target=person,
        after={"consent": row.pk, **_as_json(row)},
    )
    _follow(actor, space, family)
    return row


@transaction.atomic
def withdraw_consent(*, actor: Actor, consent_row: Consent) -> Consent:
    """Withdraw a consent from now on.

    If the space requires one and the person has no other, Vision forgets the person, and requests
    that are under way are not sent.
    """
    space, family = _lock(consent_row.person)
    row = Consent.objects.select_related("person").get(pk=consent_row.pk)
    if row.withdrawn_at is not None:
        raise Refused("That consent was withdrawn already.")
    row.withdrawn_at, row.withdrawn_by = timezone.now(), actor.user
    row.save(update_fields=["withdrawn_at", "withdrawn_by"])
    audit.record(
        actor=actor,
        team=space.team,
        action="consent.withdraw",
        target=row.person,
        before={"consent": row.pk, **_as_json(row)},
    )
    _follow(actor, space, family)
    return row


def _lock(person: Person) -> tuple[Space, set[int]]:
    """Lock and return the space and the pks of all rows of the same person, merged ones
    included."""
    space = lock_space(person.space_id)
    consent.moved(space.pk)
    same = Person.objects.filter(canonical__family=person.pk)
    family = set(same.values_list("pk", flat=True))
    if person.pk not in lock_people(family):
        raise Refused(f"{person.name} was removed meanwhile.")
    return space, family


def _follow(actor: Actor, space: Space, family: set[int]) -> None:
    """Hold enrolments back or let them go, as the consents say, and enqueue a sync."""
    if consent.lacking(space, family):
        consent.hold_back(family)
    else:
        consent.let_go(family)
    # The calls that follow are attributed to this actor.
    in_turn(Person.objects.filter(pk__in=family)).update(
        sync_by=actor.user, sync_request_id=actor.request_id
    )
    tasks.enqueue(Work.SYNC)


def _as_json(row: Consent) -> dict[str, object]:
    return {
        "purpose": row.purpose,
        "document": row.document,
        "given_at": row.given_at.isoformat(),
        "until": row.until.isoformat() if row.until else None,
    }


def _clean(text: str) -> str:
    cleaned = texts.line(text)
    if len(cleaned) > TEXT_LENGTH:
        raise Refused(f"At most {TEXT_LENGTH} letters, please.")
    return cleaned
