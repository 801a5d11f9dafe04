"""The report that a person may request about themselves: a page for printing, and a JSON file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import path
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from dashboard.middleware import PageRequest
from dashboard.pages.privacy.reasons import asking, demand
from dashboard.pages.shared import actor_of, page_by_key, signed_in
from persons.access import Right, person_for, space_for
from persons.actions.reporting import make_report
from persons.inputs.params import Parameters
from persons.models import Person
from persons.privacy.subject_report import Report, ReportPart

SHOWN = 24
"""Rows of each part on the report's page; longer parts have pages of their own."""
PAGE = 100


@signed_in
@never_cache
@require_GET
@asking
def report(request: PageRequest, team: str, number: int, person_id: int) -> HttpResponse:
    """All parts with their newest rows, or one part, page by page."""
    found, reason = _asked(request, team, number, person_id)
    made = make_report(actor=actor_of(request), person=found, as_file=False, reason=reason)
    context: dict[str, Any] = {
        "team": found.space.team,
        "person": made.person,
        "head": made.head,
        "reason": reason,
    }
    given = Parameters(request.GET)
    wanted = given.choice("part", [one.name for one in made.parts])
    given.demand()
    if wanted:
        part = next(one for one in made.parts if one.name == wanted)
        page = page_by_key(part.rows, request, PAGE)
        context |= {
            "page": page,
            "parts": [(part, [part.as_values(row) for row in page.rows], page.rows, False)],
        }
    else:
        context["parts"] = [_newest(part) for part in made.parts]
    return render(request, "people/report.html", context)


def _newest(part: ReportPart) -> tuple[ReportPart, list[dict[str, Any]], list[Any], bool]:
    rows = list(part.rows[: SHOWN + 1])
    shown = rows[:SHOWN]
    return part, [part.as_values(row) for row in shown], shown, len(rows) > SHOWN


@signed_in
@never_cache
@require_GET
@asking
def report_file(request: PageRequest, team: str, number: int, person_id: int) -> HttpResponseBase:
    """The whole report as JSON, streamed."""
    found, reason = _asked(request, team, number, person_id)
    made = make_report(actor=actor_of(request), person=found, as_file=True, reason=reason)
    response = StreamingHttpResponse(as_json(made), content_type="application/json")
    name = f"report-{found.space.team.slug}-space{number}-person{made.person.person_id}.json"
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def as_json(made: Report) -> Iterator[str]:
    """One object: the head's keys, then a list for each part."""
    head = json.dumps(made.head, ensure_ascii=False, indent=1, cls=DjangoJSONEncoder)
    yield head.removesuffix("\n}")
    for part in made.parts:
        yield f",\n {json.dumps(part.name)}: ["
        between = "\n  "
        for row in part.values():
            yield between + json.dumps(row, ensure_ascii=False, cls=DjangoJSONEncoder)
            between = ",\n  "
        yield "\n ]"
    yield "\n}\n"


def _asked(request: PageRequest, team: str, number: int, person_id: int) -> tuple[Person, str]:
    """The person, and the reason where the team demands one.

    Only for owners: the report covers galleries that are closed to others.
    """
    found = person_for(request.user, team, number, person_id)
    space_for(request.user, team, number, right=Right.MANAGE)
    return found, demand(request, found.space.team, "export", f"report-{found.pk}")


_ONE = "spaces/<int:number>/people/<int:person_id>/"

urlpatterns = [
    path(f"{_ONE}report", report, name="person_report"),
    path(f"{_ONE}report.json", report_file, name="person_report_file"),
]
