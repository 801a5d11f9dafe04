"""Deduplicated task messages: while one waits, another of the same task and arguments is dropped.

The backlog is therefore bounded by the number of distinct messages, whatever the amount of work
and however long no worker runs. With files, equal names ensure it (`dashboard.broker`). On Redis a
token marks a waiting message. The token is deleted before the task looks for work, so that work
enqueued meanwhile gets a new message. It also expires, since its message may have been lost.
"""

from __future__ import annotations

import logging
from typing import Any

from celery import Task
from django.conf import settings
from django.core.cache import cache

TOKEN_SECONDS = 20
"""Lifetime of a token: a lost message delays its kind of work at most this long, plus the time to
the next sweep."""

MOST_WAITING = 50
"""Maximum messages in one queue on Redis. Tokens may expire while no worker runs."""

log = logging.getLogger(__name__)


class Message(Task):  # type: ignore[type-arg]
    """The base class of Rollcall's tasks."""

    def apply_async(self, args: Any = None, kwargs: Any = None, *more: Any, **options: Any) -> Any:
        """Enqueue the task; None if an equal message already waits."""
        if not settings.REDIS_URL or self.app.conf.task_always_eager:
            return super().apply_async(args, kwargs, *more, **options)
        token = self._token(args)
        if not cache.add(token, 1, TOKEN_SECONDS):
            return None
        try:
            queue = options.get("queue") or self.app.conf.task_default_queue
            if waiting_messages(self.app, queue) >= MOST_WAITING:
                # There are enough messages to wake every worker; a sweep enqueues this one again.
                cache.delete(token)
                return None
            return super().apply_async(args, kwargs, *more, **options)
        except BaseException:
            cache.delete(token)
            raise

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        if not settings.REDIS_URL or self.request.is_eager:
            return
        try:
            cache.delete(self._token(args))
        except Exception as error:  # noqa: BLE001
            # The token expires by itself. The exception's type depends on the cache's driver.
            log.warning("The token of a message could not be removed: %s", type(error).__name__)

    def _token(self, args: Any) -> str:
        return ":".join(["waiting", self.name, *map(str, args or ())])


def waiting_messages(app: Any, *queues: str) -> int:
    """Number of messages that the broker holds in these queues, or in all."""
    with app.connection_or_acquire() as connection:
        names = queues or app.amqp.queues
        return sum(int(connection.default_channel._size(name)) for name in names)
