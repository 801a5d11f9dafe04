"""A team's trash: the list by day and gallery, restoring photos, and emptying it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import path, reverse
from django.utils import timezone
from django.views.decorators.http import require_GET, require_POST

from dashboard.middleware import PageRequest
from dashboard.pages.galleries.selection import photos_are, selected
from dashboard.pages.paging import page_by_keys
from dashboard.pages.shared import actor_of, go_back, refuse, signed_in
from persons import access
from persons.access import Right, rights_of, team_for
from persons.actions.trash import MOST_AT_ONCE, empty_trash, in_trash, restore_photos
from persons.errors import Refused
from persons.inputs.params import Parameters
from persons.models import Gallery, Photo, Team, User
from persons.models.galleries import PhotoQuerySet
from persons.privacy import holds

PAGE = 120


@dataclass(slots=True)
class Heap:
    """The photos that were trashed in one gallery on one day."""

    day: date
    gallery: Gallery
    days_left: int
    photos: list[Photo] = field(default_factory=list)


def trash_of(user: User, team: Team) -> PhotoQuerySet:
    """The trashed photos that this member may restore, last trashed first."""
    return access.visible(user, team, write=True).photos_among(in_trash(team))


@signed_in
@require_GET
def trash(request: PageRequest, team: str) -> HttpResponse:
    found = team_for(request.user, team, right=Right.EDIT)
    photos = trash_of(request.user, found)
    with_names = photos.select_related("gallery", "trashed_by")
    page = page_by_keys(with_names, request, PAGE, ("-trashed_at", "-pk"))
    context = {
        "team": found,
        "heaps": heaps_of(page.rows, found.trash_days),
        "held": set(held_of(page.rows)),
        "count": photos.order_by().count(),
        "older": page.older,
        "is_first": not request.GET.get("before"),
        "can_manage": Right.MANAGE in rights_of(request.user, found),
        "trash_days": found.trash_days,
    }
    return render(request, "galleries/trash/trash.html", context)


def held_of(photos: Sequence[Photo]) -> list[int]:
    """The pks of those photos that are under legal hold."""
    shown = Photo.everything.filter(pk__in=[photo.pk for photo in photos])
    return list(holds.held_photos(shown).values_list("pk", flat=True))


def heaps_of(photos: Sequence[Photo], trash_days: int) -> list[Heap]:
    now = timezone.now()
    heaps: dict[tuple[date, int], Heap] = {}
    for photo in photos:
        assert photo.trashed_at is not None
        day = timezone.localdate(photo.trashed_at)
        left = photo.trashed_at + timedelta(days=trash_days) - now
        heap = heaps.setdefault(
            (day, photo.gallery_id),
            Heap(day, photo.gallery, max(1, math.ceil(left / timedelta(days=1)))),
        )
        heap.photos.append(photo)
    return list(heaps.values())


@signed_in
@require_POST
def restore(request: PageRequest, team: str) -> HttpResponse:
    """Restore the selected photos, the whole trash, or (undo) what was trashed at one moment."""
    found = team_for(request.user, team, right=Right.EDIT)
    page = reverse("trash", args=[team])
    try:
        photos = _asked(request, trash_of(request.user, found))
        count = restore_photos(actor=actor_of(request), photos=photos)
        if not count:
            raise Refused("Those photos are not in the trash any more.")
    except Refused as error:
        return refuse(request, error, page)
    words = f"{photos_are(count)} back."
    if count == MOST_AT_ONCE:
        words += " There may be more: do it again for the next ones."
    messages.success(request, words)
    return go_back(request, page)


def _asked(request: HttpRequest, photos: PhotoQuerySet) -> PhotoQuerySet:
    """Those of these trashed photos that the form names."""
    given = Parameters(request.POST)
    everything, at = given.flag("all"), given.moment("at")
    given.demand()
    if everything:
        return photos
    if at is not None:
        return photos.filter(trashed_at=at, gallery__slug=request.POST.get("gallery", ""))
    return photos.filter(pk__in=selected(request))


@signed_in
@require_POST
def empty(request: PageRequest, team: str) -> HttpResponse:
    found = team_for(request.user, team, right=Right.MANAGE)
    page = reverse("trash", args=[team])
    try:
        if not Parameters(request.POST).flag("sure"):
            raise Refused("Tick that you are sure: nothing of it can be taken back.")
        emptied = empty_trash(actor=actor_of(request), team=found)
    except Refused as error:
        return refuse(request, error, page)
    words = f"{photos_are(emptied.count)} being deleted for good."
    if emptied.held:
        words += f" {photos_are(emptied.held)} under legal hold and left where they were."
    messages.success(request, words)
    return go_back(request, page)


urlpatterns = [
    path("trash/", trash, name="trash"),
    path("trash/restore", restore, name="trash_restore"),
    path("trash/empty", empty, name="trash_empty"),
]
