"""What every request gets before anything else looks at it, and every response after."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.core.exceptions import SuspiciousOperation
from django.http import HttpRequest, HttpResponse, QueryDict
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django_htmx.middleware import HtmxDetails

from persons.access import asking_once
from persons.models import User
from persons.vision.tokens import Secret

PAGE_POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; style-src 'self'; script-src 'self'; "
    "object-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
# Swagger's page starts itself by an inline script and styles itself inline.
DOCS_POLICY = PAGE_POLICY.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'").replace(
    "script-src 'self'", "script-src 'self' 'unsafe-inline'"
)
# Forms of pages are small. Photos come through views that read their body themselves.
FORM_BYTES = 4 * 1024 * 1024


KEY = "oauth_token"
CLIENTS = "/api/"
MASK = "***"


def take_key(get_response: Callable[[HttpRequest], HttpResponseBase]) -> Any:
    """Moves a client's key, in the query or as a bearer's, into the Secret `request.oauth_token`.

    Error reports, the request's repr and gunicorn's access log would else repeat it.
    """

    def middleware(request: HttpRequest) -> HttpResponseBase:
        try:
            query = request.GET.copy()
        except SuspiciousOperation:  # a thousand fields: nothing of ours, and it may hold a key
            query = QueryDict(f"{KEY}=", mutable=True)
        token = Secret(query.get(KEY) or "")
        if request.path_info.startswith(CLIENTS):
            token = token or _bearer(request)
            request.META.pop("HTTP_AUTHORIZATION", None)
        request.oauth_token = token  # type: ignore[attr-defined]
        if KEY in query:
            query[KEY] = MASK
            _set_query(request, query.urlencode())
        return get_response(request)

    return middleware


def _bearer(request: HttpRequest) -> Secret:
    scheme, _, token = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
    return Secret(token.strip() if scheme.lower() == "bearer" else "")


def _set_query(request: HttpRequest, query: str) -> None:
    vars(request).pop("GET", None)
    request.META["QUERY_STRING"] = query
    for name in ("RAW_URI", "REQUEST_URI"):
        if name in request.META:
            request.META[name] = f"{request.META[name].partition('?')[0]}?{query}"


class PageRequest(HttpRequest):
    """A request as a signed-in page's view sees it."""

    id: str
    address: str | None
    htmx: HtmxDetails
    user: User


class RequestContextMiddleware:
    """Gives `request.id` and `request.address`, and the response its privacy headers.

    `address` is the client's, seen through ROLLCALL_TRUSTED_PROXIES proxies of our own.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        request.id = uuid.uuid4().hex  # type: ignore[attr-defined]
        request.address = client_address(request)  # type: ignore[attr-defined]
        with asking_once():
            response = self.get_response(request)
        docs = request.path.startswith("/rest/docs/")
        response.headers.setdefault("X-Request-ID", request.id)  # type: ignore[attr-defined]
        response.headers.setdefault("Content-Security-Policy", DOCS_POLICY if docs else PAGE_POLICY)
        response.headers.setdefault("Referrer-Policy", "same-origin")
        response.headers.setdefault("Cache-Control", "private, no-store")
        return response

    def process_view(
        self, request: HttpRequest, view: Any, args: Any, kwargs: Any
    ) -> HttpResponse | None:
        """Refuse a form that is no form before the check for forgery reads it to its end.

        A view that is exempt from that check reads its body itself, and sets its own limit.
        """
        if getattr(view, "csrf_exempt", False) or body_length(request) <= FORM_BYTES:
            return None
        return render(request, "413.html", status=413)


def body_length(request: HttpRequest) -> int:
    try:
        return int(request.META.get("CONTENT_LENGTH") or 0)
    except ValueError:
        return 0


def client_address(request: HttpRequest) -> str | None:
    """The last address that somebody we trust has written down.

    Each of our proxies appends whom it heard; what stands before that, the client may have made up.
    """
    direct = request.META.get("REMOTE_ADDR") or None
    proxies = settings.TRUSTED_PROXIES
    if not proxies:
        return _valid(direct)
    heard = [part.strip() for part in request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")]
    heard = [part for part in heard if part]
    if len(heard) < proxies:
        return _valid(direct)
    return _valid(heard[-proxies]) or _valid(direct)


def _valid(text: str | None) -> str | None:
    """The address without port or brackets; None for what is none, as a Unix socket's."""
    from ipaddress import ip_address

    if not text:
        return None
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return str(ip_address(text))
    except ValueError:
        return None
