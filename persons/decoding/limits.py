"""Resource limits of all helpers. Set once per process, before its first picture."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any


def _usual_count() -> int:
    return min(4, max(2, os.cpu_count() or 2))


@dataclass(frozen=True, slots=True)
class Limits:
    folder: Path = field(
        default_factory=lambda: Path(tempfile.gettempdir()) / f"rollcall-decoding-{os.getuid()}"
    )
    """Folder of the slot locks: the same for every process of an installation on this machine."""

    at_once: int = field(default_factory=_usual_count)
    """Maximum number of pictures opened at the same time on the whole machine."""

    memory: int = 1_500_000_000
    """Bytes that one helper may allocate beyond what it has at its start."""

    seconds: float = 12.0
    """CPU seconds for one picture; the wall-clock limit is two and a half times as long."""

    patience: float = 15.0
    """Seconds that a picture waits for a slot before DecodingBusy is raised."""

    idle: float = 60.0
    """Seconds without work after which a helper exits."""

    pictures: int = 200
    """Number of pictures after which a helper is replaced."""

    answer: int = 450_000_000
    """Maximum size of an answer in bytes: 100 megapixels as RGB, and some room."""

    module: str = "persons.decoders.serving"
    """Module whose `main` is the helper. Tests substitute one that misbehaves."""

    @property
    def of_helper(self) -> tuple[str, int, float, float]:
        """What a helper is started with: its code, memory, time for a picture and without one."""
        return self.module, self.memory, self.seconds, self.idle


_limits = Limits()


def limits() -> Limits:
    return _limits


def configure(**changes: Any) -> Limits:
    """Change some limits for this process; returns the previous ones, for tests to restore."""
    global _limits  # noqa: PLW0603 - set once by settings, as a logging configuration is
    before = _limits
    _limits = replace(_limits, **changes)
    return before
