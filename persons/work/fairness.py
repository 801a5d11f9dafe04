"""Fair orders for work of many owners that share the same workers."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from typing import TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


def alternating(groups: Iterable[Sequence[T]]) -> list[T]:
    """The first of each group, then the second of each, so that no group waits for another."""
    rows = [list(group) for group in groups]
    longest = max(map(len, rows), default=0)
    return [row[at] for at in range(longest) for row in rows if at < len(row)]


def by_owner(pairs: Iterable[tuple[K, T]]) -> list[list[T]]:
    """Items grouped by owner, with the owners in random order.

    If a turn is too short for all owners, it is not always the same ones who are left out.
    """
    found: dict[K, list[T]] = defaultdict(list)
    for owner, one in pairs:
        found[owner].append(one)
    groups = list(found.values())
    random.shuffle(groups)
    return groups
