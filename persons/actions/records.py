"""Audit entries for reading: who opened, viewed or exported what."""

from __future__ import annotations

from collections.abc import Mapping

from django.db import models, transaction

from persons import audit
from persons.audit import Actor
from persons.models import Call, Enrolment, Finding, Gallery, Person, Photo, Recognition, Team


@transaction.atomic
def open_evidence(*, actor: Actor, finding: Finding, reason: str = "") -> None:
    """Somebody opens the evidence for a finding."""
    entry = audit.record(
        actor=actor,
        team=finding.team,
        action="evidence.open",
        target=finding.call,
        after={
            "call": finding.call_id,
            "recognition": finding.recognition_id,
            "position": finding.position,
        },
        reason=reason,
    )
    audit.concern(entry, {finding.gallery_id} - {None})


@transaction.atomic
def look_up(*, actor: Actor, person: Person, reason: str) -> None:
    """Somebody views a person, in a team that asks for a reason."""
    audit.record(
        actor=actor,
        team=person.space.team,
        action="person.view",
        target=person,
        after={"space": person.space.number, "person_id": person.person_id},
        reason=reason,
    )


@transaction.atomic
def look_through(*, actor: Actor, team: Team, reason: str) -> None:
    """Somebody views a list of people or searches for a name, in a team that asks for a reason."""
    audit.record(actor=actor, team=team, action="people.view", target=team, reason=reason)


@transaction.atomic
def open_call(*, actor: Actor, call: Call, reason: str) -> None:
    """Somebody reads a call's request and answer, in a team that asks for a reason."""
    audit.record(
        actor=actor,
        team=call.team,
        action="history.view",
        target=call,
        after={"call": call.pk},
        reason=reason,
    )


# --- Whole pictures, besides originals ---


@transaction.atomic
def fetch_sent_copy(*, actor: Actor, photo: Photo) -> None:
    """Somebody downloads the copy of a photo that Vision was sent, which is nearly as large."""
    audit.record(actor=actor, team=photo.gallery.team, action="photo.sent", target=photo)


@transaction.atomic
def fetch_asked_picture(*, actor: Actor, recognition: Recognition) -> None:
    """Somebody downloads the picture that a client or a worker asked about."""
    audit.record(
        actor=actor,
        team=recognition.call.team,
        action="history.picture",
        target=recognition.call,
        after={"call": recognition.call_id, "recognition": recognition.pk},
    )


@transaction.atomic
def fetch_enrolled_picture(*, actor: Actor, enrolment: Enrolment) -> None:
    """Somebody downloads the whole picture that a client enrolled."""
    audit.record(
        actor=actor,
        team=enrolment.person.space.team,
        action="enrolment.picture",
        target=enrolment,
    )


@transaction.atomic
def give_reason(
    *, actor: Actor, team: Team, purpose: str, target: models.Model, reason: str
) -> None:
    """The reason for viewing `target`, given beforehand."""
    audit.record(
        actor=actor,
        team=team,
        action="reason.given",
        target=target,
        after={"purpose": purpose},
        reason=reason,
    )


@transaction.atomic
def begin_export(
    *, actor: Actor, team: Team, what: str, filters: Mapping[str, str], form: str, reason: str
) -> None:
    """Before the first row is sent: who exports which records."""
    entry = audit.record(
        actor=actor,
        team=team,
        action=f"{what}.export",
        target=team,
        after={"filters": dict(filters), "format": form},
        reason=reason,
    )
    audit.concern(
        entry,
        Gallery.objects.filter(team=team, slug=filters.get("gallery", "")).values_list(
            "pk", flat=True
        ),
    )


@transaction.atomic
def end_export(
    *, actor: Actor, team: Team, what: str, rows: int, complete: bool, reason: str
) -> None:
    """How many rows were sent; `complete` is False if the reader disconnected."""
    audit.record(
        actor=actor,
        team=team,
        action=f"{what}.exported",
        target=team,
        after={"rows": rows, "complete": complete},
        reason=reason,
    )
