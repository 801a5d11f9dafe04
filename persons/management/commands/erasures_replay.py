"""After a backup was restored, repeats the erasures that it doesn't contain."""

from __future__ import annotations

import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from persons import pipeline
from persons.models import Erasure, JobState
from persons.pipeline.privacy.erasing.replay import delete_leftover_pictures, replay_erasures

POLL_SECONDS = 0.5


class Command(BaseCommand):
    help = (
        "Compare the journal of erasures with the database, and do again what is missing in it, "
        "as the workers do by themselves. Pictures of erased people that came back with the files "
        "are deleted as well."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        begun = replay_erasures()
        for pk in begun:
            self._finish(Erasure.objects.get(pk=pk))
        pictures = delete_leftover_pictures()
        self.stdout.write(f"{len(begun)} erasures done again, {pictures} pictures deleted")

    def _finish(self, erasure: Erasure) -> None:
        while erasure.is_under_way:
            if not pipeline.erase(erasure.pk):
                time.sleep(POLL_SECONDS)
            erasure.refresh_from_db()
        if erasure.state != JobState.DONE:
            raise CommandError(f"{erasure.reference}: {erasure.error}")
