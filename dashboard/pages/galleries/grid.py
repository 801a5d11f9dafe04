"""One gallery's page: the grid, its filters, polling of busy tiles, and range selection."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.db.models import Exists, Q, QuerySet
from django.http import HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.urls import path, reverse
from django.utils import timezone
from django.views.decorators.http import require_GET

from dashboard.middleware import PageRequest
from dashboard.pages.galleries.counts import COUNTED_AT_ONCE, counts_of, months_of
from dashboard.pages.galleries.filters import (
    SORTS,
    UPLOADED,
    GridQuery,
    asked_people,
    chips_of,
    empty_words,
    tabs_of,
)
from dashboard.pages.galleries.sheets import (
    MOST_SELECTED,
    Key,
    Place,
    SheetRequest,
    range_of,
    sheet_of,
    tiles_of,
    under_heading,
)
from dashboard.pages.people.names import TYPED_LENGTH, offers
from dashboard.pages.shared import fragment, is_fragment, poll_again, signed_in
from dashboard.templatetags.costs import about
from persons import access
from persons.access import Right, gallery_for, rights_in
from persons.actions.naming import nobody, with_label
from persons.actions.photos import photos_to_ask_again
from persons.backends.cloud import is_cloud
from persons.billing import metering
from persons.inputs import texts
from persons.inputs.params import NotUnderstood, Parameters, shown, whole
from persons.models import Gallery, Person, Photo, User
from persons.models.names import looks_like_tag
from persons.privacy.holds import hold_on_gallery

MOST_POLLED = 100


def asked_of(request: PageRequest, gallery: Gallery) -> SheetRequest:
    query = GridQuery.parse(request.GET)
    return SheetRequest(gallery, query, asked_people(gallery, query))


@signed_in
@require_GET
def gallery(request: PageRequest, team: str, slug: str) -> HttpResponse:
    """The page, or as a fragment one sheet for the scrolled grid."""
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
        "chips": chips_of(asked.query, asked.people, _uploader(found, asked.query)),
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


def _uploader(gallery: Gallery, query: GridQuery) -> User | None:
    return members_of(gallery, query).filter(pk=query.by).first() if query.by else None


def members_of(gallery: Gallery, query: GridQuery) -> QuerySet[User]:
    """Users for the "uploaded by" filter: the team, and the filtered user if they uploaded here."""
    uploaded = Exists(Photo.objects.filter(gallery=gallery, uploaded_by=query.by))
    members = Q(memberships__team=gallery.team) | Q(uploaded, pk=query.by or 0)
    return User.objects.filter(members).distinct().order_by("first_name", "username")


def _typed(request: PageRequest) -> str:
    return texts.line(request.GET.get("with", ""))


def _only_one(request: PageRequest, asked: SheetRequest, typed: str) -> Person | None:
    """The person for a name's beginning, if exactly one person's name starts so."""
    space = asked.gallery.space
    found = offers(space, typed[:TYPED_LENGTH], access.visible(request.user, space.team))
    return found[0].person if len(found) == 1 else None


def _with_named(request: PageRequest, asked: SheetRequest) -> HttpResponse:
    """Resolve the name typed into the filter to a person, and redirect to the short address."""
    typed = _typed(request)
    query = asked.query
    if typed:
        person = with_label(asked.gallery.space, typed)
        if person is None and not looks_like_tag(typed):
            person = _only_one(request, asked, typed)
        if person is None:
            messages.error(request, str(nobody(asked.gallery.space, typed)))
        elif person.person_id not in query.people:
            query = replace(query, people=(*query.people, person.person_id))
    address = reverse("gallery", args=[asked.gallery.team.slug, asked.gallery.slug])
    return redirect(address + query.string)


# --- Fetched by the page's scripts ---


@signed_in
@require_GET
def tiles(request: PageRequest, team: str, slug: str) -> HttpResponse:
    """Poll busy tiles. Each `?busy=<pk>.<state>.<prepared>` is a tile as the page shows it.

    Answers with the tiles whose state changed. The tabs' new counts come too if any tile changed
    or is gone, or with `?came=`. Nothing else on the page is replaced.
    """
    found = gallery_for(request.user, team, slug)
    query = GridQuery.parse(request.GET)
    given = Parameters(request.GET)
    has_more = given.flag("came")
    busy_tiles = given.texts("busy", most=MOST_POLLED)
    given.demand()
    seen = dict(map(_seen, busy_tiles))
    photos = list(tiles_of(Photo.objects.filter(gallery=found, pk__in=seen)))
    moved = [photo for photo in photos if tile_state(photo) != seen[photo.pk]]
    gone = sorted(seen.keys() - {photo.pk for photo in photos})
    busy = any(photo.is_busy for photo in photos)
    recount = bool(moved or gone or has_more)
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
    number = whole(pk)
    if number is None:
        raise NotUnderstood({"busy": f"“{shown(text)}” is no photo with its state."})
    return number, state


@signed_in
@require_GET
def dates(request: PageRequest, team: str, slug: str) -> HttpResponse:
    """The months that have photos, as jump targets, and the tabs' counts."""
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
    """The pks of the photos between `?one=` and `?other=`, of `?day=`, or of the whole grid.

    The address's filters and order apply. The selection uses this to cover photos that the page
    has dropped or never loaded. At most MOST_SELECTED pks; `more` tells whether others follow.
    """
    found = gallery_for(request.user, team, slug)
    asked = asked_of(request, found)
    one, other = (Key.given(request.GET, name, asked.query) for name in ("one", "other"))
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
    """Name suggestions from the gallery's space for the people filter."""
    found = gallery_for(request.user, team, slug)
    typed = _typed(request)
    visible = access.visible(request.user, found.team)
    context = {
        "team": found.team,
        "offers": offers(found.space, typed[:TYPED_LENGTH], visible),
        "field": "with",
    }
    return fragment(request, "parts/name_options.html", context)


# --- What recognising again would cost ---


@dataclass(frozen=True, slots=True)
class Again:
    """What recognising photos again sends and costs. `cost` is None where it is free."""

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
    """What a recognition would send and cost: of the whole gallery, of `?photos=` photos of it, or
    of `?new=` photos that are being uploaded."""
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
    given = Parameters(request.GET)
    number = given.number(name, most=999_999)
    given.demand()
    return number


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
