"""Has Vision delete a person, and asks it about one of their pictures afterwards."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from persons.backends.select import vision_for
from persons.billing import metering
from persons.calls import log as call_log
from persons.files.storage import stored
from persons.models import Call, EngineEmbedding, Enrolment, Source
from persons.models.calls import Outcome
from persons.pipeline.privacy.erasing.claims import ErasureFailed, HeldErasure
from persons.pipeline.vision_calls import ask, send
from persons.vision import limits
from persons.vision.envelope import match_objects
from persons.vision.errors import VisionRejected, VisionTemporary
from persons.vision.meta import DeleteRequest, PersonImage, RecognizeRequest
from persons.vision.types import Answer, Image, ImageResult, ImageStatus, Method, Vision

PROBE = "probe"
MOST_TRIES = 5
"""A cloud may take a while until its answers reflect a deletion."""


def delete_at_vision(held: HeldErasure) -> timedelta | None:
    """Delete everybody under one of their numbers. Raises VisionError if Vision can't be asked."""
    space = held.space
    space.refresh_from_db(fields=["version"])
    vision = vision_for(space)
    answers: list[str] = []
    embeddings = _embeddings(held)
    before = embeddings.count()
    for some in _in_batches(held.erasure.ids):
        request = DeleteRequest(
            space.number, tuple(PersonImage(f"person{one}", one) for one in some)
        )
        call = _begin(
            held,
            vision,
            Method.DELETE,
            request.as_meta(),
            [
                call_log.Sent(Image(entry.name, b""), person_id=entry.person_id)
                for entry in request.images
            ],
        )
        results = ask(vision, call, Method.DELETE, request, [])
        if any(result.status == ImageStatus.TEMPORARY for result in results):
            raise VisionTemporary("Vision could not delete them just now")
        answers += [result.error or "done" for result in results]
    with transaction.atomic():
        held.note(
            "people",
            {"embeddings": before - embeddings.count()},
            vision={
                "backend": vision.name,
                "model": vision.model,
                "deleted_at": timezone.now().isoformat(timespec="seconds"),
                "answers": dict(zip(map(str, held.erasure.ids), answers, strict=True)),
            },
        )
    return None


def _embeddings(held: HeldErasure) -> QuerySet[EngineEmbedding]:
    """Their embeddings in the recogniser that comes with Rollcall."""
    return EngineEmbedding.objects.filter(
        space__team=held.erasure.team,
        space__number=held.erasure.number,
        person_id__in=held.erasure.ids,
    )


def wait_for_calls(held: HeldErasure) -> timedelta | None:
    """Wait for calls that began before this step: they may still name or set them."""
    since = held.erasure.report.get("waiting_since") or timezone.now().isoformat()
    began = datetime.fromisoformat(since)
    running = Call.objects.filter(
        space=held.space, outcome=Outcome.RUNNING, started_at__lte=began
    ).exists()
    with transaction.atomic():
        held.keep(waiting_since=since if running else "")
    return timedelta(seconds=1) if running else None


def _in_batches(ids: list[int]) -> list[list[int]]:
    most = limits.MAX_IMAGES
    return [ids[at : at + most] for at in range(0, len(ids), most)]


def _begin(
    held: HeldErasure,
    vision: Vision,
    method: Method,
    meta: dict[str, Any],
    images: list[call_log.Sent],
) -> Call:
    return call_log.begin(
        space=held.space,
        vision=vision,
        method=method,
        meta=meta,
        images=images,
        origin=call_log.Origin(source=Source.WORKER, asked_by=[held.erasure.requested_by]),
    )


def probe(held: HeldErasure) -> timedelta | None:
    """Ask Vision about one of their pictures: the answer must not name them.

    The history keeps the call and that it was answered, but neither the picture's digest nor what
    was found. Raises ErasureFailed if Vision still recognises them after MOST_TRIES.
    """
    vision = vision_for(held.space)
    data = _picture(held)
    if data is None:
        return _end_probe(held, "No picture of them was kept that Vision could be asked about.")
    if metering.over_budget(held.erasure.team, backend=vision.name):
        return _end_probe(held, "Vision was not asked: the team's budget of the month is used up.")
    request = RecognizeRequest(held.space.number, (PROBE,), update_embedding=False)
    meta = request.as_meta()
    sent = call_log.Sent(Image(PROBE, data))
    call = _begin(held, vision, Method.RECOGNIZE, meta, [sent])
    for row in call.rows:
        row.sha256 = ""
        row.save(update_fields=["sha256"])
    outcome = send(vision, call, Method.RECOGNIZE, meta, [sent.image])
    if outcome.envelope is None:
        call_log.end(call, None, outcome.error)
        if isinstance(outcome.error, VisionRejected):
            return _end_probe(
                held, "Vision refused to look at the picture that it had taken before."
            )
        raise outcome.error or VisionTemporary("Vision gave no answer")
    (result,) = match_objects([PROBE], outcome.envelope)
    call_log.end(call, Answer(b""), None, [ImageResult(PROBE, result.status)])
    if result.status == ImageStatus.TEMPORARY:
        raise VisionTemporary("Vision could not look at their picture just now")
    return _judge(held, result)


def _judge(held: HeldErasure, result: ImageResult) -> timedelta | None:
    if result.status == ImageStatus.PERMANENT:
        return _end_probe(held, "Vision refused to look at the picture that it had taken before.")
    found = {person.person_id for person in result.persons if person.person_id is not None}
    if not found & set(held.erasure.ids):
        return _end_probe(
            held,
            f"Asked about one of their pictures, Vision named {_others(found)}.",
            others=sorted(found),
            confirmed=True,
        )
    tries = held.erasure.report.get("tries", 0) + 1
    if tries >= MOST_TRIES:
        raise ErasureFailed(
            "Vision says that they are deleted, and still recognises them. Try again later; if "
            "that does not help, ask whoever runs it."
        )
    with transaction.atomic():
        held.keep(tries=tries)
        # A client may have set them again just now.
        held.renew(step="vision")
    raise VisionTemporary("Vision has deleted them, and still recognises them")


def _others(found: set[int]) -> str:
    if not found:
        return "nobody"
    return "somebody else: " + ", ".join(f"person{one}" for one in sorted(found))


def _end_probe(held: HeldErasure, text: str, **more: Any) -> timedelta | None:
    """End the probe; its result goes on the certificate."""
    message = {"text": text, "at": timezone.now().isoformat(timespec="seconds"), "others": []}
    with transaction.atomic():
        held.keep(probe=message | {"confirmed": False} | more)
    return None


def _picture(held: HeldErasure) -> bytes | None:
    """The newest kept picture that was sent to Vision."""
    rows = Enrolment.objects.filter(person__in=held.pks(), call__isnull=False).exclude(image="")
    for key in rows.order_by("-done_at", "-pk").values_list("image", flat=True)[:20]:
        try:
            with stored(key) as file:
                return file.read()
        except FileNotFoundError:
            continue
    return None
