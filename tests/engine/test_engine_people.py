"""The engine with real photos: who is recognised, created, or suggested as an alias."""

from __future__ import annotations

import io
import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image as Pillow

from persons.engine.embedder import Embedder
from persons.engine.engine import THRESHOLD, Engine
from persons.engine.memory import MemoryStore
from persons.engine.store import NewEmbedding, Vectors
from persons.vision import envelope
from persons.vision.errors import VisionTemporary
from persons.vision.types import Envelope, FoundPerson, Image, Method
from tests.support.processes import PATIENCE

pytestmark = pytest.mark.thorough

PHOTOS = Path(__file__).resolve().parents[2] / "demo" / "photos"
NAMES = ["ardern_1", "ardern_2", "collins_1", "macron_1", "macron_2", "obama_1", "sunak_1"]


def photo(name: str) -> Image:
    return Image(name, (PHOTOS / f"{name}.jpg").read_bytes())


def picture(name: str, *images: Pillow.Image) -> Image:
    """Pictures side by side."""
    canvas = Pillow.new("RGB", (sum(i.width for i in images), max(i.height for i in images)))
    left = 0
    for image in images:
        canvas.paste(image, (left, 0))
        left += image.width
    out = io.BytesIO()
    canvas.save(out, "JPEG", quality=95)
    return Image(name, out.getvalue())


def opened(name: str) -> Pillow.Image:
    return Pillow.open(PHOTOS / f"{name}.jpg").convert("RGB")


def enrol(engine: Engine, **people: int) -> None:
    images = [{"name": name, "person_id": person_id} for name, person_id in people.items()]
    answer = engine.call(
        Method.SET, {"space": "5", "images": images}, [photo(name) for name in people]
    )
    assert all(r.status == 0 for r in envelope.parse(Method.SET, answer).objects)


def recognize(engine: Engine, *images: Image, **more: Any) -> Envelope:
    meta = {
        "space": "5",
        "update_embedding": False,
        "images": [{"name": image.name} for image in images],
        **more,
    }
    return envelope.parse(Method.RECOGNIZE, engine.call(Method.RECOGNIZE, meta, images))


def tags(found: Envelope) -> list[list[str]]:
    return [[person.tag for person in result.persons] for result in found.objects]


def only(found: Envelope) -> FoundPerson:
    (result,) = found.objects
    (person,) = result.persons
    return person


@pytest.fixture
def engine() -> Engine:
    return Engine(MemoryStore())


def test_the_same_person_is_well_above_the_threshold_and_everyone_else_well_below(
    engine: Engine,
) -> None:
    vectors = {name: engine.faces(photo(name).data)[0].vector for name in NAMES}
    for one, other in itertools.combinations(NAMES, 2):
        cosine = float(vectors[one] @ vectors[other])
        if one.split("_")[0] == other.split("_")[0]:
            assert cosine > THRESHOLD + 0.15
        else:
            assert cosine < THRESHOLD - 0.1


def test_everyone_in_a_group_photo_is_named(engine: Engine) -> None:
    enrol(engine, macron_1=1, obama_1=2, ardern_1=3)
    group = picture("group", *map(opened, ["ardern_2", "sunak_1", "macron_2"]))
    found = recognize(engine, group)
    assert tags(found) == [["person3", "undefined", "person1"]]
    lefts = [person.box.left for person in found.objects[0].persons]
    assert lefts == sorted(lefts)
    for person, low in zip(found.objects[0].persons, (0, 689, 689 + 747), strict=True):
        assert low < person.box.left < person.box.right < low + 747


def test_two_faces_of_one_photo_are_never_the_same_person(engine: Engine) -> None:
    enrol(engine, macron_2=1)
    pair = picture("pair", opened("macron_1"), opened("macron_2"))
    assert tags(recognize(engine, pair)) == [["undefined", "person1"]]
    created = recognize(engine, pair, create_new=True)
    assert tags(created) == [["person2", "person1"]]


def test_a_face_whose_person_is_taken_gets_its_next_unless_only_the_nearest_was_asked_for(
    engine: Engine,
) -> None:
    enrol(engine, macron_2=1, macron_1=2)
    twin = picture("twin", opened("macron_2"), opened("macron_2"))
    assert {*tags(recognize(engine, twin))[0]} == {"person1", "person2"}
    assert {*tags(recognize(engine, twin, searcher=1))[0]} == {"person1", "undefined"}


def test_a_new_person_in_several_images_of_a_request_is_created_once(engine: Engine) -> None:
    images = [photo(name) for name in NAMES]
    found = recognize(engine, *images, create_new=True)
    expected = [1, 1, 2, 3, 3, 4, 5]
    assert tags(found) == [[f"person{person_id}"] for person_id in expected]
    assert tags(recognize(engine, *images, create_new=True)) == tags(found)


def test_similar_people_are_each_others_aliases(engine: Engine) -> None:
    enrol(engine, macron_1=1, macron_2=2, obama_1=3)
    found = recognize(engine, photo("macron_2"))
    assert only(found).aliases == ("person1",)
    assert only(recognize(engine, photo("obama_1"))).aliases == ()
    assert not found.aliases_changed
    strict = engine.at(threshold=0.4, alias_threshold=0.9)
    assert only(recognize(strict, photo("macron_2"))).aliases == ()


def test_aliases_changed_tells_of_new_aliases_only(engine: Engine) -> None:
    twin = picture("twin", opened("macron_2"), opened("macron_2"))
    first = recognize(engine, twin, create_new=True)
    assert first.aliases_changed
    assert {p.aliases for p in first.objects[0].persons} == {("person1",), ("person2",)}
    assert not recognize(engine, twin, create_new=True).aliases_changed
    assert not recognize(engine, photo("obama_1"), create_new=True).aliases_changed


def test_a_recognition_is_a_write_unless_told_otherwise() -> None:
    store = MemoryStore()
    engine = Engine(store)
    enrol(engine, macron_1=1)
    version = store.version(5)
    before = only(recognize(engine, photo("macron_2"))).similarity
    assert store.version(5) == version
    meta = {"space": "5", "images": [{"name": "macron_2"}]}
    engine.call(Method.RECOGNIZE, meta, [photo("macron_2")])
    assert store.version(5) > version
    assert only(recognize(engine, photo("macron_2"))).similarity > before
    assert len(store.load(5).vectors) == 2


def test_setting_adds_to_a_person_and_the_same_bytes_change_nothing() -> None:
    store = MemoryStore()
    engine = Engine(store)
    enrol(engine, macron_1=1)
    enrol(engine, macron_2=1)
    version = store.version(5)
    enrol(engine, macron_1=1, macron_2=1)
    assert store.version(5) == version
    assert len(store.load(5).vectors) == 2


def test_the_threshold_decides(engine: Engine) -> None:
    enrol(engine, macron_1=1)
    assert only(recognize(engine, photo("macron_2"))).person_id == 1
    stricter = engine.at(threshold=0.7)
    person = only(recognize(stricter, photo("macron_2")))
    assert person.person_id is None
    assert 0.5 < person.similarity < 0.7


def test_what_one_engine_enrols_another_finds_at_once() -> None:
    store = MemoryStore()
    one, other = Engine(store), Engine(store)
    assert only(recognize(other, photo("obama_1"))).person_id is None
    enrol(one, obama_1=7)
    assert only(recognize(other, photo("obama_1"))).person_id == 7
    one.call(Method.TRUNCATE, {"space": "5"}, [])
    assert only(recognize(other, photo("obama_1"))).person_id is None


class RacingStore(MemoryStore):
    """Somebody else gets in just before the first creation."""

    def __init__(self, winner: Vectors) -> None:
        super().__init__()
        self.winner: Vectors | None = winner

    def create(self, space: int, vector: Vectors, digest: str, **more: int) -> int | None:
        if self.winner is not None:
            self.add(space, [NewEmbedding(77, self.winner, "x")], capacity=99)
            self.winner = None
        return super().create(space, vector, digest, **more)


def test_a_person_whom_somebody_else_just_created_is_not_created_again(engine: Engine) -> None:
    (face,) = engine.faces(photo("macron_1").data)
    store = RacingStore(winner=face.vector)
    found = recognize(Engine(store), photo("macron_2"), create_new=True)
    assert only(found).person_id == 77
    assert store.load(5).person_ids.tolist() == [77]


def test_threads_that_meet_a_new_person_at_once_create_one() -> None:
    store = MemoryStore()
    engines = [Engine(store), Engine(store)]
    barrier = threading.Barrier(4)

    def work(number: int) -> str:
        image = photo(["macron_1", "macron_2"][number % 2])
        engines[0].faces(image.data)  # loads the nets, so that the threads meet
        barrier.wait(timeout=PATIENCE)
        return only(recognize(engines[number % 2], image, create_new=True)).tag

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(work, range(4))) == {"person1"}
    assert store.load(5).person_ids.tolist() == [1]


def test_a_space_that_never_rests_is_a_temporary_error() -> None:
    class RestlessStore(MemoryStore):
        def create(self, space: int, vector: Vectors, digest: str, **more: int) -> int | None:
            self.clear(space)
            return super().create(space, vector, digest, **more)

    (result,) = recognize(Engine(RestlessStore()), photo("macron_1"), create_new=True).objects
    assert (result.status, result.persons) == (2, ())


def test_a_recogniser_that_breaks_down_gives_no_answer_rather_than_a_wrong_one(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise cv2.error("insufficient memory")

    monkeypatch.setattr(Embedder, "embed", fail)
    with pytest.raises(VisionTemporary, match="insufficient memory"):
        recognize(engine, photo("macron_1"))


def test_eight_threads_get_the_answers_that_one_gets() -> None:
    engine = Engine(MemoryStore())
    enrol(engine, macron_1=1, obama_1=2)
    images = [photo(name) for name in NAMES]
    meta = {
        "space": "5",
        "update_embedding": False,
        "images": [{"name": image.name} for image in images],
    }
    expected = engine.call(Method.RECOGNIZE, meta, images).raw
    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(lambda _: engine.call(Method.RECOGNIZE, meta, images).raw, range(8))
        )
    assert set(answers) == {expected}


def test_a_face_is_told_the_same_whatever_was_looked_at_before(engine: Engine) -> None:
    first = engine.faces(photo("macron_2").data)
    for name in NAMES:
        engine.faces(photo(name).data)
    again = engine.faces(photo("macron_2").data)
    assert np.array_equal(first[0].vector, again[0].vector)
    assert first[0].box == again[0].box
