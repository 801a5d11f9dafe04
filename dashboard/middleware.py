"""Middleware for every request and response: secrets, request context, security headers, limits."""

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
from whitenoise.middleware import WhiteNoiseMiddleware

from dashboard import refused
from dashboard.redaction import has_secret
from persons.access import asking_once
from persons.decoding import DecodingBusy
from persons.inputs.params import NotUnderstood, whole
from persons.models import User
from persons.vision.tokens import Secret

PAGE_POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; style-src 'self'; script-src 'self'; "
    "object-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
# Swagger's page needs an inline script and inline styles.
DOCS_POLICY = PAGE_POLICY.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'").replace(
    "script-src 'self'", "script-src 'self' 'unsafe-inline'"
)
# Page forms are small. Photo uploads use views that read their body themselves.
FORM_BYTES = 4 * 1024 * 1024


KEY = "oauth_token"
CLIENTS = "/api/"
MASK = "***"
MAP = ".map"


def take_key(get_response: Callable[[HttpRequest], HttpResponseBase]) -> Any:
    """Move a client's key from the query or bearer token into the Secret `request.oauth_token`.

    Otherwise error reports, the request's repr and gunicorn's access log would repeat it.
    """

    def middleware(request: HttpRequest) -> HttpResponseBase:
        try:
            query = request.GET.copy()
        except SuspiciousOperation:  # too many fields; they may hold a key
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


class StaticFiles(WhiteNoiseMiddleware):  # type: ignore[misc] # it ships no types
    """Serves static files, except source maps: they are large, and developers have the files."""

    def add_file_to_dictionary(self, url: str, path: str, stat_cache: Any = None) -> None:
        if not url.endswith(MAP):
            super().add_file_to_dictionary(url, path, stat_cache)

    def find_file(self, url: str) -> Any:
        return None if url.endswith(MAP) else super().find_file(url)


class PageRequest(HttpRequest):
    """The request type that views of signed-in pages receive."""

    id: str
    address: str | None
    htmx: HtmxDetails
    user: User


class RequestContextMiddleware:
    """Sets `request.id` and `request.address`, and the response's privacy headers.

    `address` is the client's, as seen through ROLLCALL_TRUSTED_PROXIES of our own proxies.
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
        # The path is never sent as a referrer if it holds a secret. The origin is, because the
        # CSRF check needs it.
        policy = "strict-origin" if has_secret(request) else "same-origin"
        response.headers.setdefault("Referrer-Policy", policy)
        response.headers.setdefault("Cache-Control", "private, no-store")
        return response

    def process_view(
        self, request: HttpRequest, view: Any, args: Any, kwargs: Any
    ) -> HttpResponse | None:
        """Refuse an oversized form before the CSRF check reads all of it.

        A view exempt from that check reads its body itself and sets its own limit.
        """
        if getattr(view, "csrf_exempt", False) or body_length(request) <= FORM_BYTES:
            return None
        return render(request, "413.html", status=413)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        """Answer invalid requests without logging an error, and tell the user when no helper was
        free to open a picture."""
        if isinstance(error, NotUnderstood):
            return refused.answer(request, error)
        if not isinstance(error, DecodingBusy):
            return None
        response = HttpResponse(str(error), status=503, content_type="text/plain; charset=utf-8")
        response["Retry-After"] = str(error.retry_after)
        return response


def body_length(request: HttpRequest) -> int:
    return whole(str(request.META.get("CONTENT_LENGTH") or 0)) or 0


def client_address(request: HttpRequest) -> str | None:
    """The client's address, as recorded by our outermost trusted proxy.

    Each of our proxies appends its peer's address; the client may have forged earlier entries.
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
    """The address without port or brackets; None if invalid, such as a Unix socket's."""
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
