"""The same picture asked about again in an unchanged space isn't sent; the saving is counted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from persons import pipeline
from persons.actions.spaces import Policy, change_policy
from persons.billing.metering import this_month
from persons.models import ApiKey, Call, Gallery, Meter, Photo, PhotoState, Space, Team, User
from persons.models.calls import Outcome
from persons.vision import envelope
from persons.vision.types import ImageStatus
from tests.support import factories, fakes, wire
from tests.support.fakes import answer, by, found, seen, waiting_photo
from tests.support.wire import Ask, Vision, file, meta, people, pictures

pytestmark = pytest.mark.usefixtures("reuse")

FILE = file("file", b"picture")


@pytest.fixture
def vision(monkeypatch: pytest.MonkeyPatch) -> Vision:
    vision = wire.use(monkeypatch, Vision())
    vision.faces["file"] = [found(1), found(None)]
    return vision


@pytest.fixture
def made(team: Team) -> tuple[ApiKey, str]:
    return wire.make_key(team)


@pytest.fixture
def ask(made: tuple[ApiKey, str]) -> Ask:
    return wire.in_process(made[1])


@pytest.fixture
def space(team: Team) -> Space:
    return team.spaces.get(number=5)


@pytest.fixture
def gallery(team: Team, space: Space) -> Gallery:
    return factories.GalleryFactory.create(team=team, space=space)


def recognized(vision: Vision) -> int:
    """How often Vision was really asked to."""
    return vision.methods().count("recognize")


# --- From store ----------------------------------------------------------------------------------


def test_identical_bytes_are_answered_from_store(
    ask: Ask, vision: Vision, team: Team, made: tuple[ApiKey, str]
) -> None:
    first = ask("recognize", FILE, meta(pictures()))
    again = ask("recognize", FILE, meta(pictures()))
    assert again.told == first.told
    assert recognized(vision) == 1
    sent, saved = Call.objects.order_by("pk")
    assert (sent.image_count, sent.saved_count, sent.cost) == (1, 0, Decimal("0.06"))
    assert (saved.image_count, saved.saved_count, saved.cost) == (0, 1, Decimal(0))
    assert (saved.outcome, saved.status, saved.key) == (Outcome.DONE, 200, made[0])
    assert saved.answer.encode() == again.raw
    row = Meter.objects.get(team=team, key=made[0], month=this_month())
    assert (row.images, row.cost) == (1, Decimal("0.06"))
    assert (row.saved_images, row.saved_cost) == (1, Decimal("0.06"))


def test_the_rows_of_a_saved_call_are_as_those_of_a_sent_one(ask: Ask, vision: Vision) -> None:
    for _ in range(2):
        ask("recognize", FILE, meta(pictures()))
    sent, saved = (call.recognitions.get() for call in Call.objects.order_by("pk"))
    for column in ("name", "sha256", "status", "result", "face_count", "error"):
        assert getattr(sent, column) == getattr(saved, column), column
    assert saved.face_count == 2 and saved.status == ImageStatus.DONE


def test_under_another_name_it_is_the_same_picture(ask: Ask, vision: Vision) -> None:
    first = ask("recognize", FILE, meta(pictures()))
    again = ask("recognize", file("b.jpg", b"picture"), meta(pictures("b.jpg")))
    (one,), (other,) = first.body["objects"], again.body["objects"]
    assert other == {**one, "name": "b.jpg"}
    assert recognized(vision) == 1


def test_several_pictures_come_from_several_calls(ask: Ask, vision: Vision) -> None:
    vision.faces = {"a": [found(1)], "b": [found(2)]}
    ask("recognize", file("a", b"1"), meta(pictures("a")))
    ask("recognize", file("b", b"2"), meta(pictures("b")))
    both = ask("recognize", file("a", b"1"), file("b", b"2"), meta(pictures("b", "a")))
    assert recognized(vision) == 2
    tags = [(entry["name"], entry["persons"][0]["tag"]) for entry in both.body["objects"]]
    assert tags == [("b", "person2"), ("a", "person1")]
    assert Call.objects.latest("pk").saved_count == 2


def test_with_one_picture_that_is_new_all_are_asked(ask: Ask, vision: Vision) -> None:
    """The answer is Vision's own then, to the byte."""
    ask("recognize", FILE, meta(pictures()))
    got = ask("recognize", FILE, file("new", b"new"), meta(pictures("file", "new")))
    assert recognized(vision) == 2
    assert got.raw == Call.objects.latest("pk").answer.encode()
    assert Call.objects.latest("pk").image_count == 2


def test_a_picture_without_a_face_is_known_too(ask: Ask, vision: Vision) -> None:
    for _ in range(2):
        got = ask("recognize", file("x", b"nobody"), meta(pictures("x")))
        assert got.body["objects"] == [{"status": 0, "name": "x"}]
    assert recognized(vision) == 1


def test_labels_are_added_to_what_is_stored_as_they_are_now(
    ask: Ask, vision: Vision, space: Space
) -> None:
    plain = ask("recognize", FILE, meta(pictures())).told
    person = space.people.get(person_id=1)
    for label in ("Anna", "Berta"):
        type(person).objects.filter(pk=person.pk).update(label=label)
        got = ask("recognize", FILE, meta(pictures(labels=True)))
        assert got.body["objects"][0]["persons"][0].pop("label") == label
        wanted = plain["body"]["objects"][0]["persons"][0]
        named = got.body["objects"][0]["persons"][0]
        assert named == {**wanted, "label": label}
    assert recognized(vision) == 1


def test_what_the_parameters_say_by_default_is_the_same_question(ask: Ask, vision: Vision) -> None:
    ask("recognize", FILE, meta(pictures()))
    ask("recognize", FILE, meta(pictures(update_embedding=False)))
    ask("recognize", FILE, meta(pictures(create_new=False)))
    ask("recognize", FILE, meta(pictures(labels=False)))
    ask("recognize", FILE, meta(pictures(searcher=0)))
    ask("recognize", FILE, meta(pictures(searcher=None, create_new=None, update_embedding=None)))
    ask("recognize", FILE, meta(pictures(space="05")))
    ask("recognize", FILE, meta(pictures(space="+5", searcher=0, create_new=False)))
    assert recognized(vision) == 1
    assert Call.objects.filter(saved_count=1).count() == 7


def test_a_parameter_that_changes_the_answer_is_another_question(ask: Ask, vision: Vision) -> None:
    asked: list[dict[str, Any]] = [{}, {"searcher": 1}, {"mode": "x"}, {"mode": None}]
    for number, more in enumerate(asked, start=1):
        ask("recognize", FILE, meta(pictures(**more)))
        assert recognized(vision) == number


def test_what_a_worker_asked_a_client_need_not_ask_again_and_the_other_way_round(
    ask: Ask, vision: Vision, gallery: Gallery
) -> None:
    waiting_photo(gallery, sent=b"one")
    pipeline.recognise_batch(gallery.space_id)
    ask("recognize", file("file", b"one"), meta(pictures()))
    ask("recognize", file("file", b"two"), meta(pictures()))
    waiting_photo(gallery, sent=b"two")
    pipeline.recognise_batch(gallery.space_id)
    assert recognized(vision) == 2
    assert Call.objects.filter(saved_count=1).count() == 2


def test_the_workers_ask_no_picture_twice_either(
    vision: Vision, gallery: Gallery, team: Team
) -> None:
    one, other = (waiting_photo(gallery, sent=b"the same") for _ in range(2))
    other_waits = Photo.objects.filter(pk=other.pk)
    other_waits.update(state=PhotoState.NEW)
    pipeline.recognise_batch(gallery.space_id)
    other_waits.update(state=PhotoState.QUEUED)
    pipeline.recognise_batch(gallery.space_id)
    assert recognized(vision) == 1
    assert Photo.objects.get(pk=one.pk).state == Photo.objects.get(pk=other.pk).state == "done"
    row = Meter.objects.get(team=team, key=None)
    assert (row.images, row.saved_images) == (1, 1)
    assert [call.saved_count for call in Call.objects.order_by("pk")] == [0, 1]


def test_the_embedded_recogniser_saves_work_and_no_money(
    ask: Ask, team: Team, made: tuple[ApiKey, str]
) -> None:
    body = (file("file", wire.photo("obama_1")), meta(pictures()))
    first = ask("recognize", *body)
    assert ask("recognize", *body).told == first.told
    row = Meter.objects.get(key=made[0])
    assert (row.images, row.saved_images, row.saved_cost) == (1, 1, Decimal(0))


def test_a_saving_is_priced_on_the_step_where_the_month_is(
    ask: Ask, vision: Vision, made: tuple[ApiKey, str], settings: Any
) -> None:
    from persons.billing.tariff import parse

    settings.TARIFF = parse("1:5, 3")
    for _ in range(3):
        ask("recognize", FILE, meta(pictures()))
    row = Meter.objects.get(key=made[0])
    assert (row.cost, row.saved_cost) == (Decimal(5), Decimal(6))


# --- Asked again ---------------------------------------------------------------------------------

Change = Callable[[Ask, Space, Vision], object]

POLICY = Policy(
    name="",
    threshold=0.4,
    confirm_threshold=0.5,
    update_embedding=False,
    create_new=False,
    show_attributes=False,
    searcher=0,
)


def a_set(ask: Ask, space: Space, vision: Vision) -> None:
    assert ask("set", file("file", b"new"), meta(people())).told["status"] == 200


def a_set_of_what_is_known(ask: Ask, space: Space, vision: Vision) -> None:
    for _ in range(2):
        a_set(ask, space, vision)


def a_delete(ask: Ask, space: Space, vision: Vision) -> None:
    ask("delete", meta(people()))


def a_truncate(ask: Ask, space: Space, vision: Vision) -> None:
    ask("truncate", meta({"space": "5"}))


def a_recognition_that_learned(ask: Ask, space: Space, vision: Vision) -> None:
    ask("recognize", file("x", b"x"), meta(pictures("x", update_embedding=True)))


def a_recognition_that_created(ask: Ask, space: Space, vision: Vision) -> None:
    ask("recognize", file("x", b"x"), meta(pictures("x", create_new=True)))


def a_threshold(ask: Ask, space: Space, vision: Vision) -> None:
    change_policy(actor=by(None), space=space, policy=replace(POLICY, threshold=0.5))


def a_model(ask: Ask, space: Space, vision: Vision) -> None:
    vision.model = "cloud.example 2"


def a_backend(ask: Ask, space: Space, vision: Vision) -> None:
    vision.name = "other"


def an_enrolment_by_the_dashboard(ask: Ask, space: Space, vision: Vision) -> None:
    person = factories.PersonFactory.create(space=space, sync_state="queued")
    gallery = factories.GalleryFactory.create(team=space.team, space=space)
    photo = factories.PhotoFactory.create(gallery=gallery, with_file=wire.photo("obama_1"))
    face = factories.FaceFactory.create(photo=photo, person=person)
    person.enrolments.create(face=face)
    pipeline.sync(person.pk)
    assert person.enrolments.get().state == "done"


def a_day(ask: Ask, space: Space, vision: Vision) -> None:
    for call in Call.objects.all():
        Call.objects.filter(pk=call.pk).update(started_at=call.started_at - timedelta(hours=24))


@pytest.mark.parametrize(
    "change",
    [
        a_set,
        a_set_of_what_is_known,
        a_delete,
        a_truncate,
        a_recognition_that_learned,
        a_recognition_that_created,
        a_threshold,
        a_model,
        a_backend,
        an_enrolment_by_the_dashboard,
        a_day,
    ],
)
def test_after_a_change_it_is_asked_again(
    ask: Ask, vision: Vision, space: Space, change: Change
) -> None:
    ask("recognize", FILE, meta(pictures()))
    change(ask, space, vision)
    before = recognized(vision)
    ask("recognize", FILE, meta(pictures()))
    assert recognized(vision) == before + 1
    # And is known from then on.
    ask("recognize", FILE, meta(pictures()))
    assert recognized(vision) == before + 1


def test_what_changes_nothing_at_vision_asks_nothing_again(
    ask: Ask, vision: Vision, space: Space
) -> None:
    ask("recognize", FILE, meta(pictures()))
    change_policy(
        actor=by(None), space=space, policy=replace(POLICY, name="Staff", show_attributes=True)
    )
    refused = envelope.failed("file", "face set required only one face per image")
    vision.script.append(envelope.success({"objects": [refused]}))
    ask("set", FILE, meta(people()))
    ask("delete", meta({"space": "4", "images": [{"name": "a", "person_id": 1}]}))
    ask("truncate", meta({"space": "6"}))
    ask("recognize", FILE, meta(pictures()))
    assert recognized(vision) == 1


@pytest.mark.parametrize(
    "writes",
    [{"create_new": True}, {"update_embedding": True}, {"create_new": True, "searcher": 1}],
)
def test_a_recognition_that_may_write_is_asked_each_time(
    ask: Ask, vision: Vision, writes: dict[str, Any]
) -> None:
    for _ in range(3):
        ask("recognize", FILE, meta(pictures(**writes)))
    assert recognized(vision) == 3


def test_where_the_space_learns_each_recognition_is_asked(
    ask: Ask, vision: Vision, space: Space
) -> None:
    ask("recognize", FILE, meta(pictures()))
    change_policy(actor=by(None), space=space, policy=replace(POLICY, update_embedding=True))
    for _ in range(2):
        ask("recognize", FILE, meta(pictures()))
    assert recognized(vision) == 3


@pytest.mark.parametrize("more", [{"searcher": 1}, {"mode": "photo"}, {"space": "4"}])
def test_another_question_is_asked(ask: Ask, vision: Vision, more: dict[str, Any]) -> None:
    ask("recognize", FILE, meta(pictures()))
    ask("recognize", FILE, meta(pictures(**more)))
    assert recognized(vision) == 2


def test_another_picture_is_asked(ask: Ask, vision: Vision) -> None:
    ask("recognize", FILE, meta(pictures()))
    ask("recognize", file("file", b"picture "), meta(pictures()))
    assert recognized(vision) == 2


def test_another_teams_answers_are_its_own(ask: Ask, vision: Vision, charlie: User) -> None:
    ask("recognize", FILE, meta(pictures()))
    _, text = wire.make_key(charlie.teams.get())
    wire.in_process(text)("recognize", FILE, meta(pictures()))
    assert recognized(vision) == 2


@pytest.mark.parametrize("status", [ImageStatus.PERMANENT, ImageStatus.TEMPORARY])
def test_a_failure_is_not_an_answer(ask: Ask, vision: Vision, status: ImageStatus) -> None:
    vision.script.append(answer(envelope.failed("file", "no", status)))
    ask("recognize", FILE, meta(pictures()))
    got = ask("recognize", FILE, meta(pictures()))
    assert got.body["objects"][0]["status"] == 0
    assert recognized(vision) == 2


def test_an_answer_that_was_never_stored_is_none(ask: Ask, vision: Vision) -> None:
    """A page instead of an envelope, an envelope that fails, an answer for another image."""
    for reply in (b"<html>", envelope.failure(500, "no"), answer(seen("other"))):
        vision.script.append(reply)
        ask("recognize", FILE, meta(pictures()))
    ask("recognize", FILE, meta(pictures()))
    assert recognized(vision) == 4


def test_reuse_can_be_switched_off(ask: Ask, vision: Vision, settings: Any) -> None:
    settings.REUSE_HOURS = 0
    for _ in range(3):
        ask("recognize", FILE, meta(pictures()))
    assert recognized(vision) == 3


def test_a_set_is_never_answered_from_store(ask: Ask, vision: Vision) -> None:
    for _ in range(3):
        ask("set", FILE, meta(people()))
    assert vision.methods() == ["set"] * 3


def test_what_changed_while_vision_was_asked_is_asked_again(
    ask: Ask, vision: Vision, space: Space
) -> None:
    """The answer may be of before or of after: nobody is told it a second time."""
    fakes.once(vision, lambda: Space.objects.filter(pk=space.pk).update(version=7))
    ask("recognize", FILE, meta(pictures()))
    ask("recognize", FILE, meta(pictures()))
    assert recognized(vision) == 2
