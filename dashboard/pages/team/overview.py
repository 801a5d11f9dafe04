"""A team's front page: its content, what awaits review, and work in progress."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Count
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import path
from django.views.decorators.http import require_GET

from dashboard.middleware import PageRequest
from dashboard.pages.galleries.galleries import gallery_cards
from dashboard.pages.shared import fragment, poll_again, signed_in
from dashboard.pages.spaces.connection import state_of
from dashboard.pages.team.usage import budget_of, budget_starts_again
from persons import access
from persons.access import (
    Right,
    Visible,
    galleries_seen_by,
    rights_of,
    team_for,
)
from persons.inputs.params import Parameters
from persons.models import Call, Face, Person, PhotoState, Run, SyncState, Team
from persons.models.people import PersonQuerySet
from persons.privacy.access_reasons import demanded

GALLERIES = 6
PEOPLE = 12
FACES = 12
CALLS = 6
RUNS = 4
BUSY_SYNCS = (SyncState.QUEUED, SyncState.RUNNING)


@dataclass(frozen=True, slots=True)
class PendingWork:
    """Pending work. `trouble` is why some of it waits, in Vision's words.

    `failed_in` is the slug of the gallery with the latest failed photo.
    """

    preparing: int
    waiting: int
    running: int
    failed: int
    enrolling: Sequence[Person]
    runs: Sequence[Run]
    trouble: str
    failed_in: str = ""

    @property
    def photos(self) -> int:
        return self.preparing + self.waiting + self.running

    @property
    def is_busy(self) -> bool:
        return bool(self.photos or self.enrolling or self.runs)


@signed_in
@require_GET
def overview(request: PageRequest, team: str) -> HttpResponse:
    found = team_for(request.user, team)
    rights = rights_of(request.user, found)
    context: dict[str, Any] = {
        "team": found,
        "can_edit": Right.EDIT in rights,
        "calls": Call.objects.filter(team=found).for_list()[:CALLS],
        "connection": state_of(found),
        "budget": budget_of(found),
        "starts_again": budget_starts_again(),
    }
    if Right.GALLERIES in rights:
        visible = access.visible(request.user, found)
        context |= {
            "work": work_of(found, visible),
            "poll": poll_again(request),
            "galleries": gallery_cards(galleries_seen_by(request.user, found))[:GALLERIES],
            "asks_why": demanded(found, "person"),
            "people": [] if demanded(found, "person") else _newest_people(found, visible),
            "faces": visible.faces_among(Face.objects.to_review(found))[:FACES],
        }
    return render(request, "team/overview/overview.html", context)


@signed_in
@require_GET
def work(request: PageRequest, team: str) -> HttpResponse:
    """The fragment of the overview that polls while there is work."""
    found = team_for(request.user, team, right=Right.GALLERIES)
    given = Parameters(request.GET)
    was_busy = given.flag("busy")
    given.demand()
    now = work_of(found, access.visible(request.user, found))
    context = {"team": found, "work": now, "poll": poll_again(request)}
    response = fragment(request, "team/overview/_work.html", context)
    if not now.is_busy and was_busy:
        # The rest of the page predates the work just finished.
        response["HX-Trigger"] = "work-done"
    return response


def work_of(team: Team, visible: Visible) -> PendingWork:
    open_states = [*PhotoState.unfinished(), PhotoState.FAILED]
    photos = visible.photos()
    by_state = dict(
        photos.filter(state__in=open_states)
        .order_by()
        .values_list("state")
        .annotate(count=Count("*"))
    )
    enrolling = Person.objects.filter(space__team=team, sync_state__in=BUSY_SYNCS)
    people = list(enrolling.select_related("space").order_by("pk")[: RUNS + 1])
    runs = list(Run.objects.running().filter(space__team=team, photo_count__gt=0)[:RUNS])
    trouble = next((person.sync_error for person in people if person.sync_error), "")
    if not trouble and by_state.get(PhotoState.QUEUED):
        late = photos.filter(state=PhotoState.QUEUED).exclude(error="")
        trouble = late.values_list("error", flat=True).first() or ""
    failed_in = ""
    if by_state.get(PhotoState.FAILED):
        failed = photos.filter(state=PhotoState.FAILED).order_by("-pk")
        failed_in = failed.values_list("gallery__slug", flat=True).first() or ""
    return PendingWork(
        preparing=by_state.get(PhotoState.NEW, 0) + by_state.get(PhotoState.PREPARING, 0),
        waiting=by_state.get(PhotoState.QUEUED, 0),
        running=by_state.get(PhotoState.RUNNING, 0),
        failed=by_state.get(PhotoState.FAILED, 0),
        enrolling=people,
        runs=runs,
        trouble=trouble,
        failed_in=failed_in,
    )


def _newest_people(team: Team, visible: Visible) -> PersonQuerySet:
    """First who, then what a card shows: counting for everybody would take longer."""
    everybody = (
        Person.objects.filter(space__team=team, hidden=False).unmerged().named().order_by("-pk")
    )
    newest = list(everybody.values_list("pk", flat=True)[:PEOPLE])
    cards = Person.objects.filter(pk__in=newest).select_related("space")
    return visible.with_counts(cards).order_by("-pk")


urlpatterns = [
    path("", overview, name="overview"),
    path("work/", work, name="overview_work"),
]
