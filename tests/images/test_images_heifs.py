"""A HEIC that is truncated or partly blank is refused, as a JPEG is; a whole one is accepted."""

from __future__ import annotations

import io
import random
from typing import Any

import pytest
from PIL import Image

from persons.images import ImageRefused, Refusal, inspect, open_oriented
from tests.support.portraits import PHOTOS

pytestmark = pytest.mark.thorough


def portrait(size: tuple[int, int] = (910, 1137)) -> Image.Image:
    with Image.open(PHOTOS / "obama_1.jpg") as image:
        return image.convert("RGB").resize(size)


def encoded(kind: str = "HEIF", image: Image.Image | None = None, **options: Any) -> bytes:
    out = io.BytesIO()
    (image or portrait()).save(out, kind, **{"quality": 70, **options})
    return out.getvalue()


TILED: dict[str, Any] = {"tile_size": 256}


@pytest.fixture(scope="module")
def grid() -> bytes:
    return encoded(**TILED)


def refusal(data: bytes) -> Refusal:
    codes = set()
    for read in (inspect, open_oriented):
        with pytest.raises(ImageRefused) as caught:
            read(io.BytesIO(data))
        codes.add(caught.value.code)
    (code,) = codes
    return code


@pytest.mark.parametrize("part", [0.2, 0.33, 0.5, 0.7, 0.9, 0.99, 0.9999])
def test_a_grid_that_is_cut_off_is_refused(grid: bytes, part: float) -> None:
    assert refusal(grid[: int(len(grid) * part)]) == Refusal.TRUNCATED


@pytest.mark.parametrize("start", [0.2, 0.33, 0.5, 0.8, 0.95])
def test_a_grid_whose_tail_was_never_written_is_refused(grid: bytes, start: float) -> None:
    at = int(len(grid) * start)
    assert refusal(grid[:at] + bytes(len(grid) - at)) == Refusal.TRUNCATED
    assert refusal(grid[:at] + bytes(len(grid) - at - 64) + grid[-64:]) == Refusal.TRUNCATED


@pytest.mark.parametrize("start", [0.2, 0.5, 0.95])
def test_a_grid_whose_tail_is_of_erased_flash_is_refused(grid: bytes, start: float) -> None:
    at = int(len(grid) * start)
    assert refusal(grid[:at] + b"\xff" * (len(grid) - at)) == Refusal.TRUNCATED


def test_an_avif_whose_tail_was_never_written_is_refused() -> None:
    data = encoded("AVIF")
    for byte in (b"\0", b"\xff"):
        assert refusal(data[:-500] + byte * 500) == Refusal.TRUNCATED


@pytest.mark.parametrize("byte", [b"\0", b"\xff"])
def test_a_block_that_was_never_written_is_found_anywhere(grid: bytes, byte: bytes) -> None:
    first = grid.index(b"mdat") + 4
    numbers = random.Random(3)
    for _ in range(20):
        at = numbers.randrange(first, len(grid) - 600)
        assert refusal(grid[:at] + byte * 512 + grid[at + 512 :]) == Refusal.TRUNCATED


@pytest.mark.parametrize(
    "options",
    [
        {},
        TILED,
        {"tile_size": 512, "quality": -1, "chroma": 444},
        {"tile_size": 512, "quality": 1},
        {"chroma": 422},
    ],
)
def test_whole_files_are_taken(options: dict[str, Any]) -> None:
    data = encoded(**options)
    seen = inspect(io.BytesIO(data))
    assert (seen.format, seen.width, seen.height) == ("HEIF", 910, 1137)
    # What stands behind the end is no part of the picture.
    assert inspect(io.BytesIO(data + b"film" * 50)).width == 910


@pytest.mark.parametrize("colour", ["black", "white", (10, 200, 30)])
@pytest.mark.parametrize("options", [{}, TILED])
def test_a_picture_of_one_colour_is_not_called_blank(
    options: dict[str, Any], colour: str | tuple[int, int, int]
) -> None:
    data = encoded(image=Image.new("RGB", (900, 700), colour), **options)
    assert inspect(io.BytesIO(data)).width == 900


def test_transparency_and_several_pictures_are_taken() -> None:
    clear = Image.new("RGBA", (300, 200), (200, 20, 20, 0))
    assert open_oriented(io.BytesIO(encoded(image=clear))).getpixel((5, 5)) == (255, 255, 255)
    several = encoded(save_all=True, append_images=[Image.new("RGB", (64, 48))])
    assert inspect(io.BytesIO(several)).width == 910


@pytest.mark.parametrize("part", [0.3, 0.6, 0.95, 0.999])
def test_an_avif_that_is_cut_off_is_refused(part: float) -> None:
    data = encoded("AVIF")
    assert inspect(io.BytesIO(data)).format == "AVIF"
    assert refusal(data[: int(len(data) * part)]) == Refusal.TRUNCATED


@pytest.mark.parametrize(
    ("codec", "word"), [(b"avc1", "AVC"), (b"jpeg", "JPEG"), (b"unci", "uncompressed")]
)
def test_another_codec_in_a_heif_is_named(codec: bytes, word: str) -> None:
    data = encoded(image=Image.new("RGB", (64, 48)))
    at = data.index(b"infe")
    assert data[at + 12 : at + 16] == b"hvc1"
    with pytest.raises(ImageRefused) as caught:
        inspect(io.BytesIO(data[: at + 12] + codec + data[at + 16 :]))
    assert caught.value.code == Refusal.UNSUPPORTED_FORMAT
    assert word in str(caught.value)
