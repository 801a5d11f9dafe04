"""Counts texts about other things that may name an erased person; such texts are not erased.

An erasure works by ids. Texts of users and clients about other things are counted before it begins
and on the certificate, so that a user can change them by hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db.models import CharField, Q, QuerySet
from django.db.models.functions import Cast

from persons.models import (
    ApiKey,
    AuditEntry,
    Call,
    Finding,
    Gallery,
    Invitation,
    LegalHold,
    Person,
    Photo,
    Recognition,
    ShareLink,
    Space,
    Team,
    User,
)
from persons.pipeline.privacy.erasing.texts import PersonNames
from persons.vision.types import Method

SHORTEST = 3
"""Shorter names are part of too many words."""


def count_mentions(space: Space, labels: Sequence[str], people: Sequence[Person]) -> int:
    """How many such texts contain one of these names."""
    names = PersonNames([label for label in labels if len(label) >= SHORTEST])
    if not names.labels:
        return 0
    return sum(
        names.are_in_loosely(text)
        for rows, column in texts(space, people)
        for text in rows.filter(names.may_be_in_loosely(column)).values_list(column, flat=True)
    )


def texts(space: Space, people: Sequence[Person]) -> list[tuple[QuerySet[Any], str]]:
    """The team's texts about other things: (rows, column)."""
    team, pks = space.team_id, [person.pk for person in people]
    ids = [person.person_id for person in people]
    found = Finding.objects.filter(call__space=space, told_id__in=ids).values("recognition")
    set_or_deleted = Q(person_id__in=ids, call__method__in=[Method.SET, Method.DELETE])
    sent = Recognition.objects.filter(call__team=team, photo=None)
    on_calls = Finding.objects.filter(call__space=space, told_id__in=ids).order_by()
    theirs_to_ask = Q(
        target_type="call", target_id__in=on_calls.values(key=Cast("call", CharField()))
    )
    theirs = Q(target_type="person", target_id__in=[str(pk) for pk in pks])
    return [
        (Team.objects.filter(pk=team), "name"),
        (Space.objects.filter(team=team), "name"),
        (Gallery.objects.filter(team=team), "name"),
        (ShareLink.objects.filter(gallery__team=team), "title"),
        (Photo.everything.filter(gallery__team=team), "file_name"),
        (Person.objects.filter(space__team=team).exclude(pk__in=pks), "notes"),
        (LegalHold.objects.filter(team=team).exclude(person__in=pks), "reason"),
        (ApiKey.objects.filter(team=team), "name"),
        (Invitation.objects.filter(team=team), "email"),
        *((User.objects.filter(memberships__team=team), name) for name in USER),
        (sent.exclude(Q(call__space=space) & (Q(pk__in=found) | set_or_deleted)), "name"),
        (Call.objects.filter(team=team), "reason"),
        (AuditEntry.objects.filter(team=team).exclude(theirs | CALLS | theirs_to_ask), "reason"),
    ]


USER = ("username", "first_name", "last_name")
CALLS = Q(target_type="call", action__startswith="call.")
"""Their reasons are copies of the calls' own."""
