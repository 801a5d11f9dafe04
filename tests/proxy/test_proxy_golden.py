"""The examples of the vendor's "Face recognition", sent as its curl commands send them.

The documents disagree in two places. The example of a delete without `person_id` shows one, but its
answer is the one to a request without: that is tested. The examples of `recognize` lack
`aliases_changed`, which the OpenAPI description requires: it is expected.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from persons.models import Team
from tests.support import wire
from tests.support.wire import Ask, Gunicorn

pytestmark = pytest.mark.processes

FILES: dict[str, Callable[[], bytes]] = {
    "persons_set_ok.jpg": lambda: wire.photo("obama_1"),
    "persons_set_error_no_face.jpg": wire.nobody,
    "persons_set_error_many_people.jpg": wire.two_people,
    "persons_recognize_ok_person_in_db.jpg": lambda: wire.photo("obama_1"),
    "persons_recognize_ok_create_new.jpg": lambda: wire.photo("ardern_1"),
    "persons_recognize_error_no_face_in_db.jpg": lambda: wire.photo("sunak_1"),
    "empty.jpg": lambda: b"",
}

SECOND_MODEL = {"sex", "emotion", "age", "valence", "arousal"}
"""The embedded recogniser is the first model; the documentation has these for the second alone."""

NUMBERS = {"confidence": 0, "awesomeness": 0, "similarity": 0, "frontality": -1, "visibility": 0}
"""The numbers of a person, and the least that each may be; none is above 1."""


@dataclass(frozen=True)
class Pair:
    """A documented request, `meta` to the letter, and its answer."""

    name: str
    method: str
    meta: str
    answer: dict[str, Any]
    file: str = ""


def one_person(space: str, name: str, person_id: int) -> str:
    """The layout of the documentation's commands, for `set` and `delete`."""
    return (
        f'{{\n  "space": "{space}",\n  "images": [\n    {{\n      "name": "{name}",\n'
        f'      "person_id": {person_id}\n    }}\n  ]\n}}'
    )


def one_picture(name: str, *, create_new: str) -> str:
    return (
        f'{{\n  "space": "5",\n  "create_new": {create_new},\n  "images": [\n    {{\n'
        f'      "name": "{name}"\n    }}\n  ]\n}}'
    )


DONE = {"objects": [{"status": 0, "name": "file"}]}
ONE_FACE_ONLY = {
    "objects": [{"status": 1, "error": "face set required only one face per image", "name": "file"}]
}

PAIRS = [
    Pair(
        "set",
        "set",
        one_person("5", "file", 1),
        wire.envelope(200, DONE),
        "persons_set_ok.jpg",
    ),
    Pair(
        "set: mismatch of file names with the form",
        "set",
        one_person("5", "file_10", 12),
        wire.envelope(400, "could not get image by name file_10: http: no such file"),
        "persons_set_ok.jpg",
    ),
    Pair(
        "set: no face",
        "set",
        one_person("5", "file", 12),
        wire.envelope(200, ONE_FACE_ONLY),
        "persons_set_error_no_face.jpg",
    ),
    Pair(
        "set: several faces",
        "set",
        one_person("5", "file", 12),
        wire.envelope(200, ONE_FACE_ONLY),
        "persons_set_error_many_people.jpg",
    ),
    Pair(
        "set: empty image",
        "set",
        one_person("5", "file", 12),
        wire.envelope(400, "empty image"),
        "empty.jpg",
    ),
    Pair(
        "recognize: no face",
        "recognize",
        one_picture("file", create_new="false"),
        wire.envelope(200, {**DONE, "aliases_changed": False}),
        "persons_set_error_no_face.jpg",
    ),
    Pair(
        "recognize: mismatch of file names with the form",
        "recognize",
        one_picture("file1", create_new="false"),
        wire.envelope(400, "could not get image by name file1: http: no such file"),
        "persons_recognize_ok_create_new.jpg",
    ),
    Pair(
        "recognize: invalid image",
        "recognize",
        one_picture("file", create_new="false"),
        wire.envelope(400, "empty image"),
        "empty.jpg",
    ),
    Pair(
        "delete",
        "delete",
        one_person("5", "aaa", 1),
        wire.envelope(200, {"objects": [{"status": 0, "name": "aaa"}]}),
    ),
    Pair(
        "delete: no person_id",
        "delete",
        '{\n  "space": "5",\n  "images": [\n    {\n      "name": "aaa"\n    }\n  ]\n}',
        wire.envelope(400, "no person_id has been provided"),
        "persons_recognize_error_no_face_in_db.jpg",
    ),
    Pair("truncate", "truncate", '{\n  "space": "5"\n}', wire.envelope(200, {})),
    Pair(
        "truncate: no space field",
        "truncate",
        '{\n  "azaza": "5"\n}',
        wire.envelope(400, 'wrong space param : strconv.Atoi: parsing "": invalid syntax'),
    ),
]


def found_on(name: str, file: str, *, create_new: str = "false") -> Pair:
    """A success with a face in it: its numbers are this recogniser's own, so they are described."""
    return Pair(name, "recognize", one_picture("file", create_new=create_new), {}, file)


FOUND = {
    "person1": found_on("recognize", "persons_recognize_ok_person_in_db.jpg"),
    "undefined": found_on(
        "recognize: not in the database", "persons_recognize_error_no_face_in_db.jpg"
    ),
    "person2": found_on(
        "recognize: create_new", "persons_recognize_ok_create_new.jpg", create_new="true"
    ),
}
"""By the tag that is answered where person1 alone is enrolled."""


@pytest.fixture(scope="module")
def server(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gunicorn]:
    with Gunicorn(tmp_path_factory.mktemp("golden")) as server:
        yield server


@pytest.fixture
def token(transactional_db: None, team: Team) -> str:
    return wire.make_key(team)[1]


@pytest.fixture
def ask(server: Gunicorn, token: str) -> Ask:
    return wire.over_http(server.address, token)


def send(ask: Ask, pair: Pair) -> dict[str, Any]:
    """As curl writes it: the file first, `meta` after it."""
    picture = [wire.file("file", FILES[pair.file](), filename=pair.file)] if pair.file else []
    return ask(pair.method, *picture, wire.meta(pair.meta)).told


def test_every_documented_answer_is_given_to_the_letter(ask: Ask) -> None:
    """The same keys in the same order, too, apart from what only describes one photo's face."""
    for pair in PAIRS:
        got = send(ask, pair)
        assert json.dumps(got) == json.dumps(pair.answer), pair.name


@pytest.mark.parametrize("tag", FOUND)
def test_a_documented_answer_about_a_face_has_its_keys_types_and_tag(ask: Ask, tag: str) -> None:
    """In the database; not in it; and not in it with `"create_new": true`, which makes person2."""
    send(ask, PAIRS[0])
    person = only_person(send(ask, FOUND[tag]))
    assert person["tag"] == tag
    if tag == "person1":
        assert person["similarity"] == pytest.approx(1, abs=0.01)
    if tag == "person2":
        assert person["similarity"] == 1


def test_every_example_of_the_documentation_is_tried() -> None:
    """None of the fifteen is left out."""
    tried = [pair.method for pair in (*PAIRS, *FOUND.values())]
    counts = {method: tried.count(method) for method in wire.METHODS}
    assert counts == {"set": 5, "recognize": 6, "delete": 2, "truncate": 2}


def only_person(told: dict[str, Any]) -> dict[str, Any]:
    """The one person of a success, with every documented key of the first model and its type."""
    assert told["status"] == 200
    assert list(told["body"]) == ["objects", "aliases_changed"]
    (entry,) = told["body"]["objects"]
    assert list(entry) == ["status", "name", "persons"]
    assert (entry["status"], entry["name"]) == (0, "file")
    (person,) = entry["persons"]
    assert {*person} - {"aliases"} == {"tag", "coord", *NUMBERS}
    left, top, right, bottom = person["coord"]
    assert all(type(value) is int for value in person["coord"])
    assert 0 <= left < right <= 800 and 0 <= top < bottom <= 900
    for key, low in NUMBERS.items():
        assert isinstance(person[key], int | float) and low <= person[key] <= 1, key
    assert not SECOND_MODEL & {*person}
    found: dict[str, Any] = person
    return found


def test_an_image_of_an_unknown_type_has_the_vendors_text(ask: Ask) -> None:
    """Not an example, but in the OpenAPI description."""
    got = ask("recognize", wire.file("file", b"no picture"), wire.meta(wire.pictures()))
    assert got.body["objects"] == [
        {
            "status": 1,
            "error": "The memory contains data of an unknown image type",
            "name": "file",
        }
    ]


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not there")
def test_the_documented_commands_work_with_only_host_and_token_changed(
    server: Gunicorn, token: str, tmp_path: Path
) -> None:
    for name, data in FILES.items():
        (tmp_path / name).write_bytes(data())
    for pair in [*PAIRS, PAIRS[0], *FOUND.values()]:
        url = f"{server.address}{wire.path(pair.method)}?oauth_token={token}&oauth_provider=mcs"
        picture = ["-F", f"file=@{pair.file};type=image/jpeg"] if pair.file else []
        done = subprocess.run(
            [
                *("curl", "-sS", "--noproxy", "*", "--max-time", "30", "-X", "POST", url),
                *("-H", "accept: application/json", "-H", "Content-Type: multipart/form-data"),
                *(*picture, "-F", f"meta={pair.meta}"),
            ],
            cwd=tmp_path,
            check=True,
            capture_output=True,
        )
        told = json.loads(done.stdout)
        if pair.answer:
            assert json.dumps(told) == json.dumps(pair.answer), pair.name
        else:
            only_person(told)
