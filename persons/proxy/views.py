"""The endpoint for the four methods. Always HTTP 200, with the outcome in `status`, as the vendor
does.

Source: VK Cloud Vision documentation, "Face recognition".
"""

from __future__ import annotations

import logging

from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpResponse
from django.views.decorators.csrf import csrf_exempt

from persons.access import throttling
from persons.audit import Actor
from persons.backends.cloud import is_cloud
from persons.backends.embedded import upload_sizes
from persons.models import ApiKey, Source
from persons.privacy import access_reasons
from persons.proxy import keys
from persons.proxy.answering import answer
from persons.proxy.reading import read_body
from persons.proxy.requests import ProxyRequest
from persons.vision import envelope, limits, meta
from persons.vision.errors import VisionError, VisionRejected
from persons.vision.types import Method

log = logging.getLogger(__name__)


@csrf_exempt
def persons(request: WSGIRequest, method: str) -> HttpResponse:
    """Answer one method's request. The key is in `oauth_token` or `Authorization: Bearer`;
    `oauth_provider` is ignored."""
    if request.method != "POST":
        response = _respond(envelope.failure(400, f"{method} is called by POST"), status=405)
        response["Allow"] = "POST"
        return response
    try:
        # `dashboard.middleware` moved it here from the query or the Authorization header.
        key = keys.key_of(request.oauth_token)  # type: ignore[attr-defined]
        keys.demand_method(key, method)
    except keys.KeyUnknown as error:
        return _respond(envelope.failure(403, _throttled_unknown_key(request, error)))
    except keys.KeyRefused as error:
        return _respond(envelope.failure(403, str(error)))
    try:
        return _respond(_answer(request, Method(method), key))
    except keys.KeyRefused as error:
        return _respond(envelope.failure(403, str(error)))
    except VisionRejected as error:
        return _respond(envelope.failure(400, str(error)))
    except VisionError as error:
        return _respond(envelope.failure(500, str(error)))
    except OSError:
        # The client disconnected or the storage failed: either way nothing more can be answered.
        log.warning("a %s request could not be read or kept", method)
        return _respond(envelope.failure(500, "the request could not be read or kept"))


def _throttled_unknown_key(request: WSGIRequest, error: keys.KeyUnknown) -> str:
    """The error text for an unknown key. Unknown keys are throttled by address; a valid key always
    gets its answer."""
    address = throttling.network_of(getattr(request, "address", None))
    if throttling.take(throttling.claim(throttling.KEY_ADDRESS, address)) is None:
        return "too many unknown oauth_tokens came from this address, wait a quarter of an hour"
    return str(error)


def _answer(request: WSGIRequest, method: Method, key: ApiKey) -> bytes:
    sizes = limits.WIRE if is_cloud() and not key.fit else upload_sizes()
    body = read_body(request, sizes)
    wanted = meta.parse_json(body.meta)
    with_labels = wanted.pop("labels", False)
    if not isinstance(with_labels, bool):
        raise meta.BadMeta("labels must be true or false")
    parsed = meta.parse(method, wanted)
    meta.require_storable(wanted)
    keys.demand_space(key, parsed.space)
    keys.require_scopes(key, parsed, wanted)
    sends = method in (Method.SET, Method.RECOGNIZE)
    images = meta.pick_images(parsed.names, body.images, sizes) if sends else []
    actor = Actor(
        user=None,
        source=Source.CLIENT,
        text=f"key {key.name}",
        address=getattr(request, "address", None),
        request_id=getattr(request, "id", ""),
        reason=access_reasons.of_header(request.headers.get(access_reasons.HEADER)),
    )
    keys.touch(key, actor.address)
    asked = ProxyRequest(
        actor=actor,
        key=key,
        method=method,
        meta=wanted,
        request=parsed,
        images=images,
        day=keys.spend(key, len(images)),
    )
    return answer(asked, with_labels=with_labels)


def _respond(body: bytes, *, status: int = 200) -> HttpResponse:
    return HttpResponse(body, content_type="application/json", status=status)
