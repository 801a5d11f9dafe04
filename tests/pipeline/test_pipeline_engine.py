"""The demo photos through the pipeline and the real recogniser: named people come out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings

from persons import tasks
from persons.actions.faces import clear_decision, name_face, reject_person
from persons.actions.photos import add_photo, recognise_gallery_again
from persons.engine.engine import Engine
from persons.models import (
    Call,
    Enrolment,
    EnrolmentState,
    Face,
    Gallery,
    Person,
    Photo,
    PhotoState,
    Recognition,
    Run,
    Space,
    User,
)
from persons.models.calls import Outcome
from persons.vision.types import Answer, Image, Method
from tests.support.factories import GalleryFactory
from tests.support.fakes import by, in_transaction

# Whom the recogniser knows is a matter of pictures. The same chain, by real workers, is in
# test_kill.py; the store of embeddings on each database is in test_engine_store.py.
pytestmark = [
    pytest.mark.thorough,
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("eager"),
    pytest.mark.any_database,
]

PHOTOS: Path = django_settings.BASE_DIR / "demo" / "photos"
IN_GROUP = ["macron", "ardern", "obama", "collins"]
"""Who is on group_1.jpg, from left to right."""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Method, list[Image]]]:
    """What the engine is asked, each time outside any transaction and within its limits."""
    asked: list[tuple[Method, list[Image]]] = []
    call = Engine.call

    def watched(
        self: Engine, method: Method, meta: Mapping[str, Any], images: Sequence[Image]
    ) -> Answer:
        assert not in_transaction()
        assert len(images) <= self.max_batch
        asked.append((method, list(images)))
        return call(self, method, meta, images)

    monkeypatch.setattr(Engine, "call", watched)
    return asked


@pytest.fixture
def gallery(bob: User) -> Gallery:
    return GalleryFactory.create(team=bob.memberships.get().team, slug="visit")


@pytest.fixture
def upload(bob: User, gallery: Gallery) -> Callable[..., dict[str, Photo]]:
    """`upload("macron_1", ...)`, or all of them; by name, recognised."""

    def upload(*names: str) -> dict[str, Photo]:
        paths = [path for path in sorted(PHOTOS.glob("*.jpg")) if path.stem in names or not names]
        for path in paths:
            with path.open("rb") as file:
                add_photo(actor=by(bob), gallery=gallery, file=file, file_name=path.name)
        photos = {photo.file_name.split(".")[0]: photo for photo in gallery.photos.all()}
        assert {photo.state for photo in photos.values()} == {PhotoState.DONE}
        return photos

    return upload


def names(photo: Photo) -> list[str]:
    """From left to right; "?" where nobody knows."""
    return [face.person.label if face.person else "?" for face in photo.faces.order_by("left")]


def every_name(gallery: Gallery) -> dict[str, list[str]]:
    return {photo.file_name.split(".")[0]: names(photo) for photo in gallery.photos.all()}


ALONE = ["macron_1", "macron_2", "ardern_1", "ardern_2", "obama_1", "sunak_1", "collins_1"]


def test_each_photo_gets_its_faces_and_nobody_a_name(
    upload: Callable[..., dict[str, Photo]], gallery: Gallery, asked: list[Any]
) -> None:
    photos = upload()
    assert {name: names(photos[name]) for name in ALONE} == {name: ["?"] for name in ALONE}
    assert names(photos["group_1"]) == ["?"] * 4
    assert not Person.objects.exists()
    for photo in photos.values():
        for face in photo.faces.all():
            assert 0 <= face.left < face.right <= photo.width
            assert 0 <= face.top < face.bottom <= photo.height
            assert face.confidence > 0.6
    assert set(Call.objects.values_list("outcome", flat=True)) == {Outcome.DONE}
    assert {call.backend for call in Call.objects.all()} == {"embedded"}
    assert Recognition.objects.count() == 8
    sent = {hashlib.sha256(image.data).hexdigest() for _, images in asked for image in images}
    assert sent == set(Photo.objects.values_list("sent_sha256", flat=True))


def test_naming_one_photo_of_somebody_finds_the_other(
    upload: Callable[..., dict[str, Photo]], gallery: Gallery, bob: User, asked: list[Any]
) -> None:
    photos = upload()
    name_face(actor=by(bob), face=photos["macron_1"].faces.get(), label="Emmanuel Macron")
    assert every_name(gallery) == {
        **{name: ["?"] for name in ALONE},
        "macron_1": ["Emmanuel Macron"],
        "macron_2": ["Emmanuel Macron"],
        "group_1": ["Emmanuel Macron", "?", "?", "?"],
    }
    found = photos["macron_2"].faces.get()
    assert found.decision == ""
    assert found.similarity >= Space.objects.get(pk=gallery.space_id).threshold
    run = Run.objects.get()
    assert (run.photo_count, run.found_count) == (7, 2)
    assert run.finished_at is not None
    assert found.found_by_run == run


@pytest.mark.parametrize("position", range(4), ids=IN_GROUP)
def test_one_face_of_a_group_photo_is_enough(
    upload: Callable[..., dict[str, Photo]], gallery: Gallery, bob: User, position: int
) -> None:
    who, other = IN_GROUP[position], IN_GROUP[position - 1]
    photos = upload("group_1", "sunak_1", f"{who}_1", f"{who}_2", f"{other}_1")
    face = photos["group_1"].faces.order_by("left")[position]
    name_face(actor=by(bob), face=face, label=who)
    enrolment = Enrolment.objects.get()
    assert (enrolment.state, enrolment.error) == (EnrolmentState.DONE, "")
    expected = {name: [who if name.startswith(who) else "?"] for name in photos}
    expected["group_1"] = ["?"] * 4
    expected["group_1"][position] = who
    assert every_name(gallery) == expected


def test_new_photos_of_somebody_known_come_in_named(
    upload: Callable[..., dict[str, Photo]], gallery: Gallery, bob: User
) -> None:
    photos = upload("ardern_1")
    name_face(actor=by(bob), face=photos["ardern_1"].faces.get(), label="Jacinda Ardern")
    upload("ardern_2", "sunak_1", "group_1")
    assert every_name(gallery) == {
        "ardern_1": ["Jacinda Ardern"],
        "ardern_2": ["Jacinda Ardern"],
        "sunak_1": ["?"],
        "group_1": ["?", "Jacinda Ardern", "?", "?"],
    }


def test_two_people_of_one_photo_are_told_apart(
    upload: Callable[..., dict[str, Photo]], gallery: Gallery, bob: User
) -> None:
    photos = upload("group_1", "macron_1", "ardern_1", "sunak_1")
    left, right = photos["group_1"].faces.order_by("left")[:2]
    name_face(actor=by(bob), face=left, label="Macron")
    name_face(actor=by(bob), face=right, label="Ardern")
    assert every_name(gallery) == {
        "group_1": ["Macron", "Ardern", "?", "?"],
        "macron_1": ["Macron"],
        "ardern_1": ["Ardern"],
        "sunak_1": ["?"],
    }


def test_what_a_wrong_name_had_found_is_unnamed_when_it_is_corrected(
    upload: Callable[..., dict[str, Photo]], gallery: Gallery, bob: User
) -> None:
    photos = upload("macron_1", "macron_2", "ardern_1", "ardern_2")
    name_face(actor=by(bob), face=photos["macron_1"].faces.get(), label="Jacinda Ardern")
    assert names(photos["macron_2"]) == ["Jacinda Ardern"]
    name_face(actor=by(bob), face=photos["macron_1"].faces.get(), label="Emmanuel Macron")
    name_face(actor=by(bob), face=photos["ardern_1"].faces.get(), label="Jacinda Ardern")
    work_off(gallery)
    assert every_name(gallery) == {
        "macron_1": ["Emmanuel Macron"],
        "macron_2": ["Emmanuel Macron"],
        "ardern_1": ["Jacinda Ardern"],
        "ardern_2": ["Jacinda Ardern"],
    }


def test_undoing_a_name_takes_it_from_every_photo(
    upload: Callable[..., dict[str, Photo]], gallery: Gallery, bob: User
) -> None:
    photos = upload("macron_1", "macron_2", "group_1")
    face = photos["group_1"].faces.order_by("left")[0]
    name_face(actor=by(bob), face=face, label="Macron")
    assert names(photos["macron_2"]) == ["Macron"]
    clear_decision(actor=by(bob), face=face)
    work_off(gallery)
    assert every_name(gallery) == {
        "macron_1": ["?"],
        "macron_2": ["?"],
        "group_1": ["?"] * 4,
    }


def test_a_person_rejected_by_hand_stays_away_when_all_is_recognised_again(
    upload: Callable[..., dict[str, Photo]], gallery: Gallery, bob: User
) -> None:
    photos = upload("macron_1", "macron_2")
    name_face(actor=by(bob), face=photos["macron_1"].faces.get(), label="Macron")
    said = photos["macron_2"].faces.get()
    reject_person(actor=by(bob), face=said, person=said.person)
    recognise_gallery_again(actor=by(bob), gallery=gallery)
    assert every_name(gallery) == {"macron_1": ["Macron"], "macron_2": ["?"]}
    assert photos["macron_2"].faces.get().pk == said.pk


def test_recognising_all_again_changes_nothing(
    upload: Callable[..., dict[str, Photo]], gallery: Gallery, bob: User
) -> None:
    photos = upload("macron_1", "macron_2", "sunak_1")
    name_face(actor=by(bob), face=photos["macron_1"].faces.get(), label="Macron")
    recognise_gallery_again(actor=by(bob), gallery=gallery)
    columns = ("pk", "photo", "left", "top", "right", "bottom", "person", "similarity", "decision")
    before = list(Face.objects.order_by("pk").values_list(*columns))
    enrolments = list(Enrolment.objects.values_list("pk", "state", "sha256"))
    recognise_gallery_again(actor=by(bob), gallery=gallery)
    assert list(Face.objects.order_by("pk").values_list(*columns)) == before
    assert list(Enrolment.objects.values_list("pk", "state", "sha256")) == enrolments


def test_unknown_faces_are_grouped_where_the_space_asks_for_it(
    upload: Callable[..., dict[str, Photo]], gallery: Gallery
) -> None:
    Space.objects.filter(pk=gallery.space_id).update(create_new=True)
    photos = upload()
    assert Person.objects.count() == 5
    assert not Person.objects.exclude(label="").exists()
    people = {name: [f.person_id for f in p.faces.order_by("left")] for name, p in photos.items()}
    assert people["macron_1"] == people["macron_2"] == people["group_1"][:1]
    assert people["ardern_1"] == people["ardern_2"] == people["group_1"][1:2]
    assert len({pk for pks in people.values() for pk in pks}) == 5


def test_two_teams_do_not_know_each_others_people(
    upload: Callable[..., dict[str, Photo]], bob: User, charlie: User
) -> None:
    photos = upload("macron_1")
    name_face(actor=by(bob), face=photos["macron_1"].faces.get(), label="Macron")
    theirs = GalleryFactory.create(team=charlie.memberships.get().team)
    with (PHOTOS / "macron_2.jpg").open("rb") as file:
        photo = add_photo(
            actor=by(charlie), gallery=theirs, file=file, file_name="macron_2.jpg"
        ).photo
    assert names(photo) == ["?"]


def work_off(gallery: Gallery) -> None:
    """Do what the sweep finds until nothing is left: a nested message may come too early."""
    for _ in range(5):
        tasks.sweep()
