"""Groupings: the plan of one, its preview, and the forms that start, change and apply it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.db.models import Exists, OuterRef
from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.urls import path, reverse
from django.views.decorators.http import require_POST, require_safe

from dashboard.middleware import PageRequest
from dashboard.pages.shared import (
    actor_of,
    fragment,
    go_back,
    is_fragment,
    poll_again,
    refuse,
    signed_in,
)
from persons import access
from persons.access import Right, Visible, gallery_for, grouping_for, rights_of, space_for, team_for
from persons.actions.groups import (
    UNDER_WAY,
    cancel_grouping,
    change_threshold,
    make_groups,
    start_grouping,
)
from persons.errors import Refused
from persons.inputs.params import Parameters, whole
from persons.models import Face, Grouping, JobState, Review

CROPS = 9
"""Most faces that are shown of a group."""
PREVIEWED = 48


@dataclass(frozen=True, slots=True)
class Preview:
    """A grouping's plan in numbers and pictures.

    `alone` counts faces that fit no group; None where some faces are hidden from the reader.
    `smaller` counts the groups beyond those shown. `groups` are (size, some faces), largest first.
    """

    people: int
    faces: int
    alone: int | None
    smaller: int
    groups: Sequence[tuple[int, Sequence[Face]]]


def preview_of(grouping: Grouping, visible: Visible) -> Preview:
    """The largest groups with their most typical faces.

    Counts only visible faces; a group has at least two of them. One query, or two where galleries
    are closed to the reader.
    """
    plan: list[list[int]] = grouping.plan
    if not visible.is_everything:
        plan = _seen_of(grouping, visible)
    shown = plan[:PREVIEWED]
    pks = [pk for group in shown for pk in group[:CROPS]]
    faces = visible.faces_in(space=grouping.space_id).filter(pk__in=pks)
    by_pk = {face.pk: face for face in faces}
    groups = [(len(group), [by_pk[pk] for pk in group[:CROPS] if pk in by_pk]) for group in shown]
    grouped = sum(map(len, plan))
    return Preview(
        people=len(plan),
        faces=grouped,
        alone=max(0, grouping.total - grouped) if visible.is_everything else None,
        smaller=len(plan) - len(shown),
        groups=groups,
    )


def _seen_of(grouping: Grouping, visible: Visible) -> list[list[int]]:
    """The plan with only visible faces, largest groups first."""
    unknown = Face.everything.filter(space=grouping.space_id, review=Review.UNKNOWN)
    closed = set(visible.withheld(unknown).values_list("pk", flat=True))
    seen = ([pk for pk in group if pk not in closed] for group in grouping.plan)
    return sorted((group for group in seen if len(group) > 1), key=len, reverse=True)


@signed_in
@require_safe
def grouping(request: PageRequest, team: str, pk: int) -> HttpResponse:
    found = grouping_for(request.user, team, pk)
    can_edit = Right.EDIT in rights_of(request.user, found.space.team)
    visible = access.visible_to_decide(request.user, found.space.team)
    if found.gallery is not None:
        visible = visible.of_gallery(found.gallery)
    context: dict[str, Any] = {
        "team": found.space.team,
        "grouping": found,
        # The number of faces is shown only to readers who may see them all.
        "with_counts": visible.is_everything,
        "preview": preview_of(found, visible) if found.state == JobState.READY else None,
        "is_making": bool(found.plan) and found.state in UNDER_WAY,
        "is_under_way": found.state in UNDER_WAY,
        "can_edit": can_edit,
        "percent": round(found.threshold * 100),
        "poll": poll_again(request),
        "made": _made(found, visible) if found.state in (JobState.DONE, JobState.CANCELLED) else 0,
    }
    if is_fragment(request):
        return fragment(request, "review/groups/_grouping.html", context)
    return render(request, "review/groups/grouping.html", context)


def _made(grouping: Grouping, visible: Visible) -> int:
    """How many people the grouping made, counting those with a face visible to the reader."""
    people = grouping.people.all()
    if not visible.is_everything:
        people = people.filter(Exists(visible.faces_of(OuterRef("pk"))))
    return people.count()


@signed_in
@require_POST
def start(request: PageRequest, team: str) -> HttpResponse:
    """Start a grouping. `of` is "g:<slug>" for a gallery or "s:<number>" for a space."""
    found = team_for(request.user, team, right=Right.EDIT)
    kind, _, name = request.POST.get("of", "").partition(":")
    gallery = None
    if kind == "g":
        gallery = gallery_for(request.user, team, name, write=True)
        space = gallery.space
    elif kind == "s" and (number := whole(name, 99)) is not None:
        space = space_for(request.user, team, number, right=Right.EDIT)
    else:
        raise Http404("There is no such gallery or space.")
    try:
        begun = start_grouping(actor=actor_of(request), space=space, gallery=gallery)
    except Refused as error:
        return refuse(request, error, reverse("groups", args=[found.slug]))
    return go_back(request, reverse("grouping", args=[team, begun.pk]))


@signed_in
@require_POST
def steer(request: PageRequest, team: str, pk: int) -> HttpResponse:
    """Change a grouping's threshold, make its groups, or cancel it.

    `do` is threshold, make or cancel.
    """
    found = grouping_for(request.user, team, pk, write=True)
    actor = actor_of(request)
    address = reverse("grouping", args=[team, pk])
    try:
        match Parameters(request.POST).raw("do"):
            case "threshold":
                change_threshold(actor=actor, grouping=found, threshold=_threshold(request))
            case "make":
                make_groups(actor=actor, grouping=found)
            case "cancel":
                cancel_grouping(actor=actor, grouping=found)
                messages.success(request, "Stopped. Faces that are in no group are as they were.")
                address = reverse("groups", args=[team])
            case _:
                raise Refused("Choose what to do.")
    except Refused as error:
        return refuse(request, error, address)
    return go_back(request, address)


def _threshold(request: PageRequest) -> float:
    """The form's percentage as a threshold from 0 to 1. Raises Refused."""
    given = Parameters(request.POST)
    percent = given.decimal("threshold", least=0, most=100)
    if percent is None:
        raise Refused("How alike faces have to be is a number from 0 to 100.")
    return round(percent / 100, 3)


urlpatterns = [
    path("groups/start", start, name="start_grouping"),
    path("groups/<int:pk>/", grouping, name="grouping"),
    path("groups/<int:pk>/steer", steer, name="steer_grouping"),
]
