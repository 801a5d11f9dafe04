"""An erasure also removes the person from stored snapshots, and no restore brings them back."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage

from persons import pipeline
from persons.actions.erasing import erase_person
from persons.actions.snapshots import (
    add_snapshot,
    restore_space,
    take_snapshot,
    truncate_space,
    write_snapshot,
)
from persons.files.storage import stored
from persons.models import Enrolment, Erasure, JobState, Person, Space, SpaceJob, Team, User
from persons.pipeline.spaces.previewing import preview_restore
from persons.pipeline.spaces.snapshots import opened
from tests.support.erasing import enrol, finish
from tests.support.factories import PersonFactory
from tests.support.fakes import FakeVision, by, use

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def vision(monkeypatch: pytest.MonkeyPatch) -> FakeVision:
    return use(monkeypatch, FakeVision())


@pytest.fixture
def space(team: Team) -> Space:
    return Space.objects.get(team=team, number=0)


@pytest.fixture
def zoe(space: Space, alice: User) -> Person:
    zoe = PersonFactory.create(space=space, label="Zoë Erased", notes="Sings")
    enrol(zoe, b"a picture of zoe")
    return zoe


@pytest.fixture
def ann(space: Space) -> Person:
    ann = PersonFactory.create(space=space, label="Ann Stays")
    enrol(ann, b"a picture of ann")
    return ann


def run(job: SpaceJob) -> SpaceJob:
    while job.is_under_way and pipeline.work(job.pk) is not None:
        job.refresh_from_db()
    return job


def outside(space: Space, user: User, folder: Path) -> bytes:
    """A snapshot that Rollcall does not keep."""
    write_snapshot(actor=by(user), space=space, path=folder / "saved.zip")
    return (folder / "saved.zip").read_bytes()


def brought_in(space: Space, user: User, data: bytes) -> SpaceJob:
    return run(add_snapshot(actor=by(user), space=space, file=BytesIO(data)))


def test_one_that_is_kept_is_written_anew_without_them(
    vision: FakeVision, zoe: Person, ann: Person, space: Space, alice: User
) -> None:
    job = run(take_snapshot(actor=by(alice), space=space))
    before = job.file
    finish(erase_person(actor=by(alice), person=zoe))
    job.refresh_from_db()
    assert job.file != before and not default_storage.exists(before)
    assert (job.state, job.total, job.size) == (
        JobState.DONE,
        1,
        default_storage.size(job.file),
    )
    with stored(job.file) as file, opened(file) as snapshot:
        snapshot.check(lambda count: None)
        assert [one.label for one in snapshot.manifest.people] == ["Ann Stays"]
        assert [one.person for one in snapshot.manifest.pictures] == [ann.person_id]


def test_one_that_nobody_can_read_goes(
    vision: FakeVision, zoe: Person, space: Space, alice: User
) -> None:
    job = run(take_snapshot(actor=by(alice), space=space))
    default_storage.delete(job.file)
    default_storage.save(job.file, ContentFile(b"no zip at all, and perhaps Zoe"))
    key = job.file
    finish(erase_person(actor=by(alice), person=zoe))
    job.refresh_from_db()
    assert job.file == "" and not default_storage.exists(key)


def test_none_brings_them_back_where_they_were(
    vision: FakeVision, zoe: Person, ann: Person, space: Space, alice: User, tmp_path: Path
) -> None:
    data = outside(space, alice, tmp_path)
    finish(erase_person(actor=by(alice), person=zoe))
    picture = ann.enrolments.get().image
    ann.delete()
    default_storage.delete(picture)
    saved = brought_in(space, alice, data)
    with stored(saved.file) as file, opened(file) as snapshot:
        preview = preview_restore(snapshot.manifest, space)
    assert (preview.new, preview.to_send) == (1, 1)
    job = run(restore_space(actor=by(alice), snapshot=saved, space=space))
    assert job.state == JobState.DONE, job.error
    assert job.report["erased"] == 1
    assert [person.label for person in Person.objects.all()] == ["Ann Stays"]
    assert Enrolment.objects.count() == 1
    assert sum("enrolments" in str(path) for path in _files()) == 1


def test_nor_in_another_space_of_the_team(
    vision: FakeVision,
    zoe: Person,
    ann: Person,
    space: Space,
    team: Team,
    alice: User,
    tmp_path: Path,
) -> None:
    data = outside(space, alice, tmp_path)
    finish(erase_person(actor=by(alice), person=zoe))
    other = Space.objects.get(team=team, number=7)
    saved = brought_in(other, alice, data)
    job = run(restore_space(actor=by(alice), snapshot=saved, space=other))
    assert job.state == JobState.DONE, job.error
    assert [person.label for person in Person.objects.filter(space=other)] == ["Ann Stays"]
    assert job.report["erased"] == 1


def test_who_has_the_number_by_now_gets_nothing_of_theirs(
    vision: FakeVision, zoe: Person, space: Space, alice: User, tmp_path: Path
) -> None:
    data = outside(space, alice, tmp_path)
    finish(erase_person(actor=by(alice), person=zoe))
    somebody = Person.objects.create(space=space, person_id=zoe.person_id)
    saved = brought_in(space, alice, data)
    run(restore_space(actor=by(alice), snapshot=saved, space=space))
    somebody.refresh_from_db()
    assert (somebody.label, somebody.notes) == ("", "")
    assert not somebody.enrolments.exists()


def test_a_restore_that_is_under_way_stops(
    vision: FakeVision, zoe: Person, ann: Person, space: Space, alice: User
) -> None:
    saved = run(take_snapshot(actor=by(alice), space=space))
    job = restore_space(actor=by(alice), snapshot=saved, space=space)
    finish(erase_person(actor=by(alice), person=zoe))
    job.refresh_from_db()
    assert job.state == JobState.CANCELLED and job.finished_at is not None


def test_one_that_is_being_written_is_begun_anew(
    vision: FakeVision,
    zoe: Person,
    ann: Person,
    space: Space,
    alice: User,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The writer has them in its list already, and loses its claim."""
    job = take_snapshot(actor=by(alice), space=space)
    save = default_storage.save
    begun: list[Erasure] = []

    def meanwhile(name: str, content: object, *args: object) -> str:
        monkeypatch.undo()
        use(monkeypatch, vision)
        begun.append(erase_person(actor=by(alice), person=zoe))
        pipeline.erase(begun[0].pk)
        return str(save(name, content, *args))  # type: ignore[arg-type]

    monkeypatch.setattr(default_storage, "save", meanwhile)
    pipeline.work(job.pk)
    job.refresh_from_db()
    assert job.state == JobState.QUEUED
    finish(begun[0])
    run(job)
    assert job.state == JobState.DONE
    with stored(job.file) as file, opened(file) as snapshot:
        assert [one.label for one in snapshot.manifest.people] == ["Ann Stays"]
    assert sum("snapshots" in str(path) for path in _files()) == 1


def test_emptying_the_space_goes_on(
    vision: FakeVision, zoe: Person, ann: Person, space: Space, alice: User
) -> None:
    job = truncate_space(actor=by(alice), space=space, typed=str(space))
    assert job.snapshot is not None
    finish(erase_person(actor=by(alice), person=zoe))
    run(job.snapshot)
    run(job)
    assert job.state == JobState.DONE, job.error
    with stored(job.snapshot.file) as file, opened(file) as snapshot:
        assert [one.label for one in snapshot.manifest.people] == ["Ann Stays"]


def _files() -> list[Path]:
    root = Path(default_storage.location)  # type: ignore[attr-defined]
    return [path for path in root.rglob("*") if path.is_file()]
