"""After a client changes who is enrolled, faces that could be somebody else now are rescanned."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.utils import timezone

from persons import pipeline
from persons.models import Call, Face, Gallery, Photo, PhotoState, Run, Space, Team
from persons.pipeline.recognition import rescan
from persons.work import Work
from tests.support import factories, wire
from tests.support.fakes import at_once, due_now, found, waiting_photo, wire_name
from tests.support.waiting import swept
from tests.support.wire import Ask, Vision, file, meta, people


@pytest.fixture
def token(team: Team) -> str:
    return wire.make_key(team)[1]


@pytest.fixture
def ask(token: str) -> Ask:
    return wire.in_process(token)


@pytest.fixture
def vision(monkeypatch: pytest.MonkeyPatch) -> Vision:
    return wire.use(monkeypatch, Vision())


@pytest.fixture
def space(team: Team) -> Space:
    return team.spaces.get(number=5)


@pytest.fixture
def gallery(team: Team, space: Space) -> Gallery:
    return factories.GalleryFactory.create(team=team, space=space)


def recognised(gallery: Gallery, vision: Vision, *persons: dict[str, object]) -> Photo:
    """A photo on which Vision saw these."""
    photo = waiting_photo(gallery)
    vision.show(photo, *persons)
    assert pipeline.recognise_batch(gallery.space_id)
    photo.refresh_from_db()
    assert photo.state == PhotoState.DONE
    return photo


def enrol(ask: Ask, person_id: int = 1) -> None:
    picture = file("file", b"picture %d" % person_id)
    assert ask("set", picture, meta(people(person_id=person_id))).told["status"] == 200


def forget(ask: Ask, person_id: int = 1) -> None:
    assert ask("delete", meta(people(person_id=person_id))).told["status"] == 200


def truncate(ask: Ask) -> None:
    assert ask("truncate", meta({"space": "5"})).told["status"] == 200


def later(**much: int) -> None:
    """As if all that has happened was longer ago."""
    past = timedelta(**much)
    for run in Run.objects.all():
        Run.objects.filter(pk=run.pk).update(created_at=run.created_at - past)
    for call in Call.objects.all():
        Call.objects.filter(pk=call.pk).update(started_at=call.started_at - past)


def work_off(gallery: Gallery) -> None:
    due_now()
    while pipeline.recognise_batch(gallery.space_id):
        due_now()


def state_of(photo: Photo) -> str:
    return Photo.objects.get(pk=photo.pk).state


def test_fifty_pictures_that_a_client_sets_make_one_look(
    ask: Ask, vision: Vision, gallery: Gallery, space: Space
) -> None:
    """And whoever is found by them gets the name."""
    photos = [recognised(gallery, vision, found(None)) for _ in range(3)]
    for number in range(1, 51):
        enrol(ask, number)
    run = Run.objects.get()
    assert (run.space, run.photo_count, run.finished_at) == (space, 0, None)
    assert not Run.objects.running().exists(), "a rescan that has not begun is not shown"
    for photo in photos:
        vision.show(photo, found(7))
    later(seconds=60)
    assert swept(Work.RECOGNISE) == [space.pk]
    work_off(gallery)
    assert {face.person.person_id for face in Face.objects.all() if face.person} == {7}
    assert Face.objects.filter(person=None).count() == 0
    run.refresh_from_db()
    assert run.photo_count == 3 and run.finished_at is not None
    assert run.found_count == 3
    # Once when they came, and once again.
    assert [name for names in vision.recognised() for name in names].count(
        wire_name(photos[0])
    ) == 2
    later(seconds=60)
    pipeline.sweep()
    assert Run.objects.count() == 1 and not swept(Work.RECOGNISE)


def test_a_look_waits_until_the_client_has_finished(
    ask: Ask, vision: Vision, gallery: Gallery
) -> None:
    photo = recognised(gallery, vision, found(None))
    enrol(ask, 1)
    for number in range(2, 5):
        later(seconds=14)
        enrol(ask, number)
        pipeline.sweep()
        assert state_of(photo) == PhotoState.DONE
    later(seconds=16)
    pipeline.sweep()
    assert state_of(photo) == PhotoState.QUEUED


def test_a_client_that_never_finishes_is_not_waited_for_longer(
    ask: Ask, vision: Vision, gallery: Gallery
) -> None:
    photo = recognised(gallery, vision, found(None))
    enrol(ask, 1)
    later(minutes=9)
    enrol(ask, 2)
    pipeline.sweep()
    assert state_of(photo) == PhotoState.DONE
    later(minutes=2)
    enrol(ask, 3)
    pipeline.sweep()
    assert state_of(photo) == PhotoState.QUEUED


def test_recognitions_do_not_hold_a_look_up_and_ask_for_none(
    ask: Ask, vision: Vision, gallery: Gallery
) -> None:
    photo = recognised(gallery, vision, found(None))
    ask("recognize", file("file", b"x"), meta(wire.pictures()))
    assert not Run.objects.exists()
    enrol(ask)
    later(seconds=20)
    ask("recognize", file("file", b"x"), meta(wire.pictures()))
    pipeline.sweep()
    assert state_of(photo) == PhotoState.QUEUED


def test_what_is_changed_during_a_look_gets_another_one_after_it(
    ask: Ask, vision: Vision, gallery: Gallery
) -> None:
    photo = recognised(gallery, vision, found(None))
    enrol(ask, 1)
    later(seconds=20)
    pipeline.sweep()
    enrol(ask, 2)
    later(seconds=20)
    pipeline.sweep()
    first, second = Run.objects.order_by("pk")
    assert (first.photo_count, second.photo_count) == (1, 0)
    work_off(gallery)
    assert state_of(photo) == PhotoState.DONE
    pipeline.sweep()
    second.refresh_from_db()
    assert second.photo_count == 1
    work_off(gallery)
    assert not Run.objects.filter(finished_at=None).exists()


@pytest.mark.parametrize("change", [forget, truncate])
def test_faces_that_the_engine_gave_to_somebody_who_is_gone_get_another_look(
    ask: Ask, vision: Vision, gallery: Gallery, change: Callable[[Ask], None]
) -> None:
    enrol(ask)
    theirs, others = (recognised(gallery, vision, found(1)), recognised(gallery, vision, found(2)))
    later(hours=1)
    pipeline.sweep()
    work_off(gallery)
    assert {face.person.person_id for face in Face.objects.all() if face.person} == {1, 2}
    change(ask)
    vision.show(theirs, found(None))
    later(seconds=20)
    pipeline.sweep()
    assert state_of(theirs) == PhotoState.QUEUED
    assert state_of(others) == (PhotoState.DONE if change is forget else PhotoState.QUEUED)
    work_off(gallery)
    assert theirs.faces.get().person is None
    assert others.faces.get().person is not None


def test_a_face_that_a_human_named_gets_no_look(ask: Ask, vision: Vision, gallery: Gallery) -> None:
    enrol(ask)
    photo = recognised(gallery, vision, found(1))
    person = photo.faces.get().person
    Face.objects.update(decision="named", decided_person=person)
    later(hours=1)
    pipeline.sweep()
    forget(ask)
    later(hours=1)
    pipeline.sweep()
    assert state_of(photo) == PhotoState.DONE


def test_a_look_that_was_cut_off_is_begun_again(
    ask: Ask, vision: Vision, gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of it or nothing: no photo is queued by a rescan that has not begun."""
    photo = recognised(gallery, vision, found(None))
    enrol(ask)
    later(seconds=20)

    def die(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Run, "save", die)
        with pytest.raises(KeyboardInterrupt):
            pipeline.sweep()
    assert state_of(photo) == PhotoState.DONE
    assert Run.objects.waiting().count() == 1
    pipeline.sweep()
    assert state_of(photo) == PhotoState.QUEUED


def test_a_change_and_its_look_are_written_together(
    ask: Ask, vision: Vision, gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    recognised(gallery, vision, found(None))

    def fail(*args: object, **kwargs: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("persons.proxy.answering.call_log.end", fail)
    with pytest.raises(ZeroDivisionError):
        enrol(ask)
    assert not Run.objects.exists()


def test_where_nobody_has_photos_there_is_nothing_to_rescan(
    ask: Ask, vision: Vision, team: Team
) -> None:
    elsewhere = factories.GalleryFactory.create(team=team, space=team.spaces.get(number=4))
    recognised(elsewhere, vision, found(None))
    enrol(ask)
    forget(ask)
    truncate(ask)
    assert not Run.objects.exists()


def test_a_picture_that_vision_refused_is_nothing_to_look_for(
    ask: Ask, vision: Vision, gallery: Gallery
) -> None:
    from persons.vision import envelope
    from tests.support.fakes import answer

    recognised(gallery, vision, found(None))
    vision.script.append(answer(envelope.failed("file", "no face")))
    ask("set", file("file", b"x"), meta(people()))
    vision.script.append(answer(envelope.failed("file", "no such person")))
    ask("delete", meta(people()))
    assert not Run.objects.exists()


def test_a_look_at_nothing_is_over_at_once(ask: Ask, vision: Vision, gallery: Gallery) -> None:
    recognised(gallery, vision)
    enrol(ask)
    later(seconds=20)
    assert not swept(Work.RECOGNISE)
    run = Run.objects.get()
    assert run.photo_count == 0 and run.finished_at is not None


@pytest.mark.django_db(transaction=True)
def test_many_changes_at_once_ask_for_one_look(
    token: str, vision: Vision, gallery: Gallery
) -> None:
    recognised(gallery, vision, found(None))

    def one(number: int) -> Callable[[], None]:
        return lambda: enrol(wire.in_process(token), number)

    assert at_once(*(one(number) for number in range(1, 13))) == [None] * 12
    assert Run.objects.count() == 1
    assert Call.objects.filter(method="set").count() == 12


@pytest.mark.django_db(transaction=True)
def test_a_look_that_begins_twice_begins_once(vision: Vision, token: str, gallery: Gallery) -> None:
    photo = recognised(gallery, vision, found(None))
    enrol(wire.in_process(token))
    now = timezone.now() + timedelta(hours=1)
    at_once(*[lambda: rescan.begin_rescans(now)] * 4)
    assert Photo.objects.get(pk=photo.pk).requested == photo.requested + 1
    assert Run.objects.get().photo_count == 1
