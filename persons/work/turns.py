"""A worker's turn at one kind of work."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from persons.work.kinds import Kind

TURN_SECONDS = 0.25
"""How long a worker stays with one kind of work. It still finishes the step it has begun."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Turn:
    """The outcome of a turn.

    `steps` were taken; `has_more` says that time ran out before the work did; `error` is the first
    error that a step raised.
    """

    steps: int = 0
    has_more: bool = False
    error: Exception | None = None


def take_turn(kind: Kind, *, begins: Callable[[], object], began: Callable[[], object]) -> Turn:
    """Work until nothing waits or the time is over.

    `begins` is called before the first step, so that another worker may join. `began` is called
    after it, so that follow-up work need not wait for the end of the turn.

    If a step raises, its row is left to its own retry policy, and the turn goes on with the others.
    """
    ends = monotonic() + TURN_SECONDS
    done_with: set[int] = set()
    turn = Turn()
    while keys := [key for key in kind.next() if key not in done_with]:
        for key in keys:
            if not turn.steps:
                begins()
            elif monotonic() > ends:
                turn.has_more = True
                return turn
            if not _step(kind, key, turn):
                done_with.add(key)
            turn.steps += 1
            if turn.steps == 1:
                began()
    return turn


def _step(kind: Kind, key: int, turn: Turn) -> bool:
    try:
        return kind.do(key)
    except Exception as error:
        if turn.error is None:
            turn.error = error
        else:
            log.exception("Work of the kind %s: a step failed", kind.name)
        return False
