"""An export of a chain: one zip that shows by itself, on any machine, that nothing in it was
altered. It is made while it is sent: memory stays flat however long the chain is.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from django.template.loader import render_to_string
from django.utils import timezone

from persons import archives
from persons.chain import entries, seals, signing, verify
from persons.models import AuditChain, AuditEntry, AuditSeal, Team

READ_AT_ONCE = 2000
IN_REPORT = 5000
"""Entries that the report shows; the file of entries has them all."""
MOST_IN_LIST = 200
MOST_BYTES_A_LINE = 64 * 1024

README = """\
The audit of {team}, exported {at:%Y-%m-%d %H:%M} UTC: {count} entries.

  report.html    to read and to print
  entries.jsonl  every entry, one a line, in the order of the chain
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
The payload says what it was about in words: it is erased where a person was (`erased_at`), and the
chain is whole without it. A hash is SHA-256 over the frame as JSON with sorted keys, without
spaces, in UTF-8; the digest is SHA-256 over the salt and the payload, written the same way.
"""


@dataclass
class Counts:
    """What the report says of the entries, gathered while they are written."""

    actions: Counter[str] = field(default_factory=Counter)
    people: Counter[str] = field(default_factory=Counter)
    erased: int = 0
    first: list[AuditEntry] = field(default_factory=list)
    last: AuditEntry | None = None

    def add(self, entry: AuditEntry) -> None:
        self.actions[entry.action] += 1
        self.people[entry.actor_text or "Rollcall"] += 1
        self.erased += entry.erased_at is not None
        if len(self.first) < IN_REPORT:
            self.first.append(entry)
        self.last = entry


@dataclass(frozen=True, slots=True)
class Export:
    """A chain as it is at `head`, ready to be written."""

    team: Team
    head: AuditChain
    at: datetime
    waiting: int

    @classmethod
    def of(cls, team: Team) -> Export:
        head = AuditChain.objects.filter(team=team).first() or AuditChain(team=team)
        waiting = AuditEntry.objects.filter(team=team, sequence=None).count()
        return cls(team, head, timezone.now(), waiting)

    @property
    def name(self) -> str:
        return f"audit-{self.team.slug}-{self.at:%Y%m%d}"

    def chunks(self) -> Iterator[bytes]:
        """The zip."""
        counts = Counts()
        files: list[tuple[str, Iterable[bytes]]] = [
            ("README.txt", [self._readme()]),
            ("verify.py", [Path(verify.__file__).read_bytes()]),
            ("export.json", [_pretty(self._about())]),
            ("seals.jsonl", self._seals()),
            ("entries.jsonl", self._entries(counts)),
            ("report.html", self._report(counts)),
        ]
        sizes = {"entries.jsonl": max(1, self.head.sequence) * MOST_BYTES_A_LINE}
        return archives.stream(
            (
                (archives.Entry(name, sizes.get(name, 0), timezone.localtime(self.at)), content)
                for name, content in files
            ),
            deflated=True,
        )

    def _about(self) -> dict[str, Any]:
        return {
            "version": verify.VERSION,
            "team": self.team.slug,
            "name": self.team.name,
            "at": entries.moment(self.at),
            "entries": self.head.sequence,
            "hash": self.head.hash,
            "waiting": self.waiting,
            "public_keys": [key.hex() for key in signing.public_keys().values()],
        }

    def _readme(self) -> bytes:
        said = README.format(
            team=self.team.name, at=self.at, count=self.head.sequence, key=signing.fingerprint()
        )
        return said.encode()

    def _seals(self) -> Iterator[bytes]:
        stored = AuditSeal.objects.filter(team=self.team, sequence__lt=self.head.sequence)
        for seal in stored.order_by("sequence", "pk").iterator(chunk_size=READ_AT_ONCE):
            yield f"{seals.line_of(seal, self.team.slug)}\n".encode()
        if self.head.sealed_at is not None:
            yield f"{seals.line_of(seals.seal_of(self.head), self.team.slug)}\n".encode()

    def _entries(self, counts: Counts) -> Iterator[bytes]:
        placed = AuditEntry.objects.filter(team=self.team, sequence__lte=self.head.sequence)
        for entry in placed.order_by("sequence").iterator(chunk_size=READ_AT_ONCE):
            counts.add(entry)
            yield _line(entry, self.team.slug)

    def _report(self, counts: Counts) -> Iterator[bytes]:
        stored = AuditSeal.objects.filter(team=self.team, sequence__lte=self.head.sequence)
        context = {
            **self._about(),
            "made_at": self.at,
            "head": self.head,
            "counts": counts,
            "actions": counts.actions.most_common(MOST_IN_LIST),
            "people": counts.people.most_common(MOST_IN_LIST),
            "seal_count": stored.count(),
            "seals": stored.order_by("-sequence")[:MOST_IN_LIST],
            "rows": [_row(entry) for entry in counts.first],
            "key": signing.fingerprint(),
        }
        yield render_to_string("audit/report.html", context).encode()


def _line(entry: AuditEntry, team: str) -> bytes:
    said = {
        "frame": entries.frame_of(entry, team, entry.sequence or 0, entry.previous),
        "hash": entry.hash,
        "payload": entries.payload_of(entry),
        "salt": entry.salt,
        "erased_at": entries.moment(entry.erased_at) if entry.erased_at else None,
    }
    text = json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return f"{text}\n".encode("utf-8", "surrogatepass")


def _row(entry: AuditEntry) -> dict[str, Any]:
    keys = dict.fromkeys([*entry.before, *entry.after])
    return {
        "entry": entry,
        "changes": [
            (key, _text(entry.before.get(key)), _text(entry.after.get(key))) for key in keys
        ],
    }


def _text(value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, ensure_ascii=False)


def _pretty(said: dict[str, Any]) -> bytes:
    return f"{json.dumps(said, indent=2, sort_keys=True, ensure_ascii=False)}\n".encode()
