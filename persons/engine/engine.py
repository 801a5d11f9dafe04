"""The embedded recogniser: the four methods of the persons API, answered in its own envelope.

Source: VK Cloud Vision documentation, "Face recognition" and its OpenAPI description 1.0.3. Where
they are ambiguous, the method's docstring documents the choice made here.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2

from ..decoding import DecodingBusy
from ..vision import envelope, limits
from ..vision import meta as wire
from ..vision.errors import VisionTemporary
from ..vision.types import Answer, Details, FaceDetail, Image, ImageStatus, Method
from .faces import DetectedFace, face_reader
from .gallery import Index, IndexCache, assign
from .picture import BadPicture, pixels_of
from .store import NewEmbedding, SpaceMoved, Store
from .weights import Weights

THRESHOLD = 0.40
"""Minimum cosine for a match. 0.983 of 3,482 same-person pairs of LFW pass (measured)."""

ALIAS_THRESHOLD = 0.50
"""Minimum cosine for aliases. Higher, because comparing everyone with everyone gives chance far
more pairs."""

ONE_FACE_ONLY = "face set required only one face per image"
"""The vendor's error text for no face and for several."""

SPACE_FULL = "the space is full: it holds {} faces"
SPACE_BUSY = "the space is changing too fast, try again"

MOST_PIXELS = limits.MAX_IMAGES * limits.MAX_WIDTH * limits.MAX_HEIGHT
"""Maximum pixels of all images of a request together."""

_CREATE_ATTEMPTS = 100
"""Attempts to create a person. Each lost race means that another write succeeded, so the limit is
not reached in normal operation."""


@dataclass(frozen=True, slots=True)
class _Named:
    """A face of a picture and its person. `matched`: the person was known before, so the face may
    be learned."""

    face: DetectedFace
    person_id: int | None
    similarity: float
    matched: bool
    detail: FaceDetail = field(default_factory=FaceDetail)


@dataclass(frozen=True, slots=True)
class _Outcome:
    """The result for one image of a `recognize`."""

    name: str
    named: tuple[_Named, ...] = ()
    error: str = ""
    status: ImageStatus = ImageStatus.DONE


@dataclass(frozen=True, slots=True)
class Accepts:
    """The largest pictures that are taken, in pixels and bytes: by default the wire's."""

    max_width: int = limits.MAX_WIDTH
    max_height: int = limits.MAX_HEIGHT
    max_pixels: int | None = None
    sizes: limits.Sizes = limits.WIRE


class Engine:
    """A Vision backend, safe to share between threads. Holds no lock while it computes.

    `threads` is the number of threads OpenCV may use inside one inference, for the whole process.
    1 suits workers that are processes or threads themselves; None leaves OpenCV's setting alone.
    `max_width`, `max_height` and `sizes` default to the cloud's limits. If the host raises them,
    `max_pixels` bounds the cost of one picture.

    Raises WeightsError at once if a model file is missing or not the expected one.
    """

    name = "embedded"
    max_batch = 8
    """Below the API's 100, so that results appear progressively."""

    def __init__(
        self,
        store: Store,
        *,
        threshold: float = THRESHOLD,
        alias_threshold: float = ALIAS_THRESHOLD,
        weights: Weights | None = None,
        capacity: int = limits.FACES_PER_SPACE,
        accepts: Accepts | None = None,
        threads: int | None = 1,
    ) -> None:
        weights = weights or Weights.default()
        weights.check()
        if threads is not None:
            cv2.setNumThreads(threads)
        self.model = str(weights)
        self._store = store
        self._gallery = IndexCache(store)
        self._reader = face_reader(weights)
        self._threshold = threshold
        self._alias_threshold = alias_threshold
        self._capacity = capacity
        self._accepts = accepts or Accepts()

    def at(self, *, threshold: float, alias_threshold: float | None = None) -> Engine:
        """The same engine, its models and indexes shared, with a space's own thresholds."""
        other = copy.copy(self)
        other._threshold = threshold
        if alias_threshold is not None:
            other._alias_threshold = alias_threshold
        return other

    def faces(self, data: bytes) -> list[DetectedFace]:
        """All faces of an encoded picture from left to right. Raises BadPicture."""
        return self._reader.read(
            data,
            max_width=self._accepts.max_width,
            max_height=self._accepts.max_height,
            max_pixels=self._accepts.max_pixels,
        )

    def call(self, method: Method, meta: Mapping[str, Any], images: Sequence[Image]) -> Answer:
        """Answer one request; an invalid one gets an envelope of status 400.

        Raises VisionTemporary if OpenCV failed, for example for lack of memory, or if no helper
        was free to open a picture. Errors of the Store propagate. Earlier writes of the request
        persist, and a repeated request finds them.
        """
        try:
            body, details = self._answer(wire.parse(method, meta), images)
        except wire.BadMeta as error:
            return Answer(envelope.failure(400, str(error)))
        except DecodingBusy as error:
            raise VisionTemporary(str(error)) from error
        except cv2.error as error:
            raise VisionTemporary(f"the recogniser failed: {error}") from error
        return Answer(envelope.success(body), details=details)

    def _answer(
        self, request: wire.Request, images: Sequence[Image]
    ) -> tuple[dict[str, Any], Details | None]:
        match request:
            case wire.SetRequest():
                return self._set(request, self._picked(request, images)), None
            case wire.RecognizeRequest():
                return self._recognize(request, self._picked(request, images))
            case wire.DeleteRequest():
                return self._delete(request), None
            case wire.TruncateRequest():
                self._store.clear(request.space)
                return {}, None

    def _picked(
        self, request: wire.SetRequest | wire.RecognizeRequest, images: Sequence[Image]
    ) -> list[Image]:
        """Raises BadMeta also where they have more pixels together than the cloud's limits allow:
        a request costs no more than it ever could."""
        picked = wire.pick_images(request.names, images, self._accepts.sizes)
        if (
            self._accepts.max_pixels is not None
            and pixels_of(one.data for one in picked) > MOST_PIXELS
        ):
            raise wire.BadMeta(f"the images together have more than {MOST_PIXELS} pixels")
        return picked

    def _set(self, request: wire.SetRequest, images: Sequence[Image]) -> dict[str, Any]:
        """Enrol pictures of a person. The same bytes for the same person again change nothing."""
        errors: dict[str, str] = {}
        new: dict[str, NewEmbedding] = {}
        for entry, image in zip(request.images, images, strict=True):
            try:
                faces = self.faces(image.data)
            except BadPicture as error:
                errors[entry.name] = str(error)
                continue
            if len(faces) != 1:
                errors[entry.name] = ONE_FACE_ONLY
                continue
            new[entry.name] = NewEmbedding(entry.person_id, faces[0].vector, _digest(image))
        if new:
            added = self._store.add(request.space, list(new.values()), capacity=self._capacity)
            for name, fitted in zip(new, added, strict=True):
                if not fitted:
                    errors[name] = SPACE_FULL.format(self._capacity)
        return {
            "objects": [
                envelope.failed(name, errors[name]) if name in errors else envelope.done(name)
                for name in request.names
            ]
        }

    def _delete(self, request: wire.DeleteRequest) -> dict[str, Any]:
        """Remove the person. Deleting a person who doesn't exist succeeds."""
        self._store.remove(request.space, [image.person_id for image in request.images])
        return {"objects": [envelope.done(name) for name in request.names]}

    def _recognize(
        self, request: wire.RecognizeRequest, images: Sequence[Image]
    ) -> tuple[dict[str, Any], Details]:
        """Name the faces image by image, so that a person created for one is found in the next.

        Searcher 0 weighs all people: if two faces match one person, the less similar one takes its
        next best. Searcher 1 considers the nearest neighbour alone: the face is that person or
        nobody. An image without a face has no `persons`. An unmatched face has its best
        similarity.

        `aliases` are the other people with a face within the alias threshold of one of this
        person's; `aliases_changed` says that they changed for someone this request wrote to.
        """
        before = self._gallery.index(request.space)
        outcomes = [self._recognize_one(request, image) for image in images]
        named = [named for outcome in outcomes for named in outcome.named]
        written = {n.person_id for n in named if n.person_id is not None and not n.matched}
        if request.update_embedding:
            for n in named:
                if n.person_id is not None and n.matched:
                    self._store.learn(request.space, n.person_id, n.face.vector)
                    written.add(n.person_id)
        after = self._gallery.index(request.space)
        found = sorted({n.person_id for n in named if n.person_id is not None})
        aliases = self._aliases(after, found)
        body = {
            "objects": [_object(outcome, aliases) for outcome in outcomes],
            "aliases_changed": any(
                aliases[person_id] != old
                for person_id, old in self._aliases(before, sorted(written)).items()
            ),
        }
        details = Details(
            {outcome.name: [one.detail for one in outcome.named] for outcome in outcomes},
            people=len(before.person_ids),
            pictures=before.pictures,
        )
        return body, details

    def _recognize_one(self, request: wire.RecognizeRequest, image: Image) -> _Outcome:
        try:
            faces = self.faces(image.data)
        except BadPicture as error:
            return _Outcome(image.name, error=str(error), status=ImageStatus.PERMANENT)
        created: dict[int, int] = {}  # position in faces: id
        problem = ""
        for _ in range(_CREATE_ATTEMPTS + len(faces)):
            index = self._gallery.index(request.space)
            named = self._name(request, index, faces, created)
            unknown = [i for i, one in enumerate(named) if one.person_id is None]
            if not request.create_new or not unknown or problem:
                return _Outcome(image.name, tuple(named), problem)
            first = unknown[0]
            try:
                person_id = self._gallery.create(
                    request.space, index, faces[first].vector, _digest(image), self._capacity
                )
            except SpaceMoved:
                continue
            if person_id is None:
                problem = SPACE_FULL.format(self._capacity)
            else:
                created[first] = person_id
        return _Outcome(image.name, error=SPACE_BUSY, status=ImageStatus.TEMPORARY)

    def _name(
        self,
        request: wire.RecognizeRequest,
        index: Index,
        faces: Sequence[DetectedFace],
        created: Mapping[int, int],
    ) -> list[_Named]:
        """Name all faces of one picture. Faces in `created` keep the person created from them."""
        others = [i for i in range(len(faces)) if i not in created]
        outcomes = assign(
            index,
            [faces[i].vector for i in others],
            threshold=self._threshold,
            nearest_only=request.searcher == wire.SEARCH_NEAREST,
            taken=created.values(),
        )
        named = {i: _Named(faces[i], person_id, 1.0, False) for i, person_id in created.items()}
        for i, outcome in zip(others, outcomes, strict=True):
            match, second = outcome.match, outcome.runner_up
            person_id = match.person_id if match else None
            detail = FaceDetail(
                index.picture(match.person_id, faces[i].vector) if match else "",
                second.person_id if second else None,
                _similarity_of(second.similarity) if second else None,
            )
            named[i] = _Named(faces[i], person_id, outcome.similarity, match is not None, detail)
        return [named[i] for i in range(len(faces))]

    def _aliases(self, index: Index, person_ids: Iterable[int]) -> dict[int, tuple[int, ...]]:
        return {i: index.aliases(i, self._alias_threshold) for i in person_ids}


def _object(outcome: _Outcome, aliases: Mapping[int, tuple[int, ...]]) -> dict[str, Any]:
    if outcome.status is not ImageStatus.DONE:
        return envelope.failed(outcome.name, outcome.error, outcome.status)
    entry = envelope.done(outcome.name)
    if outcome.error:
        entry["error"] = outcome.error
    if outcome.named:
        entry["persons"] = [
            _person(one, () if one.person_id is None else aliases[one.person_id])
            for one in outcome.named
        ]
    return entry


def _person(named: _Named, aliases: Sequence[int]) -> dict[str, Any]:
    face = named.face
    person: dict[str, Any] = {
        "tag": envelope.tag_of(named.person_id),
        "coord": [face.box.left, face.box.top, face.box.right, face.box.bottom],
        "confidence": round(face.score, 5),
        "awesomeness": round(face.awesomeness, 4),
        "similarity": _similarity_of(named.similarity),
        "frontality": round(face.frontality, 4),
        "visibility": round(face.visibility, 4),
    }
    if aliases:
        person["aliases"] = [envelope.tag_of(person_id) for person_id in aliases]
    return person


def _similarity_of(cosine: float) -> float:
    """A cosine as a similarity on the wire."""
    return round(min(max(cosine, 0.0), 1.0), 4)


def _digest(image: Image) -> str:
    return hashlib.sha256(image.data).hexdigest()
