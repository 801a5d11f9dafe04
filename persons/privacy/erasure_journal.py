"""The journal of erasures, by which erasures are repeated after an older backup was restored.

It is the file `erasures.jsonl` in the data folder, with a copy beside the audit's outside seals if
those are in a folder. Each erasure appends a line before anything is destroyed, and continues once
the line is synced to disk. Lines are never changed. They hold no names: team, space, ids, and keyed
digests of the pictures.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from django.conf import settings

from persons.models import Erasure

NAME = "erasures.jsonl"
VERSION = 1

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Line:
    """One erasure. `ids` are the person's id and those of all who were merged into that person;
    `pictures` are keyed digests; `photos` is an `Erasure.Photos` value."""

    reference: str
    team: str
    number: int
    person_id: int
    ids: tuple[int, ...]
    at: datetime
    photos: str
    pictures: tuple[str, ...]

    @classmethod
    def of(cls, erasure: Erasure) -> Line:
        return cls(
            reference=erasure.reference,
            team=erasure.team.slug,
            number=erasure.number,
            person_id=erasure.person_id,
            ids=tuple(erasure.ids),
            at=erasure.created_at,
            photos=erasure.photos,
            pictures=tuple(erasure.pictures.order_by("pk").values_list("digest", flat=True)),
        )


def folders() -> list[Path]:
    """The folders that hold the journal, the data folder first. If the outside seals are in a
    bucket, there is no automatic copy."""
    places = [Path(settings.DATA_DIR)]
    outside = str(getattr(settings, "AUDIT_SEALS", "") or "")
    if outside and "://" not in outside:
        places.append(Path(outside))
    return places


def state() -> tuple[tuple[int, int], ...]:
    """Size and modification time of each file, to tell whether anything was written."""
    found = []
    for folder in folders():
        try:
            facts = (folder / NAME).stat()
            found.append((facts.st_size, facts.st_mtime_ns))
        except OSError:
            found.append((0, 0))
    return tuple(found)


def lines() -> dict[str, Line]:
    """The lines of all files, by reference. Lines that can't be parsed are logged and skipped."""
    found: dict[str, Line] = {}
    for folder in folders():
        try:
            text = (folder / NAME).read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        for row in text.splitlines():
            if row.strip() and (line := _parsed(row)) is not None:
                found.setdefault(line.reference, line)
    return found


def write(new: Iterable[Line]) -> None:
    """Append to each file the lines that it does not have yet.

    Raises OSError if the data folder's file can't be written. If the outside copy can't be written,
    that is logged, and a later sweep tries again.
    """
    wanted = list(new)
    for place, folder in enumerate(folders()):
        try:
            _append(folder / NAME, wanted)
        except OSError as error:
            if not place:
                raise
            log.warning("The journal of erasures can't be written in %s: %s", folder, error)


def _append(path: Path, wanted: Iterable[Line]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(handle, "r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        text = file.read()
        known = {
            line.reference
            for row in text.decode("utf-8", "replace").splitlines()
            if (line := _parsed(row)) is not None
        }
        rows = [_text(line) for line in wanted if line.reference not in known]
        if not rows:
            return
        # After a line that a crash has cut off, start a new one.
        start = "" if not text or text.endswith(b"\n") else "\n"
        file.write((start + "".join(f"{row}\n" for row in rows)).encode())
        file.flush()
        os.fsync(file.fileno())


def _text(line: Line) -> str:
    fields = asdict(line) | {"v": VERSION, "at": line.at.isoformat()}
    return json.dumps(fields, sort_keys=True, separators=(",", ":"))


def _parsed(row: str) -> Line | None:
    try:
        fields: dict[str, Any] = json.loads(row)
        return Line(
            reference=str(fields["reference"]),
            team=str(fields["team"]),
            number=int(fields["number"]),
            person_id=int(fields["person_id"]),
            ids=tuple(int(one) for one in fields["ids"]),
            at=datetime.fromisoformat(fields["at"]),
            photos=str(fields["photos"]),
            pictures=tuple(str(one) for one in fields["pictures"]),
        )
    except (ValueError, TypeError, KeyError, AttributeError):
        log.warning("A line of the journal of erasures can't be read, and is left out.")
        return None
