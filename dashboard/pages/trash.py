"""The trash of a team: what was thrown away lately, by day and gallery."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from django.contrib import messages
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import path, reverse
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.views.decorators.http import require_GET, require_POST

from dashboard.middleware import PageRequest
from dashboard.pages.selection import photos_are, selected
from dashboard.pages.shared import actor_of, go_back, refuse, signed_in
from persons import holds
from persons.access import Right, galleries_written_by, rights_of, team_for
from persons.actions.trash import MOST_AT_ONCE, empty_trash, in_trash, restore_photos
from persons.errors import Refused
from persons.models import Gallery, Photo, Team, User
from persons.models.galleries import PhotoQuerySet

PAGE = 120


@dataclass(slots=True)
class Heap:
    """What was thrown away in one gallery on one day."""

    day: date
    gallery: Gallery
    days_left: int
    photos: list[Photo] = field(default_factory=list)


def trash_of(user: User, team: Team) -> PhotoQuerySet:
    """What this member may take back, last thrown away first."""
    return in_trash(team).filter(gallery__in=galleries_written_by(user, team))


@signed_in
@require_GET
def trash(request: PageRequest, team: str) -> HttpResponse:
    found = team_for(request.user, team, right=Right.EDIT)
    photos = trash_of(request.user, found)
    rows = list(
        _before(photos, request.GET.get("before", "")).select_related("gallery", "trashed_by")[
            : PAGE + 1
        ]
    )
    shown = rows[:PAGE]
    context = {
        "team": found,
        "heaps": heaps_of(shown, found.trash_days),
        "held": set(held_of(shown)),
        "count": photos.order_by().count(),
        "older": _key(shown[-1]) if len(rows) > PAGE else "",
        "is_first": not request.GET.get("before"),
        "can_manage": Right.MANAGE in rights_of(request.user, found),
        "trash_days": found.trash_days,
    }
    return render(request, "trash/trash.html", context)


def held_of(photos: Sequence[Photo]) -> list[int]:
    """Those that a legal hold is on, by pk."""
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


def _key(photo: Photo) -> str:
    assert photo.trashed_at is not None
    return f"{photo.trashed_at.isoformat()}.{photo.pk}"


def _before(photos: PhotoQuerySet, key: str) -> PhotoQuerySet:
    """The rows after the one with this key, in the order of the page."""
    text, _, pk = key.rpartition(".")
    at = _moment(text)
    if at is None or not (pk.isascii() and pk.isdigit() and len(pk) < 19):
        return photos
    return photos.filter(Q(trashed_at__lt=at) | Q(trashed_at=at, pk__lt=int(pk)))


def _moment(text: str) -> datetime | None:
    try:
        found = parse_datetime(text.replace(" ", "+"))
    except ValueError:
        return None
    return found if found is not None and timezone.is_aware(found) else None


@signed_in
@require_POST
def restore(request: PageRequest, team: str) -> HttpResponse:
    """The selected photos; all of the trash; or, for an undo, what went at one moment."""
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
    if request.POST.get("all"):
        return photos
    at = _moment(request.POST.get("at", ""))
    if at is not None:
        return photos.filter(trashed_at=at, gallery__slug=request.POST.get("gallery", ""))
    return photos.filter(pk__in=selected(request))


@signed_in
@require_POST
def empty(request: PageRequest, team: str) -> HttpResponse:
    found = team_for(request.user, team, right=Right.MANAGE)
    page = reverse("trash", args=[team])
    try:
        if request.POST.get("sure") != "yes":
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
