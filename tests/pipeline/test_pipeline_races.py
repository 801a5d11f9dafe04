"""Several workers at once: each photo is claimed by one worker, and no face is stored twice."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

import pytest
from django.db import OperationalError, connection

from persons import pipeline
from persons.actions import naming
from persons.actions.faces import name_face
from persons.models import (
    Enrolment,
    Face,
    Gallery,
    Person,
    Photo,
    PhotoState,
    Space,
    User,
)
from persons.pipeline.enrolment import people as people_pipeline
from persons.pipeline.recognition import recognising
from persons.vision.types import Method
from tests.support.factories import FaceFactory, GalleryFactory
from tests.support.fakes import (
    Asked,
    FakeVision,
    Meeting,
    at_once,
    by,
    found,
    once,
    use,
    waiting_photo,
)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def no_bells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("persons.tasks.enqueue", lambda work: None)


@pytest.fixture
def vision(monkeypatch: pytest.MonkeyPatch) -> FakeVision:
    return use(monkeypatch, FakeVision(max_batch=4))


@pytest.fixture
def gallery(bob: User) -> Gallery:
    return GalleryFactory.create(team=bob.memberships.get().team, slug="lake")


def errors(outcomes: list[Any]) -> list[Exception]:
    return [outcome for outcome in outcomes if isinstance(outcome, Exception)]


def test_two_workers_never_get_the_same_photo(
    gallery: Gallery, vision: FakeVision, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = [waiting_photo(gallery) for _ in range(16)]
    for photo in photos:
        vision.show(photo, found(None))
    # Both have chosen the same waiting photos before either of them claims any.
    meeting = Meeting(seconds=0.2)
    update = Photo.objects.filter().__class__.update

    def late_update(self: Any, **columns: Any) -> int:
        if columns.get("state") == PhotoState.RUNNING:
            meeting()
        return int(update(self, **columns))

    monkeypatch.setattr(Photo.objects.filter().__class__, "update", late_update)

    def worker() -> None:
        while pipeline.recognise_batch(gallery.space_id) or waiting():
            pass

    def waiting() -> bool:
        return Photo.objects.filter(state=PhotoState.QUEUED).exists()

    assert not errors(at_once(worker, worker))
    asked = Counter(name for names in vision.recognised() for name in names)
    assert set(asked.values()) == {1}
    assert len(asked) == 16
    assert set(gallery.photos.values_list("state", flat=True)) == {PhotoState.DONE}
    assert Face.objects.count() == 16


def test_two_workers_prepare_a_photo_once(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = waiting_photo(gallery, state=PhotoState.NEW)
    outcomes = at_once(*[lambda: pipeline.prepare(photo.pk)] * 4)
    assert sorted(outcomes, key=str) == [gallery.space_id, None, None, None]


def test_two_workers_send_a_persons_pictures_once(
    gallery: Gallery, vision: FakeVision, bob: User
) -> None:
    photo = waiting_photo(gallery, state=PhotoState.DONE)
    ada = name_face(actor=by(bob), face=FaceFactory.create(photo=photo), label="Ada").person
    assert not errors(at_once(*[lambda: pipeline.sync(ada.pk)] * 4))
    assert vision.methods() == ["set"]


def test_somebody_found_by_two_workers_at_once_is_one_person(
    gallery: Gallery, vision: FakeVision
) -> None:
    """Vision made a person (`create_new`) whom both answers name and the ledger does not know."""
    for _ in range(8):
        vision.show(waiting_photo(gallery), found(41, similarity=1.0))
    meeting = Meeting(seconds=0.5)
    vision.before = lambda asked: meeting()
    outcomes = at_once(*[lambda: pipeline.recognise_batch(gallery.space_id)] * 2)
    assert not errors(outcomes)
    assert Person.objects.get().person_id == 41
    assert Face.objects.filter(person=Person.objects.get()).count() == 8


def test_naming_while_answers_are_stored_blocks_neither(
    gallery: Gallery, vision: FakeVision, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers that make new people lock the space, and so does a new name."""
    photos = [waiting_photo(gallery) for _ in range(2)]
    faces = [
        FaceFactory.create(photo=photo, left=100, top=80, right=200, bottom=210) for photo in photos
    ]
    for number, photo in enumerate(photos):
        vision.show(photo, found(50 + number, similarity=1.0))
    meeting = Meeting()
    for module, name in ((naming, "take_person_id"), (recognising, "_finish")):
        hold(monkeypatch, module, name, meeting)
    outcomes = at_once(
        lambda: pipeline.recognise_batch(gallery.space_id),
        lambda: name_face(actor=by(bob), face=faces[1], label="Ada"),
    )
    assert not [error for error in errors(outcomes) if isinstance(error, OperationalError)]
    assert not errors(outcomes)
    named = Face.objects.get(pk=faces[1].pk)
    assert named.person is not None
    assert named.person.label == "Ada"


def test_renaming_while_a_picture_is_accepted_blocks_neither(
    gallery: Gallery, vision: FakeVision, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = waiting_photo(gallery, state=PhotoState.DONE)
    face = FaceFactory.create(photo=photo, left=100, top=80, right=200, bottom=210)
    ada = name_face(actor=by(bob), face=face, label="Ada").person
    meeting = Meeting()
    hold(monkeypatch, people_pipeline, "_accept", meeting, after=True)
    hold(monkeypatch, naming, "take_person_id", meeting, after=True)
    outcomes = at_once(
        lambda: pipeline.sync(ada.pk),
        lambda: name_face(actor=by(bob), face=face, label="Bea"),
    )
    assert not errors(outcomes)
    for person in Person.objects.all():
        pipeline.sync(person.pk)
    live = Enrolment.objects.get(face=face, state="done")
    assert live.person.label == "Bea"


# SQLite lets one writer in at a time.
@pytest.mark.services("postgresql")
def test_an_enrolment_confirmed_while_an_answer_is_stored_is_not_missed(
    gallery: Gallery, vision: FakeVision, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer knows nothing of Ada, and its photo is not at rest yet when Ada is looked for."""
    known = waiting_photo(gallery, state=PhotoState.DONE)
    face = FaceFactory.create(photo=known, left=100, top=80, right=200, bottom=210)
    ada = name_face(actor=by(bob), face=face, label="Ada").person
    photo = waiting_photo(gallery)
    vision.show(photo, found(None))
    judged, enrolled = threading.Event(), threading.Event()
    finish = recognising._finish

    def slowly(*args: Any, **options: Any) -> None:
        """The answer has been judged up to date, and is not committed for a while yet."""
        finish(*args, **options)
        judged.set()
        enrolled.wait(0.7)

    monkeypatch.setattr(recognising, "_finish", slowly)

    def enrol() -> None:
        judged.wait(10)
        pipeline.sync(ada.pk)
        enrolled.set()

    assert not errors(at_once(lambda: pipeline.recognise_batch(gallery.space_id), enrol))
    photo.refresh_from_db()
    assert photo.state == PhotoState.QUEUED
    assert Space.objects.get(pk=gallery.space_id).version > 0


def test_a_photo_that_is_stored_while_its_person_is_looked_for_keeps_one_face(
    gallery: Gallery, vision: FakeVision, bob: User
) -> None:
    photos = [waiting_photo(gallery) for _ in range(4)]
    for photo in photos:
        vision.show(photo, found(None))
    pipeline.recognise_batch(gallery.space_id)
    ada = name_face(actor=by(bob), face=photos[0].faces.get(), label="Ada").person
    for photo in photos[1:]:
        vision.show(photo, found(ada.person_id))
    Photo.objects.update(state=PhotoState.QUEUED)

    def worker() -> None:
        for _ in range(4):
            pipeline.recognise_batch(gallery.space_id)

    assert not errors(at_once(worker, worker, lambda: pipeline.sync(ada.pk)))
    while pipeline.recognise_batch(gallery.space_id):
        pass
    assert [photo.faces.count() for photo in photos] == [1, 1, 1, 1]
    assert Face.objects.filter(person=ada).count() == 4


def test_no_transaction_is_open_while_vision_is_asked(
    gallery: Gallery, vision: FakeVision, bob: User
) -> None:
    """FakeVision looks at each call; here at all methods, in a process without a test's own."""
    assert not connection.in_atomic_block
    photo = waiting_photo(gallery)
    vision.show(photo, found(None))
    pipeline.recognise_batch(gallery.space_id)
    face = photo.faces.get()
    ada = name_face(actor=by(bob), face=face, label="Ada").person
    pipeline.sync(ada.pk)
    name_face(actor=by(bob), face=face, label="Bea")
    pipeline.sync(ada.pk)
    assert set(vision.methods()) == {Method.RECOGNIZE, Method.SET, Method.DELETE}


def test_the_claim_is_committed_before_vision_is_asked(
    gallery: Gallery, vision: FakeVision
) -> None:
    photo = waiting_photo(gallery)
    seen: list[Any] = []

    def look(asked: Asked | None = None) -> None:
        seen.extend(at_once(lambda: Photo.objects.get(pk=photo.pk).state))

    once(vision, look)
    pipeline.recognise_batch(gallery.space_id)
    assert seen == [PhotoState.RUNNING]


def hold(
    monkeypatch: pytest.MonkeyPatch,
    module: Any,
    name: str,
    meeting: Meeting,
    *,
    after: bool = False,
) -> None:
    """The first caller of this function waits for the other party, before it or after it."""
    original = getattr(module, name)
    held: list[bool] = []

    def wrapped(*args: Any, **options: Any) -> Any:
        if not after and not held:
            held.append(True)
            meeting()
        result = original(*args, **options)
        if after and not held:
            held.append(True)
            meeting()
        return result

    monkeypatch.setattr(module, name, wrapped)
