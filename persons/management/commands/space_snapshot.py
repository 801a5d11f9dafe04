"""Writes a snapshot of a space to a file, as the space's page does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from persons.actions.snapshots import write_snapshot
from persons.audit import Actor
from persons.errors import Refused
from persons.models import Space
from persons.vision.limits import SPACES


class Command(BaseCommand):
    help = (
        "Write everybody of a space (names, notes, enrolled pictures) into one file, from which "
        "the space can be rebuilt. Only its owner may read the file: it holds faces."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--team", required=True, metavar="SLUG")
        parser.add_argument("--space", required=True, type=int, choices=SPACES, metavar="N")
        parser.add_argument("--out", required=True, type=Path, metavar="FILE")

    def handle(self, *args: Any, **options: Any) -> None:
        space = space_of(options["team"], options["space"])
        out: Path = options["out"]
        try:
            written = write_snapshot(actor=Actor.command("space_snapshot"), space=space, path=out)
        except Refused as error:
            raise CommandError(str(error)) from None
        except OSError as error:
            raise CommandError(f"{out} can't be written: {error.strerror}.") from None
        people, pictures = len(written.manifest.people), len(written.manifest.pictures)
        self.stdout.write(f"{people} people, {pictures} pictures, {written.size} bytes")
        if written.missing:
            self.stderr.write(
                f"{len(written.missing)} pictures whose files are lost are not in it."
            )


def space_of(slug: str, number: int) -> Space:
    space = Space.objects.select_related("team").filter(team__slug=slug, number=number).first()
    if space is None:
        raise CommandError(f"There is no team “{slug}”.")
    return space
