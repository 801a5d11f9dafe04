"""Reads all faces of a picture: detector, embedder and quality combined."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from ..decoding import PictureSource
from ..vision import limits
from ..vision.envelope import clip
from ..vision.types import Box
from . import quality
from .detector import Detection, Detector
from .embedder import SIDE, Embedder, alignment, crop_face
from .picture import OpenPicture, Picture, Pixels, read_picture
from .store import Vectors
from .weights import Weights

SAME_BOX = 0.3
"""Minimum overlap for two boxes to be the same face: detectors draw their boxes differently."""


@dataclass(frozen=True, slots=True)
class DetectedFace:
    """`box` is in pixels of the picture, inside it; `vector` is (128,) float32 of unit length.

    `score` (the detector's), `visibility` and `awesomeness` are [0, 1], `frontality` is [-1, 1].
    """

    box: Box
    score: float
    vector: Vectors
    frontality: float
    visibility: float
    awesomeness: float


class FaceReader:
    """Reads faces. Safe to share between threads; each loads the nets at its first picture, in
    about 0.25 s."""

    def __init__(self, weights: Weights) -> None:
        self._detector = Detector(weights.detector)
        self._embedder = Embedder(weights.recogniser)

    def read(
        self,
        data: bytes,
        *,
        max_width: int = limits.MAX_WIDTH,
        max_height: int = limits.MAX_HEIGHT,
        max_pixels: int | None = None,
    ) -> list[DetectedFace]:
        """All faces of an encoded picture, from left to right.

        Raises BadPicture, and DecodingBusy if no helper is free.
        """
        with PictureSource(data) as source:
            picture = read_picture(
                source, max_width=max_width, max_height=max_height, max_pixels=max_pixels
            )
            faces = (self._face(picture, found) for found in self._detector.find(picture))
            return [face for face in faces if face is not None]

    def describe(self, pixels: Pixels, box: Box) -> Vectors:
        """The embedding, (128,), of the face in `box` of a picture that is mostly this face.

        Aligned by landmarks if the detector finds the face there. Otherwise the box itself is
        used, since another detector may have found a face that ours does not.
        """
        picture = OpenPicture(pixels)
        found = [(_overlap(one, box), one) for one in self._detector.find(picture)]
        share, nearest = max(found, key=lambda pair: pair[0], default=(0.0, None))
        if nearest is not None and share >= SAME_BOX:
            return self._embedder.embed(crop_face(picture, alignment(nearest.landmarks)))
        inside = clip(box, picture.width, picture.height)
        if inside is None:
            raise ValueError(f"{box} is outside the picture")
        face = pixels[inside.top : inside.bottom, inside.left : inside.right]
        crop = cv2.resize(face, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        return self._embedder.embed(np.asarray(crop, np.uint8))

    def _face(self, picture: Picture, found: Detection) -> DetectedFace | None:
        left, top, right, bottom = (round(float(edge)) for edge in found.box)
        box = clip(Box(left, top, right, bottom), picture.width, picture.height)
        if box is None:
            return None
        transform = alignment(found.landmarks)
        crop = crop_face(picture, transform)
        frontal = quality.frontality(found.landmarks)
        return DetectedFace(
            box=box,
            score=found.score,
            vector=self._embedder.embed(crop),
            frontality=frontal,
            visibility=quality.visibility(transform, picture.width, picture.height),
            awesomeness=quality.awesomeness(found.score, found.landmarks, crop, frontal),
        )


def _overlap(found: Detection, box: Box) -> float:
    """Intersection over union, 0 to 1."""
    left, top, right, bottom = (float(edge) for edge in found.box)
    width = min(right, box.right) - max(left, box.left)
    height = min(bottom, box.bottom) - max(top, box.top)
    if width <= 0 or height <= 0:
        return 0.0
    areas = (right - left) * (bottom - top) + (box.right - box.left) * (box.bottom - box.top)
    return width * height / (areas - width * height)


@lru_cache(maxsize=4)
def face_reader(weights: Weights) -> FaceReader:
    """A shared reader for all engines with the same weights, so that each thread loads them
    once."""
    return FaceReader(weights)
