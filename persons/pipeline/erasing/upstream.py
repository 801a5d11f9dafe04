"""Vision forgets somebody, and is asked about a picture of them afterwards."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from persons import calls, metering
from persons.backends import vision_for
from persons.models import Call, EngineEmbedding, Enrolment, Source
from persons.models.calls import Outcome
from persons.pipeline.asking import ask, send
from persons.pipeline.erasing.claims import ErasureFailed, Held
from persons.storage import stored
from persons.vision import limits
from persons.vision.envelope import match_objects
from persons.vision.errors import VisionRejected, VisionTemporary
from persons.vision.meta import DeleteRequest, PersonImage, RecognizeRequest
from persons.vision.types import Answer, Image, ImageResult, ImageStatus, Method, Vision

PROBE = "probe"
MOST_TRIES = 5
"""A cloud may need a while until its answers know of a deletion."""


def delete_at_vision(held: Held) -> timedelta | None:
    """Everybody under one of their numbers. Raises VisionError where Vision can't be asked."""
    space = held.space
    space.refresh_from_db(fields=["version"])
    vision = vision_for(space)
    told: list[str] = []
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
                calls.Sent(Image(entry.name, b""), person_id=entry.person_id)
                for entry in request.images
            ],
        )
        results = ask(vision, call, Method.DELETE, request, [])
        if any(result.status == ImageStatus.TEMPORARY for result in results):
            raise VisionTemporary("Vision could not delete them just now")
        told += [result.error or "done" for result in results]
    with transaction.atomic():
        held.note(
            "people",
            {"embeddings": before - embeddings.count()},
            vision={
                "backend": vision.name,
                "model": vision.model,
                "deleted_at": timezone.now().isoformat(timespec="seconds"),
                "answers": dict(zip(map(str, held.erasure.ids), told, strict=True)),
            },
        )
    return None


def _embeddings(held: Held) -> QuerySet[EngineEmbedding]:
    """What the recogniser that comes with Rollcall knows of them."""
    return EngineEmbedding.objects.filter(
        space__team=held.erasure.team,
        space__number=held.erasure.number,
        person_id__in=held.erasure.ids,
    )


def wait_for_calls(held: Held) -> timedelta | None:
    """What was asked before this step began may still name them, or set them; it has to be over."""
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
    held: Held,
    vision: Vision,
    method: Method,
    meta: dict[str, Any],
    images: list[calls.Sent],
) -> Call:
    return calls.begin(
        space=held.space,
        vision=vision,
        method=method,
        meta=meta,
        images=images,
        source=Source.WORKER,
        asked_by=[held.erasure.requested_by],
        space_version=held.space.version,
    )


def probe(held: Held) -> timedelta | None:
    """One of their pictures, asked about: the answer must not name them.

    The history has the call and that there was an answer, not the picture's digest, nor what was
    found in it.
    """
    vision = vision_for(held.space)
    data = _picture(held)
    if data is None:
        return _tell(held, "No picture of them was kept that Vision could be asked about.")
    if metering.over_budget(held.erasure.team, backend=vision.name):
        return _tell(held, "Vision was not asked: the team's budget of the month is used up.")
    request = RecognizeRequest(held.space.number, (PROBE,), update_embedding=False)
    meta = request.as_meta()
    sent = calls.Sent(Image(PROBE, data))
    call = _begin(held, vision, Method.RECOGNIZE, meta, [sent])
    for row in call.rows:
        row.sha256 = ""
        row.save(update_fields=["sha256"])
    outcome = send(vision, call, Method.RECOGNIZE, meta, [sent.image])
    if outcome.envelope is None:
        calls.end(call, None, outcome.error)
        if isinstance(outcome.error, VisionRejected):
            return _tell(held, "Vision refused to look at the picture that it had taken before.")
        raise outcome.error or VisionTemporary("Vision gave no answer")
    (result,) = match_objects([PROBE], outcome.envelope)
    calls.end(call, Answer(b""), None, [ImageResult(PROBE, result.status)])
    if result.status == ImageStatus.TEMPORARY:
        raise VisionTemporary("Vision could not look at their picture just now")
    return _judge(held, result)


def _judge(held: Held, result: ImageResult) -> timedelta | None:
    if result.status == ImageStatus.PERMANENT:
        return _tell(held, "Vision refused to look at the picture that it had taken before.")
    found = {person.person_id for person in result.persons if person.person_id is not None}
    if not found & set(held.erasure.ids):
        return _tell(
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
        # Somebody may have set them once more at the very moment.
        held.renew(step="vision")
    raise VisionTemporary("Vision has deleted them, and still recognises them")


def _others(found: set[int]) -> str:
    if not found:
        return "nobody"
    return "somebody else: " + ", ".join(f"person{one}" for one in sorted(found))


def _tell(held: Held, text: str, **more: Any) -> timedelta | None:
    """The probe is over; what came of it goes on the certificate."""
    told = {"text": text, "at": timezone.now().isoformat(timespec="seconds"), "others": []}
    with transaction.atomic():
        held.keep(probe=told | {"confirmed": False} | more)
    return None


def _picture(held: Held) -> bytes | None:
    """The newest that Vision has ever taken."""
    rows = Enrolment.objects.filter(person__in=held.pks(), call__isnull=False).exclude(image="")
    for key in rows.order_by("-done_at", "-pk").values_list("image", flat=True)[:20]:
        try:
            with stored(key) as file:
                return file.read()
        except FileNotFoundError:
            continue
    return None
