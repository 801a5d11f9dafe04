"""The minimum size for decoding a JPEG, which can be loaded at a half, a quarter or an eighth."""

from __future__ import annotations

import math
from typing import BinaryIO

from persons.vision import limits

from .copies import RENDITIONS
from .opening import opened

Size = tuple[int, int]

_QUARTER_TURNED = frozenset({5, 6, 7, 8})


def sizes(file: BinaryIO) -> tuple[Size, Size]:
    """Size of the oriented original, and the minimum decoded size (as stored) that all copies
    need."""
    with opened(file) as source:
        stored = source.size
        is_turned = source.orientation in _QUARTER_TURNED
    oriented = stored[::-1] if is_turned else stored
    ratio = min(1.0, max(max(RENDITIONS.values()) / max(oriented), limits.scale_to_fit(*oriented)))
    return oriented, (math.ceil(stored[0] * ratio), math.ceil(stored[1] * ratio))
