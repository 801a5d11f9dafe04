"""Trashing photos, restoring them, and deleting them for good."""

from __future__ import annotations

import io
from datetime import timedelta
from typing import BinaryIO

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, DjangoCaptureOnCommitCallbacks

from persons import pictures, pipeline
from persons.actions.photos import add_photo, recognise_photos_again
from persons.actions.trash import Emptied, empty_trash, in_trash, restore_photos, trash_photos
from persons.audit import Actor
from persons.errors import Refused
from persons.models import (
    AuditEntry,
    Enrolment,
    EnrolmentState,
    Face,
    Gallery,
    Photo,
    PhotoState,
    Review,
    Run,
    Source,
    Team,
    User,
)
from persons.work import Work
from tests.support.factories import FaceFactory, GalleryFactory, PersonFactory, PhotoFactory, jpeg
from tests.support.waiting import nothing_waits_for, swept


@pytest.fixture
def gallery(team: Team) -> Gallery:
    found: Gallery = GalleryFactory.create(team=team, slug="lake")
    return found


@pytest.fixture
def actor(alice: User) -> Actor:
    return Actor(alice, Source.PAGE)


def trash(actor: Actor, *photos: Photo) -> None:
    trash_photos(actor=actor, gallery=photos[0].gallery, pks=[photo.pk for photo in photos])


def restore(actor: Actor, *photos: Photo) -> int:
    pks = [photo.pk for photo in photos]
    return restore_photos(actor=actor, photos=Photo.everything.filter(pk__in=pks))


def fresh(photo: Photo) -> Photo:
    return Photo.everything.get(pk=photo.pk)


def let_time_pass(*photos: Photo, days: int = 31) -> None:
    for photo in photos:
        at = fresh(photo).trashed_at
        assert at is not None
        Photo.everything.filter(pk=photo.pk).update(trashed_at=at - timedelta(days=days))


# --- There and back ---


def test_a_photo_in_the_trash_is_nowhere_and_comes_back_as_it_was(
    actor: Actor, gallery: Gallery
) -> None:
    photo = PhotoFactory.create(gallery=gallery)
    anna = PersonFactory.create(space=gallery.space)
    named = FaceFactory.create(photo=photo, person=anna, decision="named")
    unknown = FaceFactory.create(photo=photo, left=40, right=60)
    before = list(Face.everything.order_by("pk").values())
    trash(actor, photo)
    assert not Photo.objects.exists()
    assert not Face.objects.exists()
    assert Face.everything.get(pk=unknown.pk).review == Review.NONE
    assert list(in_trash(gallery.team)) == [photo]
    assert restore(actor, photo) == 1
    assert list(Face.everything.order_by("pk").values()) == before
    assert Face.objects.get(pk=named.pk).person == anna
    assert Face.objects.get(pk=unknown.pk).review == Review.UNKNOWN
    assert fresh(photo).trashed_by is None


def test_only_those_of_the_gallery_are_thrown_away(actor: Actor, gallery: Gallery) -> None:
    mine = PhotoFactory.create(gallery=gallery)
    other = PhotoFactory.create(gallery=GalleryFactory.create(team=gallery.team))
    done = trash_photos(actor=actor, gallery=gallery, pks=[mine.pk, other.pk, 10**9])
    assert done.count == 1
    assert fresh(other).trashed_at is None
    with pytest.raises(Refused, match="not in this gallery any more"):
        trash_photos(actor=actor, gallery=gallery, pks=[mine.pk])


def test_all_of_one_action_share_their_moment(actor: Actor, gallery: Gallery) -> None:
    one, two, three = (PhotoFactory.create(gallery=gallery) for _ in range(3))
    done = trash_photos(actor=actor, gallery=gallery, pks=[one.pk, two.pk])
    trash(actor, three)
    assert set(in_trash(gallery.team).filter(trashed_at=done.at)) == {one, two}


def test_many_cost_as_many_queries_as_few(
    actor: Actor, gallery: Gallery, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    photos = [PhotoFactory.create(gallery=gallery) for _ in range(40)]
    for photo in photos:
        FaceFactory.create(photo=photo)
    with django_assert_max_num_queries(25):
        trash(actor, *photos)
    with django_assert_max_num_queries(30):
        assert restore(actor, *photos) == 40


# --- While a worker has it ---


@pytest.mark.parametrize(
    ("state", "back_in"),
    [
        (PhotoState.NEW, PhotoState.NEW),
        (PhotoState.PREPARING, PhotoState.NEW),
        (PhotoState.QUEUED, PhotoState.QUEUED),
        (PhotoState.RUNNING, PhotoState.QUEUED),
        (PhotoState.DONE, PhotoState.DONE),
        (PhotoState.FAILED, PhotoState.FAILED),
    ],
)
def test_what_was_unfinished_goes_on_when_it_is_back(
    state: PhotoState,
    back_in: PhotoState,
    actor: Actor,
    gallery: Gallery,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    photo = PhotoFactory.create(
        gallery=gallery, state=state, claim="held", claimed_at=timezone.now()
    )
    trash(actor, photo)
    pipeline.release_claims(everything=True)
    assert nothing_waits_for(Work.PREPARE, Work.RECOGNISE)
    assert not pipeline.recognise_batch(gallery.space_id)
    assert pipeline.prepare(photo.pk) is None
    with django_capture_on_commit_callbacks() as callbacks:
        restore(actor, photo)
    assert fresh(photo).state == back_in
    assert callbacks


def test_a_worker_that_held_it_stores_nothing(
    actor: Actor, gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thrown away between the claim and the end of the work: it stays in the trash, as it was."""
    photo = PhotoFactory.create(gallery=gallery, state=PhotoState.NEW, with_file=True)

    made = pictures.copies

    def cut(file: BinaryIO) -> pictures.Copies:
        trash(actor, photo)
        return made(file)

    monkeypatch.setattr(pictures, "copies", cut)
    pipeline.prepare(photo.pk)
    now = fresh(photo)
    assert now.trashed_at is not None
    assert (now.state, now.claim, now.prepared_at) == (PhotoState.NEW, "", None)


def test_a_run_does_not_wait_for_the_trash(actor: Actor, gallery: Gallery) -> None:
    photo = PhotoFactory.create(gallery=gallery, sent_sha256="0" * 64)
    run = recognise_photos_again(actor=actor, gallery=gallery, pks=[photo.pk])
    trash(actor, photo)
    pipeline.sweep()
    assert Run.objects.get(pk=run.pk).finished_at is not None


def test_what_was_enrolled_meanwhile_is_looked_for_when_a_photo_is_back(
    actor: Actor, gallery: Gallery
) -> None:
    long_ago = timezone.now() - timedelta(days=2)
    asked = {"gallery": gallery, "recognised_at": long_ago}
    unknown, nobody = PhotoFactory.create(**asked), PhotoFactory.create(**asked)
    FaceFactory.create(photo=unknown)
    trash(actor, unknown, nobody)
    Enrolment.objects.create(
        person=PersonFactory.create(space=gallery.space),
        state=EnrolmentState.DONE,
        done_at=timezone.now(),
    )
    restore(actor, unknown, nobody)
    assert fresh(unknown).state == PhotoState.QUEUED
    assert fresh(nobody).state == PhotoState.DONE


# --- The same bytes again ---


def test_uploading_what_lies_in_the_trash_brings_it_back(actor: Actor, gallery: Gallery) -> None:
    def upload() -> tuple[Photo, bool, bool]:
        added = add_photo(
            actor=actor, gallery=gallery, file=io.BytesIO(jpeg()), file_name="lake.jpg"
        )
        return added.photo, added.is_new, added.is_restored

    photo, _, _ = upload()
    FaceFactory.create(photo=photo, decision="ignored")
    trash(actor, photo)
    again, is_new, is_restored = upload()
    assert (again, is_new, is_restored) == (photo, False, True)
    assert again.trashed_at is None
    assert Face.objects.get().decision == "ignored"
    assert upload()[1:] == (False, False)


# --- For good ---


def files_of(photo: Photo) -> list[str]:
    crop = f"crops/{photo.gallery.team_id}/{photo.sha256[:2]}/{photo.sha256}/one.webp"
    keys = [photo.original, photo.key("thumb"), photo.key("large"), photo.key("sent"), crop]
    for key in keys:
        default_storage.save(key, ContentFile(b"x"))
    return keys


def left_of(keys: list[str]) -> list[str]:
    return [key for key in keys if default_storage.exists(key)]


def test_after_thirty_days_it_is_deleted_with_its_files(actor: Actor, gallery: Gallery) -> None:
    old, young, kept = (PhotoFactory.create(gallery=gallery) for _ in range(3))
    files = {photo.pk: files_of(photo) for photo in (old, young, kept)}
    face = FaceFactory.create(photo=old)
    trash(actor, old, young)
    let_time_pass(old)
    let_time_pass(young, days=29)
    assert swept(Work.TRASH)
    assert pipeline.purge_trash() == 1
    assert pipeline.purge_trash() == 0
    assert not swept(Work.TRASH)
    assert set(Photo.everything.all()) == {young, kept}
    assert not Face.everything.filter(pk=face.pk).exists()
    assert left_of(files[old.pk]) == []
    assert left_of(files[young.pk]) == files[young.pk]
    entry = AuditEntry.objects.get(action="photos.purge")
    assert (entry.team, entry.actor, entry.after["ids"]) == (gallery.team, None, [old.pk])


@pytest.mark.parametrize("in_trash_too", [False, True])
def test_bytes_that_another_gallery_of_the_team_has_stay(
    in_trash_too: bool, actor: Actor, gallery: Gallery
) -> None:
    photo = PhotoFactory.create(gallery=gallery)
    twin = PhotoFactory.create(
        gallery=GalleryFactory.create(team=gallery.team),
        sha256=photo.sha256,
        original=photo.original,
    )
    files = files_of(photo)
    trash(actor, photo)
    if in_trash_too:
        trash(actor, twin)
    let_time_pass(photo)
    pipeline.purge_trash()
    assert left_of(files) == files
    if not in_trash_too:
        trash(actor, twin)
    let_time_pass(twin)
    pipeline.purge_trash()
    assert left_of(files) == []


def test_another_team_s_bytes_are_files_of_its_own(actor: Actor, gallery: Gallery) -> None:
    photo, theirs = PhotoFactory.create(gallery=gallery), PhotoFactory.create()
    Photo.objects.filter(pk=theirs.pk).update(sha256=photo.sha256)
    files = files_of(fresh(theirs))
    trash(actor, photo)
    let_time_pass(photo)
    pipeline.purge_trash()
    assert left_of(files) == files


def test_an_enrolled_picture_outlives_its_photo(actor: Actor, gallery: Gallery) -> None:
    photo = PhotoFactory.create(gallery=gallery)
    anna = PersonFactory.create(space=gallery.space)
    face = FaceFactory.create(photo=photo, person=anna, decision="named")
    enrolment = Enrolment.objects.create(
        person=anna, face=face, state=EnrolmentState.DONE, image="enrolments/1/aa/aa.jpg"
    )
    default_storage.save(enrolment.image, ContentFile(b"x"))
    trash(actor, photo)
    let_time_pass(photo)
    pipeline.purge_trash()
    enrolment.refresh_from_db()
    assert enrolment.face is None
    assert default_storage.exists(enrolment.image)


def test_an_emptied_trash_can_t_be_taken_back(actor: Actor, gallery: Gallery) -> None:
    photo = PhotoFactory.create(gallery=gallery)
    trash(actor, photo)
    assert empty_trash(actor=actor, team=gallery.team) == Emptied(1, held=0)
    assert not in_trash(gallery.team).exists()
    with pytest.raises(Refused, match="empty already"):
        empty_trash(actor=actor, team=gallery.team)
    pipeline.purge_trash()
    assert not Photo.everything.exists()


def test_a_file_that_goes_while_the_same_bytes_arrive_is_written_again(
    actor: Actor, gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The purge is just between the check for the file and the row that needs it."""
    content = jpeg()
    old = add_photo(actor=actor, gallery=gallery, file=io.BytesIO(content), file_name="a.jpg").photo
    trash(actor, old)
    let_time_pass(old)
    other = GalleryFactory.create(team=gallery.team)
    locked = Team.objects.select_for_update

    def purge_first(no_key: bool = False) -> object:
        monkeypatch.undo()
        pipeline.purge_trash()
        return locked(no_key=no_key)

    monkeypatch.setattr(Team.objects, "select_for_update", purge_first)
    added = add_photo(actor=actor, gallery=other, file=io.BytesIO(content), file_name="a.jpg")
    assert default_storage.exists(added.photo.original)
