"""`import_photos` and `seed_demo`."""

from __future__ import annotations

import os
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.core.files.storage import default_storage
from django.core.management import CommandError, call_command
from django.db import connection
from pytest_django import Settings

from persons.models import AuditEntry, Gallery, Photo, Source, Team, User
from tests.support.factories import GalleryFactory, UserFactory, jpeg
from tests.support.processes import PATIENCE, ROOT, database_url


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "one.jpg").write_bytes(jpeg((1, 2, 3)))
    (folder / "two.jpg").write_bytes(jpeg((200, 2, 3)))
    return folder


@pytest.mark.django_db
class TestImport:
    def run(
        self, folder: Path | str, *words: str, team: str = "trip", gallery: str = "lake"
    ) -> str:
        out = StringIO()
        call_command(
            "import_photos", "--team", team, "--gallery", gallery, *words, str(folder), stdout=out
        )
        return out.getvalue()

    def test_a_gallery_is_made_and_the_photos_are_counted(self, team: Team, folder: Path) -> None:
        assert self.run(folder) == "2 new, 0 already there, 0 refused\n"
        gallery = Gallery.objects.get()
        assert (gallery.team, gallery.slug, gallery.name) == (team, "lake", "Lake")
        assert gallery.space.number == 0
        assert set(gallery.photos.values_list("file_name", flat=True)) == {"one.jpg", "two.jpg"}

    def test_repeating_it_imports_only_what_is_new(self, team: Team, folder: Path) -> None:
        self.run(folder)
        (folder / "three.jpg").write_bytes(jpeg((2, 200, 3)))
        (folder / "copy of one.jpg").write_bytes(jpeg((1, 2, 3)))
        assert self.run(folder) == "1 new, 3 already there, 0 refused\n"
        assert Photo.objects.count() == 3

    def test_an_existing_gallery_is_used(self, team: Team, folder: Path) -> None:
        gallery = GalleryFactory.create(team=team, slug="lake", name="The old name")
        self.run(folder)
        assert gallery.photos.count() == 2
        gallery.refresh_from_db()
        assert gallery.name == "The old name"

    def test_subfolders_are_searched_and_hidden_files_are_not(
        self, team: Team, folder: Path
    ) -> None:
        for name in ("sub/deeper", ".thumbnails", "sub/.cache"):
            (folder / name).mkdir(parents=True)
            (folder / name / "a.jpg").write_bytes(jpeg((len(name), 9, 9)))
        (folder / ".hidden.jpg").write_bytes(jpeg((77, 9, 9)))
        assert self.run(folder) == "3 new, 0 already there, 0 refused\n"

    def test_a_folder_below_a_hidden_one_is_searched_all_the_same(
        self, team: Team, tmp_path: Path, folder: Path
    ) -> None:
        hidden = tmp_path / ".local" / "share"
        hidden.mkdir(parents=True)
        folder.rename(hidden / "photos")
        assert self.run(hidden / "photos") == "2 new, 0 already there, 0 refused\n"

    def test_a_folder_may_be_given_from_where_one_stands(
        self, team: Team, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        below = folder / "a" / "b"
        below.mkdir(parents=True)
        monkeypatch.chdir(below)
        assert self.run("../..") == "2 new, 0 already there, 0 refused\n"
        monkeypatch.chdir(folder)
        assert self.run(".") == "0 new, 2 already there, 0 refused\n"

    def test_a_refused_file_is_named_with_its_reason_and_the_others_go_in(
        self, team: Team, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (folder / "sub").mkdir()
        (folder / "sub" / "notes.txt").write_text("not a picture")
        (folder / "empty.jpg").touch()
        assert self.run(folder) == "2 new, 0 already there, 2 refused\n"
        lines = capsys.readouterr().err.splitlines()
        told = dict(line.split(": ", 1) for line in lines if ": " in line)
        assert set(told) == {"empty.jpg", "sub/notes.txt"}
        assert all(reason.endswith(".") for reason in told.values())
        assert Photo.objects.count() == 2

    def test_an_unreadable_file_is_refused_with_the_systems_word(
        self,
        team: Team,
        folder: Path,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        real: Any = Path.open

        def refuse(self: Path, *args: Any, **options: Any) -> Any:
            if self.name == "one.jpg":
                raise PermissionError(13, "Permission denied")
            return real(self, *args, **options)

        monkeypatch.setattr(Path, "open", refuse)
        assert self.run(folder) == "1 new, 0 already there, 1 refused\n"
        assert "one.jpg: It can't be read: Permission denied." in capsys.readouterr().err

    def test_a_broken_link_does_not_stop_it(self, team: Team, folder: Path) -> None:
        (folder / "broken.jpg").symlink_to(folder / "nowhere.jpg")
        assert self.run(folder).startswith("2 new")

    def test_whose_uploads_they_are_can_be_said(self, bob: User, folder: Path) -> None:
        self.run(folder, "--user", "bob")
        assert set(Photo.objects.values_list("uploaded_by", flat=True)) == {bob.pk}
        entry = AuditEntry.objects.filter(action="photo.upload").first()
        assert entry is not None
        assert (entry.source, entry.actor, entry.actor_text) == (
            Source.COMMAND,
            bob,
            "manage.py import_photos",
        )

    def test_a_space_can_be_chosen_for_a_new_gallery(self, team: Team, folder: Path) -> None:
        self.run(folder, "--space", "7")
        assert Gallery.objects.get().space.number == 7

    @pytest.mark.parametrize("space", ["-1", "10", "x"])
    def test_a_space_that_there_is_not_is_an_error(
        self, team: Team, folder: Path, space: str
    ) -> None:
        with pytest.raises(CommandError):
            self.run(folder, f"--space={space}")

    def test_an_unknown_team_is_an_error(self, team: Team, folder: Path) -> None:
        with pytest.raises(CommandError, match="There is no team “nobody”"):
            self.run(folder, team="nobody")

    @pytest.mark.parametrize("name", ["nobody", "charlie"])
    def test_a_user_who_is_no_member_is_an_error(
        self, team: Team, charlie: User, folder: Path, name: str
    ) -> None:
        with pytest.raises(CommandError, match=f"“{name}” is not a member of Trip"):
            self.run(folder, "--user", name)

    def test_a_user_who_may_only_look_is_an_error(self, vera: User, folder: Path) -> None:
        with pytest.raises(CommandError, match="vera"):
            self.run(folder, "--user", "vera")
        assert not Photo.objects.exists()

    def test_a_folder_that_there_is_not_is_an_error_and_makes_no_gallery(
        self, team: Team, folder: Path
    ) -> None:
        with pytest.raises(CommandError, match="is not a folder"):
            self.run(folder / "nowhere")
        with pytest.raises(CommandError, match="is not a folder"):
            self.run(folder / "one.jpg")
        assert not Gallery.objects.exists()

    def test_an_address_that_is_none_is_an_error(self, team: Team, folder: Path) -> None:
        with pytest.raises(CommandError, match="small letters, digits and hyphens"):
            self.run(folder, gallery="The Lake")


@pytest.mark.django_db
class TestSeed:
    @pytest.fixture(autouse=True)
    def no_bells(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("persons.tasks.enqueue", lambda work: None)

    def run(self) -> str:
        out = StringIO()
        call_command("seed_demo", stdout=out)
        return out.getvalue()

    def password(self, text: str) -> str:
        (line,) = [line for line in text.splitlines() if line.startswith("Demo login: demo")]
        return line.split("password: ")[1].strip()

    def test_it_makes_a_team_an_owner_and_a_gallery_of_real_photos(self) -> None:
        self.run()
        team = Team.objects.get(slug="demo")
        assert [(row.user.username, row.role) for row in team.memberships.all()] == [
            ("demo", "owner")
        ]
        gallery = Gallery.objects.get(team=team)
        assert gallery.photos.count() == 8
        assert "group_1.jpg" in gallery.photos.values_list("file_name", flat=True)
        for photo in gallery.photos.all():
            assert default_storage.exists(photo.original)
            assert photo.state == "new", "recognised by the pipeline, not by fixtures"
            assert not photo.faces.exists()

    def test_the_password_is_printed_and_opens_the_door(self) -> None:
        password = self.password(self.run())
        assert len(password) >= 10
        assert User.objects.get(username="demo").check_password(password)

    def test_repeating_it_changes_nothing_and_prints_no_password(self) -> None:
        first = self.run()
        before = User.objects.get(username="demo").password
        second = self.run()
        assert "password" not in second
        assert self.password(first) not in second
        assert User.objects.get(username="demo").password == before
        assert (Team.objects.count(), Gallery.objects.count(), Photo.objects.count()) == (1, 1, 8)
        assert "0 new photos, 8 in all" in second

    def test_what_a_user_changed_stays(self) -> None:
        self.run()
        Gallery.objects.update(name="My own name")
        owner = User.objects.get(username="demo")
        owner.set_password("my own password")
        owner.save()
        self.run()
        assert Gallery.objects.get().name == "My own name"
        assert User.objects.get().check_password("my own password")

    def test_a_photo_that_was_removed_comes_back_with_the_next_seed(self) -> None:
        self.run()
        Photo.objects.filter(file_name="sunak_1.jpg").delete()
        assert "1 new photos, 8 in all" in self.run()

    def test_a_password_that_is_given_is_used_and_never_printed(self, settings: Settings) -> None:
        settings.DEMO_PASSWORD = "given by the operator"
        out = self.run()
        assert "given by the operator" not in out
        assert "password" not in out
        assert User.objects.get(username="demo").check_password("given by the operator")

    def test_a_password_that_is_given_later_takes_the_place_of_the_old_one(
        self, settings: Settings
    ) -> None:
        self.run()
        settings.DEMO_PASSWORD = "given by the operator"
        assert "given by the operator" not in self.run()
        assert User.objects.get(username="demo").check_password("given by the operator")

    def test_it_can_be_turned_off(self, settings: Settings) -> None:
        settings.DEMO = False
        assert "no demo team" in self.run()
        assert not Team.objects.exists()
        assert not User.objects.exists()

    def test_a_user_of_that_name_who_is_somebody_else_gets_no_new_password(self) -> None:
        UserFactory.create(username="demo")
        before = User.objects.get().password
        assert "password" not in self.run()
        assert User.objects.get().password == before


@pytest.mark.processes
@pytest.mark.django_db(transaction=True)
def test_the_demo_password_is_read_from_the_environment() -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", "seed_demo"],
        cwd=ROOT,
        env={
            **os.environ,
            "DATABASE_URL": database_url(connection),
            "ROLLCALL_DEMO_PASSWORD": "from the environment",
        },
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    assert "from the environment" not in done.stdout + done.stderr
    assert "8 new photos" in done.stdout
    # The other process has a hasher that this one does not know.
    stored = User.objects.get(username="demo").password
    assert PBKDF2PasswordHasher().verify("from the environment", stored)
