"""Somebody is erased; then every byte of database and data folder is searched for them."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.conf import settings

from persons import journal
from persons.actions.erasing import erase_person
from persons.chain.checking import check
from persons.models import AuditEntry, JobState, Space, User
from persons.pipeline.sealing import seal_audit
from tests.erasing import World, build, finish, look_at_pages
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
    assert len(world.gone) > 50 and len(world.stays) > 20
    erasure = erase_person(actor=by(alice), person=world.person, photos="keep")
    finish(erasure)
    assert erasure.state == JobState.DONE, erasure.error
    left = found(world.gone)
    assert not left, "\n".join(f"{needle[:60]!r}: {where}" for needle, where in left.items())
    # Crops of others on the same photos are cut again when somebody looks.
    look_at_pages(world.gallery)
    missing = world.stays - set(found(world.stays))
    assert not missing
    assert set(found(world.gone)) == set()
    # The chain still verifies, with words gone from many of its entries.
    seal_audit()
    assert check(world.team).problem == ""
    assert AuditEntry.objects.exclude(erased_at=None).count() > 10
    assert journal.lines()[erasure.reference].ids == tuple(erasure.ids)
