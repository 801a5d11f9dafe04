"""Checks the live chain of a team: every entry, seal and call of it, against each other.

What `verify` does for an export is done here as well, by the same code, and what only the server
can: entries that wait for their place, the head, the calls that entries speak of, the seals that
are kept outside, and whether the database's triggers are there.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from django.db.models import BigIntegerField
from django.db.models.functions import Cast

from persons.chain import entries, records, seals, signing, triggers
from persons.chain.verify import Broken, Chain, Seal
from persons.models import AuditChain, AuditEntry, AuditSeal, Call, Team
from persons.models.calls import Outcome

READ_AT_ONCE = 2000
TRIES = 3
REMOVED = "call.remove"

Progress = Callable[[int], object]


class Checked(NamedTuple):
    """How far the chain was found whole. Then what is wrong, "" where nothing is."""

    sequence: int
    problem: str


def check(team: Team | None, progress: Progress = lambda sequence: None) -> Checked:
    """`progress` is told from time to time how many entries were looked at."""
    slug = team.slug if team else ""
    chain = Chain(slug)
    try:
        # The seals first: those that are made from now on may be beyond this head.
        chain = Chain(slug, _seals(team, slug))
        head = AuditChain.objects.filter(team=team).first() or AuditChain(team=team)
        for entry in _placed(team, head.sequence):
            chain.follow(
                entries.frame_of(entry, slug, entry.sequence or 0, entry.previous), entry.hash
            )
            if not entries.is_whole(entry):
                raise Broken(chain.sequence, entry.pk, "what it says of its target was altered")
            if chain.sequence % READ_AT_ONCE == 0:
                progress(chain.sequence)
        _demand_end(chain, head, slug)
        _demand_stamps(team, slug)
        if team is not None:
            for _ in _demand_calls(team):
                progress(chain.sequence)
        if gone := triggers.missing():
            raise Broken(chain.sequence, 0, f"the database's trigger {gone[0]} is not there")
    except Broken as broken:
        whole = broken.sequence - 1 if broken.sequence else chain.sequence
        return Checked(min(chain.sequence, whole), f"{broken}.")
    except seals.NotCopied as error:
        return Checked(chain.sequence, f"the seals that are kept outside can't be read: {error}.")
    return Checked(chain.sequence, "")


def _placed(team: Team | None, until: int) -> Iterator[AuditEntry]:
    placed = AuditEntry.objects.filter(team=team, sequence__lte=until)
    return placed.order_by("sequence").iterator(chunk_size=READ_AT_ONCE)


def _demand_end(chain: Chain, head: AuditChain, slug: str) -> None:
    """The head is where the entries end, a server has put it there, and nothing is beyond it."""
    chain.end(sequence=head.sequence, digest=head.hash)
    if not seals.is_signed(head, slug):
        raise Broken(head.sequence, 0, "the chain's head is not signed by this server")
    beyond = AuditEntry.objects.filter(team=head.team_id, sequence__gt=head.sequence)
    last = beyond.order_by("-sequence").first()
    if last is None:
        return
    # The sealer may have gone on meanwhile; it moves the head along.
    now = AuditChain.objects.filter(pk=head.pk).values_list("sequence", flat=True).first() or 0
    if now < (last.sequence or 0):
        first = AuditEntry.objects.filter(team=head.team_id, sequence__gt=now).order_by("sequence")
        one = first.first() or last
        raise Broken(one.sequence or 0, one.pk, "it is beyond the chain's head: it was inserted")


def _demand_stamps(team: Team | None, slug: str) -> None:
    """Those that wait for their place were written by this server, each once."""
    pks = AuditEntry.objects.filter(team=team, sequence=None).order_by("pk")
    for some in records.batches(pks):
        rows = list(AuditEntry.objects.filter(pk__in=some, sequence=None).order_by("pk"))
        known = entries.digests_of(team.pk if team else None, rows)
        for entry in rows:
            if wrong := entries.wrong_with(entry, slug, known):
                raise Broken(0, entry.pk, f"it {wrong}")
            known.add(entry.digest)


# --- Seals ---


def _seals(team: Team | None, slug: str) -> Iterator[Seal]:
    """Those of the database and those outside, by sequence."""
    stored = AuditSeal.objects.filter(team=team)
    last = stored.order_by("-pk").values_list("pk", flat=True).first() or 0
    stored = stored.filter(pk__lte=last).order_by("sequence", "pk")
    inside = (_stored(seal, slug) for seal in stored.iterator(chunk_size=READ_AT_ONCE))
    if not seals.are_copied():
        return inside
    outside = sorted(_outside(said, slug) for said in seals.copies(slug))
    return heapq.merge(inside, outside)


def _stored(seal: AuditSeal, slug: str) -> Seal:
    name = f"the seal of {seal.at:%Y-%m-%d %H:%M:%S}"
    flaw = _flaw(seals.statement_of(seal, slug), seal.key, seal.signature)
    return Seal(seal.sequence, seal.hash, name, flaw)


def _outside(said: dict[str, Any], slug: str) -> Seal:
    sequence, digest = said.get("sequence"), str(said.get("hash"))
    name = f"the seal kept outside, of {str(said.get('at', 'an unknown time'))[:19]},"
    if not isinstance(sequence, int):
        return Seal(0, "", name, "can't be read")
    if "signature" not in said:
        return Seal(sequence, digest, "the seal kept outside")
    key, signature = str(said.pop("key", "")), str(said.pop("signature"))
    flaw = _flaw(said, key, signature) if said.get("team") == slug else "is of another chain"
    return Seal(sequence, digest, name, flaw)


def _flaw(said: dict[str, Any], key: str, signature: str) -> str:
    if key not in signing.public_keys():
        return f"is signed by a key that is not this server's ({key[:16]}…)"
    return "" if signing.verify(said, key, signature) else "was altered: its signature does not fit"


# --- Calls ---


class _Last(NamedTuple):
    """What the last entry of a call says of it."""

    call: int
    entry: AuditEntry


def _demand_calls(team: Team) -> Iterator[int]:
    """Every call that is over is as its last entry says; yields from time to time."""
    last = Call.objects.filter(team=team).order_by("-pk").values_list("pk", flat=True).first() or 0
    older = _from_before(team)
    said = _last_entries(team)
    one = next(said, None)
    for pks in records.batches(Call.objects.filter(team=team, pk__lte=last)):
        for call, images, findings in records.stored(pks):
            while one is not None and one.call < call.pk:
                _demand_there(one)
                one = next(said, None)
            mine = one.entry if one is not None and one.call == call.pk else None
            if mine is None and not call.digest and call.pk <= older:
                continue
            if not _is_as_said(call, images, findings, mine):
                _demand_again(team, call.pk)
        yield pks[-1]
    while one is not None:
        _demand_there(one)
        one = next(said, None)


def _last_entries(team: Team, call: int | None = None) -> Iterator[_Last]:
    """The database sorts them, on its disk where it must: memory stays flat."""
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
    if last.entry.action != REMOVED and Call.objects.filter(pk=last.call).first() is None:
        raise Broken(last.entry.sequence or 0, last.entry.pk, f"call {last.call} was deleted")


def _is_as_said(call: Call, images: Any, findings: Any, entry: AuditEntry | None) -> bool:
    if entry is None:
        return not call.digest and call.outcome == Outcome.RUNNING
    if entry.erased_at is not None:
        return records.digest_of(call, images, findings) == call.digest
    key = entry.after.get("key")
    if records.points_elsewhere(call, findings, entry):
        return False
    return (
        entry.after.get("record") == call.digest
        and entry.after.get("outcome") == call.outcome
        and (call.key_id is None or key == call.key_id)
        and records.digest_of(call, images, findings) == call.digest
    )


def _demand_again(team: Team, pk: int) -> None:
    """It may have ended just now: it is looked at again, with its last entry."""
    entry: AuditEntry | None = None
    for _ in range(TRIES):
        entry = next((last.entry for last in _last_entries(team, pk)), None)
        for call, images, findings in records.stored([pk]):
            if _is_as_said(call, images, findings, entry):
                return
    if entry is None:
        raise Broken(0, 0, f"call {pk} has no entry")
    raise Broken(entry.sequence or 0, entry.pk, f"the record of call {pk} was altered since")


def _from_before(team: Team) -> int:
    """The last call from before there was a chain; they have no entry."""
    begun = AuditEntry.objects.filter(team=team, action="audit.begin").order_by("sequence")
    after = begun.values_list("after", flat=True).first() or {}
    return int(after.get("calls_before", 0))
