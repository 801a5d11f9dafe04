"""Opens untrusted files: size limits, checks before decoding, and the meaning of decoder errors.

Everything that decodes an upload goes through `opened`. Orientation is read here, once for all
formats, and the caller applies it: `Source.pixels` returns pixels as stored.
"""

from __future__ import annotations

import errno
import io
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import BinaryIO, Final

import pillow_heif

# Imported for the side effect: an unregistered plugin makes Pillow import all of them.
from PIL import (
    AvifImagePlugin,  # noqa: F401
    BmpImagePlugin,  # noqa: F401
    GifImagePlugin,  # noqa: F401
    Image,
    ImageFile,
    Jpeg2KImagePlugin,  # noqa: F401
    JpegImagePlugin,  # noqa: F401
    PngImagePlugin,
    TiffImagePlugin,  # noqa: F401
    WebPImagePlugin,  # noqa: F401
)

from persons.vision.limits import MIN_SIDE

from .budget import check_budget, check_tiff, check_webp_canvas
from .formats import HEAD, SEQUENCES, named, sniffed, unsupported
from .heifs import Heif
from .jpegs import frame_of
from .metadata import EXIF_MARK, PNG_HEAD, Metadata, metadata_of, png_chunks
from .refusal import ImageRefused, Refusal
from .tiff_pictures import TiffPicture, Unknown
from .tiff_pixels import image_of

MAX_FILE_BYTES: Final = 50_000_000
MAX_PIXELS: Final = 100_000_000
"""300 MB as RGB, which a worker can hold beside its engine."""
MAX_SIDE: Final = 30_000

# Pillow's own guard, as a second line: it warns above this many pixels and raises above twice as
# many, before decoding. It is a global, so it is set once for the process.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS

# Depth maps and embedded thumbnails are never used. Without thumbnails a decode is always of the
# picture itself, which `inspect` has to test. Two threads, because workers run in parallel.
pillow_heif.register_heif_opener(
    thumbnails=False, depth_images=False, aux_images=False, decode_threads=2
)

_MAX_SCANS = 200
"""Progressive pictures have about ten scans. Each costs a pass over all pixels for a few bytes."""

_UNKNOWN_KIND = re.compile(
    r"unsupported|not supported|unrecogni[sz]ed|not implemented|unknown (?!error)|cannot handle",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class InspectedFile:
    """An open file whose header was read and size checked; no pixels are decoded yet."""

    kind: str
    metadata: Metadata
    orientation: int
    """EXIF orientation, 1 to 8, that the caller still has to apply to `pixels`."""
    picture: ImageFile.ImageFile | TiffPicture
    file: BinaryIO
    may_be_drafted: bool = False
    has_frames: bool = False
    """Whether a PNG had further frames, which are removed before decoding."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height as stored."""
        if isinstance(self.picture, TiffPicture):
            return self.picture.width, self.picture.height
        return self.picture.size

    @property
    def mode(self) -> str:
        """Pillow's mode; "" for a TIFF, which has more kinds than Pillow's modes."""
        return "" if isinstance(self.picture, TiffPicture) else self.picture.mode

    @property
    def is_animated(self) -> bool:
        """Whether the file holds more than one picture."""
        if isinstance(self.picture, TiffPicture):
            return self.picture.has_more_pages
        return self.has_frames or bool(getattr(self.picture, "is_animated", False))

    def pixels(self) -> Image.Image:
        """Decode: any mode, orientation as stored."""
        if isinstance(self.picture, TiffPicture):
            return image_of(self.picture)
        check_budget(self.file, self.picture, self.kind)
        self.picture.load()
        # A HEIF's true size is known only after decoding.
        check_size(*self.picture.size)
        return self.picture

    def shrink(self, at_least: tuple[int, int]) -> None:
        """Load a JPEG at a half, a quarter or an eighth of its size, but not below `at_least`
        (width, height, as stored). Other formats are unaffected."""
        if self.may_be_drafted and isinstance(self.picture, ImageFile.ImageFile):
            self.picture.draft(None, at_least)

    def verify_whole(self) -> None:
        """Decode to verify that the file is whole, a JPEG at an eighth of its size."""
        if self.may_be_drafted and isinstance(self.picture, ImageFile.ImageFile):
            width, height = self.picture.size
            self.shrink((max(1, width // 8), max(1, height // 8)))
            check_budget(self.file, self.picture, self.kind)
            self.picture.load()
        else:
            self.pixels()


@contextmanager
def opened(file: BinaryIO) -> Iterator[InspectedFile]:
    """Open a file for decoding; it stays open afterwards.

    Raises ImageRefused for a file that is not accepted, and turns whatever a decoder raises inside
    the block into ImageRefused too.
    """
    file.seek(0)
    head = file.read(HEAD)
    kind = sniffed(head)
    try:
        if kind == "TIFF":
            yield _tiff(file)
            return
        if kind in ("HEIF", "AVIF"):
            kind = _checked_heif(file, kind)
        if kind == "BMP":
            _check_bmp(head)
        metadata = metadata_of(file, kind)
        may_be_drafted = kind == "JPEG" and _check_jpeg(file)
        if kind == "WEBP":
            # Pillow allocates two canvases on opening a WebP, before its size can be read.
            check_size(*_webp_size(head))
            check_webp_canvas(*_webp_size(head))
        plain, has_frames = minimal_png(file) if kind == "PNG" else (file, False)
        plain.seek(0)
        with Image.open(plain, formats=[kind]) as image:
            check_size(*image.size)
            if kind == "JPEG" and image.info.get("progressive"):
                _check_scans(file)
            turn = _turn(file, image, kind, metadata)
            check_budget(file, image, kind, smallest=may_be_drafted)
            yield InspectedFile(kind, metadata, turn, image, file, may_be_drafted, has_frames)
    except (ImageRefused, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_many_pixels() from error
    except Exception as error:
        # Pillow's plugins raise nearly anything on hostile bytes. An errno means that the disk
        # failed, which is not the uploader's fault. The exception is EINVAL, which a seek to a
        # nonsensical offset in the header causes.
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise
        raise _refusal_of(error, kind, head) from error


def _refusal_of(error: Exception, kind: str, head: bytes) -> ImageRefused:
    if isinstance(error, Unknown):
        return unsupported(str(error))
    if kind == "HEIF" and head[8:12] in SEQUENCES:
        return ImageRefused(
            Refusal.ANIMATED,
            "This HEIC file is a moving sequence without a still picture. "
            "Export one frame of it as JPEG and send that.",
        )
    if _UNKNOWN_KIND.search(str(error)):
        return ImageRefused(
            Refusal.UNSUPPORTED_FORMAT,
            f"This is {named(kind)} of a kind that can't be read here, or it is damaged. "
            "Open it in a photo program, save the picture as JPEG or PNG and send that.",
        )
    return ImageRefused(
        Refusal.TRUNCATED,
        "This picture is damaged or incomplete: its end may be missing. "
        "Copy or download it again, then send it again.",
    )


def pixel_size(data: bytes) -> tuple[int, int] | None:
    """Width and height from an encoded picture's header; None if it isn't a picture."""
    try:
        file: BinaryIO = BytesIO(data)
        if data.startswith(PNG_HEAD):
            file, _ = minimal_png(file)
            file.seek(0)
        with Image.open(file, formats=["JPEG", "PNG", "TIFF"]) as image:
            return image.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


def check_size(width: int, height: int) -> None:
    """Raise ImageRefused for too many pixels, or fewer than Vision accepts."""
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        raise _too_many_pixels()
    if min(width, height) < MIN_SIDE:
        raise ImageRefused(
            Refusal.TOO_SMALL,
            f"This picture is {width} x {height} pixels; the smallest that can be recognised is "
            f"{MIN_SIDE} x {MIN_SIDE}. Send the original in full size.",
        )


def _too_many_pixels() -> ImageRefused:
    return ImageRefused(
        Refusal.TOO_MANY_PIXELS,
        f"This picture has more than {MAX_PIXELS // 1_000_000} megapixels or a side of more than "
        f"{MAX_SIDE:,} pixels. Save a smaller copy and send that.",
    )


# --- By format ---


def _tiff(file: BinaryIO) -> InspectedFile:
    file.seek(0)
    data = file.read()
    picture = TiffPicture(data)
    if picture.is_raw:
        raise unsupported("a camera raw")
    check_size(picture.width, picture.height)
    picture.check()
    check_tiff(picture, len(data))
    metadata = Metadata((data,), (picture.xmp,) if picture.xmp else ())
    return InspectedFile("TIFF", metadata, metadata.orientation, picture, file)


def _checked_heif(file: BinaryIO, kind: str) -> str:
    """Check that the file is whole and return its real format: "HEIF" or "AVIF"."""
    file.seek(0)
    heif = Heif(file.read())
    if not heif.primary:
        # A sequence has no main item; its decoder checks it.
        return kind
    if codec := heif.codec:
        raise unsupported(f"a HEIF that holds {codec}")
    heif.check()
    kinds = {item.kind for item in heif.pieces()}
    if b"av01" in kinds:
        return "AVIF"
    return "HEIF" if b"hvc1" in kinds else kind


def _turn(file: BinaryIO, image: ImageFile.ImageFile, kind: str, metadata: Metadata) -> int:
    """The orientation still to be applied to the decoder's pixels."""
    if kind == "HEIF":
        # The decoder already applies the container's orientation.
        file.seek(0)
        return metadata.orientation if Heif(file.read()).trusts_exif else 1
    if kind == "AVIF":
        # The plugin reports the container's orientation as EXIF, never the file's EXIF.
        block = image.info.get("exif", b"").removeprefix(EXIF_MARK)
        return Metadata((block,)).orientation
    return metadata.orientation


def _check_jpeg(file: BinaryIO) -> bool:
    """Whether it may be decoded at reduced size. Raises ImageRefused for kinds that break
    decoders."""
    frame = frame_of(file)
    if frame is None:
        return False
    if what := frame.unusual:
        raise unsupported(what)
    check_size(frame.width, frame.height)
    return True


def _check_bmp(head: bytes) -> None:
    """Raise ImageRefused for run-length compression: Pillow decodes 4-bit runs wrong and fills gaps
    with whatever colour comes first in the palette."""
    header_size = int.from_bytes(head[14:18], "little")
    compression = int.from_bytes(head[30:34], "little") if header_size >= 40 else 0
    if compression in (1, 2):
        raise unsupported("a BMP with run-length compression")


def minimal_png(file: BinaryIO) -> tuple[BinaryIO, bool]:
    """A PNG without text chunks, oversized colour profiles and animation frames, and whether it
    had more than one frame. Pillow unpacks text and profiles on opening, and fails above a small
    limit."""
    others = (b"tEXt", b"zTXt", b"iTXt", b"acTL", b"fcTL", b"fdAT")
    chunks = list(png_chunks(file))
    if not chunks or chunks[-1].kind != b"IEND":
        return file, False
    has_frames = sum(chunk.kind == b"fcTL" for chunk in chunks) > 1
    leaving = {chunk.at for chunk in chunks if chunk.kind in others}
    for chunk in chunks:
        if chunk.kind == b"iCCP":
            file.seek(chunk.at)
            if _is_large_profile(file.read(chunk.length)):
                leaving.add(chunk.at)
    if not leaving:
        return file, has_frames
    out = io.BytesIO()
    out.write(PNG_HEAD)
    for chunk in chunks:
        if chunk.at not in leaving:
            file.seek(chunk.at - 8)
            out.write(file.read(chunk.length + 12))
    return out, has_frames


def _is_large_profile(body: bytes) -> bool:
    most = PngImagePlugin.MAX_TEXT_CHUNK
    packed = body.partition(b"\0")[2][1:]
    try:
        return len(zlib.decompressobj().decompress(packed, most + 1)) > most
    except zlib.error:
        return False


def _webp_size(head: bytes) -> tuple[int, int]:
    """Width and height. Source: RFC 9649, section 2, and RFC 6386, section 9.1, for VP8."""
    if len(head) < 30:
        raise EOFError("WebP header cut off")
    if head[12:16] == b"VP8X":
        return 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")
    if head[12:16] == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = (int.from_bytes(head[i : i + 2], "little") & 0x3FFF for i in (26, 28))
    return width, height


def _check_scans(file: BinaryIO) -> None:
    if _count_scans(file) > _MAX_SCANS:
        raise ImageRefused(
            Refusal.TRUNCATED,
            "This JPEG is built in a way that would take hours to open. "
            "Open it in a photo program, save it as a new JPEG and send that.",
        )


def _count_scans(file: BinaryIO) -> int:
    """Number of scans in a JPEG's first picture, counted up to just above the limit.

    Segments are skipped by their length, so a thumbnail in the EXIF is not counted. Inside scans
    0xFF is followed by 0x00 or a restart marker, so any other marker is a real one.
    """
    marker = re.compile(rb"\xff[^\x00\xff\xd0-\xd8]")
    file.seek(2)
    scans, window, base = 0, b"", 2
    while scans <= _MAX_SCANS:
        found = marker.search(window)
        if found is None:
            base += max(0, len(window) - 1)
            file.seek(base)
            window = file.read(1 << 16)
            if len(window) < 2:
                break
            continue
        at = base + found.start()
        kind = window[found.start() + 1]
        if kind == 0xD9:
            break
        scans += kind == 0xDA
        file.seek(at + 2)
        length = int.from_bytes(file.read(2), "big")
        base = at + 2 + length
        file.seek(base)
        window = file.read(1 << 12)
    return scans
