"""Sets the pictures of a restore at Vision, up to a hundred a call, across many people."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import F, QuerySet
from django.utils import timezone

from persons.backends.select import vision_for
from persons.calls import log as call_log
from persons.db.locking import locked
from persons.files.storage import stored
from persons.models import (
    Enrolment,
    EnrolmentState,
    Person,
    Source,
    Space,
    SpaceJob,
    SyncState,
)
from persons.pipeline.spaces.job_claims import HeldJob
from persons.pipeline.vision_calls import Batch, CallOutcome, Loaded, Part, ask_in_parts
from persons.privacy import consent
from persons.vision import limits
from persons.vision.errors import VisionRejected, VisionTemporary
from persons.vision.meta import PersonImage, SetRequest
from persons.vision.types import Image, ImageResult, ImageStatus, Method, Vision
from persons.work import is_given_up

Pictures = list[Loaded[Enrolment]]


def set_some(held: HeldJob, space: Space) -> timedelta | None:
    """Set batches until the turn is over. None when nothing is left, otherwise when to go on.

    Raises VisionError if Vision can't be asked, or accepted nothing.
    """
    vision = vision_for(space)
    while True:
        batch = _load(held)
        if not batch:
            # A worker syncs these people for another reason and sends their pictures too.
            return timedelta(seconds=2) if _queued(held.job).exists() else None
        _set(held, space, vision, batch)
        done = _processed(held.job)
        held.renew(done=done, attempts=0, error="", report=held.marked(done))
        if held.is_over:
            return timedelta(0)


def _queued(job: SpaceJob) -> QuerySet[Enrolment]:
    return Enrolment.objects.filter(job=job, state=EnrolmentState.QUEUED)


def _processed(job: SpaceJob) -> int:
    """How many of the job's pictures have an outcome."""
    rows = Enrolment.objects.filter(job=job).exclude(state=EnrolmentState.QUEUED).count()
    done = job.report["there"] + job.report["corrected"] + job.report.get("erased", 0)
    processed: int = done + rows
    return min(job.total, processed)


def _load(held: HeldJob) -> Pictures:
    """The next pictures within the limits of one call.

    Nobody watches single pictures here, so a batch is as large as the API allows, unlike photos'.
    """
    rows = (
        _queued(held.job)
        .exclude(person__sync_state=SyncState.RUNNING)
        .select_related("person", "created_by")
        .order_by("pk")
    )
    batch: Pictures = []
    room = limits.Room()
    for enrolment in rows[: limits.MAX_IMAGES]:
        try:
            with stored(enrolment.image) as file:
                image = Image(f"enrolment{enrolment.pk}", file.read())
        except FileNotFoundError:
            _refuse([enrolment], "The file of this picture is lost.")
            continue
        if not room.takes(len(image.data)):
            break
        batch.append((enrolment, image))
    return batch


def _set(held: HeldJob, space: Space, vision: Vision, pictures: Pictures) -> None:
    """Send one batch. Raises VisionTemporary if no picture got an outcome."""
    batch = _Restored(held, space, vision)
    ask_in_parts(vision, batch, pictures)
    if batch.trouble is not None and not batch.moved:
        _put_off(held, pictures, batch.trouble)


class _Restored(Batch[Enrolment]):
    """Pictures of many people that one job sets."""

    method = Method.SET

    def __init__(self, held: HeldJob, space: Space, vision: Vision) -> None:
        self.held = held
        self.space = space
        self.vision = vision
        self.moved = False
        """Whether any picture got an outcome."""
        self.trouble: VisionTemporary | None = None
        """The first temporary error."""

    def begin(self, items: Sequence[Loaded[Enrolment]]) -> Part[Enrolment] | None:
        self.held.renew()
        part = _begin(self.held, self.space, self.vision, list(items))
        self.moved |= part is None
        return part

    def answered(self, part: Part[Enrolment], outcome: CallOutcome) -> None:
        results = _store(self.space, part, outcome)
        self.moved |= any(one.status != ImageStatus.TEMPORARY for one in results)
        self.trouble = self.trouble or _trouble(results)

    def refused(self, row: Enrolment, error: VisionRejected) -> None:
        _refuse([row], str(error))
        self.moved = True


@transaction.atomic
def _begin(held: HeldJob, space: Space, vision: Vision, some: Pictures) -> Part[Enrolment] | None:
    """Begin the call for pictures that may be sent. Those of people without a consent are held
    back."""
    some = _with_consent(space, some)
    if not some:
        return None
    space.refresh_from_db(fields=["version"])
    request = _request(space, some)
    call = call_log.begin(
        space=space,
        vision=vision,
        method=Method.SET,
        meta=request.as_meta(),
        images=[
            call_log.Sent(
                image,
                person_id=row.person.person_id,
                digest=row.sha256,
                request_id=row.request_id,
            )
            for row, image in some
        ],
        origin=call_log.Origin(source=Source.WORKER, asked_by=[held.job.requested_by]),
    )
    # From here on Vision may know the picture: a later removal has to delete it there.
    Enrolment.objects.filter(pk__in=[row.pk for row, _ in some]).update(call=call)
    return Part(call, request, some)


def _with_consent(space: Space, some: Pictures) -> Pictures:
    """Pictures still wanted, of people who may be enrolled; the people stay locked."""
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


def _request(space: Space, some: Pictures) -> SetRequest:
    entries = tuple(PersonImage(image.name, row.person.person_id) for row, image in some)
    return SetRequest(space.number, entries)


@transaction.atomic
def _store(space: Space, part: Part[Enrolment], outcome: CallOutcome) -> list[ImageResult]:
    """End the call and store each picture's outcome, in one transaction."""
    # The space is locked first, as everywhere.
    locked(Space.objects.filter(pk=space.pk)).get()
    results = part.complete(outcome)
    done = [row.pk for row, result in results if result.status == ImageStatus.DONE]
    if done:
        Space.objects.filter(pk=space.pk).update(version=F("version") + 1)
    Enrolment.objects.filter(pk__in=done, state=EnrolmentState.QUEUED).update(
        state=EnrolmentState.DONE, error="", done_at=timezone.now()
    )
    for row, result in results:
        if result.status == ImageStatus.PERMANENT:
            _refuse([row], result.error or "Vision refused this picture.")
    return [result for _, result in results]


def _trouble(results: list[ImageResult]) -> VisionTemporary | None:
    errors = [one.error for one in results if one.status == ImageStatus.TEMPORARY]
    return VisionTemporary(errors[0] or "Temporary error") if errors else None


def _put_off(held: HeldJob, batch: Pictures, trouble: VisionTemporary) -> None:
    """Raise `trouble`, or give the batch up if it has failed too often.

    Otherwise these pictures would block all later ones for ever.
    """
    if not is_given_up(held.job.attempts + 1):
        raise trouble
    _refuse([row for row, _ in batch], f"Gave up after {settings.MAX_ATTEMPTS} tries. {trouble}")


def _refuse(rows: list[Enrolment], text: str) -> None:
    Enrolment.objects.filter(pk__in=[row.pk for row in rows], state=EnrolmentState.QUEUED).update(
        state=EnrolmentState.FAILED, error=text
    )
