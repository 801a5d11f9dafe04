"""Applies each team's retention rules once a day, in batches.

    QUEUED -> RUNNING -> QUEUED … DONE      a turn takes a few seconds

Each batch removes some rows and counts them in the run's `report`, in one transaction: a run that
is cut off resumes and counts nothing twice. Files are deleted before the rows that name them
change, so no file is left behind.

During a batch nobody can set or release a hold (`holds.lock`), and nothing under hold is removed.
The trash has its own kind of work (`purging`), by the team's own rule as well.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic

from django.core.files.storage import default_storage
from django.db import transaction
from django.db.models import CharField, Count, F, Min, Model, Q, QuerySet, Value
from django.db.models.functions import Cast, Concat
from django.utils import timezone

from persons import audit
from persons.audit import Actor
from persons.calls import log as call_log
from persons.faces.identity import names_any_of
from persons.models import (
    Call,
    Erasure,
    Face,
    FaceVector,
    Finding,
    JobState,
    Recognition,
    RetentionRun,
    Source,
    SpaceJob,
    Team,
)
from persons.pipeline.privacy.purging import expired_trash
from persons.privacy import holds
from persons.vision.types import Box
from persons.work import Lease, LeaseLost, Leases

BATCH = 100
TURN_SECONDS = 5.0
EVERY = timedelta(days=1)

DAYS = {"probes": "probe_days", "unknown": "unknown_days", "history": "history_days"}
"""The team's setting for each kind, in the order of a run."""

KINDS = list(DAYS)

ROBOT = Actor(user=None, source=Source.WORKER, text="Rollcall")


RUNS = Leases(
    RetentionRun,
    waiting=JobState.QUEUED,
    running=JobState.RUNNING,
    failed=JobState.FAILED,
    what="The work",
    ends=True,
)


# --- What is due ---


def rules_of(team: Team) -> dict[str, int]:
    """Days by kind, for the kinds that have a limit."""
    days = {kind: getattr(team, column) for kind, column in DAYS.items()}
    return {kind: number for kind, number in days.items() if number is not None}


def over(team: Team, kind: str, before: datetime) -> QuerySet[Model]:
    """Rows of a kind from before `before` that still have content and are under no hold."""
    return _OVER[kind](team, before)


def _probes(team: Team, before: datetime) -> QuerySet[Recognition]:
    kept = Recognition.objects.exclude(image="")
    rows = kept.filter(call__team=team, call__started_at__lt=before)
    held = holds.held_recognitions(team)
    return rows.exclude(pk__in=held.values("pk")) if held is not None else rows


def _unknown(team: Team, before: datetime) -> QuerySet[Face]:
    left = Q(forgotten_at=None) | Q(vector__isnull=False) | ~Q(attributes={})
    nameless = Q(person=None) | Q(person__label="")
    rows = Face.everything.filter(left, nameless, space__team=team, created_at__lt=before)
    coming = SpaceJob.objects.filter(team=team).people_on_the_way()
    if coming:
        # A merge may be moving these faces to somebody with a name.
        rows = rows.exclude(names_any_of(coming))
    held = holds.held_condition("photo__")
    return rows.exclude(held) if held is not None else rows


def _history(team: Team, before: datetime) -> QuerySet[Call]:
    rows = Call.objects.filter(team=team, started_at__lt=before).exclude(
        meta={}, answer="", error=""
    )
    held = holds.held_recognitions(team)
    return rows.exclude(pk__in=held.values("call")) if held is not None else rows


_OVER: dict[str, Callable[[Team, datetime], QuerySet[Model]]] = {
    "probes": _probes,
    "unknown": _unknown,
    "history": _history,
}

_AT = {"probes": "call__started_at", "unknown": "created_at", "history": "started_at"}


@dataclass(frozen=True, slots=True)
class Due:
    """How much of a kind the next run would remove, and how old the oldest of it is."""

    kind: str
    count: int
    oldest: datetime | None


def preview(team: Team, rules: dict[str, int]) -> list[Due]:
    """What is due for each kind with a rule, and for the trash; changes nothing."""
    now = timezone.now()
    found = []
    for kind in KINDS:
        if kind in rules:
            rows = over(team, kind, now - timedelta(days=rules[kind]))
            totals = rows.order_by().aggregate(
                count=Count("pk", distinct=True), oldest=Min(_AT[kind])
            )
            found.append(Due(kind, totals["count"], totals["oldest"]))
    if "trash" in rules:
        photos = expired_trash(team, days=rules["trash"]).order_by()
        totals = photos.aggregate(count=Count("pk", distinct=True), oldest=Min("trashed_at"))
        found.append(Due("trash", totals["count"], totals["oldest"]))
    return found


# --- Removing it ---


def _forget_probes(rows: list[Recognition]) -> None:
    pks = [row.pk for row in rows]
    keys = {row.image for row in rows}
    others = Recognition.objects.filter(image__in=keys).exclude(pk__in=pks)
    for key in keys - set(others.values_list("image", flat=True)):
        default_storage.delete(key)
    Recognition.objects.filter(pk__in=pks).update(image="", erased_at=timezone.now())
    call_log.changed({row.call_id for row in rows}, actor=ROBOT, action="call.expire")


def _forget_appearance(faces: list[Face]) -> None:
    """Remove embedding, attributes and crop. The box stays, and so do the photo's counts."""
    pks = [face.pk for face in faces]
    for face in faces:
        default_storage.delete(
            face.photo.crop_key(Box(face.left, face.top, face.right, face.bottom))
        )
    FaceVector.objects.filter(face__in=pks).delete()
    Face.everything.filter(pk__in=pks).update(attributes={}, forgotten_at=timezone.now())


def _forget_history(rows: list[Call]) -> None:
    """Remove the content of calls. Requester, time, method, outcome, digests and counts stay."""
    pks = [row.pk for row in rows]
    number = Cast(F("position") + 1, CharField())
    Recognition.objects.filter(call__in=pks).update(
        name=Concat(Value("image "), number), result={}, error="", erased_at=timezone.now()
    )
    Finding.objects.filter(call__in=pks).update(
        told_id=None,
        person=None,
        runner_up=None,
        runner_up_similarity=None,
        matched_sha256="",
        left=0,
        top=0,
        right=0,
        bottom=0,
    )
    # Errors quote the names of images.
    Call.objects.filter(pk__in=pks).update(meta={}, answer="", error="", question="")
    call_log.changed(pks, actor=ROBOT, action="call.expire")


def _remove(kind: str, rows: QuerySet[Model]) -> tuple[int, int]:
    """Remove one batch of `rows`, which are in order. Returns how many, and the last one's pk."""
    if kind == "probes":
        some: list[Model] = list(rows[:BATCH])
        _forget_probes(some)  # type: ignore[arg-type]
    elif kind == "unknown":
        some = list(rows.select_related("photo__gallery")[:BATCH])
        _forget_appearance(some)  # type: ignore[arg-type]
    else:
        some = list(rows.defer("answer")[:BATCH])
        _forget_history(some)  # type: ignore[arg-type]
    return len(some), some[-1].pk if some else 0


# --- A run ---


def begin_runs() -> None:
    """Create the runs that are due; a team has one unfinished run at a time."""
    since = timezone.now() - EVERY
    has_rules = Q(probe_days__isnull=False) | Q(unknown_days__isnull=False)
    has_rules |= Q(history_days__isnull=False)
    recent = RetentionRun.objects.filter(Q(finished_at=None) | Q(finished_at__gt=since))
    due = Team.objects.filter(has_rules).exclude(pk__in=recent.values("team"))
    RetentionRun.objects.bulk_create(
        [RetentionRun(team=team, rules=rules_of(team), step=KINDS[0]) for team in due],
        ignore_conflicts=True,
    )


def keep_rules(run_pk: int) -> bool:
    """One turn of a run. Returns whether there is more to do."""
    ends = monotonic() + TURN_SECONDS
    lease = RUNS.claim(RetentionRun.objects.filter(pk=run_pk))
    if lease is None:
        return False
    try:
        with lease.kept_alive():
            while _batch(lease):
                if monotonic() > ends:
                    lease.give_back(JobState.QUEUED, attempts=0)
                    return True
    except LeaseLost:
        return False
    except BaseException as error:
        lease.cut_off(error)
        raise
    return False


@transaction.atomic
def _batch(lease: Lease[RetentionRun]) -> bool:
    """Remove one batch of the run's current kind. False when the run is over. Raises LeaseLost."""
    run = lease.held.select_related("team").first()
    if run is None:
        raise LeaseLost
    holds.lock(run.team_id)
    before = _cutoff(run)
    count = last = 0
    if before is not None:
        rows = over(run.team, run.step, before).filter(pk__gt=run.position)
        count, last = _remove(run.step, rows.order_by("pk"))
    columns: dict[str, object] = {"position": last, "error": ""}
    if count:
        columns["report"] = run.report | {run.step: run.report.get(run.step, 0) + count}
        columns["done"] = run.done + count
    elif run.step == KINDS[-1]:
        _record(run)
        lease.end(JobState.DONE, **columns, finished_at=timezone.now())
        return False
    else:
        columns["step"] = KINDS[KINDS.index(run.step) + 1]
    lease.renew(**columns)
    return True


def _cutoff(run: RetentionRun) -> datetime | None:
    """The cutoff by today's rule or the run's own, whichever keeps more; None without a limit."""
    now = getattr(run.team, DAYS[run.step])
    then = run.rules.get(run.step)
    if now is None or then is None:
        return None
    return timezone.now() - timedelta(days=max(now, then))


def _record(run: RetentionRun) -> None:
    if run.done:
        audit.record(
            actor=ROBOT,
            team=run.team,
            action="retention.run",
            target=run.team,
            after={"removed": run.report, "rules": run.rules},
        )


# --- Certificates ---


@transaction.atomic
def expire_certificates() -> int:
    """Empty the certificates whose time is over. Returns how many.

    The erasure's row stays, so that it can be replayed on an older backup.
    """
    spent = Erasure.objects.filter(keep_until__lte=timezone.now()).exclude(certificate={})
    rows = list(spent.select_for_update(of=("self",), skip_locked=True)[:BATCH])
    for erasure in rows:
        audit.record(
            actor=ROBOT,
            team=erasure.team,
            action="certificate.expire",
            target=erasure,
            before={"kept_until": erasure.keep_until.isoformat() if erasure.keep_until else ""},
        )
    Erasure.objects.filter(pk__in=[one.pk for one in rows]).update(
        certificate={}, signature="", key="", report={}, reason=""
    )
    return len(rows)
