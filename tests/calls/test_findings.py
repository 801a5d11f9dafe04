"""Each face of each answer becomes a row of the history, with the thresholds at that time."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.db import connection
from django.test.utils import CaptureQueriesContext

from persons import migrations
from persons.audit import Actor
from persons.calls import log as call_log
from persons.models import (
    Call,
    Enrolment,
    EnrolmentState,
    Finding,
    Person,
    Recognition,
    Source,
    Space,
    Team,
    User,
)
from persons.people import enrolments
from persons.vision.envelope import match_objects, parse
from persons.vision.types import (
    Answer,
    Details,
    FaceDetail,
    Image,
    Method,
)
from tests.support import factories
from tests.support.wire import Vision

BOX = [10, 20, 60, 90]


@pytest.fixture
def space(team: Team) -> Space:
    return team.spaces.get(number=5)


def told(*faces: tuple[str, float], name: str = "file") -> dict[str, Any]:
    persons = [
        {"tag": tag, "coord": BOX, "confidence": 0.9, "similarity": similarity}
        for tag, similarity in faces
    ]
    return {"status": 0, "name": name, "persons": persons}


def answer(*objects: dict[str, Any], details: Details | None = None) -> Answer:
    body = {"objects": list(objects), "aliases_changed": False}
    raw = {"status": 200, "body": body, "htmlencoded": False, "last_modified": 0}
    return Answer(json.dumps(raw).encode(), details=details)


def asked(space: Space, got: Answer, names: list[str], **more: Any) -> Call:
    call = call_log.begin(
        space=space,
        vision=more.pop("vision", Vision()),
        method=Method.RECOGNIZE,
        meta={},
        images=[call_log.Sent(Image(name, name.encode())) for name in names],
        origin=call_log.Origin(source=Source.CLIENT, **more),
    )
    results = match_objects(names, parse(Method.RECOGNIZE, got))
    call_log.end(call, got, None, results)
    return call


def facts(call: Call) -> list[tuple[Any, ...]]:
    rows = Finding.objects.filter(call=call).order_by("recognition", "position")
    return list(
        rows.values_list("recognition__name", "position", "told_id", "person", "similarity")
    )


def test_each_face_is_a_row_with_the_person_whom_the_ledger_knows(space: Space) -> None:
    person = factories.PersonFactory.create(space=space)
    tag = f"person{person.person_id}"
    got = answer(
        told((tag, 0.8), ("undefined", 0.3), name="one"), told(("person999", 0.6), name="two")
    )
    call = asked(space, got, ["one", "two"])
    assert facts(call) == [
        ("one", 0, person.person_id, person.pk, 0.8),
        ("one", 1, None, None, 0.3),
        ("two", 0, 999, None, 0.6),
    ]
    first = Finding.objects.filter(call=call).order_by("pk")[0]
    assert [first.left, first.top, first.right, first.bottom] == BOX
    assert (first.team, first.confidence, first.gallery) == (space.team, 0.9, None)


def test_another_spaces_person_of_that_number_is_not_meant(space: Space, team: Team) -> None:
    other = factories.PersonFactory.create(space=team.spaces.get(number=1), person_id=7)
    assert other.person_id == 7
    assert facts(asked(space, answer(told(("person7", 0.8))), ["file"]))[0][3] is None


def test_a_photos_findings_know_its_gallery(space: Space, team: Team) -> None:
    photo = factories.PhotoFactory.create(gallery__team=team, gallery__space=space)
    call = call_log.begin(
        space=space,
        vision=Vision(),
        method=Method.RECOGNIZE,
        meta={},
        images=[call_log.Sent(Image("file", b"x"), photo=photo)],
        origin=call_log.Origin(source=Source.WORKER),
    )
    got = answer(told(("undefined", 0.3)))
    call_log.end(call, got, None, match_objects(["file"], parse(Method.RECOGNIZE, got)))
    assert Finding.objects.get(call=call).gallery == photo.gallery
    assert Recognition.objects.get(call=call).gallery == photo.gallery


def test_what_the_recogniser_tells_beside_its_answer_is_kept(space: Space) -> None:
    detail = FaceDetail("ab" * 32, 4, 0.31)
    got = answer(told(("person3", 0.8)), details=Details({"file": [detail]}, 12, 30))
    call = asked(space, got, ["file"])
    found = Finding.objects.get(call=call)
    assert (found.matched_sha256, found.runner_up, found.runner_up_similarity) == (
        "ab" * 32,
        4,
        0.31,
    )
    call.refresh_from_db()
    assert (call.enrolled_people, call.enrolled_pictures) == (12, 30)


def test_details_that_do_not_fit_the_answer_are_left_out(space: Space) -> None:
    details = Details({"file": [FaceDetail("ab" * 32), FaceDetail("cd" * 32)]}, 1, 1)
    call = asked(space, answer(told(("person3", 0.8)), details=details), ["file"])
    assert Finding.objects.get(call=call).matched_sha256 == ""


def test_the_thresholds_are_those_of_then(space: Space) -> None:
    Space.objects.filter(pk=space.pk).update(threshold=0.33, confirm_threshold=0.44)
    space.refresh_from_db()
    call = asked(space, answer(told()), ["file"])
    Space.objects.filter(pk=space.pk).update(threshold=0.9, confirm_threshold=0.9)
    call.refresh_from_db()
    assert (call.threshold, call.confirm_threshold) == (0.33, 0.44)


def test_what_a_cloud_held_is_counted_once_for_each_version(space: Space) -> None:
    vision = Vision()
    vision.name = "cloud"
    for number, state in enumerate(["done", "done", "removing", "queued", "removed"]):
        person = factories.PersonFactory.create(space=space)
        for copy in range(1 + (number == 0)):
            Enrolment.objects.create(person=person, sha256=f"{copy}", state=EnrolmentState(state))
    call = asked(space, answer(told()), ["file"], vision=vision)
    call.refresh_from_db()
    assert (call.enrolled_people, call.enrolled_pictures) == (3, 4)
    with CaptureQueriesContext(
        connection,
    ) as asked_queries:
        asked(space, answer(told()), ["file"], vision=vision)
    assert not [one for one in asked_queries if "enrolment" in one["sql"]]
    enrolments.drifted(space)
    Space.objects.filter(pk=space.pk).update(version=space.version + 1)
    Enrolment.objects.all().delete()
    space.refresh_from_db()
    assert asked(space, answer(told()), ["file"], vision=vision).enrolled_people == 0


def test_a_stored_answers_findings_are_those_of_the_new_call_too(space: Space) -> None:
    detail = FaceDetail("ab" * 32, 4, 0.31)
    got = answer(told(("person3", 0.8)), details=Details({"file": [detail]}, 12, 30))
    asked(space, got, ["file"])
    old = Recognition.objects.get()
    old.enrolled = (12, 30)
    call_log.answered_from_store(
        space=space,
        vision=Vision(),
        meta={},
        sent=[call_log.Sent(Image("again", b"file"))],
        stored=[old],
        origin=call_log.Origin(Source.CLIENT),
    )
    new = Finding.objects.latest("pk")
    assert new.recognition.name == "again"
    assert new.recognition_id != old.pk
    assert (new.told_id, new.matched_sha256, new.runner_up) == (3, "ab" * 32, 4)
    assert (new.call.enrolled_people, new.call.enrolled_pictures) == (12, 30)
    assert new.call.threshold == space.threshold


@pytest.mark.parametrize("faces", [1, 2500])
def test_as_many_faces_as_an_answer_has(space: Space, faces: int) -> None:
    person = factories.PersonFactory.create(space=space)
    tag = f"person{person.person_id}"
    call = asked(space, answer(told(*[(tag, 0.5)] * faces)), ["file"])
    rows = Finding.objects.filter(call=call, person=person)
    assert rows.count() == faces
    assert set(rows.values_list("position", flat=True)) == set(range(faces))


def test_the_reason_of_a_client_is_kept(space: Space, alice: User) -> None:
    actor = Actor(user=alice, source=Source.CLIENT, reason="case 12")
    assert Call.objects.get(pk=asked(space, answer(), [], actor=actor).pk).reason == "case 12"


def test_an_older_history_gets_its_findings(space: Space, team: Team) -> None:
    """The migration's, of every answer that tells of faces in any way."""
    person = factories.PersonFactory.create(space=space)
    photo = factories.PhotoFactory.create(gallery__team=team, gallery__space=space)
    call = asked(space, answer(told(("undefined", 0.2))), ["file"])
    Finding.objects.all().delete()
    row = call.rows[0]
    odd = {"tag": "person99999999999999999999", "coord": [1, 2], "similarity": "much"}
    turned = {"tag": f"person{person.person_id}", "coord": [9, 8, 1.4, 2], "similarity": 7}
    Recognition.objects.filter(pk=row.pk).update(
        result={"persons": [turned, odd, 5]}, face_count=3, status=0, photo=photo
    )
    (name,) = (path.stem for path in Path(migrations.__file__).parent.glob("*_history.py"))
    migration = importlib.import_module(f"persons.migrations.{name}")
    migration.make_findings(apps, None)
    rows = Finding.objects.order_by("position")
    assert [
        (one.person_id, one.told_id, one.similarity, one.left, one.top, one.right, one.bottom)
        for one in rows
    ] == [
        (person.pk, person.person_id, 1.0, 1, 2, 9, 8),
        (None, None, 0.0, 0, 0, 0, 0),
        (None, None, 0.0, 0, 0, 0, 0),
    ]
    assert {one.gallery for one in rows} == {photo.gallery}
    assert {one.matched_sha256 for one in rows} == {""}


def test_a_person_who_goes_leaves_the_number_that_was_told(space: Space) -> None:
    person = factories.PersonFactory.create(space=space)
    call = asked(space, answer(told((f"person{person.person_id}", 0.8))), ["file"])
    number = person.person_id
    Person.objects.filter(pk=person.pk).delete()
    found = Finding.objects.get(call=call)
    assert (found.person, found.told_id) == (None, number)
