"""Exports a team's audit as an archive that contains all that is needed to verify it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from persons.actions.auditing import export_audit
from persons.audit import Actor
from persons.chain import signing
from persons.models import Team


class Command(BaseCommand):
    help = (
        "Write a team's audit into a zip, with the records of its calls to Vision, and a script "
        "that checks it all on any machine. Prints the fingerprint of the key that signs: whoever "
        "checks the export needs it from you. Only its owner may read the file."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--team", required=True, metavar="SLUG")
        parser.add_argument("--out", required=True, type=Path, metavar="FILE")
        parser.add_argument(
            "--without-calls",
            action="store_true",
            help="leave out the records of calls; what the audit says of them stays",
        )
        parser.add_argument("--reason", default="", help="why, for the audit")

    def handle(self, *args: Any, **options: Any) -> None:
        team = Team.objects.filter(slug=options["team"]).first()
        if team is None:
            raise CommandError(f"There is no team “{options['team']}”.")
        out: Path = options["out"]
        actor = Actor.command("audit_export")
        try:
            # Written to a draft, so that `out` never names a partial export.
            draft = out.with_name(f".{out.name}.part")
            file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            export = export_audit(
                actor=actor,
                team=team,
                reason=options["reason"],
                with_calls=not options["without_calls"],
            )
            with os.fdopen(file, "wb") as writing:
                for chunk in export.chunks():
                    writing.write(chunk)
            draft.replace(out)
        except OSError as error:
            raise CommandError(f"{out} can't be written: {error.strerror}.") from None
        self.stdout.write(f"{export.head.sequence} entries, {out.stat().st_size} bytes")
        self.stdout.write(f"key {signing.fingerprint()}")
