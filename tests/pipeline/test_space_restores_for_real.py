"""Held-out photos get the same tags after a restore.

With real photos, the real recogniser, real workers that are killed, and another Rollcall as the
cloud that a team moves to.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from PIL import Image, ImageEnhance
from pytest_django import Settings

from persons import pipeline, tasks
from persons.actions.faces import name_face
from persons.actions.photos import add_photo, recognise_gallery_again
from persons.actions.snapshots import restore_space, take_snapshot, truncate_space
from persons.backends.embedded import DatabaseStore
from persons.files.storage import stored
from persons.models import (
    Call,
    Enrolment,
    EnrolmentState,
    Face,
    Gallery,
    Person,
    Photo,
    PhotoState,
    Space,
    SpaceJob,
    Team,
    User,
)
from persons.models.calls import Outcome
from persons.models.work import JobState
from persons.people.enrolments import picture_key
from persons.work import Work
from tests.support.factories import GalleryFactory, PersonFactory
from tests.support.fakes import by
from tests.support.instances import Second, line, second  # noqa: F401 - fixtures
from tests.support.misbehaving import Misbehaving
from tests.support.processes import CeleryProcess, wait_until
from tests.support.spaces import enrolled, run
from tests.support.wire import photo

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.thorough]

ENROLLED = {"ardern_1": "Jacinda", "macron_1": "Emmanuel", "obama_1": "Barack"}
HELD_OUT = ["ardern_2", "macron_2", "sunak_1", "group_1"]


def upload(gallery: Gallery, user: User, name: str) -> Photo:
    file = io.BytesIO(photo(name))
    return add_photo(actor=by(user), gallery=gallery, file=file, file_name=name).photo


def tags(gallery: Gallery) -> dict[str, list[tuple[str, float]]]:
    """What the recogniser says of each held-out photo, asked anew, from left to right."""
    recognise_gallery_again(actor=by(None), gallery=gallery)
    found: dict[str, list[tuple[str, float]]] = {}
    for face in Face.objects.filter(photo__gallery=gallery).order_by("photo", "left"):
        face.photo.refresh_from_db()
        assert (face.photo.state, face.photo.error) == (PhotoState.DONE, "")
        found.setdefault(face.photo.file_name, []).append((face.tag, face.similarity))
    return found


@pytest.fixture
def space(eager: None, team: Team, alice: User) -> Space:
    """Three people, each enrolled by one photo, the way it is done on the pages."""
    space = team.spaces.get(number=2)
    gallery = GalleryFactory.create(team=team, space=space, slug="known")
    for name, label in ENROLLED.items():
        uploaded = upload(gallery, alice, name)
        name_face(actor=by(alice), face=uploaded.faces.get(), label=label)
    assert set(Enrolment.objects.values_list("state", flat=True)) == {EnrolmentState.DONE}
    return space


def held_out(space: Space, user: User) -> Gallery:
    gallery: Gallery = GalleryFactory.create(
        team=space.team, space=space, slug=f"held-out-{space.number}"
    )
    for name in HELD_OUT:
        upload(gallery, user, name)
    return gallery


@pytest.mark.any_database
def test_held_out_photos_get_the_same_tags_in_the_same_space_and_in_another(
    space: Space, alice: User
) -> None:
    gallery = held_out(space, alice)
    before = tags(gallery)
    known = {tag for faces in before.values() for tag, _ in faces} - {"undefined"}
    assert len(known) == 3, "all three are on the held-out photos"

    job = truncate_space(actor=by(alice), space=space, typed="Space 2")
    job.refresh_from_db()
    assert (job.state, job.error) == (JobState.DONE, "")
    assert {tag for faces in tags(gallery).values() for tag, _ in faces} == {"undefined"}

    assert job.snapshot is not None
    other = space.team.spaces.get(number=7)
    for into in (other, space):
        restore = restore_space(actor=by(alice), snapshot=job.snapshot, space=into)
        restore.refresh_from_db()
        assert (restore.state, restore.error) == (JobState.DONE, "")
        assert restore.report["accepted"] == 3
    assert tags(held_out(other, alice)) == before
    assert tags(gallery) == before
    assert set(other.people.values_list("label", flat=True)) == set(ENROLLED.values())


@pytest.mark.any_database
def test_a_team_moves_to_another_rollcall_and_the_tags_stay(
    space: Space,
    alice: User,
    second: Second,  # noqa: F811
    settings: Settings,
    request: pytest.FixtureRequest,
) -> None:
    """By setting VISION_URL and restoring: into the same space, and into another number."""
    gallery = held_out(space, alice)
    before = tags(gallery)
    snapshot = take_snapshot(actor=by(alice), space=space)
    snapshot.refresh_from_db()

    wire: Misbehaving = request.getfixturevalue("line")
    assert {tag for faces in tags(gallery).values() for tag, _ in faces} == {"undefined"}
    restore = restore_space(actor=by(alice), snapshot=snapshot, space=space)
    restore.refresh_from_db()
    assert (restore.state, restore.error) == (JobState.DONE, "")
    assert second.known == 3
    call = Call.objects.filter(method="set").latest("pk")
    assert (call.backend, call.image_count, call.outcome) == ("cloud", 3, Outcome.DONE)
    assert call.cost > 0
    assert [request.path for request in wire.received].count("/api/v1/persons/set") == 1
    assert tags(gallery) == before

    other = space.team.spaces.get(number=5)
    restore_space(actor=by(alice), snapshot=snapshot, space=other)
    assert second.known == 6
    assert tags(held_out(other, alice)) == before

    # Emptied over the wire, and taken back.
    truncate_space(actor=by(alice), space=other, typed="Space 5")
    assert second.known == 3
    last = SpaceJob.objects.snapshots().filter(space=other).get()
    restore_space(actor=by(alice), snapshot=last, space=other)
    assert second.known == 6


COUNT = 240


@pytest.mark.processes
def test_a_worker_is_killed_in_the_middle_of_a_restore(
    real_worker: Callable[..., CeleryProcess],
    team: Team,
    alice: User,
    settings: Settings,
) -> None:
    """240 pictures in calls of a hundred. Each is known once afterwards, and none is missing."""
    space, other = team.spaces.get(number=2), team.spaces.get(number=7)
    for number, data in enumerate(pictures(COUNT)):
        if number % 3 == 0:
            person = PersonFactory.create(space=space, label=f"Person {number}")
        enrolled(person, data)
    snapshot = run(SpaceJob.objects.create(team=team, space=space, kind=SpaceJob.Kind.SNAPSHOT))
    assert snapshot.total == COUNT

    job = SpaceJob.objects.create(
        team=team,
        space=other,
        kind=SpaceJob.Kind.RESTORE,
        snapshot=snapshot,
        requested_by=alice,
    )
    worker = real_worker(concurrency=1)
    tasks.send(Work.JOBS)
    wait_until(lambda: fresh(job).done >= 100, what="the first call of the restore")
    worker.kill()
    assert fresh(job).done < COUNT, "it was too quick to be killed in the middle"
    assert fresh(job).state in (JobState.RUNNING, JobState.QUEUED)
    worker.start()
    settings.LEASE_SECONDS = 4

    def rest() -> bool:
        # Not `swept`: the worker may take what a sweep has found before that looks.
        if Work.JOBS in pipeline.sweep():
            tasks.send(Work.JOBS)
        return not fresh(job).is_under_way

    wait_until(rest, what="the restore to end")
    done = fresh(job)
    assert (done.state, done.error, done.done) == (JobState.DONE, "", COUNT)
    rows = Enrolment.objects.filter(person__space=other)
    assert rows.count() == rows.filter(state=EnrolmentState.DONE).count() == COUNT
    assert Person.objects.filter(space=other).count() == COUNT // 3
    there = DatabaseStore(team.pk).load(7)
    ids = sorted(rows.values_list("person__person_id", flat=True))
    assert sorted(there.person_ids.tolist()) == ids
    settings.LEASE_SECONDS = settings.CALL_SECONDS = 0
    pipeline.sweep()
    assert not Call.objects.filter(outcome=Outcome.RUNNING).exists()


def fresh(job: SpaceJob) -> SpaceJob:
    return SpaceJob.objects.get(pk=job.pk)


def pictures(count: int) -> list[bytes]:
    """So many different small pictures, each with one face."""
    folder: Path = django_settings.BASE_DIR / "demo" / "photos"
    names = ["ardern_1", "obama_1", "sunak_1", "collins_1", "macron_1"]
    small = []
    for name in names:
        picture = Image.open(folder / f"{name}.jpg").convert("RGB")
        picture.thumbnail((200, 200))
        small.append(picture)
    made = []
    for number in range(count):
        picture = ImageEnhance.Brightness(small[number % len(small)]).enhance(0.9 + number / 2000)
        out = io.BytesIO()
        picture.save(out, "JPEG", quality=88)
        made.append(out.getvalue())
    return made


@pytest.mark.any_database
def test_the_kept_bytes_are_what_is_sent(space: Space, alice: User) -> None:
    """To the byte: the picture that a snapshot holds is the one that Vision had."""
    snapshot = take_snapshot(actor=by(alice), space=space)
    snapshot.refresh_from_db()
    other = space.team.spaces.get(number=7)
    restore_space(actor=by(alice), snapshot=snapshot, space=other)
    for row in Enrolment.objects.filter(person__space=other):
        assert row.image == picture_key(space.team_id, row.sha256)
        first = Enrolment.objects.get(person__space=space, sha256=row.sha256)
        with stored(row.image) as one, stored(first.image) as two:
            assert one.read() == two.read()
