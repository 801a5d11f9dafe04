"""Envelopes of answers. Examples are the vendor's "Face recognition", unless said otherwise."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from persons.vision import envelope
from persons.vision.errors import (
    VisionError,
    VisionRejected,
    VisionTemporary,
    VisionUnauthorized,
)
from persons.vision.types import Answer, Box, Envelope, ImageResult, ImageStatus, Method

PERSON = {
    "tag": "person1",
    "coord": [567, 376, 992, 931],
    "confidence": 0.99917,
    "awesomeness": 0.4894,
    "similarity": 0.9721,
    "sex": "male",
    "emotion": "Neutral",
    "age": 34,
    "valence": -0.3236,
    "arousal": 0.185,
    "frontality": 0.8921,
    "visibility": 0.9985,
}

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4)
    ),
    max_leaves=12,
)


def answer(status: Any, body: Any, http_status: int = 200) -> Answer:
    raw = {"status": status, "body": body, "htmlencoded": False, "last_modified": 0}
    return Answer(json.dumps(raw).encode(), http_status)


def recognized(*persons: Any, **more: Any) -> Envelope:
    body = {"objects": [{"status": 0, "name": "file", "persons": list(persons)}], **more}
    return envelope.parse(Method.RECOGNIZE, answer(200, body))


def test_a_recognized_person_is_read_in_full() -> None:
    (result,) = recognized(PERSON).objects
    assert (result.name, result.status, result.error) == ("file", ImageStatus.DONE, "")
    assert result.raw["persons"] == [PERSON]
    (person,) = result.persons
    assert (person.tag, person.person_id, person.box) == ("person1", 1, Box(567, 376, 992, 931))
    assert (person.confidence, person.similarity, person.awesomeness) == (0.99917, 0.9721, 0.4894)
    assert (person.sex, person.age, person.emotion) == ("male", 34, "Neutral")
    assert (person.valence, person.arousal) == (-0.3236, 0.185)
    assert (person.frontality, person.visibility, person.aliases) == (0.8921, 0.9985, ())


def test_an_undefined_person_has_no_id_although_its_similarity_is_one() -> None:
    (person,) = recognized({**PERSON, "tag": "undefined", "similarity": 1}).objects[0].persons
    assert person.person_id is None
    assert person.similarity == 1.0


def test_an_image_without_a_face_has_no_persons() -> None:
    body = {"objects": [{"status": 0, "name": "file"}]}
    assert envelope.parse(Method.RECOGNIZE, answer(200, body)).objects[0].persons == ()


def test_an_image_that_failed_tells_why() -> None:
    text = "face set required only one face per image"
    body = {"objects": [{"status": 1, "error": text, "name": "file"}]}
    (result,) = envelope.parse(Method.SET, answer(200, body)).objects
    assert (result.status, result.error) == (ImageStatus.PERMANENT, text)


def test_truncate_has_an_empty_body() -> None:
    assert envelope.parse(Method.TRUNCATE, answer(200, {})) == Envelope(objects=())


def test_aliases_are_read() -> None:
    found = recognized({**PERSON, "aliases": ["person2", 3]}, aliases_changed=True)
    assert found.aliases_changed
    assert found.objects[0].persons[0].aliases == ("person2",)


@pytest.mark.parametrize(
    ("tag", "person_id"),
    [
        ("person1", 1),
        ("person_12", 12),  # as in the OpenAPI description
        ("person9223372036854775807", 2**63 - 1),
        ("person9223372036854775808", None),
        ("undefined", None),
        ("person", None),
        ("person1x", None),
        ("person-1", None),
        ("person\u0663", None),
        ("", None),
    ],
)
def test_a_tag_holds_an_id_or_none(tag: str, person_id: int | None) -> None:
    assert envelope.person_id_of(tag) == person_id


@settings(deadline=None)
@given(st.integers(1, 2**63 - 1))
def test_a_built_tag_is_read_back(person_id: int) -> None:
    assert envelope.person_id_of(envelope.tag_of(person_id)) == person_id


def test_a_box_is_put_in_order() -> None:
    """[0, 300, 100, 0] is the OpenAPI description's example."""
    (person,) = recognized({**PERSON, "coord": [0, 300, 100, 0]}).objects[0].persons
    assert person.box == Box(0, 0, 100, 300)


def test_optional_values_of_a_wrong_kind_are_taken_as_not_said() -> None:
    odd = {"tag": "undefined", "coord": [1.4, 2, 3, 4], "age": "old", "sex": 1, "confidence": None}
    (person,) = recognized(odd).objects[0].persons
    assert (person.age, person.sex, person.confidence, person.similarity) == (None, None, 0.0, 0.0)
    assert person.box.left == 1


def test_numbers_are_brought_into_their_range() -> None:
    (person,) = recognized({**PERSON, "similarity": 1.0000001, "valence": -7}).objects[0].persons
    assert (person.similarity, person.valence) == (1.0, -1.0)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, VisionRejected),
        (404, VisionRejected),
        (401, VisionUnauthorized),
        (403, VisionUnauthorized),
        (429, VisionTemporary),
        (500, VisionTemporary),
        (503, VisionTemporary),
        (0, VisionTemporary),
    ],
)
@pytest.mark.parametrize("http_status", [200, 400, 502])
def test_the_envelope_decides_and_not_the_http_code(
    status: int, kind: type[VisionError], http_status: int
) -> None:
    text = "could not get image by name file_10: http: no such file"
    with pytest.raises(VisionError) as caught:
        envelope.parse(Method.SET, answer(status, text, http_status))
    assert type(caught.value) is kind
    assert str(caught.value) == text


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"<html><body>502 Bad Gateway ?oauth_token=abc</body></html>",
        b'{"status": 200, "body": {"objects"',
        b"[]",
        b"null",
        b"{}",
        b'{"status": "200", "body": {}}',
        b'{"status": true, "body": {}}',
        b'{"status": 200}',
        b'{"status": 200, "body": "ok"}',
        b'{"status": 200, "body": {}}',
        b'{"status": 200, "body": {"objects": {}}}',
        b'{"status": 200, "body": {"objects": [1]}}',
        b'{"status": 200, "body": {"objects": [{"status": 0}]}}',
        b'{"status": 200, "body": {"objects": [{"name": "a"}]}}',
        b'{"status": 200, "body": {"objects": [{"name": "a", "status": 3}]}}',
        b'{"status": 200, "body": {"objects": [{"name": "a", "status": true}]}}',
        b'{"status": 200, "body": {"objects": [{"name": "a", "status": 0, "persons": {}}]}}',
        b'{"status": 200, "body": {"objects": [{"name": "a", "status": 0, "persons": [{}]}]}}',
        b'{"status": 200, "body": {"objects": [], "x": NaN}}',
        b"[" * 100_000,
        b"\xff\xfe\xff",
    ],
)
def test_what_is_no_envelope_is_to_be_asked_again(raw: bytes) -> None:
    with pytest.raises(VisionTemporary) as caught:
        envelope.parse(Method.RECOGNIZE, Answer(raw, 502))
    assert "abc" not in str(caught.value)


@pytest.mark.parametrize(
    "coord", [None, [], [1, 2, 3], [1, 2, 3, "4"], [1, 2, 3, 1e300], [True] * 4]
)
def test_a_face_without_a_box_is_malformed(coord: Any) -> None:
    with pytest.raises(VisionTemporary, match="malformed: coord"):
        recognized({**PERSON, "coord": coord})


def test_a_token_in_the_vendors_text_is_not_repeated() -> None:
    with pytest.raises(VisionUnauthorized) as caught:
        envelope.parse(Method.SET, answer(403, "denied: /set?oauth_token=s3cr&oauth_provider=mcs"))
    assert str(caught.value) == "denied: /set?oauth_token=***&oauth_provider=mcs"


def _result(name: str, status: ImageStatus = ImageStatus.DONE) -> ImageResult:
    return ImageResult(name, status, raw={"name": name, "status": int(status)})


def test_answers_are_matched_to_names_in_any_order_and_extra_ones_ignored() -> None:
    got = Envelope((_result("b"), _result("stranger"), _result("a")))
    assert [result.name for result in envelope.match_objects(["a", "b"], got)] == ["a", "b"]


def test_a_missing_answer_is_a_temporary_error() -> None:
    (result,) = envelope.match_objects(["a"], Envelope(()))
    assert (result.status, result.error) == (ImageStatus.TEMPORARY, envelope.MISSING)


def test_the_same_answer_twice_counts_once_and_two_different_ones_are_a_temporary_error() -> None:
    twice = Envelope((_result("a"), _result("a")))
    assert envelope.match_objects(["a"], twice) == [_result("a")]
    differing = Envelope((_result("a"), _result("a", ImageStatus.PERMANENT)))
    (result,) = envelope.match_objects(["a"], differing)
    assert (result.status, result.error) == (ImageStatus.TEMPORARY, envelope.CONTRADICTORY)


@settings(deadline=None)
@given(*[st.integers(-50, 150)] * 4)
def test_a_clipped_box_lies_inside_the_picture(a: int, b: int, c: int, d: int) -> None:
    box = envelope.clip(Box(min(a, c), min(b, d), max(a, c), max(b, d)), 100, 80)
    if box is not None:
        assert 0 <= box.left < box.right <= 100
        assert 0 <= box.top < box.bottom <= 80


def test_a_box_outside_the_picture_is_none() -> None:
    assert envelope.clip(Box(-20, 0, 0, 10), 100, 80) is None


def test_envelopes_are_built_as_documented() -> None:
    assert json.loads(envelope.success({"objects": [envelope.done("file")]})) == {
        "status": 200,
        "body": {"objects": [{"status": 0, "name": "file"}]},
        "htmlencoded": False,
        "last_modified": 0,
    }
    assert json.loads(envelope.failure(400, "empty image")) == {
        "status": 400,
        "body": "empty image",
        "htmlencoded": False,
        "last_modified": 0,
    }


def test_an_envelope_can_hold_any_name() -> None:
    raw = envelope.success({"objects": [envelope.done("лица/\ud800\0")]})
    assert json.loads(raw)["body"]["objects"][0]["name"] == "лица/\ud800\0"


def test_what_was_parsed_can_be_stored() -> None:
    """NULs, halves of letters, infinity and endless brackets are JSON that no database keeps."""
    odd = {"a\0": ["\ud83d", 1.5], "big": 10**400}
    raw = envelope.success({"objects": [envelope.done("лица/\ud800\0") | {"odd": odd}]})
    raw = raw.replace(
        b'"big"', b'"inf": [1e999, -1e999], "deep": ' + b"[" * 99 + b"]" * 99 + b', "big"'
    )
    (result,) = envelope.parse(Method.SET, Answer(raw)).objects
    assert result.name == "лица/\ufffd\ufffd"
    kept = result.raw["odd"]
    assert (kept["a\ufffd"], kept["inf"], kept["big"]) == (["\ufffd", 1.5], [None, None], 10**400)
    assert 30 < json.dumps(kept["deep"]).count("[") < envelope.MAX_DEPTH


def check_nothing_but_a_vision_error(method: Method, raw: bytes, http_status: int) -> None:
    with suppress(VisionError):
        assert isinstance(envelope.parse(method, Answer(raw, http_status)), Envelope)


@settings(deadline=None)
@given(st.sampled_from(Method), st.binary(max_size=80), st.integers(100, 599))
def test_no_bytes_break_the_parser(method: Method, raw: bytes, http_status: int) -> None:
    check_nothing_but_a_vision_error(method, raw, http_status)


@settings(deadline=None)
@given(
    st.sampled_from(Method),
    st.sampled_from([200, 400, 403, 500]) | JSON,
    JSON
    | st.fixed_dictionaries(
        {
            "objects": st.lists(
                st.fixed_dictionaries(
                    {"name": st.text(max_size=3) | JSON, "status": st.integers(-1, 3) | JSON},
                    optional={
                        "error": JSON,
                        "persons": JSON
                        | st.lists(
                            st.dictionaries(st.sampled_from([*PERSON, "aliases"]), JSON)
                            | st.fixed_dictionaries(
                                {"tag": st.text(max_size=9), "coord": st.lists(st.floats())},
                                optional={"age": JSON, "similarity": JSON, "aliases": JSON},
                            ),
                            max_size=2,
                        ),
                    },
                ),
                max_size=2,
            )
        }
    ),
)
def test_no_json_breaks_the_parser(method: Method, status: Any, body: Any) -> None:
    check_nothing_but_a_vision_error(method, answer(status, body).raw, 200)
