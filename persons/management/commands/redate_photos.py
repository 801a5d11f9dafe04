"""Reads again from the files when photos were taken."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from tqdm import tqdm

from persons import pictures
from persons.actions.photos import redate_photo
from persons.files.storage import stored
from persons.models import Photo


class Command(BaseCommand):
    help = (
        "Read from each photo's original when it was taken, for photos that came in before offsets "
        "from UTC and XMP dates counted. Safe to repeat."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--team", metavar="SLUG", help="Of this team alone.")

    def handle(self, *args: Any, **options: Any) -> None:
        photos = Photo.everything.order_by("pk")
        if options["team"]:
            photos = photos.filter(gallery__team__slug=options["team"])
        changed = unread = 0
        with tqdm(total=photos.count(), unit="photo", file=sys.stderr, disable=None) as bar:
            for photo in photos.iterator(chunk_size=500):
                try:
                    with stored(photo.original) as file:
                        taken_at = pictures.taken_at(file, photo.format)
                except FileNotFoundError:
                    unread += 1
                else:
                    changed += redate_photo(photo, taken_at)
                bar.update()
        self.stdout.write(f"{changed} photos moved, {unread} files are gone")
