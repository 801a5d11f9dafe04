"""Face quality measures from landmarks and crop, in the ranges of the wire.

These are geometry and sharpness, not models: no expression, age or sex is estimated.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from .embedder import SIDE, Transform
from .picture import Pixels

_GOOD_EYE_DISTANCE = 60.0
"""Pixels between the eyes. Beyond about this, more resolution doesn't help the recogniser."""

_HALF_SHARP = 100.0
"""Variance of the Laplacian of an aligned crop; in-focus portraits have several hundred."""


def frontality(landmarks: NDArray[np.float32]) -> float:
    """In [-1, 1]: 1 with the nose midway between the eyes, -1 with it below or beyond one of them.

    It measures turning the head left and right, not nodding.
    """
    eyes = landmarks[1] - landmarks[0]
    length = float(eyes @ eyes)
    if length <= 0:
        return -1.0
    along = float((landmarks[2] - landmarks[0]) @ eyes) / length
    return 1 - 2 * min(1.0, abs(2 * along - 1))


def visibility(transform: Transform, width: int, height: int) -> float:
    """In [0, 1]: the share of the aligned crop that lies inside the picture.

    Occlusion by a hand or mask does not lower it.
    """
    back = cv2.invertAffineTransform(transform)
    grid = np.stack(np.meshgrid(*[np.linspace(0, SIDE, 17)] * 2), axis=-1).reshape(-1, 2)
    x, y = (grid @ back[:, :2].T + back[:, 2]).T
    return float(np.mean((x >= 0) & (x <= width) & (y >= 0) & (y <= height)))


def awesomeness(
    score: float, landmarks: NDArray[np.float32], crop: Pixels, frontal: float
) -> float:
    """In [0, 1]: how suitable the face is for recognition, the wire's "conditional coolness".

    The detector's score times the geometric mean of three: size (eye distance, full from 60 px),
    sharpness (variance of the Laplacian v as v / (v + 100)) and frontality mapped to [0, 1].
    """
    size = min(1.0, float(np.linalg.norm(landmarks[1] - landmarks[0])) / _GOOD_EYE_DISTANCE)
    variance = float(cv2.Laplacian(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), cv2.CV_64F).var())
    sharpness = variance / (variance + _HALF_SHARP)
    return float(score * np.cbrt(size * sharpness * (frontal + 1) / 2))
