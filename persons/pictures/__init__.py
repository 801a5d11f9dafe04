"""Operations on untrusted pictures: each runs in a helper process, with one decoding.

    file -> inspect() -> Inspected        at upload: is it accepted, and what is it
    file -> copies() -> Copies            in a worker, once per photo: for pages and for Vision
    file -> crops(), enrolment_crop()     one face of it
    file -> cuts()                        the pixels around faces, for the recogniser
    file -> camera_facts()                camera metadata
    file -> taken_at()                    when it was taken, by its metadata
    file -> full_size()                   the full-resolution view for pages
    file -> stripped(), shared_whole()    an original without private metadata
    bytes -> pixel_sizes()                sizes that clients' pictures declare
    bytes -> fitted()                     a client's picture within a recogniser's limits

`persons.images` documents each operation and what it refuses with ImageRefused. A picture that
breaks the helper is refused as UNREADABLE. All may raise DecodingBusy, which is not the picture's
fault, and OSError if the file can't be read. Helpers' answers are validated here.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, BinaryIO, TypeVar

import numpy as np
from numpy.typing import NDArray

from persons import decoding
from persons.decoding.errors import BadAnswer
from persons.decoding.records import from_json
from persons.images import (
    FORMATS,
    CameraFacts,
    Fitted,
    ImageRefused,
    Inspected,
    Keep,
    Refusal,
    SentCopy,
    Stripped,
)
from persons.images.copies import RENDITIONS
from persons.images.crops import ENROLMENT_MARGIN
from persons.vision.types import Box

T = TypeVar("T")
_CHUNK = 1 << 20
_SUFFIXES = frozenset(one.suffixes[0] for one in FORMATS.values())


@dataclass(frozen=True, slots=True)
class Copies:
    renditions: dict[str, bytes] = field(repr=False)
    """WebP files by name, as `persons.images.renditions` makes them."""

    sent: SentCopy


@dataclass(frozen=True, slots=True)
class Cut:
    """Pixels around one face, (height, width, 3) uint8, and the face's box within them."""

    pixels: NDArray[np.uint8] = field(repr=False)
    box: Box


@contextmanager
def _asked() -> Iterator[None]:
    """Translate a helper's errors to ImageRefused."""
    try:
        yield
    except decoding.HelperRefusal as error:
        code = next((one for one in Refusal if one == error.code), Refusal.UNREADABLE)
        raise ImageRefused(code, str(error)) from None
    except decoding.DecodingFailed as error:
        raise ImageRefused(Refusal.UNREADABLE, str(error)) from error


def _understood(read: Callable[[], T]) -> T:
    """Parse an answer; an invalid one means that the helper was taken over."""
    try:
        return read()
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise BadAnswer(repr(error)[:200]) from error


def inspect(file: BinaryIO, *, max_bytes: int) -> Inspected:
    """`persons.images.inspect`, with digest and size computed here rather than by the helper."""
    size = file.seek(0, os.SEEK_END)
    sha256 = _sha256(file) if size <= max_bytes else ""
    with _asked():
        reply = decoding.ask("inspect", file, max_bytes=max_bytes, sha256=sha256)
        found = _understood(lambda: from_json(Inspected, reply.data, sha256=sha256, size=size))
        if found.format not in FORMATS or min(found.width, found.height) < 1:
            raise BadAnswer("no such format or size")
    file.seek(0)
    return found


def _sha256(file: BinaryIO) -> str:
    file.seek(0)
    digest = hashlib.sha256()
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
    return digest.hexdigest()


def copies(file: BinaryIO) -> Copies:
    with _asked():
        reply = decoding.ask("copies", file)
        return _understood(lambda: _copies(reply))


def _copies(reply: decoding.Reply) -> Copies:
    *made, sent = (bytes(part) for part in reply.parts)
    names = reply.data["names"]
    if sorted(names) != sorted(RENDITIONS):
        raise ValueError("other renditions")
    digest = hashlib.sha256(sent).hexdigest()
    copy = from_json(SentCopy, reply.data["sent"], data=sent, digest=digest)
    if min(copy.width, copy.height, copy.original_width, copy.original_height) < 1:
        raise ValueError("no size")
    return Copies(dict(zip(names, made, strict=True)), copy)


def crops(
    file: BinaryIO, *, frame: tuple[int, int], boxes: Sequence[Box], wanted: Sequence[int]
) -> dict[int, bytes]:
    """`persons.images.crop_face` of the `boxes` at the indexes `wanted`, keyed by index.

    The boxes are in pixels of a picture of `frame` (width, height); boxes outside it are left out.
    """
    with _asked():
        reply = decoding.ask(
            "crops", file, frame=frame, boxes=[_edges_of(box) for box in boxes], wanted=list(wanted)
        )
        made = _understood(
            lambda: {
                int(at): bytes(part)
                for at, part in zip(reply.data["made"], reply.parts, strict=True)
            }
        )
        if not made.keys() <= set(wanted):
            raise BadAnswer("crops that nobody asked for")
    return made


def crop_of_sent(file: BinaryIO, box: Box) -> bytes:
    """`persons.images.crop_face` of a picture as sent. Raises ValueError for a box outside."""
    with _asked():
        return _one(decoding.ask("face", file, box=_edges_of(box)))


def enrolment_crop(
    file: BinaryIO, box: Box, others: Sequence[Box] = (), margin: float = ENROLMENT_MARGIN
) -> bytes:
    """`persons.images.enrolment_crop` of an original. Raises ValueError for a box outside."""
    with _asked():
        boxes = [_edges_of(other) for other in others]
        reply = decoding.ask("enrolment", file, box=_edges_of(box), others=boxes, margin=margin)
        return _one(reply)


def cuts(
    file: BinaryIO,
    *,
    frame: tuple[int, int],
    boxes: Sequence[Box],
    margin: float,
    oriented: bool = False,
) -> list[Cut | None]:
    """The pixels around each of `boxes` (in pixels of `frame`); None for a box with nothing left.

    `oriented` means that the file is an original whose orientation must be applied.
    """
    with _asked():
        reply = decoding.ask(
            "cuts",
            file,
            frame=frame,
            boxes=[_edges_of(box) for box in boxes],
            margin=margin,
            oriented=oriented,
        )
        return _understood(lambda: _cuts(reply, len(boxes)))


def _cuts(reply: decoding.Reply, count: int) -> list[Cut | None]:
    facts = reply.data["cuts"]
    if len(facts) != count:
        raise ValueError("not so many cuts")
    parts = iter(reply.parts)
    found = [None if one is None else _cut(one, next(parts)) for one in facts]
    if next(parts, None) is not None:
        raise ValueError("more cuts")
    return found


def _cut(facts: dict[str, Any], part: Any) -> Cut:
    width, height = facts["size"]
    pixels = np.frombuffer(part, np.uint8).reshape(height, width, 3)
    left, top, right, bottom = (int(edge) for edge in facts["box"])
    return Cut(pixels, Box(left, top, right, bottom))


def stripped(file: BinaryIO, kind: str, keep: Keep, *, patience: float | None = None) -> Stripped:
    with _asked():
        reply = decoding.ask("stripped", file, patience=patience, kind=kind, keep=keep.value)
        return _stripped(reply)


def shared_whole(file: BinaryIO, kind: str, *, patience: float | None = None) -> Stripped:
    with _asked():
        return _stripped(decoding.ask("whole", file, patience=patience, kind=kind))


def _stripped(reply: decoding.Reply) -> Stripped:
    made = _understood(lambda: from_json(Stripped, reply.data, data=b""))
    if made.suffix not in _SUFFIXES:
        raise BadAnswer("no such suffix")
    return Stripped(_one(reply), made.suffix, made.is_new)


def full_size(file: BinaryIO) -> bytes | None:
    """A full-resolution JPEG; None if the file itself can be served."""
    with _asked():
        reply = decoding.ask("full", file)
        return _one(reply) if reply.parts else None


def taken_at(file: BinaryIO, kind: str) -> datetime | None:
    """When the photo was taken; None if unknown or if the file can't be read."""
    try:
        with _asked():
            reply = decoding.ask("taken", file, kind=kind)
            return _understood(lambda: _moment(reply.data["at"]))
    except ImageRefused:
        return None


def _moment(text: object) -> datetime | None:
    return None if text is None else datetime.fromisoformat(str(text))


def camera_facts(file: BinaryIO) -> CameraFacts:
    """The camera's facts; empty if the picture can't be opened."""
    try:
        with _asked():
            reply = decoding.ask("facts", file)
            return _understood(lambda: from_json(CameraFacts, reply.data))
    except ImageRefused:
        return CameraFacts()


def pixel_sizes(pictures: Sequence[bytes]) -> list[tuple[int, int] | None]:
    """`persons.images.pixel_size` of each, in one request; None for a picture that breaks a
    helper."""
    if not pictures:
        return []
    try:
        with _asked():
            lengths = [len(one) for one in pictures]
            reply = decoding.ask("sizes", b"".join(pictures), lengths=lengths)
            return _understood(lambda: _sizes(reply, len(pictures)))
    except ImageRefused:
        # One picture is to blame, so each is tried alone.
        return [None] if len(pictures) == 1 else [pixel_sizes([one])[0] for one in pictures]


def _sizes(reply: decoding.Reply, count: int) -> list[tuple[int, int] | None]:
    found = reply.data["sizes"]
    if len(found) != count:
        raise ValueError("not so many sizes")
    return [None if one is None else (int(one[0]), int(one[1])) for one in found]


def fitted(data: bytes, *, whole: bool = False) -> Fitted | None:
    """`persons.images.fitted`; None also for a picture that breaks a helper: the recogniser then
    reports the error."""
    try:
        with _asked():
            reply = decoding.ask("fitted", data, whole=whole)
            return _understood(lambda: _fitted(reply))
    except ImageRefused:
        return None


def _fitted(reply: decoding.Reply) -> Fitted | None:
    facts = reply.data.get("copy")
    if facts is None and not reply.parts:
        return None
    made = from_json(Fitted, dict(facts or {}), data=_one(reply))
    if min(made.width, made.height, made.own_width, made.own_height) < 1:
        raise ValueError("no size")
    return made


def _edges_of(box: Box) -> list[int]:
    return [box.left, box.top, box.right, box.bottom]


def _one(reply: decoding.Reply) -> bytes:
    if len(reply.parts) != 1:
        raise BadAnswer("not one picture")
    return bytes(reply.parts[0])
