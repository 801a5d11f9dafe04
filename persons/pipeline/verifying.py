"""Verification in the background: every night, and when somebody asks for it on the audit's page.

A chain that is being looked at gives signs of life (`AuditChain.verifying_at`); one whose worker
died is looked at again from its beginning.
"""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings
from django.db.models import Q, QuerySet
from django.utils import timezone

from persons.chain.checking import check
from persons.models import AuditChain

GRACE = timedelta(seconds=60)
"""For the bell that was rung when somebody asked."""


def ask_for_all() -> list[int]:
    """Every chain is to be verified; their pks, to ring for."""
    AuditChain.objects.filter(asked_at=None).update(asked_at=timezone.now())
    return list(AuditChain.objects.order_by("pk").values_list("pk", flat=True))


def left_verifications() -> list[int]:
    """Asked for, and nobody is at it."""
    asked = timezone.now() - GRACE
    return list(_free().filter(asked_at__lte=asked).values_list("pk", flat=True))


def verify_chain(chain_pk: int) -> bool:
    """Whether it was done: one that nobody asked for, or that somebody is at, is left alone."""
    mine = AuditChain.objects.filter(pk=chain_pk)
    if not _free().filter(pk=chain_pk).update(verifying_at=timezone.now(), verifying_sequence=0):
        return False
    chain = mine.select_related("team").get()

    def progress(sequence: int) -> None:
        mine.update(verifying_at=timezone.now(), verifying_sequence=sequence)

    found = check(chain.team, progress)
    mine.update(
        verified_sequence=found.sequence,
        verified_at=timezone.now(),
        problem=found.problem,
        asked_at=None,
        verifying_at=None,
    )
    return True


def _free() -> QuerySet[AuditChain]:
    dead = timezone.now() - timedelta(seconds=settings.LEASE_SECONDS)
    idle = Q(verifying_at=None) | Q(verifying_at__lte=dead)
    return AuditChain.objects.filter(idle, asked_at__isnull=False)
