"""Our TIFF reader against two others, over what TIFF can vary: `python bench/tiffs.py`.

Files are written by tifffile (with imagecodecs), and read by `images.open_oriented` and by libvips.
Each has to look like the picture that it was made of, or be refused as unsupported.
Needs the extra `bench`.
"""

from __future__ import annotations

import io
import itertools
import sys
from collections import Counter
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyvips
import tifffile
from numpy.typing import NDArray
from PIL import Image

from persons.images import ImageRefused, Refusal, inspect, open_oriented

PORTRAIT = Path(__file__).parent.parent / "demo" / "photos" / "macron_1.jpg"
COMPRESSIONS = (None, "lzw", "deflate", "packbits", "zstd", "lzma", "jpeg")
MOST = 3.0
"""Mean difference of 8-bit values up to which two pictures look the same."""


def picture() -> NDArray[np.uint8]:
    with Image.open(PORTRAIT) as image:
        return np.asarray(image.convert("RGB").resize((203, 157)))


def deep(rgb: NDArray[np.uint8], kind: str) -> NDArray[Any]:
    number = np.dtype(kind)
    if number.kind == "f":
        return (rgb / 255).astype(number)
    if number.kind == "i":
        return (rgb.astype(np.int64) * np.iinfo(number).max // 255).astype(number)
    return (rgb.astype(np.uint64) * np.iinfo(number).max // 255).astype(number)


def is_possible(kind: str, colours: str, compression: str | None, predictor: int | None) -> bool:
    """Whether there are TIFFs of these samples with this compression and predictor."""
    is_float = np.dtype(kind).kind == "f"
    if predictor and (compression in (None, "jpeg", "packbits") or (predictor == 3) != is_float):
        return False
    if colours == "miniswhite" and (is_float or compression == "jpeg"):
        return False
    return compression != "jpeg" or kind == "u1"


def cases() -> Any:
    rgb = picture()
    grey = np.asarray(Image.fromarray(rgb).convert("L"))
    kinds = ["u1", "u2", "u4", "f2", "f4", "f8"]
    shapes = [("rgb", "contig"), ("rgb", "separate"), ("minisblack", None), ("miniswhite", None)]
    orders: tuple[Literal["<", ">"], ...] = ("<", ">")
    for kind, (colours, planes), compression, predictor, tile, order in itertools.product(
        kinds, shapes, COMPRESSIONS, (None, 2, 3), (None, (64, 48)), orders
    ):
        if not is_possible(kind, colours, compression, predictor):
            continue
        values = deep(rgb if colours == "rgb" else grey, kind)
        wanted = rgb if colours == "rgb" else np.repeat(grey[:, :, None], 3, 2)
        if colours == "miniswhite":
            values = np.iinfo(values.dtype).max - values
        if planes == "separate":
            values = np.moveaxis(values, 2, 0)
        options: dict[str, Any] = {"photometric": colours, "compression": compression}
        options |= {"planarconfig": planes} if planes else {}
        options |= {"predictor": predictor} if predictor else {}
        options |= {"tile": tile} if tile else {"rowsperstrip": 20}
        name = f"{kind} {colours} {planes} {compression} predictor {predictor} {tile} {order}"
        for big in (False, True) if compression in (None, "lzw") else (False,):
            out = io.BytesIO()
            try:
                with tifffile.TiffWriter(out, bigtiff=big, byteorder=order) as writer:
                    writer.write(values, **options)
            except (ValueError, KeyError, RuntimeError, NotImplementedError):
                continue
            yield f"{name} {'big' if big else ''}", out.getvalue(), wanted
    yield from packed(grey)


def packed(grey: NDArray[np.uint8]) -> Any:
    """Depths of other than whole bytes."""
    for bits, compression in itertools.product(
        (1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15), (None, "lzw", "deflate")
    ):
        top = (1 << bits) - 1
        values = (grey.astype(np.uint32) * top + 127) // 255
        wanted = np.repeat((values * 255 / top).round().astype(np.uint8)[:, :, None], 3, 2)
        out = io.BytesIO()
        values = values.astype(np.uint8 if bits <= 8 else np.uint16)
        try:
            tifffile.imwrite(
                out,
                values if bits > 1 else values.astype(bool),
                photometric="minisblack",
                compression=compression,
                bitspersample=bits,
                rowsperstrip=20,
            )
        except (ValueError, KeyError, RuntimeError, NotImplementedError):
            continue
        yield f"{bits} bits {compression}", out.getvalue(), wanted


def by_vips(data: bytes) -> NDArray[np.uint8] | None:
    try:
        image = pyvips.Image.new_from_buffer(data, "")
        if image.format in ("float", "double"):
            image = image * 255
        elif image.format in ("ushort", "uint"):
            image = image / (257 if image.format == "ushort" else 257 * 65537)
        image = image.rint().cast("uchar").copy(interpretation="srgb" if image.bands > 2 else "b-w")
        pixels = image.numpy()
    except (pyvips.Error, ValueError):
        return None
    pixels = pixels.reshape(image.height, image.width, -1)
    return np.repeat(pixels, 3, 2) if pixels.shape[2] == 1 else pixels[:, :, :3]


def far(one: NDArray[Any], other: NDArray[Any] | None) -> float:
    if other is None or one.shape != other.shape:
        return 255.0
    return float(np.abs(one.astype(int) - other.astype(int)).mean())


def main() -> None:
    counts: Counter[str] = Counter()
    for name, data, wanted in cases():
        counts["files"] += 1
        vips = by_vips(data)
        counts["libvips reads it right"] += far(wanted, vips) < MOST
        try:
            inspect(io.BytesIO(data))
            ours = np.asarray(open_oriented(io.BytesIO(data)))
        except ImageRefused as error:
            counts[f"refused: {error.code}"] += 1
            if error.code != Refusal.UNSUPPORTED_FORMAT or vips is not None:
                print(f"refused: {name}: {error}", file=sys.stderr)
            continue
        if far(wanted, ours) < MOST:
            counts["right"] += 1
        else:
            counts["wrong"] += 1
            print(f"wrong by {far(wanted, ours):.1f}: {name}", file=sys.stderr)
    for what, count in counts.items():
        print(f"{count:6} {what}")


if __name__ == "__main__":
    main()
