"""The storage interface of the embedded recogniser. The engine knows no database; its host
provides a Store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]

LEARNED = "learned"
"""Used instead of a digest for a row that is the mean of recognised faces, not a picture."""

DIGESTS = np.dtype("S64")


@dataclass(frozen=True, slots=True)
class SpaceVectors:
    """Every embedding of one space at one version.

    `vectors` is (n, 128) float32, rows of unit length; `person_ids` is (n,) int64, row by row.
    `digests` is (n,) of 64 bytes: the SHA-256 of the row's picture, or LEARNED.
    Rows come in a fixed order (by person_id, then age), so that a search is deterministic.
    """

    version: int
    person_ids: NDArray[np.int64]
    vectors: Vectors
    digests: NDArray[np.bytes_]


@dataclass(frozen=True, slots=True)
class NewEmbedding:
    """`vector` is (128,) float32 of unit length, `digest` the SHA-256 (hex) of its picture.

    The same digest for the same person is one row, so that a repeated `set` changes nothing.
    """

    person_id: int
    vector: Vectors
    digest: str


class SpaceMoved(Exception):
    """The space changed since it was read: read it again and retry."""


class Store(Protocol):
    """Spaces of embeddings. Every write increments the space's version in the same transaction.

    Implementations must be safe to call from several threads and processes.
    """

    def version(self, space: int) -> int:
        """The space's version now; 0 for a space never written to."""
        ...

    def load(self, space: int) -> SpaceVectors: ...

    def add(self, space: int, embeddings: Sequence[NewEmbedding], *, capacity: int) -> list[bool]:
        """Add all, in one transaction. False at the positions where the space was full and nothing
        was added; True where the row was added or already existed."""
        ...

    def create(
        self, space: int, vector: Vectors, digest: str, *, if_version: int, capacity: int
    ) -> int | None:
        """Add a person under an id never used in the space before.

        Returns its id, or None if the space is full. Raises SpaceMoved if the space is no longer
        at `if_version`: search again, since another process may have created the face meanwhile.
        """
        ...

    def learn(self, space: int, person_id: int, vector: Vectors) -> bool:
        """Fold a face into the person's one learned embedding (running mean, of unit length).

        False if the person is no longer in the space.
        """
        ...

    def remove(self, space: int, person_ids: Sequence[int]) -> list[bool]:
        """Delete these people's embeddings. True at the positions where there were any."""
        ...

    def clear(self, space: int) -> None: ...
