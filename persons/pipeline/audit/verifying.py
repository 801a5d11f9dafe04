"""Verification of audit chains in the background: every night, and on request.

    IDLE | FAILED -> QUEUED -> RUNNING -> IDLE | FAILED | QUEUED (its worker died)

After a worker dies, the chain is verified again from its beginning.
"""

from __future__ import annotations

from django.db.models import QuerySet
from django.utils import timezone

from persons.chain.checking import check
from persons.models import AuditChain
from persons.work import LeaseLost, Leases, backoff

QUEUED = AuditChain.Verification.QUEUED
RUNNING = AuditChain.Verification.RUNNING

VERIFYING = Leases(
    AuditChain,
    waiting=QUEUED,
    running=RUNNING,
    failed=AuditChain.Verification.FAILED,
    what="The verification",
    state="verification",
    error="verification_error",
)


def request_verification(chains: QuerySet[AuditChain]) -> int:
    """Request verification of those of these chains for which it is not requested yet.

    Returns how many.
    """
    return chains.exclude(verification__in=[QUEUED, RUNNING]).update(
        verification=QUEUED, verification_error="", attempts=0, after=timezone.now()
    )


def verify_chain(chain_pk: int) -> bool:
    """Verify a chain. False if that was not requested, or if another worker does it."""
    lease = VERIFYING.claim(AuditChain.objects.filter(pk=chain_pk))
    if lease is None:
        return False
    chain = AuditChain.objects.select_related("team").get(pk=chain_pk)
    try:
        with lease.kept_alive():
            lease.renew(verifying_sequence=0)
            found = check(chain.team, lambda sequence: lease.renew(verifying_sequence=sequence))
            lease.end(
                AuditChain.Verification.IDLE,
                attempts=0,
                verified_sequence=found.sequence,
                verified_at=timezone.now(),
                problem=found.problem,
                verification_error="",
            )
    except LeaseLost:
        return False
    except BaseException as error:
        lease.cut_off(error, backoff(chain.attempts + 1))
        raise
    return True


def waiting_chains() -> QuerySet[AuditChain]:
    """Chains whose verification a worker may begin now, unordered."""
    return AuditChain.objects.filter(verification=QUEUED, after__lte=timezone.now())
