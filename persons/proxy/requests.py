"""A client's valid request, and its images as the history records them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

from persons.audit import Actor
from persons.calls import log as call_log
from persons.images import Fitted
from persons.models import ApiKey
from persons.vision.meta import DeleteRequest, Request, SetRequest
from persons.vision.types import Image, Method


@dataclass(frozen=True, slots=True)
class ProxyRequest:
    """A client's valid request. `meta` is what it sent, without our own keys.

    `day` is the day that the key's quota was taken from.
    """

    actor: Actor
    key: ApiKey
    method: Method
    meta: dict[str, Any]
    request: Request
    images: Sequence[Image] = field(repr=False)
    day: date
    fits: Mapping[str, Fitted] = field(default_factory=dict, repr=False)
    """By image name: the fitted copies of pictures that aren't sent unchanged."""
    own_digests: Mapping[str, str] = field(default_factory=dict)
    """Of those, as they came."""
    sizes: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """By image name: width and height of pictures that are known to be within the limits."""


def sent_of(asked: ProxyRequest) -> list[call_log.Sent]:
    """The images of a call in the history, in the order of the request."""
    if isinstance(asked.request, SetRequest):
        return [
            _sized(asked, call_log.Sent(image, person_id=entry.person_id))
            for image, entry in zip(asked.images, asked.request.images, strict=True)
        ]
    if isinstance(asked.request, DeleteRequest):
        return [
            call_log.Sent(Image(entry.name, b""), person_id=entry.person_id)
            for entry in asked.request.images
        ]
    return [
        _sized(asked, call_log.Sent(image, digest=call_log.digest_of(image)))
        for image in asked.images
    ]


def _sized(asked: ProxyRequest, sent: call_log.Sent) -> call_log.Sent:
    """Add the size of a fitted copy, and that of its original."""
    made = asked.fits.get(sent.image.name)
    if made is None:
        return sent
    return replace(
        sent,
        width=made.width,
        height=made.height,
        own_width=made.own_width,
        own_height=made.own_height,
    )
