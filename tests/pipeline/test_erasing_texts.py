"""Which texts and JSON values mention a person, and which only look like it."""

from __future__ import annotations

import json

import pytest

from persons.pipeline.privacy.erasing.texts import PersonNames, Redaction


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("Zoë Berg", True),
        ("asked by ZOË BERG, by letter", True),
        ("Zoë Bergmann", False),
        ("Enzoë Berg", False),
        ("May wrote to us", True),
        ("on 3 May", True),
        ("it may be", False),
        ("Mayor", False),
        ("", False),
    ],
)
def test_names_are_found_as_whole_words(text: str, named: bool) -> None:
    assert PersonNames(["Zoë Berg", "May"]).are_in(text) is named


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ({"label": "zoë berg"}, True),
        ({"label": "Zoë Berg the younger"}, False),
        ({"into": "Zoë Berg", "faces": 3}, True),
        ({"filters": {"q": "photos of Zoë Berg at sea"}}, True),
        ({"filters": [{"Zoë Berg": 1}]}, True),
        ({"person": "person7", "label": "Ann"}, False),
        ([1, None, True, 2.5], False),
    ],
)
def test_names_are_found_in_json(value: object, named: bool) -> None:
    assert PersonNames(["Zoë Berg"]).speak_in(value) is named


def test_nobody_is_named_by_no_name() -> None:
    assert not PersonNames([]).are_in("anything") and not PersonNames([""]).are_in("anything")


REDACTION = Redaction(frozenset({"person7", "person_7"}), frozenset({"hers.jpg"}))


def test_only_their_entries_are_taken_out_of_an_answer() -> None:
    told = {
        "body": {
            "objects": [
                {
                    "name": "hers.jpg",
                    "persons": [
                        {"tag": "person7", "coord": [1, 2, 3, 4], "age": 30},
                        {"tag": "person77", "aliases": ["person7", "person8"]},
                    ],
                }
            ],
            "hers.jpg": 1,
        }
    }
    assert REDACTION.of(told) == {
        "body": {
            "objects": [
                {
                    "name": "erased",
                    "persons": [{"tag": "erased"}, {"tag": "person77", "aliases": ["person8"]}],
                }
            ],
            "erased": 1,
        }
    }


def test_an_answer_that_does_not_speak_of_them_stays_to_the_byte() -> None:
    text = '{"status" : 200,\n "body":{"objects":[{"tag":"person77"}]} }'
    assert REDACTION.of_text(text) == text
    assert REDACTION.of_text("<html>person77</html>") == "<html>person77</html>"


def test_one_that_can_not_be_read_and_may_speak_of_them_goes_whole() -> None:
    for text in ('{"tag": "person7"', "<html>person_7</html>", "hers.jpg is no picture"):
        assert REDACTION.of_text(text) == ""
    cut = json.dumps({"tag": "person7", "coord": [1]})
    assert json.loads(REDACTION.of_text(cut)) == {"tag": "erased"}
