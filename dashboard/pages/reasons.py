"""Asking why, where the team wants to know: before a person, evidence or an export is shown."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec

from django.db import models
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import path, reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST
from django_htmx.http import HttpResponseClientRedirect

from dashboard.middleware import PageRequest
from dashboard.pages.shared import actor_of, go_back, is_fragment, next_of, signed_in
from persons import reasons
from persons.access import Right, finding_by_pk, rights_of, team_for
from persons.actions.records import give_reason
from persons.errors import Refused
from persons.models import Person, Team

P = ParamSpec("P")

SESSION_KEY = "reasons"
EXPORTS = {
    "history": "the history",
    "audit": "the audit log",
    "snapshot": "a snapshot",
    "report": "a report about a person",
}
"""What can be exported, as the target of a reason."""


class Asked(Exception):
    """Raised in place of an answer: `response` asks for the reason."""

    def __init__(self, response: HttpResponse) -> None:
        super().__init__("a reason is asked for")
        self.response = response


def asking(
    view: Callable[Concatenate[PageRequest, P], HttpResponseBase],
) -> Callable[Concatenate[PageRequest, P], HttpResponseBase]:
    """For views that `demand` a reason: where it is still to be given, they ask for it instead."""

    def guarded(request: PageRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        try:
            return view(request, *args, **kwargs)
        except Asked as asked:
            return asked.response

    wraps(view)(guarded)
    return guarded


def demand(request: HttpRequest, team: Team, purpose: str, target: str | int) -> str:
    """The reason for it, empty where none is asked for. It holds for half an hour.

    Raises Asked where it is still to be given. A program says it in a header.
    """
    if said := reasons.of_header(request.headers.get(reasons.HEADER)):
        return said
    if not reasons.demanded(team, purpose):
        return ""
    said, until = request.session.get(SESSION_KEY, {}).get(_key(team, purpose, target), ("", 0))
    if said and until > timezone.now().timestamp():
        return str(said)
    raise Asked(_ask(request, team, purpose, str(target)))


def _ask(request: HttpRequest, team: Team, purpose: str, target: str) -> HttpResponse:
    if is_fragment(request):
        # The whole page comes again, and asks.
        return HttpResponseClientRedirect(request.headers.get("HX-Current-URL", "") or "/")
    # A browser says that it takes pages; what a program wants is no page under the file's name.
    takes_pages = "text/html" in request.headers.get("Accept", "text/html")
    if request.GET.get("format") == "json" or not takes_pages:
        return HttpResponse(
            f"{team} asks for a reason: send it in {reasons.HEADER}.",
            status=403,
            content_type="text/plain; charset=utf-8",
        )
    return _page(request, team, purpose, target, next_url=request.get_full_path())


def _page(
    request: HttpRequest, team: Team, purpose: str, target: str, *, next_url: str, **more: Any
) -> HttpResponse:
    context = {
        "team": team,
        "purpose": purpose,
        "what": _words(purpose, target),
        "target": target,
        "next": next_url,
        "choices": team.reason_choices,
        "minutes": reasons.KEPT.seconds // 60,
    }
    return render(request, "reason.html", context | more, status=422 if more else 200)


def _words(purpose: str, target: str) -> str:
    if purpose == "export":
        return f"Exporting {EXPORTS.get(target.partition('-')[0], 'records')}"
    return reasons.PURPOSES[purpose]


@signed_in
@never_cache
@require_POST
def give(request: PageRequest, team: str) -> HttpResponse:
    found = team_for(request.user, team)
    purpose, target = request.POST.get("purpose", ""), request.POST.get("target", "")
    if purpose not in reasons.PURPOSES or not re.fullmatch(r"[a-z0-9-]{1,40}", target):
        raise Http404("There is nothing of that kind to look at.")
    row = _target(request, found, purpose, target)
    back = next_of(request) or reverse("overview", args=[team])
    choice, words = request.POST.get("choice", ""), request.POST.get("words", "")
    try:
        reason = reasons.clean(found, choice, words)
    except Refused as error:
        more = {"error": str(error), "choice": choice, "words": words}
        return _page(request, found, purpose, target, next_url=back, **more)
    give_reason(actor=actor_of(request), team=found, purpose=purpose, target=row, reason=reason)
    now = timezone.now().timestamp()
    held = request.session.get(SESSION_KEY, {})
    held = {key: value for key, value in held.items() if value[1] > now}
    held[_key(found, purpose, target)] = [reason, now + reasons.KEPT.total_seconds()]
    request.session[SESSION_KEY] = held
    return go_back(request, back)


def _target(request: PageRequest, team: Team, purpose: str, target: str) -> models.Model:
    """What the reason is given for, if it is there for whoever gives it."""
    if purpose == "export":
        if target.partition("-")[0] not in EXPORTS:
            raise Http404("There is no such export.")
        return team
    if not target.isdigit() or len(target) > 18:
        raise Http404("There is no such page.")
    if purpose == "evidence":
        return finding_by_pk(request.user, team.slug, int(target)).call
    person = Person.objects.filter(space__team=team, pk=int(target)).first()
    if person is None or Right.GALLERIES not in rights_of(request.user, team):
        raise Http404("There is no such page.")
    return person


def _key(team: Team, purpose: str, target: str | int) -> str:
    return f"{team.pk}:{purpose}:{target}"


urlpatterns = [path("reason/", give, name="reason")]
