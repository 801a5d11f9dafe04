"""The examples of the vendor's "Face recognition", sent to the engine with real photos."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from PIL import Image as Pillow

from persons.engine.engine import Engine
from persons.engine.memory import MemoryStore
from persons.engine.picture import UNKNOWN_TYPE
from persons.vision import envelope
from persons.vision.types import Envelope, Image, ImageStatus, Method

TESTS = Path(__file__).resolve().parents[1]
PHOTOS = TESTS.parent / "demo" / "photos"
OPENAPI = json.loads((TESTS / "data" / "persons-openapi.json").read_text())

Ask = Callable[..., dict[str, Any]]


@pytest.fixture
def engine() -> Engine:
    return Engine(MemoryStore())


@pytest.fixture
def ask(engine: Engine) -> Ask:
    """Asks, and checks each answer against the vendor's OpenAPI description and our own parser."""

    def ask(method: str, meta: dict[str, Any], **files: bytes) -> dict[str, Any]:
        images = [Image(name, data) for name, data in files.items()]
        answer = engine.call(Method(method), meta, images)
        assert answer.http_status == 200
        got: dict[str, Any] = json.loads(answer.raw)
        check_schema(method, got)
        assert (got["htmlencoded"], got["last_modified"]) == (False, 0)
        if got["status"] == 200:
            assert isinstance(envelope.parse(Method(method), answer), Envelope)
        return got

    return ask


def check_schema(method: str, got: dict[str, Any]) -> None:
    path = OPENAPI["paths"][f"/v1/persons/{method}"]["post"]
    schema = path["responses"]["200"]["content"]["application/json"]["schema"]
    jsonschema.validate(got, {**schema, "components": OPENAPI["components"]})


def photo(name: str) -> bytes:
    return (PHOTOS / f"{name}.jpg").read_bytes()


def side_by_side(*names: str) -> bytes:
    images = [Pillow.open(PHOTOS / f"{name}.jpg") for name in names]
    canvas = Pillow.new("RGB", (sum(i.width for i in images), max(i.height for i in images)))
    left = 0
    for image in images:
        canvas.paste(image, (left, 0))
        left += image.width
    out = io.BytesIO()
    canvas.save(out, "JPEG", quality=92)
    return out.getvalue()


def no_face() -> bytes:
    out = io.BytesIO()
    Pillow.linear_gradient("L").save(out, "JPEG")
    return out.getvalue()


def success(body: dict[str, Any]) -> dict[str, Any]:
    return {"status": 200, "body": body, "htmlencoded": False, "last_modified": 0}


def failure(text: str) -> dict[str, Any]:
    return {"status": 400, "body": text, "htmlencoded": False, "last_modified": 0}


def set_meta(name: str = "file", person_id: int = 12) -> dict[str, Any]:
    return {"space": "5", "images": [{"name": name, "person_id": person_id}]}


def recognize_meta(*names: str, **more: Any) -> dict[str, Any]:
    images = [{"name": name} for name in names or ("file",)]
    return {"space": "5", "create_new": False, "images": images, **more}


ONE_FACE_ONLY = success(
    {
        "objects": [
            {"status": 1, "error": "face set required only one face per image", "name": "file"}
        ]
    }
)


def test_set_links_a_photo_to_a_person(ask: Ask) -> None:
    got = ask("set", set_meta(person_id=1), file=photo("obama_1"))
    assert got == success({"objects": [{"status": 0, "name": "file"}]})


def test_set_without_a_matching_file_name_is_refused(ask: Ask) -> None:
    got = ask("set", set_meta("file_10"), file=photo("obama_1"))
    assert got == failure("could not get image by name file_10: http: no such file")


def test_set_of_an_image_without_a_face_fails(ask: Ask) -> None:
    assert ask("set", set_meta(), file=no_face()) == ONE_FACE_ONLY


def test_set_of_an_image_with_several_faces_fails(ask: Ask) -> None:
    assert ask("set", set_meta(), file=side_by_side("obama_1", "sunak_1")) == ONE_FACE_ONLY


def test_set_of_an_empty_image_is_refused(ask: Ask) -> None:
    assert ask("set", set_meta(), file=b"") == failure("empty image")


def test_recognize_finds_a_person_who_was_set(ask: Ask) -> None:
    ask("set", set_meta(person_id=1), file=photo("ardern_1"))
    got = ask("recognize", recognize_meta(), file=photo("ardern_2"))
    (entry,) = got["body"]["objects"]
    (person,) = entry.pop("persons")
    assert entry == {"status": 0, "name": "file"}
    assert person["tag"] == "person1"
    assert 0.7 < person["similarity"] < 0.8
    left, top, right, bottom = person["coord"]
    assert 180 < left < right < 500
    assert 100 < top < bottom < 540
    assert set(person) == {
        "tag",
        "coord",
        "confidence",
        "awesomeness",
        "similarity",
        "frontality",
        "visibility",
    }


def test_recognize_creates_a_person_if_asked_to(ask: Ask) -> None:
    first = ask("recognize", recognize_meta(create_new=True), file=photo("sunak_1"))
    (person,) = first["body"]["objects"][0]["persons"]
    assert (person["tag"], person["similarity"]) == ("person1", 1)
    again = ask("recognize", recognize_meta(create_new=True), file=photo("sunak_1"))
    assert again["body"]["objects"][0]["persons"][0]["tag"] == "person1"


def test_recognize_of_an_image_without_a_face_has_no_persons(ask: Ask) -> None:
    got = ask("recognize", recognize_meta(create_new=True), file=no_face())
    assert got == success({"objects": [{"status": 0, "name": "file"}], "aliases_changed": False})


def test_recognize_of_someone_unknown_is_undefined(ask: Ask) -> None:
    ask("set", set_meta(person_id=1), file=photo("ardern_1"))
    got = ask("recognize", recognize_meta(), file=photo("collins_1"))
    (person,) = got["body"]["objects"][0]["persons"]
    assert person["tag"] == "undefined"
    assert person["similarity"] < 0.3
    assert "aliases" not in person


def test_recognize_without_a_matching_file_name_is_refused(ask: Ask) -> None:
    got = ask("recognize", recognize_meta("file1"), file=photo("obama_1"))
    assert got == failure("could not get image by name file1: http: no such file")


def test_recognize_of_an_empty_image_is_refused(ask: Ask) -> None:
    assert ask("recognize", recognize_meta(), file=b"") == failure("empty image")


def test_delete_forgets_a_person(ask: Ask) -> None:
    ask("set", set_meta(person_id=1), file=photo("obama_1"))
    for _ in range(2):  # someone who is not there is as good as deleted
        got = ask("delete", set_meta("aaa", person_id=1))
        assert got == success({"objects": [{"status": 0, "name": "aaa"}]})
    seen = ask("recognize", recognize_meta(), file=photo("obama_1"))
    assert seen["body"]["objects"][0]["persons"][0]["tag"] == "undefined"


def test_delete_without_a_person_is_refused(ask: Ask) -> None:
    got = ask("delete", {"space": "5", "images": [{"name": "aaa"}]})
    assert got == failure("no person_id has been provided")


def test_truncate_empties_the_space_alone(ask: Ask) -> None:
    ask("set", set_meta(person_id=1), file=photo("obama_1"))
    ask("set", {**set_meta(person_id=2), "space": "6"}, file=photo("obama_1"))
    assert ask("truncate", {"space": "5"}) == success({})
    here = ask("recognize", recognize_meta(), file=photo("obama_1"))
    there = ask("recognize", recognize_meta(space="6"), file=photo("obama_1"))
    assert here["body"]["objects"][0]["persons"][0]["tag"] == "undefined"
    assert there["body"]["objects"][0]["persons"][0]["tag"] == "person2"


def test_truncate_without_a_space_is_refused(ask: Ask) -> None:
    got = ask("truncate", {"azaza": "5"})
    assert got == failure('wrong space param : strconv.Atoi: parsing "": invalid syntax')


@pytest.mark.parametrize("method", ["set", "recognize"])
def test_one_bad_image_spoils_no_other(ask: Ask, method: str) -> None:
    big = io.BytesIO()
    Pillow.new("RGB", (3841, 10)).save(big, "PNG")
    names = ["good", "broken", "big"]
    meta = {"space": "5", "images": [{"name": n, "person_id": i + 1} for i, n in enumerate(names)]}
    files = {"good": photo("obama_1"), "broken": b"not a picture", "big": big.getvalue()}
    good, broken, large = ask(method, meta, **files)["body"]["objects"]
    assert (good["status"], good["name"]) == (0, "good")
    assert broken == {"status": 1, "error": UNKNOWN_TYPE, "name": "broken"}
    assert (large["status"], large["name"]) == (1, "big")
    assert "3841x10" in large["error"]


def test_objects_come_in_the_order_of_meta(ask: Ask) -> None:
    files = {name: no_face() for name in ("a", "b", "c")}
    got = ask("recognize", recognize_meta("c", "a", "b"), **files)
    assert [entry["name"] for entry in got["body"]["objects"]] == ["c", "a", "b"]


def test_a_stray_file_and_odd_names_do_no_harm(ask: Ask) -> None:
    name = "examples/друзья 1.jpg"
    got = ask("recognize", recognize_meta(name), **{"": b"dummy", name: photo("obama_1")})
    assert got["body"]["objects"][0]["name"] == name


def test_a_full_space_is_told_per_image() -> None:
    engine = Engine(MemoryStore(), capacity=1)
    images = [Image("a", photo("obama_1")), Image("b", photo("sunak_1"))]
    meta = {"space": "5", "images": [{"name": "a", "person_id": 1}, {"name": "b", "person_id": 2}]}
    got = envelope.parse(Method.SET, engine.call(Method.SET, meta, images))
    assert [result.status for result in got.objects] == [ImageStatus.DONE, ImageStatus.PERMANENT]
    assert got.objects[1].error == "the space is full: it holds 1 faces"
    create = recognize_meta("b", create_new=True)
    seen = envelope.parse(Method.RECOGNIZE, engine.call(Method.RECOGNIZE, create, images))
    (result,) = seen.objects
    assert (result.status, result.persons[0].tag) == (ImageStatus.DONE, "undefined")
    assert result.error == "the space is full: it holds 1 faces"
