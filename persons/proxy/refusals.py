"""Images of a request that are refused here: the reasons, and their entries in the answer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import compress
from typing import Any

from persons.calls import log as call_log
from persons.models import Person, Space
from persons.privacy import consent, holds
from persons.privacy.erased import BUSY, REFUSED, ids_being_erased_in, pictures_erased_in
from persons.proxy.requests import ProxyRequest, sent_of
from persons.vision import envelope
from persons.vision.envelope import match_objects
from persons.vision.meta import BadMeta, DeleteRequest, SetRequest, TruncateRequest
from persons.vision.types import Answer, Image, Vision


def reasons_of(asked: ProxyRequest, space: Space) -> dict[str, str]:
    """By image name, the reason not to enrol it or not to delete its person.

    Raises BadMeta if a space must not be truncated.
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


def _erased(asked: ProxyRequest, space: Space) -> dict[str, str]:
    """By image name, why it isn't sent: its person is being erased, or it is a picture of an
    erased person."""
    assert isinstance(asked.request, SetRequest)
    entries = asked.request.images
    busy = ids_being_erased_in(space, {entry.person_id for entry in entries})
    found = {entry.name: BUSY for entry in entries if entry.person_id in busy}
    digests = [call_log.digest_of(image) for image in asked.images]
    own = [asked.own_digests.get(image.name, "") for image in asked.images]
    gone = pictures_erased_in(space, [*digests, *filter(None, own)])
    for entry, digest, own_digest in zip(entries, digests, own, strict=True):
        if digest in gone or own_digest in gone:
            found[entry.name] = REFUSED
    return found


def _reasons_by_person(asked: ProxyRequest, space: Space) -> dict[int, str]:
    """By person, the reason for refusal. Raises BadMeta."""
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


def part_of(asked: ProxyRequest, wanted: Sequence[bool]) -> ProxyRequest:
    """The request reduced to some of its images."""
    assert isinstance(asked.request, SetRequest | DeleteRequest)
    entries = tuple(compress(asked.request.images, wanted))
    return replace(
        asked,
        meta=asked.meta | {"images": list(compress(asked.meta["images"], wanted))},
        request=replace(asked.request, images=entries),
        images=list(compress(asked.images, wanted)),
    )


def refuse(
    asked: ProxyRequest, space: Space, vision: Vision, reasons: Mapping[str, str]
) -> list[dict[str, Any]]:
    """The entries of refused images, with a call in the history that records the refusal."""
    assert isinstance(asked.request, SetRequest | DeleteRequest)
    call = call_log.begin(
        space=space,
        vision=vision,
        method=asked.method,
        meta=asked.meta,
        images=[
            replace(one, image=Image(one.image.name, b""), digest=_digest_to_record(one, reasons))
            for one in sent_of(asked)
        ],
        origin=call_log.Origin(source=asked.actor.source, actor=asked.actor, key=asked.key),
    )
    errors = [envelope.failed(entry.name, reasons[entry.name]) for entry in asked.request.images]
    answer = Answer(envelope.success({"objects": errors}))
    parsed = envelope.parse(asked.method, answer)
    call_log.end(call, answer, None, match_objects(asked.request.names, parsed))
    return errors


def _digest_to_record(sent: call_log.Sent, reasons: Mapping[str, str]) -> str:
    """The digest to record, or "" for a picture of an erased person, of which nothing is kept."""
    return "" if reasons[sent.image.name] == REFUSED else call_log.digest_of(sent.image)


def with_errors(raw: bytes, refused: Sequence[bool], errors: list[dict[str, Any]]) -> bytes:
    """Vision's answer with the refused images' entries inserted. Unchanged if it can't hold them,
    since the rest was sent anyway."""
    answer = json.loads(raw)
    if not isinstance(answer.get("body"), dict):
        return raw
    answered, missing = iter(answer["body"]["objects"]), iter(errors)
    objects = [next(missing) if one else next(answered, None) for one in refused]
    answer["body"]["objects"] = [one for one in [*objects, *answered] if one is not None]
    return json.dumps(answer, allow_nan=False, separators=(",", ":")).encode("ascii")
