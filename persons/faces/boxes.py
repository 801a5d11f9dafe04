"""Boxes of faces: their overlap, and matching new boxes to old ones."""

from __future__ import annotations

from collections.abc import Sequence

from persons.vision.types import Box

SAME_FACE = 0.4
"""Boxes of one photo with at least this overlap (intersection over union) are the same face."""


def overlap(one: Box, other: Box) -> float:
    """Intersection over union, 0 to 1."""
    width = min(one.right, other.right) - max(one.left, other.left)
    height = min(one.bottom, other.bottom) - max(one.top, other.top)
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / (_area(one) + _area(other) - shared)


def pair(old: Sequence[Box], new: Sequence[Box]) -> dict[int, int]:
    """Positions in `old` by position in `new`: the best overlaps first, each box at most once."""
    candidates = sorted(
        (
            (-overlap(before, after), i, j)
            for i, before in enumerate(old)
            for j, after in enumerate(new)
            if overlap(before, after) >= SAME_FACE
        ),
    )
    taken: dict[int, int] = {}
    used: set[int] = set()
    for _, i, j in candidates:
        if j not in taken and i not in used:
            taken[j] = i
            used.add(i)
    return taken


def _area(box: Box) -> int:
    return (box.right - box.left) * (box.bottom - box.top)
