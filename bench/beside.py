"""An earlier revision of Rollcall beside this one, by the same bench, in one run.

    DATABASE_URL=postgres://… python bench/beside.py v0.1 pages.py --scale 0.1 --count 20

The bench of each revision runs in a checkout of its own, in turns, old and new. Its tables are
compared row by row: the median over the rounds, and the ratio of new to old. Rows that only one of
them has are left out, and counted.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from machine import cpu

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("revision", help="the earlier one, as git names it")
    parser.add_argument("bench", help="a script of this folder, as pages.py")
    parser.add_argument("--rounds", type=int, default=2, help="runs of each of the two")
    parser.add_argument("--column", default="p50 ms", help="what is compared")
    parser.add_argument("--named-by", type=int, default=1, help="cells that name a row")
    arguments, passed_on = parser.parse_known_args()
    old: dict[str, list[float]] = defaultdict(list)
    new: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "old"
        _git("worktree", "add", "--detach", str(tree), arguments.revision)
        try:
            for _ in range(arguments.rounds):
                for found, where in ((old, tree), (new, ROOT)):
                    printed = run(where, arguments.bench, passed_on)
                    for row, value in values(printed, arguments.column, arguments.named_by):
                        found[row].append(value)
        finally:
            _git("worktree", "remove", "--force", str(tree))
    machine = f"{cpu()}, {os.cpu_count()} cores · Python {platform.python_version()}"
    print(f"{machine} · {arguments.bench} {' '.join(passed_on)} · {arguments.rounds} rounds\n")
    print(comparison(old, new, arguments))


def _git(*words: str) -> None:
    subprocess.run(["git", "-C", str(ROOT), *words], check=True, capture_output=True)


def run(tree: Path, bench: str, passed_on: list[str]) -> str:
    """What a tree's bench prints."""
    command = [sys.executable, str(tree / "bench" / bench), *passed_on]
    environment = os.environ | {"PYTHONPATH": str(tree)}
    done = subprocess.run(
        command, cwd=tree, env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout


def values(printed: str, column: str, named_by: int) -> Iterator[tuple[str, float]]:
    """The numbers of one column of all tables, with the names of their rows: the first cells."""
    headings: list[str] = []
    for line in printed.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not line.startswith("|"):
            headings = []
        elif not headings:
            headings = cells
        elif column in headings:
            at = headings.index(column)
            if number := re.fullmatch(r"[0-9][0-9.,]*", cells[at].strip("*")):
                yield " ".join(cells[:named_by]), float(number[0].replace(",", ""))


def comparison(
    old: dict[str, list[float]], new: dict[str, list[float]], arguments: argparse.Namespace
) -> str:
    both = [row for row in old if row in new]
    if not both:
        raise SystemExit(f"No row of both has a number in a column “{arguments.column}”.")
    lines = [f"| {arguments.column} | old | new | new / old |", "| --- | ---: | ---: | ---: |"]
    ratios = []
    for row in both:
        before, after = statistics.median(old[row]), statistics.median(new[row])
        ratios.append(after / before if before else 1.0)
        lines.append(f"| {row} | {before:g} | {after:g} | {ratios[-1]:.2f} |")
    mean = statistics.geometric_mean(ratios)
    lines.append(f"| **geometric mean of {len(both)}** | | | {mean:.2f} |")
    apart = len(old.keys() ^ new.keys())
    return "\n".join([*lines, *([f"\n{apart} rows are in one of them only."] if apart else [])])


if __name__ == "__main__":
    main()
