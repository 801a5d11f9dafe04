"""Galleries: list, create, rename, and recognise a whole gallery again."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.db.models import (
    Count,
    IntegerField,
    OuterRef,
    QuerySet,
    Subquery,
    Value,
)
from django.db.models.functions import Coalesce
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import path, reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from dashboard.middleware import PageRequest
from dashboard.pages.shared import (
    actor_of,
    go_back,
    page_by_key,
    refuse,
    signed_in,
)
from persons.access import (
    Right,
    galleries_seen_by,
    gallery_for,
    rights_of,
    space_for,
    team_for,
)
from persons.actions.galleries import create_gallery, rename_gallery
from persons.actions.photos import recognise_gallery_again
from persons.errors import Refused
from persons.inputs.params import Parameters
from persons.models import Face, Gallery, Photo, PhotoState, Space

GALLERIES_PAGE = 24


# --- The list ---


def gallery_cards(galleries: QuerySet[Gallery]) -> QuerySet[Gallery]:
    """Newest first, with counts and the three newest pictures, in one query."""
    photos = Photo.objects.filter(gallery=OuterRef("pk")).order_by("-pk")
    pictures = photos.exclude(prepared_at=None).values("pk")
    # A face in the trash is never unknown, so an index alone answers.
    unknown = Face.everything.unknown().filter(gallery=OuterRef("pk"))
    return (
        galleries.select_related("space")
        .annotate(
            photo_count=_counted(photos, "gallery"),
            busy_count=_counted(photos.filter(state__in=PhotoState.unfinished()), "gallery"),
            unknown_count=_counted(unknown, "gallery"),
            first_picture=Subquery(pictures[:1]),
            second_picture=Subquery(pictures.filter(pk__lt=OuterRef("first_picture"))[:1]),
            third_picture=Subquery(pictures.filter(pk__lt=OuterRef("second_picture"))[:1]),
        )
        .order_by("-pk")
    )


def _counted(rows: QuerySet[Any], by: str) -> Coalesce:
    counts = rows.order_by().values(by).annotate(n=Count("*")).values("n")
    return Coalesce(Subquery(counts), Value(0), output_field=IntegerField())


@signed_in
@require_GET
def galleries(request: PageRequest, team: str) -> HttpResponse:
    found = team_for(request.user, team)
    seen = galleries_seen_by(request.user, found)
    if Right.GALLERIES not in rights_of(request.user, found) and not seen.exists():
        # An auditor with whom nothing is shared: raises.
        team_for(request.user, team, right=Right.GALLERIES)
    context = {
        "team": found,
        "can_edit": Right.EDIT in rights_of(request.user, found),
        "page": page_by_key(gallery_cards(seen), request, GALLERIES_PAGE),
    }
    return render(request, "galleries/list.html", context)


@signed_in
@require_http_methods(["GET", "POST"])
def new_gallery(request: PageRequest, team: str) -> HttpResponse:
    found = team_for(request.user, team, right=Right.EDIT)
    context: dict[str, Any] = {
        "team": found,
        "spaces": Space.objects.filter(team=found).with_counts().order_by("number"),
        "name": request.POST.get("name", ""),
        "chosen": _space(request),
    }
    if request.method == "POST":
        space = space_for(request.user, team, context["chosen"], right=Right.EDIT)
        try:
            gallery = create_gallery(
                actor=actor_of(request), team=found, name=context["name"], space=space
            )
        except Refused as error:
            context["error"] = str(error)
            return render(request, "galleries/new.html", context, status=422)
        return redirect("gallery", team, gallery.slug)
    return render(request, "galleries/new.html", context)


def _space(request: PageRequest) -> int:
    """The form's space number; 0 where it has none."""
    given = Parameters(request.POST)
    number = given.number("space", most=9)
    given.demand()
    return number or 0


# --- One gallery's name and recognition; its page is in `grid` ---


@signed_in
@require_POST
def rename(request: PageRequest, team: str, slug: str) -> HttpResponse:
    found = gallery_for(request.user, team, slug, write=True)
    back = reverse("gallery", args=[team, slug])
    try:
        rename_gallery(actor=actor_of(request), gallery=found, name=request.POST.get("name", ""))
    except Refused as error:
        return refuse(request, error, back)
    messages.success(request, f"This gallery is called “{found.name}” now.")
    return go_back(request, back)


@signed_in
@require_POST
def recognise(request: PageRequest, team: str, slug: str) -> HttpResponse:
    found = gallery_for(request.user, team, slug, write=True)
    back = reverse("gallery", args=[team, slug])
    try:
        run = recognise_gallery_again(actor=actor_of(request), gallery=found)
    except Refused as error:
        return refuse(request, error, back)
    photos = "1 photo is" if run.photo_count == 1 else f"{run.photo_count} photos are"
    messages.success(request, f"{photos} being recognised again.")
    return go_back(request, back)


urlpatterns = [
    path("galleries/", galleries, name="galleries"),
    path("galleries/new", new_gallery, name="new_gallery"),
    path("g/<slug:slug>/rename", rename, name="rename_gallery"),
    path("g/<slug:slug>/recognise", recognise, name="recognise_gallery"),
]
