"""The one call shape of every Vision backend, and the typed copies of its answers.

Source: VK Cloud Vision documentation, "Face recognition", and its OpenAPI description 1.0.3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any, Protocol


class Method(StrEnum):
    SET = "set"
    RECOGNIZE = "recognize"
    DELETE = "delete"
    TRUNCATE = "truncate"


class ImageStatus(IntEnum):
    """Per-image outcome. The documentation's meaning of 1 in the `set` table is a mistake."""

    DONE = 0
    PERMANENT = 1
    TEMPORARY = 2


@dataclass(frozen=True, slots=True)
class Image:
    """One file part: `name` is what `meta.images[].name` refers to, `data` the encoded picture."""

    name: str
    data: bytes = field(repr=False)
    content_type: str = "image/jpeg"


@dataclass(frozen=True, slots=True)
class FaceDetail:
    """A backend's details of a face beyond the wire's.

    `matched` is the SHA-256 of the nearest enrolled picture, or "learned" if the nearest row is
    the person's learned embedding. `runner_up` is the nearest person other than the assigned one;
    for an unmatched face, the nearest of all.
    """

    matched: str = ""
    runner_up: int | None = None
    runner_up_similarity: float | None = None


@dataclass(frozen=True, slots=True)
class Details:
    """Details of one answer: its faces by image name, in the answer's order, and the number of
    people and enrolled pictures in the space."""

    faces: Mapping[str, Sequence[FaceDetail]]
    people: int
    pictures: int


@dataclass(frozen=True, slots=True)
class Answer:
    """A backend's answer: the unmodified bytes of the envelope, and the HTTP status.

    `details` are kept for the history and never sent.
    """

    raw: bytes
    http_status: int = 200
    details: Details | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Box:
    """Pixels of the sent picture: left, top, right, bottom."""

    left: int
    top: int
    right: int
    bottom: int


@dataclass(frozen=True, slots=True)
class FoundPerson:
    """One face of a `recognize` answer.

    `person_id` is None if `tag` is "undefined". `similarity` is [0, 1], and is 1 for an undefined
    face in the vendor's own example: never decide on it alone.
    """

    tag: str
    person_id: int | None
    box: Box
    confidence: float
    similarity: float
    aliases: tuple[str, ...] = ()
    awesomeness: float | None = None
    frontality: float | None = None
    visibility: float | None = None
    sex: str | None = None
    age: float | None = None
    emotion: str | None = None
    valence: float | None = None
    arousal: float | None = None


@dataclass(frozen=True, slots=True)
class ImageResult:
    """One entry of `body.objects`. `persons` is empty if the wire has no such key."""

    name: str
    status: ImageStatus
    error: str = ""
    persons: tuple[FoundPerson, ...] = ()
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Envelope:
    """A parsed success (`status` 200). `objects` is empty for `truncate`."""

    objects: tuple[ImageResult, ...]
    aliases_changed: bool = False


class Vision(Protocol):
    """A backend: the embedded recogniser, or the cloud over HTTP."""

    name: str
    """Short name for the history: "embedded", "cloud"."""

    model: str
    """The recogniser, as exactly as known: model and digest, or the server's address."""

    max_batch: int
    """Maximum images per call from the pipeline; never above the API's 100."""

    def call(self, method: Method, meta: Mapping[str, Any], images: Sequence[Image]) -> Answer:
        """Send a request. An answer of any envelope status is returned, not raised.

        Raises VisionTemporary or VisionUnavailable if there was no answer.
        """
        ...
