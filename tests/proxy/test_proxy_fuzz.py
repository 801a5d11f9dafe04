"""Every request gets an answer in an envelope, in time. `bench/fuzz_proxy.py` runs for longer."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import SearchStrategy

from persons.models import Team
from tests.support import hostile, wire
from tests.support.hostile import Judge, Request
from tests.support.wire import Gunicorn

pytestmark = [pytest.mark.processes, pytest.mark.any_database]

needs_schemathesis = pytest.mark.skipif(
    importlib.util.find_spec("schemathesis") is None, reason='pip install -e ".[fuzz]"'
)


@pytest.fixture(scope="module")
def server(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gunicorn]:
    with Gunicorn(tmp_path_factory.mktemp("fuzz")) as server:
        yield server


@pytest.fixture
def judge(server: Gunicorn, transactional_db: None, team: Team) -> Judge:
    return Judge(server.address, wire.make_key(team)[1])


def try_many(judge: Judge, made: SearchStrategy[Request], examples: int) -> None:
    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(made)
    def one(request: Request) -> None:
        judge.try_(request)

    one()


def test_whatever_is_sent_is_answered_in_an_envelope(judge: Judge) -> None:
    try_many(judge, hostile.requests(), 250)
    # It was no fuzz at all where nothing passed, or everything did.
    for status in (200, 400):
        tried = [judge.seen[f"{method} {status}"] for method in wire.METHODS]
        assert sum(tried) > 20 and sum(map(bool, tried)) > 2, judge.seen


@needs_schemathesis
@pytest.mark.parametrize("mode", ["positive", "negative"])
def test_whatever_the_vendors_description_allows_or_forbids_is_answered(
    judge: Judge, mode: str
) -> None:
    try_many(judge, hostile.from_description(mode), 60)
