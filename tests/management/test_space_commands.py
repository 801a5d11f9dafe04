"""`space_snapshot` and `space_restore`: the actions of a space's page, for scripts."""

from __future__ import annotations

import stat
from io import StringIO
from pathlib import Path

import pytest
from django.core.files.storage import default_storage
from django.core.management import CommandError, call_command

from persons.models import AuditEntry, Person, Source, Space, SpaceJob, Team
from persons.pipeline.spaces.snapshots import opened
from persons.vision import envelope
from tests.support.factories import PersonFactory
from tests.support.fakes import Asked, FakeVision, answer, use
from tests.support.spaces import enrolled, ledger_of

pytestmark = [pytest.mark.django_db, pytest.mark.thorough]


@pytest.fixture
def vision(monkeypatch: pytest.MonkeyPatch) -> FakeVision:
    return use(monkeypatch, FakeVision())


@pytest.fixture
def space(team: Team) -> Space:
    space = team.spaces.get(number=3)
    for label in ("Anna", "Boris"):
        enrolled(PersonFactory.create(space=space, label=label), label.encode())
    Space.objects.filter(pk=space.pk).update(threshold=0.45)
    return space


def snapshot(out: Path, *, team: str = "trip", number: int = 3) -> str:
    told = StringIO()
    call_command("space_snapshot", "--team", team, "--space", number, "--out", out, stdout=told)
    return told.getvalue()


def restore(file: Path, number: int, *words: str) -> tuple[str, str]:
    out, err = StringIO(), StringIO()
    where = ("--team", "trip", "--space", number)
    call_command("space_restore", *where, *words, file, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


def test_a_space_goes_into_a_file_that_only_its_owner_may_read(
    space: Space, tmp_path: Path
) -> None:
    out = tmp_path / "door.zip"
    assert snapshot(out) == f"2 people, 2 pictures, {out.stat().st_size} bytes\n"
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    with out.open("rb") as file, opened(file) as found:
        found.check(lambda count: None)
        assert {person.label for person in found.manifest.people} == {"Anna", "Boris"}
    assert list(tmp_path.iterdir()) == [out]
    assert not SpaceJob.objects.exists()
    entry = AuditEntry.objects.get(action="space.snapshot")
    assert (entry.source, entry.actor_text) == (Source.COMMAND, "manage.py space_snapshot")


@pytest.mark.django_db(transaction=True)
def test_and_out_of_it_into_another_space(space: Space, tmp_path: Path, vision: FakeVision) -> None:
    snapshot(tmp_path / "door.zip")
    out, err = restore(tmp_path / "door.zip", 6)
    assert out == "2 new people, 2 pictures enrolled, 0 there before, 0 refused\n"
    assert err == ""
    other = space.team.spaces.get(number=6)
    assert ledger_of(other) == ledger_of(space)
    assert other.threshold == 0.45, "an empty space takes the policy along"
    assert not default_storage.listdir(f"snapshots/{space.team_id}")[1], "no copy is left"
    assert restore(tmp_path / "door.zip", 6)[0].startswith("0 new people, 0 pictures enrolled, 2")


def test_what_it_costs_at_the_cloud_is_said_before(
    space: Space, tmp_path: Path, vision: FakeVision, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot(tmp_path / "door.zip")
    monkeypatch.setattr("persons.management.commands.space_restore.is_cloud", lambda: True)
    _, err = restore(tmp_path / "door.zip", 6)
    assert err == "2 images will be sent to Vision, about 0.12 ₽.\n"


def test_the_policy_can_be_left_alone_or_wanted(
    space: Space, tmp_path: Path, vision: FakeVision
) -> None:
    snapshot(tmp_path / "door.zip")
    restore(tmp_path / "door.zip", 6, "--no-policy")
    PersonFactory.create(space=space.team.spaces.get(number=7))
    restore(tmp_path / "door.zip", 7)
    PersonFactory.create(space=space.team.spaces.get(number=8))
    restore(tmp_path / "door.zip", 8, "--policy")
    found = Space.objects.filter(number__in=[6, 7, 8]).order_by("number")
    assert list(found.values_list("threshold", flat=True)) == [0.4, 0.4, 0.45]


def test_conflicts_and_refused_pictures_are_told(
    space: Space, tmp_path: Path, vision: FakeVision
) -> None:
    snapshot(tmp_path / "door.zip")
    anna = Person.objects.get(label="Anna")
    other = space.team.spaces.get(number=6)
    PersonFactory.create(space=other, label="Zoe", person_id=anna.person_id)

    def first_refused(asked: Asked) -> bytes:
        first, *others = asked.names
        return answer(envelope.failed(first, "no face"), *map(envelope.done, others))

    vision.script.append(first_refused)
    out, err = restore(tmp_path / "door.zip", 6)
    assert out == "2 new people, 1 pictures enrolled, 0 there before, 1 refused\n"
    assert f"id: person{anna.person_id} “Anna” is person" in err
    assert "refused: Anna " in err and "no face" in err


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"hello", "it is no zip"), (None, "can't be read: No such file")],
)
def test_a_file_that_is_none_is_an_error(
    space: Space, tmp_path: Path, content: bytes | None, words: str
) -> None:
    path = tmp_path / "door.zip"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CommandError, match=words):
        restore(path, 6)
    assert not SpaceJob.objects.exists()


def test_a_damaged_picture_is_an_error_before_anything_changes(
    space: Space, tmp_path: Path, vision: FakeVision
) -> None:
    path = tmp_path / "door.zip"
    snapshot(path)
    path.write_bytes(path.read_bytes().replace(b"Anna\x50\x4b", b"Anne\x50\x4b"))
    with pytest.raises(CommandError, match="is damaged"):
        restore(path, 6)
    assert not Person.objects.filter(space__number=6).exists()
    assert vision.asked == []


def test_a_folder_that_is_not_there_is_an_error(space: Space, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="can't be written: No such file"):
        snapshot(tmp_path / "nowhere" / "door.zip")
    with pytest.raises(CommandError, match="no team “nobody”"):
        snapshot(tmp_path / "door.zip", team="nobody")
    with pytest.raises(CommandError, match="invalid choice"):
        snapshot(tmp_path / "door.zip", number=10)
