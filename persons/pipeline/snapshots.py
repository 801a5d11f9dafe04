"""A snapshot of a space: one file from which it can be rebuilt, and how such a file is checked.

A zip whose parts are stored as they are: `pictures/<sha256>.jpg`, each once, and `manifest.json`
with the space's policy, its people and who is enrolled by which picture. A file may come from
anywhere: nothing of it is used before all of it has been found in order, and no name in it is ever
taken for a path.
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, BinaryIO, cast

from django.utils import timezone
from django.utils.crypto import salted_hmac

from persons.models import Space
from persons.pipeline.manifests import Manifest, SnapshotError, as_json, parse
from persons.vision.limits import FACES_PER_SPACE, MAX_IMAGE_BYTES

MANIFEST = "manifest.json"

LARGEST_MANIFEST = 64_000_000
LARGEST_READ = 16_000_000
"""Bytes that zipfile may read at once: its list of parts, which for a full space has 11 million."""
CHUNK = 1_000_000

_PICTURE = re.compile(r"pictures/([0-9a-f]{64})\.jpg")
_BROKEN = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    NotImplementedError,
    RuntimeError,
    EOFError,
    ValueError,
    OverflowError,
    LookupError,
    OSError,
    struct.error,
)
"""What zipfile raises over files that are no zip, or that somebody made to be read wrongly."""


def key_of(space: Space) -> str:
    """The same for the same space of this installation, and for no other."""
    return salted_hmac("persons.snapshots", f"space {space.pk}", algorithm="sha256").hexdigest()


# --- Writing ---


class SnapshotFile:
    """The file as it is written, piece by piece.

    `read` gives a picture's bytes by digest, or None where it is lost: then it is in `missing` and
    not in the file. `manifest` is what the file says once all of it is written.
    """

    def __init__(self, manifest: Manifest, read: Callable[[str], bytes | None]) -> None:
        self.manifest = manifest
        self.missing: set[str] = set()
        self.size = 0
        self.done = 0
        self._read = read

    def pieces(self) -> Iterator[bytes]:
        """Never more than one picture in memory."""
        out = _Outlet()
        with zipfile.ZipFile(cast("Any", out), "w", zipfile.ZIP_STORED) as archive:
            for digest in self.manifest.digests:
                data = self._read(digest)
                if data is None or hashlib.sha256(data).hexdigest() != digest:
                    self.missing.add(digest)
                else:
                    self._add(archive, f"pictures/{digest}.jpg", data)
                self.done += 1
                yield self._counted(out)
            kept = [one for one in self.manifest.pictures if one.sha256 not in self.missing]
            self.manifest = replace(self.manifest, pictures=tuple(kept))
            text = json.dumps(as_json(self.manifest), ensure_ascii=False).encode()
            if len(text) > LARGEST_MANIFEST:
                raise SnapshotError("The people's names and notes are too long for a snapshot.")
            self._add(archive, MANIFEST, text)
        yield self._counted(out)

    def _add(self, archive: zipfile.ZipFile, name: str, data: bytes) -> None:
        made = timezone.localtime(self.manifest.made_at).timetuple()[:6]
        part = zipfile.ZipInfo(name, cast("Any", made))
        part.external_attr = 0o600 << 16
        archive.writestr(part, data)

    def _counted(self, out: _Outlet) -> bytes:
        piece = out.take()
        self.size += len(piece)
        return piece


class _Outlet:
    """What zipfile writes to: it can't go back, so nothing has to be kept for it."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        pass

    def take(self) -> bytes:
        whole = b"".join(self._parts)
        self._parts.clear()
        return whole


# --- Reading ---


class Snapshot:
    """An opened file whose list of parts and manifest are in order."""

    def __init__(self, archive: zipfile.ZipFile, manifest: Manifest) -> None:
        self._archive = archive
        self.manifest = manifest

    def picture(self, digest: str) -> bytes:
        """The bytes with that digest. Raises SnapshotError where they are not what was saved."""
        try:
            data = _read(self._archive, f"pictures/{digest}.jpg", MAX_IMAGE_BYTES)
        except _BROKEN as error:
            raise SnapshotError(_damaged(digest)) from error
        if hashlib.sha256(data).hexdigest() != digest:
            raise SnapshotError(_damaged(digest))
        return data

    def check(self, after_each: Callable[[int], object]) -> None:
        """Read every picture once. Raises SnapshotError at the first that is damaged."""
        for count, digest in enumerate(self.manifest.digests, 1):
            self.picture(digest)
            after_each(count)


@contextmanager
def opened(file: BinaryIO) -> Iterator[Snapshot]:
    """A snapshot whose pictures have not been looked at yet. Raises SnapshotError."""
    try:
        archive = zipfile.ZipFile(cast("Any", _Bounded(file)))
    except _BROKEN as error:
        raise SnapshotError("This is no snapshot, or its end is missing: it is no zip.") from error
    with archive:
        yield Snapshot(archive, _manifest_of(archive, _size_of(file)))


class _Bounded:
    """A file of which nobody gets more than LARGEST_READ at once, whatever its own list says."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell
        self._size = _size_of(file)

    def read(self, size: int = -1) -> bytes:
        rest = max(0, self._size - self._file.tell())
        wanted = rest if size < 0 else min(size, rest)
        if wanted > LARGEST_READ:
            raise zipfile.BadZipFile("its list of parts is too long")
        return self._file.read(wanted)

    def seekable(self) -> bool:
        return True


def _size_of(file: BinaryIO) -> int:
    before = file.tell()
    size = file.seek(0, 2)
    file.seek(before)
    return size


def _manifest_of(archive: zipfile.ZipFile, size: int) -> Manifest:
    parts = archive.infolist()
    if len(parts) > FACES_PER_SPACE + 1:
        raise SnapshotError(f"It has {len(parts)} parts, more than a space has room for.")
    names = [part.filename for part in parts]
    if len(set(names)) < len(names):
        raise SnapshotError("It has two parts of the same name.")
    for part in parts:
        _check_part(part)
    if sum(part.file_size for part in parts) > size:
        raise SnapshotError("Its parts say that they are larger than the file is.")
    if MANIFEST not in names:
        raise SnapshotError(f"It has no {MANIFEST}: this is no snapshot of a space.")
    try:
        text = _read(archive, MANIFEST, LARGEST_MANIFEST)
    except _BROKEN as error:
        raise SnapshotError(f"Its {MANIFEST} is damaged.") from error
    manifest = parse(text)
    there = {match[1] for name in names if (match := _PICTURE.fullmatch(name))}
    if lost := manifest.digests.keys() - there:
        raise SnapshotError(f"{_some(len(lost))} missing from it: {min(lost)[:12]}…")
    if more := there - manifest.digests.keys():
        raise SnapshotError(f"{_some(len(more))} nobody's in it: {min(more)[:12]}…")
    return manifest


def _check_part(part: zipfile.ZipInfo) -> None:
    name = part.filename
    if name != MANIFEST and not _PICTURE.fullmatch(name):
        raise SnapshotError(f"A part of it is named {name[:80]!a}, as nothing in a snapshot.")
    if part.flag_bits & 0x1:
        raise SnapshotError(f"{name} is encrypted.")
    if part.compress_type != zipfile.ZIP_STORED or part.compress_size != part.file_size:
        raise SnapshotError(f"{name} is packed: the parts of a snapshot are stored as they are.")
    if part.file_size > (LARGEST_MANIFEST if name == MANIFEST else MAX_IMAGE_BYTES):
        raise SnapshotError(f"{name} is too large: {part.file_size} bytes.")


def _read(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    """In pieces, and never more than `most`. The checksum is zipfile's to compare."""
    pieces: list[bytes] = []
    total = 0
    with archive.open(name) as part:
        while piece := part.read(CHUNK):
            total += len(piece)
            if total > most:
                raise zipfile.BadZipFile("a part is larger than it says")
            pieces.append(piece)
    return b"".join(pieces)


def _damaged(digest: str) -> str:
    return f"The picture {digest[:12]}… is damaged. Use another copy of this snapshot."


def _some(count: int) -> str:
    return "1 picture is" if count == 1 else f"{count} pictures are"
