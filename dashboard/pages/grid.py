"""One gallery: its photos in a grid, what of them is shown, and which of them are selected."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.db.models import Q, QuerySet
from django.http import HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.urls import path, reverse
from django.utils import timezone
from django.views.decorators.http import require_GET

from dashboard.middleware import PageRequest
from dashboard.pages.filters import (
    SORTS,
    UPLOADED,
    GridQuery,
    asked_people,
    chips_of,
    empty_words,
    tabs_of,
)
from dashboard.pages.names import TYPED_LENGTH, offers
from dashboard.pages.shared import fragment, is_fragment, poll_again, signed_in
from dashboard.pages.sheets import (
    COUNTED_AT_ONCE,
    MOST_SELECTED,
    Asked,
    Key,
    Place,
    counts_of,
    months_of,
    range_of,
    sheet_of,
    tiles_of,
    under_heading,
)
from dashboard.templatetags.costs import about
from persons import metering
from persons.access import Right, gallery_for, hidden_from, rights_in
from persons.actions.naming import with_label
from persons.actions.photos import photos_to_ask_again
from persons.cloud import is_cloud
from persons.holds import hold_on_gallery
from persons.models import Gallery, Person, Photo, User

MOST_POLLED = 100


def asked_of(request: PageRequest, gallery: Gallery) -> Asked:
    query = GridQuery.parse(request.GET)
    return Asked(gallery, query, asked_people(gallery, query))


@signed_in
@require_GET
def gallery(request: PageRequest, team: str, slug: str) -> HttpResponse:
    """The page, or one sheet of it for the grid that is scrolled."""
    found = gallery_for(request.user, team, slug)
    asked = asked_of(request, found)
    if "with" in request.GET:
        return _with_named(request, asked)
    sheet = sheet_of(asked, Place.parse(request.GET, asked.query))
    context: dict[str, Any] = {
        "team": found.team,
        "gallery": found,
        "asked": asked.query,
        "query": asked.query.string,
        "sheet": sheet,
        "poll": poll_again(request) if sheet.is_busy else None,
    }
    if is_fragment(request):
        return fragment(request, "galleries/_sheet.html", context)
    can_edit = Right.EDIT in rights_in(request.user, found)
    context |= {
        "hold": hold_on_gallery(found),
        "can_edit": can_edit,
        "max_bytes": settings.UPLOAD_MAX_BYTES,
        "price": metering.estimate(1) if can_edit and is_cloud() else None,
        "tabs": tabs_of(asked.query, {}),
        "chips": chips_of(asked.query, asked.people, _uploader(asked.query)),
        "unfiltered": replace(GridQuery(), sort=asked.query.sort).string or "?",
        "sorts": [
            (label, replace(asked.query, sort=sort).string or "?", sort == asked.query.sort)
            for sort, label in SORTS.items()
        ],
        "empty": empty_words(asked.query),
        "members": members_of(found, asked.query),
        "most_selected": MOST_SELECTED,
        "zone": timezone.get_current_timezone_name(),
    }
    return render(request, "galleries/gallery.html", context)


def _uploader(query: GridQuery) -> User | None:
    return User.objects.filter(pk=query.by).first() if query.by is not None else None


def members_of(gallery: Gallery, query: GridQuery) -> QuerySet[User]:
    """Who may have uploaded: the team, and whoever is asked for."""
    members = Q(memberships__team=gallery.team) | Q(pk=query.by or 0)
    return User.objects.filter(members).distinct().order_by("first_name", "username")


def _typed(request: PageRequest) -> str:
    return " ".join(request.GET.get("with", "").replace("\0", "").split())


def _only_one(request: PageRequest, asked: Asked, typed: str) -> Person | None:
    """Who is meant by the beginning of a name that only one person has."""
    space = asked.gallery.space
    found = offers(space, typed[:TYPED_LENGTH], hidden_from(request.user, space.team))
    return found[0].person if len(found) == 1 else None


def _with_named(request: PageRequest, asked: Asked) -> HttpResponse:
    """The filter's form: a name that was typed becomes a person, and the address a short one."""
    typed = _typed(request)
    query = asked.query
    if typed:
        person = with_label(asked.gallery.space, typed) or _only_one(request, asked, typed)
        if person is None:
            messages.error(request, f"Nobody in {asked.gallery.space} is called “{typed}”.")
        elif person.person_id not in query.people:
            query = replace(query, people=(*query.people, person.person_id))
    address = reverse("gallery", args=[asked.gallery.team.slug, asked.gallery.slug])
    return redirect(address + query.string)


# --- What the page asks for by itself ---


@signed_in
@require_GET
def tiles(request: PageRequest, team: str, slug: str) -> HttpResponse:
    """What became of busy tiles. `?busy=<pk>.<state>.<prepared>` says what the page shows of each.

    Those that moved are sent; with the tabs' new counts if any did, or if photos `?came`. Nothing
    else on the page is touched.
    """
    found = gallery_for(request.user, team, slug)
    query = GridQuery.parse(request.GET)
    shown = dict(_seen(text) for text in request.GET.getlist("busy")[:MOST_POLLED])
    photos = list(tiles_of(Photo.objects.filter(gallery=found, pk__in=shown)))
    moved = [photo for photo in photos if tile_state(photo) != shown[photo.pk]]
    gone = sorted(shown.keys() - {photo.pk for photo in photos})
    busy = any(photo.is_busy for photo in photos)
    recount = bool(moved or gone or request.GET.get("came"))
    context = {
        "team": found.team,
        "gallery": found,
        "asked": query,
        "query": query.string,
        "photos": moved,
        "gone": gone,
        "poll": poll_again(request, moved=bool(moved)) if busy else None,
        "tabs": tabs_of(query, counts_of(found)) if recount else None,
    }
    return fragment(request, "galleries/_poll.html", context)


def tile_state(photo: Photo) -> str:
    return f"{photo.state}.{int(photo.prepared_at is not None)}"


def _seen(text: str) -> tuple[int, str]:
    pk, _, state = text.partition(".")
    return int(pk) if pk.isascii() and pk.isdigit() and len(pk) < 19 else 0, state


@signed_in
@require_GET
def dates(request: PageRequest, team: str, slug: str) -> HttpResponse:
    """The months that have photos, to jump to, and the tabs' counts."""
    found = gallery_for(request.user, team, slug)
    asked = asked_of(request, found)
    counts = counts_of(found)
    months = months_of(asked, keep=counts[""] > COUNTED_AT_ONCE)
    context = {
        "team": found.team,
        "gallery": found,
        "asked": asked.query,
        "months": months,
        "total": sum(month.count for month in months),
        "tabs": tabs_of(asked.query, counts),
        "by_upload": asked.query.sort == UPLOADED,
    }
    return fragment(request, "galleries/_dates.html", context)


@signed_in
@require_GET
def selectable(request: PageRequest, team: str, slug: str) -> HttpResponse:
    """The photos between `?one=` and `?other=`, of `?day=`, or all, as the address filters and
    orders them.

    For the selection, which reaches over what the page has dropped or never loaded; no more than
    MOST_SELECTED of them, and whether that is all.
    """
    found = gallery_for(request.user, team, slug)
    asked = asked_of(request, found)
    one, other = (Key.parse(request.GET.get(name, ""), asked.query) for name in ("one", "other"))
    if (one is None) != (other is None):
        return JsonResponse({"error": "One end of this range is missing."}, status=400)
    within = None
    if "day" in request.GET:
        within = under_heading(asked.query, request.GET["day"])
        if within is None:
            return JsonResponse({"error": "That is no day."}, status=400)
    photos, more = range_of(asked, one, other, within)
    return JsonResponse({"photos": [photo.pk for photo in photos], "more": more})


@signed_in
@require_GET
def people(request: PageRequest, team: str, slug: str) -> HttpResponse:
    """People of the gallery's space for the name that is typed into the filter."""
    found = gallery_for(request.user, team, slug)
    typed = _typed(request)
    hidden = hidden_from(request.user, found.team)
    context = {
        "team": found.team,
        "offers": offers(found.space, typed[:TYPED_LENGTH], hidden),
        "field": "with",
    }
    return fragment(request, "parts/name_options.html", context)


# --- What recognising again would cost ---


@dataclass(frozen=True, slots=True)
class Again:
    """What recognising photos again sends, and what that costs; None where it is free."""

    images: int
    cost: Decimal | None

    @property
    def words(self) -> str:
        if not self.images:
            return "No photo is ready for it yet."
        return f"That is {self.sum}."

    @property
    def sum(self) -> str:
        """ "1,240 images, about 74 ₽"."""
        images = "1 image" if self.images == 1 else f"{self.images:,} images"
        price = (
            "recognised here, free of charge" if self.cost is None else f"about {about(self.cost)}"
        )
        return f"{images}, {price}"


def again_of(images: int) -> Again:
    return Again(images, metering.estimate(images) if is_cloud() and images else None)


@signed_in
@require_GET
def again(request: PageRequest, team: str, slug: str) -> HttpResponse:
    """What recognising the whole gallery again would send and cost; or `?photos=` so many of it; or
    `?new=` so many that are being uploaded."""
    found = gallery_for(request.user, team, slug, write=True)
    if (photos := _count(request, "photos")) is not None:
        return _plain(again_of(photos).words)
    if new := _count(request, "new"):
        return _plain(f"To recognise: {again_of(new).sum} at most.")
    context = {
        "team": found.team,
        "gallery": found,
        "again": again_of(photos_to_ask_again(found).count()),
    }
    return fragment(request, "galleries/_again.html", context)


def _count(request: PageRequest, name: str) -> int | None:
    number = request.GET.get(name, "")
    return int(number) if number.isascii() and number.isdigit() and len(number) < 7 else None


def _plain(text: str) -> HttpResponse:
    return HttpResponse(text, content_type="text/plain; charset=utf-8")


urlpatterns = [
    path("g/<slug:slug>/", gallery, name="gallery"),
    path("g/<slug:slug>/tiles", tiles, name="gallery_tiles"),
    path("g/<slug:slug>/dates", dates, name="gallery_dates"),
    path("g/<slug:slug>/people", people, name="gallery_people"),
    path("g/<slug:slug>/again", again, name="gallery_again"),
    path("g/<slug:slug>/photos/range", selectable, name="gallery_range"),
]
