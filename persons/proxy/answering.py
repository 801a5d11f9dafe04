"""Ask Vision for a client, and keep what came of it as if the dashboard had asked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import transaction

from persons import audit, calls, keys, ledger, metering, reuse, statements
from persons.audit import Actor
from persons.backends import vision_for
from persons.images import foreign_format, pixel_size
from persons.models import ApiKey, Call, Person, Recognition, Space
from persons.pipeline.asking import Outcome, send
from persons.pipeline.looking import look_later
from persons.vision import envelope, limits
from persons.vision.envelope import match_objects
from persons.vision.errors import VisionTemporary
from persons.vision.meta import (
    BadMeta,
    DeleteRequest,
    RecognizeRequest,
    Request,
    SetRequest,
    TruncateRequest,
)
from persons.vision.types import Answer, Envelope, Image, Method, Vision


@dataclass(frozen=True, slots=True)
class Asked:
    """A client's request, read and found in order. `meta` is what it sent, without our own keys.

    `day` is the one that the key's quota was taken from.
    """

    actor: Actor
    key: ApiKey
    method: Method
    meta: dict[str, Any]
    request: Request
    images: Sequence[Image] = field(repr=False)
    day: date


def answer(asked: Asked, *, with_labels: bool = False) -> bytes:
    """The envelope for the client: Vision's own bytes, unless labels were asked for.

    Raises VisionError where there was no answer at all.
    """
    space = statements.space_of(asked.key.team, asked.request.space)
    asked = _with_policy(asked, space)
    vision = vision_for(space)
    question = reuse.question(space, vision, asked.request, asked.meta)
    sent = _sent(asked)
    raw = _stored_answer(asked, space, vision, question, sent)
    if raw is None:
        raw = _ask(asked, space, vision, question, sent)
    return _add_labels(raw, space) if with_labels else raw


def _with_policy(asked: Asked, space: Space) -> Asked:
    """Where a client says nothing of `update_embedding`, the space's policy does: by the vendor's
    default every recognition would be a write."""
    request = asked.request
    if not isinstance(request, RecognizeRequest) or asked.meta.get("update_embedding") is not None:
        return asked
    return replace(
        asked,
        meta=asked.meta | {"update_embedding": space.update_embedding},
        request=replace(request, update_embedding=space.update_embedding),
    )


def _stored_answer(
    asked: Asked, space: Space, vision: Vision, question: str | None, sent: Sequence[calls.Sent]
) -> bytes | None:
    """The answer to the same question, if every image of it was asked before."""
    found = reuse.stored(space, question, [one.digest for one in sent])
    if question is None or any(one.digest not in found for one in sent):
        return None
    raw, rows = calls.answered_from_store(
        space=space,
        vision=vision,
        meta=asked.meta,
        sent=sent,
        stored=[found[one.digest] for one in sent],
        actor=asked.actor,
        key=asked.key,
    )
    if space.team.keep_probes:
        _keep_probes(space, asked.images, rows)
    keys.give_back(asked.key, len(asked.images), asked.day)
    return raw


def _fault_of(images: Sequence[Image]) -> str:
    """Which picture is outside the limits, before anything is sent and paid for; or empty. Whether
    a file that could be one is a picture at all, Vision says."""
    for image in images:
        size = pixel_size(image.data)
        if size is None:
            if what := foreign_format(image.data):
                return f"image {image.name} is {what}, must be JPEG, PNG or TIFF"
        elif not limits.fits(*size):
            return (
                f"image {image.name} is {size[0]}x{size[1]} pixels, must be "
                f"{limits.MIN_SIDE}x{limits.MIN_SIDE} to {limits.MAX_WIDTH}x{limits.MAX_HEIGHT}"
            )
    return ""


def _ask(
    asked: Asked, space: Space, vision: Vision, question: str | None, sent: Sequence[calls.Sent]
) -> bytes:
    if vision.name != metering.FREE and (fault := _fault_of(asked.images)):
        keys.give_back(asked.key, len(asked.images), asked.day)
        raise BadMeta(fault)
    call = calls.begin(
        space=space,
        vision=vision,
        method=asked.method,
        meta=asked.meta,
        images=sent,
        source=asked.actor.source,
        actor=asked.actor,
        key=asked.key,
        space_version=space.version,
        question=question or "",
    )
    outcome = send(vision, call, asked.method, asked.meta, asked.images)
    if outcome.envelope is None or outcome.answer is None:
        calls.end(call, outcome.answer, outcome.error)
        return _refusal(asked, call, outcome)
    _keep(asked, space, call, outcome.answer, outcome.envelope)
    return outcome.answer.raw


def _refusal(asked: Asked, call: Call, outcome: Outcome) -> bytes:
    """Vision's own words, where it has said any. Raises VisionError where not."""
    if not calls.was_sent(outcome.error):
        keys.give_back(asked.key, len(asked.images), asked.day)
    if outcome.answer is None:
        raise outcome.error or VisionTemporary("Vision gave no answer")
    if call.status is None:
        # A gateway's error page: no client of the API could read it.
        raise VisionTemporary(call.error)
    return outcome.answer.raw


def _sent(asked: Asked) -> list[calls.Sent]:
    if isinstance(asked.request, SetRequest):
        return [
            calls.Sent(image, person_id=entry.person_id)
            for image, entry in zip(asked.images, asked.request.images, strict=True)
        ]
    if isinstance(asked.request, DeleteRequest):
        return [
            calls.Sent(Image(entry.name, b""), person_id=entry.person_id)
            for entry in asked.request.images
        ]
    return [calls.Sent(image, digest=calls.digest_of(image)) for image in asked.images]


def _keep(asked: Asked, space: Space, call: Call, got: Answer, parsed: Envelope) -> None:
    """The call's end and results, and the ledger in step with what Vision has just done."""
    if isinstance(asked.request, TruncateRequest):
        with transaction.atomic():
            removed = ledger.truncated(space)
            look_later(space, Person.objects.filter(space=space))
            audit.record(
                actor=asked.actor,
                team=space.team,
                action="space.truncate",
                target=space,
                before={"enrolments": removed},
            )
            calls.end(call, got, None)
        return
    results = match_objects(asked.request.names, parsed)
    pictures = {}
    if asked.method == Method.SET:
        pictures = ledger.keep_pictures(space, asked.images, results)
    if isinstance(asked.request, RecognizeRequest) and not ledger.is_news(
        space, asked.request, results
    ):
        calls.end(call, got, None, results)
    else:
        with transaction.atomic():
            if isinstance(asked.request, SetRequest):
                enrolled = asked.request.images
                if ledger.enrolled(space, call, enrolled, results, pictures, actor=asked.actor):
                    look_later(space)
            elif isinstance(asked.request, DeleteRequest):
                gone = ledger.deleted(space, asked.request.images, results, actor=asked.actor)
                if gone:
                    look_later(space, Person.objects.filter(space=space, person_id__in=gone))
            else:
                ledger.recognised(space, asked.request, results)
            calls.end(call, got, None, results)
    if space.team.keep_probes and asked.method == Method.RECOGNIZE:
        _keep_probes(space, asked.images, call.rows)


def _keep_probes(space: Space, images: Sequence[Image], rows: Sequence[Recognition]) -> None:
    for image, row in zip(images, rows, strict=True):
        key = f"probes/{space.team_id}/{row.sha256[:2]}/{row.sha256}"
        if not default_storage.exists(key):
            default_storage.save(key, ContentFile(image.data))
        Recognition.objects.filter(pk=row.pk).update(image=key)


def _add_labels(raw: bytes, space: Space) -> bytes:
    """`label` beside each `tag` that the team has a name for. The one thing that is ever added."""
    try:
        told = json.loads(raw)
        found = [
            person
            for entry in told["body"]["objects"]
            for person in entry.get("persons", [])
            if isinstance(person, dict)
        ]
    except (ValueError, KeyError, TypeError, AttributeError):
        return raw
    tags = {envelope.person_id_of(str(person.get("tag"))) for person in found}
    ids = {person_id for person_id in tags if person_id is not None}
    labels = dict(
        Person.objects.filter(space=space, person_id__in=ids)
        .exclude(label="")
        .values_list("person_id", "label")
    )
    for person in found:
        label = labels.get(envelope.person_id_of(str(person.get("tag"))) or -1)
        if label:
            person["label"] = label
    try:
        # ASCII escapes, as in our own envelopes: half a letter could not be encoded otherwise.
        return json.dumps(told, allow_nan=False, separators=(",", ":")).encode("ascii")
    except (ValueError, RecursionError):
        return raw
