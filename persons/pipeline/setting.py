"""Pictures that a restore wants are set at Vision, up to a hundred a call, over many people."""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import F, QuerySet
from django.utils import timezone

from persons import calls, consent
from persons.backends import vision_for
from persons.locking import locked
from persons.models import (
    Call,
    Enrolment,
    EnrolmentState,
    Person,
    Source,
    Space,
    SpaceJob,
    SyncState,
)
from persons.pipeline.asking import Outcome, send
from persons.pipeline.claims import Held
from persons.storage import stored
from persons.vision import limits
from persons.vision.envelope import match_objects
from persons.vision.errors import VisionRejected, VisionTemporary
from persons.vision.meta import PersonImage, SetRequest
from persons.vision.types import Image, ImageResult, ImageStatus, Method, Vision

Loaded = list[tuple[Enrolment, Image]]


def set_some(held: Held, space: Space) -> timedelta | None:
    """Set batches for as long as it is our turn; None when nothing is left, else when to go on.

    Raises VisionError where Vision can't be asked, or did nothing of what it was asked.
    """
    vision = vision_for(space)
    while True:
        batch = _load(held)
        if not batch:
            # A worker is at these people for another reason, and takes their pictures along.
            return timedelta(seconds=2) if _queued(held.job).exists() else None
        _set(held, space, vision, batch)
        done = _settled(held.job)
        held.renew(done=done, attempts=0, error="", report=held.marked(done))
        if held.is_over:
            return timedelta(0)


def _queued(job: SpaceJob) -> QuerySet[Enrolment]:
    return Enrolment.objects.filter(job=job, state=EnrolmentState.QUEUED)


def _settled(job: SpaceJob) -> int:
    """Pictures of which it is known what became of them."""
    rows = Enrolment.objects.filter(job=job).exclude(state=EnrolmentState.QUEUED).count()
    settled: int = job.report["there"] + job.report["corrected"] + rows
    return min(job.total, settled)


def _load(held: Held) -> Loaded:
    """The next pictures, within the limits of one call. Nobody looks at single ones of them, so
    they are as many as the API takes, and not as few as photos on a page are sent at a time."""
    rows = (
        _queued(held.job)
        .exclude(person__sync_state=SyncState.RUNNING)
        .select_related("person", "created_by")
        .order_by("pk")
    )
    batch: Loaded = []
    for enrolment in rows[: limits.MAX_IMAGES]:
        try:
            with stored(enrolment.image) as file:
                image = Image(f"enrolment{enrolment.pk}", file.read())
        except FileNotFoundError:
            _refuse([enrolment], "The file of this picture is lost.")
            continue
        if len(limits.split([*(one for _, one in batch), image])) > 1:
            break
        batch.append((enrolment, image))
    return batch


def _set(held: Held, space: Space, vision: Vision, batch: Loaded) -> None:
    """One batch. One that is refused whole is halved until what is to blame stands alone."""
    waiting = [batch]
    moved = False
    trouble: VisionTemporary | None = None
    while waiting:
        some = waiting.pop()
        held.renew()
        call, some = _begin(held, space, vision, some)
        if call is None:
            moved = True
            continue
        outcome = _ask(space, vision, call, some)
        if outcome.envelope is not None:
            results = match_objects([image.name for _, image in some], outcome.envelope)
            moved |= _store(space, call, outcome, some, results)
            trouble = trouble or _trouble(results)
            continue
        calls.end(call, outcome.answer, outcome.error)
        if not isinstance(outcome.error, VisionRejected):
            raise outcome.error or VisionTemporary("Vision gave no answer")
        if len(some) == 1:
            _refuse([some[0][0]], str(outcome.error))
            moved = True
        else:
            middle = len(some) // 2
            waiting += [some[middle:], some[:middle]]
    if trouble is not None and not moved:
        _put_off(held, batch, trouble)


@transaction.atomic
def _begin(
    held: Held, space: Space, vision: Vision, some: Loaded
) -> tuple[Call, Loaded] | tuple[None, Loaded]:
    """The call's row, and what may be sent: who has no consent meanwhile is held back."""
    some = _with_consent(space, some)
    if not some:
        return None, some
    space.refresh_from_db(fields=["version"])
    call = calls.begin(
        space=space,
        vision=vision,
        method=Method.SET,
        meta=_request(space, some).as_meta(),
        images=[
            calls.Sent(
                image,
                person_id=row.person.person_id,
                digest=row.sha256,
                request_id=row.request_id,
            )
            for row, image in some
        ],
        source=Source.WORKER,
        asked_by=[held.job.requested_by],
        space_version=space.version,
    )
    # From here Vision may know the picture: a later removal has to delete it there.
    Enrolment.objects.filter(pk__in=[row.pk for row, _ in some]).update(call=call)
    return call, some


def _with_consent(space: Space, some: Loaded) -> Loaded:
    """Those still wanted, of people who may be enrolled; these stay locked."""
    space = locked(Space.objects.filter(pk=space.pk)).get()
    if not space.require_consent:
        return some
    people = locked(Person.objects.filter(pk__in={row.person_id for row, _ in some}))
    there = set(people.values_list("pk", flat=True))
    if lacking := consent.lacking(space, there):
        consent.moved(space.pk)
        consent.hold_back(lacking)
    rows = Enrolment.objects.filter(pk__in=[row.pk for row, _ in some], state=EnrolmentState.QUEUED)
    wanted = set(rows.values_list("pk", flat=True))
    return [(row, image) for row, image in some if row.pk in wanted]


def _request(space: Space, some: Loaded) -> SetRequest:
    entries = tuple(PersonImage(image.name, row.person.person_id) for row, image in some)
    return SetRequest(space.number, entries)


def _ask(space: Space, vision: Vision, call: Call, some: Loaded) -> Outcome:
    meta = _request(space, some).as_meta()
    return send(vision, call, Method.SET, meta, [image for _, image in some])


@transaction.atomic
def _store(
    space: Space, call: Call, outcome: Outcome, some: Loaded, results: list[ImageResult]
) -> bool:
    """The call's end and what became of each picture; whether anything became of any."""
    done = [
        row.pk
        for (row, _), result in zip(some, results, strict=True)
        if result.status == ImageStatus.DONE
    ]
    if done:
        # First the space, as everybody does who locks more than one row.
        Space.objects.filter(pk=space.pk).update(version=F("version") + 1)
    calls.end(call, outcome.answer, None, results)
    Enrolment.objects.filter(pk__in=done, state=EnrolmentState.QUEUED).update(
        state=EnrolmentState.DONE, error="", done_at=timezone.now()
    )
    moved = bool(done)
    for (row, _), result in zip(some, results, strict=True):
        if result.status == ImageStatus.PERMANENT:
            _refuse([row], result.error or "Vision refused this picture.")
            moved = True
    return moved


def _trouble(results: list[ImageResult]) -> VisionTemporary | None:
    told = [one.error for one in results if one.status == ImageStatus.TEMPORARY]
    return VisionTemporary(told[0] or "Temporary error") if told else None


def _put_off(held: Held, batch: Loaded, trouble: VisionTemporary) -> None:
    """Vision answers, but takes none of these pictures: they are given up where it goes on so.

    Otherwise they would stand before all the others for ever.
    """
    if held.job.attempts + 1 < settings.MAX_ATTEMPTS:
        raise trouble
    _refuse([row for row, _ in batch], f"Gave up after {settings.MAX_ATTEMPTS} tries. {trouble}")


def _refuse(rows: list[Enrolment], text: str) -> None:
    Enrolment.objects.filter(pk__in=[row.pk for row in rows], state=EnrolmentState.QUEUED).update(
        state=EnrolmentState.FAILED, error=text
    )
