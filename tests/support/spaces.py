"""A space with enrolled people, and helpers that run its jobs to the end."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.utils import timezone

from persons import pipeline
from persons.actions.snapshots import (
    take_snapshot,
    truncate_space,
)
from persons.models import (
    Call,
    Enrolment,
    EnrolmentState,
    Person,
    Source,
    Space,
    SpaceJob,
    Team,
    User,
)
from persons.models.calls import Outcome
from persons.models.work import JobState
from persons.people.enrolments import picture_key
from tests.support.factories import PersonFactory
from tests.support.fakes import (
    FakeVision,
    by,
    use,
)


@pytest.fixture
def vision(monkeypatch: pytest.MonkeyPatch) -> FakeVision:
    return use(monkeypatch, FakeVision())


@pytest.fixture
def space(team: Team) -> Space:
    space = team.spaces.get(number=3)
    Space.objects.filter(pk=space.pk).update(name="Door")
    space.refresh_from_db()
    return space


def enrolled(person: Person, content: bytes, **columns: Any) -> Enrolment:
    """An enrolment that the fake Vision has accepted."""
    digest = hashlib.sha256(content).hexdigest()
    key = picture_key(person.space.team_id, digest)
    if not default_storage.exists(key):
        default_storage.save(key, ContentFile(content))
    call = Call.objects.create(
        team=person.space.team,
        space=person.space,
        method="set",
        source=Source.WORKER,
        backend=FakeVision.name,
        model=FakeVision.model,
        outcome=Outcome.DONE,
    )
    values: dict[str, Any] = {
        "state": EnrolmentState.DONE,
        "done_at": timezone.now(),
        "call": call,
        "sha256": digest,
        "image": key,
    }
    return Enrolment.objects.create(person=person, **(values | columns))


@pytest.fixture
def anna(space: Space, alice: User) -> Person:
    anna: Person = PersonFactory.create(space=space, label="Anna", notes="tall")
    enrolled(anna, b"anna 1", created_by=alice)
    enrolled(anna, b"anna 2")
    return anna


@pytest.fixture
def boris(space: Space) -> Person:
    boris: Person = PersonFactory.create(space=space, label="Boris", hidden=True)
    enrolled(boris, b"boris 1")
    return boris


def run(job: SpaceJob, turns: int = 50) -> SpaceJob:
    """Run the job, and jobs that follow from it, as workers would, without the waits."""
    waiting = [job.pk]
    while waiting and turns:
        turns -= 1
        SpaceJob.objects.filter(state=JobState.QUEUED).update(after=timezone.now())
        waiting += pipeline.work(waiting.pop(0)).jobs
    assert turns, "it goes on for ever"
    job.refresh_from_db()
    return job


def snapshot_of(space: Space, user: User) -> SpaceJob:
    job = run(take_snapshot(actor=by(user), space=space))
    assert (job.state, job.error) == (JobState.DONE, "")
    return job


def truncated(space: Space, user: User) -> SpaceJob:
    job = truncate_space(actor=by(user), space=space, typed=str(space))
    assert job.snapshot is not None
    run(job.snapshot)
    return run(job)


def ledger_of(space: Space) -> list[tuple[int, str, str]]:
    """The (person_id, label, digest) of each enrolled picture."""
    rows = Enrolment.objects.filter(person__space=space, state=EnrolmentState.DONE)
    found = rows.order_by("person__person_id", "sha256")
    return list(found.values_list("person__person_id", "person__label", "sha256"))
