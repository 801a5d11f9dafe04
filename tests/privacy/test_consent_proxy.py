"""What a client of the proxy gets in a space that requires consents."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from persons import pipeline
from persons.actions.consent import ConsentTerms, record_consent, withdraw_consent
from persons.actions.holds import hold_person
from persons.models import (
    ApiKey,
    Call,
    Consent,
    Enrolment,
    KeyDay,
    Person,
    Space,
    Team,
    User,
)
from persons.models.calls import Outcome
from tests.support import wire
from tests.support.factories import PersonFactory
from tests.support.fakes import answer, by, found, once, seen
from tests.support.wire import Ask, Vision, file, meta, pictures

JPEG = b"\xff\xd8 a picture \xff\xd9"


@pytest.fixture
def made(team: Team) -> tuple[ApiKey, str]:
    return wire.make_key(team, daily_images=100)


@pytest.fixture
def ask(made: tuple[ApiKey, str]) -> Ask:
    return wire.in_process(made[1])


@pytest.fixture
def vision(monkeypatch: pytest.MonkeyPatch) -> Vision:
    from tests.support import fakes

    return fakes.use(monkeypatch, wire.use(monkeypatch, Vision()))


@pytest.fixture
def space(team: Team) -> Space:
    Space.objects.filter(team=team, number=5).update(require_consent=True)
    return team.spaces.get(number=5)


@pytest.fixture
def ada(space: Space, bob: User) -> Person:
    """With a consent."""
    person: Person = PersonFactory.create(space=space, label="Ada", person_id=1)
    agree(bob, person)
    return person


def agree(user: User, person: Person) -> Consent:
    given = ConsentTerms("Photos", "Form 7", timezone.now() - timedelta(minutes=1))
    return record_consent(actor=by(user), person=person, given=given)


def two(one: int, other: int) -> list[bytes]:
    images = [{"name": "a", "person_id": one}, {"name": "b", "person_id": other}]
    return [meta({"space": "5", "images": images}), file("a", JPEG), file("b", JPEG + b"2")]


def sync(person: Person) -> None:
    Person.objects.filter(pk=person.pk).update(after=timezone.now())
    pipeline.sync(person.pk)


# --- Enrolling ---


def test_who_has_no_consent_gets_an_error_and_the_others_go_through(
    ask: Ask, vision: Vision, space: Space, ada: Person, made: tuple[ApiKey, str]
) -> None:
    got = ask("set", *two(7, 1))
    assert got.told["status"] == 200
    bad, good = got.body["objects"]
    assert (bad["name"], bad["status"]) == ("a", 1)
    assert "no consent is in force for person7" in bad["error"]
    assert (good["name"], good["status"]) == ("b", 0)
    (sent,) = vision.asked
    assert sent.names == ["b"]
    assert [image.name for image in sent.images] == ["b"]
    assert not Enrolment.objects.exclude(person=ada).exists()
    assert KeyDay.objects.get(key=made[0]).images == 1


def test_a_request_of_people_without_consent_alone_is_not_sent_at_all(
    ask: Ask, vision: Vision, space: Space, made: tuple[ApiKey, str]
) -> None:
    got = ask("set", *two(7, 8))
    assert [one["status"] for one in got.body["objects"]] == [1, 1]
    assert not vision.asked
    assert not Person.objects.exists()
    call = Call.objects.get()
    assert call.outcome == Outcome.REJECTED
    assert call.image_count == 0
    assert call.recognitions.count() == 2
    assert KeyDay.objects.get(key=made[0]).images == 0


def test_with_consents_for_all_the_answer_is_visions_own(
    ask: Ask, vision: Vision, ada: Person
) -> None:
    raw = answer({"status": 0, "name": "a", "odd": 1}, {"status": 0, "name": "b"})
    vision.script.append(raw)
    assert ask("set", *two(1, 1)).raw == raw


def test_a_space_without_the_rule_enrols_as_ever(ask: Ask, vision: Vision, team: Team) -> None:
    got = ask("set", *two(7, 8))
    assert [one["status"] for one in got.body["objects"]] == [0, 0]
    assert Person.objects.count() == 2


def test_what_was_enrolled_while_the_consent_was_withdrawn_is_deleted_again(
    ask: Ask, vision: Vision, ada: Person, bob: User
) -> None:
    row = ada.consents.get()
    once(vision, lambda: withdraw_consent(actor=by(bob), consent_row=row))
    ask("set", *two(1, 1))
    assert {one.state for one in ada.enrolments.all()} == {"removing", "waiting"}
    sync(ada)
    assert vision.methods() == ["set", "delete"]
    assert {one.state for one in ada.enrolments.all()} == {"removed", "waiting"}


# --- Recognising ---


def test_create_new_is_refused_where_a_consent_is_required(
    ask: Ask, vision: Vision, space: Space, made: tuple[ApiKey, str]
) -> None:
    got = ask("recognize", meta(pictures(create_new=True)), file("file", JPEG))
    assert got.told["status"] == 400
    assert "requires a consent" in got.body
    assert not vision.asked
    assert KeyDay.objects.get(key=made[0]).images == 0


def test_nobody_is_told_until_vision_has_forgotten_who_withdrew(
    ask: Ask, vision: Vision, ada: Person, bob: User, made: tuple[ApiKey, str]
) -> None:
    ask("set", *two(1, 1))
    withdraw_consent(actor=by(bob), consent_row=ada.consents.get())
    got = ask("recognize", meta(pictures()), file("file", JPEG))
    assert got.told["status"] == 500
    assert "consent has ended" in got.body
    assert vision.methods() == ["set"]
    assert Call.objects.filter(method="recognize").get().outcome == Outcome.UNAVAILABLE
    sync(ada)
    got = ask("recognize", meta(pictures()), file("file", JPEG))
    assert got.told["status"] == 200
    assert vision.methods() == ["set", "delete", "recognize"]
    assert KeyDay.objects.get(key=made[0]).images == 3


def test_an_answer_that_names_who_withdrew_meanwhile_is_not_handed_on(
    ask: Ask, vision: Vision, ada: Person, bob: User
) -> None:
    ask("set", *two(1, 1))
    vision.script.append(answer(seen("file", found(1))))
    row = ada.consents.get()
    once(vision, lambda: withdraw_consent(actor=by(bob), consent_row=row))
    got = ask("recognize", meta(pictures()), file("file", JPEG))
    assert got.told["status"] == 500
    assert "person1" in got.body
    call = Call.objects.filter(method="recognize").get()
    assert call.answer == ""
    assert call.recognitions.get().result == {}


@pytest.mark.usefixtures("reuse")
def test_a_stored_answer_is_not_told_after_a_withdrawal(
    ask: Ask, vision: Vision, ada: Person, bob: User
) -> None:
    ask("set", *two(1, 1))
    vision.script.append(answer(seen("file", found(1))))
    body = [meta(pictures()), file("file", JPEG)]
    assert ask("recognize", *body).told["status"] == 200
    assert ask("recognize", *body).told["status"] == 200
    assert vision.methods() == ["set", "recognize"]
    withdraw_consent(actor=by(bob), consent_row=ada.consents.get())
    assert ask("recognize", *body).told["status"] == 500
    sync(ada)
    vision.script.append(answer(seen("file", found(None))))
    got = ask("recognize", *body)
    assert got.body["objects"][0]["persons"][0]["tag"] == "undefined"


def test_whom_the_ledger_does_not_know_is_not_told(ask: Ask, vision: Vision, space: Space) -> None:
    vision.script.append(answer(seen("file", found(99))))
    got = ask("recognize", meta(pictures()), file("file", JPEG))
    assert got.told["status"] == 500
    assert "person99" in got.body
    assert not Person.objects.exists()


# --- Legal hold ---


def test_a_client_deletes_nobody_who_is_under_legal_hold(
    ask: Ask, vision: Vision, ada: Person, alice: User
) -> None:
    ask("set", *two(1, 1))
    hold_person(actor=by(alice), person=ada, reason="Case 12")
    images = [{"name": "a", "person_id": 1}, {"name": "b", "person_id": 2}]
    got = ask("delete", meta({"space": "5", "images": images}))
    assert [(one["name"], one["status"]) for one in got.body["objects"]] == [("a", 1), ("b", 0)]
    assert "legal hold" in got.body["objects"][0]["error"]
    assert vision.asked[-1].person_ids == [2]
    assert {one.state for one in ada.enrolments.all()} == {"done"}
    got = ask("truncate", meta({"space": "5"}))
    assert got.told["status"] == 400
    assert "legal hold" in got.body
    assert vision.methods() == ["set", "delete"]
