"""Audit entries for sign-ins, sign-outs and passwords, one in the chain of each of the user's
teams."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

from django.conf import settings
from django.db import transaction

from persons import audit
from persons.audit import Actor
from persons.models import Team, User

HINT = 12
"""How many hexadecimal digits of a name's digest are kept."""


@transaction.atomic
def signed_in(*, actor: Actor, user: User) -> None:
    _record(actor, "account.sign_in", user)


@transaction.atomic
def signed_out(*, actor: Actor, user: User) -> None:
    _record(actor, "account.sign_out", user)


@transaction.atomic
def change_password(*, actor: Actor, user: User, password: str) -> User:
    """Set a password that the caller has validated. It ends all of the user's other sessions."""
    found = User.objects.select_for_update().get(pk=user.pk)
    found.set_password(password)
    found.save(update_fields=["password"])
    changed_password(actor=actor, user=found)
    return found


@transaction.atomic
def changed_password(*, actor: Actor, user: User) -> None:
    """Record a password change."""
    _record(actor, "account.password", user)


@transaction.atomic
def failed_to_sign_in(*, actor: Actor, name: str) -> None:
    """Record a failed sign-in: with its account, or else in the installation's own chain.

    A name without an account is kept only as a keyed digest, which is the same each time: people
    type their password into the wrong field.
    """
    user = User.objects.filter(username=name).first()
    if user is not None:
        _record(actor, "account.refused", user)
        return
    secret = f"names that failed to sign in\0{settings.SECRET_KEY}"
    digest = hmac.new(secret.encode(), name.encode("utf-8", "replace"), hashlib.sha256).hexdigest()
    audit.record(actor=actor, team=None, action="account.refused", after={"name": digest[:HINT]})


def _record(actor: Actor, action: str, user: User) -> None:
    """One entry per team of the user; in the installation's own chain if they have no team."""
    teams: list[Team | None] = [*Team.objects.filter(memberships__user=user).order_by("pk")]
    fields: dict[str, Any] = {"actor": actor, "action": action, "target": user}
    for team in teams or [None]:
        audit.record(team=team, **fields)
