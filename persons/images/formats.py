"""Accepted formats and the names of the others, detected by content and never by file name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from .refusal import ImageRefused, Refusal


@dataclass(frozen=True, slots=True)
class Format:
    """A format's names: for people, as file suffixes and as a MIME type."""

    words: str
    suffixes: tuple[str, ...]
    """Without dots, the preferred one first."""
    media_type: str


FORMATS: Final = {
    "JPEG": Format("JPEG", ("jpg", "jpeg", "jfif"), "image/jpeg"),
    "PNG": Format("PNG", ("png",), "image/png"),
    "TIFF": Format("TIFF", ("tif", "tiff"), "image/tiff"),
    "WEBP": Format("WebP", ("webp",), "image/webp"),
    "HEIF": Format("HEIC", ("heic", "heif"), "image/heic"),
    "AVIF": Format("AVIF", ("avif",), "image/avif"),
    "GIF": Format("GIF", ("gif",), "image/gif"),
    "BMP": Format("BMP", ("bmp",), "image/bmp"),
    "JPEG2000": Format("JPEG 2000", ("jp2", "j2k", "jpf", "jpx"), "image/jp2"),
}
"""Keyed by Pillow's format name, which is also the stored one."""

_WORDS: Final = [one.words for one in FORMATS.values()]
LISTED: Final = f"{', '.join(_WORDS[:-1])} or {_WORDS[-1]}"
"""The formats as text for messages: "JPEG, PNG, ... or JPEG 2000"."""

ACCEPTED: Final = "image/*," + ",".join(
    f".{suffix}"
    for name in ("HEIF", "TIFF", "AVIF", "JPEG2000")
    for suffix in FORMATS[name].suffixes
)
"""Value of a file field's `accept`. Systems often don't know that some suffixes are pictures."""

HEAD: Final = 512
"""Number of leading bytes needed to detect the format."""

STILLS: Final = frozenset({b"heic", b"heix", b"heim", b"heis", b"mif1"})
SEQUENCES: Final = frozenset({b"hevc", b"hevx", b"hevm", b"hevs", b"msf1"})
_AVIF: Final = frozenset({b"avif", b"avis"})

_GIF = re.compile(rb"GIF8[79]a")
_BMP = re.compile(rb"BM....\0\0\0\0....(?:[\x0c\x28\x34\x38\x40\x6c\x7c])\0\0\0", re.DOTALL)
_JPEG_2000 = re.compile(rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51")

_FOREIGN: tuple[tuple[re.Pattern[bytes], str], ...] = (
    (re.compile(rb"8BPS"), "a Photoshop file"),
    (re.compile(rb"%PDF-"), "a PDF"),
    (re.compile(rb"%!PS"), "a PostScript file"),
    (re.compile(rb"\s*(<\?xml.*)?<svg", re.DOTALL), "an SVG drawing"),
    (re.compile(rb"\0\0\0\x0cJXL |\xff\x0a"), "a JPEG XL"),
    (re.compile(rb"II\xbc\x01"), "a JPEG XR"),
    (re.compile(rb"\0\0\x01\0[^\0]\0"), "an icon"),
    (re.compile(rb"\x76\x2f\x31\x01"), "an OpenEXR"),
    (re.compile(rb"#\?(RADIANCE|RGBE)"), "a Radiance HDR"),
    (re.compile(rb"P[1-7][\s#]|P[Ff]\n"), "a PNM (PPM, PGM or PBM)"),
    (re.compile(rb"DDS \x7c"), "a DDS texture"),
    (re.compile(rb"qoif"), "a QOI"),
    (re.compile(rb"SIMPLE  ="), "a FITS"),
    (re.compile(rb".{128}DICM", re.DOTALL), "a DICOM"),
    (re.compile(rb"\x01\xda[\0\x01][\x01\x02]"), "an SGI picture"),
    (re.compile(rb"\x59\xa6\x6a\x95"), "a Sun raster"),
    (re.compile(rb"\x0a[\0\x02-\x05]\x01[\x01\x02\x04\x08]"), "a PCX"),
    (re.compile(rb"gimp xcf"), "a GIMP file"),
    (re.compile(rb"BPG\xfb"), "a BPG"),
    (re.compile(rb"FLIF"), "a FLIF"),
    (re.compile(rb"....ftypavc[is]", re.DOTALL), "a HEIF that holds AVC (H.264)"),
    (re.compile(rb"....ftypjpe[gs]", re.DOTALL), "a HEIF that holds JPEG"),
    (re.compile(rb"....ftypvvi[cs]", re.DOTALL), "a HEIF that holds VVC (H.266)"),
    (re.compile(rb"....ftypcrx |(II|MM).{6}CR|IIRO|IIU\0|FUJIFILMCCD", re.DOTALL), "a camera raw"),
    (re.compile(rb"....ftyp|\x1a\x45\xdf\xa3|RIFF....AVI ", re.DOTALL), "a video"),
    (re.compile(rb"PK\x03\x04|7z\xbc\xaf|Rar!"), "an archive of files, not a picture"),
)
# A Targa has no magic number, only header fields that must be consistent.
_TARGA = re.compile(
    rb"[\0-\xff](?:\x00[\x02\x03\x0a\x0b]\0{5}|\x01[\x01\x09][\0-\xff]{4}[\x0f\x10\x18\x20])"
    rb"....([^\0].|.[^\0])([^\0].|.[^\0])[\x08\x0f\x10\x18\x20][\0-\x3f]",
    re.DOTALL,
)


def sniffed(head: bytes) -> str:
    """The format's name in `FORMATS`. Raises ImageRefused naming the foreign format."""
    if not head:
        raise ImageRefused(
            Refusal.EMPTY, "This file is empty. Copy it again from where it came from."
        )
    if kind := _known(head):
        return kind
    if what := _foreign(head):
        raise unsupported(what)
    raise ImageRefused(
        Refusal.NOT_AN_IMAGE,
        f"This is not a picture, whatever its name says. Send a {LISTED} file.",
    )


def _known(head: bytes) -> str:
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "WEBP"
    if head[4:8] == b"ftyp":
        return _of_brands(head)
    for pattern, kind in ((_GIF, "GIF"), (_BMP, "BMP"), (_JPEG_2000, "JPEG2000")):
        if pattern.match(head):
            return kind
    if head.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")) and not _is_raw(head):
        return "TIFF"
    return ""


def _is_raw(head: bytes) -> bool:
    return next((what for one, what in _FOREIGN if one.match(head)), "") == "a camera raw"


def _of_brands(head: bytes) -> str:
    """Return "HEIF", "AVIF" or "", from the first brand more specific than HEIF."""
    end = min(int.from_bytes(head[:4], "big"), len(head))
    brands = [head[8:12], *(head[i : i + 4] for i in range(16, end, 4))]
    if brands[0] in _AVIF:
        return "AVIF"
    if brands[0] not in STILLS | SEQUENCES:
        return ""
    if brands[0] in (b"mif1", b"msf1") and not set(brands) & (
        (STILLS | SEQUENCES) - {b"mif1", b"msf1"}
    ):
        return "AVIF" if set(brands) & _AVIF else "HEIF"
    return "HEIF"


def _foreign(head: bytes) -> str:
    found = next((what for pattern, what in _FOREIGN if pattern.match(head)), "")
    return found or ("a Targa (TGA)" if _TARGA.match(head) else "")


def foreign_format(data: bytes) -> str:
    """The name of a format that Vision doesn't accept, such as "a GIF"; "" if unrecognised."""
    head = data[:HEAD]
    kind = _known(head)
    if kind in ("JPEG", "PNG", "TIFF"):
        return ""
    return named(kind) if kind else _foreign(head)


def named(kind: str) -> str:
    """The format's name with its article: "a GIF", "an AVIF"."""
    words = FORMATS[kind].words
    return f"an {words}" if words[0] in "AEIO" else f"a {words}"


def unsupported(what: str) -> ImageRefused:
    return ImageRefused(
        Refusal.UNSUPPORTED_FORMAT,
        f"This is {what}, which can't be read here. "
        "Open it in a photo program, save the picture as JPEG or PNG and send that.",
    )
