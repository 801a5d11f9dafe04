"""Other accounts of the machine can't read the data folder."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from django.test import override_settings

from dashboard.modes import open_to_others, restrict_to_owner
from persons.checks import data_folder_is_closed
from tests.support.processes import ROOT, child_environment, free_port, wait_until

OTHERS = 0o077


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    """The suite's own is as it was before, whatever a test does."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def found_open(folder: Path) -> list[str]:
    """What another account could do anything with; links aside, and what goes meanwhile."""
    found = []
    for path in (folder, *folder.rglob("*")):
        with suppress(FileNotFoundError):
            if not path.is_symlink() and mode(path) & OTHERS:
                found.append(f"{path} {mode(path):o}")
    return found


@pytest.mark.processes
@pytest.mark.any_database
def test_a_real_run_leaves_nothing_that_others_can_read(tmp_path: Path) -> None:
    """Set up, seeded with photos, served, worked on: web, worker and beat."""
    data = tmp_path / "data"
    env = child_environment(
        ROLLCALL_DATA=str(data),
        DATABASE_URL="",
        REDIS_URL="",
        ROLLCALL_DEMO_PASSWORD="not-a-secret-1",
        ROLLCALL_AUDIT_SEALS=str(data / "seals"),
    )

    def manage(*words: str) -> str:
        command = [sys.executable, "manage.py", *words]
        # As from a shell with the usual umask.
        done = subprocess.run(
            command, cwd=ROOT, env=env, check=True, capture_output=True, text=True, umask=0o022
        )
        return done.stdout + done.stderr

    manage("migrate", "-v0")
    manage("collectstatic", "-v0", "--noinput")
    manage("seed_demo")
    with subprocess.Popen(
        [sys.executable, "manage.py", "up", "--port", str(free_port())],
        cwd=ROOT,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        umask=0o022,
    ) as up:
        try:
            wait_until(lambda: list((data / "seals").rglob("*")), what="a seal")
            wait_until(
                lambda: len([p for p in (data / "media").rglob("*") if p.is_file()]) > 20,
                what="renditions",
            )
            # SQLite's log is there while somebody is at work.
            wal = data / "rollcall.sqlite3-wal"
            assert wait_until(lambda: wal.exists() and mode(wal) == 0o600, what="SQLite's log")
            assert not found_open(data)
        finally:
            up.terminate()
            up.communicate(timeout=20)
    assert {path.name for path in data.iterdir()} >= {"incoming", "broker", "media", "static"}
    assert not found_open(data)


def test_an_earlier_versions_folder_is_closed(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "media" / "ab").mkdir(parents=True)
    for name in ("rollcall.sqlite3", "rollcall.sqlite3-wal", "media/ab/photo"):
        (data / name).write_bytes(b"x")
        (data / name).chmod(0o644)
    for path in (data, data / "media"):
        path.chmod(0o755)
    restrict_to_owner(data)
    assert mode(data) == 0o700
    assert mode(data / "media") == 0o700
    assert mode(data / "rollcall.sqlite3") == mode(data / "rollcall.sqlite3-wal") == 0o600
    assert not list(open_to_others(data))
    # And what comes next is closed from its first moment.
    (data / "new").write_bytes(b"x")
    assert mode(data / "new") == 0o600


def test_a_folder_that_all_share_is_left_alone_and_told(tmp_path: Path) -> None:
    data = tmp_path / "shared"
    data.mkdir()
    data.chmod(0o1777)
    restrict_to_owner(data)
    assert mode(data) == 0o1777
    with override_settings(DATA_DIR=data):
        (found,) = data_folder_is_closed(None)
    assert found.id == "rollcall.W003"
    assert str(data) in found.msg
    assert found.hint and "chmod" in found.hint


def test_nothing_is_told_of_a_closed_folder(tmp_path: Path) -> None:
    restrict_to_owner(tmp_path / "data")
    with override_settings(DATA_DIR=tmp_path / "data"):
        assert data_folder_is_closed(None) == []
