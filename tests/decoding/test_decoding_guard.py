"""Only the decoder's code opens pictures: checked by the imports in the source tree."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import ROOT

HELPERS = ("persons/images/", "persons/decoders/")
"""What runs in a helper process."""

LIBRARIES = {"PIL", "pillow_heif", "imageio", "skimage", "pyvips", "wand", "rawpy", "tifffile"}
OPENCV = {"imdecode", "imdecodemulti", "imread", "imreadmulti", "imreadanimation", "VideoCapture"}
OURS = {
    "camera_facts",
    "crop_face",
    "enrolment_crop",
    "inspect",
    "open_oriented",
    "opened",
    "pixel_size",
    "renditions",
    "sent_copy",
    "stripped",
}
"""Names of `persons.images` that open a picture, or work on one that is open."""


def faults(source: str) -> Iterator[str]:
    """What of a module outside the helpers opens pictures."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                modules = [one.name for one in names]
            case ast.ImportFrom(module=str(module), names=names):
                modules = [module]
                if module.startswith(("persons.images", "images")) or module == "persons.images":
                    yield from (f"images.{one.name}" for one in names if one.name in OURS)
                if module.startswith("persons.decoders"):
                    yield module
                if module == "cv2":
                    yield from (one.name for one in names if one.name in OPENCV)
                if module == "persons":
                    modules += [f"persons.{one.name}" for one in names]
            case ast.Attribute(value=ast.Name(id="cv2"), attr=attribute) if attribute in OPENCV:
                yield f"cv2.{attribute}"
                continue
            case ast.Attribute(value=ast.Name(id="images"), attr=attribute) if attribute in OURS:
                yield f"images.{attribute}"
                continue
            case _:
                continue
        yield from (one for one in modules if one.partition(".")[0] in LIBRARIES)
        yield from (one for one in modules if one.startswith("persons.decoders"))


def modules() -> list[str]:
    found = [ROOT / "manage.py"]
    for folder in ("persons", "dashboard"):
        found += (ROOT / folder).rglob("*.py")
    names = [str(path.relative_to(ROOT)) for path in found]
    return sorted(name for name in names if not name.startswith(HELPERS))


def test_nothing_but_a_helper_opens_pictures() -> None:
    looked_at = modules()
    assert len(looked_at) > 200
    found = {name: list(faults((ROOT / name).read_text(encoding="utf-8"))) for name in looked_at}
    assert {name: what for name, what in found.items() if what} == {}


@pytest.mark.parametrize(
    "source",
    [
        "from PIL import Image",
        "import PIL.Image",
        "def late():\n    import pillow_heif",
        "import cv2\ncv2.imdecode(data, 1)",
        "from cv2 import imread",
        "from persons.images import inspect",
        "from persons.images.opening import opened",
        "from persons import images\nimages.open_oriented(file)",
        "from persons.decoders import pixels",
        "from persons import decoders",
    ],
)
def test_the_guard_notices(source: str) -> None:
    assert list(faults(source))


@pytest.mark.parametrize(
    "source",
    [
        "from persons.images import ImageRefused, clean_name",
        "from persons import images, pictures\npictures.inspect(file)\nimages.map_box(a, b, c)",
        "import cv2\ncv2.resize(a, b)",
    ],
)
def test_the_guard_lets_pass_what_opens_nothing(source: str) -> None:
    assert not list(faults(source))


def test_the_helper_is_named_once() -> None:
    """Nothing from outside can choose another: no setting, no environment."""
    paths = [ROOT / name for name in modules()]
    named = [path for path in paths if "decoders.serving" in path.read_text(encoding="utf-8")]
    assert named == [Path(ROOT / "persons/decoding/limits.py")]
