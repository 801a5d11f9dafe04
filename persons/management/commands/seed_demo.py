"""Creates the demo team: owner `demo` and a gallery of real photos for the real pipeline."""

from __future__ import annotations

import secrets
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import transaction

from persons.actions.galleries import create_gallery
from persons.actions.photos import add_photo
from persons.actions.teams import create_team
from persons.audit import Actor
from persons.models import Gallery, Space, Team, User

DEMO_PHOTOS = settings.BASE_DIR / "demo" / "photos"
OWNER = TEAM = "demo"
GALLERY = "state-visit"


class Command(BaseCommand):
    help = "Make the demo team, its owner and its gallery. Safe to repeat: what is there stays."

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.DEMO:
            self.stdout.write("ROLLCALL_DEMO=0: no demo team.")
            return
        password = self._make_team()
        gallery = Gallery.objects.get(team__slug=TEAM, slug=GALLERY)
        actor = Actor.command("seed_demo", User.objects.get(username=OWNER))
        new = 0
        for path in sorted(DEMO_PHOTOS.glob("*.jpg")):
            with path.open("rb") as file:
                new += add_photo(
                    actor=actor, gallery=gallery, file=file, file_name=path.name
                ).is_new
        self.stdout.write(f"Demo gallery: {new} new photos, {gallery.photos.count()} in all.")
        if password:
            self.stdout.write(f"Demo login: {OWNER}   password: {password}")
            self.stdout.write("It is shown this once.")

    @transaction.atomic
    def _make_team(self) -> str:
        """Create team, owner and gallery where missing. Returns the owner's generated password.

        "" if no password was generated. Only its hash is stored, so it must be printed now.
        """
        owner, created = User.objects.get_or_create(
            username=OWNER, defaults={"first_name": "Demo", "last_name": "Owner"}
        )
        wanted = settings.DEMO_PASSWORD
        made = "" if wanted or not created else secrets.token_urlsafe(9)
        password = wanted or made
        if password and not owner.check_password(password):
            owner.set_password(password)
            owner.save(update_fields=["password"])
        actor = Actor.command("seed_demo", owner)
        team = Team.objects.filter(slug=TEAM).first()
        if team is None:
            team = create_team(actor=actor, name="Demo", slug=TEAM, owner=owner)
        if not Gallery.objects.filter(team=team, slug=GALLERY).exists():
            create_gallery(
                actor=actor,
                team=team,
                name="State visit",
                slug=GALLERY,
                space=Space.objects.get(team=team, number=0),
            )
        return made
