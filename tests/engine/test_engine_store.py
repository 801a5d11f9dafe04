"""The contract of every Store. Add a new implementation to the params of `store`."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from django.db import connection

from persons.backends.embedded import DatabaseStore
from persons.engine.memory import MemoryStore
from persons.engine.store import NewEmbedding, SpaceMoved, SpaceVectors, Store, Vectors
from tests.support.factories import TeamFactory
from tests.support.processes import PATIENCE

CAPACITY = 1000


# Not in a transaction: the threads below are to see each other's rows.
DATABASE = pytest.param("database", marks=pytest.mark.django_db(transaction=True))


@pytest.fixture(params=["memory", DATABASE])
def store(request: pytest.FixtureRequest) -> Store:
    """An empty store."""
    if request.param == "memory":
        return MemoryStore()
    return DatabaseStore(TeamFactory.create().pk)


def unit(seed: int) -> Vectors:
    vector = np.random.default_rng(seed).standard_normal(128).astype(np.float32)
    return np.asarray(vector / np.linalg.norm(vector), np.float32)


def new(person_id: int, seed: int) -> NewEmbedding:
    return NewEmbedding(person_id, unit(seed), f"{seed:064x}")


def check_types(snapshot: SpaceVectors) -> None:
    assert snapshot.person_ids.dtype == np.dtype(np.int64)
    assert snapshot.vectors.dtype == np.dtype(np.float32)


def create(store: Store, space: int, seed: int, capacity: int = CAPACITY) -> int | None:
    """As the engine does: again, if the space moved."""
    while True:
        version = store.version(space)
        try:
            return store.create(
                space, unit(seed), f"{seed:064x}", if_version=version, capacity=capacity
            )
        except SpaceMoved:
            continue


def at_once(work: Callable[[int], object], threads: int = 8) -> list[object]:
    """Runs work(0) .. work(threads - 1), all let go at the same moment."""
    barrier = threading.Barrier(threads)

    def one(number: int) -> object:
        try:
            barrier.wait(timeout=PATIENCE)
            return work(number)
        finally:
            connection.close()

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(one, range(threads)))


class TestStore:
    def test_a_space_never_written_to_is_empty_at_version_0(self, store: Store) -> None:
        assert store.version(5) == 0
        snapshot = store.load(5)
        assert snapshot.version == 0
        assert snapshot.person_ids.shape == (0,)
        assert snapshot.vectors.shape == (0, 128)
        check_types(snapshot)

    def test_rows_come_by_person_and_then_by_age(self, store: Store) -> None:
        assert store.add(5, [new(7, 1), new(2, 2)], capacity=CAPACITY) == [True, True]
        assert store.add(5, [new(7, 3), new(2**63 - 1, 4)], capacity=CAPACITY) == [True, True]
        snapshot = store.load(5)
        assert snapshot.person_ids.tolist() == [2, 7, 7, 2**63 - 1]
        assert np.array_equal(snapshot.vectors, np.array([unit(2), unit(1), unit(3), unit(4)]))
        check_types(snapshot)

    def test_what_was_loaded_does_not_change_later(self, store: Store) -> None:
        store.add(5, [new(1, 1)], capacity=CAPACITY)
        snapshot = store.load(5)
        store.add(5, [new(1, 2)], capacity=CAPACITY)
        store.learn(5, 1, unit(3))
        assert snapshot.person_ids.tolist() == [1]
        assert np.array_equal(snapshot.vectors, [unit(1)])

    def test_spaces_are_apart(self, store: Store) -> None:
        store.add(0, [new(1, 1)], capacity=CAPACITY)
        assert store.version(9) == 0
        store.clear(9)
        assert store.load(0).person_ids.tolist() == [1]

    def test_every_write_raises_the_version(self, store: Store) -> None:
        writes: list[Callable[[], object]] = [
            lambda: store.add(5, [new(1, 1)], capacity=CAPACITY),
            lambda: create(store, 5, 2),
            lambda: store.learn(5, 1, unit(3)),
            lambda: store.learn(5, 1, unit(4)),
            lambda: store.remove(5, [1]),
            lambda: store.clear(5),
            lambda: store.add(5, [new(1, 1)], capacity=CAPACITY),
        ]
        for write in writes:
            before = store.version(5)
            write()
            assert store.version(5) > before
            assert store.load(5).version == store.version(5)

    def test_the_same_picture_of_the_same_person_is_one_row(self, store: Store) -> None:
        assert store.add(5, [new(1, 1), new(1, 1), new(2, 1)], capacity=3) == [True, True, True]
        assert store.add(5, [new(1, 1)], capacity=2) == [True]
        assert store.load(5).person_ids.tolist() == [1, 2]

    def test_a_full_space_takes_no_more(self, store: Store) -> None:
        added = store.add(5, [new(1, 1), new(2, 2), new(3, 3), new(1, 1)], capacity=2)
        assert added == [True, True, False, True]
        assert create(store, 5, 4, capacity=2) is None
        assert store.load(5).person_ids.tolist() == [1, 2]
        assert store.remove(5, [2]) == [True]
        assert create(store, 5, 4, capacity=2) is not None

    def test_a_created_person_gets_an_id_nobody_ever_had(self, store: Store) -> None:
        store.add(5, [new(1, 1), new(2, 2)], capacity=CAPACITY)
        first = create(store, 5, 3)
        assert first not in (None, 1, 2)
        assert isinstance(first, int)
        store.remove(5, [first])
        second = create(store, 5, 4)
        store.clear(5)
        third = create(store, 5, 5)
        assert len({1, 2, first, second, third}) == 5
        assert store.load(5).person_ids.tolist() == [third]

    def test_a_person_can_be_created_although_the_highest_id_is_in_use(self, store: Store) -> None:
        store.add(5, [new(2**63 - 1, 1)], capacity=CAPACITY)
        created = create(store, 5, 2)
        assert created is not None
        assert 0 < created < 2**63 - 1

    def test_creating_in_a_space_that_moved_is_refused(self, store: Store) -> None:
        version = store.version(5)
        store.add(5, [new(1, 1)], capacity=CAPACITY)
        with pytest.raises(SpaceMoved):
            store.create(5, unit(2), "0" * 64, if_version=version, capacity=CAPACITY)
        assert store.load(5).person_ids.tolist() == [1]

    def test_learning_keeps_one_row_of_unit_length_near_all_it_learned(self, store: Store) -> None:
        store.add(5, [new(1, 1)], capacity=CAPACITY)
        for seed in (2, 3, 4):
            assert store.learn(5, 1, unit(seed))
        vectors = store.load(5).vectors
        assert len(vectors) == 2
        assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
        learned = next(v for v in vectors if not np.array_equal(v, unit(1)))
        mean = unit(2) + unit(3) + unit(4)
        assert learned @ mean / np.linalg.norm(mean) > 0.9

    def test_someone_who_is_not_there_is_not_learned(self, store: Store) -> None:
        assert not store.learn(5, 1, unit(1))
        assert store.load(5).person_ids.tolist() == []

    def test_removing_takes_all_of_a_person_and_tells_who_was_there(self, store: Store) -> None:
        store.add(5, [new(1, 1), new(1, 2), new(2, 3)], capacity=CAPACITY)
        store.learn(5, 1, unit(4))
        assert store.remove(5, [1, 3]) == [True, False]
        assert store.remove(5, [1]) == [False]
        assert store.load(5).person_ids.tolist() == [2]
        store.add(5, [new(1, 1)], capacity=CAPACITY)
        assert store.load(5).person_ids.tolist() == [1, 2]

    def test_a_cleared_space_is_empty_but_not_new(self, store: Store) -> None:
        store.add(5, [new(1, 1)], capacity=CAPACITY)
        version = store.version(5)
        store.clear(5)
        assert store.load(5).person_ids.tolist() == []
        assert store.version(5) > version

    def test_threads_that_create_get_different_ids(self, store: Store) -> None:
        created = at_once(lambda number: [create(store, 5, number * 10 + i) for i in range(3)])
        ids = [person_id for some in created for person_id in some]  # type: ignore[attr-defined]
        assert len(set(ids)) == len(ids) == 24
        assert store.load(5).person_ids.tolist() == sorted(ids)

    def test_of_threads_that_saw_the_same_version_one_creates(self, store: Store) -> None:
        version = store.version(5)

        def work(number: int) -> int | None:
            try:
                return store.create(
                    5, unit(number), "0" * 64, if_version=version, capacity=CAPACITY
                )
            except SpaceMoved:
                return None

        assert len([person_id for person_id in at_once(work) if person_id is not None]) == 1

    def test_threads_together_never_overfill_a_space(self, store: Store) -> None:
        def work(number: int) -> int:
            return sum(
                store.add(5, [new(number, number * 10 + i)], capacity=10)[0] for i in range(3)
            )

        assert sum(int(str(count)) for count in at_once(work)) == 10
        assert len(store.load(5).person_ids) == 10

    def test_no_write_of_several_threads_is_lost(self, store: Store) -> None:
        def work(number: int) -> None:
            for i in range(3):
                store.add(5, [new(number, number * 10 + i)], capacity=CAPACITY)
            store.learn(5, number, unit(number))
            store.remove(5, [number + 100])

        at_once(work)
        assert store.load(5).person_ids.tolist() == [n for n in range(8) for _ in range(4)]

    def test_a_snapshot_taken_amid_writes_is_whole(self, store: Store) -> None:
        def work(number: int) -> None:
            for i in range(5):
                if number % 2:
                    store.add(5, [new(number, i), new(number, i + 10)], capacity=CAPACITY)
                else:
                    snapshot = store.load(5)
                    assert len(snapshot.person_ids) == len(snapshot.vectors)
                    assert len(snapshot.person_ids) % 2 == 0

        at_once(work)
