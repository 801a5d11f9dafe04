"""Reports on a person, with an audit entry of who made one."""

from __future__ import annotations

from django.db import transaction

from persons import audit
from persons.audit import Actor
from persons.models import Person
from persons.privacy.subject_report import Report, report_on


@transaction.atomic
def make_report(*, actor: Actor, person: Person, as_file: bool, reason: str = "") -> Report:
    report = report_on(person)
    audit.record(
        actor=actor,
        team=person.space.team,
        action="person.report",
        target=report.person,
        after={"file": as_file},
        reason=reason,
    )
    return report
