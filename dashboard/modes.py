"""Restricts the data folder to the account that runs Rollcall.

Every process applies this from the settings, before it writes anything.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

UMASK = 0o077
OTHERS = 0o077


def restrict_to_owner(folder: Path) -> None:
    """Set the umask and close `folder` to other accounts.

    An earlier version left the folder open. The folder and its direct entries are closed if they
    belong to this account; everything below is then out of reach.
    """
    os.umask(UMASK)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_mode & stat.S_ISVTX:
        return  # A shared folder such as /tmp; `open_to_others` reports it.
    for path in open_to_others(folder):
        with suppress(OSError):
            path.chmod(stat.S_IMODE(path.stat().st_mode) & ~OTHERS)


def open_to_others(folder: Path) -> Iterator[Path]:
    """The folder and its direct entries that grant other accounts any access."""
    for path in (folder, *sorted(folder.iterdir())):
        with suppress(OSError):
            if not path.is_symlink() and path.stat().st_mode & OTHERS:
                yield path
