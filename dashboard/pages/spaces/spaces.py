"""The list of a team's ten spaces, and the page of one: people, snapshots or policy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db.models import Window
from django.db.models.functions import RowNumber
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import path
from django.views.decorators.http import require_GET, require_http_methods
from django_htmx.http import trigger_client_event

from dashboard.middleware import PageRequest
from dashboard.pages.people.people import Listing, page_of_people
from dashboard.pages.privacy.reasons import asking, look_through
from dashboard.pages.shared import fragment, is_fragment, signed_in
from dashboard.pages.spaces import policies, snapshots
from dashboard.pages.spaces.policies import PolicyForm, change, policy_page, settings_of, summary_of
from dashboard.pages.spaces.snapshots import snapshots_page
from dashboard.pages.spaces.space_jobs import frame_of
from persons import access
from persons.access import Right, Visible, rights_of, space_for, team_for
from persons.inputs.params import Parameters
from persons.models import Person, Space
from persons.privacy.access_reasons import demanded

FACES_ON_CARD = 5


@signed_in
@require_GET
def spaces(request: PageRequest, team: str) -> HttpResponse:
    found = team_for(request.user, team)
    rows = list(Space.objects.filter(team=found).with_counts())
    used = [row for row in rows if _is_used(row)]
    may_see = Right.GALLERIES in rights_of(request.user, found) and not demanded(found, "person")
    faces = _some_people(used, access.visible(request.user, found)) if may_see else {}
    context = {
        "team": found,
        "used": [(row, summary_of(row), faces.get(row.pk, [])) for row in used],
        "unused": [row for row in rows if row not in used],
    }
    return render(request, "spaces/list.html", context)


def _some_people(shown: Sequence[Space], visible: Visible) -> dict[int, list[Any]]:
    """A few people for each space's card, newest first, in two queries.

    The first query reads all people, so it reads only their keys.
    """
    newest = Window(RowNumber(), partition_by="space", order_by="-pk")
    people = Person.objects.filter(space__in=[one.pk for one in shown]).alias(turn=newest)
    pks = list(people.filter(turn__lte=FACES_ON_CARD).values_list("pk", flat=True))
    found: dict[int, list[Any]] = {}
    for person in visible.with_counts(Person.objects.filter(pk__in=pks)).order_by("-pk"):
        found.setdefault(person.space_id, []).append(person)
    return found


def _is_used(space: Any) -> bool:
    counts = (space.people_count, space.enrolled_count, space.waiting_count, space.gallery_count)
    return bool(space.name) or any(counts)


VIEWS = ("people", "snapshots", "policy")


@signed_in
@require_http_methods(["GET", "HEAD", "POST"])
@asking
def space(request: PageRequest, team: str, number: int) -> HttpResponse:
    if request.method == "POST":
        return change(request, space_for(request.user, team, number, right=Right.MANAGE))
    found = space_for(request.user, team, number)
    rights = rights_of(request.user, found.team)
    may_see = Right.GALLERIES in rights
    if is_fragment(request) and request.htmx.target == "space-live":
        return _live(request, found)
    given = Parameters(request.GET)
    view = given.choice("view", VIEWS)
    given.demand()
    if view == "snapshots":
        return snapshots_page(request, found)
    if not may_see or view == "policy":
        return policy_page(request, found, PolicyForm(instance=found))
    return _people_page(request, found)


def _live(request: PageRequest, found: Space) -> HttpResponse:
    """Poll the frame. `?jobs=` are the jobs that the page shows as under way.

    If that list has changed, the answer triggers `space-jobs`.
    """
    given = Parameters(request.GET)
    context = frame_of(request, found) | {"view": given.choice("view", VIEWS)}
    given.demand()
    response = fragment(request, "spaces/_live.html", context)
    if request.GET.get("jobs", "") == context["busy_jobs"]:
        return response
    return trigger_client_event(response, "space-jobs")


def _people_page(request: PageRequest, found: Space) -> HttpResponse:
    look_through(request, found.team)
    page = page_of_people([found.pk], request, access.visible(request.user, found.team))
    wanted = Listing.of(request.GET)
    context = {"page": page, "q": wanted.q}
    if is_fragment(request) and request.htmx.target == "chunk":
        return fragment(request, "people/_people_chunk.html", context | {"team": found.team})
    if is_fragment(request) and request.htmx.target == "people":
        return fragment(request, "people/_people.html", context | {"team": found.team})
    context |= frame_of(request, found) | {
        "view": "people",
        "settings": settings_of(found),
        "wanted": wanted,
    }
    return render(request, "spaces/space.html", context)


urlpatterns = [
    path("spaces/", spaces, name="spaces"),
    path("spaces/<int:number>/", space, name="space"),
    *policies.urlpatterns,
    *snapshots.urlpatterns,
]
