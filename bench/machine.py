"""What a measurement was taken on."""

from __future__ import annotations

import platform
from pathlib import Path


def cpu() -> str:
    """The processor's model, or what kind it is where nothing says more."""
    try:
        info = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        info = []
    models = (line.partition(":")[2].strip() for line in info if line.startswith("model name"))
    return next(models, platform.processor() or platform.machine())
