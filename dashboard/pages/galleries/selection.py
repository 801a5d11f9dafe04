"""Bulk actions on a gallery's selected photos: trash, move, recognise again, download."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from django.contrib import messages
from django.core.files.storage import default_storage
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.template.loader import render_to_string
from django.urls import path, reverse
from django.utils import timezone
from django.utils.http import content_disposition_header
from django.utils.safestring import mark_safe
from django.views.decorators.http import require_POST

from dashboard.middleware import PageRequest
from dashboard.pages.shared import (
    actor_of,
    fragment,
    go_back,
    is_fragment,
    next_of,
    refuse,
    signed_in,
)
from persons.access import galleries_written_by, gallery_for
from persons.actions.moving import MovedPhotos, move_photos
from persons.actions.photos import recognise_photos_again, record_download
from persons.actions.trash import MOST_AT_ONCE, trash_photos
from persons.errors import Refused
from persons.files.storage import stored
from persons.files.zips import Entry, chunks_of, length_of, stream, unique_names
from persons.inputs.params import Parameters
from persons.models import Gallery, Photo


def selected(request: HttpRequest) -> list[int]:
    """The pks of the form's photos, sorted. Raises Refused for none or too many."""
    given = Parameters(request.POST)
    pks = given.numbers("photo")
    given.demand()
    if not pks:
        raise Refused("Select one or more photos first.")
    if len(pks) > MOST_AT_ONCE:
        raise Refused(f"That is more than {MOST_AT_ONCE:,} photos: do it in parts.")
    return sorted(pks)


def photos_are(count: int, *, was: bool = False) -> str:
    if count == 1:
        return "1 photo was" if was else "1 photo is"
    return f"{count:,} photos {'were' if was else 'are'}"


def _home(gallery: Gallery) -> str:
    return reverse("gallery", args=[gallery.team.slug, gallery.slug])


@signed_in
@require_POST
def trash(request: PageRequest, team: str, slug: str) -> HttpResponse:
    found = gallery_for(request.user, team, slug, write=True)
    try:
        pks = selected(request)
        done = trash_photos(actor=actor_of(request), gallery=found, pks=pks)
    except Refused as error:
        return refuse(request, error, _home(found))
    gone = len(pks) - done.count
    offer_undo(request, found, done.count, done.at)
    if gone:
        messages.info(request, f"{photos_are(gone)} not in this gallery any more.")
    return _done(request, found, pks)


def _done(request: PageRequest, gallery: Gallery, pks: Sequence[int]) -> HttpResponse:
    """Redirect; or, for a grid that stays where it is, tell which photos have left the gallery."""
    if not (is_fragment(request) and request.htmx.target == "tiles"):
        return go_back(request, _home(gallery))
    here = Photo.objects.filter(gallery=gallery, pk__in=pks).values_list("pk", flat=True)
    return fragment(request, "galleries/_done.html", {"gone": sorted(set(pks) - set(here))})


def offer_undo(request: HttpRequest, gallery: Gallery, count: int, at: datetime) -> None:
    """Add a toast whose button restores exactly the photos that were trashed at that moment.

    The undo then redirects to this form's `back` (such as the photo itself), else to its `next`.
    """
    context = {
        "words": f"{photos_are(count)} in the trash now.",
        "team": gallery.team,
        "gallery": gallery,
        "at": at.isoformat(),
        "next": request.POST.get("back") or next_of(request) or _home(gallery),
    }
    # The template has escaped its values.
    words = mark_safe(render_to_string("galleries/trash/_undo.html", context, request=request))  # noqa: S308
    messages.success(request, words, extra_tags="form")


@signed_in
@require_POST
def move(request: PageRequest, team: str, slug: str) -> HttpResponse:
    """Move the selected photos to the gallery `to`; without it, show a page that asks which."""
    found = gallery_for(request.user, team, slug, write=True)
    try:
        pks = selected(request)
    except Refused as error:
        return refuse(request, error, _home(found))
    if not request.POST.get("to"):
        return _choose(request, found, pks)
    into = gallery_for(request.user, team, request.POST["to"], write=True)
    try:
        moved = move_photos(actor=actor_of(request), gallery=found, into=into, pks=pks)
    except Refused as error:
        return _choose(request, found, pks, error=str(error))
    _report_moved(request, moved, into)
    return _done(request, found, pks)


def _choose(
    request: PageRequest, gallery: Gallery, pks: Sequence[int], *, error: str = ""
) -> HttpResponse:
    others = galleries_written_by(request.user, gallery.team).exclude(pk=gallery.pk)
    rows = list(others.select_related("space").order_by("name", "pk"))
    context = {
        "team": gallery.team,
        "gallery": gallery,
        "photos": pks,
        "shown": Photo.objects.filter(gallery=gallery, pk__in=pks[:6]),
        "same": [row for row in rows if row.space_id == gallery.space_id],
        "others": [row for row in rows if row.space_id != gallery.space_id],
        "next": next_of(request) or _home(gallery),
        "error": error,
    }
    template = "galleries/_move.html" if is_fragment(request) else "galleries/move.html"
    return render(request, template, context, status=422 if error else 200)


def _report_moved(request: HttpRequest, moved: MovedPhotos, into: Gallery) -> None:
    if moved.count:
        messages.success(request, f"{photos_are(moved.count)} in {into.name} now.")
    if moved.doubles:
        stay = f"{photos_are(moved.doubles)} in {into.name} already and stayed here."
        if moved.in_trash:
            stay += f" {photos_are(moved.in_trash)} in its trash: take them back there instead."
        messages.warning(request, stay)
    if moved.gone:
        messages.info(request, f"{photos_are(moved.gone)} not in this gallery any more.")


@signed_in
@require_POST
def recognise(request: PageRequest, team: str, slug: str) -> HttpResponse:
    found = gallery_for(request.user, team, slug, write=True)
    try:
        pks = selected(request)
        run = recognise_photos_again(actor=actor_of(request), gallery=found, pks=pks)
    except Refused as error:
        return refuse(request, error, _home(found))
    left = len(pks) - run.photo_count
    words = f"{photos_are(run.photo_count)} being recognised again."
    if left:
        words += f" {photos_are(left, was=True)} waiting for it already, or not here any more."
    messages.success(request, words)
    return _done(request, found, pks)


# --- Download ---


@signed_in
@require_POST
def download(request: PageRequest, team: str, slug: str) -> HttpResponseBase:
    """A zip of the originals, as they were uploaded."""
    found = gallery_for(request.user, team, slug)
    try:
        photos = list(Photo.objects.filter(gallery=found, pk__in=selected(request)).order_by("pk"))
        if not photos:
            raise Refused("Those photos are not in this gallery any more.")
    except Refused as error:
        return refuse(request, error, _home(found))
    record_download(actor=actor_of(request), gallery=found, pks=[photo.pk for photo in photos])
    names = unique_names([photo.file_name for photo in photos])
    # Content-Length is sent ahead, so an original that is missing must be left out beforehand.
    there = [
        (photo, Entry(name, photo.size, timezone.localtime(photo.shown_at)))
        for photo, name in zip(photos, names, strict=True)
        if default_storage.exists(photo.original)
    ]
    entries = ((entry, _original(photo)) for photo, entry in there)
    size = length_of(entry for _, entry in there)
    return zip_response(stream(entries), name=found.slug, size=size)


def _original(photo: Photo) -> Iterator[bytes]:
    with stored(photo.original) as file:
        yield from chunks_of(file)


def zip_response(
    chunks: Iterator[bytes], *, name: str, size: int | None = None
) -> StreamingHttpResponse:
    headers: dict[str, Any] = {
        "Content-Disposition": content_disposition_header(True, f"{name}.zip"),
        "Cache-Control": "private, no-store",
        "X-Content-Type-Options": "nosniff",
    }
    if size is not None:
        headers["Content-Length"] = str(size)
    return StreamingHttpResponse(chunks, content_type="application/zip", headers=headers)


urlpatterns = [
    path("g/<slug:slug>/photos/trash", trash, name="photos_trash"),
    path("g/<slug:slug>/photos/move", move, name="photos_move"),
    path("g/<slug:slug>/photos/recognise", recognise, name="photos_recognise"),
    path("g/<slug:slug>/photos/zip", download, name="photos_zip"),
]
