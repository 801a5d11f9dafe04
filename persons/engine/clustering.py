"""Sorting faces into people by their looks alone: average linkage, exactly and without chance.

Two groups are as alike as their faces are on average, which for vectors of unit length is the
product of the groups' sums. In each round all pairs merge that are each other's nearest; as a merge
never brings a group nearer to a third one than the nearer of its halves was, that ends with the
same groups as merging the nearest two, one pair after the other. Cosines of all with all are needed
once, in blocks; from then on each face is compared along the edges to its nearest neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .store import Vectors

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

NEIGHBOURS = 48
"""Edges kept for each face. Groups larger than that hold together by many such edges."""

_ROWS_AT_ONCE = 512
"""Bounds the memory of one product: 512 x 50,000 float32 are 102 MB."""

_EDGES_AT_ONCE = 65_536


def no_pause() -> None:
    """For `cluster` where nobody has to be told that it still runs."""


def cluster(
    vectors: Vectors,
    *,
    threshold: float,
    apart: Sequence[tuple[int, int]] = (),
    pause: Callable[[], None] = no_pause,
) -> list[list[int]]:
    """Groups of two or more rows of `vectors`, (n, 128) of unit length; largest first.

    A group's rows come nearest to its middle first. Two groups become one while their mean cosine
    is at least `threshold`, and never where a pair of `apart` would come together. `pause` is
    called many times a second, and may raise to stop. 50,000 rows take two minutes and 600 MB.
    """
    n = len(vectors)
    if n < 2:
        return []
    state = _State(
        sums=vectors.astype(np.float64),
        sizes=np.ones(n, np.int64),
        labels=np.arange(n),
        apart=_keys(np.array(apart, np.int64).reshape(-1, 2), n),
    )
    edges = neighbours(vectors, threshold, pause)
    edges = edges[~np.isin(_keys(edges, n), state.apart)]
    likeness = state.likeness(edges)
    while len(edges):
        pause()
        near = likeness >= threshold
        edges, likeness = edges[near], likeness[near]
        merged = _nearest_pairs(edges, likeness, n)
        if not len(merged):
            break
        edges, likeness = state.merge(merged, edges, likeness)
    return state.groups(vectors)


def neighbours(vectors: Vectors, threshold: float, pause: Callable[[], None] = no_pause) -> Ints:
    """(m, 2), the lower row first: each row with its nearest others from `threshold` up."""
    n = len(vectors)
    found: list[Ints] = []
    for start in range(0, n, _ROWS_AT_ONCE):
        pause()
        block = vectors[start : start + _ROWS_AT_ONCE] @ vectors.T
        rows = np.arange(len(block))
        block[rows, start + rows] = -1.0
        if n > NEIGHBOURS:
            # Of the rest nothing is at the bar that the last of the nearest sets.
            bar = np.partition(block, n - NEIGHBOURS, axis=1)[:, n - NEIGHBOURS]
            wanted = block >= np.maximum(bar, threshold)[:, np.newaxis]
        else:
            wanted = block >= threshold
        one, other = np.nonzero(wanted)
        one = one + start
        found.append(np.stack([np.minimum(one, other), np.maximum(one, other)], axis=1))
    edges = np.concatenate(found).astype(np.int64)
    return _edges(np.unique(_keys(edges, n)), n)


@dataclass(slots=True)
class _State:
    """Groups are named by one of their rows. `labels` says of each row in which group it is.

    `apart` are sorted keys of pairs of groups that must not meet.
    """

    sums: Floats
    sizes: Ints
    labels: Ints
    apart: Ints

    def likeness(self, edges: Ints) -> Floats:
        """The mean cosine between the groups of each edge."""
        parts = [
            np.einsum("ij,ij->i", self.sums[some[:, 0]], self.sums[some[:, 1]])
            / (self.sizes[some[:, 0]] * self.sizes[some[:, 1]])
            for some in np.array_split(edges, len(edges) // _EDGES_AT_ONCE + 1)
        ]
        return np.concatenate(parts)

    def merge(self, pairs: Ints, edges: Ints, likeness: Floats) -> tuple[Ints, Floats]:
        """Each pair becomes one group under its first name; the edges between what is left."""
        n = len(self.labels)
        into = np.arange(n)
        into[pairs[:, 1]] = pairs[:, 0]
        self.sums[pairs[:, 0]] += self.sums[pairs[:, 1]]
        self.sizes[pairs[:, 0]] += self.sizes[pairs[:, 1]]
        self.labels = into[self.labels]
        if len(self.apart):
            self.apart = np.unique(_keys(into[_edges(self.apart, n)], n))
        moved = np.zeros(n, bool)
        moved[pairs] = True
        stale = moved[edges].any(axis=1)
        # What touches no merged group is as it was.
        kept, known = edges[~stale], likeness[~stale]
        renamed = into[edges[stale]]
        renamed = renamed[renamed[:, 0] != renamed[:, 1]]
        keys = np.unique(_keys(renamed, n))
        fresh = _edges(keys[~np.isin(keys, self.apart)], n)
        return (
            np.concatenate([kept, fresh]),
            np.concatenate([known, self.likeness(fresh)]),
        )

    def groups(self, vectors: Vectors) -> list[list[int]]:
        order = np.argsort(self.labels, kind="stable")
        names, starts = np.unique(self.labels[order], return_index=True)
        found: list[list[int]] = []
        for name, rows in zip(names, np.split(order, starts[1:]), strict=True):
            if len(rows) > 1:
                central = np.round(vectors[rows] @ self.sums[name], 6)
                found.append([int(row) for row in rows[np.lexsort((rows, -central))]])
        return sorted(found, key=lambda group: (-len(group), min(group)))


def _nearest_pairs(edges: Ints, likeness: Floats, n: int) -> Ints:
    """(k, 2): the groups that are each other's nearest. Among equals the lowest name is nearer."""
    ends = np.concatenate([edges[:, 0], edges[:, 1]])
    others = np.concatenate([edges[:, 1], edges[:, 0]])
    values = np.concatenate([likeness, likeness])
    best = np.full(n, -np.inf)
    np.maximum.at(best, ends, values)
    at_best = values == best[ends]
    nearest = np.full(n, n)
    np.minimum.at(nearest, ends[at_best], others[at_best])
    there = np.flatnonzero(nearest < n)
    mutual = there[(nearest[nearest[there]] == there) & (there < nearest[there])]
    return np.stack([mutual, nearest[mutual]], axis=1)


def _keys(pairs: Ints, n: int) -> Ints:
    """Each pair as one number, whichever way round it is."""
    keys: Ints = pairs.min(axis=1, initial=n) * n + pairs.max(axis=1, initial=0)
    return keys


def _edges(keys: Ints, n: int) -> Ints:
    return np.stack([keys // n, keys % n], axis=1)
