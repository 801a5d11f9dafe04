"""One endpoint for the four methods. HTTP 200, with the outcome in `status`, as the vendor's.

Source: VK Cloud Vision documentation, "Face recognition".
"""

from __future__ import annotations

import logging

from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpResponse
from django.views.decorators.csrf import csrf_exempt

from persons import keys, reasons
from persons.audit import Actor
from persons.models import ApiKey, Source
from persons.proxy.answering import Asked, answer
from persons.proxy.reading import drain, read_body
from persons.vision import envelope, meta
from persons.vision.errors import VisionError, VisionRejected
from persons.vision.types import Method

log = logging.getLogger(__name__)


@csrf_exempt
def persons(request: WSGIRequest, method: str) -> HttpResponse:
    """A key in `oauth_token` or in `Authorization: Bearer`; `oauth_provider` is not looked at."""
    if request.method != "POST":
        response = _respond(envelope.failure(400, f"{method} is called by POST"), status=405)
        response["Allow"] = "POST"
        return response
    try:
        # In the query or as a bearer's, taken out of the request by `dashboard.middleware`.
        key = keys.key_of(request.oauth_token)  # type: ignore[attr-defined]
        keys.demand_method(key, method)
    except keys.KeyRefused as error:
        drain(request)
        return _respond(envelope.failure(403, str(error)))
    try:
        return _respond(_answer(request, Method(method), key))
    except keys.KeyRefused as error:
        return _respond(envelope.failure(403, str(error)))
    except VisionRejected as error:
        drain(request)
        return _respond(envelope.failure(400, str(error)))
    except VisionError as error:
        return _respond(envelope.failure(500, str(error)))
    except OSError:
        # The client went away, or the storage did: either way there is nothing to tell but this.
        log.warning("a %s request could not be read or kept", method)
        return _respond(envelope.failure(500, "the request could not be read or kept"))


def _answer(request: WSGIRequest, method: Method, key: ApiKey) -> bytes:
    body = read_body(request)
    wanted = meta.parse_json(body.meta)
    with_labels = wanted.pop("labels", False)
    if not isinstance(with_labels, bool):
        raise meta.BadMeta("labels must be true or false")
    parsed = meta.parse(method, wanted)
    meta.demand_plain(wanted)
    keys.demand_space(key, parsed.space)
    sends = method in (Method.SET, Method.RECOGNIZE)
    images = meta.pick_images(parsed.names, body.images) if sends else []
    actor = Actor(
        user=None,
        source=Source.CLIENT,
        text=f"key {key.name}",
        address=getattr(request, "address", None),
        request_id=getattr(request, "id", ""),
        reason=reasons.of_header(request.headers.get(reasons.HEADER)),
    )
    keys.touch(key, actor.address)
    asked = Asked(
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
