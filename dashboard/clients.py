"""The way of a client's call past all that is about pages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from django.conf import settings
from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from persons.proxy import views as proxy
from persons.vision.types import Method

PROXY = {f"/api/v1/persons/{method}": str(method) for method in Method}


def straight_to_the_proxy(get_response: Callable[[HttpRequest], HttpResponseBase]) -> Any:
    """A client's call has no session, form or page: it goes past all that is about them."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        method = PROXY.get(request.path_info)
        if method is None:
            return get_response(request)
        request.get_host()  # Refused where it is none of ours, as on every page.
        response = proxy.persons(cast("WSGIRequest", request), method)
        response.headers["Content-Length"] = str(len(response.content))
        response.headers["X-Frame-Options"] = settings.X_FRAME_OPTIONS
        return response

    return middleware
