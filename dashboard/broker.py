"""Celery's messages as files, for one machine: Kombu's filesystem transport made atomic.

Kombu's own transport writes a message in place, so a worker may read half of it and crash. It
takes messages through the system's temporary folder, which may be another disk, and lists and
sorts one folder of all queues for each message. Here messages appear and are taken by a rename,
and each queue has a folder. Equal messages share one file name, so only one of them waits, and the
number of files is bounded by the number of distinct messages.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from queue import Empty
from typing import Any

from kombu.exceptions import ChannelError
from kombu.transport import filesystem
from kombu.utils.json import dumps, loads

LONGEST_WAIT = 0.5

ENDING = ".msg"

OURS = "persons."
"""Prefix of the tasks whose equal messages are merged into one."""

log = logging.getLogger(__name__)


class Channel(filesystem.Channel):
    """Messages are files `<queue>/<task and arguments>.msg`; names that begin with a dot are
    temporary."""

    # Kombu's two declarations of this method name its second argument differently.
    def _put(self, queue: str, payload: Any, **kwargs: Any) -> None:  # type: ignore[override]
        folder = self._folder(queue)
        message = folder / _name_of(payload)
        if message.exists():
            # The worker that takes it looks for work afterwards, and so finds this one's too.
            return
        draft = folder / f".{uuid.uuid4()}.draft"
        try:
            folder.mkdir(exist_ok=True)
            draft.write_text(dumps(payload), encoding="utf-8")
            draft.rename(message)
        except OSError as error:
            draft.unlink(missing_ok=True)
            raise ChannelError(f"Can't write a message to {folder}: {error.strerror}") from error

    def _get(self, queue: str, timeout: float | None = None) -> Any:
        folder = self._folder(queue)
        for name in _waiting(folder):
            taken = folder / f".{uuid.uuid4()}.taken"
            try:
                (folder / name).rename(taken)
            except FileNotFoundError:  # Another worker took it.
                continue
            text = taken.read_text(encoding="utf-8", errors="replace")
            taken.unlink()
            try:
                return loads(text)
            except ValueError:
                log.warning("A message that was cut off is left out: %s", name)
        raise Empty

    def _size(self, queue: str) -> int:
        return len(_waiting(self._folder(queue)))

    def _purge(self, queue: str) -> int:
        folder, count = self._folder(queue), 0
        for name in _waiting(folder):
            (folder / name).unlink(missing_ok=True)
            count += 1
        return count

    def _folder(self, queue: str) -> Path:
        return Path(self.data_folder_in) / queue


class Transport(filesystem.Transport):
    Channel = Channel

    def drain_events(self, connection: Any, timeout: float | None = None, **kwargs: Any) -> None:
        """Wait at most `LONGEST_WAIT`, so that a worker notices a stop soon. Celery asks for 2
        s."""
        super().drain_events(connection, min(timeout, LONGEST_WAIT) if timeout else timeout)


def delete_obsolete_messages(folder: Path) -> int:
    """Delete messages of earlier versions and leftovers of dead processes; returns the message
    count.

    Earlier messages lie in `folder` itself, and each names a row that the database knows as well.
    Only for a supervisor that knows that no worker runs.
    """
    count = 0
    for path in (*folder.glob("*.msg"), *folder.glob(".*.msg.*"), *folder.glob("*/.*")):
        count += path.suffix == ENDING
        path.unlink(missing_ok=True)
    return count


def _waiting(folder: Path) -> list[str]:
    """Names of messages, oldest first."""
    found = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.endswith(ENDING) and not entry.name.startswith("."):
                    try:
                        found.append((entry.stat().st_mtime_ns, entry.name))
                    except FileNotFoundError:
                        continue
    except FileNotFoundError:
        return []
    return [name for _, name in sorted(found)]


def _name_of(payload: Mapping[str, Any]) -> str:
    headers = payload.get("headers") or {}
    task = headers.get("task")
    if not isinstance(task, str) or not task.startswith(OURS) or headers.get("eta"):
        # Other messages, such as remote control of workers and its replies, stay separate.
        return f"{time.time_ns()}_{uuid.uuid4()}{ENDING}"
    says = f"{task}{headers.get('argsrepr')}{headers.get('kwargsrepr')}"
    digest = hashlib.sha256(says.encode()).hexdigest()[:16]
    return f"{re.sub(r'[^a-z0-9_]+', '-', says.lower())[:80]}{digest}{ENDING}"
