"""A client's way past all that is about pages: its calls, and envelopes where others get a page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from django.conf import settings
from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.views import defaults

from dashboard.middleware import CLIENTS
from persons.proxy import views as proxy
from persons.vision import envelope
from persons.vision.types import Method

PROXY = {f"/api/v1/persons/{method}": str(method) for method in Method}


def straight_to_the_proxy(get_response: Callable[[HttpRequest], HttpResponseBase]) -> Any:
    """A client's call has no session, form or page: it goes past all that is about them."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        method = PROXY.get(request.path_info)
        if method is None:
            return _no_method() if _is_clients(request) else get_response(request)
        request.get_host()  # Refused where it is none of ours, as on every page.
        response = proxy.persons(cast("WSGIRequest", request), method)
        response.headers["Content-Length"] = str(len(response.content))
        response.headers["X-Frame-Options"] = settings.X_FRAME_OPTIONS
        return response

    return middleware


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """400: a host name that is not served, most of all."""
    if not _is_clients(request):
        return defaults.bad_request(request, exception)
    return _told(400, 400, "the request is malformed, or for a host that is not served here")


def server_error(request: HttpRequest) -> HttpResponse:
    """500: a mistake of ours, or no database."""
    if not _is_clients(request):
        return defaults.server_error(request)
    return _told(500, 500, "something broke on our side")


def _is_clients(request: HttpRequest) -> bool:
    return request.path_info.startswith(CLIENTS)


def _no_method() -> HttpResponse:
    return _told(404, 400, f"no such method: there are {', '.join(PROXY)}")


def _told(http_status: int, status: int, text: str) -> HttpResponse:
    body = envelope.failure(status, text)
    return HttpResponse(body, status=http_status, content_type="application/json")
