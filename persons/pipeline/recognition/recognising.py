"""Sends waiting photos of a space to Vision in batches and stores the faces found."""

from __future__ import annotations

import random
from collections.abc import Sequence

from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.utils import timezone

from persons.backends.select import vision_for
from persons.calls import cache as answer_cache
from persons.calls import log as call_log
from persons.db.locking import in_turn, locked
from persons.files.storage import stored
from persons.models import (
    Decision,
    Face,
    Gallery,
    Photo,
    PhotoState,
    Recognition,
    Source,
    Space,
    User,
)
from persons.people import enrolments
from persons.people.duplicates import note_aliases
from persons.pipeline.recognition.retrying import RECOGNISING, finish_runs, put_back
from persons.pipeline.storing_faces import store_faces
from persons.pipeline.vision_calls import (
    Batch,
    CallOutcome,
    Loaded,
    Part,
    ask_in_parts,
)
from persons.privacy import consent
from persons.vision import limits
from persons.vision.envelope import parse
from persons.vision.errors import (
    VisionError,
    VisionRejected,
    VisionTemporary,
)
from persons.vision.meta import RecognizeRequest
from persons.vision.types import Answer, Image, ImageResult, ImageStatus, Method, Vision
from persons.work import Lease, alternating, backoff, is_attempt


def recognise_batch(space_pk: int) -> bool:
    """Claim a batch of the space's waiting photos, ask Vision and store the answers.

    Returns whether to go on with the next batch.
    """
    space = Space.objects.select_related("team").filter(pk=space_pk).first()
    if space is None:
        return False
    vision = vision_for(space)
    lease = _claim_photos(space, min(vision.max_batch, limits.MAX_IMAGES))
    if lease is None:
        return False
    rows = lease.held.select_related("gallery", "uploaded_by", "run__requested_by")
    try:
        with lease.kept_alive():
            return _recognise(space, vision, list(rows.order_by("pk")), lease)
    except BaseException as error:
        lease.cut_off(error, backoff(1))
        raise


def galleries_waiting(state: PhotoState) -> QuerySet[Gallery]:
    """Galleries with photos in this state that a worker may claim now, unordered."""
    theirs = Photo.objects.waiting(state).filter(gallery=OuterRef("pk"))
    return Gallery.objects.filter(Exists(theirs.order_by())).order_by()


def next_photos(
    state: PhotoState, galleries: Sequence[int], most: int
) -> list[tuple[int, int, int]]:
    """(pk, bytes to send, interruptions) of the next photos, alternating between these galleries.

    The cost depends on `most` alone, not on how many wait.
    """
    some = random.sample(galleries, min(most, len(galleries)))
    rows = Photo.objects.waiting(state).values_list("pk", "sent_size", "interruptions")
    share = -(-most // max(1, len(some)))
    found = [list(rows.filter(gallery=gallery)[:share]) for gallery in some]
    if sum(map(len, found)) < most:
        # Some galleries have less than their share: let the others have more.
        more = [len(theirs) == share < most for theirs in found]
        found = [
            list(rows.filter(gallery=gallery)[:most]) if is_more else theirs
            for gallery, theirs, is_more in zip(some, found, more, strict=True)
        ]
    return sorted(alternating(found)[:most], key=lambda row: row[2])


def _claim_photos(space: Space, most: int) -> Lease[Photo] | None:
    """Claim waiting photos within the API's limits; they are RUNNING then.

    A photo over which a worker died goes alone: if it kills workers, it takes no others along.
    """
    galleries = galleries_waiting(PhotoState.QUEUED).filter(space=space)
    chosen: list[int] = []
    total = 0
    for pk, size, interruptions in next_photos(
        PhotoState.QUEUED, list(galleries.values_list("pk", flat=True)), most
    ):
        total += size + limits.PART_OVERHEAD
        if chosen and (total > limits.MAX_REQUEST_BYTES or interruptions):
            break
        chosen.append(pk)
        if interruptions:
            break
    if not chosen:
        return None
    with transaction.atomic():
        waiting = Photo.objects.filter(pk__in=chosen, state=PhotoState.QUEUED)
        lease = RECOGNISING.claim(in_turn(waiting))
    # If another worker was quicker, there may be more behind these.
    return lease or _claim_photos(space, most)


def _recognise(space: Space, vision: Vision, photos: Sequence[Photo], lease: Lease[Photo]) -> bool:
    """Returns whether to go on with the next batch."""
    if consent.pending(space):
        _finish_temporary(photos, lease, consent.ConsentPending(consent.PENDING))
        return False
    loaded: list[Loaded[Photo]] = []
    for photo in _answer_from_store(space, vision, photos, lease):
        try:
            with stored(photo.key("sent")) as file:
                loaded.append((photo, Image(name=f"photo{photo.pk}", data=file.read())))
        except FileNotFoundError:
            # It is made again from the original: a rendition is never the only copy.
            lease.give_back(PhotoState.NEW, lease.among([photo]))
    batch = _Photos(space, vision, lease)
    ask_in_parts(vision, batch, loaded, vision.max_batch)
    return batch.may_go_on


def _request(space: Space, photos: Sequence[Photo]) -> RecognizeRequest:
    return RecognizeRequest(
        space=space.number,
        names=tuple(f"photo{photo.pk}" for photo in photos),
        create_new=space.create_new and not space.require_consent,
        update_embedding=space.update_embedding,
        searcher=space.searcher,
    )


def _answer_from_store(
    space: Space, vision: Vision, photos: Sequence[Photo], lease: Lease[Photo]
) -> list[Photo]:
    """Finish photos with a cached answer for the space as it is now; returns the others."""
    wanted = answer_cache.question(space, vision, _request(space, photos))
    known = answer_cache.stored(space, wanted, [photo.sent_sha256 for photo in photos])
    hits = [photo for photo in photos if photo.sent_sha256 in known]
    if hits:
        request = _request(space, hits)
        with transaction.atomic():
            now = locked(Space.objects.filter(pk=space.pk)).get()
            raw, rows = call_log.answered_from_store(
                space=space,
                vision=vision,
                meta=request.as_meta(),
                sent=[_as_sent(photo, Image(f"photo{photo.pk}", b"")) for photo in hits],
                stored=[known[photo.sent_sha256] for photo in hits],
                origin=call_log.Origin(source=Source.WORKER, asked_by=_asked_by(hits)),
            )
            envelope = parse(Method.RECOGNIZE, Answer(raw))
            for photo, result, row in zip(hits, envelope.objects, rows, strict=True):
                if _may_be_stored(now, photo, result, lease):
                    _finish(space, photo, result, row, lease, moved=now.version != space.version)
        finish_runs([photo.run_id for photo in hits])
    return [photo for photo in photos if photo.sent_sha256 not in known]


def _as_sent(photo: Photo, image: Image) -> call_log.Sent:
    return call_log.Sent(
        image,
        photo.sent_width,
        photo.sent_height,
        photo=photo,
        digest=photo.sent_sha256,
        request_id=photo.request_id,
    )


def _asked_by(photos: Sequence[Photo]) -> list[User | None]:
    return [photo.run.requested_by if photo.run else photo.uploaded_by for photo in photos]


class _Photos(Batch[Photo]):
    """Photos of one space that are recognised under one claim."""

    method = Method.RECOGNIZE

    def __init__(self, space: Space, vision: Vision, lease: Lease[Photo]) -> None:
        self.space = space
        self.vision = vision
        self.lease = lease
        self.version = space.version
        self.may_go_on = True
        """False if Vision can't be asked now: then no other batch is claimed."""

    def begin(self, items: Sequence[Loaded[Photo]]) -> Part[Photo] | None:
        items = _still_held(items, self.lease)
        if not items:
            return None
        photos = [photo for photo, _ in items]
        request = _request(self.space, photos)
        # The version is read before the call: enrolments after this may be missing from the answer,
        # and then unknown faces are asked about again (see _finish).
        self.space.refresh_from_db(fields=["version"])
        self.version = self.space.version
        call = call_log.begin(
            space=self.space,
            vision=self.vision,
            method=self.method,
            meta=request.as_meta(),
            images=[_as_sent(photo, image) for photo, image in items],
            question=answer_cache.question(self.space, self.vision, request) or "",
            origin=call_log.Origin(source=Source.WORKER, asked_by=_asked_by(photos)),
        )
        return Part(call, request, items)

    def answered(self, part: Part[Photo], outcome: CallOutcome) -> None:
        space, lease = self.space, self.lease
        found = part.complete(outcome)
        with transaction.atomic():
            # The space is locked first, as everywhere. So an enrolment is either seen here, or
            # rescans unknown faces only after these are stored.
            now = locked(Space.objects.filter(pk=space.pk)).get()
            moved = now.version != self.version
            if space.create_new or space.update_embedding:
                enrolments.drifted(space)
            for (photo, result), recognition in zip(found, part.call.rows, strict=True):
                if _may_be_stored(now, photo, result, lease):
                    _finish(space, photo, result, recognition, lease, moved=moved)
            note_aliases(space, [result for _, result in found])
        finish_runs([photo.run_id for photo in part.rows])

    def refused(self, row: Photo, error: VisionRejected) -> None:
        _finish_failed([row], self.lease, str(error))

    def failed(self, part: Part[Photo], error: VisionError) -> None:
        """Put the part's photos back; the other parts are still sent."""
        _finish_temporary(part.rows, self.lease, error)
        self.may_go_on &= is_attempt(error)


def _still_held(items: Sequence[Loaded[Photo]], lease: Lease[Photo]) -> Sequence[Loaded[Photo]]:
    """Photos whose lease could be renewed: not those trashed or taken over by another worker."""
    photos = [photo for photo, _ in items]
    if lease.renewed(lease.among(photos)) == len(photos):
        return items
    held = set(lease.among(photos).values_list("pk", flat=True))
    return [(photo, image) for photo, image in items if photo.pk in held]


def _may_be_stored(space: Space, photo: Photo, result: ImageResult, lease: Lease[Photo]) -> bool:
    """Whether the answer may be stored: not if it names somebody whose consent ended during the
    call.

    Such a photo is asked about again once Vision has forgotten them. The caller has locked the
    space.
    """
    lacking = consent.lacking_ids(space, consent.ids_in(result.persons))
    if lacking:
        error = consent.ConsentPending(consent.withheld_because_of(lacking))
        _finish_temporary([photo], lease, error)
    return not lacking


def _finish(
    space: Space,
    photo: Photo,
    result: ImageResult,
    recognition: Recognition,
    lease: Lease[Photo],
    *,
    moved: bool,
) -> None:
    """Store one photo's answer if the claim is still held, in the caller's transaction."""
    now = timezone.now()
    held = locked(lease.among([photo])).first()
    if held is None:
        return
    if result.status == ImageStatus.TEMPORARY:
        _finish_temporary([photo], lease, VisionTemporary(result.error or "Temporary error"))
        return
    if result.status == ImageStatus.PERMANENT:
        _finish_failed([photo], lease, result.error or "Vision refused this picture.")
        return
    store_faces(space=space, photo=held, found=result.persons, recognition=recognition)
    undecided = Face.objects.filter(photo=held, decision=Decision.NONE, missing=False)
    again = held.requested != photo.requested or (moved and undecided.exists())
    lease.give_back(
        PhotoState.QUEUED if again else PhotoState.DONE,
        Photo.objects.filter(pk=held.pk),
        error="",
        attempts=0,
        interruptions=0,
        after=now,
        recognised_at=now,
    )


def _finish_failed(photos: Sequence[Photo], lease: Lease[Photo], text: str) -> None:
    lease.give_back(PhotoState.FAILED, lease.among(photos), error=text)
    finish_runs([photo.run_id for photo in photos])


def _finish_temporary(photos: Sequence[Photo], lease: Lease[Photo], error: VisionError) -> None:
    for photo in photos:
        put_back(lease, photo.attempts, error, lease.among([photo]))
    finish_runs([photo.run_id for photo in photos])
