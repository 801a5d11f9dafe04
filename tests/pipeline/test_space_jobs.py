"""Snapshots, truncations and restores by a worker, interrupted at any point."""

from __future__ import annotations

import errno
import hashlib
import io
import zipfile
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.utils import timezone
from pytest_django import Settings

from persons import pipeline
from persons.actions.snapshots import (
    add_snapshot,
    cancel_job,
    delete_snapshot,
    restore_space,
    retry_job,
    take_snapshot,
    truncate_space,
)
from persons.errors import Refused
from persons.files.storage import stored
from persons.models import (
    AuditEntry,
    Call,
    Decision,
    Enrolment,
    EnrolmentState,
    Person,
    PhotoState,
    Rejection,
    Source,
    Space,
    SpaceJob,
    SyncState,
    Team,
    User,
)
from persons.models.calls import Outcome
from persons.models.canonical import set_merged_into
from persons.models.work import JobState
from persons.pipeline.spaces.manifests import Manifest
from persons.pipeline.spaces.snapshots import opened
from persons.vision import envelope
from persons.vision.errors import VisionTemporary, VisionUnavailable
from persons.vision.types import ImageStatus
from persons.work import Work
from tests.support.factories import FaceFactory, GalleryFactory, PersonFactory, PhotoFactory
from tests.support.fakes import (
    Asked,
    FakeVision,
    answer,
    by,
    die,
    in_a_worker_that_may_die,
    lease_is_over,
    once,
    use,
)
from tests.support.spaces import (
    anna,
    boris,
    enrolled,
    ledger_of,
    run,
    snapshot_of,
    space,
    truncated,
    vision,
)
from tests.support.waiting import swept

__all__ = ["anna", "boris", "space", "vision"]

pytestmark = [pytest.mark.django_db, pytest.mark.thorough]


def restored(snapshot: SpaceJob, space: Space, user: User, **more: Any) -> SpaceJob:
    return run(restore_space(actor=by(user), snapshot=snapshot, space=space, **more))


def read(job: SpaceJob) -> Manifest:
    with stored(job.file) as file, opened(file) as snapshot:
        snapshot.check(lambda count: None)
        return snapshot.manifest


def sent(vision: FakeVision) -> list[tuple[int, bytes]]:
    """(person_id, bytes) of every picture that Vision was sent."""
    return [
        (person_id, image.data)
        for asked in vision.asked
        if asked.method == "set"
        for person_id, image in zip(asked.person_ids, asked.images, strict=True)
    ]


# --- Snapshots ---


def test_a_snapshot_holds_people_and_pictures(
    space: Space, anna: Person, boris: Person, alice: User
) -> None:
    PersonFactory.create(space=space, label="")
    enrolled(anna, b"on its way", state=EnrolmentState.QUEUED, call=None, done_at=None)
    enrolled(anna, b"refused", state=EnrolmentState.FAILED)
    enrolled(anna, b"taken back", state=EnrolmentState.REMOVED)
    merged = PersonFactory.create(space=space, label="Ann", merged_into=anna)
    job = snapshot_of(space, alice)
    manifest = read(job)
    assert (manifest.name, manifest.number, manifest.made_by) == ("Door", 3, "Alice")
    people = {person.id: person for person in manifest.people}
    assert people.keys() == {anna.person_id, boris.person_id, merged.person_id}
    assert people[anna.person_id].notes == "tall"
    assert people[boris.person_id].hidden
    assert people[merged.person_id].merged_into == anna.person_id
    pictures = {(one.person, one.sha256): one for one in manifest.pictures}
    expected = {
        (anna.person_id, hashlib.sha256(data).hexdigest())
        for data in (b"anna 1", b"anna 2", b"on its way")
    } | {(boris.person_id, hashlib.sha256(b"boris 1").hexdigest())}
    assert pictures.keys() == expected
    first = pictures[anna.person_id, hashlib.sha256(b"anna 1").hexdigest()]
    assert first.by == "alice"
    assert (job.total, job.people_count) == (4, 3)
    assert job.size == default_storage.size(job.file)


def test_a_lost_picture_is_told_and_the_rest_is_saved(
    space: Space, anna: Person, alice: User
) -> None:
    default_storage.delete(anna.enrolments.all()[0].image)
    job = snapshot_of(space, alice)
    assert job.report["missing"] == 1
    assert len(read(job).pictures) == 1


def test_a_full_disk_is_told_and_tried_again(
    space: Space, anna: Person, alice: User, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    settings.MAX_ATTEMPTS = 3
    job = take_snapshot(actor=by(alice), space=space)

    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(default_storage, "save", full)
        pipeline.work(job.pk)
        job.refresh_from_db()
        assert (job.state, job.attempts) == (JobState.QUEUED, 1)
        assert "No space left" in job.error
        assert job.after > timezone.now()
        for _ in range(2):
            SpaceJob.objects.update(after=timezone.now())
            pipeline.work(job.pk)
    job.refresh_from_db()
    assert job.state == JobState.FAILED
    assert "Gave up after 3 tries" in job.error
    run(retry_job(actor=by(alice), job=job))
    job.refresh_from_db()
    assert (job.state, job.error) == (JobState.DONE, "")


def test_one_snapshot_of_a_space_at_a_time(space: Space, alice: User) -> None:
    take_snapshot(actor=by(alice), space=space)
    with pytest.raises(Refused, match="already"):
        take_snapshot(actor=by(alice), space=space)


def test_a_cancelled_snapshot_leaves_no_file(
    space: Space, anna: Person, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = take_snapshot(actor=by(alice), space=space)
    monkeypatch.setattr("persons.pipeline.spaces.job_claims.RENEW_SECONDS", -1)
    save = default_storage.save

    def cancel_meanwhile(name: str, content: Any) -> str:
        cancel_job(actor=by(alice), job=job)
        return save(name, content)

    monkeypatch.setattr(default_storage, "save", cancel_meanwhile)
    run(job)
    assert job.state == JobState.CANCELLED
    assert job.finished_at is not None
    assert not default_storage.exists(job.file)
    assert not list(default_storage.listdir(f"snapshots/{space.team_id}")[1])


def test_a_deleted_snapshot_is_gone_from_the_disk(
    space: Space,
    anna: Person,
    alice: User,
    django_capture_on_commit_callbacks: Callable[..., Any],
) -> None:
    job = snapshot_of(space, alice)
    key = job.file
    with django_capture_on_commit_callbacks(execute=True):
        delete_snapshot(actor=by(alice), snapshot=job)
    assert not default_storage.exists(key)
    assert not SpaceJob.objects.snapshots().exists()
    with pytest.raises(Refused, match="not there"):
        restore_space(actor=by(alice), snapshot=job, space=space)


# --- Truncating ---


def test_nothing_is_truncated_without_the_space_s_name(
    space: Space, anna: Person, alice: User
) -> None:
    for typed in ("", "door 3", "Space 3"):
        with pytest.raises(Refused, match="Type “Door”"):
            truncate_space(actor=by(alice), space=space, typed=typed)
    assert not SpaceJob.objects.exists()


def test_a_truncated_space_keeps_people_names_faces_and_decisions(
    space: Space, anna: Person, boris: Person, alice: User, vision: FakeVision
) -> None:
    gallery = GalleryFactory.create(team=space.team, space=space)
    face = FaceFactory.create(photo=PhotoFactory.create(gallery=gallery), person=anna)
    before = read(snapshot_of(space, alice)).pictures
    version = space.version
    job = truncated(space, alice)
    assert (job.state, job.error, job.done) == (JobState.DONE, "", 3)
    assert vision.methods() == ["truncate"]
    assert vision.asked[0].meta == {"space": "3"}
    assert set(Enrolment.objects.values_list("state", flat=True)) == {EnrolmentState.REMOVED}
    assert Person.objects.filter(space=space, label__in=["Anna", "Boris"]).count() == 2
    face.refresh_from_db()
    assert face.person == anna
    assert job.snapshot is not None
    assert set(read(job.snapshot).pictures) == set(before)
    space.refresh_from_db()
    assert space.version == version + 1
    call = Call.objects.get(method="truncate")
    assert (call.source, call.actor, call.outcome) == (Source.WORKER, alice, Outcome.DONE)
    assert AuditEntry.objects.get(action="space.empty").actor == alice
    entry = AuditEntry.objects.get(action="space.truncate")
    assert (entry.actor, entry.before) == (alice, {"enrolments": 3})


def test_without_a_snapshot_nothing_is_truncated(
    space: Space,
    anna: Person,
    alice: User,
    vision: FakeVision,
    monkeypatch: pytest.MonkeyPatch,
    settings: Settings,
) -> None:
    settings.MAX_ATTEMPTS = 1
    job = truncate_space(actor=by(alice), space=space, typed="Door")
    assert pipeline.work(job.pk).jobs == []
    job.refresh_from_db()
    assert job.state == JobState.QUEUED

    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(default_storage, "save", full)
    assert job.snapshot is not None
    run(job.snapshot)
    run(job)
    assert job.state == JobState.FAILED
    assert "nothing was truncated" in job.error and "No space left" in job.error
    assert vision.asked == []
    assert anna.enrolments.filter(state=EnrolmentState.DONE).count() == 2


def test_a_snapshot_that_lacks_a_lost_picture_truncates_nothing(
    space: Space, anna: Person, alice: User, vision: FakeVision
) -> None:
    default_storage.delete(anna.enrolments.all()[0].image)
    job = truncated(space, alice)
    assert job.state == JobState.FAILED
    assert "The files of 1 enrolled pictures are lost" in job.error
    assert vision.asked == []


@pytest.mark.parametrize("harm", ["gone", "damaged"])
def test_a_snapshot_that_cannot_be_read_back_truncates_nothing(
    space: Space, anna: Person, alice: User, vision: FakeVision, harm: str
) -> None:
    job = truncate_space(actor=by(alice), space=space, typed="Door")
    snapshot = job.snapshot
    assert snapshot is not None
    pipeline.work(snapshot.pk)
    snapshot.refresh_from_db()
    with stored(snapshot.file) as file:
        data = file.read()
    default_storage.delete(snapshot.file)
    if harm == "damaged":
        default_storage.save(snapshot.file, ContentFile(data.replace(b"anna 1", b"anna x")))
    run(job)
    assert job.state == JobState.FAILED
    assert "nothing was truncated" in job.error
    assert vision.asked == []


def test_what_is_on_its_way_has_to_arrive_first(space: Space, anna: Person, alice: User) -> None:
    enrolled(anna, b"on its way", state=EnrolmentState.QUEUED)
    with pytest.raises(Refused, match="1 picture is on the way"):
        truncate_space(actor=by(alice), space=space, typed="Door")


def test_somebody_enrolled_meanwhile_is_set_again(
    space: Space, anna: Person, boris: Person, alice: User, vision: FakeVision
) -> None:
    """Nobody can tell whether Vision took that picture before it forgot everybody, or after."""
    job = truncate_space(actor=by(alice), space=space, typed="Door")
    assert job.snapshot is not None
    pipeline.work(job.snapshot.pk)
    late = enrolled(boris, b"boris 2")
    Person.objects.filter(pk=anna.pk).update(sync_state=SyncState.RUNNING, claim="x" * 32)
    run(job)
    late.refresh_from_db()
    assert late.state == EnrolmentState.QUEUED
    assert anna.enrolments.exclude(state=EnrolmentState.REMOVED).count() == 0
    states = dict(Person.objects.values_list("label", "sync_state"))
    assert states == {"Anna": SyncState.QUEUED, "Boris": SyncState.QUEUED}
    pipeline.sync(boris.pk)
    late.refresh_from_db()
    assert late.state == EnrolmentState.DONE


def test_a_picture_at_vision_while_the_space_is_truncated_is_not_taken_for_enrolled(
    space: Space, anna: Person, boris: Person, alice: User, vision: FakeVision
) -> None:
    job = truncate_space(actor=by(alice), space=space, typed="Door")
    assert job.snapshot is not None
    pipeline.work(job.snapshot.pk)
    late = enrolled(boris, b"boris 2", state=EnrolmentState.QUEUED, call=None, done_at=None)
    Person.objects.filter(pk=boris.pk).update(sync_state=SyncState.QUEUED)
    once(vision, lambda: run(job))
    pipeline.sync(boris.pk)
    late.refresh_from_db()
    boris.refresh_from_db()
    assert (late.state, boris.sync_state) == (EnrolmentState.QUEUED, SyncState.QUEUED)
    pipeline.sync(boris.pk)
    late.refresh_from_db()
    assert late.state == EnrolmentState.DONE
    assert vision.methods() == ["set", "truncate", "set"]


def test_a_truncation_can_be_cancelled_until_vision_is_asked(
    space: Space, anna: Person, alice: User, vision: FakeVision
) -> None:
    job = truncate_space(actor=by(alice), space=space, typed="Door")
    assert job.snapshot is not None
    cancel_job(actor=by(alice), job=job)
    run(job.snapshot)
    run(job)
    assert job.state == JobState.CANCELLED
    assert vision.asked == []


# --- Restoring ---


def test_after_a_truncation_the_space_is_as_it_was(
    space: Space, anna: Person, boris: Person, alice: User, vision: FakeVision
) -> None:
    before = ledger_of(space)
    rows = list(anna.enrolments.order_by("pk").values_list("created_at", "created_by"))
    job = truncated(space, alice)
    assert job.snapshot is not None
    restore = restored(job.snapshot, space, alice)
    assert (restore.state, restore.error) == (JobState.DONE, "")
    assert ledger_of(space) == before
    assert vision.methods() == ["truncate", "set"], "one call for several people"
    assert sorted(sent(vision)) == [
        (anna.person_id, b"anna 1"),
        (anna.person_id, b"anna 2"),
        (boris.person_id, b"boris 1"),
    ]
    new = anna.enrolments.filter(state=EnrolmentState.DONE).order_by("created_at", "pk")
    assert list(new.values_list("created_at", "created_by")) == rows
    assert restore.report["people"] == {"new": 0, "known": 2}
    assert restore.report["conflicts"] == []
    assert (restore.report["accepted"], restore.report["refused"]) == (3, 0)
    entry = AuditEntry.objects.get(action="space.restored")
    assert (entry.actor, entry.after["enrolments"]) == (alice, 3)


def test_into_another_space_ids_names_and_notes_go_along(
    space: Space, anna: Person, boris: Person, alice: User, vision: FakeVision
) -> None:
    other = space.team.spaces.get(number=6)
    merged = PersonFactory.create(space=space, label="Ann", merged_into=anna)
    job = restored(snapshot_of(space, alice), other, alice)
    assert job.state == JobState.DONE
    assert ledger_of(other) == ledger_of(space)
    people = {person.person_id: person for person in other.people.all()}
    assert people[anna.person_id].notes == "tall"
    assert people[boris.person_id].hidden
    assert people[merged.person_id].merged_into == people[anna.person_id]
    other.refresh_from_db()
    assert other.next_person_id == merged.person_id + 1
    assert vision.asked[0].meta["space"] == "6"


def test_a_restore_may_be_repeated(
    space: Space, anna: Person, alice: User, vision: FakeVision
) -> None:
    snapshot = snapshot_of(space, alice)
    other = space.team.spaces.get(number=6)
    restored(snapshot, other, alice)
    before = ledger_of(other)
    job = restored(snapshot, other, alice)
    assert (job.state, job.report["there"], job.done) == (JobState.DONE, 2, 2)
    assert ledger_of(other) == before
    assert vision.methods() == ["set"]


def test_another_backend_gets_everything(
    space: Space,
    anna: Person,
    boris: Person,
    alice: User,
    vision: FakeVision,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What the ledger calls enrolled is so at the Vision that took it, and at no other."""
    snapshot = snapshot_of(space, alice)
    before = ledger_of(space)
    cloud = FakeVision()
    cloud.name, cloud.model = "cloud", "cloud.example"
    use(monkeypatch, cloud)
    job = restored(snapshot, space, alice)
    assert (job.state, job.report["accepted"]) == (JobState.DONE, 3)
    assert len(sent(cloud)) == 3
    assert ledger_of(space) == before
    assert Enrolment.objects.count() == 3, "the same rows"
    again = restored(snapshot, space, alice)
    assert again.report["there"] == 3
    assert len(sent(cloud)) == 3


def test_the_policy_goes_along_where_that_is_wanted(
    space: Space, anna: Person, alice: User, vision: FakeVision
) -> None:
    Space.objects.filter(pk=space.pk).update(threshold=0.45, confirm_threshold=0.7, searcher=1)
    snapshot = snapshot_of(space, alice)
    one, other = space.team.spaces.get(number=6), space.team.spaces.get(number=7)
    restored(snapshot, one, alice)
    restored(snapshot, other, alice, with_policy=True)
    one.refresh_from_db()
    other.refresh_from_db()
    assert (one.threshold, one.confirm_threshold, one.searcher, one.name) == (0.4, 0.5, 0, "")
    assert (other.threshold, other.confirm_threshold, other.searcher) == (0.45, 0.7, 1)
    assert other.name == "Door"
    assert SpaceJob.objects.get(kind=SpaceJob.Kind.REBUILD).space == other


def conflicts(job: SpaceJob) -> list[list[Any]]:
    found: list[list[Any]] = job.report["conflicts"]
    return found


def test_in_its_own_space_an_id_is_the_person_whatever_they_are_called_now(
    space: Space, anna: Person, boris: Person, alice: User, vision: FakeVision
) -> None:
    job = truncated(space, alice)
    assert job.snapshot is not None
    Person.objects.filter(pk=anna.pk).update(label="Annette", notes="")
    restore = restored(job.snapshot, space, alice)
    assert conflicts(restore) == [["renamed", anna.person_id, "Anna", anna.person_id, "Annette"]]
    anna.refresh_from_db()
    assert (anna.label, anna.notes) == ("Annette", "")
    assert anna.enrolments.filter(state=EnrolmentState.DONE).count() == 2


def test_elsewhere_the_name_is_the_person_and_a_taken_id_is_replaced(
    space: Space, anna: Person, boris: Person, alice: User, vision: FakeVision
) -> None:
    other = space.team.spaces.get(number=6)
    # Boris's id is Carla's there, and Anna has another one.
    carla = PersonFactory.create(space=other, label="Carla", person_id=boris.person_id)
    known = PersonFactory.create(space=other, label="anna", person_id=40)
    restore = restored(snapshot_of(space, alice), other, alice)
    new = other.people.get(label="Boris")
    assert new.person_id == 41
    assert sorted(conflicts(restore)) == [
        ["id", boris.person_id, "Boris", 41, "Boris"],
        ["name", anna.person_id, "Anna", 40, "anna"],
    ]
    assert known.enrolments.filter(state=EnrolmentState.DONE).count() == 2
    assert new.enrolments.filter(state=EnrolmentState.DONE).count() == 1
    assert not carla.enrolments.exists()
    assert {person_id for person_id, _ in sent(vision)} == {40, 41}
    assert restored(snapshot_of(space, alice), other, alice).report["there"] == 3


def test_who_was_merged_since_is_enrolled_as_whom_they_turned_out_to_be(
    space: Space, anna: Person, boris: Person, alice: User, vision: FakeVision
) -> None:
    snapshot = snapshot_of(space, alice)
    truncated(space, alice)
    set_merged_into(boris, anna)
    restored(snapshot, space, alice)
    assert {person_id for person_id, _ in sent(vision)} == {anna.person_id}
    assert anna.enrolments.filter(state=EnrolmentState.DONE).count() == 3
    assert not boris.enrolments.filter(state=EnrolmentState.DONE).exists()
    theirs = anna.enrolments.get(state=EnrolmentState.DONE, origin__isnull=False)
    assert theirs.origin == boris.enrolments.get()


def test_a_merged_person_s_picture_knows_whose_it_was(
    space: Space, anna: Person, boris: Person, alice: User, vision: FakeVision
) -> None:
    """So that undoing the merge afterwards gives it back."""
    theirs = boris.enrolments.get()
    Enrolment.objects.filter(pk=theirs.pk).update(state=EnrolmentState.REMOVED)
    set_merged_into(boris, anna)
    enrolled(anna, b"boris 1", origin=theirs)
    job = truncated(space, alice)
    assert job.snapshot is not None
    restored(job.snapshot, space, alice)
    back = anna.enrolments.get(state=EnrolmentState.DONE, sha256=theirs.sha256)
    assert back.origin == theirs


def test_pictures_find_their_faces_again(
    space: Space, anna: Person, alice: User, vision: FakeVision
) -> None:
    """Else correcting a name later would not take the picture back."""
    gallery = GalleryFactory.create(team=space.team, space=space)
    face = FaceFactory.create(photo=PhotoFactory.create(gallery=gallery), person=anna)
    row = anna.enrolments.order_by("pk")[0]
    Enrolment.objects.filter(pk=row.pk).update(face=face)
    job = truncated(space, alice)
    assert job.snapshot is not None
    restored(job.snapshot, space, alice)
    back = anna.enrolments.get(state=EnrolmentState.DONE, sha256=row.sha256)
    assert back.face == face


@pytest.mark.parametrize("how", ["named", "rejected", "ignored"])
def test_what_a_human_has_corrected_since_is_not_brought_back(
    space: Space, anna: Person, boris: Person, alice: User, vision: FakeVision, how: str
) -> None:
    gallery = GalleryFactory.create(team=space.team, space=space)
    face = FaceFactory.create(photo=PhotoFactory.create(gallery=gallery), person=anna)
    row = anna.enrolments.order_by("pk")[0]
    Enrolment.objects.filter(pk=row.pk).update(face=face)
    job = truncated(space, alice)
    if how == "rejected":
        Rejection.objects.create(face=face, person=anna)
    elif how == "ignored":
        face.decision, face.person = Decision.IGNORED, None
    else:
        face.decision, face.decided_person, face.person = Decision.NAMED, boris, boris
    face.save()
    assert job.snapshot is not None
    restore = restored(job.snapshot, space, alice)
    assert (restore.report["corrected"], restore.report["accepted"]) == (1, 2)
    assert (anna.person_id, b"anna 1") not in sent(vision)


def test_photos_with_unknown_faces_are_looked_at_again(
    space: Space, anna: Person, alice: User, vision: FakeVision
) -> None:
    gallery = GalleryFactory.create(team=space.team, space=space)
    unknown = PhotoFactory.create(gallery=gallery)
    FaceFactory.create(photo=unknown)
    known = PhotoFactory.create(gallery=gallery)
    FaceFactory.create(photo=known, person=anna)
    job = truncated(space, alice)
    assert job.snapshot is not None
    restore = restored(job.snapshot, space, alice)
    unknown.refresh_from_db()
    known.refresh_from_db()
    assert (unknown.state, known.state) == (PhotoState.QUEUED, PhotoState.DONE)
    assert restore.report["photos"] == 1
    assert unknown.run is not None and unknown.run.photo_count == 1


# --- What Vision says ---


def test_refused_pictures_are_reported_and_the_rest_goes_on(
    space: Space, anna: Person, boris: Person, alice: User, vision: FakeVision
) -> None:
    snapshot = snapshot_of(space, alice)

    def one_is_refused(asked: Asked) -> bytes:
        first, *others = asked.names
        return answer(
            envelope.failed(first, "face set required only one face per image"),
            *(envelope.done(name) for name in others),
        )

    vision.script.append(one_is_refused)
    other = space.team.spaces.get(number=6)
    job = restored(snapshot, other, alice)
    assert job.state == JobState.DONE
    assert (job.report["accepted"], job.report["refused"], job.done) == (2, 1, 3)
    failed = Enrolment.objects.get(state=EnrolmentState.FAILED)
    assert failed.error == "face set required only one face per image"
    assert failed.job == job


def test_a_picture_that_refuses_a_whole_request_is_found(
    space: Space, anna: Person, boris: Person, alice: User, vision: FakeVision
) -> None:
    snapshot = snapshot_of(space, alice)

    def none_with_the_bad_one(asked: Asked) -> bytes:
        if any(image.data == b"anna 2" for image in asked.images):
            return envelope.failure(400, "broken image")
        return answer(*(envelope.done(name) for name in asked.names))

    vision.script.extend([none_with_the_bad_one] * 10)
    job = restored(snapshot, space.team.spaces.get(number=6), alice)
    assert (job.report["accepted"], job.report["refused"]) == (2, 1)
    assert Enrolment.objects.get(state=EnrolmentState.FAILED).error == "broken image"


def test_a_temporary_error_is_waited_out(
    space: Space, anna: Person, alice: User, vision: FakeVision
) -> None:
    snapshot = snapshot_of(space, alice)
    other = space.team.spaces.get(number=6)
    job = restore_space(actor=by(alice), snapshot=snapshot, space=other)
    vision.script.append(VisionTemporary("the gateway is tired"))
    assert pipeline.work(job.pk).jobs == [job.pk]
    assert pipeline.work(job.pk).jobs == []
    job.refresh_from_db()
    assert (job.state, job.attempts) == (JobState.QUEUED, 1)
    assert job.error == "the gateway is tired"
    assert job.after > timezone.now()
    assert pipeline.work(job.pk).jobs == [], "not before its time"
    run(job)
    assert (job.state, job.attempts, job.error) == (JobState.DONE, 0, "")
    assert len(ledger_of(other)) == 2


def test_while_vision_is_unavailable_no_attempt_is_counted(
    space: Space, anna: Person, alice: User, vision: FakeVision
) -> None:
    job = restore_space(
        actor=by(alice),
        snapshot=snapshot_of(space, alice),
        space=space.team.spaces.get(number=6),
    )
    vision.script.extend([VisionUnavailable("the circuit is open")] * 20)
    pipeline.work(job.pk)
    for _ in range(20):
        SpaceJob.objects.update(after=timezone.now())
        pipeline.work(job.pk)
    job.refresh_from_db()
    assert (job.state, job.attempts) == (JobState.QUEUED, 0)
    run(job)
    assert job.state == JobState.DONE


def test_a_restore_that_was_given_up_goes_on_from_there(
    space: Space,
    anna: Person,
    boris: Person,
    alice: User,
    vision: FakeVision,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings.MAX_ATTEMPTS = 2
    monkeypatch.setattr("persons.vision.limits.MAX_IMAGES", 2)
    snapshot = snapshot_of(space, alice)
    other = space.team.spaces.get(number=6)

    def done(asked: Asked) -> bytes:
        return answer(*(envelope.done(name) for name in asked.names))

    vision.script.extend([done, VisionTemporary("down"), VisionTemporary("still down")])
    job = run(restore_space(actor=by(alice), snapshot=snapshot, space=other))
    SpaceJob.objects.update(after=timezone.now())
    pipeline.work(job.pk)
    SpaceJob.objects.update(after=timezone.now())
    pipeline.work(job.pk)
    job.refresh_from_db()
    assert job.state == JobState.FAILED
    assert "Gave up after 2 tries. Last: still down" in job.error
    assert job.done == 2
    run(retry_job(actor=by(alice), job=job))
    job.refresh_from_db()
    assert (job.state, job.error, job.done) == (JobState.DONE, "", 3)
    assert len(sent(vision)) == 5, "what had arrived was not sent again"
    assert sum(1 for call in Call.objects.filter(outcome=Outcome.TEMPORARY)) == 2


def test_a_picture_that_never_gets_an_answer_is_given_up_and_the_others_go_on(
    space: Space, anna: Person, boris: Person, alice: User, vision: FakeVision, settings: Settings
) -> None:
    settings.MAX_ATTEMPTS = 3
    snapshot = snapshot_of(space, alice)

    def busy(asked: Asked) -> bytes:
        return answer(
            *(
                envelope.failed(name, "busy", ImageStatus.TEMPORARY)
                if image.data == b"anna 1"
                else envelope.done(name)
                for name, image in zip(asked.names, asked.images, strict=True)
            )
        )

    vision.script.extend([busy] * 10)
    job = restore_space(actor=by(alice), snapshot=snapshot, space=space.team.spaces.get(number=6))
    for _ in range(12):
        run(job)
    assert job.state == JobState.DONE
    assert (job.report["accepted"], job.report["refused"]) == (2, 1)
    assert Enrolment.objects.get(state=EnrolmentState.FAILED).error == "Gave up after 3 tries. busy"


def test_batches_are_of_many_people_within_the_limits(
    space: Space, alice: User, vision: FakeVision
) -> None:
    for number in range(130):
        enrolled(PersonFactory.create(space=space), f"picture {number}".encode())
    job = restored(snapshot_of(space, alice), space.team.spaces.get(number=6), alice)
    assert job.state == JobState.DONE
    assert [len(asked.images) for asked in vision.asked] == [100, 30]
    assert len(set(vision.asked[0].person_ids)) == 100


def test_large_pictures_are_split_by_bytes(
    space: Space, anna: Person, alice: User, vision: FakeVision
) -> None:
    for number in range(4):
        enrolled(anna, bytes([number]) * 14_000_000)
    job = restored(snapshot_of(space, alice), space.team.spaces.get(number=6), alice)
    assert job.state == JobState.DONE
    assert [len(asked.images) for asked in vision.asked] == [4, 2]


# --- Cut off, cancelled ---


def test_a_cancelled_restore_keeps_what_is_done_and_lets_go_of_the_rest(
    space: Space,
    anna: Person,
    boris: Person,
    alice: User,
    vision: FakeVision,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("persons.vision.limits.MAX_IMAGES", 2)
    other = space.team.spaces.get(number=6)
    job = restore_space(actor=by(alice), snapshot=snapshot_of(space, alice), space=other)
    once(vision, lambda: cancel_job(actor=by(alice), job=job))
    run(job)
    assert job.state == JobState.CANCELLED
    assert job.finished_at is not None
    assert len(sent(vision)) == 2
    states = sorted(Enrolment.objects.filter(person__space=other).values_list("state", flat=True))
    assert states == [EnrolmentState.DONE, EnrolmentState.DONE, EnrolmentState.REMOVED]
    assert other.people.count() == 2


def test_what_may_have_been_sent_when_it_was_cancelled_is_removed_there(
    space: Space, anna: Person, alice: User, vision: FakeVision
) -> None:
    other = space.team.spaces.get(number=6)
    job = restore_space(actor=by(alice), snapshot=snapshot_of(space, alice), space=other)
    vision.script.append(VisionTemporary("the line broke"))
    run(job)
    assert job.error == "the line broke"
    cancel_job(actor=by(alice), job=job)
    person = other.people.get()
    assert set(person.enrolments.values_list("state", flat=True)) == {EnrolmentState.REMOVING}
    assert person.sync_state == SyncState.QUEUED
    pipeline.sync(person.pk)
    assert vision.methods() == ["set", "delete"]
    assert set(person.enrolments.values_list("state", flat=True)) == {EnrolmentState.REMOVED}


def test_a_cancelled_move_to_another_backend_leaves_the_ledger_as_it_was(
    space: Space,
    anna: Person,
    alice: User,
    vision: FakeVision,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    snapshot = snapshot_of(space, alice)
    before = ledger_of(space)
    cloud = FakeVision()
    cloud.name = "cloud"
    use(monkeypatch, cloud)
    job = restore_space(actor=by(alice), snapshot=snapshot, space=space)
    pipeline.work(job.pk)
    assert ledger_of(space) == []
    cancel_job(actor=by(alice), job=job)
    assert ledger_of(space) == before
    assert cloud.asked == []


def test_a_cancelled_restore_whose_worker_died_is_tidied_by_the_sweep(
    space: Space, anna: Person, alice: User, vision: FakeVision
) -> None:
    other = space.team.spaces.get(number=6)
    job = restore_space(actor=by(alice), snapshot=snapshot_of(space, alice), space=other)
    pipeline.work(job.pk)
    SpaceJob.objects.filter(pk=job.pk).update(
        state=JobState.RUNNING, claim="d" * 32, claimed_at=timezone.now()
    )
    cancel_job(actor=by(alice), job=job)
    job.refresh_from_db()
    assert job.finished_at is None, "its worker may be at Vision just now"
    assert job.pk not in swept(Work.JOBS)
    lease_is_over()
    assert job.pk in swept(Work.JOBS)
    pipeline.work(job.pk)
    job.refresh_from_db()
    assert job.finished_at is not None
    rows = Enrolment.objects.filter(person__space=other)
    assert set(rows.values_list("state", flat=True)) == {EnrolmentState.REMOVED}


def test_a_dead_worker_s_job_is_taken_up_by_the_sweep(
    space: Space, alice: User, settings: Settings
) -> None:
    job = take_snapshot(actor=by(alice), space=space)
    SpaceJob.objects.update(
        state=JobState.RUNNING, claim="d" * 32, claimed_at=timezone.now() - timedelta(hours=1)
    )
    assert swept(Work.JOBS) == [job.pk]
    job.refresh_from_db()
    assert (job.state, job.attempts) == (JobState.QUEUED, 1)
    SpaceJob.objects.update(
        state=JobState.RUNNING,
        attempts=settings.MAX_ATTEMPTS,
        claimed_at=timezone.now() - timedelta(hours=1),
    )
    assert swept(Work.JOBS) == []
    job.refresh_from_db()
    assert job.state == JobState.FAILED
    assert "cut off" in job.error


DEADLY: dict[str, str] = {
    "when the people are to be made": "persons.pipeline.spaces.restoring.make_people",
    "when the enrolments are to be made": "persons.pipeline.spaces.restoring._Wanted.queue",
    "before a call": "persons.pipeline.vision_calls.send",
    "after a call": "persons.pipeline.enrolment.bulk_enrol._store",
    "before the end is written": "persons.pipeline.spaces.restoring._finish",
}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("moment", DEADLY)
def test_killed_at_any_moment_it_goes_on_and_nothing_is_lost_or_doubled(
    space: Space,
    anna: Person,
    boris: Person,
    alice: User,
    vision: FakeVision,
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
) -> None:
    monkeypatch.setattr("persons.vision.limits.MAX_IMAGES", 2)
    snapshot = snapshot_of(space, alice)
    other = space.team.spaces.get(number=6)
    job = restore_space(actor=by(alice), snapshot=snapshot, space=other)

    def deadly() -> None:
        with monkeypatch.context() as patched:
            patched.setattr(DEADLY[moment], lambda *args, **more: die())
            run(job)

    assert in_a_worker_that_may_die(deadly) == -9
    job.refresh_from_db()
    assert job.state == JobState.RUNNING
    lease_is_over()
    assert swept(Work.JOBS) == [job.pk]
    run(job)
    assert (job.state, job.error) == (JobState.DONE, "")
    assert ledger_of(other) == ledger_of(space)
    assert (
        not Enrolment.objects.filter(person__space=other)
        .exclude(state=EnrolmentState.DONE)
        .exists()
    )
    assert other.people.count() == 2


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("moment", ["send", "call_log.end"])
def test_a_truncation_that_was_killed_is_done_once_more(
    space: Space,
    anna: Person,
    alice: User,
    vision: FakeVision,
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
) -> None:
    job = truncate_space(actor=by(alice), space=space, typed="Door")
    assert job.snapshot is not None
    pipeline.work(job.snapshot.pk)

    def deadly() -> None:
        monkeypatch.setattr(f"persons.pipeline.spaces.truncating.{moment}", lambda *args: die())
        run(job)

    assert in_a_worker_that_may_die(deadly) == -9
    lease_is_over()
    pipeline.sweep()
    run(job)
    assert job.state == JobState.DONE
    assert ledger_of(space) == []


# --- Uploaded files ---


def file_of(job: SpaceJob) -> io.BytesIO:
    with stored(job.file) as file:
        return io.BytesIO(file.read())


def test_an_uploaded_snapshot_is_looked_through_and_can_be_restored(
    space: Space, anna: Person, boris: Person, alice: User, vision: FakeVision, charlie: User
) -> None:
    """Into another team's space, too: then names say who is who, and the pictures come along."""
    file = file_of(snapshot_of(space, alice))
    theirs = Team.objects.get(slug="others").spaces.get(number=0)
    job = run(add_snapshot(actor=by(charlie), space=theirs, file=file, file_name="door.zip"))
    assert (job.state, job.people_count, job.total) == (JobState.DONE, 2, 3)
    assert job.report["from"]["team"] == "trip"
    restore = restored(job, theirs, charlie)
    assert restore.state == JobState.DONE
    assert ledger_of(theirs) == ledger_of(space)
    for row in Enrolment.objects.filter(person__space=theirs):
        assert row.image.startswith(f"enrolments/{theirs.team_id}/")
        with stored(row.image) as picture:
            assert hashlib.sha256(picture.read()).hexdigest() == row.sha256


def test_a_damaged_upload_is_refused_before_anything_changes(
    space: Space, anna: Person, alice: User
) -> None:
    data = file_of(snapshot_of(space, alice)).getvalue()
    before = SpaceJob.objects.count()
    with pytest.raises(Refused, match="it is no zip"):
        add_snapshot(actor=by(alice), space=space, file=io.BytesIO(data[:-30]))
    assert SpaceJob.objects.count() == before
    # A picture that is damaged inside is found when it is looked through.
    harmed = io.BytesIO(data.replace(b"anna 1", b"anna x"))
    job = run(add_snapshot(actor=by(alice), space=space, file=harmed))
    assert job.state == JobState.FAILED
    assert "is damaged" in job.error
    assert not default_storage.exists(job.file)
    with pytest.raises(Refused, match="can't be used"):
        restore_space(actor=by(alice), snapshot=job, space=space)


def test_a_snapshot_that_is_damaged_by_now_changes_nothing(
    space: Space, anna: Person, alice: User, vision: FakeVision
) -> None:
    snapshot = snapshot_of(space, alice)
    data = file_of(snapshot).getvalue()
    default_storage.save(snapshot.file, ContentFile(data.replace(b"anna 1", b"anna x")))
    other = space.team.spaces.get(number=6)
    job = restored(snapshot, other, alice)
    assert job.state == JobState.FAILED
    assert "is damaged" in job.error
    assert not other.people.exists()
    assert vision.asked == []


def test_a_hostile_name_in_a_file_touches_no_path(space: Space, anna: Person, alice: User) -> None:
    out = io.BytesIO(file_of(snapshot_of(space, alice)).getvalue())
    with zipfile.ZipFile(out, "a") as archive:
        archive.writestr("../../../tmp/evil.jpg", b"x")
    with pytest.raises(Refused, match="as nothing in a snapshot"):
        add_snapshot(actor=by(alice), space=space, file=io.BytesIO(out.getvalue()))


# --- One at a time, and room ---


def test_one_restore_or_truncation_of_a_space_at_a_time(
    space: Space, anna: Person, alice: User, vision: FakeVision
) -> None:
    snapshot = snapshot_of(space, alice)
    restore_space(actor=by(alice), snapshot=snapshot, space=space)
    with pytest.raises(Refused, match="being restored just now"):
        truncate_space(actor=by(alice), space=space, typed="Door")
    with pytest.raises(Refused, match="being restored just now"):
        restore_space(actor=by(alice), snapshot=snapshot, space=space)
    with pytest.raises(Refused, match="A restore is reading"):
        delete_snapshot(actor=by(alice), snapshot=snapshot)
    restore_space(actor=by(alice), snapshot=snapshot, space=space.team.spaces.get(number=6))


def test_more_than_fits_is_refused_beforehand(
    space: Space, anna: Person, alice: User, vision: FakeVision, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = snapshot_of(space, alice)
    other = space.team.spaces.get(number=6)
    enrolled(PersonFactory.create(space=other), b"somebody")
    monkeypatch.setattr(Space, "CAPACITY", 2)
    with pytest.raises(Refused, match="it would have 1 more"):
        restore_space(actor=by(alice), snapshot=snapshot, space=other)
