"""Which Vision a space uses, and the database store of the embedded engine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from django.db import connection, transaction
from pytest_django import Settings

from persons.actions.naming import take_person_id
from persons.backends import embedded
from persons.backends.embedded import DatabaseStore, check_weights
from persons.backends.select import vision_for
from persons.engine.engine import ALIAS_THRESHOLD
from persons.engine.store import NewEmbedding, SpaceMoved, Vectors
from persons.engine.weights import WeightsError
from persons.models import EngineEmbedding, Space, Team
from persons.vision import envelope
from persons.vision.meta import RecognizeRequest
from persons.vision.types import FoundPerson, Image, Method
from tests.support.embedded import enrol, photo
from tests.support.factories import TeamFactory
from tests.support.fakes import at_once
from tests.support.processes import PATIENCE, ROOT, database_url


def recognise(space: Space, name: str) -> FoundPerson:
    request = RecognizeRequest(space.number, ("a",), update_embedding=False)
    answer = vision_for(space).call(Method.RECOGNIZE, request.as_meta(), [Image("a", photo(name))])
    (result,) = envelope.parse(Method.RECOGNIZE, answer).objects
    (person,) = result.persons
    return person


@pytest.fixture
def space(team: Team) -> Space:
    return team.spaces.get(number=2)


@pytest.mark.django_db
class TestTheBackend:
    def test_it_is_the_embedded_recogniser(self, space: Space) -> None:
        vision = vision_for(space)
        assert vision.name == "embedded"
        assert "yunet" in vision.model
        assert "sface" in vision.model
        assert 1 <= vision.max_batch <= 100

    def test_the_spaces_threshold_is_the_engines(self, space: Space) -> None:
        enrol(space, 1, "macron_1")
        found = recognise(space, "macron_2")
        assert found.person_id == 1
        space.threshold = found.similarity + 0.01
        assert recognise(space, "macron_2").person_id is None
        space.threshold = found.similarity - 0.01
        assert recognise(space, "macron_2").person_id == 1

    def test_one_spaces_threshold_is_not_anothers(self, space: Space, team: Team) -> None:
        strict, lax = vision_for(space), vision_for(team.spaces.get(number=3))
        assert strict is not lax
        space.threshold = 0.9
        assert vars(vision_for(space))["_threshold"] == 0.9
        assert vars(vision_for(space))["_alias_threshold"] == 0.9
        assert vars(lax)["_threshold"] == 0.4
        assert vars(lax)["_alias_threshold"] == ALIAS_THRESHOLD

    def test_the_models_are_loaded_once_for_all(self, space: Space) -> None:
        recognise(space, "sunak_1")
        other = TeamFactory.create().spaces.get(number=0)
        assert vars(vision_for(other))["_reader"] is vars(vision_for(space))["_reader"]

    def test_teams_and_spaces_are_apart(self, space: Space, team: Team) -> None:
        enrol(space, 1, "macron_1")
        elsewhere = TeamFactory.create().spaces.get(number=space.number)
        beside = team.spaces.get(number=3)
        assert recognise(elsewhere, "macron_2").person_id is None
        assert recognise(beside, "macron_2").person_id is None

    def test_what_was_enrolled_survives_a_restart(self, space: Space) -> None:
        enrol(space, 1, "macron_1")
        embedded.engine_of.cache_clear()
        assert recognise(space, "macron_2").person_id == 1


@pytest.mark.processes
@pytest.mark.django_db(transaction=True)
def test_an_enrolment_by_another_process_is_seen_at_once(space: Space) -> None:
    assert recognise(space, "macron_2").person_id is None
    code = (
        "import django; django.setup()\n"
        "from persons.models import Space\n"
        "from tests.support.embedded import enrol\n"
        f"enrol(Space.objects.get(pk={space.pk}), 1, 'macron_1')\n"
    )
    subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={
            **os.environ,
            "DATABASE_URL": database_url(connection),
            "DJANGO_SETTINGS_MODULE": "dashboard.settings",
        },
        check=True,
        timeout=PATIENCE,
    )
    assert recognise(space, "macron_2").person_id == 1


def unit(seed: int) -> Vectors:
    vector = np.random.default_rng(seed).standard_normal(128).astype(np.float32)
    return np.asarray(vector / np.linalg.norm(vector), np.float32)


@pytest.mark.django_db
class TestTheStore:
    """What it owes to the ledger; the rest is in test_engine_store.py."""

    def test_a_vector_comes_back_to_the_bit(self, space: Space) -> None:
        store = DatabaseStore(space.team_id)
        store.add(2, [NewEmbedding(1, unit(1), "a")], capacity=10)
        assert np.array_equal(store.load(2).vectors, [unit(1)])
        assert len(bytes(EngineEmbedding.objects.get().vector)) == 128 * 4

    def test_people_made_by_vision_and_by_pages_never_share_an_id(self, space: Space) -> None:
        store = DatabaseStore(space.team_id)
        ids = []
        for seed in range(3):
            ids.append(take_person_id(space))
            version = store.version(2)
            made = store.create(2, unit(seed), str(seed), if_version=version, capacity=10)
            assert made is not None
            ids.append(made)
        assert len(set(ids)) == 6

    def test_an_id_that_another_program_chose_is_not_given_again(self, space: Space) -> None:
        store = DatabaseStore(space.team_id)
        far_out = NewEmbedding(2**63 - 1, unit(2), "b")
        store.add(2, [NewEmbedding(7, unit(1), "a"), far_out], capacity=10)
        assert take_person_id(space) == 8

    def test_a_learned_embedding_does_not_count_against_the_capacity(self, space: Space) -> None:
        store = DatabaseStore(space.team_id)
        store.add(2, [NewEmbedding(1, unit(1), "a")], capacity=2)
        assert store.learn(2, 1, unit(2))
        assert store.add(2, [NewEmbedding(2, unit(3), "b")], capacity=2) == [True]


@pytest.mark.django_db(transaction=True)
def test_people_made_by_two_workers_at_once_get_two_ids(space: Space) -> None:
    store = DatabaseStore(space.team_id)

    def by_page() -> int:
        with transaction.atomic():
            return take_person_id(space)

    def by_vision() -> int | None:
        while True:
            try:
                version = store.version(2)
                return store.create(2, unit(1), "a", if_version=version, capacity=100)
            except SpaceMoved:
                continue

    work: list[Callable[[], int | None]] = [by_page, by_vision, by_page, by_vision]
    ids = at_once(*work)
    assert sorted(ids, key=str) == [1, 2, 3, 4]


class TestWeights:
    def test_those_that_come_along_are_as_expected(self) -> None:
        check_weights()

    def test_a_setting_points_at_other_files(self, settings: Settings, tmp_path: Path) -> None:
        settings.ENGINE_DETECTOR = str(tmp_path / "missing.onnx")
        with pytest.raises(WeightsError, match=r"missing\.onnx can't be read"):
            check_weights()
