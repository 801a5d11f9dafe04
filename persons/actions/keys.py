from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django.db import transaction
from django.utils import timezone

from persons import audit
from persons.audit import Actor
from persons.errors import Refused
from persons.models import ApiKey, Team
from persons.models.keys import SHOWN
from persons.vision.limits import SPACES
from persons.vision.types import Method


@transaction.atomic
def create_key(
    *,
    actor: Actor,
    team: Team,
    name: str,
    methods: Sequence[str] = (),
    spaces: Sequence[int] = (),
    daily_images: int | None = None,
    expires_at: datetime | None = None,
) -> tuple[ApiKey, str]:
    """The key's row and its text, which is not kept and can't be had again."""
    name = " ".join(name.split())
    if not name or len(name) > 100:
        raise Refused("Give the key a name of at most 100 characters, such as the program's.")
    wrong = [method for method in methods if method not in list(Method)]
    if wrong:
        raise Refused(f"“{wrong[0]}” is no method. There are {', '.join(Method)}.")
    if any(space not in SPACES for space in spaces):
        raise Refused(f"Spaces are numbered 0 to {SPACES[-1]}.")
    if daily_images is not None and daily_images < 1:
        raise Refused("A daily limit is at least one image.")
    if expires_at is not None and expires_at <= timezone.now():
        raise Refused("That day is over: the key would have expired already.")
    text = ApiKey.new_key()
    key = ApiKey.objects.create(
        team=team,
        name=name,
        prefix=text[:SHOWN],
        key_hash=ApiKey.hash_key(text),
        methods=sorted(set(methods)),
        spaces=sorted(set(spaces)),
        daily_images=daily_images,
        expires_at=expires_at,
        created_by=actor.user,
    )
    audit.record(
        actor=actor,
        team=team,
        action="key.create",
        target=key,
        after={
            "methods": key.methods,
            "spaces": key.spaces,
            "daily_images": daily_images,
            "expires_at": expires_at.isoformat() if expires_at else None,
        },
    )
    return key, text


@transaction.atomic
def revoke_key(*, actor: Actor, key: ApiKey) -> ApiKey:
    if ApiKey.objects.filter(pk=key.pk, revoked_at=None).update(revoked_at=timezone.now()):
        audit.record(actor=actor, team=key.team, action="key.revoke", target=key)
    key.refresh_from_db()
    return key
