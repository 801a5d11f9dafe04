"""What a team keeps no longer than it says: gone over once a day, some at a time.

    QUEUED -> RUNNING -> QUEUED … DONE      a turn takes a few seconds

Each batch removes some rows and counts them in the run's `report`, in one transaction, so that a
run that is cut off goes on where it was and counts nothing twice. Files go before the rows that
name them are changed: what was to be deleted is never left behind.

No hold is set or released during a batch (`holds.lock`), and nothing that one is on is touched. The
trash has a task of its own (`purging`), by the team's own rule as well.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic

from django.conf import settings
from django.core.files.storage import default_storage
from django.db import transaction
from django.db.models import CharField, Count, F, Min, Model, Q, QuerySet, Value
from django.db.models.functions import Cast, Concat
from django.utils import timezone

from persons import audit, calls, holds
from persons.audit import Actor
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
from persons.pipeline.purging import spent_trash
from persons.settling import words_on
from persons.vision.types import Box

BATCH = 100
TURN_SECONDS = 5.0
EVERY = timedelta(days=1)

DAYS = {"probes": "probe_days", "unknown": "unknown_days", "history": "history_days"}
"""The team's setting of each kind, in the order in which they are gone over."""

KINDS = list(DAYS)

ROBOT = Actor(user=None, source=Source.WORKER, text="Rollcall")


class ClaimLost(Exception):
    """Another worker holds the run: stop, and store nothing."""


# --- What is over its time ---


def rules_of(team: Team) -> dict[str, int]:
    """The days of each kind that has a limit."""
    days = {kind: getattr(team, column) for kind, column in DAYS.items()}
    return {kind: number for kind, number in days.items() if number is not None}


def over(team: Team, kind: str, before: datetime) -> QuerySet[Model]:
    """Rows of a kind from `before` whose content is still there and may go: no hold is on them."""
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
        # To somebody who may have a name.
        rows = rows.exclude(words_on(coming))
    held = holds.held_condition("photo__")
    return rows.exclude(held) if held is not None else rows


def _history(team: Team, before: datetime) -> QuerySet[Call]:
    rows = Call.objects.filter(team=team, started_at__lt=before).exclude(meta={}, answer="")
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
    """What the next run would remove of a kind, and since when the oldest of it is there."""

    kind: str
    count: int
    oldest: datetime | None


def preview(team: Team, rules: dict[str, int]) -> list[Due]:
    """Of each kind that has a rule, and of the trash; nothing is changed."""
    now = timezone.now()
    found = []
    for kind in KINDS:
        if kind in rules:
            rows = over(team, kind, now - timedelta(days=rules[kind]))
            told = rows.order_by().aggregate(
                count=Count("pk", distinct=True), oldest=Min(_AT[kind])
            )
            found.append(Due(kind, told["count"], told["oldest"]))
    if "trash" in rules:
        photos = spent_trash(team, days=rules["trash"]).order_by()
        told = photos.aggregate(count=Count("pk", distinct=True), oldest=Min("trashed_at"))
        found.append(Due("trash", told["count"], told["oldest"]))
    return found


# --- Removing it ---


def _forget_probes(rows: list[Recognition]) -> None:
    pks = [row.pk for row in rows]
    keys = {row.image for row in rows}
    others = Recognition.objects.filter(image__in=keys).exclude(pk__in=pks)
    for key in keys - set(others.values_list("image", flat=True)):
        default_storage.delete(key)
    Recognition.objects.filter(pk__in=pks).update(image="", erased_at=timezone.now())
    calls.changed({row.call_id for row in rows}, actor=ROBOT, action="call.expire")


def _forget_looks(faces: list[Face]) -> None:
    """The box stays, and so what the photo's counts say; what is known of the looks goes."""
    pks = [face.pk for face in faces]
    for face in faces:
        default_storage.delete(
            face.photo.crop_key(Box(face.left, face.top, face.right, face.bottom))
        )
    FaceVector.objects.filter(face__in=pks).delete()
    Face.everything.filter(pk__in=pks).update(attributes={}, forgotten_at=timezone.now())


def _forget_history(rows: list[Call]) -> None:
    """Who asked, when, by which method, with what outcome stays, with digests and counts."""
    pks = [row.pk for row in rows]
    number = Cast(F("position") + 1, CharField())
    Recognition.objects.filter(call__in=pks).update(
        name=Concat(Value("image "), number), result={}, erased_at=timezone.now()
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
    Call.objects.filter(pk__in=pks).update(meta={}, answer="", question="")
    calls.changed(pks, actor=ROBOT, action="call.expire")


def _remove(kind: str, rows: QuerySet[Model]) -> tuple[int, int]:
    """One batch of `rows`, which are in order: how many there were, and the last one's pk."""
    if kind == "probes":
        some: list[Model] = list(rows[:BATCH])
        _forget_probes(some)  # type: ignore[arg-type]
    elif kind == "unknown":
        some = list(rows.select_related("photo__gallery")[:BATCH])
        _forget_looks(some)  # type: ignore[arg-type]
    else:
        some = list(rows.defer("answer")[:BATCH])
        _forget_history(some)  # type: ignore[arg-type]
    return len(some), some[-1].pk if some else 0


# --- A run ---


def begin_runs() -> list[int]:
    """Start what is due, and list what waits; each team has one run at a time."""
    since = timezone.now() - EVERY
    has_rules = Q(probe_days__isnull=False) | Q(unknown_days__isnull=False)
    has_rules |= Q(history_days__isnull=False)
    recent = RetentionRun.objects.filter(Q(finished_at=None) | Q(finished_at__gt=since))
    due = Team.objects.filter(has_rules).exclude(pk__in=recent.values("team"))
    RetentionRun.objects.bulk_create(
        [RetentionRun(team=team, rules=rules_of(team), step=KINDS[0]) for team in due],
        ignore_conflicts=True,
    )
    waiting = RetentionRun.objects.filter(state=JobState.QUEUED)
    return list(waiting.order_by("pk").values_list("pk", flat=True))


def keep_rules(run_pk: int) -> bool:
    """One turn of a run. Whether there is more to do."""
    token, ends = uuid.uuid4().hex, monotonic() + TURN_SECONDS
    waiting = RetentionRun.objects.filter(pk=run_pk, state=JobState.QUEUED)
    if not waiting.update(state=JobState.RUNNING, claim=token, claimed_at=timezone.now()):
        return False
    mine = RetentionRun.objects.filter(pk=run_pk, claim=token, state=JobState.RUNNING)
    try:
        while _batch(mine):
            if monotonic() > ends:
                mine.update(state=JobState.QUEUED, claim="", attempts=0)
                return True
    except ClaimLost:
        return False
    except BaseException as error:
        text = f"The worker was cut off: {type(error).__name__}"
        mine.filter(attempts__gte=settings.MAX_ATTEMPTS - 1).update(
            state=JobState.FAILED, claim="", error=text, finished_at=timezone.now()
        )
        mine.update(state=JobState.QUEUED, claim="", attempts=F("attempts") + 1, error=text)
        raise
    return False


@transaction.atomic
def _batch(mine: QuerySet[RetentionRun]) -> bool:
    """Some rows of the run's present kind; False when the run is over. Raises ClaimLost."""
    run = mine.select_related("team").first()
    if run is None:
        raise ClaimLost
    holds.lock(run.team_id)
    before = _cutoff(run)
    count = last = 0
    if before is not None:
        rows = over(run.team, run.step, before).filter(pk__gt=run.position)
        count, last = _remove(run.step, rows.order_by("pk"))
    columns: dict[str, object] = {"position": last}
    if count:
        columns["report"] = run.report | {run.step: run.report.get(run.step, 0) + count}
        columns["done"] = run.done + count
    elif run.step == KINDS[-1]:
        columns |= {"state": JobState.DONE, "claim": "", "finished_at": timezone.now()}
        _record(run)
    else:
        columns["step"] = KINDS[KINDS.index(run.step) + 1]
    if not mine.update(claimed_at=timezone.now(), error="", **columns):
        raise ClaimLost
    return "state" not in columns


def _cutoff(run: RetentionRun) -> datetime | None:
    """By the rule as it was when the run began and as it is now: whichever keeps more."""
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


def release_runs(until: datetime, *, blame: int) -> int:
    """Runs whose worker died wait again, or fail where that has happened too often."""
    dead = RetentionRun.objects.filter(state=JobState.RUNNING, claimed_at__lte=until)
    count = dead.filter(attempts__gte=settings.MAX_ATTEMPTS - 1).update(
        state=JobState.FAILED,
        claim="",
        error=f"The work was cut off {settings.MAX_ATTEMPTS} times.",
        finished_at=timezone.now(),
    )
    return count + dead.update(state=JobState.QUEUED, claim="", attempts=F("attempts") + blame)


# --- Certificates ---


@transaction.atomic
def expire_certificates() -> int:
    """What an erasure's certificate says goes when its time is over; how many. The row stays, so
    that a backup that is older can be told again."""
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
