"""Pictures of every mode and depth give the engine the same face, in the API's value ranges."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import warnings
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import ImageFile

from persons.engine.detector import MAX_SIDE
from persons.engine.engine import Accepts, Engine
from persons.engine.faces import DetectedFace
from persons.engine.memory import MemoryStore
from persons.engine.picture import UNKNOWN_TYPE, BadPicture, read_picture

PHOTOS = Path(__file__).resolve().parents[2] / "demo" / "photos"


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(MemoryStore())


def photo(name: str) -> Pillow.Image:
    return Pillow.open(PHOTOS / f"{name}.jpg").convert("RGB")


def encoded(image: Pillow.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def only_face(engine: Engine, data: bytes) -> DetectedFace:
    (face,) = engine.faces(data)
    return face


def overlap(one: DetectedFace, other: DetectedFace) -> float:
    """Intersection over union of the boxes."""
    a, b = one.box, other.box
    width = min(a.right, b.right) - max(a.left, b.left)
    height = min(a.bottom, b.bottom) - max(a.top, b.top)
    both = max(width, 0) * max(height, 0)
    areas = [(x.right - x.left) * (x.bottom - x.top) for x in (a, b)]
    return both / (sum(areas) - both)


def check_same(one: DetectedFace, other: DetectedFace, cosine: float = 0.9) -> None:
    assert overlap(one, other) > 0.85
    assert float(one.vector @ other.vector) > cosine


@pytest.fixture(scope="module")
def reference(engine: Engine) -> DetectedFace:
    return only_face(engine, encoded(photo("macron_2"), "PNG"))


def test_a_face_is_told_in_the_ranges_of_the_wire(engine: Engine, reference: DetectedFace) -> None:
    assert float(np.linalg.norm(reference.vector)) == pytest.approx(1, abs=1e-5)
    assert reference.vector.dtype == np.float32
    assert 0.6 <= reference.score <= 1
    assert 0.5 < reference.frontality <= 1
    assert reference.visibility == 1
    assert 0 < reference.awesomeness < 1


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        ("RGBA", "PNG"),
        ("RGBA", "TIFF"),
        ("CMYK", "JPEG"),
        ("CMYK", "TIFF"),
        ("P", "PNG"),
        ("RGB", "TIFF"),
    ],
)
def test_every_mode_shows_the_same_face(
    engine: Engine, reference: DetectedFace, mode: str, kind: str
) -> None:
    image = photo("macron_2").convert(mode)
    check_same(reference, only_face(engine, encoded(image, kind)))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_a_grey_picture_shows_the_same_person(
    engine: Engine, reference: DetectedFace, kind: str
) -> None:
    face = only_face(engine, encoded(photo("macron_2").convert("L"), kind))
    check_same(reference, face, cosine=0.7)


def test_16_bit_pictures_are_scaled_and_not_clipped(
    engine: Engine, reference: DetectedFace
) -> None:
    colour = np.asarray(photo("macron_2"))[:, :, ::-1].astype(np.uint16) * 257
    _, data = cv2.imencode(".png", colour)
    check_same(reference, only_face(engine, data.tobytes()))
    grey = np.asarray(photo("macron_2").convert("L"))
    eight = only_face(engine, encoded(Pillow.fromarray(grey), "PNG"))
    for kind in ("PNG", "TIFF"):
        deep = Pillow.fromarray(grey.astype(np.uint16) * 257)
        assert deep.mode == "I;16"
        check_same(eight, only_face(engine, encoded(deep, kind)), cosine=0.99)


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_32_bit_pictures_are_scaled_by_their_own_range(
    engine: Engine, dtype: type[np.generic]
) -> None:
    grey = np.asarray(photo("macron_2").convert("L"))
    eight = only_face(engine, encoded(Pillow.fromarray(grey), "PNG"))
    deep = Pillow.fromarray((grey.astype(np.float32) * 1000).astype(dtype))
    check_same(eight, only_face(engine, encoded(deep, "TIFF")), cosine=0.9)


def test_a_palette_with_transparent_entries_is_read_without_a_warning(engine: Engine) -> None:
    image = photo("macron_2").quantize(64)
    data = encoded(image, "PNG", transparency=bytes([0] * 4 + [255] * 60))
    assert len(engine.faces(data)) <= 1


def test_an_exif_orientation_is_not_applied(engine: Engine, reference: DetectedFace) -> None:
    exif = Pillow.Exif()
    exif[274] = 6
    check_same(reference, only_face(engine, encoded(photo("macron_2"), "JPEG", exif=exif)))


def test_a_tiff_orientation_is_part_of_the_layout(engine: Engine, reference: DetectedFace) -> None:
    lying = photo("macron_2").transpose(Pillow.Transpose.ROTATE_90)
    data = encoded(lying, "TIFF", tiffinfo={274: 6})
    check_same(reference, only_face(engine, data))


@pytest.mark.parametrize("angle", [-20, 20])
def test_a_tilted_head_is_the_same_person(
    engine: Engine, reference: DetectedFace, angle: int
) -> None:
    face = only_face(engine, encoded(photo("macron_2").rotate(angle, expand=True), "PNG"))
    assert float(face.vector @ reference.vector) > 0.75


@pytest.mark.parametrize(("face_width", "cosine"), [(600, 0.95), (150, 0.95), (60, 0.9)])
def test_a_large_jpeg_is_decoded_small_and_shows_the_same_face(
    engine: Engine, face_width: int, cosine: float
) -> None:
    """Against PNG, which is always decoded whole."""
    image = photo("macron_2")
    ratio = face_width / 295
    image = image.resize((round(image.width * ratio), round(image.height * ratio)))
    canvas = Pillow.new("RGB", (3840, 2160), "gray")
    canvas.paste(image, (901, 203))
    small = only_face(engine, encoded(canvas, "JPEG", quality=95))
    whole = only_face(engine, encoded(canvas, "PNG", compress_level=1))
    check_same(whole, small, cosine)


def test_only_what_is_needed_is_decoded() -> None:
    canvas = Pillow.new("RGB", (3840, 2160), "gray")
    picture = read_picture(encoded(canvas, "JPEG"))
    level = picture.coarse(MAX_SIDE)
    assert (level.pixels.shape, level.scale) == ((720, 1280, 3), 1 / 3)
    assert picture.at_least(0.3) is level
    assert picture.at_least(0.4).pixels.shape == (1080, 1920, 3)
    assert picture.at_least(2).pixels.shape == (2160, 3840, 3)
    assert picture.at_least(1).scale == 1


@pytest.mark.parametrize("size", [(5, 5), (3840, 5), (5, 2160), (31, 33)])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_the_smallest_and_narrowest_pictures_have_no_face(
    engine: Engine, size: tuple[int, int], kind: str
) -> None:
    assert engine.faces(encoded(Pillow.new("RGB", size), kind)) == []


@pytest.mark.parametrize("size", [(4, 5), (5, 4), (3841, 100), (100, 2161)])
def test_a_picture_outside_the_limits_is_refused_with_its_size(
    engine: Engine, size: tuple[int, int]
) -> None:
    with pytest.raises(BadPicture, match=f"the image is {size[0]}x{size[1]} pixels, must be 5x5"):
        engine.faces(encoded(Pillow.new("RGB", size), "PNG"))


def test_an_engine_may_admit_larger_pictures() -> None:
    engine = Engine(MemoryStore(), accepts=Accepts(5000, 5000))
    assert engine.faces(encoded(Pillow.new("RGB", (4000, 4000)), "JPEG")) == []


def png_of(width: int, height: int, data: bytes) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        crc = zlib.crc32(kind + body)
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", crc)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(data, 9))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("side", [4000, 9000, 12_000, 60_000, 2**31 - 1])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_bomb_is_refused_by_its_header(
    engine: Engine, side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[object] = []
    monkeypatch.setattr(ImageFile.ImageFile, "load", loads.append)
    with pytest.raises(BadPicture, match="pixels"):
        engine.faces(png_of(side, side, bytes(20_000_000)))
    assert loads == []


def test_a_bomb_is_refused_where_warnings_are_errors(engine: Engine) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(BadPicture, match="pixels"):
            engine.faces(png_of(12_000, 12_000, b""))


@pytest.mark.parametrize(
    "data",
    [
        b"x",
        b"GIF89a" + bytes(50),
        b"\xff\xd8\xff" + bytes(100),
        b"\x89PNG\r\n\x1a\n",
        b"II*\0" + b"\xff" * 40,
        b"<svg/>",
    ],
)
def test_what_is_no_picture_is_refused_with_the_vendors_text(engine: Engine, data: bytes) -> None:
    with pytest.raises(BadPicture) as caught:
        engine.faces(data)
    assert str(caught.value) == UNKNOWN_TYPE


@pytest.mark.parametrize("kind", ["GIF", "BMP", "WEBP"])
def test_other_formats_are_refused(engine: Engine, kind: str) -> None:
    with pytest.raises(BadPicture, match=UNKNOWN_TYPE):
        engine.faces(encoded(photo("macron_1"), kind))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_a_broken_file_is_refused_or_read_but_never_breaks_the_engine(
    engine: Engine, kind: str
) -> None:
    options = {"compression": "tiff_lzw"} if kind == "TIFF" else {}
    data = encoded(photo("macron_1"), kind, **options)
    with pytest.raises(BadPicture):
        engine.faces(data[: len(data) // 3])
    random = np.random.default_rng(0)
    for _ in range(40):
        broken = bytearray(data)
        for at in random.integers(0, len(data), 12):
            broken[at] = random.integers(256)
        try:
            faces = engine.faces(bytes(broken))
        except BadPicture:
            continue
        assert all(np.isfinite(face.vector).all() for face in faces)


@pytest.mark.processes
def test_a_lossless_jpeg_is_decoded_whole_and_never_drafted() -> None:
    """In a process of its own: Pillow's `draft` would end it."""
    code = (
        "import struct\n"
        "from persons.engine.picture import BadPicture, read_picture\n"
        "def segment(marker, body):\n"
        "    return bytes([0xFF, marker]) + struct.pack('>H', len(body) + 2) + body\n"
        "frame = segment(0xC3, struct.pack('>BHHB', 8, 2000, 3000, 1) + bytes([1, 0x11, 0]))\n"
        "table = segment(0xC4, bytes([0, 1]) + bytes(15) + bytes([0]))\n"
        "scan = segment(0xDA, bytes([1, 1, 0, 1, 0, 0]))\n"
        "data = b'\\xff\\xd8' + frame + table + scan + bytes(750000) + b'\\xff\\xd9'\n"
        "try:\n"
        "    print(read_picture(data).coarse(300).pixels.shape)\n"
        "except BadPicture:\n"
        "    print('refused')\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip() in ("(200, 300, 3)", "refused")
