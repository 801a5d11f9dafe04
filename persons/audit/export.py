"""Exports a chain with its call records as one zip, which can be verified on any machine.

The zip is streamed, so that memory stays flat however long the chain is.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from django.db.models import Q
from django.template.loader import render_to_string
from django.utils import timezone

from persons.audit.words import FIELDS, words_of
from persons.chain import entries, facts, records, seals, signing, verify
from persons.files import zips
from persons.models import AuditChain, AuditEntry, AuditSeal, Call, Team

READ_AT_ONCE = 2000
IN_REPORT = 5000
"""Entries that the report shows; the file of entries has them all."""
MOST_IN_LIST = 200
MOST_BYTES_A_LINE = 64 * 1024
MOST_BYTES_A_CALL = 4 * 1024 * 1024
SEAL_TRIES, SEAL_PAUSE = 20, 0.25
"""Another sealer may be at work on the chain."""

README = """\
The audit of {team}, exported {at:%Y-%m-%d %H:%M} UTC: {count} entries.

  report.html    to read and to print
  entries.jsonl  every entry, one a line, in the order of the chain
{calls}
  seals.jsonl    signed checkpoints of the chain
  export.json    what this export is, and the public keys
  verify.py      checks all of it

To check that nothing was altered, added or left out, run

  python verify.py --key {key}

beside these files. It needs Python 3.8 or later and nothing else; with the package `cryptography`
it checks the signatures, too. Do not take the key's fingerprint from here, but from somebody who
was told it when the seals were made: whoever can make a new export can make a new key. Where seals
are kept outside of the server, compare with them as well:

  python verify.py --key FINGERPRINT --seals THE_TEAMS_FILE.jsonl

Each entry has a frame, the hash of the frame, and a payload. The frame says who did what to which
object, when and from where; it holds the hash of the frame before it, and a digest of the payload.
The payload says what it was about in words. Where a person was erased (`erased_at`), what was said
of them is gone from it, and the chain is whole without it: a later entry, `audit.redact`, lists
what was redacted (number of the entry, its place, its digest before and after), by whom and for
which erasure; one that is not listed was altered. An entry `audit.upgrade`, once at most, lists
what was blanked before redactions were signed.

A hash is SHA-256 over the frame as JSON with sorted keys, without spaces, in UTF-8; the digest is
SHA-256 over the salt and the payload, written the same way.
"""
CALLS = "  calls.jsonl    the record of each call to Vision that has an entry, by its number"
NO_CALLS = "                 (the records of calls to Vision were left out of this export)"
RECORDS = """
A call's record says what was asked of Vision and what it answered: who asked, from where, of which
model, with which thresholds (`threshold`, `confirm_threshold`), among how many people and pictures
(`enrolled_people`, `enrolled_pictures`); for each image its SHA-256, the answer (`result`) and its
faces: whom it was told to be (`told_id`), how alike (`similarity`), the next best, and the SHA-256
of the enrolled picture that matched. `answer` is the SHA-256 of the raw answer. The payload of the
call's last entry has, as `record`, the digest of the record as it was then: SHA-256 over the salt
and the record, written the same way. Where a part was deleted on purpose, or was over its time, the
record is what was left, and a later entry of the call says so.
"""


@dataclass
class ExportCounts:
    """Counts for the report, and the index of decisions and names, gathered while entries are
    written."""

    known: facts.Known
    actions: Counter[str] = field(default_factory=Counter)
    people: Counter[str] = field(default_factory=Counter)
    erased: int = 0
    calls: int = 0
    first: list[AuditEntry] = field(default_factory=list)
    last: AuditEntry | None = None

    def add(self, entry: AuditEntry) -> None:
        self.actions[entry.action] += 1
        self.people[entry.actor_text or "Rollcall"] += 1
        self.erased += entry.erased_at is not None
        if len(self.first) < IN_REPORT:
            self.first.append(entry)
        self.last = entry


@dataclass(slots=True)
class Export:
    """A chain, ready to be written.

    First come the records of calls that have an entry up to `calls_until`, then the chain up to its
    head at that later time, to which `head` moves. So if a record changes on purpose meanwhile, the
    exported chain has entries that vouch for it both before and after the change.
    """

    team: Team
    at: datetime
    seal: Callable[[], object]
    head: AuditChain
    waiting: int
    calls_until: int | None
    """Place of an entry. None: the records of calls are left out."""

    @classmethod
    def of(cls, team: Team, *, seal: Callable[[], object], with_calls: bool = True) -> Export:
        """`seal` adds unsealed entries to the chain."""
        seal()
        head, waiting = _head(team)
        until = head.sequence if with_calls else None
        return cls(team, timezone.now(), seal, head, waiting, until)

    @property
    def name(self) -> str:
        return f"audit-{self.team.slug}-{self.at:%Y%m%d}"

    def chunks(self) -> Iterator[bytes]:
        """The zip."""
        at = timezone.localtime(self.at)
        return zips.stream(
            (
                (zips.Entry(name, size, at), content)
                for name, size, content in self._files(ExportCounts(facts.Known(self.team)))
            ),
            deflated=True,
        )

    def _files(self, counts: ExportCounts) -> Iterator[tuple[str, int, Iterable[bytes]]]:
        """Name, upper limit of bytes if there may be very many, and content of each file. Each file
        is written before the next is requested."""
        yield "verify.py", 0, [Path(verify.__file__).read_bytes()]
        if self.calls_until is not None:
            most = self.calls_until * MOST_BYTES_A_CALL
            yield "calls.jsonl", most, self._calls(counts, self.calls_until)
            self._go_on("call")
        yield "entries.jsonl", self.head.sequence * MOST_BYTES_A_LINE, self._entries(counts)
        yield "README.txt", 0, [self._readme()]
        decisions = {"decisions": counts.known.problem()}
        yield "export.json", 0, [_pretty(self._about() | decisions)]
        yield "seals.jsonl", 0, self._seals()
        yield "report.html", 0, self._report(counts)

    def _go_on(self, *kinds: str, actions: Collection[str] = ()) -> None:
        """Move `head` to the chain's present end, which includes all entries so far about targets
        of these kinds, or with these actions."""
        entries = AuditEntry.objects.filter(team=self.team)
        last = entries.order_by("-pk").values_list("pk", flat=True).first() or 0
        wanted = Q(target_type__in=kinds) | Q(action__in=actions)
        left = entries.filter(wanted, sequence=None, pk__lte=last)
        for _ in range(SEAL_TRIES):
            self.seal()
            if not left.exists():
                break
            time.sleep(SEAL_PAUSE)
        self.head, self.waiting = _head(self.team)

    def _about(self) -> dict[str, Any]:
        return {
            "version": verify.VERSION,
            "team": self.team.slug,
            "name": self.team.name,
            "at": entries.moment(self.at),
            "entries": self.head.sequence,
            "hash": self.head.hash,
            "calls_until": self.calls_until,
            "waiting": self.waiting,
            "public_keys": [key.hex() for key in signing.public_keys().values()],
        }

    def _readme(self) -> bytes:
        with_calls = self.calls_until is not None
        text = README.format(
            team=self.team.name,
            at=self.at,
            count=self.head.sequence,
            key=signing.fingerprint(),
            calls=CALLS if with_calls else NO_CALLS,
        )
        return f"{text}{RECORDS if with_calls else ''}".encode()

    def _seals(self) -> Iterator[bytes]:
        stored = AuditSeal.objects.filter(team=self.team, sequence__lt=self.head.sequence)
        for seal in stored.order_by("sequence", "pk").iterator(chunk_size=READ_AT_ONCE):
            yield f"{seals.line_of(seal, self.team.slug)}\n".encode()
        if self.head.sealed_at is not None:
            yield f"{seals.line_of(seals.seal_of(self.head), self.team.slug)}\n".encode()

    def _calls(self, counts: ExportCounts, until: int) -> Iterator[bytes]:
        entries = AuditEntry.objects.filter(
            team=self.team, target_type="call", action__startswith="call.", sequence__lte=until
        )
        # New calls could arrive as fast as they are read, so those are left out.
        made = Call.objects.filter(team=self.team)
        last = made.order_by("-pk").values_list("pk", flat=True).first() or 0
        for pks in records.batches(made.filter(pk__lte=last)):
            known = entries.filter(target_id__in=[str(pk) for pk in pks])
            wanted = sorted(int(pk) for pk in set(known.values_list("target_id", flat=True)))
            for call, record in records.current(wanted):
                counts.calls += 1
                line = {"call": call.pk, "salt": call.salt, "record": record}
                yield verify.canonical(line) + b"\n"

    def _entries(self, counts: ExportCounts) -> Iterator[bytes]:
        """Entries up to the head. If entries were redacted meanwhile, it continues beyond the head
        to the entries that vouch for the redactions."""
        written = 0
        for _ in range(SEAL_TRIES):
            placed = AuditEntry.objects.filter(team=self.team, sequence__gt=written)
            placed = placed.filter(sequence__lte=self.head.sequence).order_by("sequence")
            for entry in placed.iterator(chunk_size=READ_AT_ONCE):
                counts.add(entry)
                counts.known.note(entry)
                yield _line(entry, self.team.slug)
            written = self.head.sequence
            vouching = AuditEntry.objects.filter(team=self.team, action=verify.REDACT)
            if not vouching.filter(Q(sequence=None) | Q(sequence__gt=written)).exists():
                return
            self._go_on(actions=[verify.REDACT])
            if self.head.sequence <= written:
                return

    def _report(self, counts: ExportCounts) -> Iterator[bytes]:
        stored = AuditSeal.objects.filter(team=self.team, sequence__lte=self.head.sequence)
        context = {
            **self._about(),
            "made_at": self.at,
            "head": self.head,
            "counts": counts,
            "actions": [
                (f"{words_of(action).rstrip(':')} …", count)
                for action, count in counts.actions.most_common(MOST_IN_LIST)
            ],
            "people": counts.people.most_common(MOST_IN_LIST),
            "seal_count": stored.count(),
            "seals": stored.order_by("-sequence")[:MOST_IN_LIST],
            "rows": [_row(entry) for entry in counts.first],
            "key": signing.fingerprint(),
        }
        yield render_to_string("audit/report.html", context).encode()


def _head(team: Team) -> tuple[AuditChain, int]:
    """The chain's head, and the number of unsealed entries."""
    head = AuditChain.objects.filter(team=team).first() or AuditChain(team=team)
    return head, AuditEntry.objects.filter(team=team, sequence=None).count()


def _line(entry: AuditEntry, team: str) -> bytes:
    line = {
        "frame": entries.frame_of(entry, team, entry.sequence or 0, entry.previous),
        "hash": entry.hash,
        "payload": entries.payload_of(entry),
        "salt": entry.salt,
        "erased_at": entries.moment(entry.erased_at) if entry.erased_at else None,
    }
    text = json.dumps(line, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return f"{text}\n".encode("utf-8", "surrogatepass")


def _row(entry: AuditEntry) -> dict[str, Any]:
    keys = dict.fromkeys([*entry.before, *entry.after])
    return {
        "entry": entry,
        "words": words_of(entry.action).rstrip(":"),
        "changes": [
            (FIELDS.get(key, key), _text(entry.before.get(key)), _text(entry.after.get(key)))
            for key in keys
            if key != facts.SAID
        ],
    }


def _text(value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, ensure_ascii=False)


def _pretty(value: dict[str, Any]) -> bytes:
    return f"{json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False)}\n".encode()
