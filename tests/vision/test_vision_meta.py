"""The `meta` part of requests: parsing, defaults, building, and errors."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from persons.vision import limits, meta
from persons.vision.errors import VisionRejected
from persons.vision.types import Image, Method

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4)
    ),
    max_leaves=12,
)


def test_the_documented_set_request_is_understood() -> None:
    request = meta.parse(Method.SET, {"space": "5", "images": [{"name": "file", "person_id": 1}]})
    assert request == meta.SetRequest(5, (meta.PersonImage("file", 1),))


def test_a_recognize_request_has_the_documented_defaults() -> None:
    request = meta.parse(Method.RECOGNIZE, {"space": "5", "images": [{"name": "file"}]})
    assert request == meta.RecognizeRequest(
        5, ("file",), create_new=False, update_embedding=True, searcher=0
    )


def test_null_is_the_default_and_unknown_keys_are_ignored() -> None:
    raw = {"space": "0", "create_new": None, "mode": "x", "images": [{"name": "a", "x": 1}]}
    assert meta.parse(Method.RECOGNIZE, raw) == meta.RecognizeRequest(0, ("a",))


REQUESTS: list[tuple[Method, meta.Request]] = [
    (Method.SET, meta.SetRequest(9, (meta.PersonImage("a", 1), meta.PersonImage("b", 2**63 - 1)))),
    (Method.RECOGNIZE, meta.RecognizeRequest(0, ("a", "ф"), True, False, 1)),
    (Method.DELETE, meta.DeleteRequest(3, (meta.PersonImage("aaa", 1),))),
    (Method.TRUNCATE, meta.TruncateRequest(4)),
]


@pytest.mark.parametrize(("method", "request_"), REQUESTS)
def test_what_is_built_for_sending_is_parsed_back(method: Method, request_: meta.Request) -> None:
    assert meta.parse(method, meta.parse_json(json.dumps(request_.as_meta()))) == request_


def _with(**changes: Any) -> dict[str, Any]:
    return {"space": "5", "images": [{"name": "file", "person_id": 1}], **changes}


NO_SPACE = 'wrong space param : strconv.Atoi: parsing "": invalid syntax'


@pytest.mark.parametrize(
    ("method", "raw", "text"),
    [
        (Method.TRUNCATE, {"azaza": "5"}, NO_SPACE),
        (Method.TRUNCATE, {"space": None}, NO_SPACE),
        (Method.TRUNCATE, {"space": ""}, NO_SPACE),
        (
            Method.TRUNCATE,
            {"space": "x"},
            'wrong space param x: strconv.Atoi: parsing "x": invalid syntax',
        ),
        (
            Method.TRUNCATE,
            {"space": "\u0665"},
            'wrong space param \u0665: strconv.Atoi: parsing "\\u0665": invalid syntax',
        ),
        (Method.TRUNCATE, {"space": "10"}, "wrong space param 10: space must be 0 to 9"),
        (Method.TRUNCATE, {"space": "-1"}, "wrong space param -1: space must be 0 to 9"),
        (Method.TRUNCATE, {"space": "9" * 5000}, f"wrong space param {'9' * 40}: space must be"),
        (Method.TRUNCATE, {"space": 5}, 'space must be a string, such as "5"'),
        (Method.DELETE, _with(images=[{"name": "aaa"}]), "no person_id has been provided"),
        (
            Method.SET,
            _with(images=[{"name": "aaa", "person_id": 0}]),
            "no person_id has been provided",
        ),
        (Method.SET, _with(images=[{"name": "a", "person_id": -1}]), "person_id must be 1 to"),
        (Method.SET, _with(images=[{"name": "a", "person_id": 2**63}]), "person_id must be 1 to"),
        (
            Method.SET,
            _with(images=[{"name": "a", "person_id": "1"}]),
            "person_id must be an integer",
        ),
        (
            Method.SET,
            _with(images=[{"name": "a", "person_id": True}]),
            "person_id must be an integer",
        ),
        (Method.SET, _with(images=None), "no images have been provided"),
        (Method.SET, _with(images=[]), "no images have been provided"),
        (Method.SET, _with(images={}), "images must be a list"),
        (Method.SET, _with(images=["file"]), "an entry of images must be an object"),
        (Method.SET, _with(images=[{"person_id": 1}]), "no name has been provided for an image"),
        (Method.RECOGNIZE, _with(images=[{"name": ""}]), "no name has been provided for an image"),
        (Method.RECOGNIZE, _with(images=[{"name": 1}]), "the name of an image must be a string"),
        (Method.RECOGNIZE, _with(images=[{"name": "\ud800"}]), "must be valid text"),
        (Method.RECOGNIZE, _with(images=[{"name": "a"}] * 2), "two images are named a"),
        (
            Method.RECOGNIZE,
            _with(images=[{"name": str(i)} for i in range(101)]),
            "too many images: 101, at most 100 in a request",
        ),
        (Method.RECOGNIZE, _with(create_new="true"), "create_new must be true or false"),
        (Method.RECOGNIZE, _with(update_embedding=1), "update_embedding must be true or false"),
        (Method.RECOGNIZE, _with(searcher=2), "searcher must be 0"),
        (Method.RECOGNIZE, _with(searcher=True), "searcher must be 0"),
    ],
)
def test_a_wrong_request_is_refused_with_a_clear_text(
    method: Method, raw: dict[str, Any], text: str
) -> None:
    with pytest.raises(VisionRejected) as caught:
        meta.parse(method, raw)
    assert text in str(caught.value)


@pytest.mark.parametrize(
    "raw", [b"", b"{'space': '5'}", b"\xff\xfe\xff", b"NaN", b"[" * 100_000, '{"space":NaN}']
)
def test_meta_that_is_not_json_is_refused(raw: bytes | str) -> None:
    with pytest.raises(meta.BadMeta, match="meta is not valid JSON"):
        meta.parse_json(raw)


def test_meta_that_is_no_object_is_refused() -> None:
    with pytest.raises(meta.BadMeta, match="meta must be a JSON object"):
        meta.parse_json("[]")


@settings(deadline=None)
@given(st.sampled_from(Method), st.binary(max_size=60) | st.text(max_size=60))
def test_no_bytes_break_the_parser(method: Method, raw: bytes | str) -> None:
    with suppress(meta.BadMeta):
        assert meta.parse(method, meta.parse_json(raw)).space in limits.SPACES


@settings(deadline=None)
@given(
    st.sampled_from(Method),
    st.dictionaries(
        st.sampled_from(["space", "images", "create_new", "update_embedding", "searcher"]),
        JSON | st.just("5") | st.lists(st.fixed_dictionaries({"name": JSON, "person_id": JSON})),
    ),
)
def test_no_json_breaks_the_parser(method: Method, raw: dict[str, Any]) -> None:
    with suppress(meta.BadMeta):
        request = meta.parse(method, raw)
        assert request.space in limits.SPACES
        assert len(set(request.names)) == len(request.names)


def test_files_are_picked_by_name_and_others_ignored() -> None:
    images = [Image("", b"stray"), Image("b", b"2"), Image("a", b"1"), Image("", b"stray")]
    assert [image.data for image in meta.pick_images(("a", "b"), images)] == [b"1", b"2"]


@pytest.mark.parametrize(
    ("images", "text"),
    [
        ([], "could not get image by name file_10: http: no such file"),
        ([Image("file", b"1")], "could not get image by name file_10: http: no such file"),
        ([Image("file_10", b"")], "empty image"),
        ([Image("file_10", b"1"), Image("file_10", b"2")], "two files are named file_10"),
        (
            [Image("file_10", bytes(limits.MAX_IMAGE_BYTES + 1))],
            "image file_10 is larger than 15000000 bytes",
        ),
    ],
)
def test_a_file_that_is_missing_or_unfit_is_refused(images: list[Image], text: str) -> None:
    with pytest.raises(meta.BadMeta) as caught:
        meta.pick_images(("file_10",), images)
    assert str(caught.value) == text


def test_images_that_are_too_large_together_are_refused() -> None:
    images = [Image(name, bytes(11_000_000)) for name in "abc"]
    with pytest.raises(meta.BadMeta, match="the images together are larger than 30000000 bytes"):
        meta.pick_images(("a", "b", "c"), images)
