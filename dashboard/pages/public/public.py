"""What a visitor with a public link sees: one gallery's photos, with what its owner allows.

Visitors don't sign in. `visits.by_link` resolves the URL's token to a link, or reports that it
doesn't work, without the reason.
"""

from __future__ import annotations

from datetime import datetime

from django.db.models import QuerySet
from django.http import Http404, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import path
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_GET, require_http_methods, require_safe

from dashboard.middleware import PageRequest
from dashboard.pages import paging
from dashboard.pages.paging import NO_KEY, neighbours, rows_beyond
from dashboard.pages.photos.media import send_file
from dashboard.pages.public.downloads import original, parts_of
from dashboard.pages.public.visits import by_link, say_password, token_of
from persons.access import links as share_links
from persons.access.link_keys import key_of, place_of
from persons.inputs.params import NotUnderstood
from persons.models import Photo, ShareLink
from persons.models.galleries import PhotoQuerySet

PAGE = 60
NEWEST_FIRST = ("-shown_at", "-pk")
ABOVE = 24
"""Number of newer photos shown above the one that a visitor returns to."""
RENDITIONS = ("thumb", "medium", "large")
KEPT = "private, max-age=3600"


# --- The gallery ---


@require_http_methods(["GET", "HEAD", "POST"])
@sensitive_post_parameters("password")
def gallery(request: PageRequest, shared: str) -> HttpResponseBase:
    if request.method == "POST":
        return say_password(request, shared)
    return _gallery(request, shared)


@by_link
def _gallery(request: PageRequest, link: ShareLink) -> HttpResponse:
    said = {name: request.GET.get(name, "") for name in ("at", "before")}
    places = {name: place_of(link, key) if key else None for name, key in said.items()}
    for name, key in said.items():
        if key and places[name] is None:
            raise NotUnderstood({name: NO_KEY})
    at, before = places["at"], places["before"]
    photos = share_links.photos_of(link)
    above = _above(photos, at)
    if not above:
        rows = list(_after(photos, before)[: PAGE + 1])
        newer = ""
    else:
        # Photos around the one that the visitor returns from.
        newer = key_of(link, above[ABOVE - 1]) if len(above) > ABOVE else ""
        above = above[:ABOVE][::-1]
        rows = [
            *above,
            *_after(photos, (above[-1].shown_at, above[-1].pk))[: PAGE + 1 - len(above)],
        ]
    is_first = not newer and (bool(above) or not before)
    shown = rows[:PAGE]
    context = {
        "link": link,
        "token": token_of(request),
        "photos": shown,
        "newer": newer,
        "older": key_of(link, shown[-1]) if len(rows) > PAGE else "",
        "is_first": is_first,
    }
    if is_first:
        count = photos.order_by().count()
        context |= {"count": count, "parts": parts_of(count) if link.allow_download else []}
    return render(request, "public/gallery.html", context)


# --- Paging by key ---


def _after(photos: PhotoQuerySet, place: tuple[datetime, int] | None) -> QuerySet[Photo]:
    """The photos below the one that stands there; all for None."""
    if place is None:
        return photos
    return rows_beyond(photos, _as_key(place), NEWEST_FIRST)


def _above(photos: PhotoQuerySet, place: tuple[datetime, int] | None) -> list[Photo]:
    """The next photos above the given position, nearest first, and one more than are shown."""
    if place is None:
        return []
    newer = rows_beyond(photos, _as_key(place), NEWEST_FIRST, back=True)
    return list(newer[: ABOVE + 1])


def _as_key(place: tuple[datetime, int]) -> str:
    """As the pager writes it, which the address must not."""
    at, pk = place
    return paging.key_of(Photo(pk=pk, shown_at=at), NEWEST_FIRST)


# --- One photo ---


@require_GET
@by_link
def photo(request: PageRequest, link: ShareLink, pk: int) -> HttpResponse:
    found = share_links.photo_of(link, pk)
    photos = share_links.photos_of(link)
    newer, older = neighbours(photos, found, NEWEST_FIRST)
    context = {
        "link": link,
        "token": token_of(request),
        "photo": found,
        "key": key_of(link, found),
        "names": share_links.names_on(link, found),
        "newer": newer,
        "older": older,
    }
    return render(request, "public/photo.html", context)


@require_safe
@by_link
def picture(request: PageRequest, link: ShareLink, pk: int, what: str) -> HttpResponseBase:
    found = share_links.photo_of(link, pk)
    if what == "original" and link.allow_download:
        return original(link, found)
    if what not in RENDITIONS:
        raise Http404
    return send_file(
        request,
        found.key(what),
        f"{found.pk}-{what}",
        "image/webp",
        name=f"photo-{pk}-{what}.webp",
        cache=KEPT,
    )


urlpatterns = [
    path("s/<secret:shared>/", gallery, name="public_gallery"),
    path("s/<secret:shared>/photo/<int:pk>/", photo, name="public_photo"),
    path("s/<secret:shared>/photo/<int:pk>/<str:what>", picture, name="public_picture"),
]
