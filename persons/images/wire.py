"""Adapts a client's picture to a recogniser's limits, and maps the boxes found in it back.

Boxes are always in the picture's own pixels: as stored in the file, without its EXIF orientation.
(In TIFF, HEIC and AVIF the orientation is part of the layout and is applied.) Faces are detected
upright: a rotated picture is turned first, and its boxes are turned back.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from io import BytesIO

from persons.vision import limits
from persons.vision.types import Box

from .colour import open_oriented
from .copies import jpeg, map_box, sent_copy
from .opening import opened
from .refusal import ImageRefused

_TAKEN = limits.FORMATS
_QUARTER_TURNED = frozenset({5, 6, 7, 8})


@dataclass(frozen=True, slots=True)
class Fitted:
    """An upright copy of a picture in a format that the API accepts. `turn` is the EXIF
    orientation, 1 to 8, that was applied to the original's pixels."""

    data: bytes = field(repr=False)
    width: int
    height: int
    own_width: int
    own_height: int
    """Size of the original, as stored."""
    turn: int = 1

    def to_own(self, box: Box) -> Box:
        """Map a box from the copy to the original's own pixels, clipped to it."""
        turned = self.turn in _QUARTER_TURNED
        upright = (self.own_height, self.own_width) if turned else (self.own_width, self.own_height)
        wide, high = upright
        box = map_box(box, (self.width, self.height), upright)
        left, top, right, bottom = box.left, box.top, box.right, box.bottom
        match self.turn:
            case 2:
                return Box(wide - right, top, wide - left, bottom)
            case 3:
                return Box(wide - right, high - bottom, wide - left, high - top)
            case 4:
                return Box(left, high - bottom, right, high - top)
            case 5:
                return Box(top, left, bottom, right)
            case 6:
                return Box(top, wide - right, bottom, wide - left)
            case 7:
                return Box(high - bottom, wide - right, high - top, wide - left)
            case 8:
                return Box(high - bottom, left, high - top, right)
        return box


def fitted(data: bytes, *, whole: bool = False) -> Fitted | None:
    """Fit the picture to the cloud's limits or, with `whole`, keep its size. None if it can be
    sent as it is, and if it can't be opened: the recogniser then reports the error.

    With `whole`, a picture is copied if it is rotated or of another format. Otherwise it is copied
    if it exceeds the limits in pixels or bytes, or is of another format.
    """
    if whole and not _may_need_turn(data):
        return None
    try:
        with opened(BytesIO(data)) as source:
            kind, turn = source.kind, source.orientation
            own_width, own_height = source.size
        if kind in ("TIFF", "AVIF"):
            # The orientation is part of the layout, and readers apply it.
            if turn in _QUARTER_TURNED:
                own_width, own_height = own_height, own_width
            turn = 1
        is_foreign = kind not in _TAKEN
        too_large = len(data) > limits.MAX_IMAGE_BYTES or not limits.fits(own_width, own_height)
        if not is_foreign and not (turn != 1 if whole else too_large):
            return None
        upright = open_oriented(BytesIO(data))
        if whole:
            copy, size = jpeg(upright), upright.size
        else:
            sent = sent_copy(upright)
            copy, size = sent.data, (sent.width, sent.height)
    except ImageRefused:
        return None
    if is_foreign and turn == 1:
        # A HEIC's header may give a size that differs from its pixels.
        own_width, own_height = upright.size
    return Fitted(copy, *size, own_width, own_height, turn)


def _may_need_turn(data: bytes) -> bool:
    """Whether the bytes may contain an orientation, checked without parsing to keep the common
    case fast."""
    if data.startswith(b"\xff\xd8\xff"):
        return any(mark in data[: 256 * 1024] for mark in (b"Exif\0", b"Orientation"))
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return any(mark in data for mark in (b"eXIf", b"Orientation", b"Raw profile type"))
    return not data.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"))
