"""Creating and renaming galleries."""

from __future__ import annotations

from django.db import IntegrityError, transaction
from django.utils.crypto import get_random_string
from django.utils.text import slugify

from persons import access, audit
from persons.audit import Actor
from persons.errors import Refused
from persons.inputs import texts
from persons.models import Gallery, Space, Team

NAME_LENGTH = 120

SUFFIX_LENGTH = 6
SUFFIX_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"
"""Letters and digits that are not mistaken for one another."""


@transaction.atomic
def create_gallery(*, actor: Actor, team: Team, name: str, space: Space, slug: str = "") -> Gallery:
    """Create a gallery. Without a `slug` one is made from the name: see `_free_slug`. Raises
    Refused."""
    name = _clean(name)
    if space.team_id != team.pk:
        raise Refused("That space belongs to another team.")
    if slug and slug != slugify(slug):
        raise Refused("A gallery's address is made of small letters, digits and hyphens.")
    if slug and Gallery.objects.filter(team=team, slug=slug).exists():
        raise Refused(f"There is a gallery called “{slug}” already.")
    try:
        with transaction.atomic():
            gallery = Gallery.objects.create(
                team=team,
                space=space,
                name=name,
                slug=slug or _free_slug(actor, team, name),
                created_by=actor.user,
            )
    except IntegrityError:
        raise Refused("Somebody made a gallery of that name just now. Try another name.") from None
    audit.record(
        actor=actor,
        team=team,
        action="gallery.create",
        target=gallery,
        after={"name": name, "slug": gallery.slug, "space": space.number},
    )
    return gallery


@transaction.atomic
def rename_gallery(*, actor: Actor, gallery: Gallery, name: str) -> Gallery:
    """Change the name only. The slug stays, so that links go on working."""
    name = _clean(name)
    before = gallery.name
    gallery.name = name
    gallery.save(update_fields=["name"])
    audit.record(
        actor=actor,
        team=gallery.team,
        action="gallery.rename",
        target=gallery,
        before={"name": before},
        after={"name": name},
    )
    return gallery


def _clean(name: str) -> str:
    name = texts.line(name)
    if not name:
        raise Refused("Give the gallery a name.")
    if len(name) > NAME_LENGTH:
        raise Refused(f"A gallery's name has at most {NAME_LENGTH} characters.")
    return name


def _free_slug(actor: Actor, team: Team, name: str) -> str:
    """The name as a slug, with a number if another gallery has it already.

    A number would reveal that a closed gallery has that name. So slugs of people who can't see all
    galleries always end in random letters, whether or not the name is taken.
    """
    base = slugify(name)[:60] or "gallery"
    if actor.user is not None and not access.visible(actor.user, team).is_everything:
        return f"{base}-{get_random_string(SUFFIX_LENGTH, SUFFIX_LETTERS)}"
    taken = set(
        Gallery.objects.filter(team=team, slug__startswith=base).values_list("slug", flat=True)
    )
    slug, number = base, 1
    while slug in taken:
        number += 1
        slug = f"{base}-{number}"
    return slug
