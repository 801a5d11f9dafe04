"""Redacts audit entries, and writes the signed entries that vouch for the redactions.

A redacted entry is valid only if a later "audit.redact" entry lists it with its digests before and
after, the actor and the erasure. That entry is stamped and sealed like any other, so it can't be
forged without the server's keys.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Iterator
from typing import Any

from django.db import connections, transaction
from django.db.models import Max, Model, QuerySet
from django.utils import timezone

from persons import audit
from persons.audit import Actor
from persons.chain import entries, records, verify
from persons.models import (
    AuditEntry,
    Call,
    Change,
    Finding,
    Person,
    Recognition,
    Source,
    Team,
)

Payload = dict[str, Any]
Clean = Callable[[AuditEntry], Payload]
"""Returns the redacted payload of an entry; the unchanged payload if nothing is redacted."""

AT_ONCE = 200
"""The most redactions that one audit entry lists."""

BLANK: Payload = dict(verify.ERASED)
ROBOT = Actor(user=None, source=Source.COMMAND, text="Rollcall")
UPGRADED = "Found blanked when redactions began to be signed"
ADOPTED = "call.adopt"
USED: tuple[type[Model], ...] = (AuditEntry, Call, Change, Finding, Person, Recognition, Team)


def blank(entry: AuditEntry) -> Payload:
    """A redaction that removes the whole payload."""
    return {**BLANK, "before": {}, "after": {}}


@transaction.atomic
def redact(
    pks: Collection[int],
    clean: Clean,
    *,
    actor: Actor,
    team: Team | None,
    target: Model | None = None,
    reason: str = "",
) -> int:
    """Replace the payloads of these entries of a team by what `clean` returns; count the changed.

    Actor, action, target row, time and address stay. The chain stays valid because it covers the
    digest of the old payload. The old salt is dropped, so the old payload can't be guessed.
    """
    redacted: list[list[Any]] = []
    # Bypasses AuditEntryQuerySet, which refuses updates; the triggers allow this one.
    rows: QuerySet[AuditEntry] = QuerySet(AuditEntry)
    mine = rows.filter(pk__in=pks, team=team).exclude(action__in=(verify.REDACT, verify.UPGRADE))
    for entry in mine.select_for_update(of=("self",), no_key=True).order_by("pk"):
        was, left = entries.payload_of(entry), clean(entry)
        if left == was:
            continue
        # The digest of the present payload: an entry that was altered earlier stays detectable.
        before = entries.digest_now(entry)
        salt = secrets.token_hex(entries.SALT_BYTES)
        rows.filter(pk=entry.pk).update(salt=salt, erased_at=timezone.now(), **left)
        redacted.append([entry.pk, entry.sequence, before, verify.salted(salt, left)])
    for first in range(0, len(redacted), AT_ONCE):
        audit.record(
            actor=actor,
            team=team,
            action=verify.REDACT,
            target=target,
            after={"redacted": redacted[first : first + AT_ONCE]},
            reason=reason,
        )
    return len(redacted)


# --- Once, at the upgrade ---


def vouch_for_old() -> int:
    """Write an upgrade entry into each chain that predates signed redactions; count the chains.

    The entry lists the entries blanked so far, and the last decision and person that no entry
    vouches for. Later blanking without a signature is not accepted. Calls whose own entry was
    blanked get a new entry for their present record.
    """
    return sum(_vouch_in(team) for team in (None, *Team.objects.order_by("pk")))


@transaction.atomic
def _vouch_in(team: Team | None) -> bool:
    if team is not None:
        # Serialises concurrent processes.
        list(Team.objects.select_for_update(no_key=True).filter(pk=team.pk))
    mine = AuditEntry.objects.filter(team=team)
    first = mine.order_by("pk").first()
    if first is None or first.version != 1 or mine.filter(action=verify.UPGRADE).exists():
        return False
    blanked = list(mine.filter(version=1).exclude(erased_at=None).order_by("pk"))
    audit.record(
        actor=ROBOT,
        team=team,
        action=verify.UPGRADE,
        target=team,
        after={
            "redacted": [
                [entry.pk, entry.sequence, entry.digest, entries.digest_now(entry)]
                for entry in blanked
            ],
            "blanked": len(blanked),
            **_before(team),
        },
        reason=UPGRADED if blanked else "",
    )
    if team is not None:
        _adopt(team, {int(one.target_id) for one in blanked if one.target_type == "call"})
    return True


def _before(team: Team | None) -> dict[str, int]:
    """The last decision and person from before the upgrade."""
    changes = Change.objects.filter(team=team).aggregate(last=Max("pk"))
    people = Person.objects.filter(space__team=team).aggregate(last=Max("pk"))
    return {"changes_before": changes["last"] or 0, "people_before": people["last"] or 0}


def _adopt(team: Team, pks: Collection[int]) -> None:
    """Write an entry for the present record of each of these calls that no entry vouches for."""
    wanted = [pk for pk in sorted(pks) if _is_unvouched(team, pk)]
    for first in range(0, len(wanted), records.BATCH):
        for call, images, findings in _stored(wanted[first : first + records.BATCH]):
            sealed = records.seal_record(call, images, findings)
            call.save(update_fields=["salt", "digest"])
            audit.record(actor=ROBOT, team=team, action=ADOPTED, target=call, after=sealed)


def _stored(pks: list[int]) -> Iterator[Any]:
    return records.stored(pks)


def _is_unvouched(team: Team, pk: int) -> bool:
    entries = AuditEntry.objects.filter(
        team=team, target_type="call", target_id=str(pk), action__startswith="call."
    )
    last = entries.order_by("-pk").first()
    there = Call.objects.filter(pk=pk, team=team).exists()
    return there and last is not None and not last.after.get("record")


def upgraded(**kwargs: Any) -> None:
    """Receiver of `post_migrate`. Does nothing if the database was migrated back."""
    db = connections[kwargs["using"]]
    with db.cursor() as cursor:
        tables = db.introspection.table_names(cursor)
        for model in USED:
            table = model._meta.db_table
            if table not in tables:
                return
            there = {one.name for one in db.introspection.get_table_description(cursor, table)}
            if not {str(field.column) for field in model._meta.concrete_fields} <= there:
                return
    vouch_for_old()
