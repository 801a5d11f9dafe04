"""Calls Vision for a client, and records the results as if the dashboard had called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import transaction

from persons import audit
from persons.backends.select import vision_for
from persons.billing import metering
from persons.calls import cache as answer_cache
from persons.calls import log as call_log
from persons.decoding import DecodingBusy
from persons.images import foreign_format
from persons.models import Call, Person, Recognition, Space
from persons.people import enrolments
from persons.pictures import pixel_sizes
from persons.pipeline.recognition.rescan import schedule_rescan
from persons.pipeline.vision_calls import CallOutcome, send
from persons.privacy import consent
from persons.proxy import keys, statements
from persons.proxy.fitting import fit, own_boxes
from persons.proxy.labels import add_labels
from persons.proxy.refusals import part_of, reasons_of, refuse, with_errors
from persons.proxy.requests import ProxyRequest, sent_of
from persons.vision import envelope, limits
from persons.vision.envelope import match_objects
from persons.vision.errors import VisionTemporary
from persons.vision.meta import (
    BadMeta,
    DeleteRequest,
    RecognizeRequest,
    SetRequest,
    TruncateRequest,
    pick_images,
)
from persons.vision.types import Answer, Envelope, Image, ImageResult, Method, Vision


def answer(asked: ProxyRequest, *, with_labels: bool = False) -> bytes:
    """The envelope for the client: Vision's own bytes, unless labels were requested or a picture
    had to be fitted.

    Raises VisionError if there was no answer at all.
    """
    space = statements.space_of(asked.key.team, asked.request.space)
    asked = _with_policy(asked, space)
    vision = vision_for(space)
    asked = _fitted(asked, vision)
    if reasons := reasons_of(asked, space):
        raw = _answer_partly(asked, space, vision, reasons)
    else:
        raw = _answer(asked, space, vision, with_labels=with_labels)
    return own_boxes(raw, asked.fits) if asked.fits else raw


def _fitted(asked: ProxyRequest, vision: Vision) -> ProxyRequest:
    """The request with fitted pictures. Raises BadMeta if they still exceed the limits, and
    VisionTemporary if no helper is free to open them."""
    try:
        made = fit(asked.images, asked.key, vision, asked.method)
    except DecodingBusy as error:
        keys.give_back(asked.key, len(asked.images), asked.day)
        raise VisionTemporary(str(error)) from error
    if vision.name != metering.FREE:
        try:
            pick_images([one.name for one in made.sent], made.sent)
        except BadMeta:
            keys.give_back(asked.key, len(asked.images), asked.day)
            raise
    own = {one.name: call_log.digest_of(one) for one in asked.images if one.name in made.copies}
    return replace(asked, images=made.sent, fits=made.copies, own_digests=own, sizes=made.sizes)


def _answer(
    asked: ProxyRequest, space: Space, vision: Vision, *, with_labels: bool = False
) -> bytes:
    question = answer_cache.question(space, vision, asked.request, asked.meta)
    sent = sent_of(asked)
    pending = isinstance(asked.request, RecognizeRequest) and _require_consents(asked, space)
    raw = None if pending else _stored_answer(asked, space, vision, question, sent)
    if raw is None:
        raw = _ask(asked, space, vision, question, sent, pending=pending)
    return add_labels(raw, space) if with_labels else raw


def _with_policy(asked: ProxyRequest, space: Space) -> ProxyRequest:
    """Apply the space's policy to a request that leaves out `update_embedding`.

    It learns only if the policy wants it and the key has the scope. By the vendor's default every
    such recognition would be a write.
    """
    request = asked.request
    if not isinstance(request, RecognizeRequest) or asked.meta.get("update_embedding") is not None:
        return asked
    learns = space.update_embedding and keys.may_learn(asked.key)
    return replace(
        asked,
        meta=asked.meta | {"update_embedding": learns},
        request=replace(request, update_embedding=learns),
    )


def _require_consents(asked: ProxyRequest, space: Space) -> bool:
    """Whether Vision must not be called yet, see `consent.pending`. Raises BadMeta if a
    recognition would enrol whoever is in the picture."""
    if space.require_consent and getattr(asked.request, "create_new", False):
        keys.give_back(asked.key, len(asked.images), asked.day)
        raise BadMeta("create_new can't be used in this space: it requires a consent of everybody")
    return consent.pending(space)


def _stored_answer(
    asked: ProxyRequest,
    space: Space,
    vision: Vision,
    question: str | None,
    sent: Sequence[call_log.Sent],
) -> bytes | None:
    """The stored answer to the same question, if every image of it was sent before."""
    found = answer_cache.stored(space, question, [one.digest for one in sent])
    if question is None or any(one.digest not in found for one in sent):
        return None
    raw, rows = call_log.answered_from_store(
        space=space,
        vision=vision,
        meta=asked.meta,
        sent=sent,
        stored=[found[one.digest] for one in sent],
        origin=call_log.Origin(asked.actor.source, actor=asked.actor, key=asked.key),
    )
    if space.team.keep_probes:
        _keep_probes(space, asked.images, rows)
    keys.give_back(asked.key, len(asked.images), asked.day)
    return raw


def _require_sizes(asked: ProxyRequest) -> None:
    """Check the pictures' sizes. Raises BadMeta, and VisionTemporary if no helper is free to open
    them."""
    try:
        fault = _fault_of([one for one in asked.images if one.name not in asked.sizes])
    except DecodingBusy as error:
        keys.give_back(asked.key, len(asked.images), asked.day)
        raise VisionTemporary(str(error)) from error
    if fault:
        keys.give_back(asked.key, len(asked.images), asked.day)
        raise BadMeta(fault)


def _fault_of(images: Sequence[Image]) -> str:
    """The error for a picture outside the limits, before anything is sent and paid for; or "".
    Vision itself judges whether a possible picture is one."""
    sizes = pixel_sizes([image.data for image in images])
    for image, size in zip(images, sizes, strict=True):
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
    asked: ProxyRequest,
    space: Space,
    vision: Vision,
    question: str | None,
    sent: Sequence[call_log.Sent],
    *,
    pending: bool = False,
) -> bytes:
    if vision.name != metering.FREE:
        _require_sizes(asked)
    call = call_log.begin(
        space=space,
        vision=vision,
        method=asked.method,
        meta=asked.meta,
        images=sent,
        question=question or "",
        origin=call_log.Origin(source=asked.actor.source, actor=asked.actor, key=asked.key),
    )
    if pending:
        outcome = CallOutcome(None, None, consent.ConsentPending(consent.PENDING))
    else:
        outcome = send(vision, call, asked.method, asked.meta, asked.images)
    if outcome.envelope is None or outcome.answer is None:
        call_log.end(call, outcome.answer, outcome.error)
        return _refusal(asked, call, outcome)
    _keep(asked, space, call, outcome.answer, outcome.envelope)
    return outcome.answer.raw


def _refusal(asked: ProxyRequest, call: Call, outcome: CallOutcome) -> bytes:
    """Vision's own error envelope, if there was one. Raises VisionError otherwise."""
    if not call_log.was_sent(outcome.error):
        keys.give_back(asked.key, len(asked.images), asked.day)
    if outcome.answer is None:
        raise outcome.error or VisionTemporary("Vision gave no answer")
    if call.status is None:
        # A gateway's error page, which no client of the API could parse.
        raise VisionTemporary(call.error)
    return outcome.answer.raw


def _keep(asked: ProxyRequest, space: Space, call: Call, got: Answer, parsed: Envelope) -> None:
    """Record the call's end and results, and update the ledger to match Vision's changes."""
    if isinstance(asked.request, TruncateRequest):
        with transaction.atomic():
            removed = enrolments.truncated(space)
            schedule_rescan(space, Person.objects.filter(space=space))
            audit.record(
                actor=asked.actor,
                team=space.team,
                action="space.truncate",
                target=space,
                before={"enrolments": removed},
            )
            call_log.end(call, got, None)
        return
    results = match_objects(asked.request.names, parsed)
    pictures: Mapping[str, tuple[str, str]] = {}
    if asked.method == Method.SET:
        pictures = enrolments.keep_pictures(space, asked.images, results)
    if asked.method == Method.RECOGNIZE:
        _require_consents_still_valid(space, call, results)
    if isinstance(asked.request, RecognizeRequest) and not enrolments.is_news(
        space, asked.request, results
    ):
        call_log.end(call, got, None, results)
    else:
        with transaction.atomic():
            _update_ledger(asked, space, call, results, pictures)
            call_log.end(call, got, None, results)
    if space.team.keep_probes and asked.method == Method.RECOGNIZE:
        _keep_probes(space, asked.images, call.rows)


def _update_ledger(
    asked: ProxyRequest,
    space: Space,
    call: Call,
    results: Sequence[ImageResult],
    pictures: Mapping[str, tuple[str, str]],
) -> None:
    """People and enrolments as Vision has them now, and a rescan where that may name more faces."""
    if isinstance(asked.request, SetRequest):
        enrolled = asked.request.images
        if enrolments.enrolled(space, call, enrolled, results, pictures, actor=asked.actor):
            schedule_rescan(space)
    elif isinstance(asked.request, DeleteRequest):
        gone = enrolments.deleted(space, asked.request.images, results, actor=asked.actor)
        if gone:
            schedule_rescan(space, Person.objects.filter(space=space, person_id__in=gone))
    elif isinstance(asked.request, RecognizeRequest):
        enrolments.recognised(space, call, asked.request, results)


def _require_consents_still_valid(space: Space, call: Call, results: Sequence[ImageResult]) -> None:
    """Raise VisionTemporary if the answer names a person whose consent ended during the call. The
    answer was paid for, but is not stored."""
    found = {one for result in results for one in consent.ids_in(result.persons)}
    if lacking := consent.lacking_ids(space, found):
        error = VisionTemporary(consent.withheld_because_of(lacking))
        call_log.end(call, None, error)
        raise error


def _answer_partly(
    asked: ProxyRequest, space: Space, vision: Vision, reasons: Mapping[str, str]
) -> bytes:
    """Send the images without a reason for refusal. The others are not sent, and each gets a
    permanent error."""
    assert isinstance(asked.request, SetRequest | DeleteRequest)
    refused = [entry.name in reasons for entry in asked.request.images]
    if not any(refused):
        return _answer(asked, space, vision)
    if asked.images:
        keys.give_back(asked.key, sum(refused), asked.day)
    errors = refuse(part_of(asked, refused), space, vision, reasons)
    if all(refused):
        return envelope.success({"objects": errors})
    raw = _answer(part_of(asked, [not one for one in refused]), space, vision)
    return with_errors(raw, refused, errors)


def _keep_probes(space: Space, images: Sequence[Image], rows: Sequence[Recognition]) -> None:
    for image, row in zip(images, rows, strict=True):
        key = f"probes/{space.team_id}/{row.sha256[:2]}/{row.sha256}"
        if not default_storage.exists(key):
            default_storage.save(key, ContentFile(image.data))
        Recognition.objects.filter(pk=row.pk).update(image=key)
