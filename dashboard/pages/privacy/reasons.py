"""Asks for a reason, if the team requires one, before a person, evidence or an export is shown.

This is the only gate: all such views pass it, and the audit records each pass. REST has its own in
`persons.rest.base`. `tests/pages/test_reasons_everywhere.py` checks all URLs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, Concatenate, ParamSpec
from urllib.parse import urlencode

from django.db import models
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import path, reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods
from django_htmx.http import HttpResponseClientRedirect

from dashboard.middleware import PageRequest
from dashboard.pages.shared import actor_of, go_back, is_fragment, next_of, page_of, signed_in
from persons.access import call_for, finding_by_pk, team_for
from persons.actions import records
from persons.actions.records import give_reason
from persons.calls.search import Filters
from persons.errors import Refused
from persons.inputs.params import whole
from persons.models import Call, Person, Team
from persons.privacy import access_reasons

P = ParamSpec("P")

SESSION_KEY, RECORDED_KEY = "reasons", "told"
ALL, CALL = "all", "call"
"""Targets besides numbers: all people of a team, and `call-` followed by a call's number."""
EXPORTS = {
    "history": "the history",
    "audit": "the audit log",
    "snapshot": "a snapshot",
    "report": "a report about a person",
}
"""Exports that can be the target of a reason."""


class ReasonRequest(Exception):
    """Raised to interrupt a view; `response` asks for the reason."""

    def __init__(self, response: HttpResponse) -> None:
        super().__init__("a reason is asked for")
        self.response = response


def asking(
    view: Callable[Concatenate[PageRequest, P], HttpResponseBase],
) -> Callable[Concatenate[PageRequest, P], HttpResponseBase]:
    """Decorator for views that use `demand`, `look_up` and similar: if the reason is missing, the
    response asks for it."""

    def guarded(request: PageRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        try:
            return view(request, *args, **kwargs)
        except ReasonRequest as asked:
            return asked.response

    wraps(view)(guarded)
    return guarded


def demand(
    request: HttpRequest, team: Team, purpose: str, target: str | int, *, back: str = ""
) -> str:
    """The reason given, or "" if none is required. A reason is valid for half an hour.

    For views that record their own audit entry with the reason; `look_up` and similar record one.
    A program sends the reason in a header, which pages ignore. `back` is where the question leads
    when it interrupts a form.

    Raises Asked if the reason has yet to be given.
    """
    if _is_program(request):
        try:
            reason = access_reasons.of_program(
                team, purpose, request.headers.get(access_reasons.HEADER)
            )
        except Refused as error:
            raise ReasonRequest(_refusal(str(error))) from None
        if reason:
            return reason
    if not access_reasons.demanded(team, purpose):
        return ""
    if reason := _held(request, team, purpose, target):
        return reason
    raise ReasonRequest(_ask(request, team, purpose, str(target), back))


def look_up(
    request: HttpRequest,
    person: Person,
    *,
    back: str = "",
    part: bool = False,
    or_all: bool = False,
) -> str:
    """For every view of a person: demand the reason and record an audit entry.

    A `part` of a page, such as a fragment, has no entry of its own if its page had one. With
    `or_all`, a reason for looking through all people is enough. Raises Asked.
    """
    team = person.space.team
    target: str | int = person.pk
    if or_all and _held(request, team, "person", ALL):
        target = ALL
    reason = demand(request, team, "person", target, back=back)
    if _needs_entry(request, team, "person", f"{target}:{person.pk}", part=part):
        records.look_up(actor=actor_of(request), person=person, reason=reason)
    return reason


def record_lookups(request: HttpRequest, people: Iterable[Person], reason: str) -> None:
    """Record an entry for everyone shown together with a person who was looked up for `reason`."""
    for person in people:
        if access_reasons.demanded(person.space.team, "person"):
            records.look_up(actor=actor_of(request), person=person, reason=reason)


def look_through(request: HttpRequest, team: Team, *, back: str = "", part: bool = False) -> str:
    """For every list of people and every search by name. Like `look_up`."""
    reason = demand(request, team, "person", ALL, back=back)
    if _needs_entry(request, team, "person", ALL, part=part):
        records.look_through(actor=actor_of(request), team=team, reason=reason)
    return reason


def look_up_filtered(
    request: HttpRequest, team: Team, filters: Filters, *, part: bool = False
) -> None:
    """Treat filtering calls by a person or name as a lookup. Raises Asked."""
    if filters.person is not None:
        look_up(request, filters.person, part=part)
    if filters.people is not None and filters.text:
        look_through(request, team, part=part)


def open_call(request: HttpRequest, call: Call, *, part: bool = False) -> str:
    """For every view of a call's request and answer. Like `look_up`."""
    target = f"{CALL}-{call.pk}"
    reason = demand(request, call.team, "evidence", target)
    if _needs_entry(request, call.team, "evidence", target, part=part):
        records.open_call(actor=actor_of(request), call=call, reason=reason)
    return reason


def _held(request: HttpRequest, team: Team, purpose: str, target: str | int) -> str:
    reason, until = request.session.get(SESSION_KEY, {}).get(_key(team, purpose, target), ("", 0))
    return str(reason) if until > timezone.now().timestamp() else ""


def _needs_entry(
    request: HttpRequest, team: Team, purpose: str, target: str | int, *, part: bool
) -> bool:
    """Whether to record an entry: for each page, and for a part loaded without its page."""
    if not access_reasons.demanded(team, purpose):
        return False
    recorded, now = request.session.get(RECORDED_KEY, {}), timezone.now().timestamp()
    key = _key(team, purpose, target)
    if (part or is_fragment(request)) and recorded.get(key, 0) > now:
        return False
    recorded = {one: until for one, until in recorded.items() if until > now}
    request.session[RECORDED_KEY] = recorded | {key: now + access_reasons.KEPT.total_seconds()}
    return True


def _is_program(request: HttpRequest) -> bool:
    """Whether the client is a program: browsers accept HTML, and htmx sends its own header."""
    pages = "" if request.GET.get("format") == "json" else "text/html"
    return not is_fragment(request) and "text/html" not in request.headers.get("Accept", pages)


def _ask(request: HttpRequest, team: Team, purpose: str, target: str, back: str) -> HttpResponse:
    if is_fragment(request):
        # The question replaces the whole page, and then leads back to it.
        asked = {"purpose": purpose, "target": target, "next": page_of(request)}
        address = reverse("reason", args=[team.slug])
        return HttpResponseClientRedirect(f"{address}?{urlencode(asked)}")
    if _is_program(request) or request.GET.get("format") == "json":
        # A download can't be answered with a page.
        return _refusal(f"{team} asks for a reason: send it in {access_reasons.HEADER}.")
    here = request.get_full_path() if request.method in ("GET", "HEAD") else back
    return _page(request, team, purpose, target, next_url=here)


def _refusal(text: str) -> HttpResponse:
    return HttpResponse(text, status=403, content_type="text/plain; charset=utf-8")


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
        "minutes": access_reasons.KEPT.seconds // 60,
    }
    return render(request, "reason.html", context | more, status=422 if more else 200)


def _words(purpose: str, target: str) -> str:
    if purpose == "export":
        return f"Exporting {EXPORTS.get(target.partition('-')[0], 'records')}"
    if target == ALL:
        return "Looking through people"
    if target.startswith(CALL):
        return "Opening the record of a call"
    if purpose == "evidence":
        return "Opening evidence"
    return access_reasons.PURPOSES[purpose]


@signed_in
@never_cache
@require_http_methods(["GET", "POST"])
def give(request: PageRequest, team: str) -> HttpResponse:
    """The page that asks for the reason, and its submission."""
    found = team_for(request.user, team)
    data = request.POST if request.method == "POST" else request.GET
    purpose, target = data.get("purpose", ""), data.get("target", "")
    if purpose not in access_reasons.PURPOSES or not re.fullmatch(r"[a-z0-9-]{1,40}", target):
        raise Http404("There is nothing of that kind to look at.")
    row = _target(request, found, purpose, target)
    back = next_of(request) or reverse("overview", args=[team])
    if request.method != "POST":
        return _page(request, found, purpose, target, next_url=back)
    choice, words = request.POST.get("choice", ""), request.POST.get("words", "")
    try:
        reason = access_reasons.clean(found, choice, words)
    except Refused as error:
        more = {"error": str(error), "choice": choice, "words": words}
        return _page(request, found, purpose, target, next_url=back, **more)
    give_reason(actor=actor_of(request), team=found, purpose=purpose, target=row, reason=reason)
    now = timezone.now().timestamp()
    held = request.session.get(SESSION_KEY, {})
    held = {key: value for key, value in held.items() if value[1] > now}
    held[_key(found, purpose, target)] = [reason, now + access_reasons.KEPT.total_seconds()]
    request.session[SESSION_KEY] = held
    return go_back(request, back)


def _target(request: PageRequest, team: Team, purpose: str, target: str) -> models.Model:
    """The reason's target, if it exists for this user."""
    if purpose == "export":
        if target.partition("-")[0] not in EXPORTS:
            raise Http404("There is no such export.")
        return team
    if purpose == "person" and target == ALL:
        return team
    kind, dash, digits = target.rpartition("-")
    is_call = purpose == "evidence" and kind == CALL
    number = whole(digits)
    if number is None or (dash and not is_call):
        raise Http404("There is no such page.")
    if is_call:
        return call_for(request.user, team.slug, number)
    if purpose == "evidence":
        return finding_by_pk(request.user, team.slug, number).call
    # Auditors may filter records by person.
    person = Person.objects.filter(space__team=team, pk=number).first()
    if person is None:
        raise Http404("There is no such page.")
    return person


def _key(team: Team, purpose: str, target: str | int) -> str:
    return f"{team.pk}:{purpose}:{target}"


urlpatterns = [path("reason/", give, name="reason")]
