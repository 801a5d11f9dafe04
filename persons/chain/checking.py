"""Checks a team's live chain: all its entries, seals and calls, against each other.

Runs the checks that `verify` runs on an export, with the same code. It adds those that only the
server can run: unsealed entries, the head, recorded calls, outside seals and database triggers.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from django.db.models import BigIntegerField
from django.db.models.functions import Cast

from persons.chain import entries, facts, records, seals, signing, triggers
from persons.chain.verify import REDACT, UPGRADE, Broken, Chain, Redactions, Seal
from persons.models import AuditChain, AuditEntry, AuditSeal, Call, Team
from persons.models.calls import Outcome

READ_AT_ONCE = 2000
TRIES = 3
REMOVED = "call.remove"

Progress = Callable[[int], object]


class Checked(NamedTuple):
    """The last sequence up to which the chain is whole, and the first problem, "" if none."""

    sequence: int
    problem: str


def check(team: Team | None, progress: Progress = lambda sequence: None) -> Checked:
    """Check everything. `progress` is called now and then with the number of checked entries."""
    slug = team.slug if team else ""
    chain, redactions, known = Chain(slug), Redactions(), facts.Known(team)
    # Here even an old chain fails on redactions that no upgrade entry vouches for.
    redactions.is_signed = True
    try:
        # Read seals before the head: later ones may be beyond it.
        chain = Chain(slug, _seals(team, slug))
        head = AuditChain.objects.filter(team=team).first() or AuditChain(team=team)
        for entry in _placed(team, head.sequence):
            frame = entries.frame_of(entry, slug, entry.sequence or 0, entry.previous)
            chain.follow(frame, entry.hash)
            _redacted(redactions, entry, frame)
            known.note(entry)
            if chain.sequence % READ_AT_ONCE == 0:
                progress(chain.sequence)
        _demand_end(chain, head, slug)
        _demand_stamps(team, slug, head.sequence, redactions, known)
        redactions.demand()
        if team is not None:
            for _ in _demand_calls(team):
                progress(chain.sequence)
            for _ in known.demand():
                progress(chain.sequence)
        if gone := triggers.missing():
            raise Broken(chain.sequence, 0, f"the database's trigger {gone[0]} is not there")
    except Broken as broken:
        whole = broken.sequence - 1 if broken.sequence else chain.sequence
        return Checked(min(chain.sequence, whole), f"{broken}.")
    except seals.NotCopied as error:
        return Checked(chain.sequence, f"the seals that are kept outside can't be read: {error}.")
    return Checked(chain.sequence, "")


def blanked_before(team: Team | None) -> int:
    """Number of entries that the upgrade listed as blanked before redactions were signed."""
    entries = AuditEntry.objects.filter(team=team, action=UPGRADE).order_by("pk")
    return len((entries.values_list("after", flat=True).first() or {}).get("redacted", ()))


def _placed(team: Team | None, until: int) -> Iterator[AuditEntry]:
    placed = AuditEntry.objects.filter(team=team, sequence__lte=until)
    return placed.order_by("sequence").iterator(chunk_size=READ_AT_ONCE)


def _demand_end(chain: Chain, head: AuditChain, slug: str) -> None:
    """The entries end at the head, the head is signed, and no entry is beyond it."""
    chain.end(sequence=head.sequence, digest=head.hash)
    if not seals.is_signed(head, slug):
        raise Broken(head.sequence, 0, "the chain's head is not signed by this server")
    beyond = AuditEntry.objects.filter(team=head.team_id, sequence__gt=head.sequence)
    last = beyond.order_by("-sequence").first()
    if last is None:
        return
    # The sealer may have added entries meanwhile; it moves the head as well.
    now = AuditChain.objects.filter(pk=head.pk).values_list("sequence", flat=True).first() or 0
    if now < (last.sequence or 0):
        first = AuditEntry.objects.filter(team=head.team_id, sequence__gt=now).order_by("sequence")
        one = first.first() or last
        raise Broken(one.sequence or 0, one.pk, "it is beyond the chain's head: it was inserted")


def _redacted(redactions: Redactions, entry: AuditEntry, frame: dict[str, Any]) -> None:
    payload = entries.payload_of(entry)
    redactions.add(frame, payload, entry.salt, entry.erased_at is not None)


def _demand_stamps(
    team: Team | None, slug: str, until: int, redactions: Redactions, facts_known: facts.Known
) -> None:
    """Unsealed entries were written by this server and occur once. Redactions that were sealed
    after `until` are taken into account."""
    pks = AuditEntry.objects.filter(team=team, sequence=None).order_by("pk")
    for some in records.batches(pks):
        rows = list(AuditEntry.objects.filter(pk__in=some, sequence=None).order_by("pk"))
        known = entries.digests_of(team.pk if team else None, rows)
        for entry in rows:
            if wrong := entries.wrong_with(entry, slug, known):
                raise Broken(0, entry.pk, f"it {wrong}")
            known.add(entry.digest)
            _redacted(redactions, entry, entries.frame_of(entry, slug, 0, ""))
            facts_known.note(entry)
    # Redactions may have been sealed since the head was read.
    late = AuditEntry.objects.filter(
        team=team, action__in=(REDACT, UPGRADE), sequence__gt=until
    ).order_by("pk")
    for entry in late:
        if entries.is_stamped(entry, slug) and entries.is_whole(entry):
            redactions.vouch(entries.frame_of(entry, slug, 0, ""), entry.after)


# --- Seals ---


def _seals(team: Team | None, slug: str) -> Iterator[Seal]:
    """Seals from the database and from outside, by sequence."""
    stored = AuditSeal.objects.filter(team=team)
    last = stored.order_by("-pk").values_list("pk", flat=True).first() or 0
    stored = stored.filter(pk__lte=last).order_by("sequence", "pk")
    inside = (_stored(seal, slug) for seal in stored.iterator(chunk_size=READ_AT_ONCE))
    if not seals.are_copied():
        return inside
    outside = sorted(_outside(line, slug) for line in seals.copies(slug))
    return heapq.merge(inside, outside)


def _stored(seal: AuditSeal, slug: str) -> Seal:
    name = f"the seal of {seal.at:%Y-%m-%d %H:%M:%S}"
    flaw = _flaw(seals.statement_of(seal, slug), seal.key, seal.signature)
    return Seal(seal.sequence, seal.hash, name, flaw)


def _outside(line: dict[str, Any], slug: str) -> Seal:
    sequence, digest = line.get("sequence"), str(line.get("hash"))
    name = f"the seal kept outside, of {str(line.get('at', 'an unknown time'))[:19]},"
    if not isinstance(sequence, int):
        return Seal(0, "", name, "can't be read")
    if "signature" not in line:
        return Seal(sequence, digest, "the seal kept outside")
    key, signature = str(line.pop("key", "")), str(line.pop("signature"))
    flaw = _flaw(line, key, signature) if line.get("team") == slug else "is of another chain"
    return Seal(sequence, digest, name, flaw)


def _flaw(line: dict[str, Any], key: str, signature: str) -> str:
    if key not in signing.public_keys():
        return f"is signed by a key that is not this server's ({key[:16]}…)"
    return "" if signing.verify(line, key, signature) else "was altered: its signature does not fit"


# --- Calls ---


class _Last(NamedTuple):
    """The last entry about a call."""

    call: int
    entry: AuditEntry


def _demand_calls(team: Team) -> Iterator[int]:
    """Every finished call matches its last entry. Yields now and then, for progress."""
    last = Call.objects.filter(team=team).order_by("-pk").values_list("pk", flat=True).first() or 0
    older = _from_before(team)
    last_entries = _last_entries(team)
    one = next(last_entries, None)
    for pks in records.batches(Call.objects.filter(team=team, pk__lte=last)):
        for call, images, findings in records.stored(pks):
            while one is not None and one.call < call.pk:
                _demand_there(one)
                one = next(last_entries, None)
            mine = one.entry if one is not None and one.call == call.pk else None
            if mine is None and not call.digest and call.pk <= older:
                continue
            if not _is_as_recorded(call, images, findings, mine):
                _demand_again(team, call.pk)
        yield pks[-1]
    while one is not None:
        _demand_there(one)
        one = next(last_entries, None)


def _last_entries(team: Team, call: int | None = None) -> Iterator[_Last]:
    """Last entries by call. The database sorts, on disk if needed, so memory stays flat."""
    about = AuditEntry.objects.filter(team=team, target_type="call", action__startswith="call.")
    if call is not None:
        about = about.filter(target_id=str(call))
    about = about.annotate(number=Cast("target_id", BigIntegerField())).order_by("number", "pk")
    last: _Last | None = None
    for entry in about.iterator(chunk_size=READ_AT_ONCE):
        if last is not None and last.entry.target_id != entry.target_id:
            yield last
        last = _Last(int(entry.target_id), entry)
    if last is not None:
        yield last


def _demand_there(last: _Last) -> None:
    there = Call.objects.filter(pk=last.call, team=last.entry.team_id)
    if last.entry.action != REMOVED and not there.exists():
        raise Broken(last.entry.sequence or 0, last.entry.pk, f"call {last.call} was deleted")


def _is_as_recorded(call: Call, images: Any, findings: Any, entry: AuditEntry | None) -> bool:
    if entry is None:
        return not call.digest and call.outcome == Outcome.RUNNING
    if records.points_elsewhere(call, images, findings, entry):
        return False
    return (
        entry.after.get("record") == call.digest
        and entry.after.get("outcome") == call.outcome
        and records.digest_of(call, images, findings) == call.digest
    )


def _demand_again(team: Team, pk: int) -> None:
    """Read a mismatched call again with its last entry, since it may just have ended."""
    entry: AuditEntry | None = None
    for _ in range(TRIES):
        entry = next((last.entry for last in _last_entries(team, pk)), None)
        for call, images, findings in records.stored([pk]):
            if _is_as_recorded(call, images, findings, entry):
                return
    if entry is None:
        raise Broken(0, 0, f"call {pk} has no entry")
    raise Broken(entry.sequence or 0, entry.pk, f"the record of call {pk} was altered since")


def _from_before(team: Team) -> int:
    """The last call from before the chain began. Calls up to it have no entry."""
    begun = AuditEntry.objects.filter(team=team, action="audit.begin").order_by("sequence")
    after = begun.values_list("after", flat=True).first() or {}
    return int(after.get("calls_before", 0))
