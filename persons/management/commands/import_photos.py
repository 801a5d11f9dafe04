"""Imports a folder of photos into a gallery, like an upload on its page."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from tqdm import tqdm

from persons.access import Right, rights_of
from persons.actions.galleries import create_gallery
from persons.actions.photos import Added, add_photo
from persons.audit import Actor
from persons.backends.cloud import is_cloud
from persons.billing import metering
from persons.decoding import DecodingBusy
from persons.errors import Refused
from persons.images import ImageRefused
from persons.models import Gallery, Space, Team, User
from persons.vision.limits import SPACES

PATIENT_TRIES = 20
"""Tries per file. Each one waits for a decoder as long as an upload does."""


def _patiently(add: Callable[[], Added]) -> Added:
    """Retry while all decoders are busy. No user waits for the result, unlike on a page."""
    for _ in range(PATIENT_TRIES - 1):
        with suppress(DecodingBusy):
            return add()
    return add()


class Command(BaseCommand):
    help = "Import every photo of FOLDER and its subfolders. Repeating it imports only what is new."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--team", required=True, metavar="SLUG")
        parser.add_argument(
            "--gallery", required=True, metavar="SLUG", help="Made if it is not there yet."
        )
        parser.add_argument(
            "--space",
            type=int,
            default=0,
            choices=SPACES,
            metavar="N",
            help="Space of a new gallery (default 0).",
        )
        parser.add_argument("--user", metavar="NAME", help="Whose uploads they are.")
        parser.add_argument("folder", type=Path, metavar="FOLDER")

    def handle(self, *args: Any, **options: Any) -> None:
        team = Team.objects.filter(slug=options["team"]).first()
        if team is None:
            raise CommandError(f"There is no team “{options['team']}”.")
        user = None
        if options["user"]:
            user = User.objects.filter(username=options["user"], memberships__team=team).first()
            if user is None:
                raise CommandError(f"“{options['user']}” is not a member of {team}.")
            if Right.EDIT not in rights_of(user, team):
                raise CommandError(f"“{options['user']}” may look at {team}, not upload to it.")
        folder: Path = options["folder"]
        if not folder.is_dir():
            raise CommandError(f"{folder} is not a folder.")
        actor = Actor.command("import_photos", user)
        gallery = self._gallery(actor, team, options["gallery"], options["space"])
        paths = sorted(
            path
            for path in folder.rglob("*")
            if path.is_file()
            and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        )
        if is_cloud():
            most = f"{metering.estimate(len(paths)):,.2f} {metering.tariff().currency}"
            self.stderr.write(f"{len(paths)} files; to recognise them costs {most} at most.")
        counts = {"new": 0, "already there": 0, "refused": 0}
        with tqdm(paths, unit="file", file=sys.stderr, disable=None) as bar:
            for path in bar:
                outcome, reason = self._add(actor, gallery, path)
                counts[outcome] += 1
                if reason:
                    bar.write(f"{path.relative_to(folder)}: {reason}", file=sys.stderr)
        self.stdout.write(", ".join(f"{count} {word}" for word, count in counts.items()))

    def _gallery(self, actor: Actor, team: Team, slug: str, number: int) -> Gallery:
        found = Gallery.objects.filter(team=team, slug=slug).first()
        if found is not None:
            return found
        space = Space.objects.get(team=team, number=number)
        try:
            return create_gallery(
                actor=actor,
                team=team,
                name=slug.replace("-", " ").capitalize(),
                space=space,
                slug=slug,
            )
        except Refused as error:
            raise CommandError(str(error)) from None

    @staticmethod
    def _add(actor: Actor, gallery: Gallery, path: Path) -> tuple[str, str]:
        try:
            with path.open("rb") as file:
                added = _patiently(
                    lambda: add_photo(actor=actor, gallery=gallery, file=file, file_name=path.name)
                )
        except DecodingBusy as error:
            return "refused", str(error)
        except ImageRefused as error:
            return "refused", str(error)
        except OSError as error:
            return "refused", f"It can't be read: {error.strerror}."
        return ("new", "") if added.is_new else ("already there", "")
