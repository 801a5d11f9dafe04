"""Visits by public links: the link of an address, its password, and the count."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

from django.conf import settings
from django.http import Http404, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import reverse

from dashboard.middleware import PageRequest
from dashboard.pages.shared import status_of_no_token
from persons.access import links as share_links
from persons.access import throttling
from persons.actions.sharing import record_visit
from persons.models import ShareLink

P = ParamSpec("P")
R = TypeVar("R", bound=HttpResponseBase)

PASS_SECONDS = 12 * 3600


def by_link(
    view: Callable[Concatenate[PageRequest, ShareLink, P], HttpResponseBase],
) -> Callable[..., HttpResponseBase]:
    """Resolve the URL's token to its link, and ask for its password if it has one.

    Each page, picture or zip belongs to a visit, or begins one.
    """

    def opened(
        request: PageRequest, shared: str, *args: P.args, **kwargs: P.kwargs
    ) -> HttpResponseBase:
        try:
            link = share_links.link_of(shared)
        except Http404:
            return _gone(request)
        try:
            if share_links.has_pass(link, request.COOKIES.get(_cookie(link), "")):
                response = view(request, link, *args, **kwargs)
                _count_visit(request, link, response)
            else:
                response = _ask_password(request, shared)
        except Http404:
            response = render(request, "public/gone.html", status=404)
        return _unlisted(response)

    wraps(view)(opened)
    return opened


def _gone(request: PageRequest) -> HttpResponse:
    status = status_of_no_token(request, 404)
    return _unlisted(render(request, "public/gone.html", status=status))


def _unlisted(response: R) -> R:
    response["X-Robots-Tag"] = "noindex, nofollow, noarchive"
    return response


def _cookie(link: ShareLink) -> str:
    """The cookie's name contains "pass", because error reports hide such values."""
    return f"pass{link.pk}"


def _count_visit(request: PageRequest, link: ShareLink, response: HttpResponseBase) -> None:
    name = f"visit-pass{link.pk}"
    if response.status_code >= 400 or share_links.has_visit(link, request.COOKIES.get(name, "")):
        return
    try:
        record_visit(link=link)
    except BaseException:
        # Resources such as the zip's slot are released. The response's own `close` would end the
        # request as well.
        for close in response._resource_closers:  # type: ignore[attr-defined]
            close()
        raise
    _set_cookie(response, request, name, share_links.visit_of(link), share_links.VISIT_SECONDS)


def _ask_password(request: PageRequest, token: str) -> HttpResponse:
    if request.resolver_match and request.resolver_match.url_name != "public_gallery":
        # A picture, or a photo's page: the password is asked for on the gallery's page.
        if request.method in ("GET", "HEAD") and "image" not in request.headers.get("Accept", ""):
            return HttpResponseRedirect(reverse("public_gallery", args=[token]))
        raise Http404
    return render(request, "public/password.html", status=200)


def token_of(request: PageRequest) -> str:
    return str(request.resolver_match.kwargs["shared"]) if request.resolver_match else ""


def _set_cookie(
    response: HttpResponseBase, request: PageRequest, name: str, value: str, seconds: int
) -> None:
    response.set_cookie(
        name,
        value,
        max_age=seconds,
        path=reverse("public_gallery", args=[token_of(request)]),
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )


def say_password(request: PageRequest, token: str) -> HttpResponseBase:
    """Check a typed password. The right one opens the link in this browser for PASS_SECONDS."""
    try:
        link = share_links.link_of(token)
    except Http404:
        return _gone(request)
    address = throttling.network_of(request.address)
    mine = throttling.claim(throttling.LINK, link.pk, address)
    tries = throttling.take(
        mine,
        throttling.claim(throttling.LINK_EVERYWHERE, link.pk),
        throttling.claim(throttling.LINK_ADDRESS, address),
    )
    if tries is None:
        return render(request, "public/password.html", {"paused": True}, status=429)
    if not share_links.opens(link, request.POST.get("password", "")[:500]):
        return render(request, "public/password.html", {"wrong": True}, status=422)
    tries.give_back()
    throttling.forget(mine)
    response = HttpResponseRedirect(reverse("public_gallery", args=[token]))
    response.status_code = 303
    _set_cookie(response, request, _cookie(link), share_links.pass_of(link), PASS_SECONDS)
    return response
