"""Describing a face by 128 numbers: SFace through OpenCV's dnn module.

`cv2.FaceRecognizerSF` fails on this file in OpenCV 5.0, so the aligning is done here. Preprocessing
was found by measuring: RGB, 0 to 255, no mean taken off; other scales make all people alike.
"""

from __future__ import annotations

import threading

import cv2
import numpy as np
from numpy.typing import NDArray

from .picture import Picture, Pixels
from .store import Vectors
from .weights import Model

SIDE = 112
"""Pixels of the square crop that SFace wants."""

REFERENCE = np.array(
    [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ]
)
"""ArcFace's places of the five landmarks in that crop: eyes, nose, corners of the mouth."""

Transform = NDArray[np.float64]
"""(2, 3): takes a point of the picture to a point of the crop."""


class Embedder:
    """May be shared by threads: each gets a net of its own, for a net keeps state while it runs."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._local = threading.local()

    def embed(self, crop: Pixels) -> Vectors:
        """(128,) float32 of unit length for an aligned crop. Raises WeightsError at first use."""
        net = self._net()
        net.setInput(cv2.dnn.blobFromImage(crop), "data")
        vector = np.asarray(net.forward(), np.float32).reshape(-1)
        return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-9), np.float32)

    def _net(self) -> cv2.dnn.Net:
        net: cv2.dnn.Net | None = getattr(self._local, "net", None)
        if net is None:
            net = cv2.dnn.readNetFromONNX(np.frombuffer(self._model.read(), np.uint8))
            self._local.net = net
        return net


def alignment(landmarks: NDArray[np.float32]) -> Transform:
    """The turn, scale and shift that bring (5, 2) landmarks nearest to REFERENCE (least squares).

    With points as complex numbers that is w = a z + b, which can't mirror.
    """
    z = landmarks[:, 0].astype(np.float64) + 1j * landmarks[:, 1]
    w = REFERENCE[:, 0] + 1j * REFERENCE[:, 1]
    spread = z - z.mean()
    a = np.vdot(spread, w - w.mean()) / max(float(np.vdot(spread, spread).real), 1e-9)
    b = w.mean() - a * z.mean()
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def crop_face(picture: Picture, transform: Transform) -> Pixels:
    """(112, 112, 3) RGB, the face upright and in place; black beyond the picture's edge."""
    level = picture.at_least(float(np.hypot(transform[0, 0], transform[1, 0])))
    here = transform.copy()
    here[:, :2] /= level.scale
    crop = cv2.warpAffine(level.pixels, here, (SIDE, SIDE), flags=cv2.INTER_LINEAR)
    return np.asarray(crop, np.uint8)
