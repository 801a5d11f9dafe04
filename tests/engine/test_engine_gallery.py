"""The engine's search among enrolled people: order, ties, and one face per person and picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from persons.engine.gallery import Identification, Index, IndexCache, Match, assign
from persons.engine.memory import MemoryStore
from persons.engine.store import DIGESTS, LEARNED, NewEmbedding, SpaceVectors, Vectors


def units(count: int, seed: int = 0) -> Vectors:
    rows = np.random.default_rng(seed).standard_normal((count, 128)).astype(np.float32)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def index_of(*rows: tuple[int, Vectors]) -> Index:
    ids = np.array([person_id for person_id, _ in rows], np.int64)
    return index_with(ids, np.array([vector for _, vector in rows], np.float32))


def index_with(ids: NDArray[np.int64], vectors: Vectors, digests: Sequence[str] = ()) -> Index:
    """Its rows' digests are "row0", "row1" and so on, if no others are given."""
    names = digests or [f"row{row}" for row in range(len(ids))]
    return Index(SpaceVectors(1, ids, vectors, np.array(names, DIGESTS)))


def near(vector: Vectors, cosine: float, seed: int = 99) -> Vectors:
    """A unit vector at that cosine from `vector`."""
    other = units(1, seed)[0]
    other -= (other @ vector) * vector
    other /= np.linalg.norm(other)
    return np.asarray(cosine * vector + np.sqrt(1 - cosine**2) * other, np.float32)


@pytest.mark.parametrize("people", [1, 7, 300])
def test_searching_finds_what_comparing_one_by_one_finds(people: int) -> None:
    ids = np.sort(np.random.default_rng(1).integers(1, people + 1, 300))
    vectors, queries = units(300), units(40, seed=5)
    found = index_with(ids, vectors).search(queries, limit=3)
    for query, matches in zip(queries, found, strict=True):
        best: dict[int, float] = {}
        for person_id, vector in zip(ids.tolist(), vectors, strict=True):
            best[person_id] = max(best.get(person_id, -1.0), float(vector @ query))
        expected = sorted(best.items(), key=lambda item: -item[1])[:3]
        assert [match.person_id for match in matches] == [person_id for person_id, _ in expected]
        assert [match.similarity for match in matches] == pytest.approx(
            [similarity for _, similarity in expected], abs=1e-5
        )


def test_an_empty_space_matches_nobody() -> None:
    empty = index_with(np.empty(0, np.int64), np.empty((0, 128), np.float32))
    assert empty.search(units(2), 5) == [[], []]
    assert empty.aliases(1, 0.5) == ()
    assert assign(empty, list(units(2)), threshold=0.4) == [
        Identification(None, 0.0),
        Identification(None, 0.0),
    ]
    assert (empty.picture(1, units(1)[0]), empty.pictures) == ("", 0)


def test_of_equal_people_the_lower_id_comes_first() -> None:
    same = units(1)[0]
    rows = [(person_id, same) for person_id in range(1, 1001)]
    (matches,) = index_of(*rows).search(same[np.newaxis], limit=3)
    assert [match.person_id for match in matches] == [1, 2, 3]


def test_nobody_is_twice_in_one_picture() -> None:
    face = units(1)[0]
    better, worse = near(face, 0.9), near(face, 0.7)
    outcomes = assign(index_of((1, face)), [worse, better], threshold=0.4)
    assert outcomes[0].match is None
    assert outcomes[1].match == Match(1, outcomes[1].similarity)
    assert outcomes[1].similarity == pytest.approx(0.9, abs=1e-4)


def test_a_face_that_loses_its_person_takes_its_next() -> None:
    face = units(1)[0]
    people = index_of((1, face), (2, near(face, 0.8, seed=4)))
    first, second = assign(people, [face, face], threshold=0.4)
    assert first.match == Match(1, 1.0)
    assert second.match is not None
    assert second.match.person_id == 2
    assert second.similarity == pytest.approx(0.8, abs=1e-4)
    assert second.runner_up == Match(1, 1.0)


def test_the_nearest_neighbour_search_takes_no_next() -> None:
    face = units(1)[0]
    people = index_of((1, face), (2, near(face, 0.8, seed=4)))
    first, second = assign(people, [face, face], threshold=0.4, nearest_only=True)
    assert first.match == Match(1, 1.0)
    assert (second.match, second.similarity) == (None, 0.0)


def test_a_face_below_the_threshold_is_nobody_but_tells_its_similarity() -> None:
    face = units(1)[0]
    (below,) = assign(index_of((1, near(face, 0.39))), [face], threshold=0.4)
    assert below.match is None
    assert below.similarity == pytest.approx(0.39, abs=1e-4)
    assert below.runner_up == Match(1, below.similarity)
    (above,) = assign(index_of((1, near(face, 0.41))), [face], threshold=0.4)
    assert above.match is not None
    assert above.runner_up is None


def test_people_already_in_the_picture_are_passed_over() -> None:
    face = units(1)[0]
    (outcome,) = assign(index_of((1, face)), [face], threshold=0.4, taken=[1])
    assert (outcome.match, outcome.similarity) == (None, 0.0)


def test_the_runner_up_is_the_nearest_other_person_and_not_another_picture_of_the_match() -> None:
    face = units(1)[0]
    people = index_of(
        (1, near(face, 0.3, seed=1)), (4, face), (4, near(face, 0.95, seed=2)), (7, near(face, 0.6))
    )
    (outcome,) = assign(people, [face], threshold=0.4)
    assert outcome.match == Match(4, 1.0)
    assert outcome.runner_up is not None
    assert outcome.runner_up.person_id == 7
    assert outcome.runner_up.similarity == pytest.approx(0.6, abs=1e-4)


def test_the_picture_that_matched_is_the_nearest_of_the_persons_own() -> None:
    face = units(1)[0]
    people = index_of((1, face), (4, near(face, 0.5, seed=1)), (4, near(face, 0.9)), (7, face))
    assert people.picture(4, face) == "row2"
    assert people.picture(5, face) == ""


def test_what_was_learned_is_no_picture() -> None:
    face = units(1)[0]
    vectors = np.array([near(face, 0.5), face], np.float32)
    people = index_with(np.array([1, 1]), vectors, ["a", LEARNED])
    assert people.picture(1, face) == LEARNED
    assert people.pictures == 1


def test_aliases_are_the_others_within_the_threshold_nearest_first() -> None:
    face = units(1)[0]
    people = index_of(
        (1, face),
        (1, near(face, 0.9)),
        (2, near(face, 0.6, 5)),
        (3, near(face, 0.7, 6)),
        (4, units(1, 8)[0]),
    )
    assert people.aliases(1, 0.5) == (3, 2)
    assert people.aliases(1, 0.65) == (3,)
    assert people.aliases(4, 0.5) == ()
    assert people.aliases(77, 0.5) == ()


def test_an_index_grown_by_one_person_is_like_one_read_anew() -> None:
    rows = units(4)
    grown = index_of((1, rows[0]), (3, rows[1]), (3, rows[2])).with_person(2, 2, rows[3], "row3")
    anew = index_of((1, rows[0]), (2, rows[3]), (3, rows[1]), (3, rows[2]))
    assert grown.version == 2
    assert np.array_equal(grown.person_ids, anew.person_ids)
    assert np.array_equal(grown.scores(units(3, 7)), anew.scores(units(3, 7)))


class CountingStore(MemoryStore):
    loads = 0

    def load(self, space: int) -> SpaceVectors:
        self.loads += 1
        return super().load(space)


def test_a_space_is_read_again_only_when_its_version_moved() -> None:
    store = CountingStore()
    gallery = IndexCache(store)
    assert gallery.index(5) is gallery.index(5)
    assert store.loads == 1
    store.add(5, [NewEmbedding(1, units(1)[0], "0")], capacity=9)
    assert gallery.index(5).person_ids.tolist() == [1]
    assert store.loads == 2


def test_creating_a_person_does_not_read_the_space_again() -> None:
    store = CountingStore()
    gallery = IndexCache(store)
    for vector in units(5):
        gallery.create(5, gallery.index(5), vector, "0", 99)
    assert store.loads == 1
    assert gallery.index(5).person_ids.tolist() == [1, 2, 3, 4, 5]


class BusyStore(CountingStore):
    """Somebody else enrols right after each creation."""

    def create(self, space: int, vector: Vectors, digest: str, **more: int) -> int | None:
        person_id = super().create(space, vector, digest, **more)
        self.add(space, [NewEmbedding(50, units(1, 50)[0], "x")], capacity=99)
        return person_id


def test_creating_a_person_does_not_hide_what_others_enrolled_meanwhile() -> None:
    gallery = IndexCache(BusyStore())
    gallery.create(5, gallery.index(5), units(1)[0], "0", 99)
    assert gallery.index(5).person_ids.tolist() == [1, 50]
