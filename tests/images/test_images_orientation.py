"""Orientation is read once, wherever a format stores it, and is the same for every reader."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import pillow_heif
import pytest
from PIL import Image, ImageOps, PngImagePlugin, TiffImagePlugin
from playwright.sync_api import Page

from persons.images import (
    Keep,
    camera_facts,
    full_size,
    inspect,
    open_oriented,
    shared_whole,
    stripped,
)

pytestmark = pytest.mark.thorough

UPRIGHT = (60, 90)
RED, GREEN, BLUE, YELLOW = (250, 10, 10), (10, 240, 10), (10, 10, 250), (240, 240, 10)
LYING = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    8: Image.Transpose.ROTATE_270,
}


def upright() -> Image.Image:
    image = Image.new("RGB", (2, 2))
    image.putdata([RED, GREEN, BLUE, YELLOW])
    return image.resize(UPRIGHT, Image.Resampling.NEAREST)


def lying(orientation: int) -> Image.Image:
    return upright().transpose(LYING[orientation])


def exif(orientation: int | None) -> bytes:
    tags = Image.Exif()
    tags[0x010F] = "Maker"
    if orientation is not None:
        tags[0x0112] = orientation
    return tags.tobytes()


def xmp(orientation: int, *, as_element: bool = False) -> bytes:
    said = f' tiff:Orientation="{orientation}"/>'
    if as_element:
        said = f"><tiff:Orientation>{orientation}</tiff:Orientation></rdf:Description>"
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
        'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
        f'xmlns:tiff="http://ns.adobe.com/tiff/1.0/"{said}</rdf:RDF></x:xmpmeta>'
    ).encode()


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def with_segments(data: bytes, *blocks: bytes) -> bytes:
    """A JPEG with these EXIF blocks, in this order."""
    segments = [struct.pack(">BBH", 0xFF, 0xE1, len(block) + 2) + block for block in blocks]
    return data[:2] + b"".join(segments) + data[2:]


def with_chunks(data: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG with these behind its head."""
    packed = b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )
    return data[:33] + packed + data[33:]


def profile(name: str, data: bytes) -> bytes:
    """As ImageMagick packs it into a PNG."""
    digits = data.hex()
    lines = "\n".join(digits[i : i + 72] for i in range(0, len(digits), 72))
    return f"\n{name}\n{len(data):8}\n{lines}\n".encode()


def png(orientation: int) -> bytes:
    return saved(lying(orientation), "PNG")


def png_with_xmp(orientation: int, *, as_element: bool = False) -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", xmp(orientation, as_element=as_element).decode(), zip=True)
    return saved(lying(orientation), "PNG", pnginfo=info)


def png_with_late_exif(orientation: int) -> bytes:
    """The chunk may stand behind the pixels."""
    data = png(orientation)
    late = with_chunks(data[:33] + b"", (b"eXIf", exif(orientation)[6:]))[33:]
    return data[:-12] + late + data[-12:]


def tiff_with_xmp(orientation: int) -> bytes:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[0x02BC] = xmp(orientation)
    tags.tagtype[0x02BC] = 1
    return saved(lying(orientation), "TIFF", tiffinfo=tags)


def heic_by_exif(orientation: int) -> bytes:
    """Of the older kind, without a turn of its own."""
    tags = Image.Exif()
    tags[0x0112] = orientation
    data = saved(lying(orientation), "HEIF", quality=95, chroma=444, exif=tags)
    assert b"irot" not in data
    assert b"imir" not in data
    return data.replace(b"miaf", b"heic", 1)


SMALL: dict[str, Any] = {"quality": 95, "subsampling": 0}
FILES: dict[str, tuple[str, Callable[[int], bytes]]] = {
    "jpeg exif": ("JPEG", lambda o: saved(lying(o), "JPEG", exif=exif(o), **SMALL)),
    "jpeg xmp": ("JPEG", lambda o: saved(lying(o), "JPEG", xmp=xmp(o), **SMALL)),
    "jpeg xmp element": (
        "JPEG",
        lambda o: saved(lying(o), "JPEG", xmp=xmp(o, as_element=True), **SMALL),
    ),
    "jpeg exif before xmp": (
        "JPEG",
        lambda o: saved(lying(o), "JPEG", exif=exif(o), xmp=xmp(1 + o % 8), **SMALL),
    ),
    "jpeg two exif, first": (
        "JPEG",
        lambda o: with_segments(saved(lying(o), "JPEG", **SMALL), exif(o), exif(None)),
    ),
    "jpeg two exif, second": (
        "JPEG",
        lambda o: with_segments(saved(lying(o), "JPEG", **SMALL), exif(None), exif(o)),
    ),
    "jpeg two exif, both": (
        "JPEG",
        lambda o: with_segments(saved(lying(o), "JPEG", **SMALL), exif(o), exif(1 + o % 8)),
    ),
    "png exif": ("PNG", lambda o: with_chunks(png(o), (b"eXIf", exif(o)[6:]))),
    "png exif behind": ("PNG", png_with_late_exif),
    "png xmp": ("PNG", png_with_xmp),
    "png xmp element": ("PNG", lambda o: png_with_xmp(o, as_element=True)),
    "png profile exif": (
        "PNG",
        lambda o: with_chunks(
            png(o), (b"tEXt", b"Raw profile type exif\0" + profile("exif", exif(o)))
        ),
    ),
    "png profile app1": (
        "PNG",
        lambda o: with_chunks(
            png(o),
            (
                b"zTXt",
                b"Raw profile type APP1\0\0" + zlib.compress(profile("generic profile", exif(o))),
            ),
        ),
    ),
    "webp exif": ("WEBP", lambda o: saved(lying(o), "WEBP", exif=exif(o), lossless=True)),
    "webp xmp": ("WEBP", lambda o: saved(lying(o), "WEBP", xmp=xmp(o), lossless=True)),
    "tiff": ("TIFF", lambda o: saved(lying(o), "TIFF", tiffinfo={0x0112: o})),
    "tiff xmp": ("TIFF", tiff_with_xmp),
    "heic": (
        "HEIF",
        lambda o: saved(lying(o), "HEIF", quality=95, chroma=444, exif=exif(o)),
    ),
    "heic by exif": ("HEIF", heic_by_exif),
    "avif": ("AVIF", lambda o: saved(lying(o), "AVIF", quality=95, exif=exif(o))),
}


def corners(image: Image.Image) -> list[str]:
    """The colours of the four quarters."""
    names = {RED: "red", GREEN: "green", BLUE: "blue", YELLOW: "yellow"}
    width, height = image.size
    found = []
    for x, y in ((0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.75, 0.75)):
        seen = image.convert("RGB").getpixel((int(width * x), int(height * y)))
        assert isinstance(seen, tuple)
        found.append(
            names[
                min(names, key=lambda one: sum(abs(a - b) for a, b in zip(one, seen, strict=True)))
            ]
        )
    return found


WANTED = ["red", "green", "blue", "yellow"]


def as_a_reader_shows(data: bytes) -> Image.Image:
    """By the pixels, and EXIF where it is a JPEG: what all readers obey."""
    with Image.open(io.BytesIO(data)) as image:
        return ImageOps.exif_transpose(image) if image.format == "JPEG" else image.copy()


@pytest.fixture(params=FILES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("orientation", LYING)
def test_it_is_found_wherever_it_is_said(name: str, orientation: int) -> None:
    kind, make = FILES[name]
    data = make(orientation)
    seen = inspect(io.BytesIO(data))
    image = open_oriented(io.BytesIO(data))
    assert seen.format == kind
    assert image.size == (seen.width, seen.height) == UPRIGHT
    assert corners(image) == WANTED


@pytest.mark.parametrize("orientation", LYING)
@pytest.mark.parametrize("keep", [*Keep, None])
def test_what_leaves_is_upright_for_every_reader(
    name: str, orientation: int, keep: Keep | None
) -> None:
    kind, make = FILES[name]
    data = make(orientation)
    found = stripped(data, kind, keep) if keep else shared_whole(data, kind)
    if kind in ("HEIF", "AVIF") and found.data == data:
        return  # It says so in its container, which all obey.
    assert corners(as_a_reader_shows(found.data)) == WANTED
    # Whoever reads more than that finds nothing else, and nothing that turns it once more.
    assert corners(open_oriented(io.BytesIO(found.data))) == WANTED
    with Image.open(io.BytesIO(found.data)) as image:
        if image.format != "JPEG":
            assert image.getexif().get(0x0112, 1) == 1
        else:
            assert found.data.count(b"Exif\0\0") <= 1


@pytest.mark.parametrize("orientation", LYING)
def test_in_full_size_it_is_upright(name: str, orientation: int) -> None:
    _, make = FILES[name]
    data = make(orientation)
    found = full_size(io.BytesIO(data))
    assert (found is None) == (name in ("jpeg exif", "jpeg exif before xmp"))
    assert corners(as_a_reader_shows(found or data)) == WANTED


def test_a_heic_of_the_stricter_kind_forbids_what_exif_says() -> None:
    tags = Image.Exif()
    tags[0x0112] = 6
    data = saved(upright(), "HEIF", quality=95, chroma=444, exif=tags)
    assert b"miaf" in data[:40]
    assert corners(open_oriented(io.BytesIO(data))) == WANTED


def test_a_heic_that_says_it_itself_is_not_turned_twice() -> None:
    pillow_heif.register_heif_opener()
    data = saved(lying(6), "HEIF", quality=95, chroma=444, exif=exif(6))
    assert b"irot" in data
    old = data.replace(b"miaf", b"heic", 1)
    assert corners(open_oriented(io.BytesIO(old))) == WANTED


def test_facts_are_those_of_the_block_that_has_some() -> None:
    data = with_segments(saved(lying(6), "JPEG"), exif(6), exif(None))
    assert camera_facts(io.BytesIO(data)).camera == "Maker"
    text = with_chunks(png(6), (b"tEXt", b"Raw profile type exif\0" + profile("exif", exif(6))))
    assert camera_facts(io.BytesIO(text)).camera == "Maker"


@pytest.mark.browser
@pytest.mark.parametrize("what", ["stripped", "without the place", "whole", "full"])
def test_a_browser_shows_upright_what_leaves(page: Page, what: str) -> None:
    """Drawn by Chromium: size and the colours of the quarters."""
    for name, (kind, make) in FILES.items():
        for orientation in (3, 5, 6):
            data = make(orientation)
            match what:
                case "stripped":
                    data = stripped(data, kind, Keep.NOTHING).data
                case "without the place":
                    data = stripped(data, kind, Keep.ALL_BUT_PLACE).data
                case "whole":
                    data = shared_whole(data, kind).data
                case _:
                    data = full_size(io.BytesIO(data)) or data
            with Image.open(io.BytesIO(data)) as image:
                media_type = Image.MIME[image.format or ""]
            if media_type in ("image/tiff", "image/heif"):
                continue  # Not shown by Chromium.
            size, colours = page.evaluate(
                """async (source) => {
                    const image = new Image();
                    image.src = source;
                    await image.decode();
                    const canvas = document.createElement("canvas");
                    [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
                    const context = canvas.getContext("2d");
                    context.drawImage(image, 0, 0);
                    const at = (x, y) => [...context.getImageData(
                        Math.floor(canvas.width * x), Math.floor(canvas.height * y), 1, 1,
                    ).data].slice(0, 3);
                    return [
                        [canvas.width, canvas.height],
                        [at(0.25, 0.25), at(0.75, 0.25), at(0.25, 0.75), at(0.75, 0.75)],
                    ];
                }""",
                f"data:{media_type};base64,{base64.b64encode(data).decode()}",
            )
            shown = Image.new("RGB", (2, 2))
            shown.putdata([tuple(colour) for colour in colours])
            assert (tuple(size), corners(shown)) == (UPRIGHT, WANTED), (name, orientation)
