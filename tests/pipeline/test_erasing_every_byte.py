"""After an erasure, every byte of the database and data folder is searched for the person."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import call_command

from persons.actions.erasing import erase_person
from persons.chain.checking import check
from persons.models import AuditEntry, Erasure, JobState, Space, User
from persons.pipeline.audit.sealing import seal_audit
from persons.privacy import erasure_journal
from persons.work import Work
from tests.support.backups import take
from tests.support.erasing import World, build, finish, look_at_pages
from tests.support.factories import GalleryFactory
from tests.support.fakes import by
from tests.support.traces import places
from tests.support.waiting import swept

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.thorough]


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
    assert erasure_journal.lines()[erasure.reference].ids == tuple(erasure.ids)


def test_an_older_backup_that_is_restored_erases_them_again(
    world: World, alice: User, tmp_path: Path
) -> None:
    put_back = take(tmp_path)
    erasure = finish(erase_person(actor=by(alice), person=world.person, photos="alone"))
    assert not found(world.gone)
    reference = erasure.reference
    put_back()
    # Nearly all: a few stood in old pages alone.
    assert len(found(world.gone)) > len(world.gone) - 6 and not Erasure.objects.exists()
    begun = swept(Work.ERASE)
    again = Erasure.objects.get()
    assert begun == [again.pk] and again.reference == reference and again.replayed
    assert again.photos == "alone"
    finish(again)
    assert again.state == JobState.DONE, again.error
    left = found(world.gone)
    assert not left, "\n".join(f"{needle[:60]!r}: {where}" for needle, where in left.items())
    entry = AuditEntry.objects.get(action="person.erase")
    assert entry.after["replayed"] is True and entry.after["reference"] == reference
    seal_audit()
    assert check(world.team).problem == ""
    # And no third time.
    assert swept(Work.ERASE) == []
    assert Erasure.objects.count() == 1


def test_files_of_an_older_backup_are_gone_again_by_the_command(
    world: World, alice: User, tmp_path: Path
) -> None:
    """The database is the newest; only the files are older."""
    pictures = Path(settings.MEDIA_ROOT) / "enrolments"
    shutil.copytree(pictures, tmp_path / "enrolments")
    finish(erase_person(actor=by(alice), person=world.person))
    shutil.copytree(tmp_path / "enrolments", pictures, dirs_exist_ok=True)
    assert found(world.gone)
    call_command("erasures_replay")
    assert not found(world.gone)
    look_at_pages(world.gallery)
    assert not world.stays - set(found(world.stays))
