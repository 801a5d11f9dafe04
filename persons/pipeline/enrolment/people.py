"""Syncs one person's enrolments at Vision with the ledger."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta

from django.db import transaction
from django.db.models import F, QuerySet
from django.utils import timezone

from persons.audit import Actor
from persons.backends.select import vision_for
from persons.calls import log as call_log
from persons.db.locking import locked
from persons.models import Enrolment, EnrolmentState, Person, Source, Space, SyncState
from persons.models.people import PersonQuerySet
from persons.people.orphans import remove_if_unmade
from persons.pipeline.enrolment.crops import refuse, tighten_or_refuse, with_pictures
from persons.pipeline.enrolment.rescan import rescan_for
from persons.pipeline.vision_calls import (
    Batch,
    CallOutcome,
    Loaded,
    Part,
    ask,
    ask_in_parts,
)
from persons.privacy import consent
from persons.vision.errors import VisionError, VisionRejected, VisionTemporary
from persons.vision.meta import DeleteRequest, PersonImage, SetRequest
from persons.vision.types import Image, ImageResult, ImageStatus, Method, Vision
from persons.work import (
    Lease,
    LeaseLost,
    Leases,
    attempts_after,
    backoff,
    is_given_up,
    pause_after,
    withdraw,
)

AFTER_COPIES = timedelta(seconds=3)


def sync(person_pk: int) -> int | None:
    """Sync one person. Returns the space if it then has photos waiting.

    The API deletes whole people: a removal deletes the person there and sets the remaining pictures
    again. Both may be repeated, so a sync that was cut off starts over.
    """
    lease = SYNCING.claim(waiting_people().filter(pk=person_pk))
    if lease is None:
        return None
    if _copies_are_waiting(person_pk):
        # If Vision forgot a merged person before it knows their pictures under the new one, a
        # recognition meanwhile would find neither.
        lease.give_back(SyncState.QUEUED, after=timezone.now() + AFTER_COPIES)
        return None
    person = Person.objects.select_related("space__team", "sync_by").get(pk=person_pk)
    vision = vision_for(person.space)
    try:
        with lease.kept_alive():
            _demand_consent(person, lease)
            removed = _sync_removals(person, vision, lease)
            enrolled = _sync_enrolments(person, vision, lease)
            # Once more, for refused crops that are now cut more tightly.
            enrolled |= _sync_enrolments(person, vision, lease)
    except LeaseLost:
        return None
    except VisionError as error:
        _sync_failed(person, lease, error)
        return None
    except BaseException as error:
        lease.cut_off(error, backoff(person.attempts + 1))
        raise
    _sync_done(person, lease)
    _let_originals_go(person_pk)
    return person.space_id if enrolled or removed else None


def _copies_are_waiting(person_pk: int) -> bool:
    """Whether pictures to be removed here have yet to be set for the person they were moved to."""
    leaving = Enrolment.objects.filter(
        person=person_pk, state=EnrolmentState.REMOVING, call__isnull=False
    )
    return EnrolmentState.QUEUED in _states_of_copies(leaving.values_list("pk", flat=True))


def _let_originals_go(person_pk: int) -> None:
    """Wake the people who waited for their pictures to be set under this person."""
    waited = Enrolment.objects.filter(
        state=EnrolmentState.REMOVING, copies__person=person_pk, copies__state=EnrolmentState.DONE
    )
    now = timezone.now()
    Person.objects.filter(
        pk__in=waited.values("person"),
        sync_state=SyncState.QUEUED,
        attempts=0,
        sync_error="",
        after__range=(now, now + AFTER_COPIES),
    ).update(after=now)


def _states_of_copies(pks: Iterable[int]) -> set[str]:
    """The states of all copies of these pictures, copies of copies included."""
    states: set[str] = set()
    newest = set(pks)
    while newest:
        copies = dict(Enrolment.objects.filter(origin__in=newest).values_list("pk", "state"))
        states |= set(copies.values())
        newest = set(copies)
    return states


def _renew(person: Person, lease: Lease[Person]) -> None:
    """Renew the lease before each call. Raises LeaseLost."""
    lease.renew()


@transaction.atomic
def _demand_consent(person: Person, lease: Lease[Person]) -> bool:
    """Whether the person may be enrolled. Space and person stay locked until the transaction ends.

    If not, nothing of them is sent, and what Vision may know is to be removed: see
    `persons.privacy.consent`.
    """
    space = Space.objects.get(pk=person.space_id)
    if not space.require_consent:
        _renew(person, lease)
        return True
    space = locked(Space.objects.filter(pk=space.pk)).get()
    _renew(person, lease)
    if not consent.lacking(space, [person.pk]):
        return True
    if consent.hold_back([person.pk]):
        consent.moved(space.pk)
    return False


def _sync_removals(person: Person, vision: Vision, lease: Lease[Person]) -> bool:
    """Delete the person at Vision if a picture is to go. Returns whether that was necessary."""
    leaving = list(person.enrolments.filter(state=EnrolmentState.REMOVING))
    if not leaving:
        return False
    known_there = any(enrolment.call_id for enrolment in leaving)
    if known_there:
        name = f"person{person.person_id}"
        _renew(person, lease)
        request = DeleteRequest(person.space.number, (PersonImage(name, person.person_id),))
        call = call_log.begin(
            space=person.space,
            vision=vision,
            method=Method.DELETE,
            meta=request.as_meta(),
            images=[
                call_log.Sent(
                    Image(name, b""),
                    person_id=person.person_id,
                    request_id=person.sync_request_id,
                )
            ],
            origin=call_log.Origin(source=Source.WORKER, asked_by=[person.sync_by]),
        )
        results = ask(vision, call, Method.DELETE, request, [])
        if results[0].status == ImageStatus.TEMPORARY:
            raise VisionTemporary(results[0].error or "Temporary error")
        if results[0].status == ImageStatus.PERMANENT:
            raise VisionRejected(results[0].error or "Vision refused to delete this person.")
    with transaction.atomic():
        if known_there:
            Space.objects.filter(pk=person.space_id).update(version=F("version") + 1)
            person.enrolments.filter(state=EnrolmentState.DONE).update(state=EnrolmentState.QUEUED)
            if any(enrolment.call_id and not _was_moved(enrolment) for enrolment in leaving):
                rescan_for(person, found_too=True)
        # A picture that somebody wants back meanwhile is queued, and stays so.
        person.enrolments.filter(
            pk__in=[enrolment.pk for enrolment in leaving], state=EnrolmentState.REMOVING
        ).update(state=EnrolmentState.REMOVED)
    return known_there


def _was_moved(enrolment: Enrolment) -> bool:
    """Whether Vision still knows the picture, under the person they were merged into."""
    return EnrolmentState.DONE in _states_of_copies([enrolment.pk])


def _is_new_to_vision(enrolment: Enrolment) -> bool:
    """False for a copy whose original Vision still knows: a rescan would find nothing new."""
    origin = enrolment.origin
    return origin is None or origin.done_at is None or origin.state != EnrolmentState.REMOVING


def _sync_enrolments(person: Person, vision: Vision, lease: Lease[Person]) -> bool:
    """Set the queued pictures. Returns whether any was accepted."""
    queued = list(
        person.enrolments.filter(state=EnrolmentState.QUEUED).select_related(
            "created_by", "face__photo__gallery", "origin", "person__space"
        )
    )
    batch = _Pictures(person, vision, lease)
    ask_in_parts(vision, batch, with_pictures(queued), vision.max_batch)
    if batch.temporary:
        raise VisionTemporary(batch.temporary)
    return batch.accepted


class _Pictures(Batch[Enrolment]):
    """Pictures of one person that are set under one claim."""

    method = Method.SET

    def __init__(self, person: Person, vision: Vision, lease: Lease[Person]) -> None:
        self.person = person
        self.vision = vision
        self.lease = lease
        self.accepted = False
        self.temporary = ""
        """The text of the last temporary error."""

    @transaction.atomic
    def begin(self, items: Sequence[Loaded[Enrolment]]) -> Part[Enrolment] | None:
        """Leave out pictures withdrawn since they were loaded, or all of them without a consent."""
        person = self.person
        if not _demand_consent(person, self.lease):
            return None
        wanted = Enrolment.objects.filter(pk__in=[row.pk for row, _ in items])
        still = locked(wanted.filter(state=EnrolmentState.QUEUED)).values_list("pk", flat=True)
        there = set(still)
        left = [(row, image) for row, image in items if row.pk in there]
        if not left:
            return None
        people = tuple(PersonImage(image.name, person.person_id) for _, image in left)
        request = SetRequest(person.space.number, people)
        call = call_log.begin(
            space=person.space,
            vision=self.vision,
            method=self.method,
            meta=request.as_meta(),
            images=[
                call_log.Sent(
                    image,
                    person_id=person.person_id,
                    request_id=row.request_id or person.sync_request_id,
                )
                for row, image in left
            ],
            origin=call_log.Origin(
                source=Source.WORKER, asked_by=[row.created_by for row, _ in left]
            ),
        )
        # From here Vision may know the picture: a later removal has to delete it there.
        wanted.filter(pk__in=there).update(call=call)
        return Part(call, request, left)

    def answered(self, part: Part[Enrolment], outcome: CallOutcome) -> None:
        results = part.complete(outcome)
        taken, trouble = _store_set_results(self.person, results, self.lease)
        self.accepted |= taken
        self.temporary = trouble or self.temporary

    def refused(self, row: Enrolment, error: VisionRejected) -> None:
        refuse(row, str(error))


@transaction.atomic
def _store_set_results(
    person: Person, results: Sequence[tuple[Enrolment, ImageResult]], lease: Lease[Person]
) -> tuple[bool, str]:
    """Returns whether a picture was accepted, and the text of a temporary error or ""."""
    temporary = ""
    # The space is locked first, as everywhere.
    if any(result.status == ImageStatus.DONE for _, result in results):
        Space.objects.filter(pk=person.space_id).update(version=F("version") + 1)
    taken: list[Enrolment] = []
    for enrolment, result in results:
        if result.status == ImageStatus.DONE:
            taken += [enrolment] if _accept(enrolment, lease) else []
        elif result.status == ImageStatus.PERMANENT:
            tighten_or_refuse(enrolment, result.error or "Vision refused this picture.")
        else:
            temporary = result.error or "Temporary error"
    if any(map(_is_new_to_vision, taken)):
        # In the result's transaction, so that a worker that dies now can't skip the rescan.
        rescan_for(person, found_too=False)
    return bool(taken), temporary


def _accept(enrolment: Enrolment, lease: Lease[Person]) -> bool:
    """Mark the picture as enrolled, unless the claim was lost: its new holder sends it again."""
    mine = Enrolment.objects.filter(pk=enrolment.pk, person__in=lease.held)
    return bool(
        mine.filter(state=EnrolmentState.QUEUED).update(
            state=EnrolmentState.DONE, error="", done_at=timezone.now()
        )
    )


def _sync_failed(person: Person, lease: Lease[Person], error: VisionError) -> None:
    attempts = attempts_after(error, person.attempts)
    if isinstance(error, VisionRejected) or is_given_up(attempts):
        lease.fail(str(error))
    else:
        lease.put_back(str(error), pause_after(error, attempts), attempts=attempts)


def waiting_people() -> PersonQuerySet:
    """People whom a worker may claim now, unordered."""
    return Person.objects.filter(
        sync_state=SyncState.QUEUED, after__lte=timezone.now(), erasing=False
    )


@transaction.atomic
def give_up(held: QuerySet[Person], text: str) -> int:
    """Stop syncing these people: each queued picture fails with `text` and can be retried."""
    pks = list(locked(held).values_list("pk", flat=True))
    Enrolment.objects.filter(person__in=pks, state=EnrolmentState.QUEUED).update(
        state=EnrolmentState.FAILED, error=text
    )
    people = Person.objects.filter(pk__in=pks)
    return withdraw(people, sync_state=SyncState.IDLE, sync_error=text)


SYNCING = Leases(
    Person,
    waiting=SyncState.QUEUED,
    running=SyncState.RUNNING,
    failed=SyncState.IDLE,
    what="Sending this person's pictures",
    state="sync_state",
    error="sync_error",
    give_up=give_up,
)


@transaction.atomic
def _sync_done(person: Person, lease: Lease[Person]) -> None:
    """Release the claim, or queue the person again if more came in meanwhile.

    A person whose creation was undone can be removed now.
    """
    held = locked(lease.held.select_related("space__team")).first()
    if held is not None:
        more = held.enrolments.filter(
            state__in=[EnrolmentState.QUEUED, EnrolmentState.REMOVING]
        ).exists()
        lease.give_back(
            SyncState.QUEUED if more else SyncState.IDLE,
            after=timezone.now(),
            attempts=0,
            sync_error="",
        )
        if not more:
            actor = Actor(person.sync_by, Source.WORKER, request_id=person.sync_request_id)
            remove_if_unmade(held, actor=actor)
