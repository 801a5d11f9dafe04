"""Searching a space: exactly, over one matrix, rebuilt when the space's version has moved.

A space holds at most 75,000 faces, so an approximate index would save little and cost determinism.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .store import LEARNED, Snapshot, Store, Vectors

_DECIMALS = 5
"""Cosines are compared as rounded, so that equal faces tie however the sums were ordered."""

_QUERIES_AT_ONCE = 32
"""Bounds the memory of one product: 75,000 x 32 float32 are 10 MB."""


@dataclass(frozen=True, slots=True)
class Match:
    """A person whom a face resembles; `similarity` is the cosine with the person's nearest row."""

    person_id: int
    similarity: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """Who a face of a picture is: its match, if any, its similarity, and the nearest other person,
    whether or not that one was near enough."""

    match: Match | None
    similarity: float
    runner_up: Match | None = None


class Index:
    """One space at one version, ready to be searched. Immutable, may be shared by threads."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.version = snapshot.version
        self._rows = snapshot.person_ids
        self._vectors = np.ascontiguousarray(snapshot.vectors, np.float32)
        self._digests = snapshot.digests
        self.pictures = int(np.count_nonzero(snapshot.digests != LEARNED.encode()))
        """How many there are enrolled."""
        # Rows come ordered by person, so a person is one run of rows.
        self.person_ids, self._starts = np.unique(snapshot.person_ids, return_index=True)

    def scores(self, queries: Vectors) -> Vectors:
        """(people, q): the best cosine of each person with each of (q, 128) queries."""
        if not len(self._rows):
            return np.empty((0, len(queries)), np.float32)
        parts = []
        for start in range(0, len(queries), _QUERIES_AT_ONCE):
            cosines = self._vectors @ queries[start : start + _QUERIES_AT_ONCE].T
            if len(self.person_ids) < len(self._rows):
                cosines = np.maximum.reduceat(cosines, self._starts, axis=0)
            parts.append(cosines)
        return np.asarray(np.round(np.concatenate(parts, axis=1), _DECIMALS), np.float32)

    def search(self, queries: Vectors, limit: int) -> list[list[Match]]:
        """For each query its `limit` most similar people, best first; ties go to the lower id."""
        return [self._ranked(column, limit) for column in self.scores(queries).T]

    def picture(self, person_id: int, vector: Vectors) -> str:
        """The digest of this person's row that is nearest to (128,); "" if they are not there."""
        start, end = np.searchsorted(self._rows, [person_id, person_id + 1])
        if start == end:
            return ""
        cosines = np.round(self._vectors[start:end] @ vector, _DECIMALS)
        return bytes(self._digests[start + int(cosines.argmax())]).decode()

    def aliases(self, person_id: int, threshold: float) -> tuple[int, ...]:
        """Other people with a face within `threshold` of one of this person's, nearest first."""
        mine = self._vectors[self._rows == person_id]
        if not len(mine):
            return ()
        scores = self.scores(mine).max(axis=1)
        scores[self.person_ids == person_id] = -np.inf
        near = np.flatnonzero(scores >= threshold)
        return tuple(self.person_ids[near[np.argsort(-scores[near], kind="stable")]].tolist())

    def with_person(self, version: int, person_id: int, vector: Vectors, digest: str) -> Index:
        """The index after a person who was not there was created."""
        at = int(np.searchsorted(self._rows, person_id))
        return Index(
            Snapshot(
                version,
                np.insert(self._rows, at, person_id),
                np.insert(self._vectors, at, vector, axis=0),
                np.insert(self._digests, at, digest.encode()),
            )
        )

    def _ranked(self, scores: NDArray[np.float32], limit: int) -> list[Match]:
        top = np.arange(len(scores))
        if limit < len(scores):
            # Everyone at least as good as the one at the limit, so that ties are not cut by chance.
            top = np.flatnonzero(scores >= np.partition(scores, -limit)[-limit])
        order = top[np.argsort(-scores[top], kind="stable")][:limit]
        return [Match(int(self.person_ids[i]), float(scores[i])) for i in order]


class Gallery:
    """The indexes of a store's spaces. The version is asked each time, so that what any process
    enrolled is found at once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._indexes: dict[int, Index] = {}

    def index(self, space: int) -> Index:
        version = self._store.version(space)
        index = self._indexes.get(space)
        if index is None or index.version != version:
            index = self._indexes[space] = Index(self._store.load(space))
        return index

    def create(
        self, space: int, index: Index, vector: Vectors, digest: str, capacity: int
    ) -> int | None:
        """A new person of a space that is still as in `index`; the id, or None if it is full.

        Raises SpaceMoved.
        """
        person_id = self._store.create(
            space, vector, digest, if_version=index.version, capacity=capacity
        )
        if person_id is not None:
            version = self._store.version(space)
            # One step of the version can only be this write, which spares reading the space again.
            if version == index.version + 1:
                self._indexes[space] = index.with_person(version, person_id, vector, digest)
        return person_id


def assign(
    index: Index,
    vectors: Sequence[Vectors],
    *,
    threshold: float,
    nearest_only: bool = False,
    taken: Collection[int] = (),
) -> list[Outcome]:
    """Who the faces of one picture are.

    Nobody is twice in one picture: where two faces resemble the same person, the more similar one
    keeps it, and the other takes its next person above `threshold`, or nobody; with `nearest_only`
    it always is nobody. People in `taken` are already in the picture. The similarity of a face that
    is nobody is that with the nearest person who was free to it.
    """
    if not vectors:
        return []
    # Each other face, and each person already taken, can spoil at most one candidate. One more is
    # the runner-up, should all of them be needed.
    limit = len(vectors) + len(taken)
    near = index.search(np.stack(list(vectors)), limit + 1)
    candidates = [matches[: 1 if nearest_only else limit] for matches in near]
    pairs = sorted(
        (-match.similarity, face, match.person_id)
        for face, matches in enumerate(candidates)
        for match in matches
        if match.similarity >= threshold
    )
    used = set(taken)
    chosen: dict[int, Match] = {}
    for minus_similarity, face, person_id in pairs:
        if face not in chosen and person_id not in used:
            used.add(person_id)
            chosen[face] = Match(person_id, -minus_similarity)

    def outcome(face: int) -> Outcome:
        match = chosen.get(face)
        if match is None:
            free = [one.similarity for one in candidates[face] if one.person_id not in used]
            return Outcome(None, max(free, default=0.0), next(iter(near[face]), None))
        others = (one for one in near[face] if one.person_id != match.person_id)
        return Outcome(match, match.similarity, next(others, None))

    return [outcome(face) for face in range(len(vectors))]
