"""Exact search of a space over one matrix, rebuilt when the space's version changes.

A space holds at most 75,000 faces, so an approximate index would save little and cost determinism.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .store import LEARNED, SpaceVectors, Store, Vectors

_DECIMALS = 5
"""Decimals to which cosines are rounded, so that equal faces tie regardless of summation order."""

_QUERIES_AT_ONCE = 32
"""Bounds the memory of one product: 75,000 x 32 float32 are 10 MB."""


@dataclass(frozen=True, slots=True)
class Match:
    """A person similar to a face; `similarity` is the cosine with the person's nearest row."""

    person_id: int
    similarity: float


@dataclass(frozen=True, slots=True)
class Identification:
    """Identity of a face: its match, if any, its similarity, and the nearest other person, whether
    or not that one reached the threshold."""

    match: Match | None
    similarity: float
    runner_up: Match | None = None


class Index:
    """A searchable index of one space at one version. Immutable, safe to share between threads."""

    def __init__(self, snapshot: SpaceVectors) -> None:
        self.version = snapshot.version
        self._rows = snapshot.person_ids
        self._vectors = np.ascontiguousarray(snapshot.vectors, np.float32)
        self._digests = snapshot.digests
        self.pictures = int(np.count_nonzero(snapshot.digests != LEARNED.encode()))
        """Number of enrolled pictures."""
        # Rows come ordered by person, so a person is one run of rows.
        self.person_ids, self._starts = np.unique(snapshot.person_ids, return_index=True)

    def scores(self, queries: Vectors) -> Vectors:
        """Scores (people, q): the best cosine of each person with each of (q, 128) queries."""
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
        """Digest of this person's row nearest to `vector`, (128,); "" if the person is not in the
        index."""
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
        """The index after the creation of a new person."""
        at = int(np.searchsorted(self._rows, person_id))
        return Index(
            SpaceVectors(
                version,
                np.insert(self._rows, at, person_id),
                np.insert(self._vectors, at, vector, axis=0),
                np.insert(self._digests, at, digest.encode()),
            )
        )

    def _ranked(self, scores: NDArray[np.float32], limit: int) -> list[Match]:
        top = np.arange(len(scores))
        if limit < len(scores):
            # Include everyone tied with the last one, so that ties are not cut arbitrarily.
            top = np.flatnonzero(scores >= np.partition(scores, -limit)[-limit])
        order = top[np.argsort(-scores[top], kind="stable")][:limit]
        return [Match(int(self.person_ids[i]), float(scores[i])) for i in order]


class IndexCache:
    """Cached indexes of a store's spaces. Each access checks the version, so that another
    process's enrolments are found at once."""

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
        """Create a person if the space is unchanged since `index`; returns the id, or None if it
        is full.

        Raises SpaceMoved.
        """
        person_id = self._store.create(
            space, vector, digest, if_version=index.version, capacity=capacity
        )
        if person_id is not None:
            version = self._store.version(space)
            # A version one higher is this write alone, so the space need not be read again.
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
) -> list[Identification]:
    """Assign people to the faces of one picture.

    Each person appears once per picture. If two faces match one person, the more similar one keeps
    it. The other takes its next person above `threshold`, or nobody; with `nearest_only` it is
    always nobody. People in `taken` are already in the picture. The similarity of an unmatched
    face is that with the nearest person available to it.
    """
    if not vectors:
        return []
    # Each other face, and each person already taken, can rule out at most one candidate. One more
    # is the runner-up, if all of them are needed.
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

    def outcome(face: int) -> Identification:
        match = chosen.get(face)
        if match is None:
            free = [one.similarity for one in candidates[face] if one.person_id not in used]
            return Identification(None, max(free, default=0.0), next(iter(near[face]), None))
        others = (one for one in near[face] if one.person_id != match.person_id)
        return Identification(match, match.similarity, next(others, None))

    return [outcome(face) for face in range(len(vectors))]
