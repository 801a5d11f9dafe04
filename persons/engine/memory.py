"""An in-memory Store, for tests, measurements and programs that persist nothing."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from .store import DIGESTS, LEARNED, NewEmbedding, SpaceMoved, SpaceVectors, Vectors

DIMENSIONS = 128


@dataclass(slots=True)
class _Person:
    enrolled: dict[str, Vectors] = field(default_factory=dict)
    learned: Vectors | None = None
    times: int = 0

    def rows(self) -> list[tuple[str, Vectors]]:
        learned = [] if self.learned is None else [(LEARNED, self.learned)]
        return [*self.enrolled.items(), *learned]


@dataclass(slots=True)
class _Space:
    version: int = 0
    people: dict[int, _Person] = field(default_factory=dict)
    used_ids: set[int] = field(default_factory=set)
    next_id: int = 1

    def enrolled(self) -> int:
        """Number of rows that count against the capacity: learned embeddings do not."""
        return sum(len(person.enrolled) for person in self.people.values())


class MemoryStore:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spaces: dict[int, _Space] = {}

    def version(self, space: int) -> int:
        with self._lock:
            return self._space(space).version

    def load(self, space: int) -> SpaceVectors:
        with self._lock:
            state = self._space(space)
            rows = [(i, *row) for i in sorted(state.people) for row in state.people[i].rows()]
            return SpaceVectors(
                state.version,
                np.array([i for i, _, _ in rows], np.int64),
                np.array([vector for _, _, vector in rows], np.float32).reshape(-1, DIMENSIONS),
                np.array([digest for _, digest, _ in rows], DIGESTS),
            )

    def add(self, space: int, embeddings: Sequence[NewEmbedding], *, capacity: int) -> list[bool]:
        with self._lock:
            state = self._space(space)
            count, before = state.enrolled(), state.enrolled()
            done = []
            for new in embeddings:
                person = state.people.get(new.person_id)
                known = person is not None and new.digest in person.enrolled
                if not known and count < capacity:
                    person = state.people.setdefault(new.person_id, _Person())
                    person.enrolled[new.digest] = new.vector
                    state.used_ids.add(new.person_id)
                    count += 1
                    known = True
                done.append(known)
            state.version += count > before
            return done

    def create(
        self, space: int, vector: Vectors, digest: str, *, if_version: int, capacity: int
    ) -> int | None:
        with self._lock:
            state = self._space(space)
            if state.version != if_version:
                raise SpaceMoved
            if state.enrolled() >= capacity:
                return None
            while state.next_id in state.used_ids:
                state.next_id += 1
            person_id = state.next_id
            state.used_ids.add(person_id)
            state.people[person_id] = _Person({digest: vector})
            state.version += 1
            return person_id

    def learn(self, space: int, person_id: int, vector: Vectors) -> bool:
        with self._lock:
            state = self._space(space)
            person = state.people.get(person_id)
            if person is None:
                return False
            old = np.zeros(DIMENSIONS, np.float32) if person.learned is None else person.learned
            mean = old * person.times + vector
            person.learned = mean / max(float(np.linalg.norm(mean)), 1e-9)
            person.times += 1
            state.version += 1
            return True

    def remove(self, space: int, person_ids: Sequence[int]) -> list[bool]:
        with self._lock:
            state = self._space(space)
            done = [state.people.pop(person_id, None) is not None for person_id in person_ids]
            state.version += any(done)
            return done

    def clear(self, space: int) -> None:
        with self._lock:
            state = self._space(space)
            state.people.clear()
            state.version += 1

    def _space(self, space: int) -> _Space:
        return self._spaces.setdefault(space, _Space())
