"""Ask Vision for a client, and keep what came of it as if the dashboard had asked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from itertools import compress
from typing import Any

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import transaction

from persons import audit, calls, consent, holds, keys, ledger, metering, reuse, statements
from persons.audit import Actor
from persons.backends import vision_for
from persons.erasures import BUSY, REFUSED, ids_being_erased_in, pictures_erased_in
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
from persons.vision.types import Answer, Envelope, Image, ImageResult, Method, Vision


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
    if reasons := _reasons(asked, space):
        return _answer_partly(asked, space, vision, reasons)
    return _answer(asked, space, vision, with_labels=with_labels)


def _answer(asked: Asked, space: Space, vision: Vision, *, with_labels: bool = False) -> bytes:
    question = reuse.question(space, vision, asked.request, asked.meta)
    sent = _sent(asked)
    pending = isinstance(asked.request, RecognizeRequest) and _demand_consents(asked, space)
    raw = None if pending else _stored_answer(asked, space, vision, question, sent)
    if raw is None:
        raw = _ask(asked, space, vision, question, sent, pending=pending)
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


def _demand_consents(asked: Asked, space: Space) -> bool:
    """Whether Vision is not to be asked just now, see `consent.pending`. Raises BadMeta where a
    recognition would enrol whoever is in the picture."""
    if space.require_consent and getattr(asked.request, "create_new", False):
        keys.give_back(asked.key, len(asked.images), asked.day)
        raise BadMeta("create_new can't be used in this space: it requires a consent of everybody")
    return consent.pending(space)


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
    asked: Asked,
    space: Space,
    vision: Vision,
    question: str | None,
    sent: Sequence[calls.Sent],
    *,
    pending: bool = False,
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
    if pending:
        outcome = Outcome(None, None, consent.ConsentPending(consent.PENDING))
    else:
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
    if asked.method == Method.RECOGNIZE:
        _demand_nobody_without_consent(space, call, results)
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


def _demand_nobody_without_consent(
    space: Space, call: Call, results: Sequence[ImageResult]
) -> None:
    """Raises VisionTemporary where an answer speaks of somebody whose consent ended meanwhile. It
    was paid for, and is kept nowhere."""
    found = {one for result in results for one in consent.told(result.persons)}
    if lacking := consent.lacking_ids(space, found):
        error = VisionTemporary(consent.still_told(lacking))
        calls.end(call, None, error)
        raise error


# --- What is not done for some of a request's people ---


def _reasons(asked: Asked, space: Space) -> dict[str, str]:
    """By the names of images, why they are not enrolled, or their people not deleted.

    Raises BadMeta where a space is not emptied.
    """
    by_person = _reasons_by_person(asked, space)
    request = asked.request
    if not isinstance(request, SetRequest | DeleteRequest):
        return {}
    found = {
        entry.name: by_person[entry.person_id]
        for entry in request.images
        if entry.person_id in by_person
    }
    return found | _erased(asked, space) if isinstance(request, SetRequest) else found


def _erased(asked: Asked, space: Space) -> dict[str, str]:
    """Who is being erased just now, and pictures of whom was: by image, why it is not sent."""
    assert isinstance(asked.request, SetRequest)
    entries = asked.request.images
    busy = ids_being_erased_in(space, {entry.person_id for entry in entries})
    found = {entry.name: BUSY for entry in entries if entry.person_id in busy}
    digests = [calls.digest_of(image) for image in asked.images]
    gone = pictures_erased_in(space, digests)
    for entry, digest in zip(entries, digests, strict=True):
        if digest in gone:
            found[entry.name] = REFUSED
    return found


def _reasons_by_person(asked: Asked, space: Space) -> dict[int, str]:
    """Raises BadMeta."""
    request = asked.request
    if isinstance(request, SetRequest):
        lacking = consent.lacking_ids(space, {entry.person_id for entry in request.images})
        return {
            one: f"no consent is in force for person{one}: space {space.number} requires one. "
            "Record it on their page, then send the picture again"
            for one in lacking
        }
    if not isinstance(request, DeleteRequest | TruncateRequest):
        return {}
    held = holds.held_people(space.team_id, space=space)
    if held and isinstance(request, TruncateRequest):
        raise BadMeta("somebody in this space is under legal hold: it can't be emptied")
    ids = Person.objects.filter(pk__in=held).values_list("person_id", flat=True)
    return {one: f"person{one} is under legal hold and is not deleted" for one in ids}


def _answer_partly(asked: Asked, space: Space, vision: Vision, reasons: Mapping[str, str]) -> bytes:
    """Those for whom there is no reason against it go through; of the others nothing is sent, and
    each of their images gets a permanent error."""
    assert isinstance(asked.request, SetRequest | DeleteRequest)
    refused = [entry.name in reasons for entry in asked.request.images]
    if not any(refused):
        return _answer(asked, space, vision)
    if asked.images:
        keys.give_back(asked.key, sum(refused), asked.day)
    errors = _refuse(_part(asked, refused), space, vision, reasons)
    if all(refused):
        return envelope.success({"objects": errors})
    raw = _answer(_part(asked, [not one for one in refused]), space, vision)
    return _with_errors(raw, refused, errors)


def _part(asked: Asked, wanted: Sequence[bool]) -> Asked:
    """The request with some of its images alone."""
    assert isinstance(asked.request, SetRequest | DeleteRequest)
    entries = tuple(compress(asked.request.images, wanted))
    return replace(
        asked,
        meta=asked.meta | {"images": list(compress(asked.meta["images"], wanted))},
        request=replace(asked.request, images=entries),
        images=list(compress(asked.images, wanted)),
    )


def _refuse(
    asked: Asked, space: Space, vision: Vision, reasons: Mapping[str, str]
) -> list[dict[str, Any]]:
    """The entries of images that are not sent, with a call in the history that says so."""
    assert isinstance(asked.request, SetRequest | DeleteRequest)
    call = calls.begin(
        space=space,
        vision=vision,
        method=asked.method,
        meta=asked.meta,
        images=[
            replace(one, image=Image(one.image.name, b""), digest=_digest_to_keep(one, reasons))
            for one in _sent(asked)
        ],
        source=asked.actor.source,
        actor=asked.actor,
        key=asked.key,
        space_version=space.version,
    )
    errors = [envelope.failed(entry.name, reasons[entry.name]) for entry in asked.request.images]
    told = Answer(envelope.success({"objects": errors}))
    parsed = envelope.parse(asked.method, told)
    calls.end(call, told, None, match_objects(asked.request.names, parsed))
    return errors


def _digest_to_keep(sent: calls.Sent, reasons: Mapping[str, str]) -> str:
    """Nothing is kept of a picture of somebody who was erased."""
    return "" if reasons[sent.image.name] == REFUSED else calls.digest_of(sent.image)


def _with_errors(raw: bytes, refused: Sequence[bool], errors: list[dict[str, Any]]) -> bytes:
    """Vision's answer with the refused images' entries in their places. As it came, where it is
    none that could take them: what was sent was sent."""
    told = json.loads(raw)
    if not isinstance(told.get("body"), dict):
        return raw
    answered, missing = iter(told["body"]["objects"]), iter(errors)
    objects = [next(missing) if one else next(answered, None) for one in refused]
    told["body"]["objects"] = [one for one in [*objects, *answered] if one is not None]
    return json.dumps(told, allow_nan=False, separators=(",", ":")).encode("ascii")


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
