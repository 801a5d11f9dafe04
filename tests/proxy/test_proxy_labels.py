"""Labels in an answer of Vision: added where they can be, and otherwise nothing is changed."""

from __future__ import annotations

import json

import pytest

from persons.models import Team
from persons.proxy.labels import add_labels
from tests.support.factories import PersonFactory

pytestmark = pytest.mark.any_database


def answer(confidence: str, tag: str) -> bytes:
    person = f'{{"tag": "{tag}", "confidence": {confidence}}}'
    return f'{{"status": 200, "body": {{"objects": [{{"persons": [{person}]}}]}}}}'.encode()


def test_a_person_s_label_stands_beside_the_tag(team: Team) -> None:
    anna = PersonFactory.create(space=team.spaces.get(number=5), label="Anna")
    told = json.loads(add_labels(answer("0.9", anna.tag), anna.space))
    person = {"tag": anna.tag, "confidence": 0.9, "label": "Anna"}
    assert told["body"]["objects"] == [{"persons": [person]}]


def test_an_answer_that_is_not_json_in_the_end_is_passed_on_unchanged(team: Team) -> None:
    anna = PersonFactory.create(space=team.spaces.get(number=5), label="Anna")
    raw = answer("NaN", anna.tag)
    assert add_labels(raw, anna.space) == raw
