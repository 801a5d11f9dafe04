"""Helpers of page views: actor, sign-in, htmx fragments, refusals, redirects and polling.

Re-exports the pagination functions of `dashboard.pages.paging`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, Concatenate, ParamSpec
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.shortcuts import render, resolve_url
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django_htmx.http import HttpResponseClientRedirect
from django_htmx.middleware import HtmxDetails

from dashboard.middleware import PageRequest, client_address
from dashboard.pages.paging import KeyPage, page_by_key, page_by_keys
from persons.access import throttling
from persons.audit import Actor
from persons.errors import Refused
from persons.images import ImageRefused
from persons.inputs.params import Parameters
from persons.models import Change, Source, User

__all__ = [
    "DELAYS",
    "KeyPage",
    "Poll",
    "actor_of",
    "fragment",
    "go_back",
    "is_fragment",
    "next_of",
    "offer_undo",
    "page_by_key",
    "page_by_keys",
    "page_of",
    "permission_denied",
    "poll_again",
    "refuse",
    "signed_in",
    "status_of_no_token",
    "with_toasts",
]

P = ParamSpec("P")


def status_of_no_token(request: HttpRequest, status: int) -> int:
    """Status for a request with an unknown token: `status`, or 429 after too many of them.

    Each call counts as one try of the client's network.
    """
    address = throttling.network_of(client_address(request))
    claim = throttling.claim(throttling.TOKEN_ADDRESS, address)
    return status if throttling.take(claim) is not None else 429


def actor_of(request: HttpRequest, *, text: str = "") -> Actor:
    """The requesting user as an Actor. `text` describes an actor who isn't signed in."""
    return Actor(
        user=request.user if isinstance(request.user, User) else None,
        source=Source.PAGE,
        text=text,
        address=getattr(request, "address", None),
        request_id=getattr(request, "id", ""),
    )


def signed_in(
    view: Callable[Concatenate[PageRequest, P], HttpResponseBase],
) -> Callable[Concatenate[HttpRequest, P], HttpResponseBase]:
    """Decorator like `login_required`: redirects anonymous users to the sign-in page and back.

    If htmx requested a fragment, the whole page is redirected.
    """

    def guarded(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        if request.user.is_authenticated:
            return view(request, *args, **kwargs)  # type: ignore[arg-type]
        if is_fragment(request):
            to_login = redirect_to_login(page_of(request), resolve_url(settings.LOGIN_URL))
            return HttpResponseClientRedirect(to_login.url)
        return redirect_to_login(request.get_full_path(), resolve_url(settings.LOGIN_URL))

    wraps(view)(guarded)
    return guarded


def page_of(request: HttpRequest) -> str:
    """Path and query of the page that requested a fragment; "/" if it is unknown or not ours."""
    page = urlsplit(request.headers.get("HX-Current-URL", ""))
    here = f"{page.path}?{page.query}" if page.query else page.path
    is_ours = here.startswith("/") and url_has_allowed_host_and_scheme(here, allowed_hosts=None)
    return here if is_ours else "/"


def is_fragment(request: HttpRequest) -> bool:
    """Whether htmx requested a part of a page.

    False if htmx restores a page from the history, which needs the whole page.
    """
    htmx: HtmxDetails | None = getattr(request, "htmx", None)
    return htmx is not None and bool(htmx) and not htmx.history_restore_request


def fragment(
    request: HttpRequest,
    template: str,
    context: dict[str, Any] | None = None,
    *,
    status: int = 200,
) -> HttpResponse:
    """Render a part of a page, with pending messages appended as toasts."""
    response = render(request, template, context, status=status)
    return with_toasts(request, response)


def with_toasts(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    shown = {"messages": messages.get_messages(request)}
    toasts = render_to_string("parts/toasts.html", shown, request)
    if toasts.strip():
        response.write(f'<div hx-swap-oob="beforeend:#toasts">{toasts}</div>')
    return response


def offer_undo(request: HttpRequest, words: str, change: Change) -> None:
    """Add a toast that says what was done, with a button that undoes `change`."""
    undo = reverse("change_undo", args=[change.team.slug, change.pk])
    messages.success(request, words, extra_tags=undo)


def refuse(
    request: HttpRequest, error: Refused | ImageRefused, back: str, *, status: int = 422
) -> HttpResponse:
    """Report a refused action. htmx shows a toast with `status` and leaves the page unchanged.

    Without htmx, the user is redirected to `back` and reads the message there.
    """
    messages.error(request, str(error))
    if not is_fragment(request):
        return go_back(request, back)
    response = with_toasts(request, HttpResponse(status=status))
    response["HX-Reswap"] = "none"
    return response


def go_back(request: HttpRequest, default: str) -> HttpResponseRedirect:
    """Redirect (303) to the request's `next` if it is on this site, else to `default`."""
    response = HttpResponseRedirect(next_of(request) or default)
    response.status_code = 303
    return response


def next_of(request: HttpRequest) -> str:
    """The request's `next` if it is on this site, else ""."""
    wanted = request.POST.get("next") or request.GET.get("next") or ""
    safe = url_has_allowed_host_and_scheme(
        wanted, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    )
    return wanted if safe else ""


def permission_denied(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """403 handler: a page that says which right is missing; only that sentence for scripts."""
    reason = str(exception) if isinstance(exception, PermissionDenied) else ""
    if is_fragment(request) or request.headers.get("Accept") == "application/json":
        text = reason or "You can't do that here."
        return HttpResponse(text, status=403, content_type="text/plain; charset=utf-8")
    return render(request, "403.html", {"reason": reason}, status=403)


@dataclass(frozen=True, slots=True)
class Poll:
    """A fragment polls again after `delay` seconds. `turn` counts polls without progress."""

    turn: int
    delay: int


MOST_TURNS = 9_999
DELAYS = (1, 1, 2, 2, 3, 3, 5, 5, 8)


def poll_again(request: HttpRequest, *, moved: bool = False) -> Poll:
    """The next poll: slower each time while nothing has `moved`, reset when something has.

    `?turn=` is the `turn` of the last response. Raises NotUnderstood.
    """
    given = Parameters(request.GET)
    last = given.number("turn", most=MOST_TURNS)
    given.demand()
    turn = 0 if moved or last is None else min(last + 1, MOST_TURNS)
    return Poll(turn, DELAYS[min(turn, len(DELAYS) - 1)])
