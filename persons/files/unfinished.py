"""Files that are being received or written. None of them outlives the process that makes it.

An upload has no name in the file system, so the kernel frees it with the process. A draft of the
storage has a name until it is renamed. Its writer holds a lock on it; the sweep deletes drafts that
nobody locks.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import FileUploadHandler

DRAFTS = ".drafts"
"""The folder of drafts, inside the storage's folder."""
OLD_DRAFT = ".draft-"
"""Prefix of drafts of earlier versions, which lay beside the finished files."""
GRACE_SECONDS = 60
"""Drafts younger than this are kept: their writer may not have locked them yet."""
NAMED_SECONDS = 3600
"""Uploads that earlier versions left behind and half-taken messages are deleted when nobody has
written to them for this long."""


class IncomingFile(UploadedFile):  # type: ignore[type-arg]
    """An upload in a temporary file that has no name on the disk."""

    def __init__(self, name: str, content_type: str, charset: str | None, extra: Any) -> None:
        file = tempfile.TemporaryFile(dir=settings.FILE_UPLOAD_TEMP_DIR)  # noqa: SIM115
        super().__init__(file, name, content_type, 0, charset, extra)


class IncomingUploadHandler(FileUploadHandler):
    """Writes uploads to disk while they stream in."""

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        super().new_file(*args, **kwargs)
        self.file = IncomingFile(
            self.file_name or "",
            self.content_type or "",
            self.charset,
            self.content_type_extra,
        )

    def receive_data_chunk(self, raw_data: bytes, start: int) -> bytes | None:
        self.file.write(raw_data)
        return None

    def file_complete(self, file_size: int) -> UploadedFile[Any] | None:
        self.file.seek(0)
        self.file.size = file_size
        return self.file

    def upload_interrupted(self) -> None:
        if hasattr(self, "file"):
            self.file.close()


def new_draft(root: Path) -> tuple[int, Path]:
    """Open a new draft in the storage's folder. It stays locked until it is closed."""
    folder = root / DRAFTS
    folder.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=folder)
    fcntl.flock(handle, fcntl.LOCK_EX)
    return handle, Path(name)


def sweep_unfinished(*, everywhere: bool = False) -> int:
    """Delete files that dead processes left, and return their number. With `everywhere`, also scan
    the whole storage for drafts of earlier versions."""
    media = Path(settings.MEDIA_ROOT)
    count = sum(map(_delete_if_free, _older(media / DRAFTS, GRACE_SECONDS)))
    for folder, beginning in (
        (Path(settings.FILE_UPLOAD_TEMP_DIR), ""),
        (Path(settings.BROKER_DIR), "."),
    ):
        named = _older(folder, NAMED_SECONDS)
        count += sum(_delete_if_free(path) for path in named if path.name.startswith(beginning))
    if everywhere:
        drafts = media.rglob(f"{OLD_DRAFT}*")
        count += sum(_delete_if_free(path) for path in drafts if _age(path) > NAMED_SECONDS)
    return count


def _older(folder: Path, seconds: float) -> Iterator[Path]:
    try:
        found = [Path(entry.path) for entry in os.scandir(folder) if entry.is_file()]
    except FileNotFoundError:
        return
    yield from (path for path in found if _age(path) > seconds)


def _age(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _delete_if_free(path: Path) -> bool:
    """Delete the file unless a process holds a lock on it."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
    except (FileNotFoundError, BlockingIOError):
        return False
    return True
