"""The memory budgeted for a picture before it is decoded covers what decoding takes, measured."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pillow_heif
import pytest
from PIL import Image, ImageCms

from persons import pictures
from persons.images import ImageRefused
from tests.support.broken_decoder import misbehaving

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.processes
SIZE = (2400, 2000)
PIXELS = SIZE[0] * SIZE[1]
SLACK = 6_000_000
"""Bytes beside the pixels: buffers of encoders and what Python takes."""

MEASURE = """
import json, os, sys
sys.path.insert(0, {root!r})
from persons import images
from persons.images import budget
budget.limit_to(10**12)
found = {{}}
checked = budget._check
allowed = [0]
def check(cost):
    allowed[0] = max(allowed[0], cost)
    checked(cost)
budget._check = check
def status(name):
    return int(open("/proc/self/status").read().split(name + ":")[1].split()[0]) * 1024
images.full_size(open({warm!r}, "rb"))
for path in sys.argv[1:]:
    read, write = os.pipe()
    if os.fork() == 0:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
        before = status("VmRSS")
        images.full_size(open(path, "rb"))
        os.write(write, json.dumps([status("VmHWM") - before, allowed[0]]).encode())
        os._exit(0)
    os.close(write)
    found[os.path.basename(path)] = json.loads(os.read(read, 1000) or "null")
    os.wait()
print(json.dumps(found))
"""


def _foreign_profile() -> bytes:
    """sRGB by another name, so that pixels are converted."""
    data = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return data.replace(b"sRGB", b"else").replace(
        "sRGB".encode("utf-16-be"), "else".encode("utf-16-be")
    )


def _exif() -> bytes:
    exif = Image.Exif()
    exif[274] = 6
    return exif.tobytes()


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    with Image.open(ROOT / "demo" / "photos" / "obama_1.jpg") as image:
        return image.convert("RGB").resize(SIZE)


def _with_alpha(image: Image.Image) -> Image.Image:
    image = image.copy()
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image


Make = Callable[[Image.Image], tuple[Image.Image, str, dict[str, object]]]
TURNED: dict[str, object] = {"exif": _exif(), "icc_profile": _foreign_profile()}
CLEAR: dict[str, object] = {"transparency": 3}
KINDS: dict[str, Make] = {
    "avif": lambda one: (one, "AVIF", TURNED | {"speed": 10, "subsampling": "4:4:4"}),
    "avif-alpha": lambda one: (
        _with_alpha(one),
        "AVIF",
        TURNED | {"speed": 10, "subsampling": "4:4:4"},
    ),
    "gif": lambda one: (one.quantize(64), "GIF", {}),
    "gif-clear": lambda one: (one.quantize(64), "GIF", CLEAR),
    "bmp": lambda one: (one, "BMP", {}),
    "bmp-palette": lambda one: (one.quantize(64), "BMP", {}),
    "bmp-1": lambda one: (one.convert("1"), "BMP", {}),
    "jp2": lambda one: (one, "JPEG2000", {}),
    "jp2-grey": lambda one: (one.convert("L"), "JPEG2000", {}),
    "jp2-grey-alpha": lambda one: (_with_alpha(one.convert("L")), "JPEG2000", {}),
    "jp2-alpha": lambda one: (_with_alpha(one), "JPEG2000", {}),
    "jp2-16": lambda one: (Image.new("I;16", one.size, 9000), "JPEG2000", {}),
    "png": lambda one: (one, "PNG", TURNED),
    "png-alpha": lambda one: (_with_alpha(one), "PNG", TURNED),
    "png-grey-alpha": lambda one: (_with_alpha(one.convert("L")), "PNG", TURNED),
    "png-clear": lambda one: (one, "PNG", TURNED | {"transparency": (1, 2, 3)}),
    "png-grey-clear": lambda one: (one.convert("L"), "PNG", TURNED | CLEAR),
    "png-palette": lambda one: (one.quantize(64), "PNG", TURNED),
    "png-palette-clear": lambda one: (one.quantize(64), "PNG", TURNED | CLEAR),
    "png-1": lambda one: (one.convert("1"), "PNG", TURNED),
    "png-frames": lambda one: (
        one,
        "PNG",
        TURNED | {"save_all": True, "append_images": [one.rotate(2)]},
    ),
    "webp": lambda one: (one, "WEBP", TURNED | {"method": 0}),
    "webp-alpha": lambda one: (_with_alpha(one), "WEBP", TURNED | {"method": 0}),
}


@pytest.fixture(scope="module")
def measured(photo: Image.Image, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[int]]:
    """By name of KINDS: bytes that it took, that were allowed for it, and of its file."""
    pillow_heif.register_heif_opener()
    folder = tmp_path_factory.mktemp("budget")
    for name, make in KINDS.items():
        image, kind, options = make(photo)
        image.save(folder / name, kind, **options)
    warm = folder / "warm.png"
    photo.resize((64, 64)).save(warm)
    run = subprocess.run(
        [
            sys.executable,
            "-c",
            MEASURE.format(root=str(ROOT), warm=str(warm)),
            *(str(folder / name) for name in KINDS),
        ],
        capture_output=True,
        check=True,
    )
    found: dict[str, list[int]] = json.loads(run.stdout)
    sizes = {name: (folder / name).stat().st_size for name in KINDS}
    return {name: [took, most, sizes[name]] for name, (took, most) in found.items()}


@pytest.mark.parametrize("name", KINDS)
def test_a_picture_takes_no_more_than_is_allowed_for_it(
    name: str, measured: dict[str, list[int]]
) -> None:
    took, allowed, size = measured[name]
    # The file itself is allowed for in ALLOWANCE, and a PNG's parts are put together anew.
    assert took - 2 * size <= allowed + SLACK, (took / PIXELS, allowed / PIXELS)


@pytest.mark.parametrize("name", KINDS)
def test_what_is_allowed_is_no_guess(name: str, measured: dict[str, list[int]]) -> None:
    """What could be opened is not refused for a figure that nobody measured."""
    took, allowed, _ = measured[name]
    assert allowed <= took * 1.45 + 2 * SLACK, (took / PIXELS, allowed / PIXELS)


def test_what_is_transparent_is_refused_before_it_is_too_much(
    photo: Image.Image, tmp_path: Path
) -> None:
    """A colour that is declared transparent costs as much as an alpha channel."""
    flat = Image.new("RGB", (5_000, 5_000))
    plain, clear = io.BytesIO(), io.BytesIO()
    flat.save(plain, "PNG", compress_level=1)
    flat.save(clear, "PNG", compress_level=1, transparency=(1, 2, 3))
    with misbehaving(folder=tmp_path, memory=600_000_000, seconds=600):
        assert pictures.copies(plain).sent.original_width == 5_000
        with pytest.raises(ImageRefused, match="GB of memory"):
            pictures.copies(clear)
