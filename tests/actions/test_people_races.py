"""Concurrent merges, splits and names: threads start together, each with its own connection.

On SQLite one transaction waits for the other; on PostgreSQL `Meeting` holds both at the worst
moment.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError

from persons import pipeline
from persons.actions import apply_decisions, drawing, enrolment_selection, merging
from persons.actions import changes as undoing
from persons.actions import people as people_actions
from persons.actions.changes import undo
from persons.actions.faces import (
    clear_decision,
    confirm_faces,
    draw_face,
    ignore_face,
    name_face,
    reject_faces,
)
from persons.actions.people import different_people, merge_people, remove_empty_person
from persons.errors import Refused
from persons.faces.identity import resolve_identities, resolve_person
from persons.models import (
    Change,
    Decision,
    Enrolment,
    Face,
    Gallery,
    Likeness,
    Person,
    Photo,
    PhotoState,
    SpaceJob,
    User,
)
from persons.pipeline.identity import merge_propagation
from persons.pipeline.recognition import recognising
from persons.vision.types import Box
from tests.support.factories import FaceFactory, GalleryFactory, PersonFactory, PhotoFactory
from tests.support.fakes import FakeVision, Meeting, at_once, by, found, use, waiting_photo

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.thorough]


@pytest.fixture(autouse=True)
def no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits, waits until the test does it."""
    monkeypatch.setattr("persons.tasks.enqueue", lambda work: None)


@pytest.fixture
def gallery(bob: User) -> Gallery:
    return GalleryFactory.create(team=bob.memberships.get().team, slug="lake")


@pytest.fixture
def pair(gallery: Gallery) -> list[Person]:
    return [PersonFactory.create(space=gallery.space, label=label) for label in ("Ada", "Bea")]


@pytest.fixture
def faces(gallery: Gallery, pair: list[Person]) -> list[Face]:
    """On each of six photos both of them."""
    return [
        FaceFactory.create(photo=photo, person=who, left=left, right=left + 20)
        for photo in PhotoFactory.create_batch(6, gallery=gallery)
        for who, left in zip(pair, (2, 40), strict=True)
    ]


def meet_before(monkeypatch: pytest.MonkeyPatch, *functions: tuple[Any, str]) -> None:
    """Whoever calls one of these waits until the other party is about to call one too."""
    meeting = Meeting()
    for module, name in functions:
        monkeypatch.setattr(module, name, _after(meeting, getattr(module, name)))


def _after(meeting: Meeting, original: Callable[..., Any]) -> Callable[..., Any]:
    def wrapped(*args: Any, **options: Any) -> Any:
        meeting()
        return original(*args, **options)

    return wrapped


def errors(outcomes: list[Any]) -> list[Exception]:
    return [outcome for outcome in outcomes if isinstance(outcome, Exception)]


def all_is_resolved(*people: Person) -> None:
    """Once workers have done what a merge enqueued, resolving identities again changes nothing."""
    for person in people:
        resolve_person(person.pk)
    columns = ("pk", "person", "review", "review_rank")
    before = set(Face.everything.values_list(*columns))
    resolve_identities(Photo.everything.values_list("pk", flat=True))
    assert set(Face.everything.values_list(*columns)) == before


def test_one_change_undone_twice_at_once_is_undone_once(
    alice: User, bob: User, faces: list[Face]
) -> None:
    change = name_face(actor=by(bob), face=faces[0], label="Cyd").change
    outcomes = at_once(
        lambda: undo(actor=by(alice), change=change), lambda: undo(actor=by(bob), change=change)
    )
    (refused,) = errors(outcomes)
    assert isinstance(refused, Refused)
    assert Face.objects.get(pk=faces[0].pk).decision == Decision.NONE
    assert not Enrolment.objects.exclude(state="removing").exists()


def test_two_changes_of_a_face_undone_at_once_leave_it_as_before_both(
    alice: User, bob: User, faces: list[Face], monkeypatch: pytest.MonkeyPatch
) -> None:
    for label in ("Cyd", "Eve"):
        name_face(actor=by(bob), face=faces[0], label=label)
    changes = list(Change.objects.all())
    meet_before(monkeypatch, (undoing, "lock_faces"))
    outcomes = at_once(
        lambda: undo(actor=by(alice), change=changes[0]),
        lambda: undo(actor=by(bob), change=changes[1]),
    )
    assert not errors(outcomes)
    face = Face.objects.get(pk=faces[0].pk)
    assert (face.decision, face.person) == (Decision.NONE, faces[0].person)
    assert not Enrolment.objects.exclude(state="removing").exists()


def test_two_people_merged_into_each_other_at_once_are_one(
    alice: User, bob: User, pair: list[Person], faces: list[Face]
) -> None:
    ada, bea = pair
    outcomes = at_once(
        lambda: merge_people(actor=by(alice), person=ada, into=bea),
        lambda: merge_people(actor=by(bob), person=bea, into=ada),
    )
    (refused,) = errors(outcomes)
    assert isinstance(refused, Refused)
    assert Person.objects.filter(merged_into=None).count() == 1
    all_is_resolved(ada, bea)


def test_a_pair_merged_and_kept_apart_at_once_is_one_of_both(
    alice: User, bob: User, pair: list[Person]
) -> None:
    ada, bea = pair
    outcomes = at_once(
        lambda: merge_people(actor=by(alice), person=ada, into=bea),
        lambda: different_people(actor=by(bob), one=bea, other=ada),
    )
    (refused,) = errors(outcomes)
    assert isinstance(refused, Refused)
    merged = Person.objects.filter(merged_into=bea).exists()
    assert merged != Likeness.objects.filter(decision="differ").exists()


def test_a_face_named_while_its_person_is_merged_is_the_survivors(
    alice: User,
    bob: User,
    gallery: Gallery,
    pair: list[Person],
    faces: list[Face],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ada, bea = pair
    unknown = FaceFactory.create(photo=PhotoFactory.create(gallery=gallery))
    meet_before(monkeypatch, (enrolment_selection, "lock_people"), (merging, "lock_people"))
    outcomes = at_once(
        lambda: merge_people(actor=by(alice), person=ada, into=bea),
        lambda: name_face(actor=by(bob), face=unknown, label="Ada"),
    )
    assert not errors(outcomes)
    all_is_resolved(bea)
    assert Face.objects.get(pk=unknown.pk).person == bea
    (live,) = Enrolment.objects.filter(face=unknown, state__in=["queued", "done"])
    assert live.person == bea, "the picture goes along too"


@pytest.mark.parametrize("verb", ["confirm", "reject", "ignore", "clear"])
def test_deciding_on_many_faces_while_their_people_are_merged_blocks_neither(
    alice: User,
    bob: User,
    pair: list[Person],
    faces: list[Face],
    monkeypatch: pytest.MonkeyPatch,
    verb: str,
) -> None:
    ada, bea = pair
    name_face(actor=by(bob), face=faces[2], label="Bea")

    def decide() -> object:
        if verb == "confirm":
            return confirm_faces(actor=by(bob), faces=faces[::-1])
        if verb == "reject":
            return reject_faces(actor=by(bob), faces=faces[::-1], person=ada)
        if verb == "clear":
            return clear_decision(actor=by(bob), face=faces[2])
        return ignore_face(actor=by(bob), face=faces[0])

    meet_before(monkeypatch, (enrolment_selection, "lock_people"), (merging, "_lock_photos"))
    outcomes = at_once(lambda: merge_people(actor=by(alice), person=ada, into=bea), decide)
    assert not [error for error in errors(outcomes) if isinstance(error, OperationalError)]
    assert isinstance(outcomes[0], Change)
    all_is_resolved(bea)
    assert not Face.objects.filter(person=ada).exists()


@pytest.mark.parametrize("module", ["faces", "people"])
def test_a_decision_while_a_merge_is_undone_is_not_lost(
    alice: User,
    bob: User,
    pair: list[Person],
    faces: list[Face],
    monkeypatch: pytest.MonkeyPatch,
    module: str,
) -> None:
    ada, bea = pair
    named = name_face(actor=by(bob), face=faces[0], label="Cyd")
    change = merge_people(actor=by(alice), person=ada, into=bea)
    point = (merging, "_lock_photos") if module == "faces" else (merging, "lock_people")
    meet_before(monkeypatch, (apply_decisions, "resolve_identities"), point)
    outcomes = at_once(
        lambda: undo(actor=by(alice), change=change),
        lambda: undo(actor=by(bob), change=named.change),
    )
    assert not errors(outcomes)
    all_is_resolved(bea, ada)
    assert Face.objects.get(pk=faces[0].pk).person == ada, "as Vision says"
    assert Face.objects.filter(person=ada).count() == 6


def test_an_answer_stored_while_people_are_merged_counts_for_the_survivor(
    alice: User, gallery: Gallery, pair: list[Person], monkeypatch: pytest.MonkeyPatch
) -> None:
    ada, bea = pair
    vision = use(monkeypatch, FakeVision())
    photo = waiting_photo(gallery)
    vision.show(photo, found(ada.person_id))
    meet_before(monkeypatch, (recognising, "_finish"), (merging, "_lock_photos"))
    outcomes = at_once(
        lambda: merge_people(actor=by(alice), person=ada, into=bea),
        lambda: pipeline.recognise_batch(gallery.space_id),
    )
    assert not errors(outcomes)
    all_is_resolved(bea)
    assert photo.faces.get().person == bea


def test_a_box_drawn_twice_at_once_is_one_face(
    alice: User, bob: User, gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = waiting_photo(gallery, state=PhotoState.DONE)
    box = Box(100, 80, 200, 210)
    meet_before(monkeypatch, (drawing, "_demand_inside"))
    outcomes = at_once(
        lambda: draw_face(actor=by(alice), photo=photo, box=box, label="Ada"),
        lambda: draw_face(actor=by(bob), photo=photo, box=box, label="Bea"),
    )
    (refused,) = errors(outcomes)
    assert isinstance(refused, Refused)
    assert photo.faces.count() == 1


def test_a_person_removed_while_somebody_is_named_so_is_named_or_refused(
    alice: User, bob: User, gallery: Gallery, pair: list[Person], monkeypatch: pytest.MonkeyPatch
) -> None:
    face = FaceFactory.create(photo=PhotoFactory.create(gallery=gallery))
    meet_before(
        monkeypatch, (enrolment_selection, "lock_people"), (people_actions, "_demand_unmerged")
    )
    outcomes = at_once(
        lambda: remove_empty_person(actor=by(alice), person=pair[0]),
        lambda: name_face(actor=by(bob), face=face, label="Ada"),
    )
    assert all(isinstance(error, Refused) for error in errors(outcomes))
    named = Face.objects.get(pk=face.pk)
    assert named.decision == Decision.NONE or named.person is not None


def test_a_merge_undone_while_a_worker_has_read_it_leaves_no_face_behind(
    bob: User, gallery: Gallery, pair: list[Person], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ada goes to Bea and Bea to Cyd; the worker that takes Ada's faces to Cyd commits last."""
    monkeypatch.setattr(merging, "MOST_MOVED", 2)
    ada, bea = pair
    cyd = PersonFactory.create(space=gallery.space, label="Cyd")
    for photo in PhotoFactory.create_batch(4, gallery=gallery):
        FaceFactory.create(photo=photo, person=ada)
    change = merge_people(actor=by(bob), person=ada, into=bea)
    merge_people(actor=by(bob), person=bea, into=cyd)
    job = SpaceJob.objects.get()
    has_read, is_parted = threading.Event(), threading.Event()

    def late(pks: list[int]) -> None:
        resolve_identities(pks)
        has_read.set()
        is_parted.wait(1)

    def parting() -> None:
        has_read.wait(5)
        undo(actor=by(bob), change=change)
        resolve_person(cyd.pk)
        is_parted.set()

    monkeypatch.setattr(merge_propagation, "resolve_identities", late)
    assert not errors(at_once(lambda: pipeline.work(job.pk), parting))
    monkeypatch.undo()
    # Where writers wait for each other, the parting saw the faces at Cyd's, and left them a job.
    for left in SpaceJob.objects.under_way():
        pipeline.work(left.pk)
    assert Face.objects.filter(person=ada).count() == 4
