"""API keys: create, change scopes, revoke."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.utils import timezone

from persons import audit
from persons.audit import Actor
from persons.errors import Refused
from persons.inputs import texts
from persons.models import ApiKey, Team
from persons.models.keys import SHOWN, Scope
from persons.vision.limits import SPACES
from persons.vision.types import Method

PLANNED_SCOPES = ("read", "write", "review", "audit", "admin")
"""Scopes in the interface's contract that nothing uses yet."""


@dataclass(frozen=True, slots=True)
class KeyOptions:
    """What a key may do. No methods or spaces means all of them; no scopes means none.

    `daily_images` is the most images a day, None for no limit. With `fit`, pictures that the cloud
    can't take are sent as a copy that it can (`persons.proxy.fitting`).
    """

    methods: Sequence[str] = ()
    spaces: Sequence[int] = ()
    scopes: Sequence[str] = ()
    daily_images: int | None = None
    expires_at: datetime | None = None
    fit: bool = True


@transaction.atomic
def create_key(
    *, actor: Actor, team: Team, name: str, options: KeyOptions = KeyOptions()
) -> tuple[ApiKey, str]:
    """The key's row and its text. Only the text's hash is kept, so it can't be shown again.

    Raises Refused for an invalid value.
    """
    name = texts.line(name)
    if not name or len(name) > 100:
        raise Refused("Give the key a name of at most 100 characters, such as the program's.")
    _check_options(options)
    text = ApiKey.new_key()
    key = ApiKey.objects.create(
        team=team,
        name=name,
        prefix=text[:SHOWN],
        key_hash=ApiKey.hash_key(text),
        methods=sorted(set(options.methods)),
        spaces=sorted(set(options.spaces)),
        scopes=sorted(set(options.scopes)),
        daily_images=options.daily_images,
        expires_at=options.expires_at,
        fit=options.fit,
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
            "scopes": key.scopes,
            "daily_images": key.daily_images,
            "fit": key.fit,
            "expires_at": key.expires_at.isoformat() if key.expires_at else None,
        },
    )
    return key, text


def _check_options(options: KeyOptions) -> None:
    wrong = [method for method in options.methods if method not in list(Method)]
    if wrong:
        raise Refused(f"“{wrong[0]}” is no method. There are {', '.join(Method)}.")
    if any(space not in SPACES for space in options.spaces):
        raise Refused(f"Spaces are numbered 0 to {SPACES[-1]}.")
    _check_scopes(options.scopes)
    if options.daily_images is not None and options.daily_images < 1:
        raise Refused("A daily limit is at least one image.")
    if options.expires_at is not None and options.expires_at <= timezone.now():
        raise Refused("That day is over: the key would have expired already.")


@transaction.atomic
def set_scopes(*, actor: Actor, key: ApiKey, scopes: Sequence[str]) -> ApiKey:
    """Replace the key's scopes. Raises Refused for an unknown scope or a key that is no longer
    usable."""
    _check_scopes(scopes)
    key = ApiKey.objects.select_for_update(of=("self",)).select_related("team").get(pk=key.pk)
    if not key.is_usable:
        raise Refused(f"“{key.name}” was revoked or has expired: it can't be changed any more.")
    before, key.scopes = key.scopes, sorted(set(scopes))
    if key.scopes != before:
        key.save(update_fields=["scopes"])
        audit.record(
            actor=actor,
            team=key.team,
            action="key.scopes",
            target=key,
            before={"scopes": before},
            after={"scopes": key.scopes},
        )
    return key


def _check_scopes(scopes: Sequence[str]) -> None:
    unknown = [scope for scope in scopes if scope not in Scope.values]
    if not unknown:
        return
    there_are = f"There are {', '.join(Scope.values)}."
    if unknown[0] in PLANNED_SCOPES:
        raise Refused(f"The scope “{unknown[0]}” can't be given to a key yet. {there_are}")
    raise Refused(f"“{unknown[0]}” is no scope. {there_are}")


@transaction.atomic
def revoke_key(*, actor: Actor, key: ApiKey) -> ApiKey:
    """Revoke a key for good. A revoked key stays as it is."""
    if ApiKey.objects.filter(pk=key.pk, revoked_at=None).update(revoked_at=timezone.now()):
        audit.record(actor=actor, team=key.team, action="key.revoke", target=key)
    key.refresh_from_db()
    return key
