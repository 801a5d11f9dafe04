"""Concurrent actions: each test starts threads together, each with its own database connection.

On SQLite, writing transactions wait for each other. On PostgreSQL they interleave, and `Meeting`
holds each thread at the worst moment until the other one is there too.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.db import OperationalError

from persons.actions import apply_decisions
from persons.actions import naming as naming_actions
from persons.actions.faces import name_face
from persons.actions.galleries import create_gallery
from persons.actions.photos import Added, add_photo
from persons.actions.teams import accept_invitation, change_role, invite_member, remove_member
from persons.errors import Refused
from persons.models import (
    Enrolment,
    Face,
    Gallery,
    Membership,
    Person,
    Photo,
    PhotoState,
    Role,
    Team,
    User,
)
from tests.support.factories import FaceFactory, GalleryFactory, UserFactory, jpeg
from tests.support.fakes import Meeting, at_once, by, entries, waiting_photo

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def no_bells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("persons.tasks.enqueue", lambda work: None)


@pytest.fixture
def gallery(bob: User) -> Gallery:
    return GalleryFactory.create(team=bob.memberships.get().team, slug="lake")


@pytest.fixture
def faces(gallery: Gallery) -> list[Face]:
    photo = waiting_photo(gallery, state=PhotoState.DONE)
    return [
        FaceFactory.create(photo=photo, left=left, right=left + 80) for left in (10, 110, 210, 300)
    ]


def meet_before(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> None:
    """Whoever calls this function waits until the other is about to call it too."""
    meeting, original = Meeting(), getattr(module, name)

    def wrapped(*args: Any, **options: Any) -> Any:
        meeting()
        return original(*args, **options)

    monkeypatch.setattr(module, name, wrapped)


def naming(user: User, face: Face, label: str) -> Callable[[], object]:
    return lambda: name_face(actor=by(user), face=Face.objects.get(pk=face.pk), label=label)


@pytest.mark.parametrize(
    ("one", "other"), [("Ada", "Ada"), ("Ada Lovelace", "ada  LOVELACE"), ("Юлия", "юлия")]
)
def test_two_faces_given_the_same_new_name_are_one_person(
    alice: User,
    bob: User,
    faces: list[Face],
    one: str,
    other: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    meet_before(monkeypatch, naming_actions, "take_person_id")
    outcomes = at_once(naming(alice, faces[0], one), naming(bob, faces[1], other))
    assert not [error for error in outcomes if isinstance(error, Exception)]
    person = Person.objects.get()
    assert set(Face.objects.filter(person=person)) == set(faces[:2])
    assert sorted(outcome.is_new for outcome in outcomes) == [False, True]  # type: ignore[attr-defined]
    assert Enrolment.objects.count() == 2
    assert len(entries(person.space.team, "person.create")) == 1


def test_one_face_given_two_names_has_one_of_them_and_one_enrolment(
    alice: User, bob: User, faces: list[Face]
) -> None:
    outcomes = at_once(naming(alice, faces[0], "Ada"), naming(bob, faces[0], "Bea"))
    assert not [error for error in outcomes if isinstance(error, Exception)]
    face = Face.objects.get(pk=faces[0].pk)
    (live,) = Enrolment.objects.filter(face=face, state="queued")
    assert live.person == face.person == face.decided_person


def test_one_face_given_the_same_name_twice_is_enrolled_once(
    alice: User, bob: User, faces: list[Face]
) -> None:
    outcomes = at_once(*[naming(user, faces[0], "Ada") for user in (alice, bob, alice, bob)])
    assert not [error for error in outcomes if isinstance(error, Exception)]
    assert Person.objects.count() == 1
    assert Enrolment.objects.get().state == "queued"


def test_four_new_names_get_four_ids(bob: User, faces: list[Face]) -> None:
    outcomes = at_once(*[naming(bob, face, f"Person {face.pk}") for face in faces])
    assert not [error for error in outcomes if isinstance(error, Exception)]
    assert sorted(Person.objects.values_list("person_id", flat=True)) == [1, 2, 3, 4]


def test_two_faces_that_swap_their_names_do_not_block_each_other(
    alice: User, bob: User, faces: list[Face], monkeypatch: pytest.MonkeyPatch
) -> None:
    name_face(actor=by(bob), face=faces[0], label="Ada")
    name_face(actor=by(bob), face=faces[1], label="Bea")
    meet_before(monkeypatch, apply_decisions, "lock_with_canonical")
    outcomes = at_once(naming(alice, faces[0], "Bea"), naming(bob, faces[1], "Ada"))
    assert not [error for error in outcomes if isinstance(error, OperationalError)]
    labels = [face.person.label for face in Face.objects.filter(person__isnull=False)]  # type: ignore[union-attr]
    assert sorted(labels) == ["Ada", "Bea"]
    assert Face.objects.get(pk=faces[0].pk).person.label == "Bea"  # type: ignore[union-attr]


def test_the_same_bytes_uploaded_twice_at_once_are_one_photo_and_one_file(
    alice: User,
    bob: User,
    gallery: Gallery,
    data_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    content = jpeg((4, 5, 6), (300, 200))
    meet_before(monkeypatch, default_storage, "save")

    def upload(user: User) -> Callable[[], Added]:
        return lambda: add_photo(
            actor=by(user), gallery=gallery, file=io.BytesIO(content), file_name=f"{user}.jpg"
        )

    outcomes = at_once(upload(alice), upload(bob))
    assert sorted(outcome.is_new for outcome in outcomes) == [False, True]  # type: ignore[union-attr]
    photo = Photo.objects.get()
    assert {outcome.photo for outcome in outcomes} == {photo}  # type: ignore[union-attr]
    files = [path for path in (data_folder / "media").rglob("*") if path.is_file()]
    assert [path.read_bytes() for path in files] == [content]
    assert len(entries(gallery.team, "photo.upload")) == 1


def test_two_owners_who_demote_each_other_leave_one_owner(alice: User, team: Team) -> None:
    second = UserFactory.create(username="second")
    Membership.objects.create(team=team, user=second, role=Role.OWNER)

    def demote(whom: User, by_whom: User) -> Callable[[], Membership]:
        membership = Membership.objects.get(team=team, user=whom)
        return lambda: change_role(actor=by(by_whom), membership=membership, role=Role.VIEWER)

    outcomes = at_once(demote(alice, second), demote(second, alice))
    (refused,) = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    assert isinstance(refused, Refused)
    assert Membership.objects.filter(team=team, role=Role.OWNER).count() == 1
    assert len(entries(team, "member.role")) == 1


def test_two_owners_who_leave_at_once_leave_one_behind(alice: User, team: Team) -> None:
    second = UserFactory.create(username="second")
    Membership.objects.create(team=team, user=second, role=Role.OWNER)

    def leave(user: User) -> Callable[[], None]:
        membership = Membership.objects.get(team=team, user=user)
        return lambda: remove_member(actor=by(user), membership=membership)

    outcomes = at_once(leave(alice), leave(second))
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["NoneType", "Refused"]
    assert Membership.objects.filter(team=team, role=Role.OWNER).count() == 1


def test_an_invitation_accepted_twice_at_once_makes_one_member(alice: User, team: Team) -> None:
    invitation, _ = invite_member(
        actor=by(alice), team=team, email="x@example.org", role=Role.VIEWER
    )
    guests = [UserFactory.create() for _ in range(2)]

    def accept(user: User) -> Callable[[], Membership]:
        return lambda: accept_invitation(actor=by(user), invitation=invitation, user=user)

    outcomes = at_once(*[accept(guest) for guest in guests])
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Membership", "Refused"]
    assert Membership.objects.filter(team=team).count() == 2


def test_two_galleries_of_the_same_name_at_once_get_two_addresses_or_a_clear_refusal(
    alice: User, bob: User, team: Team
) -> None:
    space = team.spaces.get(number=0)

    def make(user: User) -> Callable[[], Gallery]:
        return lambda: create_gallery(actor=by(user), team=team, name="Lake", space=space)

    outcomes = at_once(make(alice), make(bob))
    assert all(isinstance(outcome, Gallery | Refused) for outcome in outcomes)
    made = {outcome.slug for outcome in outcomes if isinstance(outcome, Gallery)}
    assert made
    assert set(Gallery.objects.values_list("slug", flat=True)) == made
