"""A team's front page: what is there, what waits for somebody, and what is being worked on."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Count
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import path
from django.views.decorators.http import require_GET

from dashboard.middleware import PageRequest
from dashboard.pages.connection import state_of
from dashboard.pages.galleries import gallery_cards
from dashboard.pages.shared import fragment, poll_again, signed_in
from dashboard.pages.usage import budget_of, budget_starts_again
from persons.access import (
    Right,
    galleries_seen_by,
    hidden_from,
    rights_of,
    team_for,
)
from persons.models import Call, Face, Person, Photo, PhotoState, Run, SyncState, Team
from persons.models.spaces import PersonQuerySet

GALLERIES = 6
PEOPLE = 12
FACES = 12
CALLS = 6
RUNS = 4
BUSY_SYNCS = (SyncState.QUEUED, SyncState.RUNNING)


@dataclass(frozen=True, slots=True)
class Work:
    """What workers have before them. `trouble` is why some of it waits, in Vision's words.

    `failed_in` is the slug of the gallery where a photo failed last.
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
        hidden = hidden_from(request.user, found)
        context |= {
            "work": work_of(found, hidden),
            "poll": poll_again(request),
            "galleries": gallery_cards(galleries_seen_by(request.user, found))[:GALLERIES],
            "people": _newest_people(found, hidden),
            "faces": Face.objects.to_review(found).outside(hidden)[:FACES],
        }
    return render(request, "overview/overview.html", context)


@signed_in
@require_GET
def work(request: PageRequest, team: str) -> HttpResponse:
    """The part of the overview that asks again while there is work."""
    found = team_for(request.user, team, right=Right.GALLERIES)
    now = work_of(found, hidden_from(request.user, found))
    context = {"team": found, "work": now, "poll": poll_again(request)}
    response = fragment(request, "overview/_work.html", context)
    if not now.is_busy and request.GET.get("busy"):
        # The rest of the page is older than what was just finished.
        response["HX-Trigger"] = "work-done"
    return response


def work_of(team: Team, hidden: Collection[int]) -> Work:
    open_states = [*PhotoState.unfinished(), PhotoState.FAILED]
    photos = Photo.objects.filter(gallery__team=team).outside(hidden)
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
    return Work(
        preparing=by_state.get(PhotoState.NEW, 0) + by_state.get(PhotoState.PREPARING, 0),
        waiting=by_state.get(PhotoState.QUEUED, 0),
        running=by_state.get(PhotoState.RUNNING, 0),
        failed=by_state.get(PhotoState.FAILED, 0),
        enrolling=people,
        runs=runs,
        trouble=trouble,
        failed_in=failed_in,
    )


def _newest_people(team: Team, hidden: Collection[int]) -> PersonQuerySet:
    """First who, then what a card shows: counting for everybody would take longer."""
    everybody = (
        Person.objects.filter(space__team=team, hidden=False).unmerged().named().order_by("-pk")
    )
    newest = list(everybody.values_list("pk", flat=True)[:PEOPLE])
    return (
        Person.objects.filter(pk__in=newest)
        .select_related("space")
        .for_list(hidden)
        .order_by("-pk")
    )


urlpatterns = [
    path("", overview, name="overview"),
    path("work/", work, name="overview_work"),
]
