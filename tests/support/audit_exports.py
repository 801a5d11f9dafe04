"""Audit exports for tests: unpacked, read and rewritten line by line, and verified."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from io import StringIO
from pathlib import Path
from typing import Any

from django.core.management import call_command

from persons.models import Team
from tests.support.processes import PATIENCE

Lines = list[dict[str, Any]]


def unpacked(team: Team, to: Path, **options: object) -> Path:
    file = to.with_suffix(".zip")
    call_command("audit_export", team=team.slug, out=file, stdout=StringIO(), **options)
    with zipfile.ZipFile(file) as archive:
        assert archive.testzip() is None
        archive.extractall(to)
    return to


def run(folder: Path, *more: str, python: str = sys.executable, bare: bool = True) -> Any:
    """Run the verifier in an empty environment; with `bare` on a Python without any packages."""
    flags = ["-I", "-S"] if bare else ["-I"]
    return subprocess.run(
        [python, *flags, "verify.py", *more],
        cwd=folder,
        env={},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def lines_of(path: Path) -> Lines:
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def write(path: Path, lines: Lines) -> None:
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
