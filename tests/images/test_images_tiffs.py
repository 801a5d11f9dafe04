"""TIFF files of every kind decode to the picture that they were made of, or are refused by name.

The files are built here byte by byte, so that the expectation depends on no reader.
"""

from __future__ import annotations

import io
import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from persons.images import ImageRefused, Refusal, inspect, open_oriented
from tests.support.tiffs import DEFLATE, LZW, PACK_BITS, compressed, tiff

pytestmark = pytest.mark.thorough

WIDTH, HEIGHT = 23, 17

Values = NDArray[Any]


def packed(values: Values, bits: int, order: str) -> bytes:
    """Samples in rows that begin on a byte; `values` is (rows, columns, samples a pixel)."""
    if bits in (8, 16, 32, 64):
        return values.astype(f"{order}{values.dtype.str[1:]}").tobytes()
    rows = values.reshape(len(values), -1)
    out = b""
    for row in rows:
        text = "".join(f"{int(value):0{bits}b}" for value in row)
        out += int(text.ljust(-(-len(text) // 8) * 8, "0"), 2).to_bytes(-(-len(text) // 8), "big")
    return out


def differences(values: Values) -> Values:
    out = values.copy()
    out[:, 1:] = values[:, 1:] - values[:, :-1]
    return out


def gradient() -> NDArray[np.float64]:
    """(height, width, 3), from 0 to 1: other in each direction and colour."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    red, green = x / (WIDTH - 1), y / (HEIGHT - 1)
    return np.stack([red, green, (2 - red - green) / 2], 2)


@dataclass(frozen=True)
class Layout:
    """How the samples stand in the file; `how` is the compression, `tile` (width, height)."""

    how: int = 1
    planar: bool = False
    tile: tuple[int, int] | None = None
    predictor: bool = False
    order: str = "<"
    big: bool = False
    sample_format: int = 1


def saved(
    values: Values,
    photometric: int,
    *,
    bits: int,
    more: dict[int, tuple[str, list[int]]] | None = None,
    **layout: Any,
) -> io.BytesIO:
    """The file of a picture; `layout` is `Layout`'s."""
    laid = Layout(**layout)
    bands = values.shape[2]
    tags: dict[int, tuple[str, list[int]]] = {
        256: ("I", [WIDTH]),
        257: ("I", [HEIGHT]),
        258: ("H", [bits] * bands),
        259: ("H", [laid.how]),
        262: ("H", [photometric]),
        277: ("H", [bands]),
        284: ("H", [2 if laid.planar else 1]),
        339: ("H", [laid.sample_format] * bands),
        **(more or {}),
    }
    if laid.predictor:
        tags[317] = ("H", [2])
    across, down = laid.tile or (WIDTH, 5)
    tags |= {322: ("I", [across]), 323: ("I", [down])} if laid.tile else {278: ("I", [down])}
    chunks = []
    for plane in np.split(values, bands, 2) if laid.planar else [values]:
        for top, left in itertools.product(range(0, HEIGHT, down), range(0, WIDTH, across)):
            part = plane[top : top + down, left : left + across]
            if laid.tile:
                part = np.pad(
                    part,
                    ((0, down - part.shape[0]), (0, across - part.shape[1]), (0, 0)),
                    "edge",
                )
            part = differences(part) if laid.predictor else part
            chunks.append(compressed(packed(part, bits, laid.order), laid.how))
    return io.BytesIO(tiff(tags, chunks, laid.order, laid.big))


def shown(file: io.BytesIO) -> Values:
    seen = inspect(file)
    image = open_oriented(file)
    assert image.size == (seen.width, seen.height)
    return np.asarray(image).astype(float) / 255


def whole(values: NDArray[np.float64], bits: int) -> Values:
    kind = np.uint8 if bits <= 8 else np.uint16 if bits <= 16 else np.uint32
    return np.rint(values * ((1 << bits) - 1)).astype(kind)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bits", [1, 2, 4, 6, 8, 10, 12, 14, 16])
@pytest.mark.parametrize("how", [1, LZW, DEFLATE, PACK_BITS])
@pytest.mark.parametrize("photometric", [0, 1, 2])
def test_every_depth_is_shown_as_it_is_meant(
    bits: int, photometric: int, how: int, order: str
) -> None:
    wanted = gradient() if photometric == 2 else gradient()[:, :, :1]
    values = whole(wanted if photometric else 1 - wanted, bits)
    for planar, tile, big in itertools.product(
        (False, True), (None, (16, 16)), (False, True) if how == 1 else (False,)
    ):
        file = saved(
            values, photometric, bits=bits, how=how, planar=planar, tile=tile, order=order, big=big
        )
        most = 0.5 / ((1 << bits) - 1) + 1 / 255
        assert np.abs(shown(file) - wanted).max() <= most, (planar, tile, big)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("bits", [8, 16, 32])
@pytest.mark.parametrize("how", [LZW, DEFLATE])
def test_differences_are_added_up(bits: int, how: int, planar: bool, order: str) -> None:
    values = whole(gradient(), min(bits, 16)).astype({8: "u1", 16: "u2", 32: "u4"}[bits])
    file = saved(values, 2, bits=bits, how=how, planar=planar, predictor=True, order=order)
    assert np.abs(shown(file) - gradient()).max() <= 1.5 / 255


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bits", [16, 32, 64])
def test_floating_point_is_shown(bits: int, order: str) -> None:
    values = gradient().astype(f"f{bits // 8}")
    file = saved(values, 2, bits=bits, sample_format=3, order=order, how=DEFLATE)
    assert np.abs(shown(file) - gradient()).max() <= 1.5 / 255


def test_a_little_light_beyond_white_does_not_make_the_rest_dark() -> None:
    values = gradient().astype("f4")
    values[0, 0] = 60.0
    found = shown(saved(values, 2, bits=32, sample_format=3))
    assert np.abs(found - gradient())[1:].max() <= 1.5 / 255


@pytest.mark.parametrize("top", [255, 65535])
@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_palettes_of_16_bits_and_those_of_8(bits: int, top: int) -> None:
    size = 1 << bits
    chosen = whole(gradient()[:, :, :1], bits)
    colours = [[i * top // (size - 1) for i in range(size)] for _ in range(3)]
    colours[1].reverse()
    file = saved(chosen, 3, bits=bits, more={320: ("H", [*itertools.chain(*colours)])})
    level = chosen[:, :, 0] / (size - 1)
    assert np.abs(shown(file) - np.stack([level, 1 - level, level], 2)).max() <= 1.5 / 255


def test_cmyk_of_8_and_16_bits() -> None:
    ink = np.concatenate([1 - gradient(), np.zeros((HEIGHT, WIDTH, 1))], 2)
    eight = shown(saved(whole(ink, 8), 5, bits=8))
    assert np.abs(shown(saved(whole(ink, 16), 5, bits=16)) - eight).max() <= 1.5 / 255
    assert np.abs(eight - gradient()).mean() < 0.1


@pytest.mark.parametrize("bits", [8, 16])
def test_transparent_parts_are_white(bits: int) -> None:
    alpha = np.zeros((HEIGHT, WIDTH, 1))
    alpha[:, :10] = 1
    for kind, colours in ((2, gradient()), (1, gradient() * alpha), (None, gradient())):
        values = whole(np.concatenate([colours, alpha], 2), bits)
        more = {} if kind is None else {338: ("H", [kind])}
        found = shown(saved(values, 2, bits=bits, more=more))
        assert np.abs(found - gradient())[:, :10].max() <= 1.5 / 255
        assert found[:, 10:].min() == 1


def test_lab_is_shown_in_its_colours() -> None:
    values = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    values[:] = (136, 80, 67)  # What sRGB's red is, in L*a*b*.
    red = shown(saved(values, 8, bits=8))[5, 5]
    deep = shown(saved(values.astype(np.uint16) * 256, 8, bits=16))[5, 5]
    icc = values.copy()
    icc[:, :, 1:] += 128
    assert np.abs(red - (1, 0, 0)).max() < 0.1
    assert np.abs(deep - red).max() < 0.02
    assert np.abs(shown(saved(icc, 9, bits=8))[5, 5] - red).max() < 0.02


@pytest.mark.parametrize("block", [(1, 1), (2, 1), (2, 2), (4, 2)])
def test_ycbcr_in_blocks(block: tuple[int, int]) -> None:
    across, down = block
    picture = Image.new("RGB", (WIDTH, HEIGHT), (200, 90, 40)).convert("YCbCr")
    y, cb, cr = picture.getpixel((0, 0))  # type: ignore[misc]
    unit = bytes([y] * (across * down) + [cb, cr])
    data = unit * (-(-WIDTH // across) * -(-HEIGHT // down))
    tags = {
        256: ("I", [WIDTH]), 257: ("I", [HEIGHT]), 258: ("H", [8] * 3), 259: ("H", [1]),
        262: ("H", [6]), 277: ("H", [3]), 278: ("I", [HEIGHT]), 530: ("H", [across, down]),
    }  # fmt: skip
    found = shown(io.BytesIO(tiff(tags, [data], "<", big=False)))
    assert np.abs(found * 255 - (200, 90, 40)).max() <= 3


def test_numbers_that_are_written_as_bytes_are_read_as_numbers() -> None:
    """libtiff ignores them: the planes of a JPEG's colours were taken for pixels."""
    picture = Image.new("RGB", (WIDTH, HEIGHT), (200, 90, 40))
    strip = io.BytesIO()
    picture.save(strip, "JPEG", quality=95)
    tags = {
        256: ("I", [WIDTH]), 257: ("I", [HEIGHT]), 258: ("H", [8] * 3), 259: ("H", [7]),
        262: ("H", [6]), 277: ("H", [3]), 278: ("I", [HEIGHT]), 284: ("B", [1]),
        530: ("H", [2, 2]),
    }  # fmt: skip
    found = shown(io.BytesIO(tiff(tags, [strip.getvalue()], "<", big=False)))
    assert np.abs(found * 255 - (200, 90, 40)).max() <= 4


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({259: ("H", [34712])}, "JPEG 2000"),
        ({259: ("H", [50001])}, "WebP"),
        ({259: ("H", [999])}, "compression 999"),
        ({262: ("H", [10])}, "kind 10"),
        ({258: ("H", [5, 6, 5])}, "differ"),
        ({258: ("H", [24] * 3), 339: ("H", [3] * 3)}, "24-bit"),
        ({339: ("H", [6] * 3)}, "complex"),
        ({317: ("H", [7])}, "predictor 7"),
    ],
)
def test_what_is_not_read_is_named_and_not_called_damaged(
    change: dict[int, tuple[str, list[int]]], word: str
) -> None:
    file = saved(whole(gradient(), 8), 2, bits=8, more=change)
    for read in (inspect, open_oriented):
        with pytest.raises(ImageRefused) as caught:
            read(file)
        assert caught.value.code == Refusal.UNSUPPORTED_FORMAT
        assert word in str(caught.value)


@pytest.mark.parametrize("how", [1, LZW, DEFLATE, PACK_BITS])
def test_a_part_that_is_not_all_there_is_damage(how: int) -> None:
    data = saved(whole(gradient(), 8), 2, bits=8, how=how).getvalue()
    with pytest.raises(ImageRefused) as caught:
        inspect(io.BytesIO(data[:-40]))
    assert caught.value.code == Refusal.TRUNCATED
