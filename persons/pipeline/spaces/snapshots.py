"""The file format of snapshots, from which a space can be rebuilt, and its checks.

An uncompressed zip: `pictures/<sha256>.jpg`, each once, and `manifest.json` with the space's
policy, people and enrolments. A file may come from anywhere: all of it is checked before any of it
is used, and no name in it is used as a path.
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

from persons.files import zips
from persons.models import Space
from persons.pipeline.spaces.manifests import Manifest, SnapshotError, as_json, read
from persons.vision.limits import FACES_PER_SPACE, MAX_IMAGE_BYTES

MANIFEST = "manifest.json"

LARGEST_MANIFEST = 64_000_000
LARGEST_READ = 16_000_000
"""Bytes that zipfile may read at once: a full space's list of parts takes 11 million."""
CHUNK = 1_000_000
_OWNERS_ALONE = 0o600

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
"""What zipfile raises for files that are damaged, hostile or no zip."""


def key_of(space: Space) -> str:
    """Identifies a space of this installation; no other space has the same key."""
    return salted_hmac("persons.snapshots", f"space {space.pk}", algorithm="sha256").hexdigest()


# --- Writing ---


class SnapshotFile:
    """A snapshot that is written piece by piece.

    `read` returns a picture's bytes by digest, or None if they are lost: then the digest is in
    `missing` and the picture is left out. `manifest` matches the file once all of it is written.
    """

    def __init__(self, manifest: Manifest, read: Callable[[str], bytes | None]) -> None:
        self.manifest = manifest
        self.missing: set[str] = set()
        self.size = 0
        self.done = 0
        self._read = read

    def pieces(self) -> Iterator[bytes]:
        """The file's bytes, with at most one picture in memory."""
        for piece in zips.stream(self._entries()):
            self.size += len(piece)
            yield piece

    def _entries(self) -> Iterator[tuple[zips.Entry, list[bytes]]]:
        at = timezone.localtime(self.manifest.made_at)
        for digest in self.manifest.digests:
            data = self._read(digest)
            self.done += 1
            if data is None or hashlib.sha256(data).hexdigest() != digest:
                self.missing.add(digest)
            else:
                yield zips.Entry(f"pictures/{digest}.jpg", len(data), at, _OWNERS_ALONE), [data]
        kept = [one for one in self.manifest.pictures if one.sha256 not in self.missing]
        self.manifest = replace(self.manifest, pictures=tuple(kept))
        text = json.dumps(as_json(self.manifest), ensure_ascii=False).encode()
        if len(text) > LARGEST_MANIFEST:
            raise SnapshotError("The people's names and notes are too long for a snapshot.")
        yield zips.Entry(MANIFEST, len(text), at, _OWNERS_ALONE), [text]


# --- Reading ---


class Snapshot:
    """An open file whose list of parts and manifest are checked."""

    def __init__(self, archive: zipfile.ZipFile, manifest: Manifest) -> None:
        self._archive = archive
        self.manifest = manifest

    def picture(self, digest: str) -> bytes:
        """The bytes with that digest. Raises SnapshotError if they are damaged."""
        try:
            data = _read(self._archive, f"pictures/{digest}.jpg", MAX_IMAGE_BYTES)
        except _BROKEN as error:
            raise SnapshotError(_damaged(digest)) from error
        if hashlib.sha256(data).hexdigest() != digest:
            raise SnapshotError(_damaged(digest))
        return data

    def check(self, after_each: Callable[[int], object]) -> None:
        """Read every picture once. Raises SnapshotError at the first damaged one."""
        for count, digest in enumerate(self.manifest.digests, 1):
            self.picture(digest)
            after_each(count)


@contextmanager
def opened(file: BinaryIO) -> Iterator[Snapshot]:
    """Open a snapshot without checking its pictures. Raises SnapshotError."""
    try:
        archive = zipfile.ZipFile(cast("Any", _Bounded(file)))
    except _BROKEN as error:
        raise SnapshotError("This is no snapshot, or its end is missing: it is no zip.") from error
    with archive:
        yield Snapshot(archive, _manifest_of(archive, _size_of(file)))


class _Bounded:
    """A file that never returns more than LARGEST_READ bytes at once, whatever its list of parts
    says."""

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
        with archive.open(MANIFEST) as file:
            manifest = read(file.read)
    except _BROKEN as error:
        raise SnapshotError(f"Its {MANIFEST} is damaged.") from error
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
    """Read a part in pieces, and never more than `most` bytes. zipfile compares the checksum."""
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
