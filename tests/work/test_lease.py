"""The lease, tested for every registered kind of work."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as configured
from django.db.models import Model, QuerySet
from django.utils import timezone
from pytest_django import Settings

import persons
from persons import pipeline
from persons.models import (
    AuditChain,
    Erasure,
    Gallery,
    Grouping,
    JobState,
    Person,
    Photo,
    RetentionRun,
    SpaceJob,
    User,
)
from persons.work import KINDS, Kind, LeaseLost, Leases, LongWork, Work, take_turn
from tests.support.factories import GalleryFactory, PersonFactory, PhotoFactory

LEASES = [one for kind in KINDS.values() for one in kind.leases]
pytestmark = pytest.mark.django_db


@pytest.fixture
def gallery(bob: User) -> Gallery:
    return GalleryFactory.create(team=bob.memberships.get().team)


@pytest.fixture(params=LEASES, ids=[f"{one.model.__name__}-{one.running}" for one in LEASES])
def leases(request: pytest.FixtureRequest) -> Leases[Any]:
    found: Leases[Any] = request.param
    return found


@pytest.fixture
def row(leases: Leases[Any], gallery: Gallery) -> Model:
    """One that waits. A kind of work with a model of its own needs a line here."""
    space, team = gallery.space, gallery.team
    made: Model = {
        Photo: lambda: PhotoFactory.create(gallery=gallery),
        Person: lambda: PersonFactory.create(space=space),
        SpaceJob: lambda: SpaceJob.objects.create(
            team=team, space=space, kind=SpaceJob.Kind.REBUILD
        ),
        Grouping: lambda: Grouping.objects.create(space=space),
        Erasure: lambda: Erasure.objects.create(team=team, space=space, number=0, person_id=1),
        RetentionRun: lambda: RetentionRun.objects.create(team=team, rules={}, step="probes"),
        AuditChain: lambda: AuditChain.objects.get_or_create(team=team)[0],
    }[leases.model]()
    rows_of(leases, made).update(**{leases.state: leases.waiting})
    return made


def rows_of(leases: Leases[Any], row: Model) -> QuerySet[Any]:
    rows: QuerySet[Any] = leases.model._default_manager.filter(pk=row.pk)
    return rows


def state_of(leases: Leases[Any], row: Model) -> str:
    row.refresh_from_db()
    return str(getattr(row, leases.state))


def test_one_worker_alone_claims_a_row(leases: Leases[Any], row: Model) -> None:
    lease = leases.claim(rows_of(leases, row))
    assert lease is not None and lease.held.get() == row
    assert state_of(leases, row) == leases.running
    assert leases.claim(rows_of(leases, row)) is None


def test_what_is_to_wait_is_not_claimed(leases: Leases[Any], row: Model) -> None:
    rows_of(leases, row).update(after=timezone.now() + timedelta(minutes=1))
    assert leases.claim(rows_of(leases, row)) is None


def test_a_dead_worker_s_row_is_taken_over_and_a_living_one_s_is_not(
    leases: Leases[Any], row: Model
) -> None:
    lost = leases.claim(rows_of(leases, row))
    assert lost is not None
    assert pipeline.release_claims() == 0
    age(leases, row)
    lost.renew()
    assert pipeline.release_claims() == 0, "it was renewed"
    age(leases, row)
    assert pipeline.release_claims() == 1
    assert state_of(leases, row) == leases.waiting
    assert getattr(row, leases.counter) == 1
    assert leases.claim(rows_of(leases, row)) is not None
    with pytest.raises(LeaseLost):
        lost.renew()
    with pytest.raises(LeaseLost):
        lost.end(leases.failed)
    assert lost.cut_off(ValueError()) == 0
    assert state_of(leases, row) == leases.running


def age(leases: Leases[Any], row: Model) -> None:
    long_since = timezone.now() - timedelta(seconds=configured.LEASE_SECONDS + 1)
    rows_of(leases, row).update(claimed_at=long_since)


def test_a_lease_is_shorter_than_a_minute() -> None:
    assert configured.LEASE_SECONDS + configured.SWEEP_SECONDS <= 60


def test_whoever_stumbles_gives_the_row_back_and_it_is_given_up_in_the_end(
    leases: Leases[Any], row: Model, settings: Settings
) -> None:
    settings.MAX_ATTEMPTS = 3
    most = leases.most or 3
    # A photo that is tried again shows no error.
    reason = "" if leases.model is Photo else "The worker was cut off: ValueError"
    for count in range(1, most + 1):
        lease = leases.claim(rows_of(leases, row))
        assert lease is not None
        assert lease.cut_off(ValueError()) == 1
        assert (state_of(leases, row) == leases.waiting) == (count < most)
        assert count == most or getattr(row, leases.error) == reason
    assert state_of(leases, row) == leases.failed
    told = f"{leases.what} was cut off {most} times. Last: ValueError"
    assert getattr(row, leases.error) == told


def test_errors_of_an_erasure_do_not_count_as_deaths(gallery: Gallery, settings: Settings) -> None:
    settings.MAX_ATTEMPTS = 3
    erasure = Erasure.objects.create(
        team=gallery.team, space=gallery.space, number=0, person_id=1, attempts=100
    )
    Erasure.objects.update(state=JobState.RUNNING, claim="dead", claimed_at=timezone.now())
    pipeline.release_claims(everything=False)
    Erasure.objects.update(claimed_at=timezone.now() - timedelta(hours=1))
    assert pipeline.release_claims() == 1
    erasure.refresh_from_db()
    assert (erasure.state, erasure.attempts, erasure.interruptions) == (JobState.QUEUED, 100, 1)


TIDYING = Leases(
    Grouping,
    waiting=JobState.READY,
    running=JobState.CANCELLED,
    failed=JobState.FAILED,
    what="Tidying",
)


class Tidying(LongWork):
    """A new kind of work: this and the lease above are all that it needs."""

    name = Work.GROUP
    leases = (TIDYING,)

    def waiting(self) -> QuerySet[Grouping]:
        return Grouping.objects.filter(state=JobState.READY, after__lte=timezone.now())

    def do(self, key: int) -> bool:
        lease = TIDYING.claim(Grouping.objects.filter(pk=key))
        if lease is None:
            return False
        with lease.kept_alive():
            lease.renew(done=1)
        lease.end(JobState.DONE)
        return False


@pytest.fixture
def tidying(monkeypatch: pytest.MonkeyPatch) -> Kind:
    kind = Tidying()
    monkeypatch.setitem(KINDS, Work.GROUP, kind)
    return kind


def test_a_new_kind_of_work_is_a_class_of_some_lines(tidying: Kind, gallery: Gallery) -> None:
    rows = [Grouping.objects.create(space=gallery.space, state=JobState.READY) for _ in range(3)]
    dead = TIDYING.claim(Grouping.objects.filter(pk=rows[0].pk))
    assert dead is not None
    age(TIDYING, rows[0])
    assert pipeline.release_claims() == 1, "the sweep knows it by the registry"
    turn = take_turn(tidying, begins=lambda: None, began=lambda: None)
    assert (turn.steps, turn.error) == (3, None)
    assert set(Grouping.objects.values_list("state", "done")) == {(JobState.DONE, 1)}


def sources() -> Iterator[Path]:
    domain = Path(persons.__file__).parent
    for path in [*domain.rglob("*.py"), *(domain.parent / "dashboard").rglob("*.py")]:
        if not {"migrations", "work"} & set(path.relative_to(domain.parent).parts):
            yield path


def test_nothing_but_the_package_of_work_touches_a_claim() -> None:
    declares = "leased.py"
    touches = re.compile(r"\bclaimed_at\b|\bclaim=|\"claim\"|__claim\b|\.claim = ")
    found = [
        f"{path}: {line.strip()}"
        for path in sources()
        if path.name != declares
        for line in path.read_text().splitlines()
        if touches.search(line)
    ]
    assert found == []
