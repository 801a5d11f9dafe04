"""Bells. A task takes ids, and everything it does is in the database already: see `sweep`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from celery import shared_task
from django.db import transaction

from persons import pipeline, settling

Task = Any


def ring(task: Task, *ids: int) -> None:
    """Queue `task` when the transaction commits. A broker that is down costs time, not work."""
    bell: Callable[[], object] = lambda: task.delay(*ids)  # noqa: E731
    transaction.on_commit(bell, robust=True)


@shared_task
def prepare_photo(photo_pk: int) -> None:
    space_pk = pipeline.prepare(photo_pk)
    if space_pk is not None:
        recognise_space.delay(space_pk)


@shared_task
def recognise_space(space_pk: int) -> None:
    """One batch; the next one queues behind other spaces' and uploads'."""
    if pipeline.recognise_batch(space_pk):
        recognise_space.delay(space_pk)


@shared_task
def sync_person(person_pk: int) -> None:
    space_pk = pipeline.sync(person_pk)
    if space_pk is not None:
        recognise_space.delay(space_pk)


@shared_task
def space_job(job_pk: int) -> None:
    """A slice; the next one queues behind others' work."""
    left = pipeline.work(job_pk)
    for next_pk in left.jobs:
        space_job.delay(next_pk)
    if left.space is not None:
        recognise_space.delay(left.space)


@shared_task
def erase_person(erasure_pk: int) -> None:
    """A slice; the next one queues behind others' work."""
    if pipeline.erase(erasure_pk):
        erase_person.delay(erasure_pk)


@shared_task
def group_faces(grouping_pk: int) -> None:
    """One turn; the next one queues behind other work."""
    if pipeline.group_faces(grouping_pk):
        group_faces.delay(grouping_pk)


@shared_task
def settle_person(person_pk: int) -> None:
    settling.settle_person(person_pk)


@shared_task
def purge_trash() -> None:
    """One batch of what may not be taken back any more; the next one queues behind other work."""
    if pipeline.purge_trash():
        purge_trash.delay()


@shared_task
def keep_rules(run_pk: int) -> None:
    """One turn of what a team keeps no longer; the next one queues behind other work."""
    if pipeline.keep_rules(run_pk):
        keep_rules.delay(run_pk)


@shared_task
def sweep() -> None:
    """Ring again for what was left behind: a lost message, a dead worker, an old error."""
    left = pipeline.sweep()
    for photo_pk in left.photos:
        prepare_photo.delay(photo_pk)
    for space_pk in left.spaces:
        recognise_space.delay(space_pk)
    for person_pk in left.people:
        sync_person.delay(person_pk)
    for job_pk in left.jobs:
        space_job.delay(job_pk)
    for erasure_pk in left.erasures:
        erase_person.delay(erasure_pk)
    for grouping_pk in left.groupings:
        group_faces.delay(grouping_pk)
    for run_pk in left.retention:
        keep_rules.delay(run_pk)
    if left.has_spent_trash:
        purge_trash.delay()


@shared_task
def seal_audit() -> None:
    """Places the new entries of every chain; verifications that were left behind are rung for."""
    pipeline.seal_audit()
    for chain_pk in pipeline.left_verifications():
        verify_chain.delay(chain_pk)


@shared_task
def verify_audit() -> None:
    for chain_pk in pipeline.ask_for_all():
        verify_chain.delay(chain_pk)


@shared_task
def verify_chain(chain_pk: int) -> None:
    pipeline.verify_chain(chain_pk)
