"""Waiting photos of one space go to Vision in batches, and their faces come back."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from persons import calls, consent, ledger, reuse
from persons.backends import vision_for
from persons.likeness import note_aliases
from persons.locking import in_turn, locked
from persons.matching import store_faces
from persons.models import Decision, Face, Photo, PhotoState, Recognition, Source, Space, User
from persons.pipeline.asking import ask, is_attempt
from persons.pipeline.retrying import cut_off, finish_runs, put_back
from persons.storage import stored
from persons.vision import limits
from persons.vision.envelope import parse
from persons.vision.errors import (
    VisionError,
    VisionRejected,
    VisionTemporary,
)
from persons.vision.meta import RecognizeRequest
from persons.vision.types import Answer, Image, ImageResult, ImageStatus, Method, Vision


def recognise_batch(space_pk: int) -> bool:
    """Claim a batch of the space's waiting photos, ask Vision, store. Whether there was any."""
    space = Space.objects.select_related("team").filter(pk=space_pk).first()
    if space is None:
        return False
    vision = vision_for(space)
    token = uuid.uuid4().hex
    photos = _claim_photos(space, token, min(vision.max_batch, limits.MAX_IMAGES))
    if not photos:
        return False
    try:
        return _recognise(space, vision, photos, token)
    except BaseException as error:
        held = Photo.objects.filter(claim=token, state=PhotoState.RUNNING)
        cut_off(held, PhotoState.QUEUED, error)
        raise


def _claim_photos(space: Space, token: str, most: int) -> list[Photo]:
    """Waiting photos within the API's limits, oldest first, now RUNNING under `token`.

    A photo over which a worker died goes alone: if it is what kills workers, it kills no others.
    """
    waiting = Photo.objects.filter(
        gallery__space=space, state=PhotoState.QUEUED, after__lte=timezone.now()
    ).order_by("interruptions", "pk")
    chosen: list[int] = []
    total = 0
    for pk, size, interruptions in waiting.values_list("pk", "sent_size", "interruptions")[:most]:
        total += size + limits.PART_OVERHEAD
        if chosen and (total > limits.MAX_REQUEST_BYTES or interruptions):
            break
        chosen.append(pk)
        if interruptions:
            break
    if not chosen:
        return []
    with transaction.atomic():
        claimed = in_turn(Photo.objects.filter(pk__in=chosen, state=PhotoState.QUEUED)).update(
            state=PhotoState.RUNNING, claim=token, claimed_at=timezone.now()
        )
    if not claimed:
        # Another worker was quicker, and there may be more behind these.
        return _claim_photos(space, token, most)
    return list(
        Photo.objects.filter(claim=token, state=PhotoState.RUNNING)
        .select_related("gallery", "uploaded_by", "run__requested_by")
        .order_by("pk")
    )


def _recognise(space: Space, vision: Vision, photos: Sequence[Photo], token: str) -> bool:
    """Whether it makes sense to go on with the next batch."""
    if consent.pending(space):
        _finish_temporary(photos, token, consent.ConsentPending(consent.PENDING))
        return False
    loaded: list[tuple[Photo, Image]] = []
    for photo in _answer_from_store(space, vision, photos, token):
        try:
            with stored(photo.key("sent")) as file:
                loaded.append((photo, Image(name=f"photo{photo.pk}", data=file.read())))
        except FileNotFoundError:
            # Made again from the original: a rendition is never the only copy.
            Photo.objects.filter(pk=photo.pk, claim=token).update(state=PhotoState.NEW, claim="")
    return not loaded or _ask_photos(space, vision, loaded, token)


def _request(space: Space, photos: Sequence[Photo]) -> RecognizeRequest:
    return RecognizeRequest(
        space=space.number,
        names=tuple(f"photo{photo.pk}" for photo in photos),
        create_new=space.create_new and not space.require_consent,
        update_embedding=space.update_embedding,
        searcher=space.searcher,
    )


def _answer_from_store(
    space: Space, vision: Vision, photos: Sequence[Photo], token: str
) -> list[Photo]:
    """Finish those that were asked before of the space as it is now; the others are returned."""
    wanted = reuse.question(space, vision, _request(space, photos))
    known = reuse.stored(space, wanted, [photo.sent_sha256 for photo in photos])
    hits = [photo for photo in photos if photo.sent_sha256 in known]
    if hits:
        request = _request(space, hits)
        with transaction.atomic():
            now = locked(Space.objects.filter(pk=space.pk)).get()
            raw, rows = calls.answered_from_store(
                space=space,
                vision=vision,
                meta=request.as_meta(),
                sent=[_as_sent(photo, Image(f"photo{photo.pk}", b"")) for photo in hits],
                stored=[known[photo.sent_sha256] for photo in hits],
                source=Source.WORKER,
                asked_by=_asked_by(hits),
            )
            envelope = parse(Method.RECOGNIZE, Answer(raw))
            for photo, result, row in zip(hits, envelope.objects, rows, strict=True):
                if _may_be_told(now, photo, result, token):
                    _finish(space, photo, result, row, token, moved=now.version != space.version)
        finish_runs([photo.run_id for photo in hits])
    return [photo for photo in photos if photo.sent_sha256 not in known]


def _as_sent(photo: Photo, image: Image) -> calls.Sent:
    return calls.Sent(
        image,
        photo.sent_width,
        photo.sent_height,
        photo=photo,
        digest=photo.sent_sha256,
        request_id=photo.request_id,
    )


def _asked_by(photos: Sequence[Photo]) -> list[User | None]:
    return [photo.run.requested_by if photo.run else photo.uploaded_by for photo in photos]


def _ask_photos(
    space: Space, vision: Vision, batch: Sequence[tuple[Photo, Image]], token: str
) -> bool:
    """False where Vision can't be asked just now: then no other batch is sent either."""
    photos = [photo for photo, _ in batch]
    # The lease starts anew for each part of a batch that had to be split.
    if _held(photos, token).update(claimed_at=timezone.now()) < len(photos):
        # Some were thrown away, or another worker took over: the others go on.
        held = set(_held(photos, token).values_list("pk", flat=True))
        rest = [(photo, image) for photo, image in batch if photo.pk in held]
        return not rest or _ask_photos(space, vision, rest, token)
    request = _request(space, photos)
    # The version is read before Vision is asked: what is enrolled from now on may not be in the
    # answer, and then an unknown face is asked for again (see _finish).
    version = Space.objects.values_list("version", flat=True).get(pk=space.pk)
    call = calls.begin(
        space=space,
        vision=vision,
        method=Method.RECOGNIZE,
        meta=request.as_meta(),
        images=[_as_sent(photo, image) for photo, image in batch],
        source=Source.WORKER,
        asked_by=_asked_by(photos),
        space_version=version,
        question=reuse.question(space, vision, request) or "",
    )
    try:
        results = ask(vision, call, Method.RECOGNIZE, request, [image for _, image in batch])
    except VisionRejected as error:
        if len(batch) > 1:
            # One bad picture refuses the whole request: halve it until that one stands alone.
            middle = len(batch) // 2
            went = _ask_photos(space, vision, batch[:middle], token)
            return _ask_photos(space, vision, batch[middle:], token) and went
        _finish_failed(photos, token, str(error))
        return True
    except VisionError as error:
        _finish_temporary(photos, token, error)
        return is_attempt(error)
    with transaction.atomic():
        # First the space, as everybody does who locks more than one row. And an enrolment is now
        # either seen here, or it looks for its unknown faces only after these are stored.
        now = locked(Space.objects.filter(pk=space.pk)).get()
        if space.create_new or space.update_embedding:
            ledger.drifted(space)
        for photo, result, recognition in zip(photos, results, call.rows, strict=True):
            if _may_be_told(now, photo, result, token):
                _finish(space, photo, result, recognition, token, moved=now.version != version)
        note_aliases(space, results)
    finish_runs([photo.run_id for photo in photos])
    return True


def _may_be_told(space: Space, photo: Photo, result: ImageResult, token: str) -> bool:
    """Not where it speaks of somebody whose consent ended while Vision was asked: then the photo is
    asked again once Vision has forgotten them. The caller has locked the space."""
    lacking = consent.lacking_ids(space, consent.told(result.persons))
    if lacking:
        error = consent.ConsentPending(consent.still_told(lacking))
        _finish_temporary([photo], token, error)
    return not lacking


def _finish(
    space: Space,
    photo: Photo,
    result: ImageResult,
    recognition: Recognition,
    token: str,
    *,
    moved: bool,
) -> None:
    """Store one photo's answer, if the claim is still ours. In the caller's transaction."""
    now = timezone.now()
    held = locked(Photo.objects.filter(pk=photo.pk, claim=token, state=PhotoState.RUNNING)).first()
    if held is None:
        return
    if result.status == ImageStatus.TEMPORARY:
        _finish_temporary([photo], token, VisionTemporary(result.error or "Temporary error"))
        return
    if result.status == ImageStatus.PERMANENT:
        _finish_failed([photo], token, result.error or "Vision refused this picture.")
        return
    store_faces(space=space, photo=held, found=result.persons, recognition=recognition)
    undecided = Face.objects.filter(photo=held, decision=Decision.NONE, missing=False)
    again = held.requested != photo.requested or (moved and undecided.exists())
    Photo.objects.filter(pk=held.pk).update(
        state=PhotoState.QUEUED if again else PhotoState.DONE,
        claim="",
        error="",
        attempts=0,
        interruptions=0,
        after=now,
        recognised_at=now,
    )


def _finish_failed(photos: Sequence[Photo], token: str, text: str) -> None:
    _held(photos, token).update(state=PhotoState.FAILED, error=text, claim="")
    finish_runs([photo.run_id for photo in photos])


def _finish_temporary(photos: Sequence[Photo], token: str, error: VisionError) -> None:
    for photo in photos:
        put_back(_held([photo], token), PhotoState.QUEUED, photo.attempts, error)
    finish_runs([photo.run_id for photo in photos])


def _held(photos: Sequence[Photo], token: str) -> QuerySet[Photo]:
    return Photo.objects.filter(
        pk__in=[photo.pk for photo in photos], claim=token, state=PhotoState.RUNNING
    )
