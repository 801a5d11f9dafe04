"""Celery messages that wake workers, and the tasks that run then.

A message names a kind of work, never a row: the database is the queue. So one message per kind is
enough, and losing or doubling one is harmless: see `persons.work`.
"""

from __future__ import annotations

import threading
from typing import Any

from celery import shared_task
from django.db import transaction

from dashboard.messages import Message
from persons import pipeline
from persons.models import AuditChain
from persons.work import KINDS, Work, take_turn


def enqueue(work: Work) -> None:
    """Announce work of this kind when the transaction commits.

    If the broker is down the work is only late: the sweep announces it again.
    """
    transaction.on_commit(lambda: send(work), robust=True)


def send(work: Work) -> None:
    do_work.apply_async((work.value,), queue=work.queue)


def enqueue_sweep() -> None:
    """Enqueue a sweep when the transaction commits."""
    transaction.on_commit(sweep.apply_async, robust=True)


class _Under(threading.local):
    """Kinds that this thread is working on. With eager tasks a turn would otherwise start within a
    turn."""

    def __init__(self) -> None:
        self.way: set[Work] = set()


_under = _Under()


@shared_task(base=Message, name="persons.tasks.work")
def do_work(name: str) -> None:
    """One turn at a kind of work. The next turn is queued behind other kinds."""
    if name not in set(Work):
        # From a newer version. Its own sweep announces the work to its workers.
        return
    work = Work(name)
    if work in _under.way:
        return
    _under.way.add(work)
    kind = KINDS[work]
    try:
        turn = take_turn(kind, begins=lambda: send(work), began=lambda: _wake(kind.wakes))
    finally:
        _under.way.discard(work)
    if turn.steps > 1:
        _wake(kind.wakes)
    if turn.has_more:
        send(work)
    if turn.error is not None:
        raise turn.error


def _wake(works: tuple[Work, ...]) -> None:
    for work in pipeline.kinds_with_work(works):
        send(work)


@shared_task(base=Message)
def sweep() -> None:
    """Resume work that a lost message, a dead worker or an old error left behind."""
    for work in pipeline.sweep():
        send(work)


@shared_task(base=Message)
def seal_audit() -> None:
    """Seal the new entries of every chain."""
    pipeline.seal_audit()


@shared_task(base=Message)
def verify_audit() -> None:
    """Request verification of every chain."""
    pipeline.request_verification(AuditChain.objects.all())
    send(Work.VERIFY)


# --- Messages of earlier versions, left in the broker by an upgrade ---

_FORMER = (
    *("prepare_photo", "recognise_space", "sync_person", "space_job", "erase_person"),
    *("group_faces", "settle_person", "purge_trash", "keep_rules", "verify_chain"),
)


def _drop(*ids: Any) -> None:
    """Ignore it: its row is in the database, and the sweep announces it."""


for _name in _FORMER:
    shared_task(name=f"persons.tasks.{_name}", ignore_result=True)(_drop)
