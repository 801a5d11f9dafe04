"""Under a legal hold, nothing of a person or a gallery is deleted."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core.files.storage import default_storage
from django.db import transaction
from django.utils import timezone

from persons import pipeline
from persons.actions.drawing import erase_face
from persons.actions.faces import name_face
from persons.actions.holds import hold_gallery, hold_person, release_hold
from persons.actions.people import merge_people, remove_empty_person, remove_enrolment
from persons.actions.snapshots import delete_snapshot, truncate_space
from persons.actions.trash import Emptied, empty_trash, in_trash, restore_photos, trash_photos
from persons.errors import Refused
from persons.models import (
    Call,
    Enrolment,
    Face,
    Gallery,
    LegalHold,
    Person,
    Photo,
    Recognition,
    Space,
    SpaceJob,
    Team,
    User,
)
from persons.pipeline.storing_faces import store_faces
from persons.privacy import holds
from persons.work import Work
from tests.support.factories import FaceFactory, GalleryFactory, PersonFactory, PhotoFactory
from tests.support.fakes import at_once, by, entries
from tests.support.waiting import swept

WHY = "Case 12/2026"


@pytest.fixture
def gallery(team: Team) -> Gallery:
    found: Gallery = GalleryFactory.create(team=team, slug="lake")
    return found


@pytest.fixture
def space(gallery: Gallery) -> Space:
    return gallery.space


@pytest.fixture
def ada(space: Space) -> Person:
    found: Person = PersonFactory.create(space=space, label="Ada")
    return found


def trashed_long_ago(*photos: Photo) -> None:
    pks = [photo.pk for photo in photos]
    at = timezone.now() - timedelta(days=100)
    Photo.everything.filter(pk__in=pks).update(trashed_at=at)
    Face.everything.filter(photo__in=pks).update(trashed=True)


# --- Setting and releasing ---


def test_a_hold_is_set_and_released_with_reasons_that_the_audit_keeps(
    alice: User, ada: Person, team: Team
) -> None:
    hold = hold_person(actor=by(alice), person=ada, reason=f"  {WHY} ")
    assert holds.on_person(ada)
    (entry,) = entries(team, "hold.set")
    assert (entry.reason, entry.target_text) == (WHY, "Ada")
    release_hold(actor=by(alice), hold=hold, reason="Closed")
    assert not holds.on_person(ada)
    (entry,) = entries(team, "hold.release")
    assert (entry.reason, entry.before["reason"]) == ("Closed", WHY)


def test_a_hold_needs_a_reason_and_there_is_one_at_a_time(
    alice: User, ada: Person, gallery: Gallery
) -> None:
    with pytest.raises(Refused, match="Say why"):
        hold_person(actor=by(alice), person=ada, reason=" ")
    hold = hold_person(actor=by(alice), person=ada, reason=WHY)
    with pytest.raises(Refused, match=WHY):
        hold_person(actor=by(alice), person=ada, reason="Another")
    hold_gallery(actor=by(alice), gallery=gallery, reason=WHY)
    with pytest.raises(Refused, match="The gallery"):
        hold_gallery(actor=by(alice), gallery=gallery, reason=WHY)
    release_hold(actor=by(alice), hold=hold, reason="Closed")
    with pytest.raises(Refused, match="released already"):
        release_hold(actor=by(alice), hold=hold, reason="Closed")
    assert LegalHold.objects.count() == 2


def test_a_hold_on_a_merged_person_counts_for_whom_they_were_merged_into(
    alice: User, ada: Person, space: Space
) -> None:
    bea, cia = PersonFactory.create_batch(2, space=space)
    other = PersonFactory.create(space=space)
    merge_people(actor=by(alice), person=ada, into=bea)
    merge_people(actor=by(alice), person=bea, into=cia)
    hold_person(actor=by(alice), person=ada, reason=WHY)
    for person in (ada, bea, cia):
        assert holds.on_person(Person.objects.get(pk=person.pk))
    assert not holds.on_person(other)
    assert holds.held_people(space.team) == {ada.pk, bea.pk, cia.pk}


# --- The trash ---


def test_trash_of_a_held_gallery_stays_and_goes_after_the_release(
    alice: User, gallery: Gallery, team: Team
) -> None:
    held = PhotoFactory.create(gallery=gallery, with_file=True)
    free = PhotoFactory.create(gallery=GalleryFactory.create(team=team), with_file=True)
    trashed_long_ago(held, free)
    hold = hold_gallery(actor=by(alice), gallery=gallery, reason=WHY)
    assert pipeline.purge_trash() == 1
    assert pipeline.purge_trash() == 0
    assert not swept(Work.TRASH)
    assert Photo.everything.filter(pk=held.pk).exists()
    assert default_storage.exists(held.original)
    # It is still there to be taken back.
    assert list(in_trash(team)) == [held]
    release_hold(actor=by(alice), hold=hold, reason="Closed")
    assert swept(Work.TRASH)
    assert pipeline.purge_trash() == 1
    assert not default_storage.exists(held.original)


def test_a_photo_with_a_held_person_s_face_is_held(
    alice: User, gallery: Gallery, team: Team, ada: Person
) -> None:
    with_ada, without = PhotoFactory.create_batch(2, gallery=gallery)
    FaceFactory.create(photo=with_ada, person=ada)
    hold_person(actor=by(alice), person=ada, reason=WHY)
    assert list(holds.free_photos(Photo.everything.all())) == [without]
    assert list(holds.held_photos(Photo.everything.all())) == [with_ada]
    trashed_long_ago(with_ada, without)
    assert pipeline.purge_trash() == 1
    assert Photo.everything.get() == with_ada


def test_emptying_the_trash_leaves_what_is_held_and_says_so(
    alice: User, gallery: Gallery, team: Team, ada: Person
) -> None:
    with_ada, without = PhotoFactory.create_batch(2, gallery=gallery)
    FaceFactory.create(photo=with_ada, person=ada)
    trash_photos(actor=by(alice), gallery=gallery, pks=[with_ada.pk, without.pk])
    hold_person(actor=by(alice), person=ada, reason=WHY)
    assert empty_trash(actor=by(alice), team=team) == Emptied(1, held=1)
    with pytest.raises(Refused, match="under legal hold"):
        empty_trash(actor=by(alice), team=team)
    pipeline.purge_trash()
    assert restore_photos(actor=by(alice), photos=in_trash(team)) == 1
    assert Photo.objects.get() == with_ada


def test_each_team_s_trash_is_kept_for_its_own_days(team: Team, gallery: Gallery) -> None:
    photo = PhotoFactory.create(gallery=gallery)
    other = PhotoFactory.create()
    week = timezone.now() - timedelta(days=7)
    Photo.everything.update(trashed_at=week)
    assert not swept(Work.TRASH)
    Team.objects.filter(pk=team.pk).update(trash_days=6)
    assert swept(Work.TRASH)
    assert pipeline.purge_trash() == 1
    assert Photo.everything.get() == other
    assert photo.pk != other.pk


# --- Deletions by hand ---


def test_a_held_person_is_not_removed_nor_any_of_their_pictures(alice: User, ada: Person) -> None:
    enrolment = Enrolment.objects.create(person=ada, state="done", sha256="1" * 64)
    hold = hold_person(actor=by(alice), person=ada, reason=WHY)
    with pytest.raises(Refused, match=f"Ada is under legal hold since .*{WHY}"):
        remove_enrolment(actor=by(alice), enrolment=enrolment)
    enrolment.refresh_from_db()
    assert enrolment.state == "done"
    enrolment.delete()
    with pytest.raises(Refused, match="under legal hold"):
        remove_empty_person(actor=by(alice), person=ada)
    release_hold(actor=by(alice), hold=hold, reason="Closed")
    remove_empty_person(actor=by(alice), person=ada)
    assert not Person.objects.exists()


def test_the_space_of_a_held_person_is_not_emptied_and_its_snapshots_stay(
    alice: User, ada: Person, space: Space
) -> None:
    snapshot = SpaceJob.objects.create(
        team=space.team, space=space, kind="snapshot", state="done", file="snapshots/1/a.zip"
    )
    hold_person(actor=by(alice), person=ada, reason=WHY)
    with pytest.raises(Refused, match="under legal hold"):
        truncate_space(actor=by(alice), space=space, typed=str(space))
    with pytest.raises(Refused, match="under legal hold"):
        delete_snapshot(actor=by(alice), snapshot=snapshot)


def test_decisions_on_a_held_person_s_faces_stay_changeable(
    alice: User, ada: Person, gallery: Gallery
) -> None:
    face = FaceFactory.create(photo__gallery=gallery, person=ada)
    hold_person(actor=by(alice), person=ada, reason=WHY)
    named = name_face(actor=by(alice), face=face, label="Bea")
    assert named.face.person == named.person


def test_a_drawn_box_on_a_held_photo_is_not_erased(alice: User, gallery: Gallery) -> None:
    face = FaceFactory.create(photo__gallery=gallery, is_drawn=True, drawn_by=alice)
    hold_gallery(actor=by(alice), gallery=gallery, reason=WHY)
    with pytest.raises(Refused, match="under legal hold"), transaction.atomic():
        erase_face(actor=by(alice), face=face)
    assert Face.objects.filter(pk=face.pk).exists()


@pytest.mark.parametrize("is_held", [True, False])
def test_a_face_that_is_not_found_again_is_deleted_only_without_a_hold(
    alice: User, gallery: Gallery, is_held: bool
) -> None:
    face = FaceFactory.create(photo__gallery=gallery)
    if is_held:
        hold_gallery(actor=by(alice), gallery=gallery, reason=WHY)
    call = Call.objects.create(
        team=gallery.team, space=gallery.space, method="recognize", source="worker", backend="fake"
    )
    again = Recognition.objects.create(call=call, position=0, name="a", photo=face.photo)
    with transaction.atomic():
        store_faces(space=gallery.space, photo=face.photo, found=[], recognition=again)
    left = Face.objects.filter(pk=face.pk).first()
    assert (left is not None) == is_held
    assert left is None or left.missing


# --- Races ---


@pytest.mark.django_db(transaction=True)
def test_a_hold_that_is_set_while_the_trash_is_purged_is_in_time_or_finds_nothing(
    alice: User, team: Team
) -> None:
    for number in range(3):
        gallery = GalleryFactory.create(team=team, slug=f"g{number}")
        trashed_long_ago(*PhotoFactory.create_batch(5, gallery=gallery))
        purged, _ = at_once(
            pipeline.purge_trash,
            lambda gallery=gallery: hold_gallery(actor=by(alice), gallery=gallery, reason=WHY),  # type: ignore[misc]
        )
        left = Photo.everything.filter(gallery=gallery).count()
        # All or none: the purge came first, or the hold did.
        assert (purged, left) in [(5, 0), (0, 5)]
        assert LegalHold.objects.filter(gallery=gallery).exists()
