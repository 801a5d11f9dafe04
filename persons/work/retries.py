"""The retry policy, the same for all kinds: how often work is tried, and after which pauses.

Work that has failed `MAX_ATTEMPTS` times, or its kind's own limit, is given up, whether by an error
or a dead worker. The count is raised before it is compared, so that no kind is tried once more than
another.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, TypeVar

from django.conf import settings
from django.db import transaction
from django.db.models import F, Model, QuerySet

from persons.db.locking import in_turn
from persons.vision.errors import VisionError, VisionUnauthorized, VisionUnavailable

BACKOFF_SECONDS = 2.0
BACKOFF_CEILING_SECONDS = 15 * 60.0

M = TypeVar("M", bound=Model)


def most_failures(own: int | None = None) -> int:
    """How often work of a kind is tried; `own` is the kind's own limit."""
    return int(settings.MAX_ATTEMPTS) if own is None else own


def is_given_up(failures: int) -> bool:
    """Whether work that has failed this often, the current failure included, is given up."""
    return failures >= most_failures()


def backoff(attempts: int) -> timedelta:
    """Exponential pause with jitter, so that work that failed together is not retried together."""
    ceiling = min(BACKOFF_CEILING_SECONDS, BACKOFF_SECONDS * 2 ** min(attempts, 20))
    return timedelta(seconds=ceiling / 2 + random.uniform(0, ceiling / 2))  # noqa: S311


def is_attempt(error: VisionError) -> bool:
    """Whether the error counts as an attempt: not if nothing was sent or any call would be
    refused."""
    return not isinstance(error, VisionUnavailable | VisionUnauthorized)


def attempts_after(error: VisionError, attempts: int) -> int:
    """The number of attempts after this error."""
    return attempts + is_attempt(error)


def pause_after(error: VisionError, attempts: int) -> timedelta:
    """How long to wait after this error, given the number of attempts."""
    if isinstance(error, VisionUnavailable | VisionUnauthorized):
        # Jitter, so that work that waited for the same thing is not retried together.
        return timedelta(seconds=error.pause + random.uniform(0, 2))  # noqa: S311
    return backoff(attempts)


@transaction.atomic
def count_failure(
    held: QuerySet[M],
    *,
    give_up: Mapping[str, Any] | Callable[[QuerySet[M]], int],
    again: Mapping[str, Any],
    counter: str = "attempts",
    most: int | None = None,
    blame: bool = True,
) -> int:
    """Count a failure of these rows. Returns how many rows there were.

    Rows that have now failed `most` times get the columns of `give_up`, or are passed to it; the
    others get those of `again`. Both must take a row out of `held`. Without `blame` nothing is
    counted and no row is given up.
    """
    if not blame:
        return in_turn(held).update(**again)
    spent = held.filter(**{f"{counter}__gte": most_failures(most) - 1})
    count = give_up(spent) if callable(give_up) else in_turn(spent).update(**give_up)
    return count + in_turn(held).update(**again, **{counter: F(counter) + 1})
