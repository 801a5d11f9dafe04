"""A client's calls through the proxy appear in the history and in the team's people and ledger."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.urls import reverse

from persons import pipeline
from persons.actions.people import remove_enrolment, rename_person
from persons.models import (
    ApiKey,
    AuditEntry,
    Call,
    Enrolment,
    EnrolmentState,
    Person,
    Recognition,
    Source,
    Space,
    Team,
    User,
)
from persons.models.calls import Outcome
from persons.vision import envelope
from persons.vision.errors import (
    VisionRejected,
    VisionTemporary,
    VisionUnauthorized,
    VisionUnavailable,
)
from tests.support import factories, wire
from tests.support.fakes import answer, by, found, seen, waiting_photo
from tests.support.wire import Ask, Vision, file, meta, people, pictures

JPEG = b"\xff\xd8 a picture \xff\xd9"
DIGEST = hashlib.sha256(JPEG).hexdigest()
FILE = file("file", JPEG)


@pytest.fixture
def made(team: Team) -> tuple[ApiKey, str]:
    return wire.make_key(team)


@pytest.fixture
def key(made: tuple[ApiKey, str]) -> ApiKey:
    return made[0]


@pytest.fixture
def ask(made: tuple[ApiKey, str]) -> Ask:
    return wire.in_process(made[1])


@pytest.fixture
def vision(monkeypatch: pytest.MonkeyPatch) -> Vision:
    return wire.use(monkeypatch, Vision())


@pytest.fixture
def space(team: Team) -> Space:
    return team.spaces.get(number=5)


def version(space: Space) -> int:
    return Space.objects.values_list("version", flat=True).get(pk=space.pk)


def states(space: Space, person_id: int = 1) -> list[str]:
    rows = Enrolment.objects.filter(person__space=space, person__person_id=person_id)
    return [row.state for row in rows.order_by("pk")]


def kept(folder: str) -> list[str]:
    """Every file below a folder of the storage."""
    names: list[str] = []
    waiting = [folder]
    while waiting:
        place = waiting.pop()
        if not default_storage.exists(place):
            continue
        folders, files = default_storage.listdir(place)
        waiting += [f"{place}/{name}" for name in folders]
        names += [f"{place}/{name}" for name in files]
    return sorted(names)


# --- The call ------------------------------------------------------------------------------------


def test_a_call_is_in_the_history_with_all_that_is_known_of_it(
    ask: Ask, vision: Vision, team: Team, space: Space, key: ApiKey
) -> None:
    got = ask("recognize", FILE, meta(pictures(mode="x")))
    call = Call.objects.get()
    assert (call.team, call.space, call.method, call.source) == (
        team,
        space,
        "recognize",
        Source.CLIENT,
    )
    assert (call.key, call.actor, call.actor_text) == (key, None, "key Turnstile")
    assert call.address == "127.0.0.1"
    assert len(call.request_id) == 32
    assert (call.backend, call.model) == ("cloud", "cloud.example")
    assert (call.outcome, call.status, call.error) == (Outcome.DONE, 200, "")
    assert call.answer.encode() == got.raw
    assert call.duration_ms is not None and 0 <= call.duration_ms < 10_000
    assert (call.image_count, call.cost) == (1, Decimal("0.06"))
    # What it asked, and what was made of that it did not say.
    assert call.meta == {**pictures(mode="x"), "update_embedding": False}
    (row,) = call.recognitions.all()
    assert (row.name, row.sha256, row.status, row.image) == ("file", DIGEST, 0, "")


def test_each_method_leaves_its_call(ask: Ask, vision: Vision) -> None:
    ask("set", FILE, meta(people()))
    ask("recognize", FILE, meta(pictures()))
    ask("delete", FILE, meta(people()))
    ask("truncate", FILE, meta({"space": "5"}))
    calls = list(Call.objects.order_by("pk"))
    assert [call.method for call in calls] == list(wire.METHODS)
    assert [call.image_count for call in calls] == [1, 1, 0, 0]
    assert [call.cost for call in calls] == [Decimal("0.06"), Decimal("0.06"), 0, 0]
    set_, recognized, deleted, truncated = ([*call.recognitions.all()] for call in calls)
    assert (set_[0].person_id, set_[0].sha256) == (1, DIGEST)
    assert (recognized[0].person_id, recognized[0].sha256) == (None, DIGEST)
    assert (deleted[0].person_id, deleted[0].sha256) == (1, "")
    assert truncated == []


def test_an_auditor_finds_the_call_on_the_history_page(
    ask: Ask, vision: Vision, audrey: User, sign_in: Any
) -> None:
    ask("recognize", FILE, meta(pictures()))
    page = sign_in(audrey).get("/t/trip/history/").content.decode()
    assert "key Turnstile" in page


@pytest.mark.parametrize(
    ("raw", "outcome"),
    [
        (b'{"status":400,"body":"bad","htmlencoded":false,"last_modified":0}', Outcome.REJECTED),
        (b'{"status":403,"body":"no","htmlencoded":false,"last_modified":0}', Outcome.REJECTED),
        (b'{"status":500,"body":"oh","htmlencoded":false,"last_modified":0}', Outcome.TEMPORARY),
        (b'{ "body":"bad",\n"status": 400 }', Outcome.REJECTED),
    ],
)
def test_a_failure_of_the_cloud_comes_back_to_the_byte(
    ask: Ask, vision: Vision, raw: bytes, outcome: str
) -> None:
    vision.script.append(raw)
    got = ask("recognize", FILE, meta(pictures()))
    assert (got.status, got.raw) == (200, raw)
    call = Call.objects.get()
    assert (call.outcome, call.answer) == (outcome, raw.decode())


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (VisionTemporary("cloud.example did not answer in time."), Outcome.TEMPORARY),
        (VisionUnavailable("cloud.example is not asked for a while."), Outcome.UNAVAILABLE),
        (VisionUnauthorized("cloud.example refused the token."), Outcome.REJECTED),
    ],
)
def test_where_nobody_answered_the_client_gets_an_envelope(
    ask: Ask, vision: Vision, error: Exception, outcome: str
) -> None:
    for method, body in (("set", people()), ("recognize", pictures()), ("delete", people())):
        vision.script.append(error)
        assert ask(method, FILE, meta(body)).outcome == (500, str(error))
        call = Call.objects.latest("pk")
        assert (call.outcome, call.error, call.answer) == (outcome, str(error), "")
    assert not Person.objects.exists() and not Enrolment.objects.exists()


def test_a_request_that_vision_rejects_without_an_answer_is_a_400(ask: Ask, vision: Vision) -> None:
    vision.script.append(VisionRejected("the name of an image must be valid text"))
    got = ask("recognize", FILE, meta(pictures()))
    assert got.outcome == (400, "the name of an image must be valid text")


@pytest.mark.parametrize(
    "page",
    [
        b"<html><body>502 Bad Gateway</body></html>",
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"body": {}}',
        b'{"status": "200", "body": {}}',
        b"\xff\xfe\x00 no text \x00",
    ],
)
def test_a_page_that_is_no_envelope_is_not_passed_on(ask: Ask, vision: Vision, page: bytes) -> None:
    vision.script.append(page)
    got = ask("recognize", FILE, meta(pictures()))
    assert got.told["status"] == 500
    call = Call.objects.get()
    assert (call.outcome, call.status) == (Outcome.TEMPORARY, None)
    assert got.body == call.error


# --- To the byte ---------------------------------------------------------------------------------

ODD = (
    '{ "body" : {"aliases_changed":true , "odd":[1.50, 1e-7, null],\r\n\t"objects":[ {"persons":[ '
    '{"similarity":9.70E-1,"coord":[ 1,2, 3,4],"tag":"person1","sex":"fe\\u006dale",'
    '"extra":{"z":1,"a":2}}, {"tag":"undefined","coord":[5,5,9,9],"similarity":1} ],'
    '"status":0,"name":"file" } ]}, "status":200,"trace":"\u0416-1",'
    '"last_modified":0,"htmlencoded":false }\n\n'
).encode()


def test_the_clouds_answer_comes_back_to_the_byte(ask: Ask, vision: Vision) -> None:
    vision.script.append(ODD)
    got = ask("recognize", FILE, meta(pictures()))
    assert got.raw == ODD
    assert Call.objects.get().answer.encode() == ODD


def test_labels_add_a_label_and_nothing_else(ask: Ask, vision: Vision, space: Space) -> None:
    factories.PersonFactory.create(space=space, person_id=1, label="Жанна d'Arc")
    vision.script.append(ODD)
    got = ask("recognize", FILE, meta(pictures(labels=True)))
    wanted = json.loads(ODD)
    wanted["body"]["objects"][0]["persons"][0]["label"] = "Жанна d'Arc"
    assert json.loads(got.raw) == wanted
    # In the order in which it came, the label at the end.
    assert list(json.loads(got.raw)) == list(wanted)
    assert list(json.loads(got.raw)["body"]["objects"][0]["persons"][0])[-1] == "label"
    # The cloud heard nothing of it, and the history has what the cloud said.
    (asked,) = vision.asked
    assert "labels" not in asked.meta
    assert Call.objects.get().answer.encode() == ODD


@pytest.mark.parametrize("wanted", [False, None])
def test_without_labels_nothing_is_added(
    ask: Ask, vision: Vision, space: Space, wanted: bool | None
) -> None:
    factories.PersonFactory.create(space=space, person_id=1, label="Anna")
    vision.script.append(ODD)
    more = {} if wanted is None else {"labels": wanted}
    assert ask("recognize", FILE, meta(pictures(**more))).raw == ODD
    assert "labels" not in vision.asked[0].meta


def test_labels_are_the_spaces_own(ask: Ask, vision: Vision, team: Team, charlie: User) -> None:
    """A person of the same number in another space, or in another team, is somebody else."""
    factories.PersonFactory.create(space=team.spaces.get(number=4), person_id=1, label="Anna")
    others = charlie.teams.get().spaces.get(number=5)
    factories.PersonFactory.create(space=others, person_id=1, label="Secret")
    vision.script.append(ODD)
    assert json.loads(ask("recognize", FILE, meta(pictures(labels=True))).raw) == json.loads(ODD)


@pytest.mark.parametrize("method", ["set", "delete", "truncate"])
def test_labels_change_nothing_where_there_is_nobody_to_name(
    ask: Ask, vision: Vision, method: str
) -> None:
    plain = ask(method, FILE, meta(people())).told
    assert ask(method, FILE, meta(people(labels=True))).told == plain


def test_labels_leave_a_failure_alone(ask: Ask, vision: Vision) -> None:
    raw = b'{"status": 400,  "body": "bad", "htmlencoded": false, "last_modified": 0}'
    vision.script.append(raw)
    assert ask("recognize", FILE, meta(pictures(labels=True))).raw == raw


HOSTILE = {
    "a NUL in a text": '{"tag":"undefined","coord":[1,2,3,4],"extra":"a\\u0000b"}',
    "half a letter": '{"tag":"undefined","coord":[1,2,3,4],"extra":"\\ud83d"}',
    "a number above all bounds": '{"tag":"undefined","coord":[1,2,3,4],"confidence":1e999}',
    "a number of 400 digits": f'{{"tag":"undefined","coord":[1,2,3,4],"age":{"9" * 400}}}',
    "a person of the greatest number": f'{{"tag":"person{2**63 - 1}","coord":[1,2,3,4]}}',
    "a person above the greatest number": f'{{"tag":"person{2**63}","coord":[1,2,3,4]}}',
    "person 0": '{"tag":"person0","coord":[1,2,3,4]}',
    # More values than PostgreSQL takes in one statement, 65,535.
    "twelve thousand faces": ",".join(['{"tag":"undefined","coord":[1,2,3,4]}'] * 12_000),
    "deep brackets": '{"tag":"undefined","coord":[1,2,3,4],"x":' + "[" * 500 + "]" * 500 + "}",
}


@pytest.mark.thorough
@pytest.mark.parametrize("labels", [False, True])
@pytest.mark.parametrize("what", HOSTILE)
def test_whatever_the_cloud_says_the_client_gets_it(
    ask: Ask, vision: Vision, what: str, labels: bool
) -> None:
    """And it is in the history, as far as a database can hold it."""
    raw = (
        '{"status":200,"body":{"objects":[{"status":0,"name":"file","persons":['
        + HOSTILE[what]
        + ']}],"aliases_changed":false},"htmlencoded":false,"last_modified":0}'
    ).encode()
    vision.script.append(raw)
    got = ask("recognize", FILE, meta(pictures(labels=labels)))
    assert got.status == 200
    if not labels:
        assert got.raw == raw
    call = Call.objects.get()
    assert call.answer.encode() == raw
    assert call.outcome == Outcome.DONE


@pytest.mark.thorough
@pytest.mark.parametrize("said", ["a\\u0000b", "\\ud83d", "x" * 10_000])
def test_whatever_error_the_cloud_tells_the_client_gets_it(
    ask: Ask, vision: Vision, said: str
) -> None:
    raw = f'{{"status":400,"body":"{said}","htmlencoded":false,"last_modified":0}}'.encode()
    one = f'{{"objects":[{{"status":1,"name":"file","error":"{said}"}}],"aliases_changed":false}}'
    inner = f'{{"status":200,"body":{one},"htmlencoded":false,"last_modified":0}}'.encode()
    for wanted in (raw, inner):
        vision.script.append(wanted)
        assert ask("recognize", FILE, meta(pictures())).raw == wanted
    assert [call.outcome for call in Call.objects.all()] == [Outcome.REJECTED] * 2


# --- Set -----------------------------------------------------------------------------------------


def test_a_set_makes_the_person_and_keeps_the_picture(
    ask: Ask, vision: Vision, space: Space, key: ApiKey
) -> None:
    ask("set", FILE, meta(people(person_id=12)))
    person = Person.objects.get()
    assert (person.space, person.person_id, person.label) == (space, 12, "")
    (enrolment,) = person.enrolments.all()
    assert (enrolment.state, enrolment.sha256) == (EnrolmentState.DONE, DIGEST)
    assert enrolment.call == Call.objects.get() and enrolment.done_at
    with default_storage.open(enrolment.image) as stored:
        assert stored.read() == JPEG
    assert version(space) == 1
    entry = AuditEntry.objects.get(action="person.enrol")
    assert (entry.action, entry.source, entry.address) == ("person.enrol", "client", "127.0.0.1")
    assert (entry.actor_text, entry.team) == ("key Turnstile", space.team)
    assert entry.after["people"] == [12]
    assert entry.request_id == Call.objects.get().request_id


def test_the_next_id_of_the_space_is_above_what_a_client_chose(
    ask: Ask, vision: Vision, space: Space
) -> None:
    ask("set", FILE, meta(people(person_id=40)))
    ask("set", FILE, meta(people(person_id=3)))
    assert factories.PersonFactory.create(space=space).person_id == 41


def test_a_picture_that_vision_refused_enrols_nobody_and_is_not_kept(
    ask: Ask, vision: Vision, space: Space
) -> None:
    good, bad = file("good", b"good"), file("bad", b"bad")
    images = [{"name": "bad", "person_id": 1}, {"name": "good", "person_id": 2}]
    refused = envelope.failed("bad", "face set required only one face per image")
    vision.script.append(envelope.success({"objects": [refused, envelope.done("good")]}))
    ask("set", bad, good, meta({"space": "5", "images": images}))
    (person,) = Person.objects.all()
    assert person.person_id == 2
    assert kept("enrolments") == [Enrolment.objects.get().image]
    call = Call.objects.get()
    assert (call.outcome, call.error) == (Outcome.PARTIAL, refused["error"])


def test_a_set_that_failed_altogether_changes_nothing(
    ask: Ask, vision: Vision, space: Space
) -> None:
    vision.script.append(
        envelope.success({"objects": [envelope.failed("file", "face set required only one face")]})
    )
    ask("set", FILE, meta(people()))
    assert not Person.objects.exists() and version(space) == 0
    assert not AuditEntry.objects.filter(action="person.enrol").exists()
    assert kept("enrolments") == []


def test_the_same_picture_of_the_same_person_is_enrolled_once(
    ask: Ask, vision: Vision, space: Space
) -> None:
    for _ in range(2):
        ask("set", FILE, meta(people()))
    two = [{"name": "a", "person_id": 2}, {"name": "b", "person_id": 2}]
    ask("set", file("a", JPEG), file("b", JPEG), meta({"space": "5", "images": two}))
    assert states(space, 1) == states(space, 2) == ["done"]


def test_several_people_in_one_request(ask: Ask, vision: Vision, space: Space) -> None:
    names = [f"file_{number}" for number in range(6)]
    images = [{"name": name, "person_id": 1 + n % 3} for n, name in enumerate(names)]
    files = [file(name, name.encode()) for name in names]
    ask("set", *files, meta({"space": "5", "images": images}))
    for person_id in (1, 2, 3):
        assert states(space, person_id) == ["done", "done"]
    wanted = hashlib.sha256(b"file_4").hexdigest()
    assert Enrolment.objects.get(sha256=wanted).person.person_id == 2


@pytest.mark.django_db(transaction=True)
def test_clients_who_set_the_same_new_people_at_once_make_each_once(
    live: str, made: tuple[ApiKey, str], vision: Vision, space: Space
) -> None:
    ask = wire.over_http(live, made[1])

    def one(number: int) -> int:
        # In either order, so that they would wait for each other if the rows were taken so.
        ids = [1, 2, 3, 4] if number % 2 else [4, 3, 2, 1]
        images = [{"name": f"file_{i}", "person_id": i} for i in ids]
        files = [file(f"file_{i}", b"%d of %d" % (i, number)) for i in ids]
        return int(ask("set", *files, meta({"space": "5", "images": images})).told["status"])

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(one, range(16))) == {200}
    assert sorted(Person.objects.values_list("person_id", flat=True)) == [1, 2, 3, 4]
    assert all(states(space, person_id) == ["done"] * 16 for person_id in (1, 2, 3, 4))
    assert version(space) == 16
    assert factories.PersonFactory.create(space=space).person_id == 5


# --- A person set by a client lives on the dashboard ---------------------------------------------


def test_a_person_set_by_a_client_is_found_in_photos_and_can_be_named(
    ask: Ask, team: Team, space: Space, bob: User, sign_in: Any
) -> None:
    """With the embedded recogniser, all the way."""
    obama = wire.photo("obama_1")
    assert ask("set", file("file", obama), meta(people(person_id=12))).told["status"] == 200
    gallery = factories.GalleryFactory.create(team=team, space=space)
    photo = waiting_photo(
        gallery, sent=obama, sent_width=682, sent_height=785, width=682, height=785
    )
    pipeline.recognise_batch(space.pk)
    (face,) = photo.faces.all()
    person = Person.objects.get()
    assert face.person == person
    client = sign_in(bob)
    page = client.get(reverse("people", args=["trip"])).content.decode()
    assert "Unnamed person 12" in page
    rename_person(actor=by(bob), person=person, label="Barack")
    assert "Barack" in client.get(reverse("people", args=["trip"])).content.decode()
    picture = client.get(reverse("media_enrolment", args=["trip", person.enrolments.get().pk]))
    assert picture.getvalue() == obama
    got = ask("recognize", file("file", obama), meta(pictures(labels=True)))
    named = got.body["objects"][0]["persons"][0]
    assert (named["tag"], named["label"]) == ("person12", "Barack")


def test_a_clients_pictures_survive_when_the_dashboard_removes_one(
    ask: Ask, space: Space, bob: User, django_capture_on_commit_callbacks: Any
) -> None:
    """A removal deletes the person and sets the rest again, from the bytes that were kept."""
    one, other = wire.photo("ardern_1"), wire.photo("ardern_2")
    ask("set", file("a", one), file("b", other), meta(people("a", "b", person_id=12)))
    person = Person.objects.get()
    wrong = person.enrolments.get(sha256=hashlib.sha256(one).hexdigest())
    remove_enrolment(actor=by(bob), enrolment=wrong)
    pipeline.sync(person.pk)
    assert states(space, 12) == ["removed", "done"]
    got = ask("recognize", file("file", other), meta(pictures()))
    assert got.body["objects"][0]["persons"][0]["tag"] == "person12"
    assert [call.method for call in Call.objects.order_by("pk")] == [
        "set",
        "delete",
        "set",
        "recognize",
    ]


def test_a_person_made_by_create_new_is_in_the_ledger(ask: Ask, space: Space, team: Team) -> None:
    taken = factories.PersonFactory.create(space=space, label="Anna")
    got = ask("recognize", file("file", wire.photo("sunak_1")), meta(pictures(create_new=True)))
    tag = got.body["objects"][0]["persons"][0]["tag"]
    person = Person.objects.exclude(pk=taken.pk).get()
    assert tag == person.tag == f"person{taken.person_id + 1}"
    assert factories.PersonFactory.create(space=space).person_id == person.person_id + 1


def test_a_person_whom_the_cloud_made_is_in_the_ledger(
    ask: Ask, vision: Vision, space: Space
) -> None:
    vision.script.append(answer(seen("file", found(70), found(None), found(71))))
    ask("recognize", FILE, meta(pictures(create_new=True)))
    assert sorted(Person.objects.values_list("person_id", flat=True)) == [70, 71]
    assert factories.PersonFactory.create(space=space).person_id == 72


# --- Delete and truncate -------------------------------------------------------------------------


def test_a_delete_marks_the_enrolments_and_leaves_the_person(
    ask: Ask, space: Space, bob: User
) -> None:
    obama = wire.photo("obama_1")
    ask("set", file("file", obama), meta(people()))
    ask("set", file("file", wire.photo("sunak_1")), meta(people(person_id=2)))
    rename_person(actor=by(bob), person=Person.objects.get(person_id=1), label="Barack")
    before = version(space)
    ask("delete", meta(people()))
    assert (states(space, 1), states(space, 2)) == (["removed"], ["done"])
    assert Person.objects.get(person_id=1).label == "Barack"
    assert version(space) == before + 1
    entry = AuditEntry.objects.exclude(target_type="call").latest("pk")
    assert (entry.action, entry.source) == ("person.delete", "client")
    assert entry.before == {"people": [1], "enrolments": 1}
    got = ask("recognize", file("file", obama), meta(pictures()))
    assert got.body["objects"][0]["persons"][0]["tag"] == "undefined"
    # The bytes stay: they are the history's, and set again they are enrolled again.
    assert len(kept("enrolments")) == 2
    ask("set", file("file", obama), meta(people()))
    assert states(space, 1) == ["removed", "done"]


def test_a_delete_of_somebody_unknown_is_done_and_invents_nobody(
    ask: Ask, vision: Vision, space: Space
) -> None:
    assert ask("delete", meta(people(person_id=77))).told["status"] == 200
    assert not Person.objects.exists()


def test_a_delete_that_vision_refused_changes_nothing(
    ask: Ask, vision: Vision, space: Space
) -> None:
    ask("set", FILE, meta(people()))
    vision.script.append(envelope.success({"objects": [envelope.failed("file", "no")]}))
    before = version(space)
    ask("delete", meta(people()))
    assert states(space) == ["done"]
    assert version(space) == before
    assert not AuditEntry.objects.filter(action="person.delete").exists()


def test_a_truncate_marks_every_enrolment_of_that_space_alone(
    ask: Ask, team: Team, space: Space
) -> None:
    obama = file("file", wire.photo("obama_1"))
    for number in ("4", "5"):
        ask("set", obama, meta(people(space=number)))
    before = version(space)
    assert ask("truncate", meta({"space": "5"})).outcome == (200, {})
    assert states(space) == ["removed"]
    assert states(team.spaces.get(number=4)) == ["done"]
    assert version(space) == before + 1
    entry = AuditEntry.objects.exclude(target_type="call").latest("pk")
    assert (entry.action, entry.source, entry.before) == (
        "space.truncate",
        "client",
        {"enrolments": 1},
    )
    tags = {
        number: ask("recognize", obama, meta(pictures(space=number))).body["objects"][0]["persons"][
            0
        ]["tag"]
        for number in ("4", "5")
    }
    assert tags == {"4": "person1", "5": "undefined"}


def test_a_truncate_that_failed_changes_nothing(ask: Ask, vision: Vision, space: Space) -> None:
    ask("set", FILE, meta(people()))
    for reply in (VisionTemporary("late"), envelope.failure(400, "no"), envelope.failure(500, "")):
        vision.script.append(reply)
        ask("truncate", meta({"space": "5"}))
    assert states(space) == ["done"]
    assert not AuditEntry.objects.filter(action="space.truncate").exists()


# --- Recognising ---------------------------------------------------------------------------------


def test_a_recognition_moves_no_version_unless_it_wrote(
    ask: Ask, vision: Vision, space: Space
) -> None:
    def drift() -> tuple[int, int]:
        row = Space.objects.get(pk=space.pk)
        return row.version, row.drift

    ask("recognize", FILE, meta(pictures()))
    assert drift() == (0, 0)
    ask("recognize", FILE, meta(pictures(create_new=True)))
    assert drift() == (0, 1)
    ask("recognize", FILE, meta(pictures(update_embedding=True)))
    assert drift() == (0, 2)


@pytest.mark.parametrize("policy", [False, True])
def test_where_a_client_says_nothing_the_space_decides_whether_to_write(
    ask: Ask, vision: Vision, space: Space, policy: bool
) -> None:
    Space.objects.filter(pk=space.pk).update(update_embedding=policy)
    ask("recognize", FILE, meta(pictures()))
    ask("recognize", FILE, meta(pictures(update_embedding=None)))
    ask("recognize", file("file", b"other"), meta(pictures(update_embedding=not policy)))
    said = [asked.meta["update_embedding"] for asked in vision.asked]
    assert said[0] is policy and said[-1] is not policy


def test_a_photo_that_a_client_asks_about_is_not_kept(ask: Ask, vision: Vision, team: Team) -> None:
    assert team.keep_probes is False
    ask("recognize", FILE, meta(pictures()))
    (row,) = Recognition.objects.all()
    assert (row.sha256, row.image) == (DIGEST, "")
    assert kept("probes") == kept("enrolments") == []


def test_a_photo_that_a_client_asks_about_is_kept_where_the_team_says_so(
    ask: Ask, vision: Vision, team: Team
) -> None:
    Team.objects.update(keep_probes=True)
    ask("recognize", file("a", b"1"), file("b", b"2"), meta(pictures("b", "a")))
    rows = Recognition.objects.order_by("position")
    assert [row.name for row in rows] == ["b", "a"]
    for row, data in zip(rows, (b"2", b"1"), strict=True):
        with default_storage.open(row.image) as stored:
            assert stored.read() == data
    assert kept("probes") == sorted(row.image for row in rows)


@pytest.mark.usefixtures("reuse")
def test_what_is_asked_again_is_kept_as_well_where_the_team_says_so(
    ask: Ask, vision: Vision, team: Team
) -> None:
    """It is answered from store, and yet a photo that a client asked about."""
    ask("recognize", FILE, meta(pictures()))
    Team.objects.update(keep_probes=True)
    ask("recognize", FILE, meta(pictures()))
    assert len(vision.asked) == 1
    first, again = Recognition.objects.order_by("pk")
    assert first.image == ""
    with default_storage.open(again.image) as stored:
        assert stored.read() == JPEG


# --- Over HTTP -----------------------------------------------------------------------------------


def test_over_http_the_clouds_answer_comes_back_to_the_byte(
    transactional_db: None, live: str, made: tuple[ApiKey, str], vision: Vision
) -> None:
    vision.script.append(ODD)
    ask = wire.over_http(live, made[1])
    assert ask("recognize", FILE, meta(pictures())).raw == ODD
