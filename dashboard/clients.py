"""Routes API clients past page middleware, and returns errors as envelopes on API paths."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from django.conf import settings
from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.views import defaults

from dashboard import refused
from dashboard.middleware import CLIENTS
from persons.proxy import views as proxy
from persons.vision import envelope
from persons.vision.types import Method

PROXY = {f"/api/v1/persons/{method}": str(method) for method in Method}


def route_api_calls(get_response: Callable[[HttpRequest], HttpResponseBase]) -> Any:
    """Middleware: API calls skip everything about sessions, forms and pages."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        method = PROXY.get(request.path_info)
        if method is None:
            return _no_method() if _is_clients(request) else get_response(request)
        request.get_host()  # Raises for an unknown host, as on every page.
        response = proxy.persons(cast("WSGIRequest", request), method)
        response.headers["Content-Length"] = str(len(response.content))
        response.headers["X-Frame-Options"] = settings.X_FRAME_OPTIONS
        return response

    return middleware


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """400 or 413: an invalid filter, a form that is too large, or an unknown host."""
    if not _is_clients(request):
        return refused.answer(request, exception)
    return _failure(400, 400, "the request is malformed, or for a host that is not served here")


def server_error(request: HttpRequest) -> HttpResponse:
    """500: a bug, or no database."""
    if not _is_clients(request):
        return defaults.server_error(request)
    return _failure(500, 500, "something broke on our side")


def _is_clients(request: HttpRequest) -> bool:
    return request.path_info.startswith(CLIENTS)


def _no_method() -> HttpResponse:
    return _failure(404, 400, f"no such method: there are {', '.join(PROXY)}")


def _failure(http_status: int, status: int, text: str) -> HttpResponse:
    body = envelope.failure(status, text)
    return HttpResponse(body, status=http_status, content_type="application/json")
