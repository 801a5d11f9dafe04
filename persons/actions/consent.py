"""Consents are recorded and withdrawn; what follows from it, `persons.consent` knows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.utils import timezone

from persons import audit, consent, tasks
from persons.actions.naming import lock_space
from persons.actions.teaching import lock_people
from persons.audit import Actor
from persons.errors import Refused
from persons.models import Consent, Person, Space
from persons.settling import roots_of, subtree_of

TEXT_LENGTH = 300


@dataclass(frozen=True, slots=True)
class Given:
    """To what somebody agreed, when, by which document, and until when; None: without an end."""

    purpose: str
    document: str
    given_at: datetime
    until: datetime | None = None


@transaction.atomic
def record_consent(*, actor: Actor, person: Person, given: Given) -> Consent:
    """Pictures that waited for it are enrolled. Raises Refused with the reason."""
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
        after={"consent": row.pk, **_told(row)},
    )
    _follow(actor, space, family)
    return row


@transaction.atomic
def withdraw_consent(*, actor: Actor, consent_row: Consent) -> Consent:
    """From now on. Where the space requires one and there is no other, Vision forgets the person,
    and what was on its way does not leave any more."""
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
        before={"consent": row.pk, **_told(row)},
    )
    _follow(actor, space, family)
    return row


def _lock(person: Person) -> tuple[Space, set[int]]:
    """The space, then everybody who is the same human, by pk."""
    space = lock_space(person.space_id)
    consent.moved(space.pk)
    family = subtree_of(roots_of([person.pk])[person.pk])
    if person.pk not in lock_people(family):
        raise Refused(f"{person.name} was removed meanwhile.")
    return space, family


def _follow(actor: Actor, space: Space, family: set[int]) -> None:
    """Enrolments go the way that the consents say."""
    if consent.lacking(space, family):
        consent.hold_back(family)
    else:
        consent.let_go(family)
    # Whose doing the calls are that follow.
    Person.objects.filter(pk__in=family).update(
        sync_by=actor.user, sync_request_id=actor.request_id
    )
    for pk in sorted(family):
        tasks.ring(tasks.sync_person, pk)


def _told(row: Consent) -> dict[str, object]:
    return {
        "purpose": row.purpose,
        "document": row.document,
        "given_at": row.given_at.isoformat(),
        "until": row.until.isoformat() if row.until else None,
    }


def _clean(text: str) -> str:
    cleaned = " ".join(text.split())
    if len(cleaned) > TEXT_LENGTH:
        raise Refused(f"At most {TEXT_LENGTH} letters, please.")
    if "\0" in cleaned:
        raise Refused("This text has invisible control characters in it. Type it by hand.")
    return cleaned
