"""Creates an API key of a team and prints it once."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from persons.actions.keys import KeyOptions, create_key
from persons.audit import Actor
from persons.errors import Refused
from persons.models import Team


class Command(BaseCommand):
    help = "Make an API key of a team for the proxy. Prints the key alone; it is shown this once."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--team", required=True, metavar="SLUG")
        parser.add_argument("--name", required=True, help="What it is for.")
        parser.add_argument(
            "--methods", default="", metavar="set,recognize", help="Default: all four."
        )
        parser.add_argument("--spaces", default="", metavar="0,5", help="Default: all ten.")
        parser.add_argument(
            "--scopes",
            default="",
            metavar="create,learn",
            help="Effects that recognize may have: create (create_new), learn (update_embedding). "
            "Default: none.",
        )
        parser.add_argument("--daily-images", type=int, metavar="N", help="Default: no limit.")
        parser.add_argument(
            "--no-fit",
            dest="fit",
            action="store_false",
            help="Cloud: refuse pictures above its limits instead of sending a smaller copy.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        team = Team.objects.filter(slug=options["team"]).first()
        if team is None:
            raise CommandError(f"There is no team “{options['team']}”.")
        try:
            spaces = [int(number) for number in _words(options["spaces"])]
        except ValueError:
            raise CommandError("--spaces takes numbers, such as 0,5.") from None
        try:
            _, text = create_key(
                actor=Actor.command("create_api_key"),
                team=team,
                name=options["name"],
                options=KeyOptions(
                    methods=_words(options["methods"]),
                    spaces=spaces,
                    scopes=_words(options["scopes"]),
                    daily_images=options["daily_images"],
                    fit=options["fit"],
                ),
            )
        except Refused as error:
            raise CommandError(str(error)) from None
        self.stdout.write(text)


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]
