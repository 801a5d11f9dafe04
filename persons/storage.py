"""Files named by what they hold: written whole or not at all, never changed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from django.core.files import File
from django.core.files.storage import FileSystemStorage, default_storage


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
    """For keys that contain the content's hash, or that only ever get the same content.

    A file appears under its name by a rename, after it reached the disk: a reader or a crash never
    meets half of it. Saving an existing name again is no error and makes no copy.
    """

    def get_available_name(self, name: str, max_length: int | None = None) -> str:
        return name

    def _save(self, name: str, content: File[bytes]) -> str:
        target = Path(self.path(name))
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, draft = tempfile.mkstemp(dir=target.parent, prefix=".draft-")
        try:
            with os.fdopen(handle, "wb") as out:
                for chunk in content.chunks():
                    out.write(chunk)
                out.flush()
                os.fsync(out.fileno())
            os.chmod(draft, 0o640)
            os.replace(draft, target)
        except BaseException:
            Path(draft).unlink(missing_ok=True)
            raise
        return name
