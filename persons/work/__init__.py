"""How work is found, shared and given up: kinds, turns, leases, the retry policy.

The database is the queue: a message names a kind of work, never a row. `pipeline` registers its
kinds here and `tasks` sends the messages; this package imports neither.
"""

from persons.work.fairness import alternating, by_owner
from persons.work.kinds import KINDS, Kind, LongWork, Work, register
from persons.work.lease import Lease, LeaseLost, Leases, claimed_since, expiry, unheld, withdraw
from persons.work.retries import (
    attempts_after,
    backoff,
    count_failure,
    is_attempt,
    is_given_up,
    pause_after,
)
from persons.work.turns import Turn, take_turn

__all__ = [
    "KINDS",
    "Kind",
    "Lease",
    "LeaseLost",
    "Leases",
    "LongWork",
    "Turn",
    "Work",
    "alternating",
    "attempts_after",
    "backoff",
    "by_owner",
    "claimed_since",
    "count_failure",
    "expiry",
    "is_attempt",
    "is_given_up",
    "pause_after",
    "register",
    "take_turn",
    "unheld",
    "withdraw",
]
