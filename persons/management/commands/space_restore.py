"""Restores a space from a snapshot file, as the space's page does."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from tqdm import tqdm

from persons import pipeline
from persons.actions.snapshots import add_snapshot, delete_snapshot, manifest_of, restore_space
from persons.audit import Actor
from persons.backends.cloud import is_cloud
from persons.billing import metering
from persons.errors import Refused
from persons.management.commands.space_snapshot import space_of
from persons.models import Person, Space, SpaceJob
from persons.models.work import JobState
from persons.pipeline.spaces.previewing import preview_restore
from persons.vision.limits import SPACES
from persons.work import Work

POLL_SECONDS = 0.5


class Command(BaseCommand):
    help = (
        "Make a space hold what a snapshot does. Who is there already stays as they are. If this "
        "is cut off, the workers go on with it; cancel it on the space's page."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--team", required=True, metavar="SLUG")
        parser.add_argument("--space", required=True, type=int, choices=SPACES, metavar="M")
        policy = parser.add_mutually_exclusive_group()
        policy.add_argument(
            "--policy", action="store_true", help="Take over the policy (into an empty space: is)."
        )
        policy.add_argument("--no-policy", action="store_true", help="Leave the policy alone.")
        parser.add_argument("file", type=Path, metavar="FILE")

    def handle(self, *args: Any, **options: Any) -> None:
        space = space_of(options["team"], options["space"])
        actor = Actor.command("space_restore")
        path: Path = options["file"]
        is_empty = not Person.objects.filter(space=space).exists()
        try:
            with path.open("rb") as file:
                snapshot = add_snapshot(actor=actor, space=space, file=file, file_name=path.name)
            self._finish(snapshot, "Looking through the file")
            self._print_cost(snapshot, space)
            job = restore_space(
                actor=actor,
                snapshot=snapshot,
                space=space,
                with_policy=options["policy"] or (is_empty and not options["no_policy"]),
            )
            self._finish(job, "Restoring")
            delete_snapshot(actor=actor, snapshot=snapshot)
        except Refused as error:
            raise CommandError(str(error)) from None
        except OSError as error:
            raise CommandError(f"{path} can't be read: {error.strerror or error}.") from None
        self._print_result(job, space)

    def _print_cost(self, snapshot: SpaceJob, space: Space) -> None:
        if is_cloud():
            images = preview_restore(manifest_of(snapshot), space).images
            cost = f"{metering.estimate(images):,.2f} {metering.tariff().currency}"
            self.stderr.write(f"{images} images will be sent to Vision, about {cost}.")

    def _finish(self, job: SpaceJob, words: str) -> None:
        """Work on the job in this process, beside any workers, until it ends.

        Raises CommandError unless it is DONE.
        """
        with tqdm(
            total=job.total, unit="picture", desc=words, file=sys.stderr, disable=None
        ) as bar:
            while job.is_under_way:
                if not pipeline.work(job.pk).jobs:
                    time.sleep(POLL_SECONDS)
                    self._release_dead()
                job.refresh_from_db()
                bar.total = job.total
                bar.update(job.done - bar.n)
                bar.set_postfix_str(job.error[:60])
        if job.state != JobState.DONE:
            raise CommandError(job.error or "It was cancelled.")

    @staticmethod
    def _release_dead() -> None:
        """Do the sweeper's part in case no beat runs."""
        pipeline.release_dead(Work.JOBS)

    def _print_result(self, job: SpaceJob, space: Space) -> None:
        report = job.report
        self.stdout.write(
            f"{report['people']['new']} new people, {report['accepted']} pictures enrolled, "
            f"{report['there']} there before, {report['refused']} refused"
        )
        for kind, saved, label, now, name in report["conflicts"]:
            self.stderr.write(f"{kind}: person{saved} “{label}” is person{now} “{name}”")
        for row in job.enrolments.filter(state="failed").select_related("person"):
            self.stderr.write(f"refused: {row.person} {row.sha256[:12]}: {row.error}")
