"""Clusters faces into people by embedding: exact, deterministic average linkage.

The similarity of two groups is the mean cosine of their faces, which for unit vectors follows from
the groups' sums. Each round merges all pairs of groups that are each other's nearest. A merge
never brings a group nearer to a third than the nearer of its halves was. So the result equals that
of merging the nearest two, one pair at a time. All-pairs cosines are needed once, in blocks;
afterwards comparisons follow the edges to each face's nearest neighbours.
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
"""Edges kept per face. Larger groups hold together by many such edges."""

_ROWS_AT_ONCE = 512
"""Bounds the memory of one product: 512 x 50,000 float32 are 102 MB."""

_EDGES_AT_ONCE = 65_536


def no_pause() -> None:
    """Default `pause` of `cluster` for callers without progress to report."""


def cluster(
    vectors: Vectors,
    *,
    threshold: float,
    apart: Sequence[tuple[int, int]] = (),
    pause: Callable[[], None] = no_pause,
) -> list[list[int]]:
    """Groups of two or more rows of `vectors`, (n, 128) of unit length; largest first.

    A group's rows are ordered by distance from its mean, nearest first. Two groups merge while
    their mean cosine is at least `threshold`, unless that would join a pair of `apart`. `pause` is
    called many times per second, and may raise to stop. 50,000 rows take two minutes and 600 MB.
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
    """Edges (m, 2), lower row first: each row with its nearest others of at least `threshold`."""
    n = len(vectors)
    found: list[Ints] = []
    for start in range(0, n, _ROWS_AT_ONCE):
        pause()
        block = vectors[start : start + _ROWS_AT_ONCE] @ vectors.T
        rows = np.arange(len(block))
        block[rows, start + rows] = -1.0
        if n > NEIGHBOURS:
            # Pairs below the last of the nearest are dropped.
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
    """Clustering state. A group is named by one of its rows; `labels` maps each row to its group.

    `apart` are sorted keys of pairs of groups that must not merge.
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
        """Merge each pair under its first name; returns the remaining edges and their likeness."""
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
        # Edges that touch no merged group are unchanged.
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
    """Pairs (k, 2) of groups that are each other's nearest. Ties go to the lowest name."""
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
    """Each pair as one number, regardless of order."""
    keys: Ints = pairs.min(axis=1, initial=n) * n + pairs.max(axis=1, initial=0)
    return keys


def _edges(keys: Ints, n: int) -> Ints:
    return np.stack([keys // n, keys % n], axis=1)
