"""Verifies the audit's chains, for people, scripts and monitoring."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from persons.chain.checking import blanked_before, check
from persons.models import AuditChain, Team


class Command(BaseCommand):
    help = (
        "Check every entry, seal and call of the audit, of one team or of all and the "
        "installation's own. Exit status 0: whole; 1: the first bad entry of each chain is printed."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--team", metavar="SLUG")

    def handle(self, *args: Any, **options: Any) -> None:
        bad = 0
        for team in self._teams(options["team"]):
            found = check(team)
            name = team.slug if team else "the installation"
            if found.problem:
                bad += 1
                self.stdout.write(f"{name}: NOT WHOLE. {found.problem}")
            else:
                self.stdout.write(f"{name}: whole, {found.sequence} entries")
                if old := blanked_before(team):
                    self.stdout.write(
                        f"{name}: {old} of them were blanked before redactions were signed; the "
                        "entry audit.upgrade lists them"
                    )
        if bad:
            sys.exit(1)

    def _teams(self, slug: str | None) -> list[Team | None]:
        if slug is None:
            alone: list[Team | None] = [None] if AuditChain.objects.filter(team=None) else []
            return [*Team.objects.order_by("slug"), *alone]
        team = Team.objects.filter(slug=slug).first()
        if team is None:
            raise CommandError(f"There is no team “{slug}”.")
        return [team]
