"""Somebody is erased, and every byte of the database and of the data folder is searched for them."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.conf import settings

from persons import journal
from persons.actions.erasing import erase_person
from persons.models import Erasure, JobState, Space, User
from tests.erasing import World, build, finish
from tests.factories import GalleryFactory
from tests.fakes import by
from tests.traces import places

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def world(alice: User) -> World:
    team = alice.memberships.get().team
    space = Space.objects.get(team=team, number=3)
    gallery = GalleryFactory.create(team=team, slug="visit", space=space)
    return build(alice, gallery)


def found(needles: set[bytes]) -> dict[bytes, list[str]]:
    where = places(needles, Path(settings.DATA_DIR))
    return {needle: places for needle, places in where.items() if places}


def test_nothing_of_them_is_left_and_everything_of_others(world: World, alice: User) -> None:
    # There is much to find, of every kind.
    assert len(world.gone) > 60 and len(world.stays) > 20
    erasure = erase_person(actor=by(alice), person=world.person, photos="keep")
    finish(erasure)
    assert erasure.state == JobState.DONE, erasure.error
    left = found(world.gone)
    assert not left, "\n".join(f"{needle[:60]!r}: {where}" for needle, where in left.items())
    assert set(found(world.stays)) == world.stays
    assert journal.lines()[erasure.reference].ids == tuple(erasure.ids)
