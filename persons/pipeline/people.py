"""Vision is brought in step with what the ledger says of a person."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta

from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from persons import calls, consent, images
from persons.audit import Actor
from persons.backends import vision_for
from persons.locking import in_turn, locked
from persons.models import (
    Call,
    Decision,
    Enrolment,
    EnrolmentState,
    Face,
    Person,
    Photo,
    PhotoState,
    Run,
    Source,
    Space,
    SyncState,
)
from persons.pipeline.asking import ask, backoff, is_attempt, pause_after
from persons.settling import roots_of, subtree_of
from persons.storage import stored
from persons.traces import remove_if_unmade
from persons.vision import limits
from persons.vision.errors import (
    VisionError,
    VisionRejected,
    VisionTemporary,
)
from persons.vision.meta import DeleteRequest, PersonImage, SetRequest
from persons.vision.types import Box, Image, ImageStatus, Method, Vision

TIGHT_MARGIN = 0.25

AFTER_COPIES = timedelta(seconds=3)


class ClaimLost(Exception):
    """Another worker holds the row now: stop, and store nothing."""


def sync(person_pk: int) -> int | None:
    """Do at Vision what the ledger says of one person. The space, if it then has photos waiting.

    The API deletes whole people: a removal deletes the person there and sets the rest again. Both
    may be repeated, so a sync that was cut off starts over.
    """
    token = uuid.uuid4().hex
    now = timezone.now()
    if not Person.objects.filter(
        pk=person_pk, sync_state=SyncState.QUEUED, sync_after__lte=now
    ).update(sync_state=SyncState.RUNNING, claim=token, claimed_at=now):
        return None
    if _copies_are_waiting(person_pk):
        # Whom Vision forgot before it knows the one they were merged into, nobody would be found.
        Person.objects.filter(pk=person_pk, claim=token).update(
            sync_state=SyncState.QUEUED, claim="", sync_after=timezone.now() + AFTER_COPIES
        )
        return None
    person = Person.objects.select_related("space__team", "sync_by").get(pk=person_pk)
    vision = vision_for(person.space)
    try:
        _demand_consent(person, token)
        removed = _sync_removals(person, vision, token)
        enrolled = _sync_enrolments(person, vision, token)
        # Once more for crops that were refused and are cut more tightly now.
        enrolled |= _sync_enrolments(person, vision, token)
    except ClaimLost:
        return None
    except VisionError as error:
        _sync_failed(person, token, error)
        return None
    except BaseException as error:
        Person.objects.filter(pk=person_pk, claim=token).update(
            sync_state=SyncState.QUEUED,
            claim="",
            sync_attempts=F("sync_attempts") + 1,
            sync_after=timezone.now() + backoff(person.sync_attempts + 1),
            sync_error=f"The worker was cut off: {type(error).__name__}",
        )
        raise
    _sync_done(person, token)
    return person.space_id if enrolled or removed else None


def _copies_are_waiting(person_pk: int) -> bool:
    """Whether pictures that are to go from here are yet to be set for whom they were moved to."""
    leaving = Enrolment.objects.filter(
        person=person_pk, state=EnrolmentState.REMOVING, call__isnull=False
    )
    return EnrolmentState.QUEUED in _states_of_copies(leaving.values_list("pk", flat=True))


def _states_of_copies(pks: Iterable[int]) -> set[str]:
    """What became of the copies of these pictures, and of the copies of those."""
    states: set[str] = set()
    newest = set(pks)
    while newest:
        copies = dict(Enrolment.objects.filter(origin__in=newest).values_list("pk", "state"))
        states |= set(copies.values())
        newest = set(copies)
    return states


def _renew(person: Person, token: str) -> None:
    """The lease starts anew before each call. Raises ClaimLost where another worker took over."""
    if not Person.objects.filter(pk=person.pk, claim=token).update(claimed_at=timezone.now()):
        raise ClaimLost


@transaction.atomic
def _demand_consent(person: Person, token: str) -> bool:
    """Whether the person may be enrolled. Else nothing of them is sent, and what Vision may know is
    to be removed: see `persons.consent`. Both locked until the transaction ends."""
    space = Space.objects.get(pk=person.space_id)
    if not space.require_consent:
        _renew(person, token)
        return True
    space = locked(Space.objects.filter(pk=space.pk)).get()
    _renew(person, token)
    if not consent.lacking(space, [person.pk]):
        return True
    if consent.hold_back([person.pk]):
        consent.moved(space.pk)
    return False


def _sync_removals(person: Person, vision: Vision, token: str) -> bool:
    """Delete the person where a picture is to go. Whether anything was removed."""
    leaving = list(person.enrolments.filter(state=EnrolmentState.REMOVING))
    if not leaving:
        return False
    known_there = any(enrolment.call_id for enrolment in leaving)
    if known_there:
        name = f"person{person.person_id}"
        _renew(person, token)
        request = DeleteRequest(person.space.number, (PersonImage(name, person.person_id),))
        call = calls.begin(
            space=person.space,
            vision=vision,
            method=Method.DELETE,
            meta=request.as_meta(),
            images=[
                calls.Sent(
                    Image(name, b""),
                    person_id=person.person_id,
                    request_id=person.sync_request_id,
                )
            ],
            source=Source.WORKER,
            asked_by=[person.sync_by],
            space_version=person.space.version,
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
                look_for(person, found_too=True)
        # One that somebody wants back meanwhile is queued, and stays so.
        person.enrolments.filter(
            pk__in=[enrolment.pk for enrolment in leaving], state=EnrolmentState.REMOVING
        ).update(state=EnrolmentState.REMOVED)
    return known_there


def _was_moved(enrolment: Enrolment) -> bool:
    """Whether Vision knows the picture still, as somebody's into whom this person was merged."""
    return EnrolmentState.DONE in _states_of_copies([enrolment.pk])


def _is_new_to_vision(enrolment: Enrolment) -> bool:
    """Not a copy whose original is still known: it tells Vision nothing of anybody's looks."""
    origin = enrolment.origin
    return origin is None or origin.done_at is None or origin.state != EnrolmentState.REMOVING


def _sync_enrolments(person: Person, vision: Vision, token: str) -> bool:
    """Set what is queued. Whether any picture was accepted."""
    queued = list(
        person.enrolments.filter(state=EnrolmentState.QUEUED).select_related(
            "created_by", "face__photo__gallery", "origin"
        )
    )
    sent = _with_pictures(queued)
    by_name = {image.name: enrolment for enrolment, image in sent}
    accepted, temporary = False, ""
    batches = limits.split([image for _, image in sent], max_images=vision.max_batch)
    while batches:
        begun = _begin_set(person, vision, token, batches.pop(0), by_name)
        if begun is None:
            continue
        call, request, batch = begun
        try:
            results = ask(vision, call, Method.SET, request, batch)
        except VisionRejected as error:
            # As in `recognising`: halved until the picture that refuses the request stands alone.
            if len(batch) == 1:
                _refuse(by_name[batch[0].name], str(error))
            else:
                middle = len(batch) // 2
                batches[:0] = [batch[:middle], batch[middle:]]
            continue
        with transaction.atomic():
            # First the space, as everybody does who locks more than one row.
            if any(result.status == ImageStatus.DONE for result in results):
                Space.objects.filter(pk=person.space_id).update(version=F("version") + 1)
            taken: list[Enrolment] = []
            for result in results:
                enrolment = by_name[result.name]
                if result.status == ImageStatus.DONE:
                    taken += [enrolment] if _accept(enrolment, token) else []
                elif result.status == ImageStatus.PERMANENT:
                    _tighten_or_refuse(enrolment, result.error or "Vision refused this picture.")
                else:
                    temporary = result.error or "Temporary error"
            if any(map(_is_new_to_vision, taken)):
                # With the result: a worker that dies now has not forgotten to look.
                look_for(person, found_too=False)
            accepted |= bool(taken)
    if temporary:
        raise VisionTemporary(temporary)
    return accepted


@transaction.atomic
def _begin_set(
    person: Person,
    vision: Vision,
    token: str,
    batch: Sequence[Image],
    by_name: Mapping[str, Enrolment],
) -> tuple[Call, SetRequest, list[Image]] | None:
    """The call's row, and what of the batch is still wanted: somebody may have taken a picture
    back, or a consent, since they were loaded. None where nothing is left to send."""
    if not _demand_consent(person, token):
        return None
    wanted = Enrolment.objects.filter(pk__in=[by_name[image.name].pk for image in batch])
    still = locked(wanted.filter(state=EnrolmentState.QUEUED)).values_list("pk", flat=True)
    there = set(still)
    left = [image for image in batch if by_name[image.name].pk in there]
    if not left:
        return None
    people = tuple(PersonImage(image.name, person.person_id) for image in left)
    request = SetRequest(person.space.number, people)
    call = calls.begin(
        space=person.space,
        vision=vision,
        method=Method.SET,
        meta=request.as_meta(),
        images=[
            calls.Sent(
                image,
                person_id=person.person_id,
                request_id=by_name[image.name].request_id or person.sync_request_id,
            )
            for image in left
        ],
        source=Source.WORKER,
        asked_by=[by_name[image.name].created_by for image in left],
        space_version=person.space.version,
    )
    # From here Vision may know the picture: a later removal has to delete it there.
    wanted.filter(pk__in=there).update(call=call)
    return call, request, left


def _with_pictures(queued: Iterable[Enrolment]) -> list[tuple[Enrolment, Image]]:
    """What is to be sent; whose picture can't be made is refused."""
    sent = []
    for enrolment in queued:
        try:
            data = _enrolment_image(enrolment)
        except (FileNotFoundError, images.ImageRefused) as error:
            _refuse(enrolment, f"The picture of this face could not be made: {error}")
            continue
        sent.append((enrolment, Image(f"enrolment{enrolment.pk}", data)))
    return sent


def _accept(enrolment: Enrolment, token: str) -> bool:
    """Unless the claim was taken meanwhile: who has it now, sends the picture once more."""
    mine = Enrolment.objects.filter(pk=enrolment.pk, person__claim=token)
    return bool(
        mine.filter(state=EnrolmentState.QUEUED).update(
            state=EnrolmentState.DONE, error="", done_at=timezone.now()
        )
    )


def _refuse(enrolment: Enrolment, text: str) -> None:
    Enrolment.objects.filter(pk=enrolment.pk, state=EnrolmentState.QUEUED).update(
        state=EnrolmentState.FAILED, error=text
    )


def _tighten_or_refuse(enrolment: Enrolment, text: str) -> None:
    """A crop is refused where a neighbour's face is in it: a tighter one may be without."""
    tightened = Enrolment.objects.filter(
        pk=enrolment.pk,
        state=EnrolmentState.QUEUED,
        margin__gt=TIGHT_MARGIN,
        face__isnull=False,
    ).update(margin=TIGHT_MARGIN, image="", sha256="")
    if not tightened:
        _refuse(enrolment, text)


def _enrolment_image(enrolment: Enrolment) -> bytes:
    """The bytes to send: those kept from the first time, else cut from the photo now and kept."""
    if enrolment.image:
        with stored(enrolment.image) as file:
            return file.read()
    face = enrolment.face
    if face is None:
        raise FileNotFoundError("its face is gone")
    others = [box_of(other) for other in face.photo.faces.exclude(pk=face.pk).filter(missing=False)]
    with stored(face.photo.original) as file:
        picture = images.open_oriented(file)
    data = images.enrolment_crop(picture, box_of(face), others, margin=enrolment.margin)
    digest = hashlib.sha256(data).hexdigest()
    key = f"enrolments/{face.photo.gallery.team_id}/{digest[:2]}/{digest}.jpg"
    default_storage.save(key, ContentFile(data))
    Enrolment.objects.filter(pk=enrolment.pk).update(image=key, sha256=digest)
    return data


def box_of(face: Face) -> Box:
    return Box(face.left, face.top, face.right, face.bottom)


def _sync_failed(person: Person, token: str, error: VisionError) -> None:
    mine = Person.objects.filter(pk=person.pk, claim=token)
    attempts = person.sync_attempts + (1 if is_attempt(error) else 0)
    if isinstance(error, VisionRejected) or attempts >= settings.MAX_ATTEMPTS:
        give_up(mine, str(error))
        return
    mine.update(
        sync_state=SyncState.QUEUED,
        claim="",
        sync_attempts=attempts,
        sync_after=timezone.now() + pause_after(error, attempts),
        sync_error=str(error),
    )


@transaction.atomic
def give_up(held: QuerySet[Person], text: str) -> int:
    """Nobody waits for these people any more: each picture says why, and can be tried again."""
    pks = list(locked(held).values_list("pk", flat=True))
    Enrolment.objects.filter(person__in=pks, state=EnrolmentState.QUEUED).update(
        state=EnrolmentState.FAILED, error=text
    )
    return Person.objects.filter(pk__in=pks).update(
        sync_state=SyncState.IDLE, claim="", sync_error=text
    )


@transaction.atomic
def _sync_done(person: Person, token: str) -> None:
    """Release the claim, unless more came in meanwhile. Who was made by mistake can go now."""
    mine = Person.objects.filter(pk=person.pk, claim=token, sync_state=SyncState.RUNNING)
    held = locked(mine.select_related("space__team")).first()
    if held is not None:
        more = held.enrolments.filter(
            state__in=[EnrolmentState.QUEUED, EnrolmentState.REMOVING]
        ).exists()
        Person.objects.filter(pk=held.pk).update(
            sync_state=SyncState.QUEUED if more else SyncState.IDLE,
            sync_after=timezone.now(),
            sync_attempts=0,
            sync_error="",
            claim="",
        )
        if not more:
            actor = Actor(person.sync_by, Source.WORKER, request_id=person.sync_request_id)
            remove_if_unmade(held, actor=actor)


def look_for(person: Person, *, found_too: bool) -> Run:
    """Queue again every recognised photo of the space that has a face without a name.

    With `found_too` also those where the engine alone says that it is this person, or somebody who
    was merged into them: what it said may have come from a picture that was enrolled by mistake. A
    look that is still under way goes on.
    """
    root = Person.objects.get(pk=roots_of([person.pk])[person.pk])
    run = root.runs.filter(
        finished_at=None, requested_by=person.sync_by_id
    ).first() or Run.objects.create(
        space=person.space,
        person=root,
        requested_by_id=person.sync_by_id,
        request_id=person.sync_request_id,
        reason=f"Looking for {root.name}"[:300],
    )
    faces = Face.objects.filter(missing=False, decision=Decision.NONE)
    wanted = Q(person=None)
    if found_too:
        wanted |= Q(found_person__in=subtree_of(root.pk))
    photos = Photo.objects.filter(
        state__in=[PhotoState.DONE, PhotoState.QUEUED],
        pk__in=faces.filter(wanted, photo__gallery__space=person.space_id).values("photo"),
    )
    in_turn(photos).update(
        state=PhotoState.QUEUED,
        requested=F("requested") + 1,
        after=timezone.now(),
        attempts=0,
        request_id=person.sync_request_id,
        run=run,
    )
    run.photo_count = run.photos.count()
    if not run.photo_count:
        run.finished_at = timezone.now()
    run.save(update_fields=["photo_count", "finished_at"])
    return run
