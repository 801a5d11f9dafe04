"""Runs an erasure: one worker at a time, step by step, resuming where it stopped.

    QUEUED -> RUNNING -> QUEUED (slice over, or Vision can't be asked) -> … DONE | FAILED

Steps that don't need Vision come first. Number and pictures stay until Vision has confirmed the
deletion; then the local steps run again, for what was under way meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from django.utils import timezone

from persons.models import Erasure, JobState
from persons.pipeline.privacy.erasing.certificates import certify
from persons.pipeline.privacy.erasing.claims import ERASURES, ErasureFailed, HeldErasure
from persons.pipeline.privacy.erasing.ending import forget_people, scrub
from persons.pipeline.privacy.erasing.entries import forget_entries
from persons.pipeline.privacy.erasing.faces import delete_files, delete_photos, forget_faces
from persons.pipeline.privacy.erasing.history import forget_calls, forget_kept_pictures
from persons.pipeline.privacy.erasing.records import forget_words
from persons.pipeline.privacy.erasing.saved import rewrite_snapshots
from persons.pipeline.privacy.erasing.stopping import stop
from persons.pipeline.privacy.erasing.upstream import delete_at_vision, probe, wait_for_calls
from persons.vision.errors import VisionError, VisionRejected
from persons.work import LeaseLost, backoff, pause_after

Step = Callable[[HeldErasure], timedelta | None]
"""Returns None when the step is done, otherwise after how long to continue it."""

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

UNTRIED = {"attempts": 0, "interruptions": 0}
MOST_ATTEMPTS = 1000
"""The counter stops here. An erasure is tried for as long as it takes."""


def erase(erasure_pk: int) -> bool:
    """Run an erasure for a slice. Returns whether there is more to do at once."""
    lease = ERASURES.claim(Erasure.objects.filter(pk=erasure_pk))
    if lease is None:
        return False
    rows = Erasure.objects.select_related("team", "space__team", "requested_by")
    held = HeldErasure(rows.get(pk=erasure_pk), lease)
    try:
        with lease.kept_alive():
            return _go_on(held)
    except LeaseLost:
        return False
    except (ErasureFailed, VisionRejected) as error:
        lease.fail(str(error))
    except VisionError as error:
        _later(held, str(error), pause_after(error, min(held.erasure.attempts + 1, 10)))
    except OSError as error:
        text = f"The storage: {error.strerror or error}"
        _later(held, text, backoff(held.erasure.attempts + 1))
    except BaseException as error:
        lease.cut_off(error, backoff(held.erasure.interruptions + 1))
        raise
    return False


def _go_on(held: HeldErasure) -> bool:
    while held.erasure.state == JobState.RUNNING:
        name = held.erasure.step or NAMES[0]
        at = NAMES.index(name)
        pause = STEPS[at][1](held)
        if held.erasure.state != JobState.RUNNING:
            return False
        if pause is not None:
            held.end(JobState.QUEUED, after=timezone.now() + pause, **UNTRIED)
            return not pause
        held.renew(step=NAMES[at + 1], done=at + 1, total=len(NAMES), error="", **UNTRIED)
        if held.is_over:
            held.end(JobState.QUEUED)
            return True
    return False


def _later(held: HeldErasure, text: str, pause: timedelta) -> None:
    held.lease.put_back(text, pause, attempts=min(held.erasure.attempts + 1, MOST_ATTEMPTS))
