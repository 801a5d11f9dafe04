"""Unfinished uploads and writes leave no files behind when their process is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage

from persons import pipeline
from persons.files.unfinished import (
    DRAFTS,
    GRACE_SECONDS,
    NAMED_SECONDS,
    IncomingUploadHandler,
    new_draft,
    sweep_unfinished,
)

NEEDLE = b"the face of somebody who is erased"

KILLED = """
import os, sys, time
from pathlib import Path
import django
from django.conf import settings
settings.configure(FILE_UPLOAD_TEMP_DIR=sys.argv[1], MEDIA_ROOT=sys.argv[2])
from persons.files.unfinished import IncomingFile, new_draft
upload = IncomingFile("a.jpg", "image/jpeg", None, None)
handle, draft = new_draft(Path(sys.argv[2]))
for write in (upload.write, lambda data: os.write(handle, data)):
    write(sys.argv[3].encode())
upload.flush()
print("written", flush=True)
time.sleep(600)
"""


@pytest.fixture
def media() -> Path:
    Path(settings.MEDIA_ROOT).mkdir(parents=True, exist_ok=True)
    return Path(settings.MEDIA_ROOT)


def found() -> list[str]:
    return [
        str(path)
        for folder in (settings.MEDIA_ROOT, settings.FILE_UPLOAD_TEMP_DIR)
        for path in Path(folder).rglob("*")
        if path.is_file() and NEEDLE in path.read_bytes()
    ]


def aged(path: Path, seconds: float) -> Path:
    at = time.time() - seconds - 1
    os.utime(path, (at, at))
    return path


@pytest.mark.processes
def test_a_process_that_is_killed_leaves_an_upload_nowhere_and_a_draft_until_the_sweep(
    media: Path,
) -> None:
    folders = [settings.FILE_UPLOAD_TEMP_DIR, str(media)]
    writer = subprocess.Popen(
        [sys.executable, "-c", KILLED, *folders, NEEDLE.decode()],
        stdout=subprocess.PIPE,
        cwd=settings.BASE_DIR,
    )
    try:
        assert writer.stdout is not None and writer.stdout.readline() == b"written\n"
        (draft,) = found()
        assert Path(draft).parent == media / DRAFTS
        # However old: somebody holds it.
        aged(Path(draft), 10 * NAMED_SECONDS)
        assert sweep_unfinished() == 0 and found() == [draft]
    finally:
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
    assert sweep_unfinished() == 1
    assert found() == []


def test_a_new_draft_has_a_moment_until_it_is_held(media: Path) -> None:
    handle, draft = new_draft(media)
    os.close(handle)
    assert sweep_unfinished() == 0
    aged(draft, GRACE_SECONDS)
    assert sweep_unfinished() == 1 and not draft.exists()


@pytest.mark.parametrize("place", ["incoming", "message", "draft beside its file"])
def test_what_earlier_versions_left_is_swept(media: Path, place: str) -> None:
    path = {
        "incoming": Path(settings.FILE_UPLOAD_TEMP_DIR) / "tmpabc.upload.jpg",
        "message": Path(settings.BROKER_DIR) / ".1_2.celery.msg.taken",
        "draft beside its file": media / "originals" / "1" / "ab" / ".draft-xyz",
    }[place]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(NEEDLE)
    assert sweep_unfinished(everywhere=True) == 0 and path.exists()
    aged(path, NAMED_SECONDS)
    assert sweep_unfinished(everywhere=True) == 1 and not path.exists()


@pytest.mark.django_db
def test_the_sweep_does_it(media: Path) -> None:
    path = Path(settings.FILE_UPLOAD_TEMP_DIR) / "tmpabc.upload.jpg"
    path.write_bytes(NEEDLE)
    aged(path, NAMED_SECONDS)
    pipeline.sweep()
    assert not path.exists()


def test_a_message_that_waits_is_none_of_them() -> None:
    path = Path(settings.BROKER_DIR) / "1_2.celery.msg"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{}")
    aged(path, 100 * NAMED_SECONDS)
    try:
        assert sweep_unfinished(everywhere=True) == 0 and path.exists()
    finally:
        path.unlink()


def test_what_is_stored_stands_under_its_name_whole_and_no_draft_is_left(media: Path) -> None:
    default_storage.save("originals/9/aa/one.jpg", ContentFile(NEEDLE))
    assert (media / "originals/9/aa/one.jpg").read_bytes() == NEEDLE
    assert list((media / DRAFTS).iterdir()) == []
    default_storage.delete("originals/9/aa/one.jpg")


def test_an_upload_has_no_name_while_it_is_received() -> None:
    handler = IncomingUploadHandler()
    handler.new_file("files", "a.jpg", "image/jpeg", None)
    handler.receive_data_chunk(NEEDLE, 0)
    file = handler.file_complete(len(NEEDLE))
    assert file is not None and file.read() == NEEDLE and file.size == len(NEEDLE)
    assert os.fstat(file.fileno()).st_nlink == 0
    assert found() == []
    file.close()
