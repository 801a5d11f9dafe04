"""Clustering faces by their embeddings."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from persons.engine.clustering import cluster, neighbours
from persons.engine.faces import FaceReader, face_reader
from persons.engine.store import Vectors
from persons.engine.weights import Weights
from persons.vision.types import Box

PHOTOS = Path(__file__).resolve().parents[2] / "demo" / "photos"
PORTRAITS = [path for path in sorted(PHOTOS.glob("*.jpg")) if not path.stem.startswith("group")]


def unit(rows: np.ndarray) -> Vectors:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def people(sizes: list[int], seed: int = 0, spread: float = 0.5) -> tuple[Vectors, list[int]]:
    """Vectors of people with so many faces each, and who each is; in a random order."""
    chance = np.random.default_rng(seed)
    middles = unit(chance.standard_normal((len(sizes), 128)))
    who = np.repeat(np.arange(len(sizes)), sizes)
    noise = unit(chance.standard_normal((len(who), 128)))
    order = chance.permutation(len(who))
    return unit(middles[who] + spread * noise)[order], who[order].tolist()


def plain_average_linkage(
    vectors: Vectors,
    threshold: float,
    apart: set[tuple[int, int]] = frozenset(),  # type: ignore[assignment]
) -> set[frozenset[int]]:
    """The definition, word by word: merge the nearest two that may, again and again."""
    groups = [frozenset([row]) for row in range(len(vectors))]
    cosines = vectors.astype(np.float64) @ vectors.T.astype(np.float64)
    while True:
        best: tuple[float, frozenset[int], frozenset[int]] | None = None
        for one, other in itertools.combinations(groups, 2):
            if any((min(p), max(p)) in apart for p in itertools.product(one, other)):
                continue
            mean = float(np.mean([cosines[i, j] for i in one for j in other]))
            if mean >= threshold and (best is None or mean > best[0]):
                best = (mean, one, other)
        if best is None:
            return {group for group in groups if len(group) > 1}
        groups = [group for group in groups if group not in best[1:]] + [best[1] | best[2]]


def as_sets(groups: list[list[int]]) -> set[frozenset[int]]:
    return set(map(frozenset, groups))


def test_faces_of_one_person_come_together_and_strangers_stay_alone() -> None:
    vectors, who = people([9, 5, 3, 1, 1])
    groups = cluster(vectors, threshold=0.45)
    assert [len(group) for group in groups] == [9, 5, 3]
    assert all(len({who[row] for row in group}) == 1 for group in groups)


@pytest.mark.parametrize("seed", range(8))
def test_it_is_average_linkage_exactly(seed: int) -> None:
    vectors, _ = people([6, 5, 4, 2, 1, 1, 1], seed=seed, spread=1.3)
    pairs = {(i, i + 3) for i in range(0, 15, 4)}
    for threshold in (0.2, 0.35, 0.5):
        plain = plain_average_linkage(vectors, threshold)
        assert as_sets(cluster(vectors, threshold=threshold)) == plain
    kept_apart = cluster(vectors, threshold=0.2, apart=sorted(pairs))
    for group in kept_apart:
        assert not pairs & set(itertools.combinations(sorted(group), 2))


def test_it_does_the_same_each_time_and_in_any_order() -> None:
    vectors, _ = people([20, 10, 5], spread=1.0)
    once = as_sets(cluster(vectors, threshold=0.4))
    assert as_sets(cluster(vectors, threshold=0.4)) == once
    order = np.random.default_rng(3).permutation(len(vectors))
    shuffled = cluster(vectors[order], threshold=0.4)
    assert {frozenset(int(order[row]) for row in group) for group in shuffled} == once


def test_pairs_that_are_kept_apart_never_meet_even_through_others() -> None:
    vectors, _ = people([40], spread=0.3)
    pairs = [(i, j) for i in range(20) for j in range(20, 40)]
    groups = cluster(vectors, threshold=0.3, apart=pairs)
    assert as_sets(groups) == {frozenset(range(20)), frozenset(range(20, 40))}


def test_equal_vectors_are_one_group() -> None:
    vectors = np.repeat(unit(np.ones((1, 128))), 200, axis=0)
    assert as_sets(cluster(vectors, threshold=0.9)) == {frozenset(range(200))}


def test_groups_far_larger_than_a_face_has_neighbours_hold_together() -> None:
    vectors, who = people([700, 400, 30], spread=0.7)
    groups = cluster(vectors, threshold=0.45)
    assert [len(group) for group in groups] == [700, 400, 30]
    assert all(len({who[row] for row in group}) == 1 for group in groups)


def test_the_most_typical_face_comes_first() -> None:
    vectors, _ = people([12], spread=0.8)
    (group,) = cluster(vectors, threshold=0.3)
    to_middle = vectors[group] @ vectors.sum(axis=0)
    assert list(to_middle) == sorted(to_middle, reverse=True)


def test_nothing_and_one_face_make_no_group() -> None:
    assert cluster(np.empty((0, 128), np.float32), threshold=0.4) == []
    assert cluster(unit(np.ones((1, 128))), threshold=0.4) == []


def test_it_can_be_stopped_at_any_time() -> None:
    vectors, _ = people([30, 30])

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cluster(vectors, threshold=0.4, pause=stop)


def test_neighbours_are_found_whichever_block_they_are_in(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, _ = people([30, 20], spread=0.6)
    whole = neighbours(vectors, 0.5)
    monkeypatch.setattr("persons.engine.clustering._ROWS_AT_ONCE", 7)
    assert np.array_equal(neighbours(vectors, 0.5), whole)


# --- Real faces ---


@pytest.fixture(scope="module")
def reader() -> FaceReader:
    return face_reader(Weights.default())


def test_a_real_face_is_described_as_recognition_describes_it(reader: FaceReader) -> None:
    path = PHOTOS / "group_1.jpg"
    picture = np.asarray(Image.open(path).convert("RGB"))
    faces = reader.read(path.read_bytes())
    assert len(faces) == 4
    for face in faces:
        margin = (face.box.right - face.box.left) // 2
        left, top = max(0, face.box.left - margin), max(0, face.box.top - margin)
        crop = picture[top : face.box.bottom + margin, left : face.box.right + margin]
        box = Box(
            face.box.left - left, face.box.top - top, face.box.right - left, face.box.bottom - top
        )
        assert reader.describe(crop, box) @ face.vector > 0.9


def test_a_face_that_the_detector_does_not_see_is_described_as_it_stands(
    reader: FaceReader,
) -> None:
    nothing = np.full((80, 80, 3), 120, np.uint8)
    vector = reader.describe(nothing, Box(10, 10, 70, 70))
    assert vector.shape == (128,)
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
    with pytest.raises(ValueError, match="outside"):
        reader.describe(nothing, Box(90, 90, 120, 120))


@pytest.fixture(scope="module")
def portraits(reader: FaceReader) -> tuple[Vectors, list[str]]:
    """Each of the demo's seven portraits nine times: tilted, mirrored, darker, smaller."""
    chance = random.Random(4)
    vectors, who = [], []
    for path in PORTRAITS:
        original = Image.open(path).convert("RGB")
        original.thumbnail((800, 800))
        for turn in range(9):
            picture = original.rotate(chance.uniform(-12, 12), Image.Resampling.BICUBIC)
            if turn % 2:
                picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            picture = ImageEnhance.Brightness(picture).enhance(chance.uniform(0.6, 1.3))
            scale = chance.choice([1, 0.6, 0.35])
            picture = picture.resize((int(picture.width * scale), int(picture.height * scale)))
            pixels = np.asarray(picture)
            height, width = pixels.shape[:2]
            vectors.append(reader.describe(pixels, _face_in(reader, picture, width, height)))
            who.append(path.stem.split("_")[0])
    return np.array(vectors, np.float32), who


def _face_in(reader: FaceReader, picture: Image.Image, width: int, height: int) -> Box:
    import io

    out = io.BytesIO()
    picture.save(out, "PNG")
    faces = reader.read(out.getvalue())
    largest = max(faces, key=lambda face: face.box.right - face.box.left, default=None)
    return largest.box if largest else Box(width // 4, height // 4, width * 3 // 4, height * 3 // 4)


@pytest.mark.thorough
@pytest.mark.parametrize("threshold", [0.35, 0.45, 0.55])
def test_real_people_are_told_apart(portraits: tuple[Vectors, list[str]], threshold: float) -> None:
    vectors, who = portraits
    groups = cluster(vectors, threshold=threshold)
    assert all(len({who[row] for row in group}) == 1 for group in groups)
    together = sum(len(group) * (len(group) - 1) // 2 for group in groups)
    same = sum(one == other for one, other in itertools.combinations(who, 2))
    assert together / same > 0.75


def test_at_the_usual_threshold_hardly_a_real_face_is_left_alone(
    portraits: tuple[Vectors, list[str]],
) -> None:
    vectors, who = portraits
    groups = cluster(vectors, threshold=0.45)
    assert len(groups) <= len(set(who)) + 1
    assert sum(map(len, groups)) >= len(who) - 3
