"""What page views share: who asks, fragments or whole pages, refusals, going back, asking again.

Lists go by pages of `dashboard.pages.paging`, whose functions can be had from here, too.
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

from dashboard.middleware import PageRequest
from dashboard.pages.paging import KeyPage, page_by_key, page_by_keys
from persons.audit import Actor
from persons.errors import Refused
from persons.images import ImageRefused
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
    "permission_denied",
    "poll_again",
    "refuse",
    "signed_in",
    "with_toasts",
]

P = ParamSpec("P")


def actor_of(request: HttpRequest, *, text: str = "") -> Actor:
    """Whoever is signed in; `text` names who is not."""
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
    """To the sign-in page and back. As `login_required`, but a fragment moves its whole page."""

    def guarded(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        if request.user.is_authenticated:
            return view(request, *args, **kwargs)  # type: ignore[arg-type]
        if is_fragment(request):
            to_login = redirect_to_login(_page_of(request), resolve_url(settings.LOGIN_URL))
            return HttpResponseClientRedirect(to_login.url)
        return redirect_to_login(request.get_full_path(), resolve_url(settings.LOGIN_URL))

    wraps(view)(guarded)
    return guarded


def _page_of(request: HttpRequest) -> str:
    """The page that a fragment was asked for by: its path and query on this site, else "/"."""
    page = urlsplit(request.headers.get("HX-Current-URL", ""))
    here = f"{page.path}?{page.query}" if page.query else page.path
    is_ours = here.startswith("/") and url_has_allowed_host_and_scheme(here, allowed_hosts=None)
    return here if is_ours else "/"


def is_fragment(request: HttpRequest) -> bool:
    """htmx asks for a part of the page; not so when it restores a page from the history."""
    htmx: HtmxDetails | None = getattr(request, "htmx", None)
    return htmx is not None and bool(htmx) and not htmx.history_restore_request


def fragment(
    request: HttpRequest,
    template: str,
    context: dict[str, Any] | None = None,
    *,
    status: int = 200,
) -> HttpResponse:
    """A part of a page. Messages that were added meanwhile come along as toasts."""
    response = render(request, template, context, status=status)
    return with_toasts(request, response)


def with_toasts(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    shown = {"messages": messages.get_messages(request)}
    toasts = render_to_string("parts/toasts.html", shown, request)
    if toasts.strip():
        response.write(f'<div hx-swap-oob="beforeend:#toasts">{toasts}</div>')
    return response


def offer_undo(request: HttpRequest, words: str, change: Change) -> None:
    """A toast that says what was done, with a button that takes it back."""
    undo = reverse("change_undo", args=[change.team.slug, change.pk])
    messages.success(request, words, extra_tags=undo)


def refuse(
    request: HttpRequest, error: Refused | ImageRefused, back: str, *, status: int = 422
) -> HttpResponse:
    """Say why not. htmx gets a toast and leaves the page as it is; others go back and read it."""
    messages.error(request, str(error))
    if not is_fragment(request):
        return go_back(request, back)
    response = with_toasts(request, HttpResponse(status=status))
    response["HX-Reswap"] = "none"
    return response


def go_back(request: HttpRequest, default: str) -> HttpResponseRedirect:
    """To the form's own `next`, where that is a page of ours, else to `default`. By GET (303)."""
    response = HttpResponseRedirect(next_of(request) or default)
    response.status_code = 303
    return response


def next_of(request: HttpRequest) -> str:
    """`next` as it was asked for, or nothing where it leads elsewhere."""
    wanted = request.POST.get("next") or request.GET.get("next") or ""
    safe = url_has_allowed_host_and_scheme(
        wanted, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    )
    return wanted if safe else ""


def permission_denied(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """403: a page that says which right is missing, or that sentence alone for a script."""
    reason = str(exception) if isinstance(exception, PermissionDenied) else ""
    if is_fragment(request) or request.headers.get("Accept") == "application/json":
        text = reason or "You can't do that here."
        return HttpResponse(text, status=403, content_type="text/plain; charset=utf-8")
    return render(request, "403.html", {"reason": reason}, status=403)


@dataclass(frozen=True, slots=True)
class Poll:
    """When a part of a page asks again: in `delay` seconds; `turn` counts how often it has."""

    turn: int
    delay: int


DELAYS = (1, 1, 2, 2, 3, 3, 5, 5, 8)


def poll_again(request: HttpRequest, *, moved: bool = False) -> Poll:
    """Ever less often while nothing has `moved`; `?turn=` is what the last answer said."""
    text = request.GET.get("turn", "")
    turn = int(text) + 1 if text.isascii() and text.isdigit() and len(text) < 5 else 0
    turn = 0 if moved else turn
    return Poll(turn, DELAYS[min(turn, len(DELAYS) - 1)])
