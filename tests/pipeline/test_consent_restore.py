"""Restores, and work under way, in a space that requires consents."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from persons import pipeline
from persons.actions.consent import ConsentTerms, record_consent, withdraw_consent
from persons.actions.snapshots import cancel_job, manifest_of, restore_space
from persons.models import Enrolment, Person, Space, SpaceJob, Team, User
from persons.models.work import JobState
from persons.pipeline.spaces.previewing import preview_restore
from tests.support.fakes import FakeVision, by, entries, once
from tests.support.spaces import anna, boris, run, snapshot_of, space, vision

__all__ = ["anna", "boris", "space", "vision"]

SignIn = Callable[[User], Client]

pytestmark = pytest.mark.django_db


@pytest.fixture
def snapshot(
    space: Space, anna: Person, boris: Person, alice: User, vision: FakeVision
) -> SpaceJob:
    """Of Anna, with two pictures, and Boris, with one."""
    Space.objects.filter(pk=space.pk).update(create_new=True)
    return snapshot_of(space, alice)


@pytest.fixture
def strict(team: Team) -> Space:
    """Another space, which requires a consent."""
    Space.objects.filter(team=team, number=6).update(require_consent=True)
    return team.spaces.get(number=6)


def agree(user: User, person: Person) -> object:
    given = ConsentTerms("Photos", "Form 7", timezone.now() - timedelta(minutes=1))
    return record_consent(actor=by(user), person=person, given=given)


def states(space: Space) -> dict[str, list[str]]:
    people = Person.objects.filter(space=space).order_by("pk")
    return {
        person.label: [row.state for row in person.enrolments.order_by("pk")] for person in people
    }


def test_a_restore_leaves_out_who_has_no_consent_and_says_so(
    strict: Space, snapshot: SpaceJob, alice: User, vision: FakeVision
) -> None:
    known = Person.objects.create(space=strict, person_id=1, label="Boris")
    agree(alice, known)
    job = run(restore_space(actor=by(alice), snapshot=snapshot, space=strict, with_policy=True))
    assert (job.state, job.error) == (JobState.DONE, "")
    assert states(strict) == {"Boris": ["done"], "Anna": ["waiting", "waiting"]}
    assert (job.report["accepted"], job.report["waiting"]) == (1, 2)
    assert sum(len(one.names) for one in vision.asked) == 1
    (entry,) = entries(strict.team, "space.restored")
    assert entry.after["without_consent"] == 2
    # What protects people is not turned off by a file.
    strict.refresh_from_db()
    assert strict.require_consent
    assert not strict.create_new
    # And they go by themselves.
    person = Person.objects.get(space=strict, label="Anna")
    agree(alice, person)
    pipeline.sync(person.pk)
    assert states(strict)["Anna"] == ["done", "done"]


def test_the_pages_say_beforehand_and_afterwards_who_waits_for_a_consent(
    strict: Space, snapshot: SpaceJob, alice: User, vision: FakeVision, sign_in: SignIn
) -> None:
    client = sign_in(alice)
    preview = reverse("snapshot_restore", args=["trip", snapshot.space.number, snapshot.pk])
    assert "whoever has none there wait" in client.get(preview, {"to": 6}).text
    assert "whoever has none there wait" not in client.get(preview, {"to": 7}).text
    run(restore_space(actor=by(alice), snapshot=snapshot, space=strict, with_policy=True))
    there = reverse("space", args=["trip", 6])
    page = client.get(there, {"view": "snapshots"}).text
    assert "Restored 3 pictures, of which 3 wait for a consent" in page


def test_a_consent_that_ends_during_a_restore_stops_what_is_still_to_go(
    strict: Space,
    snapshot: SpaceJob,
    alice: User,
    vision: FakeVision,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("persons.vision.limits.MAX_IMAGES", 1)
    anna_there = Person.objects.create(space=strict, person_id=1, label="Anna")
    boris_there = Person.objects.create(space=strict, person_id=2, label="Boris")
    row = agree(alice, anna_there)
    agree(alice, boris_there)
    job = restore_space(actor=by(alice), snapshot=snapshot, space=strict)
    once(vision, lambda: withdraw_consent(actor=by(alice), consent_row=row))  # type: ignore[arg-type]
    run(job)
    assert "done" not in states(strict)["Anna"]
    assert states(strict)["Boris"] == ["done"]
    # The one that was being sent is deleted again.
    pipeline.sync(anna_there.pk)
    assert [one.person_ids for one in vision.asked if one.method == "delete"] == [[1]]
    assert states(strict)["Anna"].count("waiting") == 2


def test_a_cancelled_restore_takes_back_what_it_left_waiting(
    strict: Space, snapshot: SpaceJob, alice: User
) -> None:
    job = restore_space(actor=by(alice), snapshot=snapshot, space=strict)
    while not Enrolment.objects.filter(job=job).exists():
        SpaceJob.objects.update(after=timezone.now())
        pipeline.work(job.pk)
    SpaceJob.objects.filter(pk=job.pk).update(state=JobState.QUEUED)
    job.refresh_from_db()
    cancel_job(actor=by(alice), job=job)
    assert not Enrolment.objects.filter(job=job, state="waiting").exists()


def test_pictures_that_wait_are_in_a_snapshot_too(
    strict: Space, snapshot: SpaceJob, alice: User
) -> None:
    run(restore_space(actor=by(alice), snapshot=snapshot, space=strict))
    again = manifest_of(snapshot_of(strict, alice))
    assert len(again.pictures) == 3
    assert preview_restore(again, strict).there == 0
