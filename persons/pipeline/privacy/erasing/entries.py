"""Redacts the audit entries about an erased person.

It works by ids and typed fields (`persons.audit.fields`). An entry whose target is the erased
person keeps facts and loses every text. Any other entry loses only fields with their name or
number, if an id in the entry shows that it is theirs. Earlier versions wrote some names without an
id: such a field is erased if it equals their name. Only the reasons of calls are searched for a
name.
"""

from __future__ import annotations

import re
from datetime import timedelta
from functools import cached_property
from typing import Any

from django.db import transaction
from django.db.models import BooleanField, Case, CharField, Q, QuerySet, When
from django.db.models.functions import Cast

from persons.audit import redactions
from persons.audit.fields import FIELDS, Field
from persons.chain import verify
from persons.chain.entries import payload_of
from persons.chain.facts import SAID
from persons.models import (
    AuditEntry,
    Change,
    Consent,
    Decision,
    Enrolment,
    Face,
    LegalHold,
    Likeness,
    Person,
    Run,
)
from persons.pipeline.privacy.erasing.claims import HeldErasure
from persons.pipeline.privacy.erasing.texts import PersonNames, as_text
from persons.privacy.erased import ERASED

ENTRIES_AT_ONCE = 500
OWN = ("person.erase", "person.erased", verify.REDACT, verify.UPGRADE)
"""Entries about erasures themselves name nobody."""
NUMBERED = tuple(
    action
    for action, fields in FIELDS.items()
    if {Field.NUMBERS, Field.FILTERS} & set(fields.values())
)
CALLED = tuple(action for action, fields in FIELDS.items() if "call" in fields)
"""Actions that a call's answer caused, or that read its record; `call` names the call."""

_CHOSEN = re.compile(r"(?:.*\()?([0-9])\.([0-9]{1,18})\)?")
"""A person in the history's filter: space and number."""


def forget_entries(held: HeldErasure) -> timedelta | None:
    """Redact the concerned entries, in batches. Each keeps its actor, time and place in the chain.

    A new entry records what was redacted.
    """
    while True:
        since: int = held.erasure.report.get("entry", 0)
        rows = _concerned(held).filter(pk__gt=since).order_by("pk")
        found: list[tuple[int, bool]] = list(
            rows.values_list("pk", "is_theirs")[:ENTRIES_AT_ONCE]  # type: ignore[misc]
        )
        with transaction.atomic():
            if not found:
                held.keep(entry=0)
                return None
            theirs = {pk for pk, is_theirs in found if is_theirs}
            count = redactions.redact(
                [pk for pk, _ in found],
                Redactor(held, theirs).clean,
                actor=held.actor,
                team=held.erasure.team,
                target=held.erasure,
                reason=held.erasure.reference,
            )
            held.note("audit", {"entries": count}, entry=found[-1][0])
        if held.is_over:
            return timedelta(0)


class Redactor:
    """Redacts entries. `theirs` are pks of entries whose target is the erased person's."""

    def __init__(self, held: HeldErasure, theirs: set[int]) -> None:
        self._held, self._theirs = held, theirs
        self._names = PersonNames(held.labels)
        self._pks = held.pks()
        self._ids = set(held.erasure.ids)

    def clean(self, entry: AuditEntry) -> dict[str, Any]:
        left = payload_of(entry)
        is_theirs = entry.pk in self._theirs
        for part in ("before", "after"):
            left[part] = self._fields(entry, left[part], is_theirs=is_theirs)
        if is_theirs:
            left |= {"target_text": "", "reason": ""}
        elif self._is_of_call(entry) and self._names.are_in_loosely(entry.reason):
            left["reason"] = ""
        return left

    def _is_of_call(self, entry: AuditEntry) -> bool:
        """Whether its reason belongs to a call that this erasure redacted, or to what that
        caused."""
        call = entry.target_id if entry.target_type == "call" else entry.after.get("call")
        return call is not None and int(call) in self._calls

    def _fields(
        self, entry: AuditEntry, fields: dict[str, Any], *, is_theirs: bool
    ) -> dict[str, Any]:
        kinds = FIELDS.get(entry.action, {})
        return {
            key: self._value(entry, fields, key, value, kinds.get(key), is_theirs=is_theirs)
            for key, value in fields.items()
            # A field of an unknown kind might name them.
            if not (is_theirs and key not in kinds)
        }

    def _value(
        self,
        entry: AuditEntry,
        fields: dict[str, Any],
        key: str,
        value: Any,
        kind: Field | None,
        *,
        is_theirs: bool,
    ) -> Any:
        if kind is None or kind is Field.FACT or value in (None, "", ERASED):
            return value
        if kind is Field.SAID:
            is_them = is_theirs or value.get("person") in self._pks
            return value | {"label": ""} if is_them else value
        if is_theirs:
            return ERASED
        if kind is Field.NUMBERS:
            is_here = entry.target_id == str(self._held.space.pk)
            return [ERASED if is_here and one in self._ids else one for one in value]
        if kind is Field.FILTERS:
            return {name: self._filter(name, one) for name, one in value.items()}
        if kind is Field.TAG:
            return ERASED if value in self._held.tags and self._is_in_space(entry) else value
        if kind is Field.NAME:
            return ERASED if self._is_name_of_them(entry, fields, key, value) else value
        return value

    def _filter(self, name: str, value: Any) -> Any:
        if name not in ("person", "q"):
            return value
        chosen = _CHOSEN.fullmatch(str(value)) if name == "person" else None
        if chosen is not None:
            number, person_id = int(chosen[1]), int(chosen[2])
            is_them = number == self._held.space.number and person_id in self._ids
        else:
            is_them = self._names.is_one(str(value))
        return ERASED if is_them else value

    def _is_name_of_them(
        self, entry: AuditEntry, fields: dict[str, Any], key: str, value: str
    ) -> bool:
        """Decided by the id beside the name, or by the name alone if there is none."""
        if entry.action in ("person.create", "person.rename", "person.remove"):
            return False
        if entry.target_type == "face":
            return fields.get("person") in self._held.tags and self._is_in_space(entry)
        if entry.target_type == "person" and key == "label":
            return False
        if "other_pk" in fields:
            return fields["other_pk"] in self._pks
        change = entry.target_id if entry.target_type == "change" else fields.get("change")
        who = _WHO.get(key)
        if change is not None and who is not None:
            row = Change.objects.filter(pk=change).values("person", "other").first()
            stated = (entry.after.get(SAID) or {}) if row is None else row
            if (found := stated.get(who)) is not None:
                return found in self._pks
        return self._names.is_one(value) or value in self._held.tags

    def _is_in_space(self, entry: AuditEntry) -> bool:
        """Whether the target is in the space. A deleted face counts as in it."""
        if entry.target_type != "face":
            return entry.target_id == str(self._held.space.pk)
        face = Face.everything.filter(pk=entry.target_id).values_list("space", flat=True).first()
        return face in (None, self._held.space.pk)

    @cached_property
    def _calls(self) -> set[int]:
        """Calls that this erasure has redacted."""
        rows = AuditEntry.objects.filter(
            team=self._held.erasure.team,
            action="call.redact",
            reason=self._held.erasure.reference,
        )
        return {int(pk) for pk in rows.values_list("target_id", flat=True)}


_WHO = {"into": "other", "to": "person", "label": "person"}
"""Which of a change's people a field names."""


def _concerned(held: HeldErasure) -> QuerySet[AuditEntry]:
    """Entries whose target is theirs (`is_theirs`), and those that might hold their name or number.

    `Redactor` decides whether the latter do.
    """
    targets = Q()
    for kind, keys in _targets_of(held).items():
        targets |= Q(target_type=kind, target_id__in=keys)
    words = PersonNames([*held.labels, *held.tags])
    named = words.may_be_in("said_before", "said_after") | Q(action__in=NUMBERED)
    called = Q(target_type="call") | Q(action__in=CALLED)
    why = called & PersonNames(held.labels).may_be_in_loosely("reason")
    entries = AuditEntry.objects.annotate(
        said_before=as_text("before"),
        said_after=as_text("after"),
        is_theirs=Case(When(targets, then=True), default=False, output_field=BooleanField()),
    )
    concerned = entries.filter(Q(is_theirs=True) | named | why, team=held.erasure.team)
    return concerned.exclude(action__in=OWN)


def _targets_of(held: HeldErasure) -> dict[str, Any]:
    """Keys of rows that are about them alone, by target type."""
    people = held.pks()
    rows: dict[str, QuerySet[Any]] = {
        "person": Person.objects.filter(pk__in=people),
        "face": Face.everything.filter(space=held.space, decision=Decision.ERASED),
        "enrolment": Enrolment.objects.filter(person__in=people),
        "likeness": Likeness.objects.filter(Q(one__in=people) | Q(other__in=people)),
        "run": Run.objects.filter(person__in=people),
        "consent": Consent.objects.filter(person__in=people),
        "legalhold": LegalHold.objects.filter(person__in=people),
    }
    found: dict[str, Any] = {
        kind: some.order_by().annotate(key=Cast("pk", CharField())).values("key")
        for kind, some in rows.items()
    }
    # Entries about deleted photos hold file names.
    gone = held.erasure.report.get("gone_photos", [])
    return found | {"photo": [str(pk) for pk in gone]}
