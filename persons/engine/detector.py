"""Detects faces with YuNet through OpenCV."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .nets import Nets
from .picture import Picture
from .weights import Model

SCORE_THRESHOLD = 0.6
"""Finds more real faces than 0.8."""

MAX_SIDE = 1280
"""Pixels. In larger pictures YuNet misplaces the landmarks of large faces."""

_NMS_THRESHOLD = 0.3
_TOP_K = 5000


@dataclass(frozen=True, slots=True)
class Detection:
    """A detected face, in pixels of the picture; the box may extend beyond its edges.

    `box` is (4,): left, top, right, bottom. `landmarks` is (5, 2): the eye on the picture's left,
    the other eye, the nose, the left corner of the mouth, the right corner. `score` is [0, 1].
    """

    box: NDArray[np.float32]
    landmarks: NDArray[np.float32]
    score: float


class Detector:
    """A YuNet detector. Safe to share between threads."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._nets = Nets(self._loaded)

    def find(self, picture: Picture) -> list[Detection]:
        """All faces from left to right. Raises BadPicture, and WeightsError on first use."""
        level = picture.coarse(MAX_SIDE)
        height, width = level.pixels.shape[:2]
        pixels = cv2.cvtColor(level.pixels, cv2.COLOR_RGB2BGR)
        with self._nets.lent() as net:
            net.setInputSize((width, height))
            _, rows = net.detect(pixels)
        if rows is None:  # no face; the stubs don't know
            return []
        found = [_detection(row) for row in np.asarray(rows, np.float32) / _units(level.scale)]
        return sorted(found, key=lambda detection: tuple(detection.box))

    def _loaded(self) -> cv2.FaceDetectorYN:
        # OpenCV 5 warns once per net about a target that its new graph engine ignores.
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
        onnx = np.frombuffer(self._model.read(), np.uint8)
        no_config = np.empty(0, np.uint8)
        return cv2.FaceDetectorYN.create(
            "onnx", onnx, no_config, (320, 320), SCORE_THRESHOLD, _NMS_THRESHOLD, _TOP_K
        )


def _units(scale: float) -> NDArray[np.float32]:
    """Divisor for a row of 14 lengths, which are scaled, and a score, which is not."""
    return np.array([scale] * 14 + [1], np.float32)


def _detection(row: NDArray[np.float32]) -> Detection:
    """`row` is (15,): x, y, width, height, five points, score."""
    x, y, width, height = row[:4]
    box = np.array([x, y, x + width, y + height], np.float32)
    return Detection(box, row[4:14].reshape(5, 2), float(np.clip(row[14], 0, 1)))
