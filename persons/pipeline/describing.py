"""What a face looks like, by the recogniser that comes with Rollcall, whoever found it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image

from persons import images
from persons.backends import DIMENSIONS, WIRE
from persons.engine.faces import FaceReader
from persons.engine.store import Vectors
from persons.models import Face, Photo
from persons.storage import stored
from persons.vision.types import Box

CROP_MARGIN = 0.6
"""Around a box, in sizes of the face: the detector wants to see a head."""


def described(photo: Photo, faces: Sequence[Face], reader: FaceReader) -> list[bytes]:
    """Each face's vector as it is stored; empty where its picture can't be read."""
    try:
        with stored(photo.key("large")) as file:
            picture = Image.open(file).convert("RGB")
    except FileNotFoundError:
        try:
            with stored(photo.original) as file:
                picture = images.open_oriented(file)
        except (FileNotFoundError, images.ImageRefused):
            return [b""] * len(faces)
    return [_describe(picture, photo, face, reader) for face in faces]


def _describe(picture: Image.Image, photo: Photo, face: Face, reader: FaceReader) -> bytes:
    box = images.map_box(
        Box(face.left, face.top, face.right, face.bottom),
        (photo.width, photo.height),
        picture.size,
    )
    x, y = round((box.right - box.left) * CROP_MARGIN), round((box.bottom - box.top) * CROP_MARGIN)
    left, top = max(0, box.left - x), max(0, box.top - y)
    right, bottom = min(picture.width, box.right + x), min(picture.height, box.bottom + y)
    if right - left < 2 or bottom - top < 2:
        return b""
    crop = np.asarray(picture.crop((left, top, right, bottom)), np.uint8)
    inside = Box(box.left - left, box.top - top, box.right - left, box.bottom - top)
    try:
        vector = reader.describe(crop, inside)
    except ValueError:
        return b""
    return np.asarray(vector, WIRE).tobytes()


def as_vectors(stored_vectors: Iterable[bytes]) -> Vectors:
    """(n, 128) of what FaceVector rows keep."""
    joined = b"".join(bytes(vector) for vector in stored_vectors)
    return np.frombuffer(joined, WIRE).astype(np.float32).reshape(-1, DIMENSIONS)
