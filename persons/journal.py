"""The journal of erasures: what a restored older backup has to be told again.

`erasures.jsonl` in the data folder, and beside the audit's outside seals where those are kept in a
folder. A line is written for each erasure, before anything is erased, reaches the disk before the
writer goes on, and is never changed. It names nobody: team, space and number, and keyed digests of
the pictures.
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
    """`ids` are the number and those of all who were merged into it; `pictures` keyed digests."""

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
    """Where it is kept. An outside copy in a bucket is for whoever restores to put back."""
    places = [Path(settings.DATA_DIR)]
    outside = str(getattr(settings, "AUDIT_SEALS", "") or "")
    if outside and "://" not in outside:
        places.append(Path(outside))
    return places


def state() -> tuple[tuple[int, int], ...]:
    """Size and time of each file: while it is the same, nothing was written."""
    found = []
    for folder in folders():
        try:
            facts = (folder / NAME).stat()
            found.append((facts.st_size, facts.st_mtime_ns))
        except OSError:
            found.append((0, 0))
    return tuple(found)


def lines() -> dict[str, Line]:
    """By reference, of all files together. One that can't be read is left out, and logged."""
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
    """Append what a file does not have yet, to each. Raises OSError where it can't be written in
    the data folder; an outside folder that is not there now gets it from a later sweep."""
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
        # A line that a crash has cut off does not take the next one with it.
        start = "" if not text or text.endswith(b"\n") else "\n"
        file.write((start + "".join(f"{row}\n" for row in rows)).encode())
        file.flush()
        os.fsync(file.fileno())


def _text(line: Line) -> str:
    told = asdict(line) | {"v": VERSION, "at": line.at.isoformat()}
    return json.dumps(told, sort_keys=True, separators=(",", ":"))


def _parsed(row: str) -> Line | None:
    try:
        told: dict[str, Any] = json.loads(row)
        return Line(
            reference=str(told["reference"]),
            team=str(told["team"]),
            number=int(told["number"]),
            person_id=int(told["person_id"]),
            ids=tuple(int(one) for one in told["ids"]),
            at=datetime.fromisoformat(told["at"]),
            photos=str(told["photos"]),
            pictures=tuple(str(one) for one in told["pictures"]),
        )
    except (ValueError, TypeError, KeyError, AttributeError):
        log.warning("A line of the journal of erasures can't be read, and is left out.")
        return None
