"""Memberships, and the rights that each role gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from enum import Enum
from typing import Any, TypeVar

from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import PermissionDenied
from django.db.models import Model, QuerySet
from django.http import Http404

from persons.inputs.params import LARGEST
from persons.models import Membership, Role, Team, User

Asker = User | AnonymousUser
M = TypeVar("M", bound=Model)
T = TypeVar("T")


class Right(Enum):
    RECORDS = "see spaces, history and audit"
    GALLERIES = "see galleries, photos and people"
    EDIT = "upload, name and decide"
    MANAGE = "manage members and spaces"
    AUDIT = "export the audit or have it verified"
    ERASURES = "see erasures and their certificates"


RIGHTS: dict[str, frozenset[Right]] = {
    Role.OWNER: frozenset(Right),
    Role.EDITOR: frozenset({Right.RECORDS, Right.GALLERIES, Right.EDIT}),
    Role.VIEWER: frozenset({Right.RECORDS, Right.GALLERIES}),
    Role.AUDITOR: frozenset({Right.RECORDS, Right.AUDIT, Right.ERASURES}),
}


_known: ContextVar[dict[str, Any] | None] = ContextVar("known", default=None)


@contextmanager
def asking_once() -> Iterator[None]:
    """Cache memberships and closed galleries for the duration of one request."""
    token = _known.set({})
    try:
        yield
    finally:
        _known.reset(token)


def memberships_of(user: Asker) -> list[Membership]:
    """The user's memberships with their teams, by team name. Empty for anonymous users."""
    if user.pk is None:
        return []
    theirs = Membership.objects.filter(user=user).select_related("team").order_by("team__name")
    return kept_for_request(f"teams:{user.pk}", lambda: list(theirs))


def kept_for_request(key: str, ask: Callable[[], T]) -> T:
    """The result of `ask`, cached under `key` within `asking_once`; uncached elsewhere."""
    known = _known.get()
    if known is None:
        return ask()
    if key not in known:
        known[key] = ask()
    found: T = known[key]
    return found


def rights_of(user: Asker, team: Team) -> frozenset[Right]:
    membership = membership_in(user, team.slug)
    return RIGHTS[membership.role] if membership else frozenset()


def teams_for(user: Asker) -> QuerySet[Team]:
    if not user.is_authenticated:
        return Team.objects.none()
    return Team.objects.filter(memberships__user=user).order_by("name")


def team_for(user: Asker, slug: str, *, right: Right = Right.RECORDS) -> Team:
    membership = membership_in(user, slug)
    if membership is None:
        raise Http404("There is no such team.")
    demand(membership, right)
    return membership.team


def membership_in(user: Asker, slug: str) -> Membership | None:
    return next((one for one in memberships_of(user) if one.team.slug == slug), None)


def member_of_galleries(user: Asker, team: str, *, write: bool = False) -> Membership:
    membership = membership_in(user, team)
    if membership is None or Right.GALLERIES not in RIGHTS[membership.role]:
        raise Http404("There is no such page.")
    if write:
        demand(membership, Right.EDIT)
    return membership


def member_of_shared(user: Asker, team: str, *, write: bool = False) -> Membership:
    """As `member_of_galleries`, but auditors pass too.

    Callers must apply `seen_by`, which limits auditors to what is shared with them, and `writable`,
    which refuses them.
    """
    membership = membership_in(user, team)
    if membership is not None and membership.role == Role.AUDITOR:
        return membership
    return member_of_galleries(user, team, write=write)


def roles_with(right: Right) -> list[str]:
    return [role for role, rights in RIGHTS.items() if right in rights]


def demand(membership: Membership, right: Right) -> None:
    if right not in RIGHTS[membership.role]:
        role = Role(membership.role).label.lower()
        raise PermissionDenied(f"Your role in {membership.team} is {role}: it can't {right.value}.")


def one_of(queryset: QuerySet[M], **lookup: Any) -> M:
    # A number beyond the range of the column would be a database error instead of a 404.
    is_possible = all(value <= LARGEST for value in lookup.values() if isinstance(value, int))
    found = queryset.filter(**lookup).first() if is_possible else None
    if found is None:
        raise Http404("There is no such page.")
    return found
