"""What somebody with a public link sees: one gallery's photos, and what its owner added to them.

Nobody signs in here. `by_link` turns the token of the address into a link, or says that it does not
work, whatever the reason.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import wraps
from pathlib import PurePosixPath
from threading import BoundedSemaphore
from typing import Concatenate, ParamSpec

from django.conf import settings
from django.core.cache import cache
from django.db.models import Q
from django.http import Http404, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import path, reverse
from django.utils import timezone
from django.utils.http import content_disposition_header
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import (
    require_GET,
    require_http_methods,
    require_POST,
    require_safe,
)

from dashboard.middleware import PageRequest
from dashboard.pages.media import send_file
from dashboard.pages.selection import zip_response
from persons import images, shares
from persons.actions.sharing import record_link_download, record_view
from persons.archives import Entry, chunks_of, stream, unique_names
from persons.models import Photo, ShareLink
from persons.models.galleries import PhotoQuerySet
from persons.storage import stored

P = ParamSpec("P")

PAGE = 60
ABOVE = 24
"""So many newer photos stand above the one that somebody comes back to."""
ZIP_PART = 5000
"""Photos in one zip: a larger gallery is downloaded in parts."""
RENDITIONS = ("thumb", "medium", "large")
KEPT = "private, max-age=3600"

TRIES, TRIES_SECONDS = 10, 300
ALL_TRIES = 200
"""Wrong passwords for one link from everywhere: guessing from many addresses is slow, too."""
PASS_SECONDS = 12 * 3600
SEEN_SECONDS = 3600
"""Whoever comes back within this is not counted again."""
TOLD_SECONDS = 60
"""The audit log tells of a link's views no more often than this."""

# A slow reader of a zip holds a thread of this process: strangers get so many of them.
_ZIPS_AT_ONCE = BoundedSemaphore(2)


def by_link(
    view: Callable[Concatenate[PageRequest, ShareLink, P], HttpResponseBase],
) -> Callable[..., HttpResponseBase]:
    """Turns the address's token into its link, and asks for the password where there is one."""

    def opened(
        request: PageRequest, shared: str, *args: P.args, **kwargs: P.kwargs
    ) -> HttpResponseBase:
        try:
            link = shares.link_of(shared)
            if shares.has_pass(link, request.COOKIES.get(_cookie(link), "")):
                response = view(request, link, *args, **kwargs)
            else:
                response = _ask_password(request, shared)
        except Http404:
            response = render(request, "public/gone.html", status=404)
        response["X-Robots-Tag"] = "noindex, nofollow, noarchive"
        return response

    wraps(view)(opened)
    return opened


def _cookie(link: ShareLink) -> str:
    return f"link{link.pk}"


def _ask_password(request: PageRequest, token: str) -> HttpResponse:
    if request.resolver_match and request.resolver_match.url_name != "public_gallery":
        # A picture, or a page of one: first the password, on the gallery's page.
        if request.method in ("GET", "HEAD") and "image" not in request.headers.get("Accept", ""):
            return HttpResponseRedirect(reverse("public_gallery", args=[token]))
        raise Http404
    return render(request, "public/password.html", status=200)


# --- The gallery ---


@require_http_methods(["GET", "HEAD", "POST"])
@sensitive_post_parameters("password")
def gallery(request: PageRequest, shared: str) -> HttpResponseBase:
    if request.method == "POST":
        return _say_password(request, shared)
    return _gallery(request, shared)


@by_link
def _gallery(request: PageRequest, link: ShareLink) -> HttpResponse:
    at, before = request.GET.get("at", ""), request.GET.get("before", "")
    photos = shares.photos_of(link)
    above = _above(photos, at)
    if not above:
        rows = list(_after(photos, before)[: PAGE + 1])
        newer = ""
    else:
        # Around the photo that somebody comes back from.
        newer = key_of(above[ABOVE - 1]) if len(above) > ABOVE else ""
        above = above[:ABOVE][::-1]
        rows = [*above, *_after(photos, key_of(above[-1]))[: PAGE + 1 - len(above)]]
    is_first = not newer and (bool(above) or not before)
    shown = rows[:PAGE]
    context = {
        "link": link,
        "token": _token(request),
        "photos": shown,
        "newer": newer,
        "older": key_of(shown[-1]) if len(rows) > PAGE else "",
        "is_first": is_first,
    }
    if is_first:
        count = photos.order_by().count()
        context |= {"count": count, "parts": _parts(count) if link.allow_download else []}
    response = render(request, "public/gallery.html", context)
    if is_first and _seen(link) not in request.COOKIES:
        told = cache.add(f"link-told:{link.pk}", 1, TOLD_SECONDS)
        record_view(link=link, is_told=told)
        _set_cookie(response, request, _seen(link), "1", SEEN_SECONDS)
    return response


def _token(request: PageRequest) -> str:
    return str(request.resolver_match.kwargs["shared"]) if request.resolver_match else ""


def _seen(link: ShareLink) -> str:
    return f"seen{link.pk}"


def _parts(count: int) -> list[tuple[int, int, int]]:
    """(number, first, last) of each zip."""
    starts = range(0, count, ZIP_PART)
    return [(n, at + 1, min(at + ZIP_PART, count)) for n, at in enumerate(starts, 1)]


def _set_cookie(
    response: HttpResponse, request: PageRequest, name: str, value: str, seconds: int
) -> None:
    response.set_cookie(
        name,
        value,
        max_age=seconds,
        path=reverse("public_gallery", args=[_token(request)]),
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )


def _say_password(request: PageRequest, token: str) -> HttpResponseBase:
    try:
        link = shares.link_of(token)
    except Http404:
        return render(request, "public/gone.html", status=404)
    mine, everybody = f"link-tries:{link.pk}:{request.address}", f"link-tries:{link.pk}"
    if cache.get(mine, 0) >= TRIES or cache.get(everybody, 0) >= ALL_TRIES:
        return render(request, "public/password.html", {"paused": True}, status=429)
    if not shares.opens(link, request.POST.get("password", "")[:500]):
        for key in (mine, everybody):
            cache.add(key, 0, TRIES_SECONDS)
            _count_up(key)
        return render(request, "public/password.html", {"wrong": True}, status=422)
    cache.delete(mine)
    response = HttpResponseRedirect(reverse("public_gallery", args=[token]))
    response.status_code = 303
    _set_cookie(response, request, _cookie(link), shares.pass_of(link), PASS_SECONDS)
    return response


def _count_up(key: str) -> None:
    with suppress(ValueError):  # It ran out this very moment.
        cache.incr(key)


# --- Paging by key ---

_KEY = re.compile(r"([0-9]{1,17})\.([0-9]{1,18})")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def key_of(photo: Photo) -> str:
    """Where a photo stands in the page's order: its moment in microseconds, and its pk."""
    since = photo.shown_at - _EPOCH
    return f"{(since.days * 86400 + since.seconds) * 10**6 + since.microseconds}.{photo.pk}"


def _parsed(key: str) -> tuple[datetime, int] | None:
    found = _KEY.fullmatch(key)
    if found is None:
        return None
    with suppress(OverflowError):
        return _EPOCH + timedelta(microseconds=int(found[1])), int(found[2])
    return None


def _after(photos: PhotoQuerySet, key: str) -> PhotoQuerySet:
    """The photos below the one with this key."""
    found = _parsed(key)
    if found is None:
        return photos
    at, pk = found
    return photos.filter(Q(shown_at__lt=at) | Q(shown_at=at, pk__lt=pk))


def _above(photos: PhotoQuerySet, key: str) -> list[Photo]:
    """The next photos above the one with this key, from it upwards, and one more than are shown."""
    found = _parsed(key)
    if found is None:
        return []
    at, pk = found
    newer = photos.filter(Q(shown_at__gt=at) | Q(shown_at=at, pk__gt=pk))
    return list(newer.order_by("shown_at", "pk")[: ABOVE + 1])


# --- One photo ---


@require_GET
@by_link
def photo(request: PageRequest, link: ShareLink, pk: int) -> HttpResponse:
    found = shares.photo_of(link, pk)
    photos = shares.photos_of(link)
    at = found.shown_at
    newer = photos.filter(Q(shown_at__gt=at) | Q(shown_at=at, pk__gt=pk))
    older = photos.filter(Q(shown_at__lt=at) | Q(shown_at=at, pk__lt=pk))
    context = {
        "link": link,
        "token": _token(request),
        "photo": found,
        "key": key_of(found),
        "names": shares.names_on(link, found),
        "newer": newer.order_by("shown_at", "pk").values_list("pk", flat=True).first(),
        "older": older.values_list("pk", flat=True).first(),
    }
    return render(request, "public/photo.html", context)


@require_safe
@by_link
def picture(request: PageRequest, link: ShareLink, pk: int, what: str) -> HttpResponseBase:
    found = shares.photo_of(link, pk)
    if what == "original" and link.allow_download:
        return _original(link, found)
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


# --- Download ---


def _original(link: ShareLink, photo: Photo) -> HttpResponse:
    data, suffix = prepared(link, photo)
    name = _name(link, photo, f"photo-{photo.pk}", suffix)
    record_link_download(link=link, count=1)
    headers = {
        "Content-Disposition": content_disposition_header(True, name) or "attachment",
        "Cache-Control": "private, no-store",
        "X-Content-Type-Options": "nosniff",
    }
    return HttpResponse(data, content_type="application/octet-stream", headers=headers)


def prepared(link: ShareLink, photo: Photo) -> tuple[bytes, str]:
    """A photo's original as this link may give it away, and what its name ends in."""
    try:
        with stored(photo.original) as file:
            data = file.read()
    except FileNotFoundError:
        raise Http404 from None
    if link.show_details and link.keep_place:
        return data, PurePosixPath(photo.original).suffix.lstrip(".")
    keep = images.Keep.ALL_BUT_PLACE if link.show_details else images.Keep.NOTHING
    found = images.stripped(data, photo.format, keep)
    return found.data, found.suffix


def _name(link: ShareLink, photo: Photo, neutral: str, suffix: str) -> str:
    stem = PurePosixPath(photo.file_name).stem if link.show_details else neutral
    return f"{stem}.{suffix}"


@require_POST
@by_link
def download(request: PageRequest, link: ShareLink) -> HttpResponseBase:
    """A zip of the gallery, or of one part of it where it is a large one."""
    if not link.allow_download:
        raise Http404
    text = request.POST.get("part", "1")
    part = int(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0
    if part < 1:
        raise Http404
    first = (part - 1) * ZIP_PART
    photos = list(shares.photos_of(link)[first : first + ZIP_PART])
    if not photos:
        raise Http404
    if not _ZIPS_AT_ONCE.acquire(blocking=False):
        return render(request, "public/busy.html", {"token": _token(request)}, status=429)
    record_link_download(link=link, count=len(photos))
    name = (
        link.gallery.slug if part == 1 and len(photos) < ZIP_PART else f"{link.gallery.slug}-{part}"
    )
    return zip_response(_Held(stream(_entries(link, photos, first))), name=name)


class _Held(Iterator[bytes]):
    """Gives the place for a zip back when it is sent, or when nobody listens any more."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._is_held = True

    def __next__(self) -> bytes:
        try:
            return next(self._chunks)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        if self._is_held:
            self._is_held = False
            _ZIPS_AT_ONCE.release()


def _entries(
    link: ShareLink, photos: list[Photo], first: int
) -> Iterator[tuple[Entry, Iterator[bytes]]]:
    """Without details neither names nor dates say when a photo was taken."""
    names = unique_names([_expected_name(photo) for photo in photos])
    for position, (photo, name) in enumerate(zip(photos, names, strict=True)):
        photo.gallery = link.gallery
        try:
            data, suffix = prepared(link, photo)
        except (Http404, images.ImageRefused):
            continue
        if not link.show_details:
            name = f"photo-{first + position + 1:05}.{suffix}"
        elif not name.endswith(f".{suffix}"):
            name = f"{name}.{suffix}"
        at = timezone.localtime(photo.shown_at) if link.show_details else link.created_at
        yield Entry(name, len(data), at), chunks_of(io.BytesIO(data))


def _expected_name(photo: Photo) -> str:
    """HEIC comes as JPEG."""
    path = PurePosixPath(photo.file_name)
    return f"{path.stem}.jpg" if photo.format == "HEIF" else f"{path.stem}{path.suffix.lower()}"


urlpatterns = [
    path("s/<str:shared>/", gallery, name="public_gallery"),
    path("s/<str:shared>/zip", download, name="public_zip"),
    path("s/<str:shared>/photo/<int:pk>/", photo, name="public_photo"),
    path("s/<str:shared>/photo/<int:pk>/<str:what>", picture, name="public_picture"),
]
