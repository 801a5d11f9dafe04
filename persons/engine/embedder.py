"""Computes 128-dimensional face embeddings with SFace through OpenCV's dnn module.

`cv2.FaceRecognizerSF` fails on this file in OpenCV 5.0, so alignment is done here. The
preprocessing was found by measuring: RGB, 0 to 255, no mean subtraction; other scales make all
people alike.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from .nets import Nets
from .picture import Picture, Pixels
from .store import Vectors
from .weights import Model

SIDE = 112
"""Side in pixels of the square crop that SFace expects."""

REFERENCE = np.array(
    [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ]
)
"""ArcFace's reference positions of the five landmarks in that crop: eyes, nose, mouth corners."""

Transform = NDArray[np.float64]
"""Affine transform, (2, 3), from points of the picture to points of the crop."""


class Embedder:
    """An SFace embedder. Safe to share between threads."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._nets = Nets(self._loaded)

    def embed(self, crop: Pixels) -> Vectors:
        """The embedding of an aligned crop: (128,) float32 of unit length. Raises WeightsError on
        first use."""
        blob = cv2.dnn.blobFromImage(crop)
        with self._nets.lent() as net:
            net.setInput(blob, "data")
            # Copied: the answer may be the net's own memory, and the next thread overwrites it.
            vector = np.array(net.forward(), np.float32).reshape(-1)
        return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-9), np.float32)

    def _loaded(self) -> cv2.dnn.Net:
        return cv2.dnn.readNetFromONNX(np.frombuffer(self._model.read(), np.uint8))


def alignment(landmarks: NDArray[np.float32]) -> Transform:
    """The rotation, scale and translation that map (5, 2) landmarks to REFERENCE by least squares.

    With points as complex numbers that is w = a z + b, which can't mirror.
    """
    z = landmarks[:, 0].astype(np.float64) + 1j * landmarks[:, 1]
    w = REFERENCE[:, 0] + 1j * REFERENCE[:, 1]
    spread = z - z.mean()
    a = np.vdot(spread, w - w.mean()) / max(float(np.vdot(spread, spread).real), 1e-9)
    b = w.mean() - a * z.mean()
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def crop_face(picture: Picture, transform: Transform) -> Pixels:
    """The aligned crop, (112, 112, 3) RGB; black beyond the picture's edge."""
    level = picture.at_least(float(np.hypot(transform[0, 0], transform[1, 0])))
    here = transform.copy()
    here[:, :2] /= level.scale
    crop = cv2.warpAffine(level.pixels, here, (SIDE, SIDE), flags=cv2.INTER_LINEAR)
    return np.asarray(crop, np.uint8)
