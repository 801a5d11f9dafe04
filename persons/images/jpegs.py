"""Reads a JPEG's segments, before any decoder does: its coding process and metadata."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

_ALONE: Final = frozenset({0x01, *range(0xD0, 0xD9)})
"""Markers without a length."""
_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_MOST_SEGMENTS: Final = 20_000

SOS, EOI = 0xDA, 0xD9


@dataclass(frozen=True, slots=True)
class Segment:
    marker: int
    at: int
    """Offset of the body in the file."""
    length: int
    """Length of the body in bytes."""


@dataclass(frozen=True, slots=True)
class Frame:
    """The picture's coding parameters; `marker` is its SOF."""

    marker: int
    bits: int
    width: int
    height: int
    components: int
    samples: float = 0.0
    """Samples per pixel, over all components: 3 without subsampling, 1.5 with 4:2:0."""

    @property
    def is_progressive(self) -> bool:
        return self.marker in (0xC2, 0xCA)

    @property
    def unusual(self) -> str:
        """Name of a coding process that no decoder here handles safely; "" for the common ones. On
        the lossless process Pillow's `draft` writes beyond its buffer."""
        if self.marker in (0xC3, 0xC7, 0xCB, 0xCF):
            return "a lossless JPEG"
        if self.marker in (0xC5, 0xC6, 0xCD, 0xCE):
            return "a hierarchical JPEG"
        if self.bits != 8:
            return f"a JPEG with {self.bits} bits a colour"
        return ""


def segments(file: BinaryIO) -> Iterator[Segment]:
    """Segments up to and including the first scan. Ends early at an inconsistent segment.

    Like decoders, it skips stray bytes between segments to the next marker.
    """
    at = 2
    for _ in range(_MOST_SEGMENTS):
        found = _next_marker(file, at)
        if found is None:
            return
        marker, at = found
        if marker in _ALONE:
            continue
        length = int.from_bytes(file.read(2), "big")
        if marker == EOI or length < 2:
            return
        yield Segment(marker, at + 2, length - 2)
        if marker == SOS:
            return
        at += length


def _next_marker(file: BinaryIO, at: int) -> tuple[int, int] | None:
    """The next marker at or after `at`, and the offset following it, where the file is left."""
    file.seek(at)
    while window := file.read(4096):
        start = window.find(b"\xff")
        while start != -1 and start + 1 < len(window):
            if window[start + 1] not in (0x00, 0xFF):
                file.seek(at + start + 2)
                return window[start + 1], at + start + 2
            start = window.find(b"\xff", start + 1)
        if len(window) < 2:
            return None
        at += len(window) - 1
        file.seek(at)
    return None


def frame_of(file: BinaryIO) -> Frame | None:
    """The first frame header, or the unusual one if there is any; None without a frame."""
    first: Frame | None = None
    for segment in segments(file):
        if segment.marker == 0xDE:  # DHP: a hierarchy of frames.
            return Frame(0xC5, 8, 0, 0, 0)
        if segment.marker in _FRAMES:
            file.seek(segment.at)
            body = file.read(min(segment.length, 6 + 3 * 255))
            if len(body) < 6:
                return first
            height, width = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
            frame = Frame(segment.marker, body[0], width, height, body[5], _samples(body))
            if first is None or frame.unusual:
                first = frame
    return first


def _samples(body: bytes) -> float:
    """Samples per pixel, from the components' sampling factors."""
    factors = [
        (body[at] >> 4, body[at] & 15) for at in range(7, min(len(body), 6 + 3 * body[5]), 3)
    ]
    widest = max((x for x, _ in factors), default=0) * max((y for _, y in factors), default=0)
    return sum(x * y for x, y in factors) / widest if widest else float(body[5])


def bodies(file: BinaryIO, marker: int) -> Iterator[bytes]:
    """Bodies of all segments with that marker before the image data."""
    for segment in segments(file):
        if segment.marker == marker:
            file.seek(segment.at)
            yield file.read(segment.length)
