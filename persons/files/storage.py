"""Content-addressed file storage: files are written atomically and never change."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from django.core.files import File
from django.core.files.storage import FileSystemStorage, default_storage

from persons.files.unfinished import new_draft


@contextmanager
def stored(key: str) -> Iterator[BinaryIO]:
    """The file kept under `key`, open for reading. Raises FileNotFoundError."""
    with default_storage.open(key) as file:
        yield cast("BinaryIO", file)


def delete_folder(key: str) -> None:
    """Delete the files directly below `key`, if there are any."""
    try:
        _, names = default_storage.listdir(key)
    except FileNotFoundError:
        return
    for name in names:
        default_storage.delete(f"{key}/{name}")


class ContentStorage(FileSystemStorage):
    """Storage for keys that contain the content's hash, or that always get the same content.

    A file is synced to disk and then renamed to its name, so that neither a reader nor a crash
    ever leaves half of it visible. Saving an existing name again does nothing.
    """

    def get_available_name(self, name: str, max_length: int | None = None) -> str:
        return name

    def _save(self, name: str, content: File[bytes]) -> str:
        target = Path(self.path(name))
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, draft = new_draft(Path(self.location))
        try:
            with os.fdopen(handle, "wb") as out:
                for chunk in content.chunks():
                    out.write(chunk)
                out.flush()
                os.fsync(out.fileno())
                # Renamed while locked, so that the sweep never deletes it as abandoned.
                draft.replace(target)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
        return name
