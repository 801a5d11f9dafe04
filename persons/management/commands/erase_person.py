"""Erases a person, as their page does, and writes the certificate to a file."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from persons import pipeline
from persons.actions.erasing import erase_person
from persons.audit import Actor
from persons.chain import signing
from persons.errors import Refused
from persons.management.commands.space_snapshot import space_of
from persons.models import Erasure, JobState, Person
from persons.vision.limits import SPACES
from persons.work import Work

POLL_SECONDS = 0.5
CHOICES = {"keep": "keep", "delete": "all", "alone": "alone"}


class Command(BaseCommand):
    help = (
        "Erase somebody: here, in the storage, and at Vision. It waits until that is done and "
        "works itself, whether workers run or not; if it is cut off, the workers go on. Exits "
        "with 0 when the certificate is written, with 1 where it was refused or can't go on."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--team", required=True, metavar="SLUG")
        parser.add_argument("--space", required=True, type=int, choices=SPACES, metavar="N")
        parser.add_argument("--person", required=True, type=int, metavar="ID")
        parser.add_argument("--out", required=True, type=Path, metavar="CERTIFICATE")
        parser.add_argument(
            "--photos",
            choices=sorted(CHOICES),
            default="keep",
            help="What becomes of the photos they are on; alone: those on which nobody else is "
            "known are deleted.",
        )
        parser.add_argument("--reason", default="", metavar="TEXT")

    def handle(self, *args: Any, **options: Any) -> None:
        space = space_of(options["team"], options["space"])
        out: Path = options["out"]
        if not out.parent.is_dir():
            raise CommandError(f"There is no folder {out.parent}.")
        people = Person.objects.filter(space=space, person_id=options["person"], erasing=False)
        person = people.select_related("space__team").first()
        if person is None:
            raise CommandError(
                f"Nobody in space {space.number} has the number {options['person']}."
            )
        try:
            erasure = erase_person(
                actor=Actor.command("erase_person"),
                person=person,
                photos=CHOICES[options["photos"]],
                reason=options["reason"],
            )
        except Refused as error:
            raise CommandError(str(error)) from None
        self._finish(erasure)
        _write(out, erasure)
        self.stdout.write(f"person{erasure.person_id} is erased. Certificate {erasure.reference}")

    def _finish(self, erasure: Erasure) -> None:
        shown = ""
        while erasure.is_under_way:
            if not pipeline.erase(erasure.pk):
                time.sleep(POLL_SECONDS)
                # Does the sweeper's part in case no beat runs.
                pipeline.release_dead(Work.ERASE)
            erasure.refresh_from_db()
            if erasure.error and erasure.error != shown:
                shown = erasure.error
                self.stderr.write(f"{shown} (it goes on by itself)")
        if erasure.state != JobState.DONE:
            raise CommandError(erasure.error or "It can't go on.")


def _write(path: Path, erasure: Erasure) -> None:
    """Write the certificate atomically: `path` never names a partial file."""
    content = {
        "certificate": erasure.certificate,
        "key": erasure.key,
        "public_key": signing.public_keys().get(erasure.key, b"").hex(),
        "signature": erasure.signature,
    }
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with draft.open("w", encoding="utf-8") as file:
            json.dump(content, file, indent=2, ensure_ascii=False)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
