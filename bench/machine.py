"""What a measurement was taken on, and how quick that was just then."""

from __future__ import annotations

import platform
import statistics
import time
import urllib.request
from pathlib import Path


def cpu() -> str:
    """The processor's model, or what kind it is where nothing says more."""
    try:
        info = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        info = []
    models = (line.partition(":")[2].strip() for line in info if line.startswith("model name"))
    return next(models, platform.processor() or platform.machine())


class Yardstick:
    """The same small piece of work, timed again and again beside what is measured.

    A machine that is shared with others is now quick, now slow, and its load does not tell. Tables
    of different hours can be compared by what this took.
    """

    def __init__(self) -> None:
        self._times: list[float] = []

    def lay(self) -> float:
        """What it took this time, in milliseconds."""
        self._times.append(self._take())
        return self._times[-1]

    def wait(self, most: float, *, seconds: float) -> None:
        """Until it takes `most` milliseconds again, but no longer than so many seconds."""
        end = time.monotonic() + seconds
        while self._take() > most and time.monotonic() < end:
            time.sleep(0.5)

    def _take(self) -> float:
        began = time.perf_counter()
        rows = [(f"row {n * 7919 % 10_007}", {"id": n, "of": n % 97}) for n in range(10_000)]
        groups: dict[int, list[str]] = {}
        for name, row in sorted(rows, key=lambda row: row[0]):
            groups.setdefault(row["of"], []).append(name)
        return (time.perf_counter() - began) * 1000

    @property
    def best(self) -> float:
        return min(self._times)

    def __str__(self) -> str:
        """As "yardstick 20.1 ms (19.7 to 31.0)": the median, the least and the most."""
        times = self._times
        middle = statistics.median(times)
        return f"yardstick {middle:.1f} ms ({min(times):.1f} to {max(times):.1f})"


def wait_for(address: str) -> None:
    """Until Rollcall answers there. Raises SystemExit after half a minute."""
    for _ in range(150):
        try:
            urllib.request.urlopen(f"{address}/healthz", timeout=2).close()
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise SystemExit("Rollcall did not start.")
