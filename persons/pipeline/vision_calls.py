"""Calls to Vision with their rows in the history, single or in batches.

Every worker that sends batches of pictures uses `ask_in_parts`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from django.db import transaction

from persons.billing import metering
from persons.calls import log as call_log
from persons.decoding import DecodingBusy
from persons.models import Call
from persons.people import enrolments
from persons.vision import limits
from persons.vision.envelope import match_objects, parse
from persons.vision.errors import (
    VisionError,
    VisionRejected,
    VisionTemporary,
    VisionUnavailable,
)
from persons.vision.meta import RecognizeRequest, Request
from persons.vision.types import Answer, Envelope, Image, ImageResult, Method, Vision


class NotNow(VisionUnavailable):
    """No decoder was free for a picture that is otherwise fine: it waits a moment."""

    pause = float(DecodingBusy.retry_after)


@dataclass(frozen=True, slots=True)
class CallOutcome:
    """The outcome of a call: an `envelope` if Vision carried it out, otherwise an `error`."""

    answer: Answer | None
    envelope: Envelope | None
    error: VisionError | None


def ask(
    vision: Vision, call: Call, method: Method, request: Request, sent: Sequence[Image]
) -> list[ImageResult]:
    """Call Vision and complete the call's rows in any case. Each image's result, in order.

    Raises VisionError.
    """
    outcome = send(vision, call, method, request.as_meta(), sent)
    if outcome.envelope is None:
        raise _fail(call, outcome)
    return complete(call, request, outcome)


def complete(call: Call, request: Request, outcome: CallOutcome) -> list[ImageResult]:
    """Complete the rows of a call that has an envelope. Each image's result, in order."""
    assert outcome.envelope is not None
    results = match_objects(request.names, outcome.envelope)
    with transaction.atomic():
        if call.space is not None:
            # People whom Vision created get rows before findings refer to them.
            found = enrolments.people_of(call.space, enrolments.found_in(results), call=call)
            if isinstance(request, RecognizeRequest) and request.update_embedding:
                enrolments.learned(call.space, call, found)
        call_log.end(call, outcome.answer, None, results)
    return results


def _fail(call: Call, outcome: CallOutcome) -> VisionError:
    """Complete the rows of a call without an envelope. Returns the error to raise."""
    call_log.end(call, outcome.answer, outcome.error)
    return outcome.error or VisionTemporary("Vision gave no answer")


def send(
    vision: Vision,
    call: Call,
    method: Method,
    meta: dict[str, Any],
    sent: Sequence[Image],
) -> CallOutcome:
    """Call Vision. The caller stores the outcome and ends the call with it (`calls.log.end`).

    Only an unexpected exception is raised, after the call has been ended.
    """
    answer: Answer | None = None
    try:
        # Calls without images cost nothing and go on: Vision can always be made to forget somebody.
        if call.image_count and metering.over_budget(call.team, backend=call.backend):
            raise VisionUnavailable("The team's budget for this month is used up")
        answer = vision.call(method, meta, sent)
        return CallOutcome(answer, parse(method, answer), None)
    except VisionError as error:
        return CallOutcome(answer, None, error)
    except BaseException as error:
        call_log.end(
            call, answer, VisionTemporary(f"The worker was cut off: {type(error).__name__}")
        )
        raise


Row = TypeVar("Row")
Loaded = tuple[Row, Image]
"""An item and its picture."""


@dataclass(frozen=True, slots=True)
class Part(Generic[Row]):
    """Pictures that one call sends, and the call's row, which has begun."""

    call: Call
    request: Request
    items: Sequence[Loaded[Row]]

    @property
    def images(self) -> list[Image]:
        return [image for _, image in self.items]

    @property
    def rows(self) -> list[Row]:
        return [row for row, _ in self.items]

    def complete(self, outcome: CallOutcome) -> list[tuple[Row, ImageResult]]:
        """Complete the call's rows. Each item with its image's result, in order."""
        return list(zip(self.rows, complete(self.call, self.request, outcome), strict=True))


class Batch(ABC, Generic[Row]):
    """How a worker handles the parts of a batch.

    Each item goes to exactly one of `answered`, `refused` and `failed`, unless `begin` leaves it
    out. An exception from a method ends the batch: no further part is sent.
    """

    method: Method

    @abstractmethod
    def begin(self, items: Sequence[Loaded[Row]]) -> Part[Row] | None:
        """Renew the lease and begin the call for items that may still be sent; None if none may.

        Called right before each call, outside a transaction.
        """

    @abstractmethod
    def answered(self, part: Part[Row], outcome: CallOutcome) -> None:
        """Vision carried out the call: call `part.complete` and store each item's result."""

    @abstractmethod
    def refused(self, row: Row, error: VisionRejected) -> None:
        """Vision refused a call with this item alone."""

    def failed(self, part: Part[Row], error: VisionError) -> None:
        """The call failed, and no item is to blame. Ends the batch, unless overridden."""
        raise error


def ask_in_parts(
    vision: Vision,
    batch: Batch[Row],
    items: Sequence[Loaded[Row]],
    max_images: int = limits.MAX_IMAGES,
) -> None:
    """Send the items in order, in parts within the API's limits.

    One bad item refuses its whole part. A refused part is halved until that item is alone, which
    costs two more calls for each doubling of the part's size.

    Raises what the batch raises, and VisionError unless it overrides `failed`.
    """
    waiting = _parts(items, max_images)[::-1]
    while waiting:
        part = batch.begin(waiting.pop())
        if part is None:
            continue
        outcome = send(vision, part.call, batch.method, part.request.as_meta(), part.images)
        if outcome.envelope is not None:
            batch.answered(part, outcome)
            continue
        error = _fail(part.call, outcome)
        if not isinstance(error, VisionRejected):
            batch.failed(part, error)
        elif len(part.items) == 1:
            batch.refused(part.rows[0], error)
        else:
            middle = len(part.items) // 2
            waiting += [part.items[middle:], part.items[:middle]]


def _parts(items: Sequence[Loaded[Row]], max_images: int) -> list[Sequence[Loaded[Row]]]:
    parts: list[Sequence[Loaded[Row]]] = []
    first = 0
    for images in limits.split([image for _, image in items], max_images):
        parts.append(items[first : first + len(images)])
        first += len(images)
    return parts
