"""One question to Vision, with its row in the history; and how long to wait after an error."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import transaction

from persons import calls, ledger, metering
from persons.models import Call
from persons.vision.envelope import match_objects, parse
from persons.vision.errors import (
    VisionError,
    VisionTemporary,
    VisionUnauthorized,
    VisionUnavailable,
)
from persons.vision.meta import Request
from persons.vision.types import Answer, Envelope, Image, ImageResult, Method, Vision

BACKOFF_SECONDS = 2.0
BACKOFF_CEILING_SECONDS = 15 * 60.0


def backoff(attempts: int) -> timedelta:
    """Exponential, with jitter, so that what failed together does not come back together."""
    ceiling = min(BACKOFF_CEILING_SECONDS, BACKOFF_SECONDS * 2 ** min(attempts, 20))
    return timedelta(seconds=ceiling / 2 + random.uniform(0, ceiling / 2))  # noqa: S311


def pause_after(error: VisionError, attempts: int) -> timedelta:
    """How long to leave alone what ended so, after so many attempts."""
    if isinstance(error, VisionUnavailable | VisionUnauthorized):
        # A little apart, so that what waited for the same thing does not come back together.
        return timedelta(seconds=error.pause + random.uniform(0, 2))  # noqa: S311
    return backoff(attempts)


def is_attempt(error: VisionError) -> bool:
    """Whether it counts: what was not sent, or would be refused whatever it is, has not failed."""
    return not isinstance(error, VisionUnavailable | VisionUnauthorized)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a question: an `envelope` where Vision did it, an `error` where it did not."""

    answer: Answer | None
    envelope: Envelope | None
    error: VisionError | None


def ask(
    vision: Vision, call: Call, method: Method, request: Request, sent: Sequence[Image]
) -> list[ImageResult]:
    """Ask, and complete the call's rows whatever happens. Each image's result, in order.

    Raises VisionError.
    """
    outcome = send(vision, call, method, request.as_meta(), sent)
    if outcome.envelope is None:
        calls.end(call, outcome.answer, outcome.error)
        raise outcome.error or VisionTemporary("Vision gave no answer")
    results = match_objects(request.names, outcome.envelope)
    with transaction.atomic():
        if call.space is not None:
            # Whom Vision made has a row before the findings name them.
            ledger.people_of(call.space, ledger.found_in(results))
        calls.end(call, outcome.answer, None, results)
    return results


def send(
    vision: Vision,
    call: Call,
    method: Method,
    meta: dict[str, Any],
    sent: Sequence[Image],
) -> Outcome:
    """Ask. The caller hands what came of it to `calls.end`, with whatever else it stores."""
    answer: Answer | None = None
    try:
        # What costs nothing goes on: Vision can always be made to forget somebody.
        if call.image_count and metering.over_budget(call.team, backend=call.backend):
            raise VisionUnavailable("The team's budget for this month is used up")
        answer = vision.call(method, meta, sent)
        return Outcome(answer, parse(method, answer), None)
    except VisionError as error:
        return Outcome(answer, None, error)
    except BaseException as error:
        calls.end(call, answer, VisionTemporary(f"The worker was cut off: {type(error).__name__}"))
        raise
