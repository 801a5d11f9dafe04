"""A request's id is on everything that the request causes, including later work by workers."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.test import Client
from django.urls import reverse

from persons.actions.faces import name_face
from persons.actions.photos import add_photo, recognise_gallery_again, recognise_photo_again
from persons.actions.snapshots import take_snapshot
from persons.audit import Actor
from persons.models import (
    AuditEntry,
    Call,
    Enrolment,
    Face,
    Gallery,
    Person,
    Photo,
    PhotoState,
    Recognition,
    Run,
    Source,
    SpaceJob,
    Team,
    User,
)
from persons.pipeline import recognise_batch, sync
from tests.support.factories import FaceFactory, GalleryFactory, PhotoFactory, jpeg
from tests.support.fakes import FakeVision, use

# What is asked of the database here is asked by tests of actions and of queries as well.
pytestmark = pytest.mark.any_database

SignIn = Callable[[User], Client]


@pytest.fixture
def gallery(team: Team) -> Gallery:
    found: Gallery = GalleryFactory.create(team=team, slug="harbour")
    return found


def asks(user: User, request_id: str) -> Actor:
    return Actor(user, Source.PAGE, request_id=request_id)


def test_an_upload_s_request_is_the_photo_s(gallery: Gallery, alice: User) -> None:
    add_photo(
        actor=asks(alice, "upload"),
        gallery=gallery,
        file=io.BytesIO(jpeg((1, 2, 3))),
        file_name="one.jpg",
    )
    assert Photo.objects.get().request_id == "upload"
    assert AuditEntry.objects.get(action="photo.upload").request_id == "upload"


def test_asking_again_is_the_last_request_of_each_photo(gallery: Gallery, alice: User) -> None:
    one, other = (
        PhotoFactory.create(gallery=gallery, request_id="first", sent_sha256="x") for _ in range(2)
    )
    recognise_photo_again(actor=asks(alice, "second"), photo=one)
    Photo.objects.filter(pk=one.pk).update(state=PhotoState.DONE)
    assert set(Photo.objects.values_list("pk", "request_id")) == {
        (one.pk, "second"),
        (other.pk, "first"),
    }
    recognise_gallery_again(actor=asks(alice, "third"), gallery=gallery)
    assert set(Photo.objects.values_list("request_id", flat=True)) == {"third"}
    assert set(Run.objects.values_list("request_id", flat=True)) == {"second", "third"}


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeVision:
    return use(monkeypatch, FakeVision())


def queued(gallery: Gallery, *requests: str) -> list[Photo]:
    photos = []
    for request_id in requests:
        photo = PhotoFactory.create(
            gallery=gallery,
            state=PhotoState.QUEUED,
            request_id=request_id,
            sent_width=64,
            sent_height=48,
        )
        data = jpeg(comment=f"sent {photo.pk}")
        default_storage.save(photo.key("sent"), ContentFile(data))
        photos.append(photo)
    return photos


@pytest.mark.parametrize(
    ("requests", "shared"), [(("a", "a"), "a"), (("a", "b"), ""), (("", ""), "")]
)
def test_a_workers_call_has_the_request_that_all_its_images_share(
    gallery: Gallery, fake: FakeVision, requests: tuple[str, ...], shared: str
) -> None:
    queued(gallery, *requests)
    assert recognise_batch(gallery.space_id)
    call = Call.objects.get()
    assert call.request_id == shared
    rows = Recognition.objects.filter(call=call).order_by("position")
    assert tuple(rows.values_list("request_id", flat=True)) == requests


def test_a_name_s_request_is_on_its_enrolment_and_the_person_s_sync(
    gallery: Gallery, alice: User
) -> None:
    face: Face = FaceFactory.create(photo__gallery=gallery)
    name_face(actor=asks(alice, "naming"), face=face, label="Anna")
    assert Enrolment.objects.get().request_id == "naming"
    assert Person.objects.get().sync_request_id == "naming"


def test_a_picture_is_sent_and_looked_for_under_its_request(
    gallery: Gallery, alice: User, fake: FakeVision
) -> None:
    photo: Photo = PhotoFactory.create(gallery=gallery, with_file=True, width=640, height=480)
    face: Face = FaceFactory.create(photo=photo, left=100, top=100, right=300, bottom=300)
    FaceFactory.create(photo__gallery=gallery)
    name_face(actor=asks(alice, "naming"), face=face, label="Anna")
    sync(Person.objects.get().pk)
    call = Call.objects.get(method="set")
    assert call.request_id == "naming"
    assert Recognition.objects.get(call=call).request_id == "naming"
    assert Run.objects.get().request_id == "naming"
    looked = Photo.objects.exclude(pk=photo.pk).get()
    assert looked.request_id == "naming"


def test_a_job_has_its_request(team: Team, alice: User) -> None:
    take_snapshot(actor=asks(alice, "saving"), space=team.spaces.get(number=3))
    assert SpaceJob.objects.get().request_id == "saving"


def test_a_call_leads_to_everything_that_its_request_caused(
    team: Team, alice: User, sign_in: SignIn
) -> None:
    values: dict[str, Any] = {"team": team, "method": "set", "source": Source.PAGE}
    call = Call.objects.create(**values, request_id="abc", backend="embedded")
    client = sign_in(alice)
    page = client.get(reverse("call", args=["trip", call.pk])).text
    for name in ("history", "audit"):
        address = f"{reverse(name, args=['trip'])}?request=abc"
        assert f'href="{address}"' in page
        assert client.get(address).status_code == 200
