"""Embeddings of faces by the recogniser that comes with Rollcall, whichever engine found them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from persons import images, pictures
from persons.backends.embedded import DIMENSIONS, WIRE
from persons.engine.faces import FaceReader
from persons.engine.store import Vectors
from persons.files.storage import stored
from persons.models import Face, Photo
from persons.vision.types import Box

CROP_MARGIN = 0.6
"""Around a box, in face sizes: the detector needs to see a whole head."""


def described(photo: Photo, faces: Sequence[Face], reader: FaceReader) -> list[bytes]:
    """Each face's embedding as it is stored; b"" if its picture can't be read."""
    try:
        cuts = _cuts(photo, faces)
    except (FileNotFoundError, images.ImageRefused):
        return [b""] * len(faces)
    return [_describe(cut, reader) for cut in cuts]


def _cuts(photo: Photo, faces: Sequence[Face]) -> list[pictures.Cut | None]:
    boxes = [Box(face.left, face.top, face.right, face.bottom) for face in faces]
    frame = (photo.width, photo.height)
    try:
        with stored(photo.key("large")) as file:
            return pictures.cuts(file, frame=frame, boxes=boxes, margin=CROP_MARGIN)
    except FileNotFoundError:
        with stored(photo.original) as file:
            return pictures.cuts(file, frame=frame, boxes=boxes, margin=CROP_MARGIN, oriented=True)


def _describe(cut: pictures.Cut | None, reader: FaceReader) -> bytes:
    if cut is None:
        return b""
    try:
        vector = reader.describe(cut.pixels, cut.box)
    except ValueError:
        return b""
    return np.asarray(vector, WIRE).tobytes()


def as_vectors(stored_vectors: Iterable[bytes]) -> Vectors:
    """The stored embeddings of FaceVector rows as an array of shape (n, 128)."""
    joined = b"".join(bytes(vector) for vector in stored_vectors)
    return np.frombuffer(joined, WIRE).astype(np.float32).reshape(-1, DIMENSIONS)
