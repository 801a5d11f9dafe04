"""The sealer: gives new audit entries their place in their team's chain, and signs checkpoints.

One sealer at a time works on a chain, by locking its row. Ids are assigned before transactions
commit, so a lower id may appear later. Entries without a sequence are waiting, and the chain's
order is the order in which they were seen.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from persons.chain import entries, seals, verify
from persons.db.tables import Table, run
from persons.models import AuditChain, AuditEntry, AuditSeal, Team

SEALED_AT_ONCE = 1000
SEAL_EVERY = timedelta(seconds=60)
COPIED_AT_ONCE = 100

ENTRIES = Table(AuditEntry)


def seal_audit() -> int:
    """Seal all waiting entries of every chain and sign the checkpoints that are due.

    Returns how many entries were sealed.
    """
    count = 0
    for team_pk in _with_new_entries():
        while sealed := seal_batch(team_pk):
            count += sealed
            if sealed < SEALED_AT_ONCE:
                break
    for team_pk in _due(timezone.now()):
        sign_checkpoint(team_pk)
    copy_seals()
    return count


def seal_batch(team_pk: int | None) -> int:
    """Seal the next entries of this chain. Returns how many: 0 while another sealer holds it.

    Entries that no server wrote stay unsealed: see `AuditEntry.stamp`.
    """
    team = Team.objects.get(pk=team_pk) if team_pk is not None else None
    slug = team.slug if team else ""
    AuditChain.objects.get_or_create(team=team)
    with transaction.atomic():
        chain = _held(team_pk)
        if chain is None:
            return 0
        if not seals.is_signed(chain, slug):
            _store_problem(chain, "The chain's head was not put where it is by this server.")
            return 0
        if not _ends_at(chain):
            _store_problem(
                chain, f"The chain does not end at entry {chain.sequence}, which its head names."
            )
            return 0
        found, problem = _next(team_pk, slug)
        for entry in found:
            chain.sequence += 1
            entry.sequence, entry.previous = chain.sequence, chain.hash
            frame = entries.frame_of(entry, slug, chain.sequence, chain.hash)
            chain.hash = entry.hash = verify.hash_of(frame)
        if found:
            run(ENTRIES.update(found, ("sequence", "previous", "hash")))
            chain.sealed_at = timezone.now()
            seals.sign_head(chain, slug)
            chain.save(update_fields=["sequence", "hash", "sealed_at", "key", "signature"])
        _store_problem(chain, problem)
    return len(found)


def sign_checkpoint(team_pk: int | None) -> AuditSeal | None:
    """Sign the chain's head, if it has moved since the last checkpoint."""
    with transaction.atomic():
        chain = _held(team_pk)
        if chain is None or chain.sealed_at is None or chain.sequence <= chain.signed_sequence:
            return None
        chain.signed_sequence, chain.signed_at = chain.sequence, timezone.now()
        chain.save(update_fields=["signed_sequence", "signed_at"])
        seal = seals.seal_of(chain)
        seal.save(force_insert=True)
        return seal


def copy_seals() -> None:
    """Copy new seals out of the database, oldest first.

    A failed copy is retried the next time, and the audit's page says why.
    """
    if not seals.are_copied():
        return
    failed: set[int | None] = set()
    waiting = AuditSeal.objects.filter(copied_at=None).select_related("team").order_by("pk")
    for seal in waiting[:COPIED_AT_ONCE]:
        if seal.team_id in failed:
            continue
        problem = ""
        try:
            seals.copy(seal, seal.team.slug if seal.team else "")
        except seals.NotCopied as error:
            failed.add(seal.team_id)
            problem = str(error)
        else:
            AuditSeal.objects.filter(pk=seal.pk).update(copied_at=timezone.now())
        chains = AuditChain.objects.filter(team=seal.team_id).exclude(copy_problem=problem)
        chains.update(copy_problem=problem)


def _with_new_entries() -> list[int | None]:
    unsealed = AuditEntry.objects.filter(sequence=None).order_by().values_list("team", flat=True)
    return sorted(unsealed.distinct(), key=lambda pk: pk or 0)


def _due(now: datetime) -> list[int | None]:
    """Chains whose head has moved since their last checkpoint, if that is SEAL_EVERY ago."""
    moved = AuditChain.objects.filter(sequence__gt=F("signed_sequence"))
    due = moved.filter(Q(signed_at=None) | Q(signed_at__lte=now - SEAL_EVERY))
    return sorted(due.values_list("team", flat=True), key=lambda pk: pk or 0)


def _held(team_pk: int | None) -> AuditChain | None:
    chains = AuditChain.objects.select_for_update(skip_locked=True, of=("self",))
    return chains.filter(team=team_pk).first()


def _ends_at(chain: AuditChain) -> bool:
    placed = AuditEntry.objects.filter(team=chain.team_id, sequence__isnull=False)
    last = placed.order_by("-sequence").values_list("sequence", "hash").first()
    return (last or (0, "")) == (chain.sequence, chain.hash)


def _next(team_pk: int | None, slug: str) -> tuple[list[AuditEntry], str]:
    """The next entries that a server wrote, and what is wrong with the first that none wrote."""
    found: list[AuditEntry] = []
    problem, unsealed = "", _unsealed(team_pk)
    while len(found) < SEALED_AT_ONCE:
        rows = list(unsealed[:SEALED_AT_ONCE])
        known = entries.digests_of(team_pk, rows)
        for entry in rows:
            if wrong := entries.wrong_with(entry, slug, known):
                problem = problem or f"Entry number {entry.pk} {wrong}."
            else:
                known.add(entry.digest)
                found.append(entry)
        if len(rows) < SEALED_AT_ONCE:
            break
        unsealed = _unsealed(team_pk).filter(pk__gt=rows[-1].pk)
    return found[:SEALED_AT_ONCE], problem


def _unsealed(team_pk: int | None) -> QuerySet[AuditEntry]:
    return AuditEntry.objects.filter(sequence=None, team=team_pk).order_by("pk")


def _store_problem(chain: AuditChain, problem: str) -> None:
    if chain.sealing_problem != problem:
        AuditChain.objects.filter(pk=chain.pk).update(sealing_problem=problem)
