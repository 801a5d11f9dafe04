"""Celery's messages as files, for one machine: Kombu's transport, with whole files only.

Kombu's own writes a message in place, so a worker may read half of it, and falls: the worker, not
the message. It also takes messages through the system's temporary folder, which may be another
disk. Here a message appears by a rename and is taken by one.
"""

from __future__ import annotations

import logging
import os
import time
import uuid
from pathlib import Path
from queue import Empty
from typing import Any

from kombu.exceptions import ChannelError
from kombu.transport import filesystem
from kombu.utils.json import dumps, loads

LONGEST_WAIT = 0.5

log = logging.getLogger(__name__)


class Channel(filesystem.Channel):
    """`<nanoseconds>_<uuid>.<queue>.msg` is a message; a name that begins with a dot never is."""

    # Kombu's two declarations of this name its second argument differently.
    def _put(self, queue: str, payload: Any, **kwargs: Any) -> None:  # type: ignore[override]
        folder = Path(self.data_folder_out)
        name = f"{time.time_ns()}_{uuid.uuid4()}.{queue}.msg"
        draft = folder / f".{name}.draft"
        try:
            draft.write_text(dumps(payload), encoding="utf-8")
            draft.rename(folder / name)
        except OSError as error:
            draft.unlink(missing_ok=True)
            raise ChannelError(f"Can't write a message to {folder}: {error.strerror}") from error

    def _get(self, queue: str, timeout: float | None = None) -> Any:
        folder = Path(self.data_folder_in)
        for name in sorted(os.listdir(folder)):
            if name.partition(".")[2] != f"{queue}.msg":
                continue
            taken = folder / f".{name}.taken"
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


class Transport(filesystem.Transport):
    Channel = Channel

    def drain_events(self, connection: Any, timeout: float | None = None, **kwargs: Any) -> None:
        """A worker notices between two of these that it should stop, and Celery asks for 2 s."""
        super().drain_events(connection, min(timeout, LONGEST_WAIT) if timeout else timeout)
