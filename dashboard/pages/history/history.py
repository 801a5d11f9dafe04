"""The recognition history: the list of calls to Vision, with its filters and export."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, time
from typing import Any
from urllib.parse import urlencode

from django.http import Http404, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import path
from django.utils import timezone
from django.utils.dateformat import format as formatted
from django.utils.http import content_disposition_header
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from dashboard.middleware import PageRequest
from dashboard.pages.galleries.filters import Chip
from dashboard.pages.history import chart as history_chart
from dashboard.pages.paging import KeyPage, keys_of, page_of
from dashboard.pages.privacy.reasons import asking, demand, look_through, look_up_filtered
from dashboard.pages.shared import actor_of, fragment, is_fragment, signed_in
from persons.access import Right, galleries_seen_by, rights_of, team_for
from persons.actions.records import begin_export, end_export
from persons.calls.export import Row, as_csv, as_json_lines, rows_of
from persons.calls.filters import filters_of, wanted_of
from persons.calls.search import Filters, Search
from persons.inputs import texts
from persons.inputs.params import NotUnderstood, Parameters
from persons.models import ApiKey, Call, Person, Source, Space, Team, User
from persons.models.calls import Outcome
from persons.models.people import found_by_name
from persons.vision.types import Method

PAGE_SIZE = 50
MOST_KEYS = 100
"""Maximum keys that the filter offers, newest first. Calls of other keys are linked from the list
of keys."""

OFFERED = 12

FORMS = {
    "csv": (as_csv, "text/csv; charset=utf-8"),
    "jsonl": (as_json_lines, "application/x-ndjson; charset=utf-8"),
}


@signed_in
@require_GET
@asking
def history(request: PageRequest, team: str) -> HttpResponse:
    found = team_for(request.user, team)
    may_see = Right.GALLERIES in rights_of(request.user, found)
    wanted = wanted_of(request.GET.dict(), request.user, found)
    filters, chosen = wanted.filters, wanted.chosen
    given = Parameters(request.GET)
    with_chart = given.flag("chart")
    given.demand()
    is_list = is_fragment(request) and request.htmx.target == "calls"
    if wanted.errors and is_list:
        raise NotUnderstood(wanted.errors)
    look_up_filtered(request, found, filters)
    page: KeyPage[Call] = KeyPage([], None, None)
    if not wanted.errors:
        page = _page(request, Search.by(request.user, found, filters))
    context = {
        "team": found,
        "page": page,
        "chosen": chosen,
        "query": urlencode(chosen),
        "is_live": any(call.outcome == Outcome.RUNNING for call in page.rows),
        "with_costs": any(call.cost for call in page.rows),
        "filters": filters,
        "chips": chips_of(filters, chosen, may_see=may_see),
        "may_see": may_see,
        "errors": wanted.errors,
        "typed": chosen | {name: request.GET.get(name, "") for name in wanted.errors},
    }
    if is_list:
        return fragment(request, "history/_calls.html", context)
    context |= _offered(request, found, filters, wanted.errors)
    if with_chart and not wanted.errors:
        # Without scripts, the chart is part of the page.
        search = Search.by(request.user, found, filters)
        context |= history_chart.context_of(found, search, chosen)
    status = 400 if wanted.errors else 200
    return render(request, "history/list.html", context, status=status)


def _page(request: PageRequest, search: Search) -> KeyPage[Call]:
    """As `paging.page_by_key`, of calls that are found by other tables' indexes too."""
    before, after = keys_of(request)

    def ask(key: int | None, back: bool, count: int) -> list[int]:
        return search.ids(count, after=key) if back else search.ids(count, before=key)

    page = page_of(ask, int, before=before, after=after, size=PAGE_SIZE)
    calls = Call.objects.filter(pk__in=page.rows).for_list().select_related("key")
    return KeyPage(list(calls) if page.rows else [], page.older, page.newer)


def _offered(
    request: PageRequest, team: Team, filters: Filters, errors: Mapping[str, str]
) -> dict[str, Any]:
    """The filter form's choices."""
    galleries = galleries_seen_by(request.user, team).order_by("-pk")
    members = User.objects.filter(memberships__team=team).order_by("username")
    return {
        "methods": [(str(method), str(method)) for method in Method],
        "outcomes": Outcome.choices,
        "sources": Source.choices,
        "spaces": Space.objects.filter(team=team),
        "keys": _keys(team, filters.key),
        "members": members.only("username", "first_name", "last_name")[:MOST_KEYS],
        "galleries": galleries.only("slug", "name")[:MOST_KEYS],
        "has_more": bool(MORE & (filters_on(filters) | errors.keys())),
    }


def _keys(team: Team, asked: ApiKey | None) -> list[ApiKey]:
    """The keys that the filter offers, by name, including the selected one."""
    theirs = ApiKey.objects.filter(team=team)
    newest = list(theirs.order_by("-pk").values_list("pk", flat=True)[:MOST_KEYS])
    offered = [*newest, asked.pk] if asked else newest
    return list(theirs.filter(pk__in=offered).order_by("name", "pk"))


MORE = frozenset(
    {"q", "method", "source", "actor", "key", "low", "high", "gallery", "address", "request"}
)
"""Filters that are folded away unless one of them is active."""


def filters_on(filters: Filters) -> set[str]:
    on = {
        "q": filters.text,
        "method": filters.method,
        "source": filters.source,
        "actor": filters.actor,
        "key": filters.key,
        "low": filters.low is not None,
        "high": filters.high is not None,
        "gallery": filters.gallery,
        "address": filters.address,
        "request": filters.request,
    }
    return {name for name, value in on.items() if value}


def chips_of(filters: Filters, chosen: Mapping[str, str], *, may_see: bool) -> list[Chip]:
    """Each active filter in words, with the URL of the page without it. People are named for
    readers who `may_see` them, and numbered for auditors."""
    person = filters.person
    words: dict[str, object] = {
        "from": filters.since and f"From {_moment(filters.since)}",
        "to": filters.until and f"To {_moment(filters.until)}",
        "person": person and f"With {person.name if may_see else person.tag}",
        "outcome": filters.outcome and Outcome(filters.outcome).label,
        "space": filters.space and filters.space.title,
        "q": f"Names with “{filters.text}”",
        "method": f"Method {filters.method}",
        "source": filters.source and f"By {str(Source(filters.source).label).lower()}",
        "actor": f"Asked by {filters.actor}",
        "key": filters.key and f"Key {filters.key.name}",
        "low": f"Similarity from {filters.low}",
        "high": f"Similarity to {filters.high}",
        "gallery": f"Gallery {filters.gallery}",
        "address": f"From {filters.address}",
        "request": f"One request, {filters.request[:8]}",
    }
    return [
        Chip(str(words[name]), f"?{urlencode({k: v for k, v in chosen.items() if k != name})}")
        for name in chosen
    ]


def _moment(at: datetime) -> str:
    here = timezone.localtime(at)
    return formatted(here, "j M Y" if here.time() in (time.min, time.max) else "j M Y, H:i")


@signed_in
@require_GET
@asking
def names(request: PageRequest, team: str) -> HttpResponse:
    """Suggestions while a name is typed, from all spaces of the team."""
    found = team_for(request.user, team, right=Right.GALLERIES)
    look_through(request, found, part=True)
    typed = texts.line(request.GET.get("person", ""))[:100]
    spaces = list(Space.objects.filter(team=found).values_list("pk", flat=True))
    people = Person.objects.filter(pk__in=found_by_name(spaces, typed, OFFERED))
    context = {"people": people.select_related("space").order_by("name_key", "pk")}
    return fragment(request, "history/_names.html", context)


@signed_in
@never_cache
@require_GET
@asking
def export(request: PageRequest, team: str, form: str) -> HttpResponseBase:
    """Stream the filtered calls. The audit records the export before the first row is sent, and
    the row count after the last."""
    found = team_for(request.user, team)
    if form not in FORMS:
        raise Http404("There is no such export.")
    filters, chosen = filters_of(request.GET.dict(), request.user, found)
    reason = demand(request, found, "export", "history")
    actor = actor_of(request)
    begin_export(actor=actor, team=found, what="history", filters=chosen, form=form, reason=reason)
    may_see = Right.GALLERIES in rights_of(request.user, found)
    pages = rows_of(Search.by(request.user, found, filters), may_see=may_see)

    def counted() -> Iterator[bytes]:
        rows, complete = 0, False

        def counting() -> Iterator[list[Row]]:
            nonlocal rows
            for page in pages:
                rows += len(page)
                yield page

        try:
            yield from FORMS[form][0](counting())
            complete = True
        finally:
            end_export(
                actor=actor,
                team=found,
                what="history",
                rows=rows,
                complete=complete,
                reason=reason,
            )

    name = f"{found.slug}-history.{form}"
    headers = {
        "Content-Disposition": content_disposition_header(True, name) or "attachment",
        "X-Content-Type-Options": "nosniff",
    }
    return StreamingHttpResponse(counted(), content_type=FORMS[form][1], headers=headers)


urlpatterns = [
    path("history/", history, name="history"),
    path("history/names", names, name="history_names"),
    path("history/export.<str:form>", export, name="history_export"),
]
