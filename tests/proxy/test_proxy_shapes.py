"""Every form of request that real clients send, and the error for every wrong request."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import pytest
import requests

from persons.models import Call, Enrolment, Person, Team
from tests.support import factories, wire
from tests.support.processes import PATIENCE
from tests.support.wire import Ask, Gunicorn, file, meta, part, people, pictures

# What is asked of the database here is asked by tests of actions and of queries as well.
pytestmark = [pytest.mark.any_database, pytest.mark.thorough]

EMPTY_SPACE = 'wrong space param : strconv.Atoi: parsing "": invalid syntax'
NO_FACE = factories.jpeg(size=(32, 24))
URL = "https://example.org/photos/a.jpg?size=b&key=c%20d"
SIGNED = f"{URL}&X-Amz-Security-Token={'Fw%2F0' * 330}&X-Amz-Signature={'0a' * 32}"


@pytest.fixture
def token(team: Team) -> str:
    return wire.make_key(team)[1]


@pytest.fixture
def ask(token: str) -> Ask:
    return wire.in_process(token)


def names_done(got: wire.Got) -> list[str]:
    """Of the images that were processed, in the order of the answer."""
    return [entry["name"] for entry in got.body["objects"] if entry["status"] == 0]


# --- What works ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shape:
    method: str
    parts: tuple[bytes, ...]
    names: tuple[str, ...] = ("file",)
    content_type: str = wire.MULTIPART
    before: bytes = b""
    after: bytes = b""


def named(name: str) -> Shape:
    """A recognition of one picture whose part has this name."""
    return Shape("recognize", (file(name, NO_FACE), meta(pictures(name))), (name,))


ONE = file("file", NO_FACE)
META = json.dumps(pictures())

SHAPES: dict[str, Shape] = {
    "curl, one file": named("file"),
    "curl, several files": Shape(
        "recognize",
        (
            file("file_0", NO_FACE),
            file("file_1", NO_FACE + b"1"),
            meta(pictures("file_0", "file_1")),
        ),
        ("file_0", "file_1"),
    ),
    "curl, without a type": Shape(
        "recognize", (part('; name="file"; filename="a.jpg"', NO_FACE), meta(pictures()))
    ),
    "curl, a type that is not the picture's": Shape(
        "recognize", (file("file", NO_FACE, content_type="image/png"), meta(pictures()))
    ),
    "a part named after a path": named("examples/friends1.jpg"),
    "a part named after a path of Windows": named(r"C:photos\a.jpg"),
    "a part named after a URL": named(URL),
    "a part named after a signed URL of 2 KB": named(SIGNED),
    "a part named after a signed URL of 12 KB": named(SIGNED * 6),
    "a signed URL without quotes": Shape(
        "recognize",
        (part(f"; name={SIGNED}; filename=a.jpg", NO_FACE), meta(pictures(SIGNED))),
        (SIGNED,),
    ),
    "a name with quotes and backslashes, escaped": Shape(
        "recognize",
        (
            part('; name="a\\\\b \\"c\\".jpg"; filename="a; name=b"', NO_FACE),
            meta(pictures('a\\b "c".jpg')),
        ),
        ('a\\b "c".jpg',),
    ),
    "a name in the extended form": Shape(
        "recognize",
        (
            part("; name*=UTF-8''%D1%84%0A; filename=\"a.jpg\"", NO_FACE),
            meta(pictures("\u0444\n")),
        ),
        ("\u0444\n",),
    ),
    "a file name in the letters of an old Windows": Shape(
        "recognize",
        (
            b'Content-Disposition: form-data; name="file"; filename="'
            + "\u0444\u043e\u0442\u043e.jpg".encode("cp1251")
            + b'"\r\n\r\n'
            + NO_FACE,
            meta(pictures()),
        ),
    ),
    "a part that says not what it is": Shape(
        "recognize", (b"Content-Type: text/plain\r\n\r\nhello", ONE, meta(pictures()))
    ),
    "a part of another disposition": Shape(
        "recognize", (b"Content-Disposition: attachment\r\n\r\nhello", ONE, meta(pictures()))
    ),
    "text before the first part and after the last": Shape(
        "recognize", (ONE, meta(pictures())), before=b"hello\r\n", after=b"bye\r\n"
    ),
    "a name in other letters": named("Ольга и 小明.jpg"),
    "a name with blanks and semicolons": named("a b; c=d.jpg"),
    "a name that looks like a tag": named("<b>&amp;'.jpg"),
    "meta before the files": Shape("recognize", (meta(pictures()), ONE)),
    "meta between the files": Shape(
        "recognize",
        (file("b", NO_FACE), meta(pictures("a", "b")), file("a", NO_FACE + b"1")),
        ("a", "b"),
    ),
    "files in another order than meta's": Shape(
        "recognize",
        (
            file("c", NO_FACE),
            file("a", NO_FACE + b"1"),
            file("b", NO_FACE + b"2"),
            meta(pictures("a", "b", "c")),
        ),
        ("a", "b", "c"),
    ),
    "a file that meta does not name": Shape(
        "recognize", (file("stray", b"whatever"), ONE, meta(pictures()))
    ),
    "two stray files of one name": Shape(
        "recognize", (file("stray", b"1"), file("stray", b"2"), ONE, meta(pictures()))
    ),
    ".NET: names without quotes, and filename*": Shape(
        "recognize",
        (
            part(
                "; name=file; filename=a.jpg; filename*=utf-8''%D1%84.jpg",
                NO_FACE,
                "Content-Type: image/jpeg",
            ),
            part("; name=meta", META.encode(), "Content-Type: text/plain; charset=utf-8"),
        ),
    ),
    ".NET: the type before the disposition": Shape(
        "recognize",
        (
            b"Content-Type: image/jpeg\r\nContent-Disposition: form-data; name=file; "
            b"filename=a.jpg; filename*=utf-8''a.jpg\r\n\r\n" + NO_FACE,
            b"Content-Type: text/plain; charset=utf-8\r\n"
            b"Content-Disposition: form-data; name=meta\r\n\r\n" + META.encode(),
        ),
    ),
    "a file name in other letters alone": Shape(
        "recognize",
        (
            part(
                "; name=\"file\"; filename*=utf-8''%D1%84.jpg", NO_FACE, "Content-Type: image/jpeg"
            ),
            meta(pictures()),
        ),
    ),
    "meta with a type of JSON": Shape(
        "recognize",
        (ONE, part('; name="meta"', META.encode(), "Content-Type: application/json")),
    ),
    "meta with a byte order mark": Shape("recognize", (ONE, meta(b"\xef\xbb\xbf" + META.encode()))),
    "meta sent as a file": Shape(
        "recognize",
        (ONE, file("meta", META.encode(), filename="meta.json", content_type="application/json")),
    ),
    "header names in small letters": Shape(
        "recognize",
        (
            b'content-disposition: form-data; name="file"; filename="a.jpg"\r\n'
            b"content-type: image/jpeg\r\n\r\n" + NO_FACE,
            b'content-disposition: form-data; name="meta"\r\n\r\n' + META.encode(),
        ),
    ),
    "a part with its length": Shape(
        "recognize",
        (
            part('; name="file"; filename="a.jpg"', NO_FACE, f"Content-Length: {len(NO_FACE)}"),
            meta(pictures()),
        ),
    ),
    "a file in base64": Shape(
        "recognize",
        (
            part(
                '; name="file"; filename="a.jpg"',
                base64.encodebytes(NO_FACE),
                "Content-Transfer-Encoding: base64",
            ),
            meta(pictures()),
        ),
    ),
    "a boundary in quotes": Shape(
        "recognize",
        (ONE, meta(pictures())),
        content_type=f'multipart/form-data; boundary="{wire.BOUNDARY}"',
    ),
    "the type of the body in capitals": Shape(
        "recognize",
        (ONE, meta(pictures())),
        content_type=f"Multipart/Form-Data; boundary={wire.BOUNDARY}",
    ),
    "further fields": Shape("recognize", (wire.text("comment", "hello"), ONE, meta(pictures()))),
    "keys of meta that nobody knows": Shape(
        "recognize", (ONE, meta(pictures(mode="photo", deep={"a": [1, None]})))
    ),
    "every parameter of recognize": Shape(
        "recognize",
        (ONE, meta(pictures(create_new=False, update_embedding=False, searcher=1, labels=True))),
    ),
    "null for what is optional": Shape(
        "recognize",
        (ONE, meta(pictures(create_new=None, update_embedding=None, searcher=None))),
    ),
    "set of several pictures, in another order": Shape(
        "set",
        (
            file("b", wire.photo("sunak_1")),
            file("a", wire.photo("obama_1")),
            meta(
                {
                    "space": "0",
                    "images": [{"name": "a", "person_id": 7}, {"person_id": 8, "name": "b"}],
                }
            ),
        ),
        ("a", "b"),
    ),
    "delete without a file": Shape("delete", (meta(people("aaa")),), ("aaa",)),
    "delete with a stray file": Shape("delete", (file("file", NO_FACE), meta(people("a"))), ("a",)),
    "delete with a file of no bytes": Shape("delete", (file("a", b""), meta(people("a"))), ("a",)),
    "delete with a file of no name": Shape(
        "delete", (file("", b"dummy"), meta(people("a"))), ("a",)
    ),
    "delete with a large file of no name": Shape(
        "delete", (file("", bytes(100_000)), meta(people("a"))), ("a",)
    ),
    "delete with a large file of no name and no file name": Shape(
        "delete", (file("", bytes(100_000), filename=""), meta(people("a"))), ("a",)
    ),
    "truncate with a large file of no name": Shape(
        "truncate", (file("", bytes(100_000)), meta({"space": "5"})), ()
    ),
    "delete with a large file whose file name is a folder": Shape(
        "delete", (file("x", bytes(100_000), filename="photos/"), meta(people("a"))), ("a",)
    ),
    "recognize with a file whose file name is a folder": Shape(
        "recognize", (file("file", NO_FACE, filename="photos/"), meta(pictures())), ("file",)
    ),
    "delete with a part of no name at all": Shape(
        "delete", (part('; filename="a.jpg"', b"dummy"), meta(people("a"))), ("a",)
    ),
    "delete with a part of no name and 50 KB": Shape(
        "delete", (part('; filename="a.jpg"', bytes(50_000)), meta(people("a"))), ("a",)
    ),
    "delete with a part of no name and 1 MB": Shape(
        "delete", (part('; filename="a.jpg"', bytes(1_000_000)), meta(people("a"))), ("a",)
    ),
    "delete with a part of no name, no file name and 1 MB": Shape(
        "delete", (part("", bytes(1_000_000)), meta(people("a"))), ("a",)
    ),
    "delete with a part that is no file and 1 MB": Shape(
        "delete", (part('; name="x"', bytes(1_000_000)), meta(people("a"))), ("a",)
    ),
    "truncate with two parts of no name and 14 MB": Shape(
        "truncate", (*[part('; filename="a"', bytes(14_000_000))] * 2, meta({"space": "5"})), ()
    ),
    "delete with a file of no name and no file name": Shape(
        "delete", (file("", b"dummy", filename=""), meta(people("a"))), ("a",)
    ),
    "delete with two files of one name": Shape(
        "delete", (file("a", b"1"), file("a", b"2"), meta(people("a"))), ("a",)
    ),
    "truncate": Shape("truncate", (meta({"space": "5"}),), ()),
    "truncate with a stray file": Shape("truncate", (file("f", NO_FACE), meta({"space": "5"})), ()),
    "truncate with a file of no name": Shape(
        "truncate", (file("", b"dummy"), meta({"space": "5"})), ()
    ),
    "truncate with a file of no bytes": Shape(
        "truncate", (file("f", b""), meta({"space": "5"})), ()
    ),
    "truncate with images": Shape("truncate", (meta(people("a")),), ()),
}


def check_shape(ask: Ask, shape: Shape) -> None:
    raw = shape.before + wire.multipart(*shape.parts) + shape.after
    got = ask(shape.method, raw=raw, content_type=shape.content_type)
    assert got.told["status"] == 200, got.told
    if shape.method == "truncate":
        assert got.body == {}
    else:
        assert names_done(got) == list(shape.names), got.told


@pytest.mark.parametrize("name", SHAPES)
def test_a_client_of_this_shape_is_served(ask: Ask, name: str) -> None:
    check_shape(ask, SHAPES[name])


def test_files_are_told_apart_by_name_and_not_by_order(ask: Ask) -> None:
    """The picture of one person and of another, each under the other's place."""
    both = {
        "space": "0",
        "images": [{"name": "a", "person_id": 7}, {"name": "b", "person_id": 8}],
    }
    obama, sunak = wire.photo("obama_1"), wire.photo("sunak_1")
    ask("set", meta(both), file("b", sunak), file("a", obama))
    got = ask("recognize", file("y", obama), meta(pictures("x", "y", space="0")), file("x", sunak))
    tags = {entry["name"]: entry["persons"][0]["tag"] for entry in got.body["objects"]}
    assert tags == {"x": "person8", "y": "person7"}


def test_a_hundred_images_at_once(ask: Ask) -> None:
    names = [f"file_{number}" for number in range(100)]
    files = [file(name, NO_FACE + name.encode()) for name in names]
    got = ask("recognize", *reversed(files), meta(pictures(*names)))
    assert names_done(got) == names
    assert Call.objects.get().image_count == 100


@pytest.mark.parametrize("provider", ["mcs", "mr", None, "", "anything"])
def test_any_oauth_provider_or_none(ask: Ask, token: str, provider: str | None) -> None:
    query = {"oauth_token": token} | ({} if provider is None else {"oauth_provider": provider})
    assert ask("truncate", meta({"space": "5"}), query=query).outcome == (200, {})


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_key_may_come_as_a_bearer(ask: Ask, token: str, scheme: str) -> None:
    got = ask(
        "truncate", meta({"space": "5"}), query={}, headers={"Authorization": f"{scheme} {token}"}
    )
    assert got.outcome == (200, {})


def test_a_key_under_another_scheme_is_none(ask: Ask, token: str) -> None:
    got = ask(
        "truncate", meta({"space": "5"}), query={}, headers={"Authorization": f"Basic {token}"}
    )
    assert got.outcome == (403, "no oauth_token has been provided")


@pytest.mark.parametrize("space", [str(number) for number in range(10)])
def test_all_ten_spaces_are_there(ask: Ask, space: str) -> None:
    assert ask("recognize", ONE, meta(pictures(space=space))).told["status"] == 200


def test_another_http_method_is_told_which_one(team: Team, token: str) -> None:
    from django.test import Client

    for verb in ("get", "put", "delete", "head", "options"):
        for method in wire.METHODS:
            response = getattr(Client(), verb)(f"{wire.path(method)}?oauth_token={token}")
            assert (response.status_code, response["Allow"]) == (405, "POST")
            if verb != "head":
                assert response.json()["status"] == 400


@pytest.mark.parametrize(
    "path", ["/api/", "/api/v1/persons/set/", "/api/v1/persons/list", "/api/v1/persons/SET"]
)
def test_an_address_that_is_no_method_is_told_which_there_are(ask: Ask, path: str) -> None:
    from django.test import Client

    for verb in ("get", "post"):
        response = getattr(Client(), verb)(path)
        assert response.status_code == 404
        there = ", ".join(map(wire.path, ("set", "recognize", "delete", "truncate")))
        assert response.json() == wire.envelope(400, f"no such method: there are {there}")


def test_a_host_that_is_not_served_is_told_in_an_envelope(token: str) -> None:
    from django.test import Client

    path = f"{wire.path('truncate')}?oauth_token={token}"
    response = Client(headers={"Host": "elsewhere.example"}).post(path)
    said = "the request is malformed, or for a host that is not served here"
    assert (response.status_code, response.json()) == (400, wire.envelope(400, said))
    page = Client(headers={"Host": "elsewhere.example"}).get("/login/")
    assert page["Content-Type"].startswith("text/html")


def test_a_mistake_of_ours_is_told_in_an_envelope(
    token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from django.test import Client

    def fail(*args: object) -> None:
        raise LookupError("a mistake of ours")

    monkeypatch.setattr("persons.proxy.views.read_body", fail)
    response = Client(raise_request_exception=False).post(
        f"{wire.path('truncate')}?oauth_token={token}"
    )
    said = wire.envelope(500, "something broke on our side")
    assert (response.status_code, response.json()) == (500, said)


# --- What is wrong -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Wrong:
    method: str
    parts: tuple[bytes, ...]
    says: str
    content_type: str = wire.MULTIPART
    raw: bytes | None = None


def bad_meta(says: str, value: object, method: str = "recognize") -> Wrong:
    return Wrong(method, (ONE, meta(value)), says)


def spaces(value: object, says: str) -> dict[str, Wrong]:
    """The same wrong space asked of all four methods."""
    shown = json.dumps(value)[:30]
    full = people(space=value)
    return {f"{method}: space {shown}": bad_meta(says, full, method) for method in wire.METHODS}


def images(value: object, says: str) -> dict[str, Wrong]:
    """The same wrong images asked of the three methods that have them."""
    shown = json.dumps(value)[:50]
    return {
        f"{method}: images {shown}": bad_meta(says, {"space": "5", "images": value}, method)
        for method in ("set", "recognize", "delete")
    }


def person_ids(value: object, says: str) -> dict[str, Wrong]:
    shown = json.dumps(value)[:30]
    return {
        f"{method}: person_id {shown}": bad_meta(says, people(person_id=value), method)
        for method in ("set", "delete")
    }


def all_methods(what: str, says: str, *parts: bytes, **more: Any) -> dict[str, Wrong]:
    return {f"{method}: {what}": Wrong(method, parts, says, **more) for method in wire.METHODS}


NOT_JSON = "meta is not valid JSON"
NO_PARTS = "the multipart body can't be parsed"

WRONG: dict[str, Wrong] = {
    **all_methods("no meta", "no meta has been provided", ONE),
    **all_methods("meta twice", "two parts are named meta", ONE, meta(people()), meta(people())),
    **all_methods("meta of no bytes", NOT_JSON, ONE, meta("")),
    **all_methods("meta of str(dict)", NOT_JSON, ONE, meta(str(people()))),
    **all_methods("meta that is cut off", NOT_JSON, ONE, meta(json.dumps(people())[:-3])),
    **all_methods("meta of a number alone", "meta must be a JSON object", ONE, meta("5")),
    **all_methods("meta of a list", "meta must be a JSON object", ONE, meta([people()])),
    **all_methods("meta of a string", "meta must be a JSON object", ONE, meta(json.dumps("a"))),
    **all_methods("meta of null", "meta must be a JSON object", ONE, meta("null")),
    "meta with NaN": bad_meta(NOT_JSON, '{"space": "5", "images": [{"name": "file"}], "x": NaN}'),
    "meta with Infinity": bad_meta(NOT_JSON, '{"space": "5", "x": -Infinity}'),
    "meta with a number above all bounds": bad_meta(
        NOT_JSON, '{"space": "5", "images": [{"name": "file"}], "x": 1e400}'
    ),
    "meta with a number of 5000 digits": bad_meta(NOT_JSON, f'{{"space": "5", "x": {"9" * 5000}}}'),
    "meta of bytes that are no text": bad_meta(NOT_JSON, b"\xff\xfe\xfd"),
    "meta in a hundred thousand brackets": bad_meta(NOT_JSON, "[" * 100_000),
    "meta in nine hundred brackets": bad_meta(
        "meta is nested more than 32 levels deep",
        '{"space": "5", "images": [{"name": "file"}], "x": ' + "[" * 900 + "]" * 900 + "}",
    ),
    "meta with a NUL": bad_meta("meta must hold valid text", pictures(x="\0")),
    "meta with half a letter": bad_meta("meta must hold valid text", pictures(x=["\ud800"])),
    "meta with a NUL in a key": bad_meta("meta must hold valid text", pictures(**{"\0": 1})),
    "no multipart, but JSON": Wrong(
        "recognize",
        (),
        "the request must be multipart/form-data",
        content_type="application/json",
        raw=META.encode(),
    ),
    "no multipart, but a form": Wrong(
        "recognize",
        (),
        "the request must be multipart/form-data",
        content_type="application/x-www-form-urlencoded",
        raw=urlencode({"meta": META}).encode(),
    ),
    "no type of the body": Wrong(
        "recognize", (), "the request must be multipart/form-data", content_type="", raw=b"x"
    ),
    "no boundary": Wrong("recognize", (ONE,), NO_PARTS, content_type="multipart/form-data"),
    "no body": Wrong("recognize", (), "no meta has been provided", raw=b""),
    "no parts": Wrong("recognize", (), "no meta has been provided", raw=b"dummy"),
    "another boundary": Wrong(
        "recognize",
        (ONE, meta(pictures())),
        "no meta has been provided",
        content_type="multipart/form-data; boundary=other",
    ),
    **spaces("", EMPTY_SPACE),
    **spaces(None, EMPTY_SPACE),
    **spaces("-1", "wrong space param -1: space must be 0 to 9"),
    **spaces("10", "wrong space param 10: space must be 0 to 9"),
    **spaces("9" * 400, f"wrong space param {'9' * 40}: space must be 0 to 9"),
    **spaces("a", 'wrong space param a: strconv.Atoi: parsing "a": invalid syntax'),
    **spaces("5.0", 'wrong space param 5.0: strconv.Atoi: parsing "5.0": invalid syntax'),
    **spaces(" 5", 'wrong space param  5: strconv.Atoi: parsing " 5": invalid syntax'),
    **spaces(
        "\u0665",
        'wrong space param \u0665: strconv.Atoi: parsing "\\u0665": invalid syntax',
    ),
    **spaces("0x5", 'wrong space param 0x5: strconv.Atoi: parsing "0x5": invalid syntax'),
    **spaces(5, 'space must be a string, such as "5"'),
    **spaces(5.5, 'space must be a string, such as "5"'),
    **spaces(True, 'space must be a string, such as "5"'),
    **spaces(["5"], 'space must be a string, such as "5"'),
    **spaces({"5": 5}, 'space must be a string, such as "5"'),
    "truncate: no space": bad_meta(EMPTY_SPACE, {"azaza": "5"}, "truncate"),
    **images(None, "no images have been provided"),
    **images([], "no images have been provided"),
    **images({"name": "file", "person_id": 1}, "images must be a list"),
    **images("file", "images must be a list"),
    **images(7, "images must be a list"),
    **images(False, "images must be a list"),
    **images(["file"], "an entry of images must be an object"),
    **images([None], "an entry of images must be an object"),
    **images([["name", "file"]], "an entry of images must be an object"),
    **images([{"person_id": 1}], "no name has been provided for an image"),
    **images([{"name": "", "person_id": 1}], "no name has been provided for an image"),
    **images([{"name": 5, "person_id": 1}], "the name of an image must be a string"),
    **images([{"name": ["file"], "person_id": 1}], "the name of an image must be a string"),
    **images([{"name": "a\0b", "person_id": 1}], "the name of an image must be valid text"),
    **images([{"name": "\ud83d", "person_id": 1}], "the name of an image must be valid text"),
    **images([{"name": "file", "person_id": 1}] * 2, "two images are named file"),
    **images(
        [{"name": f"file_{n}", "person_id": 1} for n in range(101)],
        "too many images: 101, at most 100 in a request",
    ),
    **person_ids(None, "no person_id has been provided"),
    **person_ids(0, "no person_id has been provided"),
    **person_ids("1", "person_id must be an integer"),
    **person_ids(1.0, "person_id must be an integer"),
    **person_ids(True, "person_id must be an integer"),
    **person_ids([1], "person_id must be an integer"),
    **person_ids(-1, "person_id must be 1 to 9223372036854775807"),
    **person_ids(2**63, "person_id must be 1 to 9223372036854775807"),
    "recognize: create_new as a word": bad_meta(
        "create_new must be true or false", pictures(create_new="false")
    ),
    "recognize: create_new as a number": bad_meta(
        "create_new must be true or false", pictures(create_new=0)
    ),
    "recognize: update_embedding as a word": bad_meta(
        "update_embedding must be true or false", pictures(update_embedding="true")
    ),
    "recognize: searcher of another kind": bad_meta(
        "searcher must be 0 (all persons) or 1 (nearest neighbour)", pictures(searcher="0")
    ),
    "recognize: searcher 2": bad_meta(
        "searcher must be 0 (all persons) or 1 (nearest neighbour)", pictures(searcher=2)
    ),
    "recognize: labels as a word": bad_meta("labels must be true or false", pictures(labels="yes")),
    "recognize: the part is missing": Wrong(
        "recognize",
        (meta(pictures()),),
        "could not get image by name file: http: no such file",
    ),
    "set: one part of two is missing": Wrong(
        "set",
        (file("a", NO_FACE), meta(people("a", "b"))),
        "could not get image by name b: http: no such file",
    ),
    "set: the part is no file": Wrong(
        "set",
        (wire.text("file", NO_FACE), meta(people())),
        "could not get image by name file: http: no such file",
    ),
    "set: the part has an empty file name": Wrong(
        "set",
        (file("file", b"", filename=""), meta(people())),
        "could not get image by name file: http: no such file",
    ),
    "set: names differ by case": Wrong(
        "set",
        (file("File", NO_FACE), meta(people())),
        "could not get image by name file: http: no such file",
    ),
    "recognize: the part is empty": Wrong(
        "recognize", (file("file", b""), meta(pictures())), "empty image"
    ),
    "recognize: one part of two is empty": Wrong(
        "recognize", (file("a", NO_FACE), file("b", b""), meta(pictures("a", "b"))), "empty image"
    ),
    "recognize: two parts of one name": Wrong(
        "recognize",
        (file("file", NO_FACE), file("file", NO_FACE + b"1"), meta(pictures())),
        "two files are named file",
    ),
    "recognize: base64 that is none": Wrong(
        "recognize",
        (
            part('; name="file"; filename="a"', b"!!!", "Content-Transfer-Encoding: base64"),
            meta(pictures()),
        ),
        NO_PARTS,
    ),
    "recognize: a header without an end": Wrong(
        "recognize", (part('; name="file"; filename="a"', b"", f"X: {'y' * 17_000}"),), NO_PARTS
    ),
    "recognize: a name above 16 KB": Wrong(
        "recognize", (file(f"https://{'y' * 17_000}", NO_FACE), meta(pictures())), NO_PARTS
    ),
    "recognize: a part of twenty headers": Wrong(
        "recognize",
        (part('; name="file"; filename="a"', b"", *[f"X-{n}: y" for n in range(20)]),),
        NO_PARTS,
    ),
    "recognize: a body without an end": Wrong(
        "recognize",
        (),
        NO_PARTS,
        raw=wire.multipart(ONE, meta(pictures())).removesuffix(b"--\r\n"),
    ),
    "delete: a nameless part of 3 MB that is no file": Wrong(
        "delete",
        (part("", bytes(3_000_000)), meta(people())),
        "there are too many parts, or a part that is no file is too large",
    ),
    "recognize: two thousand fields": Wrong(
        "recognize",
        tuple(wire.text(f"f{n}", "x") for n in range(2000)),
        "there are too many parts, or a part that is no file is too large",
    ),
    "recognize: a field of 3 MB": Wrong(
        "recognize",
        (meta(pictures(x="y" * 3_000_000)), ONE),
        "there are too many parts, or a part that is no file is too large",
    ),
}


def check_wrong(ask: Ask, wrong: Wrong) -> None:
    got = ask(wrong.method, *wrong.parts, raw=wrong.raw, content_type=wrong.content_type)
    assert got.outcome == (400, wrong.says)


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_request_is_told_what_is_wrong(ask: Ask, name: str) -> None:
    """In the envelope, with HTTP 200; and it is nobody's enrolment, call or cost."""
    check_wrong(ask, WRONG[name])
    assert not Call.objects.exists() and not Person.objects.exists()


def test_the_greatest_person_id_is_as_good_as_any(ask: Ask) -> None:
    obama = file("file", wire.photo("obama_1"))
    greatest = people(person_id=2**63 - 1)
    assert names_done(ask("set", obama, meta(greatest))) == ["file"]
    got = ask("recognize", obama, meta(pictures()))
    assert got.body["objects"][0]["persons"][0]["tag"] == f"person{2**63 - 1}"
    # And there are ids left for others.
    new = ask("recognize", file("file", wire.photo("sunak_1")), meta(pictures(create_new=True)))
    tag = new.body["objects"][0]["persons"][0]["tag"]
    assert tag.startswith("person") and tag != f"person{2**63 - 1}"
    assert names_done(ask("delete", meta(greatest))) == ["file"]
    assert [e.state for e in Enrolment.objects.filter(person__person_id=2**63 - 1)] == ["removed"]


# --- Over a socket -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gunicorn]:
    with Gunicorn(tmp_path_factory.mktemp("shapes")) as server:
        yield server


@pytest.fixture
def remote(server: Gunicorn, transactional_db: None, token: str) -> Ask:
    return wire.over_http(server.address, token)


@pytest.mark.processes
def test_over_a_socket_every_shape_is_served_and_every_wrong_request_told(remote: Ask) -> None:
    for shape in SHAPES.values():
        check_shape(remote, shape)
    for wrong in WRONG.values():
        check_wrong(remote, wrong)


@pytest.mark.processes
def test_the_requests_library_with_params(
    server: Gunicorn, transactional_db: None, token: str
) -> None:
    url = f"{server.address}{wire.path('recognize')}"
    params = {"oauth_token": token, "oauth_provider": "mcs"}
    files = {"file_0": NO_FACE, "examples/b.jpg": ("Ж.jpg", NO_FACE, "image/jpeg")}

    def post(value: str, **more: Any) -> Any:
        with requests.Session() as session:
            session.trust_env = False
            answer = session.post(
                url, params=params, timeout=PATIENCE, **more | {"data": {"meta": value}}
            )
        assert answer.status_code == 200
        return answer.json()

    wanted = pictures("file_0", "examples/b.jpg")
    told = post(json.dumps(wanted), files=files)
    assert [entry["name"] for entry in told["body"]["objects"]] == ["file_0", "examples/b.jpg"]
    assert post(str(wanted), files=files) == wire.envelope(400, NOT_JSON)
    # Without `files` it sends a form, as for a delete: the vendor's commands are all multipart.
    told = post(json.dumps(wanted))
    assert told == wire.envelope(400, "the request must be multipart/form-data")


@pytest.mark.processes
def test_a_client_that_waits_for_100_continue(
    server: Gunicorn, transactional_db: None, token: str
) -> None:
    """curl does for bodies above a megabyte: head first, body when it is told to go on."""
    import socket
    from urllib.parse import urlsplit

    body = wire.multipart(file("file", NO_FACE + bytes(1_500_000)), meta(pictures()))
    address = urlsplit(server.address)
    head = (
        f"POST {wire.path('recognize')}?oauth_token={token}&oauth_provider=mcs HTTP/1.1\r\n"
        f"Host: {address.netloc}\r\nContent-Type: {wire.MULTIPART}\r\n"
        f"Content-Length: {len(body)}\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
    )
    with socket.create_connection(
        (address.hostname or "", address.port or 0), timeout=PATIENCE
    ) as link:
        link.sendall(head.encode())
        assert link.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        link.sendall(body)
        answer = b"".join(iter(lambda: link.recv(65536), b""))
    status, told = wire.told_by(answer)
    assert (status, told["status"]) == (200, 200)


@pytest.mark.processes
@pytest.mark.parametrize("size", [1, 7, 1000, 100_000])
def test_a_body_in_chunks_of_unknown_length(
    server: Gunicorn, transactional_db: None, token: str, size: int
) -> None:
    body = wire.multipart(file("file", NO_FACE), meta(pictures()))
    pieces = (body[start : start + size] for start in range(0, len(body), size))
    answer = requests.post(
        f"{server.address}{wire.path('recognize')}",
        params={"oauth_token": token},
        headers={"Content-Type": wire.MULTIPART},
        data=pieces,
        timeout=PATIENCE,
        proxies={"http": ""},
    )
    assert answer.request.headers["Transfer-Encoding"] == "chunked"
    assert [entry["name"] for entry in answer.json()["body"]["objects"]] == ["file"]


@pytest.mark.processes
def test_several_requests_on_one_connection(
    server: Gunicorn, transactional_db: None, token: str
) -> None:
    """What a refused request leaves unread must not be taken for the next one."""
    import http.client

    link = http.client.HTTPConnection(server.address.removeprefix("http://"), timeout=PATIENCE)
    good = wire.multipart(file("file", NO_FACE), meta(pictures()))
    wrong = wire.multipart(file("file", bytes(2_000_000)), meta("no JSON"))
    statuses = []
    steps: list[tuple[str, bytes, Callable[[], int]]] = [
        (token, good, lambda: 200),
        ("unknown", good, lambda: 403),
        (token, wrong, lambda: 400),
        (token, good, lambda: 200),
    ]
    for key, body, _ in steps:
        link.request(
            "POST",
            f"{wire.path('recognize')}?oauth_token={key}",
            body=body,
            headers={"Content-Type": wire.MULTIPART},
        )
        statuses.append(json.loads(link.getresponse().read())["status"])
    link.close()
    assert statuses == [wanted() for *_, wanted in steps]
