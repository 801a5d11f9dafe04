"""An erasure goes on: one worker at a time, step after step, each from where it stopped.

    QUEUED -> RUNNING -> QUEUED (others' turn, or Vision can't be asked) -> … DONE | FAILED

What needs no Vision goes first. The number and the pictures stay until Vision has confirmed; then
everything is gone through once more, for what was under way meanwhile.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import F
from django.utils import timezone

from persons.models import Erasure, JobState
from persons.pipeline.asking import backoff, pause_after
from persons.pipeline.erasing.certificates import certify
from persons.pipeline.erasing.claims import ClaimLost, ErasureFailed, Held
from persons.pipeline.erasing.ending import forget_people, scrub
from persons.pipeline.erasing.faces import delete_files, delete_photos, forget_faces
from persons.pipeline.erasing.history import forget_calls, forget_kept_pictures
from persons.pipeline.erasing.records import forget_entries, forget_words
from persons.pipeline.erasing.saved import rewrite_snapshots
from persons.pipeline.erasing.stopping import stop
from persons.pipeline.erasing.upstream import delete_at_vision, probe, wait_for_calls
from persons.vision.errors import VisionError, VisionRejected

Step = Callable[[Held], timedelta | None]
"""Goes on. None when it is done, else after how long it wants to go on."""

_LOCAL: list[tuple[str, Step]] = [
    ("faces", forget_faces),
    ("history", forget_calls),
    ("kept", forget_kept_pictures),
    ("words", forget_words),
    ("audit", forget_entries),
    ("snapshots", rewrite_snapshots),
    ("photos", delete_photos),
    ("files", delete_files),
]

STEPS: list[tuple[str, Step]] = [
    ("stop", stop),
    *_LOCAL,
    ("calls", wait_for_calls),
    ("vision", delete_at_vision),
    ("probe", probe),
    ("late calls", wait_for_calls),
    *((f"{name} again", step) for name, step in _LOCAL[:-1]),
    ("people", forget_people),
    ("files again", delete_files),
    ("scrub", scrub),
    ("certificate", certify),
]
NAMES = [name for name, _ in STEPS]


def erase(erasure_pk: int) -> bool:
    """Go on with it for a while. Whether there is more to do at once."""
    token = uuid.uuid4().hex
    now = timezone.now()
    ready = Erasure.objects.filter(pk=erasure_pk, state=JobState.QUEUED, after__lte=now)
    if not ready.update(state=JobState.RUNNING, claim=token, claimed_at=now):
        return False
    rows = Erasure.objects.select_related("team", "space__team", "requested_by")
    held = Held(rows.get(pk=erasure_pk), token)
    try:
        return _go_on(held)
    except ClaimLost:
        return False
    except ErasureFailed as error:
        _fail(held, str(error))
    except VisionError as error:
        # Whoever is to be erased is: it is tried for as long as it takes.
        attempts = held.erasure.attempts + 1
        if isinstance(error, VisionRejected):
            _fail(held, str(error))
        else:
            _later(held, str(error), pause_after(error, min(attempts, 10)), attempts)
    except OSError as error:
        text = f"The storage: {error.strerror or error}"
        _later(held, text, backoff(held.erasure.attempts + 1), held.erasure.attempts + 1)
    except BaseException as error:
        text = f"The worker was cut off: {type(error).__name__}"
        _later(held, text, backoff(held.erasure.attempts + 1), held.erasure.attempts + 1)
        raise
    return False


def _go_on(held: Held) -> bool:
    while held.erasure.state == JobState.RUNNING:
        name = held.erasure.step or NAMES[0]
        at = NAMES.index(name)
        pause = STEPS[at][1](held)
        if held.erasure.state != JobState.RUNNING:
            return False
        if pause is not None:
            held.renew(state=JobState.QUEUED, claim="", after=timezone.now() + pause, attempts=0)
            return not pause
        held.renew(step=NAMES[at + 1], done=at + 1, total=len(NAMES), attempts=0, error="")
        if held.is_over:
            held.renew(state=JobState.QUEUED, claim="")
            return True
    return False


def _later(held: Held, text: str, pause: timedelta, attempts: int) -> None:
    try:
        held.renew(
            state=JobState.QUEUED,
            claim="",
            error=text,
            attempts=min(attempts, 1000),
            after=timezone.now() + pause,
        )
    except ClaimLost:
        return


def _fail(held: Held, text: str) -> None:
    try:
        held.renew(state=JobState.FAILED, claim="", error=text)
    except ClaimLost:
        return


def waiting_erasures(now: datetime) -> list[int]:
    """What the sweep rings for."""
    rows = Erasure.objects.filter(state=JobState.QUEUED, after__lte=now)
    return list(rows.order_by("pk").values_list("pk", flat=True))


def release_erasures(until: datetime, *, blame: bool) -> int:
    """Free those of dead workers, that is, those claimed before `until`; how many."""
    claimed = Erasure.objects.filter(state=JobState.RUNNING, claimed_at__lte=until)
    count = claimed.filter(attempts__gte=settings.MAX_ATTEMPTS).update(
        state=JobState.FAILED,
        claim="",
        error=f"It was cut off {settings.MAX_ATTEMPTS} times.",
    )
    return count + claimed.update(
        state=JobState.QUEUED,
        claim="",
        after=timezone.now(),
        attempts=F("attempts") + (1 if blame else 0),
    )
